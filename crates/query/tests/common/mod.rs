//! A store in memory, an engine over it, and the oracle that saw the same pushes.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use flamestore_calltree::{FoldOptions, ValueTree, fold};
use flamestore_model::{Labels, ProfileBatch, ProfileId, Result, Selector, Tenant, TimeRange};
use flamestore_query::{Combine, Engine, Query, QueryOptions};
use flamestore_segment::SegmentOptions;
use flamestore_store::{
    Background, Bucket, Compactor, CompactorOptions, Entropy, ManualClock, PushProfile, Scope, Store, StoreOptions,
};
use flamestore_testkit::Oracle;
use futures::TryStreamExt;
use object_store::memory::InMemory;

/// One second in nanoseconds.
pub(crate) const SECOND: i64 = 1_000_000_000;

/// The time of the first profile: a minute before midnight, so that profiles fall into two days.
pub(crate) const START: i64 = 1_700_006_340 * SECOND;

pub(crate) const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

pub(crate) struct World {
    pub(crate) objects: Arc<InMemory>,
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Engine,
    pub(crate) oracle: Oracle,
    pushes: u128,
}

pub(crate) fn options(objects: &Arc<InMemory>) -> StoreOptions {
    let bucket = Bucket::new(Arc::clone(objects) as Arc<dyn object_store::ObjectStore>, "", "memory:");
    let mut options = StoreOptions::new(bucket);
    options.segment = SegmentOptions::tiny();
    options.background = Background::Off;
    options.clock = Arc::new(ManualClock::new(START));
    options.entropy = Arc::new(Entropy::from_seed(7));
    options
}

pub(crate) fn limits(memory_bytes_max: usize) -> QueryOptions {
    QueryOptions { memory_bytes_max, partitions: 2, ..QueryOptions::default() }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(SegmentOptions::tiny()).await
    }

    pub(crate) async fn with(segment: SegmentOptions) -> Self {
        let objects = Arc::new(InMemory::new());
        let store = Store::open(StoreOptions { segment, ..options(&objects) }).await.unwrap();
        let engine = Engine::new(Arc::clone(&store), limits(64 << 20)).unwrap();
        Self { objects, store, engine, oracle: Oracle::new(), pushes: 0 }
    }

    /// Opens the same bucket anew, so that nothing read before is remembered.
    pub(crate) async fn reopen(&mut self) {
        let mut options = options(&self.objects);
        options.entropy = Arc::new(Entropy::from_seed(self.pushes + 1000));
        self.store = Store::open(options).await.unwrap();
        self.engine = Engine::new(Arc::clone(&self.store), limits(64 << 20)).unwrap();
    }

    pub(crate) async fn push(&mut self, labels: &[(&str, &str)], time: i64, batch: ProfileBatch) -> ProfileId {
        self.pushes += 1;
        let id = ProfileId::from_parts(0, self.pushes);
        let labels = Labels::from_pairs(labels.iter().copied()).unwrap();
        self.oracle.push(id, &labels, Some(time), batch.clone());
        self.push_store_only(id, labels, time, batch).await.unwrap();
        id
    }

    pub(crate) async fn push_store_only(
        &self,
        id: ProfileId,
        labels: Labels,
        time: i64,
        batch: ProfileBatch,
    ) -> Result<()> {
        let tenant = Tenant::default();
        let push = PushProfile { tenant, labels, batch, received: None, id: Some(id), time_unix_nano: Some(time) };
        self.store.push(push).await.map(|_| ())
    }

    pub(crate) async fn flush(&self) {
        self.store.flush().await.unwrap();
    }
}

/// A query that adds all values up, whatever their type: as most of the oracle does.
pub(crate) fn query(selector: &str, range: TimeRange) -> Query {
    Query { combine: Combine::Sum, ..Query::new(Tenant::default(), selector.parse::<Selector>().unwrap(), range) }
}

/// The folded text of a tree: a line a stack, a value a column.
pub(crate) fn text(tree: &ValueTree) -> String {
    let folded = fold(tree, &FoldOptions { max_nodes: 0 }).folded();
    let line = |(stack, values): (String, Vec<i64>)| {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        format!("{stack} {}\n", values.join(" "))
    };
    folded.into_iter().map(line).collect()
}

/// The rows of a statement as text, a cell a column; an error as its kind and text.
pub(crate) async fn sql(world: &World, statement: &str) -> std::result::Result<Vec<Vec<String>>, String> {
    let run = async {
        let answer = world.engine.sql(&Tenant::default(), statement).await?;
        answer.batches.try_collect::<Vec<RecordBatch>>().await
    };
    Ok(rows(&run.await.map_err(|error| format!("{:?}: {error}", error.kind()))?))
}

/// Rows as text, a cell a column.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("-");
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap());
        let columns: Vec<_> = columns.collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|of| of.value(row).to_string()).collect()));
    }
    rows
}

/// The segments of a store merged with each other, and seen by it.
pub(crate) async fn compact(world: &World) {
    let mut options = CompactorOptions::new(world.store.options().bucket.clone());
    options.segment = world.store.options().segment.clone();
    options.clock = Arc::new(ManualClock::new(START + 86_400 * SECOND));
    options.entropy = Arc::new(Entropy::from_seed(99));
    options.compaction.fresh_inputs = 2;
    options.compaction.inputs_max = 4;
    let merged = Compactor::new(options).unwrap().compact(Scope::All, &|_, _| {}).await.unwrap();
    assert!(merged.segments_out > 0);
    world.store.refresh().await.unwrap();
}
