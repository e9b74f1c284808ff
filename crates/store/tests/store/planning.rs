//! The compaction planner: what holds of every plan, and where planning leads to.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{SegmentId, Tenant};
use flamestore_segment::Table;
use flamestore_store::{
    Busy, CompactionPlan, CompactionPolicy, Day, Manifest, SegmentEntry, SegmentSource, TableEntry, plan, plan_all,
};
use proptest::prelude::*;

use crate::support::{DAY_START, SECOND};

const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn entry(number: u128, tenant: &str, level: u32, times: (i64, i64), rows: u64) -> Arc<SegmentEntry> {
    let table = TableEntry { table: Table::Samples, bytes: rows * 2, rows, footer_bytes: 0, checksum: 0 };
    Arc::new(SegmentEntry {
        id: SegmentId::from_parts(1, number),
        tenant: Tenant::new(tenant).unwrap(),
        day: Day::of(times.0),
        level,
        source: SegmentSource::Flush,
        time_min: times.0,
        time_max: times.1,
        profile_types: vec![],
        services: (0..=number % 3).map(|service| format!("s{service}")).collect(),
        tables: vec![table],
        sample_rows: rows,
        profile_rows: rows / 100,
        series: 1,
        stacks: rows.min(5000),
        observed_bytes: 0,
        created_unix_nano: 0,
        writer: "w".to_owned(),
        writer_epoch: 1,
        format_version: 1,
        covers: Vec::new(),
    })
}

fn manifest(mut segments: Vec<Arc<SegmentEntry>>) -> Manifest {
    segments.sort_by(|a, b| (&a.tenant, a.day, a.id).cmp(&(&b.tenant, b.day, b.id)));
    Manifest { version: 1, segments, ..Manifest::default() }
}

/// The manifest after `plan`, whose outputs have at most `rows_max` rows each.
fn carried_out(before: &Manifest, plan: &CompactionPlan, rows_max: u64, next: &mut u128) -> Manifest {
    let gone: HashSet<SegmentId> = plan.inputs.iter().map(|entry| entry.id).collect();
    let mut segments: Vec<_> = before.segments.iter().filter(|entry| !gone.contains(&entry.id)).cloned().collect();
    let rows: u64 = plan.inputs.iter().map(|entry| entry.sample_rows).sum();
    let from = plan.inputs.iter().map(|entry| entry.time_min).min().unwrap();
    let to = plan.inputs.iter().map(|entry| entry.time_max).max().unwrap();
    for start in (0..rows.max(1)).step_by(usize::try_from(rows_max).unwrap()) {
        *next += 1;
        let of_piece = rows_max.min(rows - start.min(rows));
        segments.push(entry(*next, plan.tenant.as_str(), plan.level, (from, to), of_piece));
    }
    manifest(segments)
}

fn entries() -> impl Strategy<Value = Vec<Arc<SegmentEntry>>> {
    // Most are young and of a few hours, where most is decided.
    let level = prop_oneof![2 => 0_u32..2, 1 => 0_u32..9];
    let minute = prop_oneof![2 => 0_i64..120, 1 => 0_i64..24 * 60];
    let (length, rows, first) = (prop_oneof![0_i64..2, 0_i64..90], 0_u64..30_000_000, 0_u128..4);
    let one = (prop::sample::select(vec!["a", "b"]), 0_i64..2, level, minute, length, rows, first);
    prop::collection::vec(one, 0..60).prop_map(|entries| {
        let made =
            |(number, (tenant, day, level, minute, length, rows, first)): (usize, (_, i64, _, i64, i64, u64, u128))| {
                let start = DAY_START + day * 24 * HOUR + minute * MINUTE;
                let end = (start + length * MINUTE).min(DAY_START + (day + 1) * 24 * HOUR - 1);
                let mut made =
                    entry(number as u128, tenant, level, (start, end), if level < 2 { rows / 50 } else { rows });
                let services = (first..=first + number as u128 % 3).map(|service| format!("s{service}"));
                Arc::make_mut(&mut made).services = services.collect();
                made
            };
        entries.into_iter().enumerate().map(made).collect()
    })
}

