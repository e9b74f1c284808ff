//! The body of a manifest as protobuf messages, by hand. Field numbers are never used twice.

use std::sync::Arc;

use flamestore_model::{Error, Result, SegmentId, Tenant};
use flamestore_segment::Table;
use prost::Message;

use super::{DayCover, EarlierWal, Manifest, SegmentEntry, SegmentSource, TableEntry, WriterState};
use crate::key::Day;

#[derive(Clone, PartialEq, Message)]
struct ManifestBody {
    #[prost(uint64, tag = "1")]
    version: u64,
    #[prost(bytes = "vec", tag = "2")]
    nonce: Vec<u8>,
    #[prost(string, tag = "3")]
    writer: String,
    #[prost(sint64, tag = "4")]
    created_unix_nano: i64,
    #[prost(message, repeated, tag = "5")]
    writers: Vec<Writer>,
    #[prost(message, repeated, tag = "6")]
    segments: Vec<Segment>,
}

#[derive(Clone, PartialEq, Message)]
struct Writer {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    flushes: u64,
    /// Empty for 0.
    #[prost(bytes = "vec", tag = "4")]
    wal: Vec<u8>,
    #[prost(message, repeated, tag = "5")]
    earlier: Vec<Earlier>,
}

#[derive(Clone, PartialEq, Message)]
struct Earlier {
    /// Empty for 0.
    #[prost(bytes = "vec", tag = "1")]
    wal: Vec<u8>,
    #[prost(uint64, tag = "2")]
    epoch: u64,
    #[prost(uint64, tag = "3")]
    flushes: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Segment {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    tenant: String,
    #[prost(sint32, tag = "3")]
    day: i32,
    #[prost(uint32, tag = "4")]
    level: u32,
    #[prost(uint32, tag = "5")]
    source: u32,
    #[prost(sfixed64, tag = "6")]
    time_min: i64,
    #[prost(sfixed64, tag = "7")]
    time_max: i64,
    #[prost(string, repeated, tag = "8")]
    profile_types: Vec<String>,
    #[prost(string, repeated, tag = "9")]
    services: Vec<String>,
    #[prost(message, repeated, tag = "10")]
    tables: Vec<TableBody>,
    #[prost(uint64, tag = "11")]
    sample_rows: u64,
    #[prost(uint64, tag = "12")]
    profile_rows: u64,
    #[prost(uint64, tag = "13")]
    series: u64,
    #[prost(uint64, tag = "14")]
    stacks: u64,
    #[prost(sfixed64, tag = "15")]
    created_unix_nano: i64,
    #[prost(string, tag = "16")]
    writer: String,
    #[prost(uint64, tag = "17")]
    writer_epoch: u64,
    #[prost(uint32, tag = "18")]
    format_version: u32,
    #[prost(message, repeated, tag = "19")]
    covers: Vec<Cover>,
    #[prost(uint64, tag = "20")]
    observed_bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Cover {
    #[prost(sint32, tag = "1")]
    day: i32,
    #[prost(sfixed64, tag = "2")]
    time_min: i64,
    #[prost(sfixed64, tag = "3")]
    time_max: i64,
    #[prost(bytes = "vec", repeated, tag = "4")]
    segments: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct TableBody {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    bytes: u64,
    #[prost(uint64, tag = "3")]
    rows: u64,
    #[prost(uint64, tag = "4")]
    footer_bytes: u64,
    #[prost(fixed64, tag = "5")]
    checksum: u64,
}

pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let wal = |id: u128| if id == 0 { Vec::new() } else { id.to_be_bytes().to_vec() };
    let earlier = |e: &EarlierWal| Earlier { wal: wal(e.wal), epoch: e.epoch, flushes: e.flushes };
    let writer = |(name, state): (&String, &WriterState)| Writer {
        name: name.clone(),
        epoch: state.epoch,
        flushes: state.flushes,
        wal: wal(state.wal),
        earlier: state.earlier.iter().map(earlier).collect(),
    };
    let body = ManifestBody {
        version: manifest.version,
        nonce: manifest.nonce.to_be_bytes().to_vec(),
        writer: manifest.writer.clone(),
        created_unix_nano: manifest.created_unix_nano,
        writers: manifest.writers.iter().map(writer).collect(),
        segments: manifest.segments.iter().map(|entry| encode_segment(entry)).collect(),
    };
    body.encode_to_vec()
}

fn encode_segment(entry: &SegmentEntry) -> Segment {
    let table = |table: &TableEntry| TableBody {
        name: table.table.as_str().to_owned(),
        bytes: table.bytes,
        rows: table.rows,
        footer_bytes: table.footer_bytes,
        checksum: table.checksum,
    };
    Segment {
        id: entry.id.as_bytes().to_vec(),
        tenant: entry.tenant.as_str().to_owned(),
        day: entry.day.days(),
        level: entry.level,
        source: entry.source.code(),
        time_min: entry.time_min,
        time_max: entry.time_max,
        profile_types: entry.profile_types.clone(),
        services: entry.services.clone(),
        tables: entry.tables.iter().map(table).collect(),
        sample_rows: entry.sample_rows,
        profile_rows: entry.profile_rows,
        series: entry.series,
        stacks: entry.stacks,
        created_unix_nano: entry.created_unix_nano,
        writer: entry.writer.clone(),
        writer_epoch: entry.writer_epoch,
        format_version: entry.format_version,
        covers: entry.covers.iter().map(encode_cover).collect(),
        observed_bytes: entry.observed_bytes,
    }
}

fn encode_cover(cover: &DayCover) -> Cover {
    Cover {
        day: cover.day.days(),
        time_min: cover.time_min,
        time_max: cover.time_max,
        segments: cover.segments.iter().map(|id| id.as_bytes().to_vec()).collect(),
    }
}

fn decode_cover(cover: Cover) -> Result<DayCover> {
    let segment = |bytes: &Vec<u8>| Ok(SegmentId::from_bytes(id(bytes, "segment id")?));
    Ok(DayCover {
        day: Day::from_days(cover.day)?,
        time_min: cover.time_min,
        time_max: cover.time_max,
        segments: cover.segments.iter().map(segment).collect::<Result<_>>()?,
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Manifest> {
    let body = ManifestBody::decode(bytes).map_err(|e| Error::corrupt("not the expected messages").because(e))?;
    let segments = body.segments.into_iter().map(|segment| decode_segment(segment).map(Arc::new));
    Ok(Manifest {
        version: body.version,
        nonce: u128::from_be_bytes(id(&body.nonce, "nonce")?),
        writer: body.writer,
        created_unix_nano: body.created_unix_nano,
        writers: body.writers.into_iter().map(decode_writer).collect::<Result<_>>()?,
        segments: segments.collect::<Result<_>>()?,
    })
}

fn decode_writer(writer: Writer) -> Result<(String, WriterState)> {
    let wal = |bytes: &[u8]| if bytes.is_empty() { Ok(0) } else { id(bytes, "log's id").map(u128::from_be_bytes) };
    let earlier = |e: &Earlier| Ok(EarlierWal { wal: wal(&e.wal)?, epoch: e.epoch, flushes: e.flushes });
    let state = WriterState {
        epoch: writer.epoch,
        flushes: writer.flushes,
        wal: wal(&writer.wal)?,
        earlier: writer.earlier.iter().map(earlier).collect::<Result<_>>()?,
    };
    Ok((writer.name, state))
}

fn decode_segment(segment: Segment) -> Result<SegmentEntry> {
    Ok(SegmentEntry {
        id: SegmentId::from_bytes(id(&segment.id, "segment id")?),
        tenant: Tenant::new(segment.tenant)?,
        day: Day::from_days(segment.day)?,
        level: segment.level,
        source: SegmentSource::from_code(segment.source)?,
        time_min: segment.time_min,
        time_max: segment.time_max,
        profile_types: segment.profile_types,
        services: segment.services,
        tables: segment.tables.into_iter().map(decode_table).collect::<Result<_>>()?,
        sample_rows: segment.sample_rows,
        profile_rows: segment.profile_rows,
        series: segment.series,
        stacks: segment.stacks,
        created_unix_nano: segment.created_unix_nano,
        writer: segment.writer,
        writer_epoch: segment.writer_epoch,
        format_version: segment.format_version,
        covers: segment.covers.into_iter().map(decode_cover).collect::<Result<_>>()?,
        observed_bytes: segment.observed_bytes,
    })
}

fn decode_table(table: TableBody) -> Result<TableEntry> {
    Ok(TableEntry {
        table: Table::from_name(&table.name)
            .ok_or_else(|| Error::corrupt("unknown table").with("table", format!("{:?}", table.name)))?,
        bytes: table.bytes,
        rows: table.rows,
        footer_bytes: table.footer_bytes,
        checksum: table.checksum,
    })
}

fn id(bytes: &[u8], what: &str) -> Result<[u8; 16]> {
    bytes.try_into().map_err(|_| Error::corrupt(format!("a {what} has {} bytes, expected 16", bytes.len())))
}

impl SegmentSource {
    fn code(self) -> u32 {
        match self {
            Self::Flush => 0,
            Self::Compaction => 1,
            Self::Import => 2,
            Self::RollUp => 3,
        }
    }

    fn from_code(code: u32) -> Result<Self> {
        [Self::Flush, Self::Compaction, Self::Import, Self::RollUp]
            .into_iter()
            .find(|source| source.code() == code)
            .ok_or_else(|| Error::corrupt("unknown source of a segment").with("source", code))
    }
}
