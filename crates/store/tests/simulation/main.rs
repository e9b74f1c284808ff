//! Deterministic simulation: writers, readers, crashes and a bucket with bad days, all drawn from one seed.
//!
//! ```text
//! FLAMESTORE_SIM_SEEDS=1000 cargo test -p flamestore-store --test simulation          seeds 0 to 999
//! FLAMESTORE_SIM_SEEDS=417..418 cargo test -p flamestore-store --test simulation      that seed alone, with its trace
//! ```
//!
//! `docs/simulation.md` says what is simulated and how a seed is read.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; clippy knows only functions marked as such"
)]

mod actors;
mod disk;
mod ledger;
mod outage;
mod run;
mod world;

use std::ops::Range;

use actors::Told;
use run::{Outcome, run};

/// Seeds that every test run goes through.
const SEEDS: Range<u64> = 0..40;

/// The seeds to run: `N` for the first N, `A..B` for a range.
fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("FLAMESTORE_SIM_SEEDS") else { return SEEDS };
    let number = |text: &str| text.trim().parse().expect("FLAMESTORE_SIM_SEEDS is N or A..B");
    match text.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => 0..number(&text),
    }
}

fn told(seed: u64, outcome: &Outcome) -> String {
    let replay = format!("FLAMESTORE_SIM_SEEDS={seed}..{} cargo test -p flamestore-store --test simulation", seed + 1);
    format!("seed {seed}: {}\nreplay: {replay}\n{}", outcome.told.failures.join("\n"), outcome.trace.join("\n"))
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_whatever_the_seed() {
    let seeds = seeds();
    let (mut steps, mut profiles, mut all) = (0, 0, Told::default());
    for seed in seeds.clone() {
        let outcome = run(seed);
        assert!(outcome.told.failures.is_empty(), "{}", told(seed, &outcome));
        steps += outcome.trace.len();
        profiles += outcome.profiles;
        all.queries += outcome.told.queries;
        all.merged += outcome.told.merged;
        all.collected += outcome.told.collected;
    }
    let Told { queries, merged, collected, .. } = all;
    println!(
        "seeds {seeds:?}: {steps} steps, {profiles} profiles, {queries} answers equal to the oracle's, {merged} segments \
         merged, {collected} objects collected"
    );
    if seeds.clone().count() >= SEEDS.count() {
        assert!(profiles > 0 && queries > 0 && merged > 0 && collected > 0, "the simulation left something out");
    }
}

#[test]
fn a_seed_replays_to_the_same_trace() {
    for seed in seeds().take(3) {
        let (first, second) = (run(seed), run(seed));
        let differs = first.trace.iter().zip(&second.trace).position(|(a, b)| a != b);
        let around = |at: usize| (first.trace.get(at).cloned(), second.trace.get(at).cloned());
        assert_eq!(differs.map(around), None, "seed {seed}, step {differs:?}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
    assert_ne!(run(1).trace, run(2).trace, "the seed changes nothing");
}
