//! Every answer equals the oracle's, whatever mix of heads and segments it is read from.
#![allow(clippy::unwrap_used, reason = "what a test needs must not fail")]

mod common;

use common::{CPU, SECOND, START, World, query, text};
use flamestore_model::{ErrorKind, TimeRange};
use flamestore_query::SeriesEntry;
use flamestore_segment::{RollUps, SegmentOptions};
use flamestore_testkit::{ArbitraryShape, Fixture, arbitrary_profile_of};

const PROFILES: [&str; 6] = [
    "main;read 3 | main;write 1",
    "main;read 5 | main;poll;wait 2 | main 4",
    "main;inner<outer;leaf 7 | - 2",
    "other;work 11 | main;read 1",
    "main;write -1 | main;read 2 | main;read 2",
    "main;gone 0 | main;deep;deep;deep 6",
];

/// Profiles of three services and two types over two days; flushed after those numbers in `flushes`. Segments of several
/// flushes have roll-ups.
async fn world(flushes: &[usize]) -> World {
    let rollups = if flushes.len() > 1 { RollUps::HoursAndDays } else { RollUps::None };
    let mut world = World::with(SegmentOptions { rollups, ..SegmentOptions::tiny() }).await;
    for at in 0..18_usize {
        let service = ["api", "web", "db"][at % 3];
        let pod = ["p0", "p1"][at % 2];
        let time = START + i64::try_from(at).unwrap() * 10 * SECOND;
        let labels = [("service_name", service), ("pod", pod)];
        let cpu = Fixture::cpu().mapping(0x1000, 0x9000, "build").profile(PROFILES[at % PROFILES.len()]);
        world.push(&labels, time, cpu).await;
        if at % 4 == 0 {
            let heap = Fixture::heap().profile("main;alloc 1,100,0,0 | main;keep {bytes=64} 2,200,1,100");
            world.push(&labels, time + SECOND, heap).await;
        }
        if flushes.contains(&at) {
            world.flush().await;
        }
    }
    world
}

/// Heads only, segments only, and mixes of both.
const MIXES: [&[usize]; 4] = [&[], &[17], &[3, 9], &[0, 5, 11, 17]];

fn ranges() -> [TimeRange; 5] {
    [
        TimeRange::ALL,
        TimeRange { start: START + 20 * SECOND, end: START + 90 * SECOND },
        TimeRange { start: START + 60 * SECOND, end: START + 61 * SECOND },
        TimeRange { start: START + 62 * SECOND, end: START + 65 * SECOND },
        TimeRange { start: 0, end: START },
    ]
}

const SELECTORS: [&str; 6] = [
    CPU,
    r#"{__type__="cpu",service_name="api"}"#,
    r#"{__profile_type__=~"process_cpu.*",pod!="p1"}"#,
    r#"{__name__="process_cpu",service_name=~"web|db",nothing=""}"#,
    r#"{__type__="inuse_space"}"#,
    r#"{__type__="cpu",service_name="nobody"}"#,
];

