//! Compaction: the answers stay, whatever is merged with what, and whatever goes wrong on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flamestore_calltree::{LabelBytes, Observation, SealedDictionary};
use flamestore_model::{ErrorKind, NONE, Selector, Tenant, TimeRange};
use flamestore_segment::{ScanReport, Table};
use flamestore_store::{
    Bucket, Clock, CompactionPlan, Compactor, CompactorOptions, Entropy, ManualClock, Mode, RewriteReport, Scope,
    Snapshot, Store, StoreOptions, SystemClock, check,
};
use flamestore_testkit::{ArbitraryShape, Oracle, arbitrary_profile_of, profile};
use futures::future::BoxFuture;
use proptest::prelude::*;
use tokio::sync::watch;

use crate::faults::{Faulty, PutFault};
use crate::support::{
    DAY_START, SECOND, assert_equals_oracle, bucket, memory, merged_all, open, options, push, push_of,
};

/// A compactor with small limits, at `clock`.
pub(crate) fn compactor_at(bucket: &Bucket, seed: u128, clock: &Arc<ManualClock>) -> Compactor {
    compactor_of(bucket, seed, clock, 1 << 20)
}

fn compactor_of(bucket: &Bucket, seed: u128, clock: &Arc<ManualClock>, memory_bytes_max: usize) -> Compactor {
    let mut options = CompactorOptions::new(bucket.clone());
    let store = options_of_store(bucket, seed);
    options.segment = store.segment;
    options.entropy = store.entropy;
    options.clock = clock.clone();
    options.memory_bytes_max = memory_bytes_max;
    options.compaction.fresh_inputs = 3;
    options.compaction.inputs_max = 4;
    Compactor::new(options).unwrap()
}

fn options_of_store(bucket: &Bucket, seed: u128) -> StoreOptions {
    options(bucket, "unused", seed)
}

pub(crate) fn compactor(bucket: &Bucket, seed: u128) -> Compactor {
    compactor_at(bucket, seed, &Arc::new(ManualClock::new(DAY_START)))
}

fn quiet(_: &CompactionPlan, _: Option<&RewriteReport>) {}

pub(crate) async fn compact(compactor: &Compactor, scope: Scope) -> RewriteReport {
    compactor.compact(scope, &quiet).await.unwrap()
}

/// Everything the segments of a snapshot say, a line a row of `profiles`, sorted.
pub(crate) async fn dump(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    let mut report = ScanReport::default();
    for segment in snapshot.segments.iter() {
        let reader = &segment.reader;
        let series = reader.series().await.unwrap();
        let all = reader.select_series(&Selector::default()).await.unwrap();
        let rows = reader.profiles(&all, &TimeRange::ALL, &mut report).await.unwrap();
        for of_series in rows.chunk_by(|a, b| a.series_id == b.series_id) {
            let id = series.get(of_series[0].series_id).unwrap().dictionary_id;
            let entry = reader.dictionaries().await.unwrap()[id as usize].clone();
            let sealed = reader.load_dictionary(id, &mut report).await.unwrap();
            let details = reader.profile_details(of_series, &mut report).await.unwrap();
            let samples = reader.samples(&entry, of_series, &mut report).await.unwrap();
            for (detail, samples) in details.into_iter().zip(samples) {
                let row = series.get(detail.row.series_id).unwrap();
                let mut meta = detail.meta.clone();
                let mapping = std::mem::take(&mut meta.main_mapping);
                let mapping = sealed.dictionary.mappings.get(mapping as usize);
                let mapping = mapping.map(|mapping| text(&sealed, mapping.filename));
                let mut rows: Vec<String> = (0..samples.stacks.len())
                    .map(|at| {
                        let set = samples.label_sets.get(at).copied().unwrap_or(NONE);
                        let labels = row_labels(&sealed, set, &samples.observed.get(at));
                        format!("{} {labels:?} {}", stack(&sealed, samples.stacks[at]), samples.values[at])
                    })
                    .collect();
                rows.sort();
                let series = format!("{} {:?} {}", row.service_name, row.labels, row.profile_type);
                lines.push(format!("{series} {meta:?} {mapping:?} {} {rows:?}", detail.row.total));
            }
        }
    }
    lines.sort();
    lines
}

