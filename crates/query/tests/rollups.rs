//! Answers from roll-ups equal the oracle's, and the report and the plan say what they are made of.
#![allow(clippy::unwrap_used, reason = "what a test needs must not fail")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{CPU, SECOND, START, World, limits, query, text};
use flamestore_model::{ErrorKind, TimeRange};
use flamestore_query::{Engine, Query, ReadFrom};
use flamestore_segment::{RollUps, SegmentOptions, Table};
use flamestore_store::{
    Compactor, CompactorOptions, Entropy, Manifest, ManualClock, ObjectKey, RollUpReport, RolledUp, SegmentEntry,
};
use flamestore_testkit::Fixture;
use object_store::ObjectStoreExt;
use object_store::path::Path;

const HOUR: i64 = 3600 * SECOND;
const DAY: i64 = 24 * HOUR;

fn rolled_up() -> SegmentOptions {
    SegmentOptions { rollups: RollUps::HoursAndDays, ..SegmentOptions::tiny() }
}

/// Profiles of two services every 20 minutes for two days from a day before 1970 on, in three segments of half a day and in
/// the head.
async fn world() -> World {
    let mut world = World::with(rolled_up()).await;
    for at in 0..144_i64 {
        let time = -DAY + at * 20 * 60 * SECOND;
        let service = ["api", "web"][usize::try_from(at % 2).unwrap()];
        let folded = format!("main;read {} | main;write {} | main;only{} 1", at + 1, at % 5, at % 7);
        world.push(&[("service_name", service)], time, Fixture::cpu().profile(&folded)).await;
        if at % 36 == 35 && at < 140 {
            world.push(&[("service_name", "api")], time, Fixture::heap().profile("main;keep 2,200,1,100")).await;
            world.flush().await;
        }
    }
    let late = Fixture::cpu().profile("main;late 1000");
    world.push(&[("service_name", "api")], -HOUR, late.clone()).await;
    world.push(&[("service_name", "web")], DAY - 1, late).await;
    world
}

fn ranges() -> Vec<TimeRange> {
    let borders = [-DAY, -DAY + 1, -DAY + 10 * HOUR, -HOUR - 7, -1, 0, 1, 25 * 60 * SECOND, 3 * HOUR, DAY, 2 * DAY];
    let pairs = borders.iter().flat_map(|start| borders.iter().map(move |end| (*start, *end)));
    let pairs = pairs.filter(|(start, end)| start < end).step_by(3);
    pairs.map(|(start, end)| TimeRange { start, end }).chain([TimeRange::ALL]).collect()
}

