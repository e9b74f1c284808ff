//! One question, every read API: Flamestore's gRPC and SQL, Pyroscope's and Parca's say the same, to the unit, and it is what
//! plain loops over the pushed profiles say.
//!
//! ```text
//! profiles ─▶ compacted segments, fresh segments, a head ─▶ flamestore.v1 · SQL by gRPC, by HTTP
//!    └──────▶ the oracle ─────────────── = ────────────────  querier.v1 by Connect, JSON, gRPC · /render · Parca
//! ```
//!
//! Every answer is read from its own wire form into one of three: values by stack, own and total values by function, totals by
//! step. Where `docs/compatibility.md` says that an API answers something else, it is that something else that is asked for here.

mod flamestore;
mod parca;
mod pyroscope;
mod wires;

use std::collections::{BTreeMap, BTreeSet};

use flamestore_model::{Labels, ProfileBatch, ProfileType, Selector, Temporality, TimeRange};
use flamestore_proto::v1;
use flamestore_store::{Compactor, CompactorOptions, Scope, StoreOptions, StoreUrl};
use flamestore_testkit::{ArbitraryShape, Fixture, Oracle, arbitrary_profile_of};

use crate::harness::{NOON, Running, SECOND, config, raw};

const HOUR: i64 = 3600 * SECOND;
/// Two periods, one after the other.
const PERIODS: [TimeRange; 2] =
    [TimeRange { start: NOON, end: NOON + HOUR }, TimeRange { start: NOON + HOUR, end: NOON + 2 * HOUR }];
const BOTH: TimeRange = TimeRange { start: NOON, end: NOON + 2 * HOUR };

/// Values by stack: names, root first, joined by semicolons. None of them is 0.
type Stacks = BTreeMap<String, i64>;
/// Own and total values by function. None is 0 in both.
type Functions = BTreeMap<String, (i64, i64)>;
/// Totals by the start of their step, in nanoseconds, by label set.
type Steps = BTreeMap<String, BTreeMap<i64, i64>>;

/// Which profiles are asked for.
#[derive(Clone, Debug)]
struct Question {
    ty: ProfileType,
    labels: &'static str,
    range: TimeRange,
}

impl Question {
    /// As all APIs but Parca's write it.
    fn query(&self) -> String {
        format!("{}{}", self.ty, self.labels)
    }

    fn selector(&self) -> Selector {
        self.query().parse().unwrap()
    }

    /// As a condition on the rows of SQL's tables.
    fn condition(&self) -> String {
        format!(
            "profile_type = '{}' AND selects(labels, profile_type, '{}') AND time_unix_nano >= {} AND time_unix_nano < {}",
            self.ty, self.labels, self.range.start, self.range.end
        )
    }
}

/// What all must say.
#[derive(Debug)]
struct Expected {
    /// Values over time as suits the type, as in flame graphs.
    stacks: Stacks,
    functions: Functions,
    /// Plain sums, as in rows and in pprofs.
    sums: Stacks,
    sums_of_functions: Functions,
}

impl Expected {
    fn of(world: &World, question: &Question) -> Self {
        let (selector, range) = (question.selector(), question.range);
        let sums = world.oracle.merge_folded(&selector, &range);
        let over_time: fn(&[i64], &[i64]) -> i64 = match world.temporality(question) {
            Temporality::Instant => |values, _| average(values),
            Temporality::Cumulative => |values, _| values.last().copied().unwrap_or_default(),
            Temporality::Delta | Temporality::Unknown => |values, _| values.iter().sum(),
        };
        let stacks = world.oracle.combined_folded(&selector, &range, over_time);
        let top = world.oracle.top(&selector, &range);
        let sums_of_functions: Functions = top.into_iter().map(|row| (row.name, (row.self_value, row.total))).collect();
        // names that hold a semicolon are told apart by the oracle alone
        let functions = if stacks == sums { sums_of_functions.clone() } else { functions(&stacks) };
        Self { stacks, functions, sums, sums_of_functions }
    }

    fn total(&self) -> i64 {
        self.stacks.values().sum()
    }

    fn total_of_sums(&self) -> i64 {
        self.sums.values().sum()
    }

    /// Whether there is a width for every value.
    fn can_be_drawn(&self) -> bool {
        self.stacks.values().all(|value| *value > 0)
    }
}

