//! What functions spend in two periods equals the oracle's, and what changed beyond variation comes first.
#![allow(clippy::unwrap_used, reason = "what a test needs must not fail")]

mod common;

use std::collections::BTreeMap;

use common::{CPU, SECOND, START, World, query};
use flamestore_model::TimeRange;
use flamestore_segment::SegmentOptions;
use flamestore_testkit::{Fixture, Oracle};

const BEFORE: TimeRange = TimeRange { start: START, end: START + 240 * SECOND };
const AFTER: TimeRange = TimeRange { start: START + 240 * SECOND, end: START + 480 * SECOND };

/// A profile every 20 s: `noisy` takes anything, `grown` half as much again from the second period on, `new` exists only there.
async fn world(flushes: &[i64]) -> World {
    let mut world = World::with(SegmentOptions::tiny()).await;
    for at in 0..24_i64 {
        let after = at >= 12;
        let noise = 40 + (at * 37) % 60;
        let grown = if after { 60 } else { 40 } + at % 3;
        let new = if after { "| main;new 5" } else { "" };
        let profile = format!("main;noisy {noise} | main;grown {grown} | main;steady 100 {new}");
        world.push(&[("service_name", "api")], START + at * 20 * SECOND, Fixture::cpu().profile(&profile)).await;
        if flushes.contains(&at) {
            world.flush().await;
        }
    }
    world
}

/// By function: own value and own share of each of twelve slices.
fn shares(oracle: &Oracle, range: &TimeRange) -> BTreeMap<String, Vec<f64>> {
    let selector = CPU.parse().unwrap();
    let mut shares: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for slice in 0..12_usize {
        let start = range.start + i64::try_from(slice).unwrap() * 20 * SECOND;
        let rows = oracle.top(&selector, &TimeRange { start, end: start + 20 * SECOND });
        let all: i64 = rows.iter().map(|row| row.self_value).sum();
        for row in rows {
            let of = shares.entry(row.name).or_insert_with(|| vec![0.0; 12]);
            of[slice] = f64::from(i32::try_from(row.self_value).unwrap()) / f64::from(i32::try_from(all).unwrap());
        }
    }
    shares
}

/// Welch's t of two lists of twelve numbers, by the book.
fn welch(before: &[f64], after: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / 12.0;
    let error = |values: &[f64]| values.iter().map(|v| (v - mean(values)).powi(2)).sum::<f64>() / 11.0 / 12.0;
    (mean(after) - mean(before)) / (error(before) + error(after)).sqrt()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_of_two_periods_equal_the_oracle() {
    for flushes in [&[][..], &[23], &[5, 11, 17], &[3, 14]] {
        let world = world(flushes).await;
        let (before, after) = (query(CPU, BEFORE), query(CPU, AFTER));
        let found = world.engine.compare_functions(&before, &after).await.unwrap().value;
        assert_eq!(found.slices, [12, 12]);
        let names: Vec<&str> = found.functions.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["grown", "new", "steady", "noisy", "main"], "{:?}", found.functions);

        let tops = [&BEFORE, &AFTER].map(|range| world.oracle.top(&before.selector, range));
        let slices = [&BEFORE, &AFTER].map(|range| shares(&world.oracle, range));
        for change in &found.functions {
            let row = |side: usize| tops[side].iter().find(|row| row.name == change.name);
            assert_eq!(change.self_values, [0, 1].map(|side| row(side).map_or(0, |row| row.self_value)), "{change:?}");
            assert_eq!(change.totals, [0, 1].map(|side| row(side).map_or(0, |row| row.total)), "{change:?}");
            let none = vec![0.0; 12];
            let of = |side: usize| slices[side].get(&change.name).unwrap_or(&none);
            let expected = welch(of(0), of(1));
            let t = change.self_significance.unwrap();
            assert!(expected.is_nan() && t == 0.0 || (t - expected).abs() < 1e-6 * expected.abs(), "{t} {expected}");
        }
        let all = |side: usize| tops[side].iter().map(|row| row.self_value).sum::<i64>();
        assert_eq!(found.totals, [all(0), all(1)]);
        let t =
            |name: &str| found.functions.iter().find(|change| change.name == name).unwrap().self_significance.unwrap();
        assert!(t("grown") > 3.0 && t("new") > 3.0 && t("noisy").abs() < 3.0, "{:?}", found.functions);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_period_of_one_profile_tells_no_significance() {
    let world = world(&[]).await;
    let one = TimeRange { start: START, end: START + SECOND };
    let found = world.engine.compare_functions(&query(CPU, one), &query(CPU, AFTER)).await.unwrap().value;
    assert_eq!(found.slices, [1, 12]);
    assert!(found.functions.iter().all(|change| change.self_significance.is_none()), "{found:?}");
    let nothing = TimeRange { start: 0, end: 1 };
    let found = world.engine.compare_functions(&query(CPU, nothing), &query(CPU, AFTER)).await.unwrap().value;
    assert_eq!((found.totals[0], found.slices), (0, [0, 12]));
}
