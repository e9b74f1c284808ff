//! What does merging an hour of everything cost, against reading its two columns; and one service of many?

use std::sync::Arc;

use bytes::Bytes;
use flamestore_benches::{FleetSegment, Goal, Report, Turns, fleet, rounds};
use flamestore_calltree::{FoldOptions, ValueTree, fold};
use flamestore_model::{Selector, TimeRange};
use flamestore_segment::{DictionaryCache, MemorySource, ScanReport, SegmentOptions, SegmentReader, Table};
use futures::executor::block_on;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const MAX_NODES: FoldOptions = FoldOptions { max_nodes: 8192 };

fn main() -> Outcome<()> {
    let fleet = fleet();
    let report = Report::new("What does merging a segment cost, against reading its two columns and against GROUP BY?");
    let segment = FleetSegment::build(&fleet, &SegmentOptions::default())?;
    let rows = segment.rows as f64;
    report.note(format!(
        "{} profiles of {} services, {rows} samples, {} stacks, real stacks: {}",
        segment.profiles,
        fleet.options().services,
        segment.stacks,
        fleet.is_real()
    ));
    let samples = segment.sealed.table(Table::Samples).map(|sealed| sealed.bytes.clone()).ok_or("no samples")?;
    let source = Arc::new(MemorySource::from_sealed(&segment.sealed));
    let reader = SegmentReader::with_cache(source, Arc::new(DictionaryCache::new(0)));
    let everything = Selector::default();
    let expected = accumulate(&reader, &everything)?;
    let peer = Peer::new(&segment)?;
    let mut turns = Turns::default();
    for _ in 0..rounds() {
        turns.run(0, || decode(&samples, 8192))?;
        turns.run(1, || decode(&samples, 65_536))?;
        let sum = turns.run(2, || accumulate(&reader, &everything))?;
        let grouped = turns.run_threads(3, || peer.group_by(Peer::JOINED))?;
        let by_id = turns.run_threads(7, || peer.group_by(Peer::BY_ID))?;
        let trees = turns.run(4, || merge_services(&reader, &everything))?;
        let whole = turns.run(5, || flamestore_calltree::merge(trees.into_iter().map(|tree| (tree, 0)).collect(), 1));
        turns.run(6, || fold(&whole, &MAX_NODES).name.len());
        if sum != expected || [grouped, by_id].into_iter().flatten().any(|grouped| grouped != expected) {
            return Err(format!("sums differ: {sum} {grouped:?} {by_id:?} {expected}").into());
        }
    }
    let floor = turns.median(0).min(turns.median(1));
    let millis = |way: usize| turns.median(way) * 1e3;
    report.figure("floor: Parquet decode of stack_key and value", floor * 1e3, "ms");
    report.figure("select and sum by stack, all services", millis(2), "ms");
    report.figure("the same", rows / turns.median(2) / 1e6, "Msamples/s");
    report.goal("times the floor", turns.median(2) / floor, "×", Goal::AtMost(1.4));
    if Peer::RUNS {
        report.figure("peer: DataFusion GROUP BY of the same files, one partition", millis(3), "ms");
        report.goal("times as fast as GROUP BY", turns.median(3) / turns.median(2), "×", Goal::AtLeast(4.0));
        report.figure("peer: GROUP BY of a file with ids instead of keys", millis(7), "ms");
        report.figure("times as fast as that", turns.median(7) / turns.median(2), "×");
    }
    report.figure("the sum, with symbols, as a call tree a service", millis(4), "ms");
    report.figure("these call trees merged to one", millis(5), "ms");
    report.figure("that one folded to 8192 nodes", millis(6), "ms");
    one_service(&report, &reader)
}