/// To the nearest whole number, halves away from zero.
fn average(values: &[i64]) -> i64 {
    let (sum, count) = (values.iter().map(|value| i128::from(*value)).sum::<i128>(), values.len() as i128);
    let rounded = (2 * sum.abs() + count) / (2 * count) * sum.signum();
    i64::try_from(rounded).unwrap()
}

/// What functions spend on stacks.
fn functions(stacks: &Stacks) -> Functions {
    let mut functions = Functions::new();
    for (stack, value) in stacks.iter().filter(|(stack, _)| !stack.is_empty()) {
        let frames: Vec<&str> = stack.split(';').collect();
        functions.entry(frames[frames.len() - 1].to_owned()).or_default().0 += value;
        for name in frames.into_iter().collect::<BTreeSet<_>>() {
            functions.entry(name.to_owned()).or_default().1 += value;
        }
    }
    functions.retain(|_, values| *values != (0, 0));
    functions
}

/// Sums without those that are 0.
fn summed<K: Ord>(rows: impl IntoIterator<Item = (K, i64)>) -> BTreeMap<K, i64> {
    let mut sums = BTreeMap::new();
    rows.into_iter().for_each(|(key, value)| *sums.entry(key).or_default() += value);
    sums.retain(|_, value| *value != 0);
    sums
}

/// A profile to push, with its labels and its time.
struct Taken {
    labels: Vec<(&'static str, String)>,
    time_unix_nano: i64,
    batch: ProfileBatch,
}

/// A server and an oracle that hold the same profiles.
struct World {
    running: Running,
    oracle: Oracle,
}

impl World {
    /// Pushes `profiles`: half of them into segments that are compacted, a third into fresh ones, the rest stays in the head.
    async fn of(profiles: Vec<Taken>) -> Self {
        let bucket = StoreUrl::Memory.open(&Default::default()).unwrap();
        let running = Running::start_store(config(), StoreOptions::new(bucket.clone())).await;
        let mut world = Self { running, oracle: Oracle::new() };
        let parts = profiles.chunks((profiles.len() / 6).max(1));
        let (last, middle) = (parts.len() - 1, parts.len() / 2 - 1);
        for (number, part) in parts.enumerate() {
            for taken in part {
                world.push(taken).await;
            }
            if number < last {
                world.running.store.flush().await.unwrap();
            }
            if number == middle {
                let compactor = Compactor::new(CompactorOptions::new(bucket.clone())).unwrap();
                compactor.compact(Scope::All, &|_, _| {}).await.unwrap();
                world.running.store.refresh().await.unwrap();
            }
        }
        let levels: BTreeSet<u32> =
            world.running.store.manifest().segments.iter().map(|segment| segment.level).collect();
        assert!(levels.len() > 1 && levels.contains(&0), "fresh and compacted segments: {levels:?}");
        let head = world.running.status().head(v1::HeadRequest {}).await.unwrap().into_inner();
        assert!(head.profiles > 0, "{head:?}");
        world
    }

    async fn push(&mut self, taken: &Taken) {
        let labels: Vec<(&str, &str)> = taken.labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let profile = v1::RawProfile { time_unix_nano: Some(taken.time_unix_nano), ..raw(&labels, &taken.batch) };
        let id = self.running.push(profile).await;
        let labels = Labels::from_pairs(labels).unwrap();
        self.oracle.push(id, &labels, Some(taken.time_unix_nano), taken.batch.clone());
    }

    fn types(&self) -> BTreeSet<ProfileType> {
        self.oracle.profile_types(&Selector::default(), &TimeRange::ALL)
    }

    /// Asks every API for one merge.
    async fn check_merge(&self, question: &Question) {
        let expected = Expected::of(self, question);
        flamestore::check_merge(&self.running, question, &expected).await;
        pyroscope::check_merge(&self.running, question, &expected).await;
        parca::check_merge(&self.running, question, self.parcas(question), &expected).await;
    }

    /// How the values of the selected profiles relate over time. Profiles of different temporality are asked for together only
    /// where each series has one profile.
    fn temporality(&self, question: &Question) -> Temporality {
        let selected = self.oracle.profiles(&question.selector(), &question.range);
        let of = |id| self.oracle.profile(id).map_or(0, |batch| batch.header.duration_nano);
        let all: BTreeSet<Temporality> = selected.iter().map(|row| question.ty.temporality(of(row.id))).collect();
        all.into_iter().next().unwrap_or(Temporality::Delta)
    }