async fn check(world: &World, query: &Query) {
    let expected = world.oracle.merge_folded(&query.selector, &query.range);
    let expected: String = expected.iter().map(|(stack, value)| format!("{stack} {value}\n")).collect();
    let answer = world.engine.merge(query).await.unwrap();
    assert_eq!(text(&answer.value), expected, "{query:?}");
    let profiles = world.oracle.profiles(&query.selector, &query.range).len() as u64;
    assert_eq!((answer.report.profiles, answer.report.widened), (profiles, None), "{query:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_from_roll_ups_equal_the_oracle() {
    let world = world().await;
    for range in ranges() {
        for selector in [CPU, r#"{__type__="cpu",service_name="web"}"#, r#"{__type__="inuse_space"}"#] {
            for read_from in [ReadFrom::Widest, ReadFrom::Hours, ReadFrom::Samples] {
                check(&world, &Query { read_from, ..query(selector, range) }).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_over_time_from_roll_ups_equal_the_oracle() {
    let world = world().await;
    for (range, step) in ranges().into_iter().zip([HOUR, DAY, 2 * HOUR, 600 * SECOND, 2 * DAY].into_iter().cycle()) {
        let query = query(CPU, range);
        let by_service = ["service_name".to_owned()];
        let found = world.engine.time_series(&query, step, &by_service).await.unwrap();
        let expected = world.oracle.time_series(&query.selector, &range, step, &["service_name"]);
        let lines = found.value.into_iter().map(|series| {
            let points = series.points.into_iter().map(|point| (point.time_unix_nano, point.total));
            (series.labels, points.collect())
        });
        assert_eq!(lines.collect::<BTreeMap<_, _>>(), expected, "{range} {step}");
    }
    let whole = query(CPU, TimeRange::ALL);
    let of_days = world.engine.time_series(&whole, DAY, &[]).await.unwrap().report;
    assert_eq!((of_days.days, of_days.hours), (6, 0));
    let of_hours = world.engine.time_series(&whole, HOUR, &[]).await.unwrap().report;
    assert_eq!((of_hours.days, of_hours.hours), (0, 72));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plan_and_the_report_say_what_an_answer_is_made_of() {
    let world = world().await;
    let range = TimeRange { start: -DAY + 70 * 60 * SECOND, end: DAY };
    let report = world.engine.merge(&query(CPU, range)).await.unwrap().report;
    assert_eq!((report.days, report.hours), (4, 21));
    let text = world.engine.explain_merge(&query(CPU, range)).await.unwrap();
    for expected in ["windows_1d=4", "windows_1h=21", "rows_1d=", "rows_1h=", "sample_rows="] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    let samples = Query { read_from: ReadFrom::Samples, ..query(CPU, range) };
    let text = world.engine.explain_merge(&samples).await.unwrap();
    for expected in ["from=samples", "windows_1d=0", "windows_1h=0", "rows_1d=0"] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sum_of_a_day_that_leaves_64_bits_is_refused() {
    let mut world = World::with(rolled_up()).await;
    for at in 0..2 {
        world.push(&[], at, Fixture::cpu().profile(&format!("main {}", i64::MAX - 1))).await;
    }
    world.flush().await;
    let error = world.engine.merge(&query(CPU, TimeRange::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let error = world.engine.time_series(&query(CPU, TimeRange::ALL), DAY, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    check(&world, &query(CPU, TimeRange { start: 1, end: DAY })).await;
}

/// Changes bytes in the middle of `table` of every segment.
async fn damage(world: &World, table: Table) {
    for stored in world.store.snapshot(&Default::default()).segments.iter() {
        damage_table(world, &stored.entry, table).await;
    }
}

async fn damage_table(world: &World, entry: &SegmentEntry, table: Table) {
    let path = Path::from(entry.key(table).to_string());
    let mut bytes = world.objects.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    let body = bytes.len() - usize::try_from(entry.table(table).unwrap().footer_bytes).unwrap();
    bytes[4..body].iter_mut().for_each(|byte| *byte ^= 0x55);
    world.objects.put(&path, bytes.into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_stand_in_for_damaged_roll_ups() {
    for table in [Table::Windows, Table::Rollups1h, Table::Rollups1d] {
        let mut world = world().await;
        world.flush().await;
        damage(&world, table).await;
        world.reopen().await;
        for range in ranges() {
            check(&world, &query(CPU, range)).await;
        }
        let report = world.engine.merge(&query(CPU, TimeRange::ALL)).await.unwrap().report;
        assert_eq!(report.damaged, [], "{table}");
    }
}

/// Commits a manifest whose segments are without `gone`.
async fn expire(world: &mut World, gone: &[Table]) {
    let current = world.store.manifest();
    let path = |version| Path::from(ObjectKey::Manifest(version).to_string());
    let bytes = world.objects.get(&path(current.version)).await.unwrap().bytes().await.unwrap();
    let mut manifest = Manifest::from_bytes(current.version, &bytes).unwrap();
    manifest.version += 1;
    for entry in &mut manifest.segments {
        let mut tables = entry.tables.clone();
        tables.retain(|table| !gone.contains(&table.table));
        *entry = Arc::new(SegmentEntry { tables, ..SegmentEntry::clone(entry) });
    }
    world.objects.put(&path(manifest.version), manifest.to_bytes().into()).await.unwrap();
    world.reopen().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_samples_have_expired_whole_windows_answer_and_the_report_says_so() {
    let mut world = world().await;
    world.flush().await;
    expire(&mut world, &[Table::Samples, Table::Profiles]).await;
    check(&world, &query(CPU, TimeRange { start: -DAY, end: DAY })).await;
    check(&world, &query(CPU, TimeRange { start: -5 * HOUR, end: 7 * HOUR })).await;
    let ragged = TimeRange { start: -5 * HOUR + 50 * 60 * SECOND, end: 7 * HOUR + 10 * 60 * SECOND };
    let answer = world.engine.merge(&query(CPU, ragged)).await.unwrap();
    let widened = answer.report.widened.unwrap();
    assert!(widened.start >= -5 * HOUR && widened.end <= 8 * HOUR, "{widened}");
    let exact = world.oracle.merge_folded(&CPU.parse().unwrap(), &TimeRange { start: -5 * HOUR, end: 8 * HOUR });
    let exact: String = exact.iter().map(|(stack, value)| format!("{stack} {value}\n")).collect();
    assert_eq!(text(&answer.value), exact);
    let all = query(CPU, TimeRange::ALL);
    assert_eq!(world.engine.series(&all).await.unwrap().value.len(), 2);
    assert_eq!(world.engine.time_series(&all, DAY, &[]).await.unwrap().value[0].points.len(), 2);
    let report = world.engine.merge_pprof(&all).await.unwrap().report;
    assert_eq!((report.segments_expired, report.damaged), (5, Vec::new()));
    assert_eq!(world.engine.list_profiles(&all, 0).await.unwrap().report.segments_expired, 5);
}

/// 2023-09-28; the clock of the store says 2023-11-14.
const SEPTEMBER_28: i64 = 19_628 * DAY;

/// Days of three months: profiles of two services and two types, a segment a day.
async fn months() -> World {
    let mut world = World::with(rolled_up()).await;
    for day in 0..44_i64 {
        for (at, service) in ["api", "web", "api"].into_iter().enumerate() {
            let time = SEPTEMBER_28 + day * DAY + i64::try_from(at).unwrap() * 7 * HOUR;
            let folded = format!("main;read {} | main;day{} 3", day + 1, day % 9);
            world.push(&[("service_name", service)], time, Fixture::cpu().profile(&folded)).await;
        }
        if day % 10 == 0 {
            let heap = Fixture::heap().profile("main;keep 2,200,1,100");
            world.push(&[("service_name", "web")], SEPTEMBER_28 + day * DAY, heap).await;
        }
        world.flush().await;
    }
    world
}

/// Rolls up months whose days are as they were flushed.
async fn roll_up(world: &World) -> RollUpReport {
    let mut options = CompactorOptions::new(world.store.options().bucket.clone());
    options.roll_up.level_min = 0;
    options.clock = Arc::new(ManualClock::new(START));
    options.entropy = Arc::new(Entropy::from_seed(u128::try_from(world.oracle.len()).unwrap()));
    let report = Compactor::new(options).unwrap().roll_up().await.unwrap();
    world.store.refresh().await.unwrap();
    report
}

fn month_ranges() -> Vec<TimeRange> {
    let day = |day: i64| SEPTEMBER_28 + day * DAY;
    [(0, 44), (3, 34), (2, 33), (5, 6), (0, 1), (1, 40)]
        .map(|(start, end)| TimeRange { start: day(start), end: day(end) })
        .into_iter()
        .chain([
            TimeRange::ALL,
            TimeRange { start: day(4) + 3 * HOUR, end: day(30) + 15 * HOUR },
            TimeRange { start: day(4) + 7 * HOUR, end: day(4) + 7 * HOUR + 1 },
        ])
        .collect()
}

async fn check_months(world: &World) {
    for range in month_ranges() {
        for selector in [CPU, r#"{__type__="cpu",service_name="web"}"#, r#"{__type__="inuse_space"}"#] {
            check(world, &query(selector, range)).await;
        }
        let query = query(CPU, range);
        let found = world.engine.time_series(&query, DAY, &[]).await.unwrap().value;
        let points = found.iter().flat_map(|series| &series.points);
        let expected = world.oracle.time_series(&query.selector, &range, DAY, &[]);
        let expected = expected.into_values().next().unwrap_or_default();
        assert_eq!(points.map(|p| (p.time_unix_nano, p.total)).collect::<BTreeMap<_, _>>(), expected, "{range}");
        assert_eq!(
            world.engine.series(&query).await.unwrap().value.len(),
            world.oracle.series(&query.selector, &range).len()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_rolled_up_answer_as_their_days_do() {
    let mut world = months().await;
    let rolled = |months, dropped| RollUpReport { months, years: 0, dropped, left: 0 };
    check_months(&world).await;
    assert_eq!(roll_up(&world).await, rolled(3, 0));
    assert_eq!(roll_up(&world).await, rolled(0, 0));
    check_months(&world).await;
    let report = world.engine.merge(&query(CPU, TimeRange::ALL)).await.unwrap().report;
    // Of two services two windows of 30 days, in four parts; November goes on and has ten days so far.
    assert_eq!((report.segments_pruned_stand_in, report.segments_read), (44, 3));
    assert_eq!((report.months, report.days), (8, 0));
    let problems = flamestore_store::check(&world.store.options().bucket).await.unwrap().problems;
    assert_eq!(problems, []);

    // What comes late answers for itself until the month is rolled up again.
    let late = SEPTEMBER_28 + 9 * DAY + HOUR;
    world.push(&[("service_name", "api")], late, Fixture::cpu().profile("main;late 77")).await;
    check_months(&world).await;
    world.flush().await;
    check_months(&world).await;
    assert_eq!(roll_up(&world).await, rolled(1, 1));
    check_months(&world).await;
    world.reopen().await;
    check_months(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_answer_for_a_damaged_month() {
    let mut world = months().await;
    roll_up(&world).await;
    for stored in world.store.snapshot(&Default::default()).segments.iter() {
        if !stored.entry.covers.is_empty() {
            damage_table(&world, &stored.entry, Table::Rollups1d).await;
        }
    }
    world.reopen().await;
    check_months(&world).await;
    let report = world.engine.merge(&query(CPU, TimeRange::ALL)).await.unwrap().report;
    assert_eq!((report.segments_pruned_stand_in, report.damaged), (0, Vec::new()));
}

/// 2023-01-01.
const JANUARY_1: i64 = 19_358 * DAY;

/// Every third day of ten months, profiles of two services and two types, a segment a day.
async fn year() -> World {
    let mut world = World::with(rolled_up()).await;
    for day in (0..304_i64).step_by(3) {
        for (at, service) in ["api", "web"].into_iter().enumerate() {
            let time = JANUARY_1 + day * DAY + i64::try_from(at).unwrap() * 7 * HOUR;
            let folded = format!("main;read {} | main;day{} 3", day + 1, day % 31);
            world.push(&[("service_name", service)], time, Fixture::cpu().profile(&folded)).await;
        }
        if day % 10 == 0 {
            let heap = Fixture::heap().profile("main;keep 2,200,1,100");
            world.push(&[("service_name", "web")], JANUARY_1 + day * DAY, heap).await;
        }
        world.flush().await;
    }
    world
}

async fn check_year(world: &World) {
    let day = |day: i64| JANUARY_1 + day * DAY;
    let ranges = [(0, 304), (-9, 400), (12, 290), (100, 190), (40, 70), (45, 52), (3, 4)];
    let ranges = ranges.map(|(start, end)| TimeRange { start: day(start), end: day(end) });
    let ragged = TimeRange { start: day(33) + 5 * HOUR, end: day(288) + 3 * HOUR };
    for range in ranges.into_iter().chain([TimeRange::ALL, ragged]) {
        for selector in [CPU, r#"{__type__="cpu",service_name="web"}"#, r#"{__type__="inuse_space"}"#] {
            check(world, &query(selector, range)).await;
        }
        for step in [DAY, 30 * DAY] {
            let query = query(CPU, range);
            let found = world.engine.time_series(&query, step, &[]).await.unwrap().value;
            let points = found.iter().flat_map(|series| &series.points);
            let expected = world.oracle.time_series(&query.selector, &range, step, &[]);
            let expected = expected.into_values().next().unwrap_or_default();
            assert_eq!(points.map(|p| (p.time_unix_nano, p.total)).collect::<BTreeMap<_, _>>(), expected, "{range}");
        }
    }
}

/// Ranges of one service that begin anywhere in a window of 30 days are added up by stack; those of several services are not.
async fn check_any_start(world: &World) {
    let of = |selector, start: i64, days: i64| {
        let start = JANUARY_1 + start * DAY;
        query(selector, TimeRange { start, end: start + days * DAY })
    };
    let web = r#"{__type__="cpu",service_name="web"}"#;
    for start in (0..32).step_by(5) {
        for days in [30, 240] {
            check(world, &of(web, start, days)).await;
        }
    }
    // The whole year is one segment, which there is nothing to add to.
    for (query, is_joined) in [(of(web, 40, 240), true), (of(CPU, 40, 240), false), (of(web, 0, 304), false)] {
        let text = world.engine.explain_merge(&query).await.unwrap();
        assert_eq!(text.contains(", joined"), is_joined, "{query:?} {text}");
    }
    // What is joined takes more than a quarter of what joining takes: with no more memory than that, call trees are merged.
    let query = of(web, 40, 240);
    let joined = world.engine.merge(&query).await.unwrap();
    let memory = usize::try_from(joined.report.memory_bytes_peak).unwrap();
    let merged = Engine::new(Arc::clone(&world.store), limits(memory)).unwrap().merge(&query).await.unwrap();
    assert_eq!(text(&merged.value), text(&joined.value));
    assert!(merged.report.memory_bytes_peak < joined.report.memory_bytes_peak, "{:?}", merged.report);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_answers_as_its_days_do() {
    let mut world = year().await;
    check_year(&world).await;
    assert_eq!(roll_up(&world).await, RollUpReport { months: 10, years: 1, dropped: 0, left: 0 });
    assert_eq!(roll_up(&world).await, RollUpReport::default());
    check_year(&world).await;
    let whole = query(CPU, TimeRange::ALL);
    let report = world.engine.merge(&whole).await.unwrap().report;
    // Eleven windows of two services, one segment for 102 of days and 10 of months.
    assert_eq!((report.segments_read, report.segments_pruned_stand_in, report.months, report.days), (1, 112, 22, 0));
    let text = world.engine.explain_merge(&whole).await.unwrap();
    for expected in ["windows_30d=22", "rows_30d=", "windows_1d=0", "segments_pruned_stand_in=112"] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    let by_day = world.engine.time_series(&whole, DAY, &[]).await.unwrap();
    assert_eq!((by_day.value[0].points.len(), by_day.report.segments_read), (102, 10));
    let by_month = world.engine.time_series(&whole, 30 * DAY, &[]).await.unwrap();
    assert_eq!((by_month.value[0].points.len(), by_month.report.segments_read), (11, 1));
    // The ends of a ragged range are days of months and, within a day, samples.
    let ragged = query(CPU, TimeRange { start: JANUARY_1 + 33 * DAY + 5 * HOUR, end: JANUARY_1 + 288 * DAY });
    let report = world.engine.merge(&ragged).await.unwrap().report;
    assert_eq!((report.segments_read, report.months), (5, 16));
    check_any_start(&world).await;
    let problems = flamestore_store::check(&world.store.options().bucket).await.unwrap().problems;
    assert_eq!(problems, []);

    // What comes late answers for itself until month and year are rolled up again.
    let late = JANUARY_1 + 99 * DAY + HOUR;
    world.push(&[("service_name", "api")], late, Fixture::cpu().profile("main;late 77")).await;
    check_year(&world).await;
    world.flush().await;
    check_year(&world).await;
    assert_eq!(roll_up(&world).await, RollUpReport { months: 1, years: 1, dropped: 2, left: 0 });
    check_year(&world).await;
    world.reopen().await;
    check_year(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn months_answer_for_a_damaged_year_and_days_for_a_damaged_month() {
    let mut world = year().await;
    roll_up(&world).await;
    let rolled_up: Vec<Arc<SegmentEntry>> = world.store.manifest().segments.clone();
    let is = |of: RolledUp| move |entry: &&Arc<SegmentEntry>| entry.stands_for() == Some(of);
    let year = rolled_up.iter().find(is(RolledUp::Months)).unwrap();
    damage_table(&world, year, Table::Rollups30d).await;
    world.reopen().await;
    check_year(&world).await;
    let report = world.engine.merge(&query(CPU, TimeRange::ALL)).await.unwrap().report;
    assert_eq!((report.segments_read, report.damaged), (10, Vec::new()));
    damage_table(&world, rolled_up.iter().find(is(RolledUp::Days)).unwrap(), Table::Rollups30d).await;
    world.reopen().await;
    check_year(&world).await;
    let report = world.engine.merge(&query(CPU, TimeRange::ALL)).await.unwrap().report;
    assert_eq!((report.segments_read, report.damaged), (9 + 11, Vec::new()));
}