/// The service with the median number of samples, symbols not cached.
fn one_service(report: &Report, reader: &SegmentReader) -> Outcome<()> {
    let mut all = block_on(reader.select(&Selector::default(), &TimeRange::ALL, &mut ScanReport::default()))?;
    all.sort_by_key(|selection| selection.profiles.iter().map(|profile| u64::from(profile.row_count)).sum::<u64>());
    let name = &all[all.len() / 2].entry.service_name;
    let selector: Selector = format!("{{service_name={name:?}}}").parse()?;
    let (mut summed, mut scan) = (ScanReport::default(), ScanReport::default());
    for selection in block_on(reader.select(&selector, &TimeRange::ALL, &mut summed))? {
        let mut sums = vec![0; selection.entry.stacks.count as usize];
        block_on(reader.accumulate(&selection.profiles, selection.entry.stacks.first, &mut sums, &mut summed))?;
    }
    let trees = block_on(reader.merge(&selector, &TimeRange::ALL, &mut scan))?;
    let mut turns = Turns::default();
    for _ in 0..rounds().max(9) {
        turns.run(0, || accumulate(reader, &selector))?;
        let trees = turns.run(1, || merge_services(reader, &selector))?;
        let whole = flamestore_calltree::merge(trees.into_iter().map(|tree| (tree, 0)).collect(), 1);
        turns.run(2, || fold(&whole, &MAX_NODES).name.len());
    }
    let nodes: usize = trees.iter().map(|tree| tree.tree.len()).sum();
    let (rows, requests) = (summed.rows, scan.requests);
    report.note(format!("one service of median size, {name}: {rows} rows read, {nodes} nodes, {requests} requests"));
    report.figure("one service: select and sum by stack", turns.median(0) * 1e3, "ms");
    report.goal("one service: with symbols, a call tree", turns.median(1) * 1e3, "ms", Goal::AtMost(3.0));
    report.figure("one service: folded to 8192 nodes", turns.median(2) * 1e3, "ms");
    report.figure("one service: bytes read to sum", summed.bytes_read as f64 / 1e3, "KB");
    report.goal("one service: bytes read with symbols", scan.bytes_read as f64 / 1e3, "KB", Goal::AtMost(200.0));
    Ok(())
}

fn decode(samples: &Bytes, batch_rows: usize) -> Outcome<usize> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(samples.clone())?;
    let columns = ProjectionMask::columns(builder.parquet_schema(), ["stack_key", "value"]);
    let mut rows = 0;
    for batch in builder.with_projection(columns).with_batch_size(batch_rows).build()? {
        rows += batch?.num_rows();
    }
    Ok(rows)
}

/// Sums by stack, and the sum of these.
fn accumulate(reader: &SegmentReader, selector: &Selector) -> Outcome<i64> {
    let mut report = ScanReport::default();
    let mut sum = 0_i64;
    for selection in block_on(reader.select(selector, &TimeRange::ALL, &mut report))? {
        let stacks = selection.entry.stacks;
        let mut sums = vec![0; stacks.count as usize];
        block_on(reader.accumulate(&selection.profiles, stacks.first, &mut sums, &mut report))?;
        sum = sums.iter().fold(sum, |sum, value| sum.wrapping_add(*value));
    }
    Ok(sum)
}

fn merge_services(reader: &SegmentReader, selector: &Selector) -> Outcome<Vec<ValueTree>> {
    Ok(block_on(reader.merge(selector, &TimeRange::ALL, &mut ScanReport::default()))?)
}

#[cfg(feature = "datafusion")]
struct Peer {
    runtime: tokio::runtime::Runtime,
    context: datafusion::prelude::SessionContext,
    _folder: tempfile::TempDir,
}

#[cfg(feature = "datafusion")]
impl Peer {
    const RUNS: bool = true;
    /// Sums by stack of the stored files.
    const JOINED: &str = "select s.stack_key - p.stack_base as stack_id, sum(s.value) as v \
                          from samples s join profiles p on s.profile = p.profile group by 1";
    /// Sums by stack of a file that has the ids themselves, which makes it larger and needs no join.
    const BY_ID: &str = "select stack_id, sum(value) as v from ids group by stack_id";