    /// The question as Parca writes it, which answers series of both kinds where some are of the kind that is asked for.
    fn parcas(&self, question: &Question) -> String {
        let suffix = if self.temporality(question) == Temporality::Delta { ":delta" } else { "" };
        format!("{}{suffix}{}", question.ty, question.labels)
    }

    /// Asks every API what changed from the first period to the second.
    async fn check_diff(&self, ty: &ProfileType, labels: &'static str) {
        let questions = PERIODS.map(|range| Question { ty: ty.clone(), labels, range });
        let expected = questions.each_ref().map(|question| Expected::of(self, question));
        flamestore::check_diff(&self.running, &questions, &expected).await;
        pyroscope::check_diff(&self.running, &questions, &expected).await;
        let parcas = questions.each_ref().map(|question| self.parcas(question));
        parca::check_diff(&self.running, &questions, &parcas, &expected).await;
    }

    /// Asks every API for totals over time.
    async fn check_steps(&self, question: &Question, step_nano: i64, group_by: &[&str]) {
        let (selector, range) = (question.selector(), question.range);
        let expected: Steps = self
            .oracle
            .time_series(&selector, &range, step_nano, group_by)
            .into_iter()
            .map(|(labels, steps)| (labels.to_string(), steps))
            .collect();
        flamestore::check_steps(&self.running, question, step_nano, group_by, &expected).await;
        pyroscope::check_steps(&self.running, question, step_nano, group_by, &expected).await;
        parca::check_steps(self, question, step_nano, group_by, &expected).await;
    }

