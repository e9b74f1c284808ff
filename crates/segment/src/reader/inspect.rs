//! All that a manifest says of a segment, found from the segment's own tables, after all of it was verified.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use flamestore_model::{ProfileId, Result, TimeRange};
use xxhash_rust::xxh3::xxh3_64;

use super::{SegmentReader, verify};
use crate::rows::SeriesRow;
use crate::schema::Table;
use crate::{MemorySource, ScanReport, SegmentMeta};

/// Profiles whose details are in memory at one time.
const PROFILES_AT_ONCE: usize = 4096;

/// What a segment is, by its own tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// What it says of itself.
    pub meta: SegmentMeta,
    /// Its tables, in the order of [`Table::ALL`].
    pub tables: Vec<TableFacts>,
    /// Its profiles, sorted: the id of the source and the number of the sample type.
    pub profiles: Vec<(ProfileId, u32)>,
}

/// What a table is, by its own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFacts {
    /// Which table.
    pub table: Table,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Its last bytes that hold page index and footer.
    pub footer_bytes: u64,
    /// XXH3-64 of all its bytes.
    pub checksum: u64,
}

/// Reads every row of every table and checks what the format promises: sizes, orders, references, sums.
///
/// # Errors
/// `Corrupt` naming the table and what is wrong; `NotFound` when a table is missing.
pub fn read_everything(tables: Vec<(Table, Bytes)>) -> Result<()> {
    let reader = SegmentReader::new(Arc::new(MemorySource::new(tables)));
    at_once(verify::check(&reader))
}

/// Verifies a segment as [`read_everything`] does, and says what it is.
///
/// # Errors
/// As [`read_everything`].
pub fn inspect(mut tables: Vec<(Table, Bytes)>) -> Result<SegmentFacts> {
    tables.sort_by_key(|(table, _)| *table);
    let reader = SegmentReader::new(Arc::new(MemorySource::new(tables.clone())));
    at_once(async {
        verify::check(&reader).await?;
        let (meta, profiles) = (meta(&reader, &tables).await?, profile_ids(&reader).await?);
        let mut facts = SegmentFacts { meta, tables: Vec::with_capacity(tables.len()), profiles };
        for (table, bytes) in &tables {
            facts.tables.push(table_facts(&reader, *table, bytes).await?);
        }
        Ok(facts)
    })
}

/// The source answers at once, so the future is only ever pending to be polled again.
fn at_once<T>(reading: impl Future<Output = Result<T>>) -> Result<T> {
    let mut reading = std::pin::pin!(reading);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(read) = reading.as_mut().poll(&mut context) {
            return read;
        }
    }
}

async fn table_facts(reader: &SegmentReader, table: Table, bytes: &Bytes) -> Result<TableFacts> {
    let (file, size) = (reader.file(table).await?, bytes.len() as u64);
    Ok(TableFacts {
        table,
        bytes: size,
        rows: file.rows(),
        footer_bytes: file.footer_bytes(size),
        checksum: xxh3_64(bytes),
    })
}

async fn meta(reader: &SegmentReader, tables: &[(Table, Bytes)]) -> Result<SegmentMeta> {
    let (series, dictionaries, windows) =
        (reader.series().await?, reader.dictionaries().await?, reader.windows().await?);
    let has_rows = |row: &&SeriesRow| row.profiles.count > 0 || !windows.of(row.series_id).is_empty();
    let mut profile_types: Vec<String> = series.rows.iter().map(|row| row.profile_type.to_string()).collect();
    profile_types.sort_unstable();
    profile_types.dedup();
    let mut format_version = 0;
    for (table, _) in tables {
        format_version = format_version.max(reader.file(*table).await?.version());
    }
    let rows = |table| async move { if reader.has(table) { reader.rows(table).await } else { Ok(0) } };
    Ok(SegmentMeta {
        format_version,
        time_min: series.rows.iter().filter(has_rows).map(|row| row.time_min).min().unwrap_or(0),
        time_max: series.rows.iter().filter(has_rows).map(|row| row.time_max).max().unwrap_or(0),
        profile_types,
        services: dictionaries.iter().map(|entry| entry.service_name.clone()).collect(),
        sample_rows: rows(Table::Samples).await?,
        profile_rows: rows(Table::Profiles).await?,
        series: rows(Table::Series).await?,
        stacks: rows(Table::Stacks).await?,
        observed_bytes: observed_bytes(reader).await?,
    })
}

/// As much as if every row had all that some rows have.
async fn observed_bytes(reader: &SegmentReader) -> Result<u64> {
    if !reader.has(Table::Samples) {
        return Ok(0);
    }
    let (row_bytes, _) = reader.observed_bytes().await?;
    Ok(row_bytes.saturating_mul(reader.rows(Table::Samples).await?))
}

async fn profile_ids(reader: &SegmentReader) -> Result<Vec<(ProfileId, u32)>> {
    if !reader.has(Table::Profiles) {
        return Ok(Vec::new());
    }
    let mut report = ScanReport::default();
    let all = (0..).take(reader.series().await?.rows.len()).collect();
    let profiles = reader.profiles(&all, &TimeRange::ALL, &mut report).await?;
    let mut ids = Vec::with_capacity(profiles.len());
    for part in profiles.chunks(PROFILES_AT_ONCE) {
        let details = reader.profile_details(part, &mut report).await?;
        ids.extend(details.iter().map(|detail| (detail.meta.id, detail.meta.value_index)));
    }
    ids.sort_unstable();
    Ok(ids)
}