fn check_plans(manifest: &Manifest, busy: &Busy, policy: &CompactionPolicy, plans: &[CompactionPlan]) {
    let mut seen = HashSet::new();
    for plan in plans {
        let entries = &plan.inputs;
        assert!(entries.len() >= 2 && entries.len() <= policy.inputs_max);
        assert!(entries.len() == 2 || plan.bytes() <= policy.input_bytes_max);
        let services: usize = entries.iter().map(|entry| entry.services.len()).sum();
        assert!(entries.len() == 2 || services <= policy.input_services_max);
        for entry in entries {
            assert!(seen.insert(entry.id), "a segment is in two plans");
            assert!(!busy.running.contains(&entry.id) && !busy.damaged.contains(&entry.id));
            assert!(manifest.segment(entry.id).is_some());
            assert_eq!((&entry.tenant, entry.day), (&plan.tenant, plan.day));
            assert!(entry.level <= plan.level);
        }
        assert!(entries.iter().any(|entry| entry.level < plan.level), "nothing rises");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plans_are_of_one_tenant_and_day_and_planning_ends(
        entries in entries(),
        busy in prop::collection::vec((0_u128..60, any::<bool>()), 0..6),
        hours in 0_i64..80,
        inputs_max in 2_usize..20,
        input_services_max in prop::sample::select(vec![0_usize, 12, 1000]),
    ) {
        let policy = CompactionPolicy {
            inputs_max,
            input_bytes_max: 100_000_000,
            input_services_max,
            ..CompactionPolicy::default()
        };
        let mut left_alone = Busy::default();
        for (number, is_running) in busy {
            let ids = if is_running { &mut left_alone.running } else { &mut left_alone.damaged };
            ids.insert(SegmentId::from_parts(1, number));
        }
        let now = DAY_START + hours * HOUR;
        let mut state = manifest(entries);
        let mut next = 1000;
        for round in 0.. {
            prop_assert!(round < 100, "planning does not end");
            let plans = plan(&state, &left_alone, &policy, now);
            check_plans(&state, &left_alone, &policy, &plans);
            if plans.is_empty() {
                break;
            }
            for plan in &plans {
                state = carried_out(&state, plan, 10_000_000, &mut next);
            }
        }
        // nothing keeps two fresh segments of one day apart once it is over, but what is busy
        if left_alone.running.is_empty() && left_alone.damaged.is_empty() && inputs_max > 8 && input_services_max > 20 {
            for of_day in state.segments.chunk_by(|a, b| (&a.tenant, a.day) == (&b.tenant, b.day)) {
                let over = of_day[0].time_max.div_euclid(24 * HOUR) * 24 * HOUR + 25 * HOUR <= now;
                let fresh = of_day.iter().filter(|entry| entry.level == 0).count();
                prop_assert!(!over || fresh < 2, "{fresh} fresh segments");
            }
        }
    }
}

#[test]
fn a_fresh_segment_alone_does_not_have_the_others_of_its_hour_merged_again_and_again() {
    let policy = CompactionPolicy { inputs_max: 2, ..CompactionPolicy::default() };
    // By services, the two of level 1 are neighbours and the fresh one is left over.
    let at = |number, level| entry(number, "a", level, (DAY_START, DAY_START + MINUTE), 1000);
    let of_service = |number, level, service: &str| {
        Arc::new(SegmentEntry { services: vec![service.to_owned()], ..(*at(number, level)).clone() })
    };
    let segments = manifest(vec![of_service(1, 1, "a"), of_service(2, 1, "b"), of_service(3, 0, "c")]);
    assert_eq!(plan(&segments, &Busy::default(), &policy, DAY_START + 3 * HOUR), []);
    let segments = manifest(vec![of_service(1, 1, "a"), of_service(2, 0, "b"), of_service(3, 0, "c")]);
    let plans = plan(&segments, &Busy::default(), &policy, DAY_START + 3 * HOUR);
    assert_eq!(plans.iter().map(|plan| plan.inputs.len()).collect::<Vec<_>>(), [2]);
}

/// A flush of every tenant every five minutes for two days, and late ones for the day before. What is written again is
/// bounded, and few segments are ever fresh.
#[test]
fn a_row_is_written_about_three_times_under_steady_load() {
    const FLUSH_ROWS: u64 = 50_000;
    let policy = CompactionPolicy::default();
    let (mut state, mut next) = (Manifest::default(), 0_u128);
    let (mut flushed, mut written, mut fresh_most) = (0, 0, 0);
    for flush in 0..2 * 24 * 12 {
        let end = DAY_START + (flush + 1) * 5 * MINUTE - 1;
        let mut segments = state.segments.clone();
        next += 1;
        segments.push(entry(next, "a", 0, (end - 5 * MINUTE + 1, end), FLUSH_ROWS));
        flushed += FLUSH_ROWS;
        if flush % 40 == 0 {
            next += 1;
            let late = end - 24 * HOUR;
            segments.push(entry(next, "a", 0, (late - MINUTE, late), FLUSH_ROWS / 100));
            flushed += FLUSH_ROWS / 100;
        }
        state = manifest(segments);
        loop {
            let plans = plan(&state, &Busy::default(), &policy, end + 1);
            let Some(plan) = plans.first() else { break };
            written += plan.inputs.iter().map(|entry| entry.sample_rows).sum::<u64>();
            state = carried_out(&state, plan, 14_000_000, &mut next);
        }
        fresh_most = fresh_most.max(state.segments.iter().filter(|entry| entry.level == 0).count());
    }
    let amplification = (flushed + written) as f64 / flushed as f64;
    assert!(amplification < 3.2, "{amplification}");
    assert!(fresh_most <= 20, "{fresh_most}");
    assert!(state.segments.len() < 60, "{}", state.segments.len());
}

/// What does not fit into one segment would become as many, and be planned again.
#[test]
fn segments_count_with_what_tells_their_observations_apart() {
    let policy = CompactionPolicy::default();
    let plans = |observed_bytes: u64| {
        let of = |number| {
            let entry = entry(number, "a", 2, (DAY_START, DAY_START + HOUR), 1_000_000);
            Arc::new(SegmentEntry { observed_bytes, ..SegmentEntry::clone(&entry) })
        };
        plan_all(&manifest(vec![of(0), of(3)]), &Busy::default(), &policy).len()
    };
    assert_eq!(plans(0), 1);
    assert_eq!(plans(40 * 1_000_000), 1);
    assert_eq!(plans(policy.segment_bytes_target / 2), 0);
}

#[test]
fn a_running_merge_holds_its_day_back_and_a_damaged_segment_does_not() {
    let at = |minute| (DAY_START + minute * MINUTE, DAY_START + minute * MINUTE);
    let state = manifest((0..4).map(|number| entry(number, "a", 0, at(5), 1000)).collect());
    let policy = CompactionPolicy::default();
    let inputs = |busy: &Busy| plan_all(&state, busy, &policy).iter().map(|plan| plan.inputs.len()).collect::<Vec<_>>();
    let first: HashSet<SegmentId> = [state.segments[0].id].into();
    assert_eq!(inputs(&Busy::default()), [4]);
    assert_eq!(inputs(&Busy { running: first.clone(), ..Busy::default() }), [0_usize; 0]);
    assert_eq!(inputs(&Busy { damaged: first, ..Busy::default() }), [3]);
    let over = |policy: &CompactionPolicy, seconds| {
        plan(&state, &Busy::default(), policy, DAY_START + HOUR + seconds * SECOND).len()
    };
    let policy = CompactionPolicy { hour_grace: Duration::from_secs(10), ..policy };
    assert_eq!((over(&policy, 9), over(&policy, 10)), (0, 1));
}