/// Those selectors with each of the ranges that cut through segments in another way.
fn few<'a>(selectors: &[&'a str]) -> Vec<(&'a str, TimeRange)> {
    selectors.iter().flat_map(|selector| ranges().into_iter().take(4).map(move |range| (*selector, range))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_and_tops_equal_the_oracle() {
    for mix in MIXES {
        let world = world(mix).await;
        for (selector, range) in SELECTORS.iter().flat_map(|s| ranges().map(|r| (s, r))) {
            let query = query(selector, range);
            let answer = world.engine.merge(&query).await.unwrap();
            let expected = world.oracle.merge_folded(&query.selector, &range);
            let expected: String = expected.iter().map(|(stack, value)| format!("{stack} {value}\n")).collect();
            assert_eq!(text(&answer.value), expected, "{selector} {range} after flushes {mix:?}");
            let found = world.engine.top(&query).await.unwrap().value;
            let found: Vec<_> = found.into_iter().map(|row| (row.name, row.self_values[0], row.totals[0])).collect();
            let expected = world.oracle.top(&query.selector, &range);
            let expected: Vec<_> = expected.into_iter().map(|row| (row.name, row.self_value, row.total)).collect();
            assert_eq!(found, expected, "{selector} {range} after flushes {mix:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn diffs_equal_the_oracle_and_keep_one_sided_stacks() {
    for mix in MIXES {
        let world = world(mix).await;
        for selector in SELECTORS {
            let [all, some, ..] = ranges();
            let (before, after) = (query(selector, some), query(selector, all));
            let answer = world.engine.diff(&before, &after).await.unwrap();
            let expected = world.oracle.diff_folded((&before.selector, &some), (&after.selector, &all));
            let lines = expected.iter().map(|(stack, (before, after))| format!("{stack} {before} {after}\n"));
            assert_eq!(text(&answer.value), lines.collect::<String>(), "{selector} after flushes {mix:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_equal_the_oracle() {
    for mix in MIXES {
        let world = world(mix).await;
        for (selector, range) in few(&["", "{pod=~\".+\"}", SELECTORS[3], SELECTORS[5]]) {
            let query = query(selector, range);
            let (engine, oracle) = (&world.engine, &world.oracle);
            let what = format!("{selector} {range} after flushes {mix:?}");

            let expected = oracle.series(&query.selector, &range).into_iter();
            let expected: Vec<_> =
                expected.map(|(labels, profile_type)| SeriesEntry { labels, profile_type }).collect();
            assert_eq!(engine.series(&query).await.unwrap().value, expected, "{what}");

            let expected: Vec<_> = oracle.label_names(&query.selector, &range).into_iter().collect();
            assert_eq!(engine.label_names(&query).await.unwrap().value, expected, "{what}");

            for name in ["pod", "service_name", "__type__", "__profile_type__", "nothing"] {
                let expected: Vec<_> = oracle.label_values(name, &query.selector, &range).into_iter().collect();
                assert_eq!(engine.label_values(&query, name).await.unwrap().value, expected, "{name} {what}");
            }

            let expected: Vec<_> = oracle.profile_types(&query.selector, &range).into_iter().collect();
            assert_eq!(engine.profile_types(&query).await.unwrap().value, expected, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_are_listed_newest_first() {
    for mix in MIXES {
        let world = world(mix).await;
        for (selector, range) in few(&["", SELECTORS[1], SELECTORS[5]]) {
            let query = query(selector, range);
            let found = world.engine.list_profiles(&query, 0).await.unwrap().value;
            assert!(found.is_sorted_by_key(|entry| std::cmp::Reverse(entry.time_unix_nano)));
            let few = world.engine.list_profiles(&query, 3).await.unwrap().value;
            assert_eq!(few, found[..found.len().min(3)]);
            let row = |id, time, ty, labels, total| (time, id, ty, labels, total);
            let mut found: Vec<_> =
                found.into_iter().map(|e| row(e.id, e.time_unix_nano, e.profile_type, e.labels, e.total)).collect();
            found.sort();
            let expected = world.oracle.profiles(&query.selector, &range).into_iter();
            let expected: Vec<_> =
                expected.map(|e| row(e.id, e.time_unix_nano, e.profile_type, e.labels, e.total)).collect();
            assert_eq!(found, expected, "{selector} {range} after flushes {mix:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_series_equal_the_oracle() {
    for mix in MIXES {
        let world = world(mix).await;
        for group_by in [&[][..], &["service_name"], &["pod", "service_name", "nothing"]] {
            for (selector, range) in few(&[SELECTORS[0], SELECTORS[2], SELECTORS[5]]) {
                let query = query(selector, range);
                let names: Vec<String> = group_by.iter().map(|name| (*name).to_owned()).collect();
                let found = world.engine.time_series(&query, 25 * SECOND, &names).await.unwrap().value;
                let expected = world.oracle.time_series(&query.selector, &range, 25 * SECOND, group_by);
                let found = found.into_iter().map(|series| {
                    let points = series.points.into_iter().map(|point| (point.time_unix_nano, point.total));
                    (series.labels, points.collect())
                });
                assert_eq!(found.collect::<std::collections::BTreeMap<_, _>>(), expected, "{selector} {range}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_over_several_types_are_refused() {
    let world = world(&[9]).await;
    let error = world.engine.merge(&query("", TimeRange::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let error = world.engine.merge_pprof(&query("", TimeRange::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let error = world.engine.time_series(&query("", TimeRange::ALL), SECOND, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let by_type = ["__profile_type__".to_owned()];
    assert_eq!(world.engine.time_series(&query("", TimeRange::ALL), SECOND, &by_type).await.unwrap().value.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_that_leave_64_bits_are_refused() {
    let mut world = World::new().await;
    for at in 0..2 {
        world.push(&[], START + at, Fixture::cpu().profile(&format!("main {}", i64::MAX - 1))).await;
        let error = world.engine.merge(&query("", TimeRange::ALL)).await.err();
        assert_eq!(error.map(|error| error.kind()), (at > 0).then_some(ErrorKind::Invalid));
        world.flush().await;
    }
    let error = world.engine.merge(&query("", TimeRange::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let error = world.engine.time_series(&query("", TimeRange::ALL), SECOND, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_profiles_come_back_as_they_were_pushed() {
    let mut world = World::new().await;
    let mut ids = Vec::new();
    for seed in 0..12_u64 {
        let batch = arbitrary_profile_of(seed, &ArbitraryShape::default());
        let service = ["a", "b"][usize::try_from(seed % 2).unwrap()];
        let time = START + i64::try_from(seed).unwrap() * SECOND;
        let mut batch = batch;
        batch.header.time_unix_nano = time;
        ids.push(world.push(&[("service_name", service)], time, batch).await);
        if seed == 7 {
            world.flush().await;
        }
    }
    for id in ids {
        let found = world.engine.profile(&Default::default(), id).await.unwrap().value;
        found.check().unwrap();
        let pushed = world.oracle.profile(id).unwrap();
        flamestore_formats::pprof_equal(pushed, &found).unwrap();
    }
    let missing = flamestore_model::ProfileId::from_bytes([9; 16]);
    let error = world.engine.profile(&Default::default(), missing).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// The profiles of real producers where there is a corpus, else random ones.
fn real_profiles() -> Vec<(String, flamestore_model::ProfileBatch)> {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else {
        let random = |seed: u64| (format!("random-{seed}"), arbitrary_profile_of(seed, &ArbitraryShape::default()));
        return (100..108).map(random).collect();
    };
    let mut folders = vec![std::path::PathBuf::from(corpus).join("pprof")];
    let mut profiles = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap().into();
            if let Ok(batch) = flamestore_formats::decode_pprof(bytes, &flamestore_formats::Limits::default()) {
                profiles.push((path.display().to_string(), batch));
            }
        }
    }
    profiles
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_of_real_producers_come_back_from_the_head_and_from_segments() {
    let mut world = World::with(SegmentOptions::default()).await;
    let mut pushed = Vec::new();
    for (at, (name, mut batch)) in (1..).zip(real_profiles()) {
        let time = START + at * SECOND;
        batch.header.time_unix_nano = time;
        pushed.push((world.push(&[("service_name", &name)], time, batch.clone()).await, name, batch));
    }
    assert!(pushed.len() >= 8);
    for place in ["head", "segment"] {
        for (id, name, batch) in &pushed {
            let found = world.engine.profile(&Default::default(), *id).await.unwrap().value;
            found.check().unwrap();
            flamestore_formats::pprof_equal(batch, &found).unwrap_or_else(|e| panic!("{name} from the {place}: {e}"));
        }
        world.flush().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_pprof_keeps_labels_and_sums() {
    for mix in [&[][..], &[0], &[1]] {
        let mut world = World::new().await;
        for at in 0..2 {
            // The second process was loaded elsewhere: the same addresses relative to its mapping.
            let base = 0x1000 + 0x10_0000 * u64::try_from(at).unwrap();
            let (main, read) = (base + 8, base + 16);
            let text = format!(
                "main@{main:x};read@{read:x} 3 {{thread=a}} | main@{main:x};read@{read:x} 4 {{thread=b}} | main@{main:x} 5"
            );
            let batch = Fixture::cpu().mapping(base, base + 0x8000, "build").profile(&text);
            world.push(&[], START + i64::from(at) * SECOND, batch).await;
            if mix.contains(&usize::try_from(at).unwrap()) {
                world.flush().await;
            }
        }
        let query = query(CPU, TimeRange::ALL);
        let found = world.engine.merge_pprof(&query).await.unwrap().value;
        found.check().unwrap();
        let mut values = found.samples.values.clone();
        values.sort_unstable();
        assert_eq!(values, [6, 8, 10], "after flushes {mix:?}");
        assert_eq!(found.symbols.mappings.len(), 1);
        assert_eq!((found.header.time_unix_nano, found.header.duration_nano), (START, 30 * SECOND));
        let folded = flamestore_testkit::folded(&found, 0);
        assert_eq!(folded, world.oracle.merge_folded(&query.selector, &TimeRange::ALL));
    }
}