fn text(sealed: &SealedDictionary, id: u32) -> String {
    String::from_utf8_lossy(sealed.dictionary.strings.get(id)).into_owned()
}

fn stack(sealed: &SealedDictionary, stack: u32) -> String {
    let dictionary = &sealed.dictionary;
    let place = |location: u32| {
        let lines = dictionary.locations.lines(location).map(|line| {
            let known = (line.function as usize) < dictionary.functions.len();
            let name = if known { text(sealed, dictionary.functions.get(line.function).name) } else { "?".to_owned() };
            format!("{name}:{}:{}", line.line, line.column)
        });
        format!("{:x}@{}", dictionary.absolute_address(location), lines.collect::<Vec<_>>().join("+"))
    };
    let nodes = sealed.tree.stack(sealed.leaves[stack as usize]);
    nodes.into_iter().map(place).collect::<Vec<_>>().join(";")
}

fn row_labels(sealed: &SealedDictionary, set: u32, observation: &Observation) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut labels = Vec::new();
    sealed.dictionary.row_labels(set, observation, |key, value| {
        labels.push(match value {
            LabelBytes::Str(value) => format!("{}={}", text(key), text(value)),
            LabelBytes::Num(number, unit) => format!("{}={number}{}", text(key), text(unit)),
        });
    });
    labels
}

async fn dump_all(store: &Store) -> Vec<String> {
    store.refresh().await.unwrap();
    dump(&store.snapshot(&Tenant::default())).await
}

fn levels(store: &Store) -> Vec<u32> {
    let mut levels: Vec<u32> = store.manifest().segments.iter().map(|entry| entry.level).collect();
    levels.sort_unstable();
    levels
}

const SERVICES: [&str; 3] = ["api", "web", "db"];

/// Profiles of three services over an hour, a few in each of so many segments.
async fn filled(place: &Bucket, segments: u64) -> (Arc<Store>, Oracle) {
    let shape = ArbitraryShape { raw_bytes: false, ..ArbitraryShape::default() };
    let store = open(place, "w", 1).await;
    let mut oracle = Oracle::new();
    for segment in 0..segments {
        for number in 0..4 {
            let seed = segment * 4 + number;
            let time = DAY_START + SECOND * i64::try_from(seed * 11 % 59).unwrap();
            let service = SERVICES[usize::try_from(seed % 3).unwrap()];
            push(&store, &mut oracle, service, arbitrary_profile_of(seed, &shape), time).await;
        }
        store.flush().await.unwrap();
    }
    (store, oracle)
}

