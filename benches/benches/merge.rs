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
    let peer = Peer::new(&samples)?;
    let mut turns = Turns::default();
    for _ in 0..rounds() {
        turns.run(0, || decode(&samples, 8192))?;
        turns.run(1, || decode(&samples, 65_536))?;
        let sum = turns.run(2, || accumulate(&reader, &everything))?;
        let grouped = turns.run_threads(3, || peer.group_by())?;
        let trees = turns.run(4, || merge_services(&reader, &everything))?;
        let whole = turns.run(5, || flamestore_calltree::merge(trees.into_iter().map(|tree| (tree, 0)).collect(), 1));
        turns.run(6, || fold(&whole, &MAX_NODES).name.len());
        if sum != expected || grouped.is_some_and(|grouped| grouped != expected) {
            return Err(format!("sums differ: {sum} {grouped:?} {expected}").into());
        }
    }
    let floor = turns.median(0).min(turns.median(1));
    let millis = |way: usize| turns.median(way) * 1e3;
    report.figure("floor: Parquet decode of stack_id and value", floor * 1e3, "ms");
    report.figure("select and sum by stack, all services", millis(2), "ms");
    report.figure("the same", rows / turns.median(2) / 1e6, "Msamples/s");
    report.goal("times the floor", turns.median(2) / floor, "×", Goal::AtMost(1.4));
    if Peer::RUNS {
        report.figure("peer: DataFusion GROUP BY stack_id, one partition", millis(3), "ms");
        report.goal("times as fast as GROUP BY", turns.median(3) / turns.median(2), "×", Goal::AtLeast(4.0));
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
    let columns = ProjectionMask::columns(builder.parquet_schema(), ["stack_id", "value"]);
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

    fn new(samples: &Bytes) -> Outcome<Self> {
        use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("samples.parquet");
        std::fs::write(&path, samples)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let path = path.to_string_lossy().into_owned();
        runtime.block_on(context.register_parquet("samples", &path, ParquetReadOptions::default()))?;
        Ok(Self { runtime, context, _folder: folder })
    }

    /// The sum of sums by stack. Every value of this fleet is in units of one period, which the bench adds afterwards.
    fn group_by(&self) -> Outcome<Option<i64>> {
        use arrow::array::AsArray;
        let grouped = "select stack_id, sum(value) as v from samples group by stack_id";
        let batches = self.runtime.block_on(async { self.context.sql(grouped).await?.collect().await })?;
        let columns = batches.iter().map(|batch| batch.column(1).as_primitive::<arrow::datatypes::Int64Type>().clone());
        let units: i64 = columns.map(|column| column.values().iter().sum::<i64>()).sum();
        Ok(Some(units * 10_000_000))
    }
}

#[cfg(not(feature = "datafusion"))]
struct Peer;

#[cfg(not(feature = "datafusion"))]
impl Peer {
    const RUNS: bool = false;

    fn new(_samples: &Bytes) -> Outcome<Self> {
        Ok(Self)
    }

    fn group_by(&self) -> Outcome<Option<i64>> {
        Ok(None)
    }
}
