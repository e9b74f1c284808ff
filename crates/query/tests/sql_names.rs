//! Names are carried by number, and nobody can tell: every statement answers as it does over a plain table of the same rows.
#![allow(clippy::unwrap_used, reason = "what a test needs must not fail")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type};
use common::{SECOND, START, World, compact, limits, sql};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use flamestore_model::{ErrorKind, Selector, Tenant, TimeRange};
use flamestore_query::{Engine, QueryOptions};
use flamestore_segment::Table;
use flamestore_store::SegmentEntry;
use flamestore_testkit::Fixture;
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, PutPayload};

const PROFILES: [&str; 5] = [
    "main;read 3 | main;write 1",
    "main;read 5 {cpu=1} | main;poll;wait 2 {cpu=2} | main 4",
    "main;inner<outer;leaf 7 | - 2",
    "other;work 11 | main;read 1 | main;read 1",
    "main;write -1 | main;gone 0 | main;deep;deep;deep 6 {thread=a}",
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

async fn world(place: Place) -> World {
    let mut world = World::new().await;
    for at in 0..15_usize {
        let time = START + i64::try_from(at).unwrap() * 10 * SECOND;
        let mut labels = vec![("service_name", ["api", "web", "db"][at % 3])];
        labels.extend([("pod", ["p0", "p1"][at % 2])].into_iter().filter(|_| at % 5 != 0));
        let batch = Fixture::cpu().mapping(0x1000, 0x9000, "build").profile(PROFILES[at % PROFILES.len()]);
        world.push(&labels, time, batch).await;
        if at % 4 == 0 {
            let heap = Fixture::heap().profile("main;alloc 1,100,0,0 | main;keep 2,200,1,100 {bytes=64}");
            world.push(&labels, time + SECOND, heap).await;
        }
        let flushes = match place {
            Place::Head => false,
            Place::Segments | Place::Compacted => at % 5 == 4,
            Place::Mixed => at % 4 == 3,
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

/// Tables of the same rows, which know nothing of numbers.
async fn plain(world: &World) -> SessionContext {
    let context = SessionContext::new();
    for table in ["samples", "profiles", "stacks"] {
        let statement = format!("SELECT * FROM {table}");
        let answer = world.engine.sql(&Tenant::default(), &statement).await.unwrap();
        let schema = Arc::clone(&answer.schema);
        let rows = answer.batches.try_collect().await.unwrap();
        context.register_table(table, Arc::new(MemTable::try_new(schema, vec![rows]).unwrap())).unwrap();
    }
    context
}

fn cells(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("-");
    let of_batch = |batch: &RecordBatch| {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        (0..batch.num_rows())
            .map(|row| columns.iter().map(|of| of.value(row).to_string()).collect())
            .collect::<Vec<_>>()
    };
    batches.iter().flat_map(of_batch).collect()
}

const STATEMENTS: &[&str] = &[
    // As they are, looked into, and left alone.
    "SELECT stack, leaf, root, labels, sample_labels, service_name, profile_type, temporality, segment FROM samples",
    "SELECT count(*) FROM samples",
    "SELECT service_name, labels['pod'], count(*) FROM samples GROUP BY service_name, labels['pod']",
    "SELECT time, service_name, profile_id, period, duration_nano FROM samples",
    "SELECT array_length(stack), stack[1], stack[2], array_to_string(stack, ';') FROM samples",
    "SELECT upper(leaf), leaf || root, substr(service_name, 2), CASE WHEN leaf = 'read' THEN root ELSE leaf END FROM samples",
    "SELECT labels['pod'], labels['none'], map_keys(labels), sample_labels['cpu'], coalesce(labels['pod'], 'none') FROM samples",
    // Filters that no table answers.
    "SELECT value, stack FROM samples WHERE value > 2",
    "SELECT value FROM samples WHERE leaf <> 'read'",
    "SELECT value FROM samples WHERE 'read' = leaf OR root = 'other'",
    "SELECT value FROM samples WHERE leaf LIKE '%a%' AND service_name LIKE 'a_i'",
    "SELECT value FROM samples WHERE leaf IS NULL",
    "SELECT value FROM samples WHERE leaf IN ('read', 'write')",
    "SELECT value FROM samples WHERE labels['pod'] <> 'p0'",
    "SELECT value FROM samples WHERE labels['pod'] IS NULL",
    "SELECT value FROM samples WHERE labels['pod'] LIKE 'p%'",
    "SELECT value FROM samples WHERE labels['pod'] LIKE '%'",
    "SELECT value FROM samples WHERE labels['pod'] NOT LIKE '%1'",
    "SELECT value FROM samples WHERE labels['pod'] ~ '0$'",
    "SELECT value FROM samples WHERE labels['pod'] ~ '^p(0|2)?'",
    "SELECT value FROM samples WHERE labels['pod'] ~ 'x|'",
    "SELECT value FROM samples WHERE labels['none'] ~ '.*'",
    "SELECT value FROM samples WHERE labels['pod'] !~ '0$'",
    "SELECT value FROM samples WHERE service_name ~ '^(api|web)$' AND profile_type ~ 'cpu'",
    "SELECT value FROM samples WHERE temporality = 'cumulative' OR temporality <> 'delta'",
    "SELECT value FROM samples WHERE sample_labels['cpu'] = '1'",
    "SELECT value FROM samples WHERE array_length(stack) = 2 AND stack[2] = 'read'",
    // Keys.
    "SELECT stack, sum(value) FROM samples GROUP BY stack",
    "SELECT leaf, root, sum(value), count(*) FROM samples GROUP BY leaf, root",
    "SELECT labels, sum(value) FROM samples GROUP BY labels",
    "SELECT labels['pod'] AS pod, sample_type, sum(value) FROM samples GROUP BY pod, sample_type",
    "SELECT stack, leaf, count(*) AS rows FROM samples GROUP BY stack, leaf HAVING count(*) > 1",
    "SELECT leaf, sum(value) AS spent FROM samples GROUP BY leaf HAVING leaf LIKE 'r%'",
    "SELECT date_bin(INTERVAL '30 seconds', time) AS at, labels['pod'], sum(value) FROM samples GROUP BY 1, 2",
    "SELECT DISTINCT labels, sample_labels FROM samples",
    "SELECT DISTINCT labels['pod'] FROM samples WHERE labels['pod'] IS NOT NULL",
    "SELECT DISTINCT profile_name, sample_type, sample_unit, period_type, period_unit, temporality FROM samples",
    "SELECT DISTINCT stack FROM samples",
    "SELECT count(DISTINCT stack), count(DISTINCT leaf), count(DISTINCT labels['pod']), count(leaf) FROM samples",
    "SELECT service_name, count(DISTINCT stack) FROM samples GROUP BY service_name",
    "SELECT service_name, leaf, sum(value) FROM samples GROUP BY ROLLUP (service_name, leaf)",
    "SELECT array_length(stack), sum(value) FROM samples GROUP BY array_length(stack)",
    // Aggregates of names.
    "SELECT min(leaf), max(root), max(labels['pod']) FROM samples",
    "SELECT service_name, max(leaf) FROM samples GROUP BY service_name",
    "SELECT service_name, sum(value) FILTER (WHERE leaf = 'read') FROM samples GROUP BY service_name",
    // Order.
    "SELECT stack, value FROM samples ORDER BY stack, value",
    "SELECT leaf, value FROM samples ORDER BY leaf DESC NULLS LAST, value LIMIT 5",
    "SELECT stack, sum(value) AS spent FROM samples GROUP BY stack ORDER BY spent DESC, stack LIMIT 4",
    "SELECT labels['pod'] AS pod, time_unix_nano, value FROM samples ORDER BY pod, time_unix_nano, value",
    // Joins.
    "SELECT a.stack, a.value, b.value FROM samples a JOIN samples b ON a.stack = b.stack AND a.time < b.time",
    "SELECT s.stack, k.depth FROM samples s JOIN stacks k ON k.segment = s.segment AND k.service_name = s.service_name AND \
     k.stack = s.stack",
    "SELECT s.leaf, p.labels, p.total FROM samples s JOIN profiles p ON p.profile_id = s.profile_id AND p.sample_type = s.sample_type",
    "SELECT s.leaf, t.spent FROM samples s LEFT JOIN (SELECT leaf, sum(value) AS spent FROM samples GROUP BY leaf HAVING \
     sum(value) > 5) t ON t.leaf = s.leaf",
    "SELECT value FROM samples WHERE leaf IN (SELECT leaf FROM samples WHERE value > 5)",
    "SELECT value FROM samples WHERE stack NOT IN (SELECT stack FROM samples WHERE value > 5)",
    "SELECT value FROM samples s WHERE EXISTS (SELECT 1 FROM profiles p WHERE p.labels['pod'] = s.labels['pod'] AND p.total > 9)",
    "SELECT leaf FROM samples WHERE value = (SELECT max(value) FROM samples WHERE leaf = 'read')",
    // Everything else.
    "SELECT leaf, row_number() OVER (PARTITION BY stack ORDER BY time_unix_nano, value) FROM samples",
    "SELECT stack, leaf FROM samples WHERE value > 5 UNION ALL SELECT stack, root FROM samples WHERE value <= 5",
    "SELECT leaf FROM samples UNION SELECT root FROM samples",
    "SELECT leaf FROM samples INTERSECT SELECT root FROM samples",
    "SELECT frame, count(*) FROM (SELECT unnest(stack) AS frame FROM samples) GROUP BY frame",
    "WITH spent AS (SELECT stack, labels['pod'] AS pod, sum(value) AS v FROM samples GROUP BY stack, labels['pod']) SELECT \
     pod, array_length(stack), v FROM spent WHERE pod = 'p0'",
    "SELECT x.frames, x.pod FROM (SELECT stack AS frames, labels['pod'] AS pod FROM samples) x WHERE x.pod = 'p1'",
    "SELECT labels, total, labels['pod'] FROM profiles WHERE labels['pod'] <> 'p1'",
    "SELECT labels['pod'], sum(total), count(DISTINCT labels) FROM profiles GROUP BY labels['pod']",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_answer_as_over_plain_tables() {
    for place in PLACES {
        let world = world(place).await;
        let plain = plain(&world).await;
        for statement in STATEMENTS {
            let expected = plain.sql(statement).await.unwrap().collect().await.unwrap();
            let mut expected = cells(&expected);
            let mut found = sql(&world, statement).await.unwrap();
            if !statement.contains("ORDER BY stack") {
                expected.sort();
                found.sort();
            }
            assert_eq!(found, expected, "{place:?}: {statement}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_equal_the_oracle_without_reading_samples() {
    for place in PLACES {
        let mut world = world(place).await;
        for segment in world.store.snapshot(&Tenant::default()).segments.iter() {
            damage_samples(&world, &segment.entry).await;
        }
        if !matches!(place, Place::Head | Place::Mixed) {
            world.reopen().await;
        }
        let samples = world.oracle.samples(&Selector::default(), &TimeRange::ALL);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for of in &samples {
            *counts.entry(of.labels.get("service_name").unwrap().to_owned()).or_default() += 1;
        }
        let expected: Vec<_> = counts.into_iter().map(|(service, count)| vec![service, count.to_string()]).collect();
        let statement = "SELECT service_name, count(*) FROM samples GROUP BY service_name ORDER BY service_name";
        assert_eq!(sql(&world, statement).await.unwrap(), expected, "{place:?}");
        assert_eq!(
            sql(&world, "SELECT count(*) FROM samples").await.unwrap(),
            [[samples.len().to_string()]],
            "{place:?}"
        );
    }
}

/// The plan of `statement` without what differs from run to run.
async fn logical_plan(world: &World, statement: &str) -> String {
    let rows = sql(world, &format!("EXPLAIN {statement}")).await.unwrap();
    rows.into_iter().find(|row| row[0] == "logical_plan").unwrap().remove(1)
}

#[tokio::test]
async fn names_are_made_where_they_are_looked_at() {
    let world = world(Place::Segments).await;
    expect_test::expect![[r#"
        Projection: coded_stack_of(samples.stack) AS stack, sum(samples.value)
          Aggregate: groupBy=[[samples.stack]], aggr=[[sum(samples.value)]]
            Projection: samples.value, samples.#stack AS stack
              TableScan: samples projection=[value, #stack]"#]]
    .assert_eq(&logical_plan(&world, "SELECT stack, sum(value) FROM samples GROUP BY stack").await);
    expect_test::expect![[r#"
        Projection: text_of(samples.labels[pod]) AS pod, count(Int64(1)) AS count(*)
          Aggregate: groupBy=[[label_of(samples.labels, Utf8("pod")) AS samples.labels[pod]]], aggr=[[count(Int64(1))]]
            Projection: samples.#labels AS labels
              Filter: NOT is_text(samples.#leaf, Utf8("read"))
                TableScan: samples projection=[#labels, #leaf]"#]]
    .assert_eq(
        &logical_plan(&world, "SELECT labels['pod'] AS pod, count(*) FROM samples WHERE leaf <> 'read' GROUP BY pod")
            .await,
    );
    expect_test::expect![[r#"
        Projection: array_length(stack_of(samples.#stack)) AS array_length(samples.stack)
          Filter: has_function_of(samples.#stack, Utf8("r")) OR samples.value > Int64(5)
            TableScan: samples projection=[value, #stack]"#]]
    .assert_eq(
        &logical_plan(&world, "SELECT array_length(stack) FROM samples WHERE has_function(stack, 'r') OR value > 5")
            .await,
    );
}

#[tokio::test]
async fn coded_answers_have_dictionaries_of_names_and_the_same_rows() {
    let world = world(Place::Mixed).await;
    let statement = "SELECT stack, leaf, value FROM samples";
    let coded = world.engine.sql_coded(&Tenant::default(), statement).await.unwrap();
    let names = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let DataType::List(item) = coded.schema.field(0).data_type() else { unreachable!("a stack is a list") };
    assert_eq!((item.data_type(), coded.schema.field(1).data_type()), (&names, &names));
    let coded: Vec<RecordBatch> = coded.batches.try_collect().await.unwrap();
    for batch in &coded {
        let names = batch.column(0).as_list::<i32>().values().as_dictionary::<Int32Type>().values().clone();
        let distinct: BTreeSet<&str> = names.as_string::<i32>().iter().flatten().collect();
        assert_eq!(distinct.len(), names.len(), "each name is there once");
    }
    let (mut found, mut expected) = (cells(&coded), sql(&world, statement).await.unwrap());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_statement_ends_after_as_many_rows_as_it_may_have() {
    let world = world(Place::Mixed).await;
    let rows = world.oracle.samples(&Selector::default(), &TimeRange::ALL).len() as u64;
    let ask = async |sql_rows_max: u64, statement: &str| {
        let options = QueryOptions { sql_rows_max: Some(sql_rows_max), ..limits(64 << 20) };
        let engine = Engine::new(Arc::clone(&world.store), options).unwrap();
        let mut answer = engine.sql(&Tenant::default(), statement).await.unwrap();
        let mut found = 0;
        loop {
            match answer.batches.try_next().await {
                Ok(Some(batch)) => found += batch.num_rows() as u64,
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error)),
            }
        }
    };
    let (found, error) = ask(rows, "SELECT value FROM samples").await;
    assert!(found == rows && error.is_none());
    let (found, error) = ask(rows - 1, "SELECT value FROM samples").await;
    let error = error.unwrap();
    assert_eq!((found, error.kind()), (rows - 1, ErrorKind::Exhausted));
    assert!(error.to_string().contains(&format!("sql_rows_max={}", rows - 1)), "{error}");
    let (found, error) = ask(3, "SELECT value FROM samples LIMIT 3").await;
    assert!(found == 3 && error.is_none());
    let (found, error) = ask(1, "SELECT sum(value) FROM samples").await;
    assert!(found == 1 && error.is_none());
}

#[tokio::test]
async fn names_count_against_the_memory_of_queries() {
    let world = world(Place::Segments).await;
    let ask = async |memory_bytes_max: usize| {
        let engine = Engine::new(Arc::clone(&world.store), limits(memory_bytes_max)).unwrap();
        let answer = engine.sql(&Tenant::default(), "SELECT labels, leaf FROM samples").await?;
        answer.batches.try_collect::<Vec<_>>().await
    };
    assert!(ask(1 << 20).await.is_ok());
    let error = ask(200).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_names_a_damaged_segment_once_its_rows_were_read() {
    let mut world = world(Place::Segments).await;
    let segment = world.store.snapshot(&Tenant::default()).segments[0].entry.clone();
    damage_samples(&world, &segment).await;
    world.reopen().await;
    let before = world.engine.sql(&Tenant::default(), "SELECT value, stack FROM samples").await.unwrap();
    let report = before.report.clone();
    let rows: usize = before.batches.try_collect::<Vec<_>>().await.unwrap().iter().map(RecordBatch::num_rows).sum();
    let all = world.oracle.samples(&Selector::default(), &TimeRange::ALL).len();
    assert!(rows < all && rows > 0, "{rows} of {all}");
    let report = report.report();
    let damaged: Vec<&str> = report.damaged.iter().map(|of| of.segment.as_str()).collect();
    assert_eq!(damaged, [segment.id.to_string()]);
}

/// Has the samples of a segment be other bytes than were written.
async fn damage_samples(world: &World, segment: &SegmentEntry) {
    let path = object_store::path::Path::from(segment.key(Table::Samples).to_string());
    let length = world.objects.head(&path).await.unwrap().size;
    let bytes = vec![b'x'; usize::try_from(length).unwrap()];
    world.objects.put(&path, PutPayload::from(bytes)).await.unwrap();
}