#[derive(Clone, Debug)]
enum Step {
    Push { seed: u64, service: usize, time: i64 },
    Flush,
    Compact(Scope),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let push = (any::<u64>(), 0..SERVICES.len(), -20_i64..80).prop_map(|(seed, service, minutes)| Step::Push {
        seed,
        service,
        time: DAY_START + minutes * 60 * SECOND,
    });
    let step = prop_oneof![
        6 => push,
        3 => Just(Step::Flush),
        1 => Just(Step::Compact(Scope::Due)),
        1 => Just(Step::Compact(Scope::All)),
        1 => (1_u64..40_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..30)
}

async fn check_steps(steps: Vec<Step>, memory_bytes_max: usize) {
    let shape = ArbitraryShape { raw_bytes: false, ..ArbitraryShape::default() };
    let place = memory();
    let clock = Arc::new(ManualClock::new(DAY_START));
    let store = open(&place, "w", 1).await;
    let compactor = compactor_of(&place, 2, &clock, memory_bytes_max);
    let mut oracle = Oracle::new();
    for step in steps {
        match step {
            Step::Push { seed, service, time } => {
                push(&store, &mut oracle, SERVICES[service], arbitrary_profile_of(seed, &shape), time).await;
            }
            Step::Flush => drop(store.flush().await.unwrap()),
            Step::Wait(seconds) => clock.advance(Duration::from_secs(seconds)),
            Step::Compact(scope) => {
                let before = dump_all(&store).await;
                compact(&compactor, scope).await;
                assert_eq!(dump_all(&store).await, before);
                assert_equals_oracle(&store, &oracle, "after compaction").await;
            }
        }
    }
    store.flush().await.unwrap();
    let before = dump_all(&store).await;
    compact(&compactor, Scope::All).await;
    assert_eq!(dump_all(&store).await, before);
    assert_equals_oracle(&store, &oracle, "at the end").await;
    let report = check(&place).await.unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(compactor.damaged(), []);
    // nothing is left to do
    let version = store.manifest().version;
    assert_eq!(compact(&compactor, Scope::All).await, RewriteReport::default());
    assert_eq!(store.refresh().await.unwrap(), version);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_same_whatever_is_merged_and_when(steps in steps(), tiny in any::<bool>()) {
        // tiny: a profile or two fill a segment
        let checked = check_steps(steps, if tiny { 8192 } else { 1 << 20 });
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(checked);
    }
}

#[tokio::test]
async fn fresh_segments_of_an_hour_become_one_when_there_are_enough_or_the_hour_is_over() {
    let place = memory();
    let clock = Arc::new(ManualClock::new(DAY_START + 60 * SECOND));
    let (store, oracle) = filled(&place, 2).await;
    let mut options = CompactorOptions::new(place.clone());
    options.clock = clock.clone();
    options.compaction.fresh_inputs = 3;
    let compactor = Compactor::new(options).unwrap();
    assert_eq!(compact(&compactor, Scope::Due).await, RewriteReport::default());
    clock.advance(Duration::from_secs(3600 + 360));
    let report = compact(&compactor, Scope::Due).await;
    assert_eq!((report.segments_in, report.segments_out), (2, 1));
    store.refresh().await.unwrap();
    assert_eq!(levels(&store), [1]);
    assert_equals_oracle(&store, &oracle, "after the hour").await;
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(compact(&compactor, Scope::Due).await, RewriteReport::default());
}

#[tokio::test]
async fn equal_profiles_are_neither_dropped_nor_doubled() {
    let place = memory();
    let store = open(&place, "w", 1).await;
    for _ in 0..3 {
        store.push(push_of("api", profile("main;read 3"), DAY_START)).await.unwrap();
        store.flush().await.unwrap();
    }
    compact(&compactor(&place, 2), Scope::All).await;
    store.refresh().await.unwrap();
    assert_eq!(merged_all(&store).await, BTreeMap::from([("main;read".to_owned(), 9)]));
    assert_eq!(store.manifest().segments.iter().map(|entry| entry.profile_rows).sum::<u64>(), 3);
}

#[tokio::test]
async fn a_damaged_segment_is_left_aside_and_the_others_are_merged() {
    let objects = Faulty::new();
    let place = bucket(objects.clone());
    let (store, _) = filled(&place, 3).await;
    let damaged = Arc::clone(&store.manifest().segments[1]);
    let path = damaged.key(Table::Samples).to_string();
    objects.overwrite(&path, vec![7_u8; usize::try_from(damaged.table(Table::Samples).unwrap().bytes).unwrap()]).await;
    let compactor = compactor(&place, 2);
    let report = compact(&compactor, Scope::All).await;
    assert_eq!(report.segments_in, 2);
    let found = compactor.damaged();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, damaged.id);
    assert!(found[0].1.contains("table=samples"), "{found:?}");
    store.refresh().await.unwrap();
    assert!(store.manifest().segment(damaged.id).is_some());
    assert!(levels(&store).starts_with(&[0, 2]), "{:?}", levels(&store));
}

