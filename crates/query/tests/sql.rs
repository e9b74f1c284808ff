//! SQL for people equals the oracle and the engine's own methods, and reads no more than it has to.
#![allow(clippy::unwrap_used, reason = "what a test needs must not fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::{CPU, SECOND, START, World, compact, limits, query, sql, text};
use expect_test::{Expect, expect};
use flamestore_calltree::{FoldOptions, fold};
use flamestore_formats::{LabelText, Limits, ProfileBuilder, decode_pprof, encode_folded};
use flamestore_model::{Labels, Selector, Tenant, TimeRange};
use flamestore_query::{Combine, Engine, frames};
use flamestore_segment::{RollUps, SegmentOptions, Table};
use flamestore_testkit::{ArbitraryShape, Fixture, OracleSample, arbitrary_profile_of};
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, PutPayload};

const PROFILES: [&str; 6] = [
    "main;read 3 | main;write 1",
    "main;read 5 | main;poll;wait 2 | main 4",
    "main;inner<outer;leaf 7 | - 2",
    "other;work 11 | main;read 1",
    "main;write -1 | main;read 2 | main;read 2",
    "main;gone 0 | main;deep;deep;deep 6",
];

/// Where the profiles of a test are.
#[derive(Clone, Copy, Debug)]
enum Place {
    Head,
    Segments,
    Compacted,
    Mixed,
}

const PLACES: [Place; 4] = [Place::Head, Place::Segments, Place::Compacted, Place::Mixed];

/// Profiles of three services and several types over two days.
async fn world(place: Place) -> World {
    let mut world = World::with(SegmentOptions { rollups: RollUps::HoursAndDays, ..SegmentOptions::tiny() }).await;
    for at in 0..18_usize {
        let service = ["api", "web", "db"][at % 3];
        let time = START + i64::try_from(at).unwrap() * 10 * SECOND;
        let labels = [("service_name", service), ("pod", ["p0", "p1"][at % 2])];
        let cpu = Fixture::cpu().mapping(0x1000, 0x9000, "build").profile(PROFILES[at % PROFILES.len()]);
        world.push(&labels, time, cpu).await;
        if at % 4 == 0 {
            let heap = Fixture::heap().profile("main;alloc 1,100,0,0 | main;keep {bytes=64} 2,200,1,100");
            world.push(&labels, time + SECOND, heap).await;
        }
        let flushes = match place {
            Place::Head => false,
            Place::Segments | Place::Compacted => at % 6 == 5,
            Place::Mixed => at % 5 == 4,
        };
        if flushes {
            world.flush().await;
        }
    }
    if matches!(place, Place::Compacted) {
        compact(&world).await;
    }
    world
}

fn samples(world: &World) -> Vec<OracleSample> {
    world.oracle.samples(&Selector::default(), &TimeRange::ALL)
}

fn cell(value: impl ToString) -> String {
    value.to_string()
}

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}

/// Labels as SQL shows a map.
fn map(labels: &Labels) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{{{}}}", labels.join(", "))
}

async fn check(world: &World, statement: &str, expected: Vec<Vec<String>>, what: &str) {
    assert_eq!(sorted(sql(world, statement).await.unwrap()), sorted(expected), "{what}: {statement}");
}