    /// Asks every API what there is.
    async fn check_lists(&self, labels: &'static str, range: TimeRange) {
        flamestore::check_lists(self, labels, range).await;
        pyroscope::check_lists(self, labels, range).await;
        parca::check_lists(self, labels, range).await;
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    /// Samples of `types` values each, on stacks that share much and call themselves at times.
    fn samples(&mut self, types: usize) -> String {
        let names = ["main", "run", "read", "write", "alloc", "copy<inlined", "spin", "ü"];
        let sample = |dice: &mut Self| {
            let depth = 1 + dice.below(5);
            let stack: Vec<&str> =
                (0..depth).map(|level| if level == 0 { "main" } else { names[dice.below(8)] }).collect();
            let values: Vec<String> = (0..types).map(|_| (1 + dice.below(900)).to_string()).collect();
            let label = ["", " {thread=a}", " {bytes=64}"][dice.below(3)];
            format!("{} {}{label}", stack.join(";"), values.join(","))
        };
        let count = 1 + self.below(8);
        (0..count).map(|_| sample(self)).collect::<Vec<_>>().join(" | ")
    }
}

/// The series that profiles are made for.
fn series(number: usize) -> Vec<(&'static str, String)> {
    let (service, pod, region) = match number % 4 {
        0 => ("api", "p-1", "eu"),
        1 => ("api", "p-2", "us"),
        2 => ("web", "p-3", "eu"),
        _ => ("jobs", "", ""),
    };
    let all = [("service_name", service), ("pod", pod), ("region", region)];
    let mut labels: Vec<_> = all.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    if service == "web" {
        labels.push(("k8s.node", "n1"));
    }
    labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// Profiles of several services, types and labels in both periods.
fn made(seed: u64) -> Vec<Taken> {
    let mut dice = Dice(seed);
    let mut profiles = Vec::new();
    for number in 0..72 {
        let kind = dice.below(4);
        let fixture = match kind {
            0 => Fixture::cpu(),
            1 => Fixture::cpu().types(&[("wall", "nanoseconds")]),
            2 => Fixture::heap(),
            _ => Fixture::cpu().types(&[("goroutine", "count")]),
        };
        let types = if kind == 2 { 4 } else { 1 };
        let period = PERIODS[number % 2];
        // on whole milliseconds, which is what Pyroscope's times are
        let millis = dice.below(3_600_000);
        let time_unix_nano = period.start + i64::try_from(millis).unwrap() * 1_000_000;
        let batch =
            fixture.time(time_unix_nano).duration(0).mapping(0x1000, 0x9000, "b1").profile(&dice.samples(types));
        profiles.push(Taken { labels: series(dice.below(4)), time_unix_nano, batch });
    }
    profiles
}

const LABELS: [&str; 6] = [
    "{}",
    r#"{service_name="api"}"#,
    r#"{service_name!="api",region=~"e.*"}"#,
    r#"{region=""}"#,
    r#"{pod!~"p-[12]"}"#,
    r#"{pod="none"}"#,
];

#[tokio::test(flavor = "multi_thread")]
async fn merges_are_the_same_by_every_api() {
    let world = World::of(made(1)).await;
    for (number, ty) in world.types().into_iter().enumerate() {
        // every type, every selector and every range, and not all of each with all others
        for at in [number, number + 3] {
            let range = [BOTH, PERIODS[0], PERIODS[1]][at % 3];
            world.check_merge(&Question { ty: ty.clone(), labels: LABELS[at % LABELS.len()], range }).await;
        }
    }
    world.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_the_same_by_every_api() {
    let world = World::of(made(2)).await;
    for ty in world.types() {
        for labels in [LABELS[0], LABELS[3]] {
            world.check_diff(&ty, labels).await;
        }
    }
    world.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_over_time_are_the_same_by_every_api() {
    let world = World::of(made(3)).await;
    let steps = [
        (LABELS[0], 600, &["service_name", "pod"][..]),
        (LABELS[1], 60, &["region"]),
        (LABELS[2], 1, &["service_name"]),
        (LABELS[4], 3600, &["pod"]),
    ];
    for (number, ty) in world.types().into_iter().enumerate() {
        for (labels, step, group_by) in [steps[number % 4], steps[(number + 2) % 4]] {
            let question = Question { ty: ty.clone(), labels, range: BOTH };
            world.check_steps(&question, step * SECOND, group_by).await;
        }
    }
    world.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_the_same_by_every_api() {
    let world = World::of(made(4)).await;
    for (labels, range) in [(0, BOTH), (1, PERIODS[0]), (2, BOTH), (3, PERIODS[1]), (5, BOTH)] {
        world.check_lists(LABELS[labels], range).await;
    }
    world.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_of_any_content_are_the_same_by_every_api() {
    let shape = ArbitraryShape { raw_bytes: false, ..ArbitraryShape::default() };
    let taken = |seed: u64| {
        let at = i64::try_from(seed).unwrap();
        let time_unix_nano = PERIODS[usize::try_from(seed % 2).unwrap()].start + at * SECOND;
        let batch = arbitrary_profile_of(seed, &shape);
        Taken { labels: series(usize::try_from(seed / 2).unwrap()), time_unix_nano, batch }
    };
    let world = World::of((0..48).map(taken).collect()).await;
    // averages are rounded by stack of places, of which several may have one stack of names: the oracle knows names alone
    let is_summed = |ty: &ProfileType| ty.temporality(1) == Temporality::Delta;
    for (number, ty) in world.types().into_iter().filter(is_summed).enumerate() {
        world.check_merge(&Question { ty, labels: LABELS[number % 2], range: BOTH }).await;
    }
    world.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn real_profiles_are_the_same_by_every_api() {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else { return };
    let mut files: Vec<_> = ["go", "languages"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(std::path::Path::new(&corpus).join("pprof").join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() < 100_000))
        .collect();
    files.sort();
    let read = |path| {
        let bytes = flamestore_formats::decompress(std::fs::read(path).unwrap().into(), &Default::default()).ok()?;
        flamestore_formats::decode_pprof(bytes, &Default::default()).ok()
    };
    let batches: Vec<ProfileBatch> = files.iter().filter_map(read).collect();
    assert!(batches.len() > 6, "{} of {} files", batches.len(), files.len());
    // one profile a series: what is combined over time is then itself, whatever its temporality
    let taken = |(number, batch): (i64, ProfileBatch)| Taken {
        labels: vec![("service_name", format!("corpus-{number}"))],
        time_unix_nano: PERIODS[usize::from(number % 2 == 1)].start + number * SECOND,
        batch,
    };
    let world = World::of((0..).zip(batches).map(taken).collect()).await;
    for ty in world.types() {
        world.check_merge(&Question { ty: ty.clone(), labels: "{}", range: BOTH }).await;
        world.check_diff(&ty, "{}").await;
    }
    world.check_lists("{}", BOTH).await;
    world.running.stop().await.unwrap();
}
