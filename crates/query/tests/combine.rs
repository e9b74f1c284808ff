//! Values of instant and cumulative types over time equal the oracle's, whatever they are read from.
#![allow(clippy::unwrap_used, reason = "what a test needs must not fail")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{CPU, SECOND, START, World, query, text};
use flamestore_model::{ErrorKind, TimeRange};
use flamestore_query::{Combine, Query, ReadFrom};
use flamestore_segment::{RollUps, SegmentOptions, Table};
use flamestore_store::{Compactor, CompactorOptions, Entropy, ManualClock};
use flamestore_testkit::Fixture;
use object_store::ObjectStoreExt;
use object_store::path::Path;

const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;
const HEAP: [&str; 2] = [r#"{__type__="inuse_space"}"#, r#"{__type__="alloc_space"}"#];
const ALL: [Combine; 6] = [Combine::Auto, Combine::Sum, Combine::Average, Combine::Last, Combine::Max, Combine::Added];

/// Heap profile number `at` of a process: what is in use goes up and down, what was allocated grows until a restart.
async fn push(world: &mut World, pod: &str, time: i64, at: i64) {
    let since_restart = at % 11 + 1;
    let used = |salt: i64| (at * 7 + salt * 5) % 13 - salt % 2;
    let text = format!(
        "main;read 0,{},0,{} | main;write 0,{},0,{} | main;only{} 0,{},0,{}",
        since_restart * 100 + at % 3,
        used(1),
        since_restart * 10,
        used(2),
        at % 4,
        since_restart,
        used(3) + 2,
    );
    let labels = [("service_name", "api"), ("pod", pod)];
    world.push(&labels, time, Fixture::heap().profile(&text)).await;
}

async fn world(rollups: RollUps, step: i64, count: i64, flush_every: i64) -> World {
    let mut world = World::with(SegmentOptions { rollups, ..SegmentOptions::tiny() }).await;
    for at in 0..count {
        push(&mut world, "a", at * step - DAY, at).await;
        push(&mut world, "b", at * step - DAY + 1, at * 3 + 1).await;
        if at % 5 == 0 {
            let cpu = Fixture::cpu().profile(&format!("main;read {at}"));
            world.push(&[("service_name", "api")], at * step - DAY, cpu).await;
        }
        if at % flush_every == flush_every - 1 {
            world.flush().await;
        }
    }
    world
}

fn added(values: &[i64], totals: &[i64]) -> i64 {
    let steps = values.windows(2).zip(totals.windows(2));
    let step = |(values, totals): (&[i64], &[i64])| match values[1] - values[0] {
        more if totals[1] >= totals[0] && more >= 0 => more,
        _ => values[1],
    };
    steps.map(step).sum()
}

fn average(values: &[i64]) -> i64 {
    let (sum, count) = (values.iter().sum::<i64>(), i64::try_from(values.len()).unwrap());
    (2 * sum + sum.signum() * count).checked_div(2 * count).unwrap()
}

fn expected(world: &World, query: &Query, combine: Combine) -> String {
    let over_time = |values: &[i64], totals: &[i64]| match combine {
        Combine::Auto => unreachable!("resolved before"),
        Combine::Sum => values.iter().sum(),
        Combine::Average => average(values),
        Combine::Last => *values.last().unwrap(),
        Combine::Max => *values.iter().max().unwrap(),
        Combine::Added => added(values, totals),
    };
    let folded = world.oracle.combined_folded(&query.selector, &query.range, over_time);
    folded.iter().map(|(stack, value)| format!("{stack} {value}\n")).collect()
}

async fn check(world: &World, range: TimeRange, read_from: ReadFrom) {
    for (selector, auto) in HEAP.into_iter().zip([Combine::Average, Combine::Last]).chain([(CPU, Combine::Sum)]) {
        for combine in ALL {
            let query = Query { combine, read_from, ..query(selector, range) };
            let resolved = if combine == Combine::Auto { auto } else { combine };
            let answer = world.engine.merge(&query).await.unwrap();
            assert_eq!(text(&answer.value), expected(world, &query, resolved), "{query:?}");
            let profiles = world.oracle.profiles(&query.selector, &range).len() as u64;
            assert_eq!((answer.report.profiles, answer.report.damaged), (profiles, Vec::new()), "{query:?}");
        }
    }
}

fn ranges() -> [TimeRange; 6] {
    let range = |start, end| TimeRange { start, end };
    [
        TimeRange::ALL,
        range(-DAY, DAY),
        range(-DAY + HOUR / 2, 5 * HOUR),
        range(-5 * HOUR - 1, 7 * HOUR + 20 * 60 * SECOND),
        range(3 * HOUR, 3 * HOUR + 1),
        range(90 * DAY, 91 * DAY),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_over_time_equal_the_oracle_from_samples_heads_hours_and_days() {
    for rollups in [RollUps::None, RollUps::HoursAndDays] {
        let world = world(rollups, 40 * 60 * SECOND, 75, 20).await;
        for range in ranges() {
            for read_from in [ReadFrom::Widest, ReadFrom::Hours, ReadFrom::Samples] {
                check(&world, range, read_from).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_over_time_equal_the_oracle_from_months_and_years() {
    let mut world = world(RollUps::HoursAndDays, 2 * DAY + HOUR, 70, 1).await;
    let mut options = CompactorOptions::new(world.store.options().bucket.clone());
    options.roll_up.level_min = 0;
    options.clock = Arc::new(ManualClock::new(START));
    options.entropy = Arc::new(Entropy::from_seed(5));
    let rolled = Compactor::new(options).unwrap().roll_up().await.unwrap();
    assert!(rolled.months >= 4 && rolled.years == 1, "{rolled:?}");
    world.reopen().await;
    for range in [TimeRange::ALL, TimeRange { start: 10 * DAY + HOUR, end: 131 * DAY }] {
        check(&world, range, ReadFrom::Widest).await;
    }
    let query = Query { combine: Combine::Max, ..query(HEAP[0], TimeRange::ALL) };
    let plan = world.engine.explain_merge(&query).await.unwrap();
    for expected in ["CombineExec", "combine=max", "windows_30d="] {
        assert!(plan.contains(expected), "no {expected:?} in\n{plan}");
    }
    assert!(world.engine.merge(&query).await.unwrap().report.months > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_stand_in_for_damaged_roll_ups_of_instant_values() {
    let mut world = world(RollUps::HoursAndDays, 40 * 60 * SECOND, 75, 20).await;
    for stored in world.store.snapshot(&Default::default()).segments.iter() {
        let path = Path::from(stored.entry.key(Table::Rollups1d).to_string());
        let mut bytes = world.objects.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
        bytes.iter_mut().skip(4).take(40).for_each(|byte| *byte ^= 0x55);
        world.objects.put(&path, bytes.into()).await.unwrap();
    }
    world.flush().await;
    world.reopen().await;
    check(&world, TimeRange::ALL, ReadFrom::Widest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_diff_combines_either_side() {
    let world = world(RollUps::HoursAndDays, 40 * 60 * SECOND, 75, 20).await;
    let side = |start, end| Query { combine: Combine::Auto, ..query(HEAP[0], TimeRange { start, end }) };
    let (before, after) = (side(-DAY, 0), side(0, DAY));
    let answer = world.engine.diff(&before, &after).await.unwrap();
    let of = |query: &Query| -> BTreeMap<String, i64> {
        world.oracle.combined_folded(&query.selector, &query.range, |values, _| average(values))
    };
    let (left, right) = (of(&before), of(&after));
    let stacks: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let value = |side: &BTreeMap<String, i64>, stack: &String| side.get(stack).copied().unwrap_or_default();
    let lines = stacks.into_iter().map(|stack| format!("{stack} {} {}\n", value(&left, stack), value(&right, stack)));
    assert_eq!(text(&answer.value), lines.collect::<String>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn types_are_not_mixed_and_sums_that_leave_64_bits_are_refused() {
    let mut world = World::new().await;
    for at in 0..3 {
        let value = if at == 1 { 1 } else { i64::MAX - 1 };
        let heap = Fixture::heap().profile(&format!("main 1,{value},1,{value}"));
        world.push(&[], at, heap).await;
    }
    let asked = |selector, combine| Query { combine, ..query(selector, TimeRange::ALL) };
    let mixed = world.engine.merge(&asked("", Combine::Last)).await.unwrap_err();
    assert_eq!(mixed.kind(), ErrorKind::Invalid, "{mixed}");
    let over = world.engine.merge(&asked(HEAP[0], Combine::Average)).await.unwrap_err();
    assert_eq!(over.kind(), ErrorKind::Invalid, "{over}");
    for combine in [Combine::Last, Combine::Max] {
        let answer = world.engine.merge(&asked(HEAP[0], combine)).await.unwrap();
        assert_eq!(text(&answer.value), format!("main {}\n", i64::MAX - 1), "{combine}");
    }
}