#[tokio::test]
async fn a_segment_that_is_missing_is_damage_and_one_that_was_replaced_is_not() {
    let objects = Faulty::new();
    let place = bucket(objects.clone());
    let (store, oracle) = filled(&place, 4).await;
    let (first, second) = (compactor(&place, 2), compactor(&place, 3));
    // the second one knows the segments before the first one replaces them
    second.expire().await.unwrap();
    compact(&first, Scope::All).await;
    compact(&second, Scope::All).await;
    assert_eq!(second.damaged(), []);
    store.refresh().await.unwrap();
    assert_equals_oracle(&store, &oracle, "after both").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_compactors_beside_two_writers_lose_nothing() {
    const ROUNDS: i64 = 12;
    let place = memory();
    let real = |bucket: &Bucket, writer: &str, seed| StoreOptions {
        clock: Arc::new(SystemClock),
        ..options(bucket, writer, seed)
    };
    let mut writing = Vec::new();
    for (name, seed) in [("a", 1), ("b", 2)] {
        let store = Store::open(real(&place, name, seed)).await.unwrap();
        writing.push(tokio::spawn(async move {
            for round in 0..ROUNDS {
                let batch = profile(&format!("main;{name};r{round} 1"));
                store.push(push_of("api", batch, DAY_START + round * SECOND)).await.unwrap();
                store.flush().await.unwrap();
            }
        }));
    }
    let mut tending = Vec::new();
    for seed in [3, 4] {
        let mut options = CompactorOptions::new(place.clone());
        options.entropy = Arc::new(Entropy::from_seed(seed));
        options.compaction.inputs_max = 3;
        let compactor = Compactor::new(options).unwrap();
        tending.push(tokio::spawn(async move {
            for _ in 0..ROUNDS {
                match compactor.compact(Scope::All, &quiet).await {
                    Ok(_) => {}
                    // a hundred lost races in a row
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                }
                compactor.collect(Mode::Delete).await.unwrap();
            }
            assert_eq!(compactor.damaged(), []);
        }));
    }
    for task in writing.into_iter().chain(tending) {
        task.await.unwrap();
    }
    compact(&compactor(&place, 5), Scope::All).await;
    let fresh = open(&place, "c", 6).await;
    let merged = merged_all(&fresh).await;
    assert_eq!((merged.len(), merged.values().sum::<i64>()), (24, 24));
    assert_eq!(check(&place).await.unwrap().problems, []);
}

#[tokio::test]
async fn a_commit_without_an_answer_counts_once() {
    for fault in [PutFault::AnswerLost, PutFault::Repeated] {
        for part in ["manifest/", "/samples/"] {
            let objects = Faulty::new();
            let place = bucket(objects.clone());
            let (store, oracle) = filled(&place, 3).await;
            objects.strike(fault, part, 1);
            let compactor = compactor(&place, 2);
            // an upload without an answer fails the merge; what it left behind is garbage
            if compactor.compact(Scope::All, &quiet).await.is_err() {
                compact(&compactor, Scope::All).await;
            }
            store.refresh().await.unwrap();
            assert_equals_oracle(&store, &oracle, part).await;
            assert!(levels(&store).iter().all(|level| *level >= 2), "{:?}", levels(&store));
        }
    }
}

#[tokio::test]
async fn the_background_loop_tends_the_store_until_it_is_stopped() {
    let place = memory();
    let clock = Arc::new(ManualClock::new(DAY_START + 3 * 3600 * SECOND));
    let (store, oracle) = filled(&place, 3).await;
    let compactor = Arc::new(compactor_at(&place, 2, &clock));
    let running = {
        let (compactor, store) = (Arc::clone(&compactor), Arc::clone(&store));
        tokio::spawn(async move { compactor.run(Some(&store)).await })
    };
    // the round ends with a look at the store, so it needs no refresh of ours
    while store.manifest().segments.iter().any(|entry| entry.level == 0) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_equals_oracle(&store, &oracle, "after a round").await;
    compactor.stop();
    running.await.unwrap();
}

/// A clock that tells how often somebody went to sleep.
struct Sleepers {
    clock: ManualClock,
    slept: watch::Sender<usize>,
}

impl Clock for Sleepers {
    fn now_unix_nano(&self) -> i64 {
        self.clock.now_unix_nano()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.slept.send_modify(|slept| *slept += 1);
        self.clock.sleep(time)
    }
}

#[tokio::test]
async fn a_round_without_work_looks_for_a_newer_manifest_once() {
    let objects = Faulty::new();
    let place = bucket(objects.clone());
    filled(&place, 3).await;
    let clock =
        Arc::new(Sleepers { clock: ManualClock::new(DAY_START + 3 * 3600 * SECOND), slept: watch::Sender::new(0) });
    let mut slept = clock.slept.subscribe();
    let mut options = CompactorOptions::new(place);
    options.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let interval = options.interval;
    let compactor = Arc::new(Compactor::new(options).unwrap());
    let running = {
        let compactor = Arc::clone(&compactor);
        tokio::spawn(async move { compactor.run(None).await })
    };
    slept.wait_for(|slept| *slept == 1).await.unwrap();
    let before = objects.requests();
    clock.clock.advance(interval);
    slept.wait_for(|slept| *slept == 2).await.unwrap();
    // whether the next version exists, and whether the one that is known still does
    assert_eq!(objects.requests() - before, 2);
    compactor.stop();
    running.await.unwrap();
}
