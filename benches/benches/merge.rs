//! What does merging an hour of everything cost, against reading its two columns; and one service of many?

use std::sync::Arc;

use bytes::Bytes;
use flamestore_benches::{FleetSegment, Goal, Report, Turns, fleet, rounds};
use flamestore_calltree::{FoldOptions, fold};
use flamestore_model::{Selector, TimeRange};
use flamestore_segment::{MemorySource, ScanReport, SegmentOptions, SegmentReader, Table};
use futures::executor::block_on;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

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
    let reader = SegmentReader::new(Arc::new(MemorySource::from_sealed(&segment.sealed)));
    let everything = Selector::default();
    let expected = accumulate(&reader, &everything)?;
    let peer = Peer::new(&samples)?;
    let mut turns = Turns::default();
    for _ in 0..rounds() {
        turns.run(0, || decode(&samples, 8192))?;
        turns.run(1, || decode(&samples, 65_536))?;
        let sum = turns.run(2, || accumulate(&reader, &everything))?;
        turns.run(3, || merge(&reader, &everything))?;
        let grouped = turns.run_threads(4, || peer.group_by())?;
        if sum != expected || grouped.is_some_and(|grouped| grouped != expected) {
            return Err(format!("sums differ: {sum} {grouped:?} {expected}").into());
        }
    }
    let floor = turns.median(0).min(turns.median(1));
    let millis = |seconds: f64| seconds * 1e3;
    report.figure("floor: Parquet decode of stack_id and value", millis(floor), "ms");
    report.figure("select and sum by stack, all services", millis(turns.median(2)), "ms");
    report.figure("the same", rows / turns.median(2) / 1e6, "Msamples/s");
    report.goal("times the floor", turns.median(2) / floor, "×", Goal::AtMost(1.4));
    report.figure("with symbols, one tree, folded to 8192 nodes", millis(turns.median(3)), "ms");
    if Peer::RUNS {
        report.figure("peer: DataFusion GROUP BY stack_id, one partition", millis(turns.median(4)), "ms");
        report.goal("times as fast as GROUP BY", turns.median(4) / turns.median(2), "×", Goal::AtLeast(4.0));
    }
    one_service(&report, &reader, fleet.options().services / 2)
}

fn one_service(report: &Report, reader: &SegmentReader, number: usize) -> Outcome<()> {
    let selector: Selector = format!(r#"{{service_name="svc{number:03}"}}"#).parse()?;
    let mut scan = ScanReport::default();
    let trees = block_on(reader.merge(&selector, &TimeRange::ALL, &mut scan))?;
    let mut turns = Turns::default();
    for _ in 0..rounds().max(9) {
        turns.run(0, || accumulate(reader, &selector))?;
        turns.run(1, || block_on(reader.merge(&selector, &TimeRange::ALL, &mut ScanReport::default())))?;
        turns.run(2, || merge(reader, &selector))?;
    }
    let nodes: usize = trees.iter().map(|tree| tree.tree.len()).sum();
    report.note(format!("one service: {} rows read, {nodes} nodes, {} requests", scan.rows, scan.requests));
    report.figure("one service: select and sum by stack", turns.median(0) * 1e3, "ms");
    report.goal("one service: call tree with symbols", turns.median(1) * 1e3, "ms", Goal::AtMost(3.0));
    report.figure("one service: folded to 8192 nodes", turns.median(2) * 1e3, "ms");
    report.goal("one service: bytes read", scan.bytes_read as f64 / 1e3, "KB", Goal::AtMost(200.0));
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

fn merge(reader: &SegmentReader, selector: &Selector) -> Outcome<usize> {
    let trees = block_on(reader.merge(selector, &TimeRange::ALL, &mut ScanReport::default()))?;
    let inputs = trees.into_iter().map(|tree| (tree, 0)).collect();
    Ok(fold(&flamestore_calltree::merge(inputs, 1), &FoldOptions { max_nodes: 8192 }).name.len())
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