async fn check_text(world: &World, statement: &str, expected: Expect) {
    let text = match sql(world, statement).await {
        Ok(rows) => rows.into_iter().map(|row| row.join(" | ") + "\n").collect(),
        Err(error) => error,
    };
    expected.assert_eq(&text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profiles_and_series_equal_the_oracle() {
    for place in PLACES {
        let world = world(place).await;
        let what = format!("{place:?}");
        let (all, ever) = (Selector::default(), TimeRange::ALL);
        let rows = world.oracle.profiles(&all, &ever).into_iter().map(|row| {
            let ty = &row.profile_type;
            let service = row.labels.get("service_name").unwrap().to_owned();
            let parts = [&ty.name, &ty.sample_type, &ty.sample_unit, &ty.period_type, &ty.period_unit].map(cell);
            let mut cells = vec![cell(row.time_unix_nano), service, cell(ty), map(&row.labels), cell(row.total)];
            cells.extend(parts);
            cells.push(row.id.to_string());
            cells
        });
        let statement = "SELECT time_unix_nano, service_name, profile_type, labels, total, profile_name, sample_type, \
                         sample_unit, period_type, period_unit, profile_id FROM profiles";
        check(&world, statement, rows.collect(), &what).await;

        let rows = world.oracle.series(&all, &ever).into_iter().map(|(labels, ty)| vec![map(&labels), cell(ty)]);
        let found: BTreeSet<Vec<String>> =
            sql(&world, "SELECT labels, profile_type FROM series").await.unwrap().into_iter().collect();
        assert_eq!(found, rows.collect(), "{what}");
        let counted = "SELECT service_name, sum(profile_count) FROM series GROUP BY service_name";
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for row in world.oracle.profiles(&all, &ever) {
            *counts.entry(row.labels.get("service_name").unwrap().to_owned()).or_default() += 1;
        }
        check(&world, counted, counts.into_iter().map(|(service, count)| vec![service, cell(count)]).collect(), &what)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_and_stacks_equal_the_oracle() {
    for place in PLACES {
        let world = world(place).await;
        let what = format!("{place:?}");
        let samples = samples(&world);
        let end = |frame: Option<&String>| frame.cloned().unwrap_or_else(|| "-".to_owned());
        let rows = samples.iter().map(|of| {
            let stack = format!("[{}]", of.stack.join(", "));
            let service = of.labels.get("service_name").unwrap().to_owned();
            vec![
                cell(of.time_unix_nano),
                service,
                cell(&of.profile_type),
                map(&of.labels),
                of.id.to_string(),
                stack,
                end(of.stack.last()),
                end(of.stack.first()),
                cell(of.stack.len()),
                cell(of.value),
            ]
        });
        let statement = "SELECT time_unix_nano, service_name, profile_type, labels, profile_id, stack, leaf, root, depth, \
                         value FROM samples";
        check(&world, statement, rows.collect(), &what).await;

        let stacks: BTreeSet<(String, String)> = samples
            .iter()
            .map(|of| (of.labels.get("service_name").unwrap().to_owned(), format!("[{}]", of.stack.join(", "))))
            .collect();
        let found = sql(&world, "SELECT service_name, stack FROM stacks").await.unwrap();
        let found: BTreeSet<(String, String)> = found.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
        assert_eq!(found, stacks, "{what}");
        // One id a stack of names, wherever it is.
        let ids = sql(&world, "SELECT count(DISTINCT stack_id) FROM stacks").await.unwrap();
        let names: BTreeSet<&String> = stacks.iter().map(|(_, stack)| stack).collect();
        assert_eq!(ids, [[cell(names.len())]], "{what}");
        let joined = "SELECT count(*) FROM samples s JOIN stacks k ON k.segment = s.segment \
                      AND k.service_name = s.service_name AND k.stack_id = s.stack_id AND k.stack = s.stack";
        assert_eq!(sql(&world, joined).await.unwrap(), [[cell(samples.len())]], "{what}");

        let functions: BTreeSet<String> = samples.iter().flat_map(|of| of.stack.clone()).collect();
        let rows = functions.into_iter().map(|name| vec![name]);
        check(&world, "SELECT DISTINCT name FROM functions", rows.collect(), &what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_equal_the_oracle() {
    let middle = START + 60 * SECOND;
    let has = |of: &OracleSample, name: &str| of.stack.iter().any(|frame| frame.contains(name));
    type Keep = Box<dyn Fn(&OracleSample) -> bool>;
    let label =
        |name: &'static str, value: &'static str| -> Keep { Box::new(move |of| of.labels.get(name) == Some(value)) };
    let cases: Vec<(String, Keep)> = vec![
        ("service_name = 'api'".to_owned(), label("service_name", "api")),
        ("labels['pod'] = 'p1'".to_owned(), label("pod", "p1")),
        ("labels['none'] = ''".to_owned(), Box::new(|_| false)),
        ("label(labels, 'none') = ''".to_owned(), Box::new(|_| true)),
        ("labels['__type__'] = 'cpu'".to_owned(), Box::new(|_| false)),
        (
            "service_name IN ('api', 'db', 'a|b')".to_owned(),
            Box::new(|of| of.labels.get("service_name") != Some("web")),
        ),
        (
            "labels['pod'] = 'p0' OR service_name = 'db'".to_owned(),
            Box::new(|of| of.labels.get("pod") == Some("p0") || of.labels.get("service_name") == Some("db")),
        ),
        ("sample_type = 'inuse_space'".to_owned(), Box::new(|of| of.profile_type.sample_type == "inuse_space")),
        (format!("time_unix_nano >= {middle}"), Box::new(move |of| of.time_unix_nano >= middle)),
        ("time >= '2023-11-15T00:00:00Z'".to_owned(), Box::new(move |of| of.time_unix_nano >= middle)),
        ("time < TIMESTAMP '2023-11-15T00:00:00'".to_owned(), Box::new(move |of| of.time_unix_nano < middle)),
        (
            "time BETWEEN now() - INTERVAL '1 hour' AND now() + INTERVAL '1 minute'".to_owned(),
            Box::new(move |of| of.time_unix_nano <= middle),
        ),
        ("has_function(stack, 'rea|oute')".to_owned(), Box::new(move |of| has(of, "rea") || has(of, "oute"))),
        ("has_function(stack, '^deep$')".to_owned(), Box::new(|of| of.stack.contains(&"deep".to_owned()))),
        ("NOT has_function(stack, 'main')".to_owned(), Box::new(move |of| !has(of, "main"))),
        ("leaf = 'outer'".to_owned(), Box::new(|of| of.stack.last().is_some_and(|leaf| leaf == "outer"))),
        ("leaf = 'inner'".to_owned(), Box::new(|of| of.stack.last().is_some_and(|leaf| leaf == "inner"))),
        (
            "root = 'other' AND value > 3".to_owned(),
            Box::new(|of| of.stack.first().is_some_and(|root| root == "other") && of.value > 3),
        ),
        ("root(stack) = 'other'".to_owned(), Box::new(|of| of.stack.first().is_some_and(|root| root == "other"))),
        ("leaf(stack) = 'leaf'".to_owned(), Box::new(|of| of.stack.last().is_some_and(|leaf| leaf == "leaf"))),
        ("leaf IS NULL".to_owned(), Box::new(|of| of.stack.is_empty())),
        (
            "selects(labels, profile_type, '{pod=~\"p1|x\",__type__=\"cpu\"}') AND leaf = 'read'".to_owned(),
            Box::new(|of| {
                of.labels.get("pod") == Some("p1")
                    && of.profile_type.sample_type == "cpu"
                    && of.stack.last().is_some_and(|leaf| leaf == "read")
            }),
        ),
    ];
    for place in PLACES {
        let world = world(place).await;
        for (filter, keep) in &cases {
            let kept = samples(&world).into_iter().filter(|of| keep(of));
            let rows = kept.map(|of| vec![cell(of.time_unix_nano), cell(of.value)]).collect();
            let statement = format!("SELECT time_unix_nano, value FROM samples WHERE {filter}");
            check(&world, &statement, rows, &format!("{place:?}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_by_name_equal_the_oracle() {
    for place in PLACES {
        let world = world(place).await;
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        let mut stacks: BTreeMap<String, i64> = BTreeMap::new();
        for of in samples(&world).into_iter().filter(|of| of.profile_type.to_string() == CPU) {
            *sums.entry(of.stack.last().cloned().unwrap_or("-".to_owned())).or_default() += of.value;
            *stacks.entry(format!("[{}]", of.stack.join(", "))).or_default() += of.value;
        }
        let rows = |sums: BTreeMap<String, i64>| sums.into_iter().map(|(name, sum)| vec![name, cell(sum)]).collect();
        let by = |column: &str| {
            format!(
                "SELECT {column}, sum(value) FROM samples WHERE profile_type = '{CPU}' GROUP BY {column} ORDER BY {column}"
            )
        };
        check(&world, &by("leaf"), rows(sums), &format!("{place:?}")).await;
        check(&world, &by("stack"), rows(stacks), &format!("{place:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_says_what_was_skipped() {
    let world = world(Place::Segments).await;
    let explain = async |filter: &str| {
        let statement = format!("EXPLAIN ANALYZE SELECT sum(value) FROM samples WHERE {filter}");
        sql(&world, &statement).await.unwrap().concat().join("\n")
    };
    let plan = explain("service_name = 'api' AND time < '2023-11-15T00:00:00Z' AND leaf = 'read'").await;
    for expected in
        ["range=-9223372036854775808..1700006400000000000", "segments_pruned_time=", "stacks=[leaf=\"read\"]"]
    {
        assert!(plan.contains(expected), "{expected} is not in {plan}");
    }
    assert!(!plan.contains("FilterExec") && !plan.contains("columns=[time"), "{plan}");
    let plan = explain("labels['pod'] = 'p9'").await;
    assert!(plan.contains("segments=0/") && plan.contains("segments_pruned_postings="), "{plan}");
    // Where no stack fits, samples are not read.
    let plan = explain("has_function(stack, 'no such name')").await;
    assert!(plan.contains("stacks_fitting=0"), "{plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_those_of_the_manifest() {
    let world = world(Place::Mixed).await;
    let snapshot = world.store.snapshot(&Tenant::default());
    let rows = snapshot.segments.iter().map(|of| {
        let entry = &of.entry;
        let [services, types] = [&entry.services, &entry.profile_types].map(|all| format!("[{}]", all.join(", ")));
        vec![entry.id.to_string(), cell(entry.level), services, types, cell(entry.sample_rows), cell(entry.bytes())]
    });
    let statement = "SELECT segment, level, services, profile_types, samples, bytes FROM segments";
    check(&world, statement, rows.collect(), "segments").await;
    let counted = "SELECT sum(s.samples) - count(*) FROM segments s JOIN samples x ON x.segment = s.segment";
    assert!(sql(&world, counted).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observations_are_told_apart() {
    let mut world = World::new().await;
    let mut builder = ProfileBuilder::new();
    builder.sample_type("samples", "count");
    let (time, thread) = (|number| LabelText::Num(number, "nanoseconds"), ("thread", LabelText::Str("worker")));
    let trace = ("trace_id", LabelText::Str("000102030405060708090a0b0c0d0e0f"));
    let span = ("span_id", LabelText::Str("00000000000000a1"));
    builder.add_sample(&["main"], &[1], &[thread, trace, span, ("timestamp_ns", time(5))]);
    builder.add_sample(
        &["main"],
        &[2],
        &[("end_timestamp_ns", LabelText::Num(6, "")), ("bytes", LabelText::Num(64, "kb"))],
    );
    world.push(&[("service_name", "jobs")], START, builder.finish().unwrap()).await;
    let statement =
        "SELECT value, sample_labels, observed_time, ended_time, trace_id, span_id FROM samples ORDER BY value";
    for _in_head_and_segment in 0..2 {
        check_text(
            &world,
            statement,
            expect![[r#"
                1 | {thread: worker} | 1970-01-01T00:00:00.000000005Z | - | 000102030405060708090a0b0c0d0e0f | 00000000000000a1
                2 | {bytes: 64} | - | 1970-01-01T00:00:00.000000006Z | - | -
            "#]],
        )
        .await;
        check_text(
            &world,
            "SELECT value FROM samples WHERE trace_id = '000102030405060708090a0b0c0d0e0f'",
            expect![[r#"
                1
            "#]],
        )
        .await;
        world.flush().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_of_observation_and_temporality_are_read_exactly() {
    let mut world = World::new().await;
    // Of the first profile all times are known, of the second some, of the third none.
    let profiles = [vec![Some(5), Some(9), Some(7)], vec![None, Some(7), None, Some(1)], vec![None, None]];
    let (mut all, mut value) = (Vec::new(), 0);
    for (at, times) in (0..).zip(profiles) {
        let mut builder = ProfileBuilder::new();
        builder.sample_type("samples", "count");
        for time in times {
            value += 1;
            let leaf = if value % 2 == 0 { "read" } else { "write" };
            let label = time.map(|time| ("timestamp_ns", LabelText::Num(time, "nanoseconds")));
            builder.add_sample(&["main", leaf], &[value], label.as_slice());
            all.push((value, time, leaf));
        }
        world.push(&[("service_name", "jobs")], START + at * SECOND, builder.finish().unwrap()).await;
    }
    let when = |nanos: i64| format!("arrow_cast({nanos}, 'Timestamp(Nanosecond, Some(\"UTC\"))')");
    for _in_head_and_segment in 0..2 {
        for (first, last) in [(5, 7), (0, 9), (8, 8), (1, 1), (i64::MIN + 1, i64::MAX)] {
            let fits = |time: &Option<i64>| time.is_some_and(|time| first <= time && time <= last);
            let range = format!("observed_time >= {} AND observed_time <= {}", when(first), when(last));
            let of = |leaf: Option<&str>| {
                let rows = all.iter().filter(|row| fits(&row.1) && leaf.is_none_or(|leaf| row.2 == leaf));
                rows.map(|row| vec![cell(row.0)]).collect::<Vec<_>>()
            };
            let statement = format!("SELECT value FROM samples WHERE {range}");
            check(&world, &statement, of(None), "a range").await;
            check(&world, &format!("{statement} AND leaf = 'read'"), of(Some("read")), "a range, a stack").await;
            let counted = format!("SELECT count(*) FROM samples WHERE {range}");
            check(&world, &counted, vec![vec![cell(of(None).len())]], "a range, no column").await;
        }
        let known = all.iter().filter(|row| row.1.is_some()).count();
        let after = format!("SELECT count(*) FROM samples WHERE observed_time > {}", when(0));
        check(&world, &after, vec![vec![cell(known)]], "times that are known").await;
        for (temporality, rows) in [("delta", all.len()), ("instant", 0), ("", 0)] {
            let statement = format!("SELECT count(value) FROM samples WHERE temporality = '{temporality}'");
            check(&world, &statement, vec![vec![cell(rows)]], "temporality").await;
        }
        world.flush().await;
    }
    // A segment, and a head, without the column.
    for _in_head_and_segment in 0..2 {
        let mut builder = ProfileBuilder::new();
        builder.sample_type("samples", "count");
        builder.add_sample(&["main", "read"], &[100], &[]);
        world.push(&[("service_name", "untimed")], START, builder.finish().unwrap()).await;
        let untimed = "SELECT observed_time, trace_id FROM samples WHERE service_name = 'untimed'";
        let rows = sql(&world, untimed).await.unwrap();
        assert!(rows.iter().all(|row| row == &["-", "-"]), "{rows:?}");
        let only = "SELECT count(observed_time), count(*) FROM samples WHERE service_name = 'untimed'";
        check(&world, only, vec![vec!["0".to_owned(), cell(rows.len())]], "no times").await;
        let timed = all.iter().filter(|row| row.1.is_some()).count();
        let ranged = format!("SELECT count(*) FROM samples WHERE observed_time >= {}", when(0));
        check(&world, &ranged, vec![vec![cell(timed)]], "a range where some have no times").await;
        world.flush().await;
    }
    assert_eq!(sql(&world, "SELECT ended_time FROM samples WHERE service_name = 'untimed'").await.unwrap().len(), 2);
    let range = format!("observed_time >= {} AND temporality = 'delta'", when(5));
    let plan = sql(&world, &format!("EXPLAIN SELECT value FROM samples WHERE {range}")).await.unwrap();
    let plan = plan.concat().join("\n");
    assert!(plan.contains("observed=5..") && !plan.contains("FilterExec"), "{plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_are_put_into_bins() {
    let world = world(Place::Mixed).await;
    let statement = format!(
        "SELECT date_bin(INTERVAL '1 minute', time) AS minute, sum(total) FROM profiles WHERE profile_type = '{CPU}' \
         GROUP BY minute ORDER BY minute"
    );
    let steps = world.oracle.time_series(&CPU.parse().unwrap(), &TimeRange::ALL, 60 * SECOND, &[]);
    let totals: Vec<String> = steps.into_values().flatten().map(|(_, total)| cell(total)).collect();
    let found = sql(&world, &statement).await.unwrap();
    assert_eq!(found[0][0], "2023-11-14T23:59:00Z");
    assert_eq!(found.into_iter().map(|row| row[1].clone()).collect::<Vec<_>>(), totals);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_functions_equal_the_engine() {
    for place in PLACES {
        let world = world(place).await;
        let range = TimeRange { start: START + 20 * SECOND, end: START + 90 * SECOND };
        let asked = |range| flamestore_query::Query { combine: Combine::Auto, ..query(CPU, range) };
        let tree = world.engine.merge(&asked(range)).await.unwrap().value;
        let batch = frames(&tree).unwrap();
        let call = format!("merge('{CPU}', {}, {})", range.start, range.end);
        let found = sql(&world, &format!("SELECT count(*), sum(self), max(depth) FROM {call}")).await.unwrap();
        let sum: i64 = tree.values[0].iter().sum();
        assert_eq!(found[0][..2], [cell(batch.num_rows()), cell(sum)], "{place:?}");
        let root = sql(&world, &format!("SELECT name, total, parent FROM {call} WHERE node = 0")).await.unwrap();
        assert_eq!(root, [["total".to_owned(), cell(sum), "-".to_owned()]], "{place:?}");

        let top = world.engine.top(&asked(range)).await.unwrap().value.into_iter();
        let top = top.map(|row| vec![row.name, cell(row.self_values[0]), cell(row.totals[0])]).collect::<Vec<_>>();
        let times = "'2023-11-14T23:59:20Z', TIMESTAMP '2023-11-15T00:00:30'";
        let statement = format!("SELECT name, self, total FROM top_functions('{CPU}', {times})");
        assert_eq!(sql(&world, &statement).await.unwrap(), top, "{place:?}");

        let diff = world.engine.diff(&asked(range), &asked(TimeRange::ALL)).await.unwrap().value;
        let sums: Vec<String> = diff.values.iter().map(|column| cell(column.iter().sum::<i64>())).collect();
        let statement = format!(
            "SELECT sum(self_before), sum(self_after) FROM diff('{CPU}', {}, {}, NULL, NULL)",
            range.start, range.end
        );
        assert_eq!(sql(&world, &statement).await.unwrap(), [sums], "{place:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregates_equal_the_engine() {
    for place in PLACES {
        let world = world(place).await;
        let tree = world.engine.merge(&query(CPU, TimeRange::ALL)).await.unwrap().value;
        let of = |call: &str| format!("SELECT {call} FROM samples WHERE profile_type = '{CPU}'");
        let found = sql(&world, &of("folded(stack, value)")).await.unwrap();
        assert_eq!(found, [[text(&tree)]], "{place:?}");

        let found = sql(&world, &of("flamegraph(stack, value)")).await.unwrap();
        let found: serde_json::Value = serde_json::from_str(&found[0][0]).unwrap();
        let levels = fold(&tree, &FoldOptions { max_nodes: 0 }).levels();
        assert_eq!(found["total"], levels.totals[0], "{place:?}");
        assert_eq!(found["max_self"], levels.max_self, "{place:?}");
        let name = |names: &[String], id: i64| names[usize::try_from(id).unwrap()].clone();
        let nodes = |levels: &[Vec<i64>], names: &[String]| -> Vec<Vec<(Vec<i64>, String)>> {
            let node = |node: &[i64]| (node[..3].to_vec(), name(names, node[3]));
            levels.iter().map(|level| level.chunks(4).map(node).collect()).collect()
        };
        let names: Vec<String> = serde_json::from_value(found["names"].clone()).unwrap();
        let rows = found["levels"].as_array().unwrap().iter();
        let rows: Vec<Vec<i64>> = rows.map(|row| serde_json::from_value(row["values"].clone()).unwrap()).collect();
        assert_eq!(nodes(&rows, &names), nodes(&levels.levels, &levels.names), "{place:?}");

        let answer = world.engine.sql(&Tenant::default(), &of("pprof(stack, value, profile_type)")).await.unwrap();
        let batches: Vec<_> = answer.batches.try_collect().await.unwrap();
        let bytes = arrow::array::AsArray::as_binary::<i32>(batches[0].column(0)).value(0).to_vec();
        let profile = decode_pprof(bytes.into(), &Limits::default()).unwrap();
        assert_eq!(encode_folded(&profile, 0), text(&tree), "{place:?}");
        let header = &profile.header.sample_types[0];
        assert_eq!(profile.symbols.strings.text(header.unit), "nanoseconds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aggregates_group_and_add_up_in_parts() {
    let world = world(Place::Mixed).await;
    let statement = format!(
        "SELECT service_name, folded(stack, value) FROM samples WHERE profile_type = '{CPU}' AND value > 0 \
         GROUP BY service_name ORDER BY service_name"
    );
    let mut expected = Vec::new();
    for service in ["api", "db", "web"] {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        let of = samples(&world).into_iter().filter(|of| of.labels.get("service_name") == Some(service));
        for of in of.filter(|of| of.profile_type.to_string() == CPU && of.value > 0) {
            *sums.entry(of.stack.join(";")).or_default() += of.value;
        }
        let lines: String = sums.into_iter().map(|(stack, sum)| format!("{stack} {sum}\n")).collect();
        expected.push(vec![service.to_owned(), lines]);
    }
    assert_eq!(sql(&world, &statement).await.unwrap(), expected);
    check_text(
        &world,
        "SELECT folded(stack, value), pprof(stack, value) FROM samples WHERE false",
        expect![[r#"
        - | -
    "#]],
    )
    .await;
    let types = sql(&world, "SELECT pprof(stack, value, profile_type) FROM samples").await.unwrap_err();
    assert!(types.starts_with("Invalid: values of more than one profile type cannot be added"), "{types}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_tables_have_a_schema_of_their_own() {
    let world = world(Place::Mixed).await;
    let statement = "SELECT count(*) FROM segment.samples";
    assert_eq!(sql(&world, statement).await.unwrap(), [[cell(samples(&world).len())]]);
    check_text(
        &world,
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 2",
        expect![[r#"
            public | functions
            public | profiles
            public | samples
            public | segments
            public | series
            public | stacks
        "#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_statements_are_refused_clearly() {
    let world = world(Place::Mixed).await;
    for statement in [
        "SELECT valu FROM samples",
        "SELECT * FROM sample",
        "SELECT value FROM samples WHERE has_function(stack, '(')",
        "SELECT value FROM samples WHERE has_function(stack)",
        "SELECT * FROM merge()",
        "SELECT * FROM merge('{')",
        "SELECT * FROM merge('{}', 'yesterday')",
        "SELECT * FROM merge('{}', 20, 10)",
        "SELECT * FROM merge('{}')",
        "SELECT * FROM diff('{}', 1, 2)",
        "SELECT * FROM nothing('{}')",
        "DROP TABLE samples",
        "COPY samples TO 'file.csv'",
        "SET datafusion.execution.batch_size = 1",
        "CREATE VIEW v AS SELECT 1",
        "",
    ] {
        let error = sql(&world, statement).await.unwrap_err();
        assert!(error.starts_with("Invalid: "), "{statement}: {error}");
    }
    check_text(&world, "SELECT value,\n valu FROM samples", expect!["Invalid: a query failed: Schema error: No field named valu. Did you mean 'samples.value'? [line=2, column=2]"]).await;
    check_text(&world, "SELECT value FROM samples WERE x", expect![[r#"Invalid: a query failed: SQL error: ParserError("Expected: end of statement, found: x at Line: 1, Column: 32") [line=1, column=32]"#]]).await;
    check_text(&world, "SELECT * FROM merge('{}', 'yesterday')", expect!["Invalid: not a time; examples: 2026-05-01T12:00:00Z, 2026-05-01, 1777636800, now, now-1h30m [found=yesterday]"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_and_long_statements_fail_cleanly() {
    let world = world(Place::Head).await;
    let deep = [
        format!("SELECT {}1{}", "(".repeat(240), ")".repeat(240)),
        format!("SELECT {}1", "- ".repeat(450)),
        format!("SELECT {}", vec!["1"; 100_000].join("+")),
        format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(5000)),
        format!("SELECT '{}'", "x".repeat(1 << 20)),
    ];
    for statement in deep {
        let error = sql(&world, &statement).await.unwrap_err();
        assert!(error.starts_with("Invalid: ") || error.starts_with("Exhausted: "), "{error}");
    }
    let sum = format!("SELECT {}", vec!["1"; 490].join("+"));
    assert_eq!(sql(&world, &sum).await.unwrap(), [["490"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded() {
    let world = world(Place::Segments).await;
    let engine = Engine::new(Arc::clone(&world.store), limits(2000)).unwrap();
    for statement in ["SELECT stack FROM samples", "SELECT folded(stack, value) FROM samples", "SELECT * FROM stacks"] {
        let run = async { engine.sql(&Tenant::default(), statement).await?.batches.try_collect::<Vec<_>>().await };
        let error = run.await.unwrap_err();
        assert_eq!(error.kind(), flamestore_model::ErrorKind::Exhausted, "{statement}: {error}");
    }
}

/// The statements of the documentation.
fn documented() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sql.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```sql\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_statement_has_an_answer() {
    for place in PLACES {
        let world = world(place).await;
        let statements = documented();
        assert!(statements.len() >= 18);
        for statement in statements {
            let rows = sql(&world, &statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
            let may_be_empty = statement.contains("FROM segment") && matches!(place, Place::Head);
            assert!(may_be_empty || !rows.is_empty(), "{statement}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sql.md");
    let text = std::fs::read_to_string(path).unwrap();
    let world = World::new().await;
    let statement = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'";
    for row in sql(&world, statement).await.unwrap() {
        assert!(text.contains(&format!("`{}`", row[0])), "{} is not in docs/sql.md", row[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_profiles_equal_the_oracle() {
    let mut world = World::new().await;
    for seed in 0..12_u64 {
        let mut batch = arbitrary_profile_of(seed, &ArbitraryShape::default());
        let time = START + i64::try_from(seed).unwrap() * SECOND;
        batch.header.time_unix_nano = time;
        world.push(&[("service_name", ["a", "b"][usize::try_from(seed % 2).unwrap()])], time, batch).await;
        if seed % 5 == 4 {
            world.flush().await;
        }
    }
    for is_compacted in [false, true] {
        if is_compacted {
            world.flush().await;
            compact(&world).await;
        }
        // Names of frames by address may differ from the oracle's, see there; their number does not.
        let rows = samples(&world).into_iter().map(|of| {
            vec![
                cell(of.time_unix_nano),
                of.id.to_string(),
                cell(of.profile_type),
                cell(of.stack.len()),
                cell(of.value),
            ]
        });
        let statement = "SELECT time_unix_nano, profile_id, profile_type, array_length(stack), value FROM samples \
                         WHERE depth > 0 UNION ALL SELECT time_unix_nano, profile_id, profile_type, 0, value \
                         FROM samples WHERE depth = 0";
        check(&world, statement, rows.collect(), "random").await;
        let profiles = world.oracle.profiles(&Selector::default(), &TimeRange::ALL).into_iter();
        let profiles = profiles.map(|of| vec![of.id.to_string(), cell(of.profile_type), cell(of.total)]).collect();
        check(&world, "SELECT profile_id, profile_type, total FROM profiles", profiles, "random").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_segment_is_left_out() {
    for table in [Table::Samples, Table::Strings, Table::CallSites, Table::Profiles] {
        let mut world = world(Place::Segments).await;
        let segment = world.store.snapshot(&Tenant::default()).segments[0].entry.clone();
        let path = object_store::path::Path::from(segment.key(table).to_string());
        let length = world.objects.head(&path).await.unwrap().size;
        let bytes = vec![b'x'; usize::try_from(length).unwrap()];
        world.objects.put(&path, PutPayload::from(bytes)).await.unwrap();
        world.reopen().await;
        let all = samples(&world).len();
        let left = all - usize::try_from(segment.sample_rows).unwrap();
        for _found_and_known in 0..2 {
            let counted = sql(&world, "SELECT count(*), count(stack), count(profile_id) FROM samples").await.unwrap();
            assert_eq!(counted, [[cell(left), cell(left), cell(left)]], "{table}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_may_be_dropped_at_any_time() {
    let world = world(Place::Mixed).await;
    let answer = world.engine.sql(&Tenant::default(), "SELECT * FROM samples a, samples b, samples c").await.unwrap();
    let mut batches = answer.batches;
    assert!(batches.try_next().await.unwrap().is_some());
    drop(batches);
    assert_eq!(sql(&world, "SELECT count(*) FROM samples").await.unwrap(), [[cell(samples(&world).len())]]);
}
