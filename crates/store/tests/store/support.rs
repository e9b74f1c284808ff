//! What these tests share: stores with tiny limits, pushes, and answers to compare with the oracle's.

use std::collections::BTreeMap;
use std::sync::Arc;

use flamestore_calltree::{FoldOptions, ValueTree, fold, merge};
use flamestore_model::{Labels, ProfileBatch, ProfileId, Result, Selector, Tenant, TimeRange};
use flamestore_segment::{ScanReport, SegmentOptions};
use flamestore_store::{
    Background, Bucket, Entropy, ManualClock, PushProfile, SegmentEntry, Snapshot, StandIns, Store, StoreOptions,
};
use flamestore_testkit::Oracle;
use object_store::ObjectStore;
use object_store::memory::InMemory;

/// 2026-11-22T00:00:00Z.
pub(crate) const DAY_START: i64 = 1_795_305_600_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;

pub(crate) fn bucket(objects: Arc<dyn ObjectStore>) -> Bucket {
    Bucket::new(objects, "", "memory:")
}

pub(crate) fn memory() -> Bucket {
    bucket(Arc::new(InMemory::new()))
}

/// A store that does nothing by itself, with a clock that stands still and known random bits.
pub(crate) fn options(bucket: &Bucket, writer: &str, seed: u128) -> StoreOptions {
    let mut options = StoreOptions::new(bucket.clone());
    options.writer = writer.to_owned();
    options.background = Background::Off;
    options.clock = Arc::new(ManualClock::new(DAY_START));
    options.entropy = Arc::new(Entropy::from_seed(seed));
    options.segment = SegmentOptions::tiny();
    options
}

pub(crate) async fn open(bucket: &Bucket, writer: &str, seed: u128) -> Arc<Store> {
    Store::open(options(bucket, writer, seed)).await.unwrap()
}

pub(crate) fn labels(service: &str) -> Labels {
    Labels::from_pairs([("service_name", service), ("pod", "p1")]).unwrap()
}

pub(crate) fn push_of(service: &str, batch: ProfileBatch, time: i64) -> PushProfile {
    PushProfile {
        tenant: Tenant::default(),
        labels: labels(service),
        batch,
        received: None,
        id: None,
        time_unix_nano: Some(time),
    }
}

pub(crate) async fn push(
    store: &Store,
    oracle: &mut Oracle,
    service: &str,
    batch: ProfileBatch,
    time: i64,
) -> ProfileId {
    let id = store.push(push_of(service, batch.clone(), time)).await.unwrap();
    oracle.push(id, &labels(service), Some(time), batch);
    id
}

/// The merge over heads and segments, from the widest windows there are, as folded stacks.
pub(crate) async fn merged(
    snapshot: &Snapshot,
    selector: &Selector,
    range: &TimeRange,
) -> Result<BTreeMap<String, i64>> {
    let mut trees: Vec<ValueTree> = Vec::new();
    let mut report = ScanReport::default();
    let readable: Vec<_> = snapshot.segments.iter().map(|segment| &segment.entry).collect();
    let stand_ins = StandIns::new(&readable, range);
    // a month stands for its days if it does for all of them; were it for some, those would be missed here
    let answers = |entry: &SegmentEntry| match entry.covers.len() {
        0 => !stand_ins.answered.contains(&entry.id) && entry.overlaps(range),
        days => stand_ins.days.get(&entry.id).is_some_and(|standing| standing.len() == days),
    };
    for segment in snapshot.segments.iter().filter(|segment| answers(&segment.entry)) {
        trees.extend(segment.reader.merge(selector, range, &mut report).await?);
    }
    for head in &snapshot.head {
        trees.extend(head.select(selector, range).iter().map(|selection| head.merge_dictionary(selection)));
    }
    let tree = merge(trees.into_iter().map(|tree| (tree, 0)).collect(), 1);
    let folded = fold(&tree, &FoldOptions { max_nodes: 0 }).folded();
    Ok(folded.into_iter().map(|(stack, values)| (stack, values[0])).collect())
}

pub(crate) async fn merged_all(store: &Store) -> BTreeMap<String, i64> {
    merged(&store.snapshot(&Tenant::default()), &Selector::default(), &TimeRange::ALL).await.unwrap()
}

/// `main;read 3` and the like.
pub(crate) fn shown(folded: &BTreeMap<String, i64>) -> String {
    folded.iter().map(|(stack, value)| format!("{stack} {value}")).collect::<Vec<_>>().join(" | ")
}

/// Asks what the oracle can answer, over several selectors and ranges.
pub(crate) async fn assert_equals_oracle(store: &Store, oracle: &Oracle, step: &str) {
    let snapshot = store.snapshot(&Tenant::default());
    let cpu = "{__type__=\"cpu\"}";
    for text in ["{}", "{service_name=\"api\"}", "{service_name!=\"api\"}", "{pod=~\"p.*\"}", "{pod=\"none\"}", cpu] {
        let selector: Selector = text.parse().unwrap();
        for range in [
            TimeRange::ALL,
            TimeRange::new(DAY_START, DAY_START + 30 * SECOND).unwrap(),
            TimeRange::new(DAY_START - 5 * SECOND, DAY_START + 1).unwrap(),
        ] {
            let found = merged(&snapshot, &selector, &range).await.unwrap();
            assert_eq!(found, oracle.merge_folded(&selector, &range), "{step}: {text} in {range}");
        }
    }
}