    fn new(segment: &FleetSegment) -> Outcome<Self> {
        use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
        let folder = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let stored = |table: Table| segment.sealed.table(table).map(|sealed| sealed.bytes.clone());
        let samples = stored(Table::Samples).ok_or("no samples")?;
        let profiles = stored(Table::Profiles).ok_or("no profiles")?;
        let ids = with_ids(&samples, &profiles)?;
        for (name, bytes) in [("samples", samples), ("profiles", profiles), ("ids", ids)] {
            let path = folder.path().join(name).with_extension("parquet");
            std::fs::write(&path, bytes)?;
            let path = path.to_string_lossy().into_owned();
            runtime.block_on(context.register_parquet(name, &path, ParquetReadOptions::default()))?;
        }
        Ok(Self { runtime, context, _folder: folder })
    }

    /// The sum of sums by stack. Every value of this fleet is in units of one period, which the bench adds afterwards.
    fn group_by(&self, grouped: &str) -> Outcome<Option<i64>> {
        use arrow::array::AsArray;
        let batches = self.runtime.block_on(async { self.context.sql(grouped).await?.collect().await })?;
        let columns = batches.iter().map(|batch| batch.column(1).as_primitive::<arrow::datatypes::Int64Type>().clone());
        let units: i64 = columns.map(|column| column.values().iter().sum::<i64>()).sum();
        Ok(Some(units * 10_000_000))
    }
}

/// The columns `stack_id`, from keys and bases, and `value`, encoded as `samples` is.
#[cfg(feature = "datafusion")]
fn with_ids(samples: &Bytes, profiles: &Bytes) -> Outcome<Bytes> {
    use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
    use arrow::datatypes::{Int64Type, UInt32Type};
    use parquet::basic::{Compression, Encoding, ZstdLevel};
    use parquet::file::properties::{WriterProperties, WriterVersion};
    let scan = |bytes: &Bytes, names: &[&str]| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())?;
        let columns = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
        builder.with_projection(columns).with_batch_size(65_536).build()
    };
    let mut bases: Vec<i64> = Vec::new();
    for batch in scan(profiles, &["stack_base"])? {
        bases.extend(batch?.column(0).as_primitive::<Int64Type>().values());
    }
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_dictionary_enabled(false)
        .set_column_encoding("stack_id".into(), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding("value".into(), Encoding::BYTE_STREAM_SPLIT)
        .set_data_page_row_count_limit(SegmentOptions::default().sample_page_rows)
        .build();
    let mut writer = None;
    for batch in scan(samples, &["profile", "stack_key", "value"])? {
        let batch = batch?;
        let (profiles, keys) =
            (batch.column(0).as_primitive::<UInt32Type>(), batch.column(1).as_primitive::<UInt32Type>());
        let id = |(profile, key): (&u32, &u32)| u32::try_from(i64::from(*key) - bases[*profile as usize]);
        let ids = profiles.values().iter().zip(keys.values()).map(id).collect::<Result<Vec<u32>, _>>()?;
        let ids: ArrayRef = Arc::new(UInt32Array::from(ids));
        let batch = RecordBatch::try_from_iter([("stack_id", ids), ("value", Arc::clone(batch.column(2)))])?;
        let mut own = match writer.take() {
            Some(writer) => writer,
            None => parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties.clone()))?,
        };
        own.write(&batch)?;
        writer = Some(own);
    }
    Ok(writer.ok_or("no samples")?.into_inner()?.into())
}

#[cfg(not(feature = "datafusion"))]
struct Peer;

#[cfg(not(feature = "datafusion"))]
impl Peer {
    const RUNS: bool = false;
    const JOINED: &str = "";
    const BY_ID: &str = "";

    fn new(_segment: &FleetSegment) -> Outcome<Self> {
        Ok(Self)
    }

    fn group_by(&self, _grouped: &str) -> Outcome<Option<i64>> {
        Ok(None)
    }
}
