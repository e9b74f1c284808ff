//! Damage, memory, progress, plans and SQL.
#![allow(clippy::unwrap_used, reason = "what a test needs must not fail")]

mod common;

use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{FieldRef, Int64Type};
use bytes::Bytes;
use common::{CPU, SECOND, START, World, limits, query, sql, text};
use expect_test::{Expect, expect};
use flamestore_formats::{LabelText, ProfileBuilder};
use flamestore_model::{ErrorKind, Labels, ProfileId, Tenant, TimeRange};
use flamestore_query::{Combine, Engine, Progress, Query, QueryOptions, SoFar};
use flamestore_segment::Table;
use flamestore_store::{Bucket, Entropy, ManualClock, RepairOptions, repair};
use flamestore_testkit::Fixture;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::properties::WriterProperties;

/// Three segments of one profile each.
async fn three_segments() -> World {
    let mut world = World::new().await;
    for at in 0..3 {
        let batch = Fixture::cpu().profile(&format!("main;f{at} {}", at + 1));
        let service = ["api", "web", "api"][usize::try_from(at).unwrap()];
        world.push(&[("service_name", service)], START + at * SECOND, batch).await;
        world.flush().await;
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_are_pruned_by_time_type_service_and_postings() {
    let world = three_segments().await;
    let pruned = async |selector: &str, start: i64| {
        let range = TimeRange { start, end: i64::MAX };
        let report = world.engine.merge(&query(selector, range)).await.unwrap().report;
        let skipped = [
            report.segments_pruned_time,
            report.segments_pruned_type,
            report.segments_pruned_service,
            report.segments_pruned_postings,
        ];
        (report.segments_total, skipped, report.segments_read)
    };
    assert_eq!(pruned("", 0).await, (3, [0, 0, 0, 0], 3));
    assert_eq!(pruned("", START + 1).await, (3, [1, 0, 0, 0], 2));
    assert_eq!(pruned("a:b:c:d:e", 0).await, (3, [0, 3, 0, 0], 0));
    assert_eq!(pruned(r#"{service_name="web"}"#, 0).await, (3, [0, 0, 2, 0], 1));
    assert_eq!(pruned(r#"{pod="x"}"#, 0).await, (3, [0, 0, 0, 3], 0));
}

#[derive(Clone, Copy)]
enum Damage {
    Overwritten,
    Deleted,
    Truncated,
}

async fn check_damage(table: Table, damage: Damage) {
    let mut world = three_segments().await;
    let segment = world.store.snapshot(&Tenant::default()).segments[1].entry.clone();
    let path = object_store::path::Path::from(segment.key(table).to_string());
    match damage {
        Damage::Overwritten => {
            let length = world.objects.head(&path).await.unwrap().size;
            let bytes = vec![b'x'; usize::try_from(length).unwrap()];
            world.objects.put(&path, PutPayload::from(bytes)).await.unwrap();
        }
        Damage::Deleted => world.objects.delete(&path).await.unwrap(),
        Damage::Truncated => {
            let bytes = world.objects.get(&path).await.unwrap().bytes().await.unwrap();
            world.objects.put(&path, PutPayload::from(bytes.slice(..bytes.len() / 2))).await.unwrap();
        }
    }
    world.reopen().await;
    for _ in 0..2 {
        let answer = world.engine.merge(&query(CPU, TimeRange::ALL)).await.unwrap();
        let names: Vec<&str> = answer.report.damaged.iter().map(|damaged| damaged.segment.as_str()).collect();
        assert_eq!(names, [segment.id.to_string()], "{table}");
        assert_eq!(text(&answer.value).lines().count(), 2, "{table}");
        assert_eq!((answer.report.segments_total, answer.report.segments_read), (3, 2), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_segment_is_left_out_and_named() {
    for table in [Table::Samples, Table::Strings, Table::Series, Table::Postings, Table::Profiles, Table::CallSites] {
        check_damage(table, Damage::Overwritten).await;
        check_damage(table, Damage::Deleted).await;
        check_damage(table, Damage::Truncated).await;
    }
}

/// The units that `asking` begins and ends, and whether it read rows.
async fn watched(asking: impl Future<Output = ()>) -> (u64, u64, bool) {
    let progress = Arc::new(Progress::default());
    Arc::clone(&progress).watch(asking).await;
    let SoFar { units, units_done, rows } = progress.so_far();
    (units, units_done, rows > 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_ends_where_the_query_does() {
    let mut world = three_segments().await;
    let first = world.push(&[("service_name", "one")], START, Fixture::cpu().profile("main;one 1")).await;
    // Enough profiles for several partitions to share their segment; and a head.
    for at in 0..40 {
        let batch = Fixture::cpu().profile("main;much 1");
        world.push(&[("service_name", "many")], START + (10 + at) * SECOND, batch).await;
    }
    world.flush().await;
    world.push(&[("service_name", "head")], START + 60 * SECOND, Fixture::cpu().profile("main;new 1")).await;

    let asking = async { drop(world.engine.profile(&Tenant::default(), first).await.unwrap()) };
    let (begun, ended, _) = watched(asking).await;
    assert!(begun == ended && begun >= 4, "{ended} of {begun}");

    for is_damaged in [false, true] {
        if is_damaged {
            let segment = world.store.snapshot(&Tenant::default()).segments[1].entry.clone();
            let path = object_store::path::Path::from(segment.key(Table::Samples).to_string());
            world.objects.put(&path, PutPayload::from_static(b"damaged")).await.unwrap();
        }
        for (name, times, ask) in QUESTIONS {
            if is_damaged {
                world.reopen().await;
            }
            let units = times * (4 + world.store.snapshot(&Tenant::default()).head.len() as u64);
            assert_eq!(watched(ask(&world)).await, (units, units, true), "{name}, damaged: {is_damaged}");
        }
        let all = query(CPU, TimeRange::ALL);
        let asking = async { drop(world.engine.compare_functions(&all, &all).await.unwrap()) };
        let (begun, ended, _) = watched(asking).await;
        assert!(begun == ended && begun > 8, "{ended} of {begun}");
        for (statement, expected) in [
            ("SELECT sum(value) FROM samples WHERE service_name = 'many'", 1),
            ("SELECT sum(value) FROM samples WHERE service_name = 'none'", 0),
            ("SELECT sum(value) FROM samples WHERE temporality = 'cumulative'", 4),
            ("SELECT sum(total) FROM segment.profiles", 4),
        ] {
            world.reopen().await;
            let (begun, ended, _) = watched(async { drop(sql(&world, statement).await.unwrap()) }).await;
            assert_eq!((begun, ended), (expected, expected), "{statement}");
        }
        assert_eq!(watched(std::future::ready(())).await, (0, 0, false), "what others ask is not counted");
    }
}

type Asking<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

type Question = (&'static str, u64, fn(&World) -> Asking<'_>);

/// Questions about all that there is, and how often they read it.
const QUESTIONS: [Question; 9] = {
    fn all() -> Query {
        query(CPU, TimeRange::ALL)
    }
    fn combined(world: &World, combine: Combine) -> Asking<'_> {
        Box::pin(async move { drop(world.engine.merge(&Query { combine, ..all() }).await.unwrap()) })
    }
    [
        ("merge", 1, |world| combined(world, Combine::Sum)),
        ("average", 1, |world| combined(world, Combine::Average)),
        ("last", 1, |world| combined(world, Combine::Last)),
        ("max", 1, |world| combined(world, Combine::Max)),
        ("diff", 2, |world| Box::pin(async { drop(world.engine.diff(&all(), &all()).await.unwrap()) })),
        ("merge_pprof", 1, |world| Box::pin(async { drop(world.engine.merge_pprof(&all()).await.unwrap()) })),
        ("list_profiles", 1, |world| Box::pin(async { drop(world.engine.list_profiles(&all(), 0).await.unwrap()) })),
        ("totals", 1, |world| Box::pin(async { drop(world.engine.time_series(&all(), SECOND, &[]).await.unwrap()) })),
        ("sql", 1, |world| Box::pin(async { drop(sql(world, "SELECT sum(value) FROM samples").await.unwrap()) })),
    ]
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_over_the_memory_limit_names_the_limit() {
    let world = three_segments().await;
    let engine = Engine::new(Arc::clone(&world.store), limits(300)).unwrap();
    let error = engine.merge(&query(CPU, TimeRange::ALL)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.to_string().contains("query_memory_bytes_max=300"), "{error}");
    let before = query(CPU, TimeRange::ALL);
    assert_eq!(engine.diff(&before, &before).await.unwrap_err().kind(), ErrorKind::Exhausted);
    assert_eq!(engine.merge_pprof(&before).await.unwrap_err().kind(), ErrorKind::Exhausted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_of_an_answer_is_held_until_it_is_dropped() {
    const LIMIT: usize = 64 << 20;
    let world = three_segments().await;
    let engine = Engine::new(Arc::clone(&world.store), limits(LIMIT)).unwrap();
    let memory = engine.memory("made");
    let all = query(CPU, TimeRange::ALL);
    assert_eq!(engine.list_profiles_in(&all, 0, &memory).await.unwrap().value.len(), 3);
    let error = engine.memory("more").grow(LIMIT).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert!(error.to_string().contains("query_memory_bytes_max=67108864"), "{error}");
    drop(memory);
    let memory = engine.memory("more");
    memory.grow(LIMIT).unwrap();
    assert_eq!(engine.list_profiles(&all, 0).await.unwrap_err().kind(), ErrorKind::Exhausted);
    drop(memory);
    assert_eq!(engine.list_profiles(&all, 0).await.unwrap().value.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_follow_the_number_of_profiles() {
    let peak = async |profiles: i64| {
        let world = World::new().await;
        for at in 0..profiles {
            let batch = Fixture::cpu().profile("main;read 3 | main;write 1 | main;poll;wait 9");
            let id = ProfileId::from_parts(0, u128::try_from(at).unwrap());
            world.push_store_only(id, Labels::default(), START + at, batch).await.unwrap();
            if at % 20 == 19 {
                world.flush().await;
            }
        }
        world.engine.merge(&query(CPU, TimeRange::ALL)).await.unwrap().report.memory_bytes_peak
    };
    let (few, many) = (peak(20).await, peak(200).await);
    assert!(few > 0 && many < few * 8, "{few} bytes for 20 profiles, {many} for 200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_do_not_see_each_other() {
    let world = three_segments().await;
    let mut query = query("", TimeRange::ALL);
    query.tenant = Tenant::new("other").unwrap();
    assert_eq!(text(&world.engine.merge(&query).await.unwrap().value), "");
    assert!(world.engine.series(&query).await.unwrap().value.is_empty());
}

async fn check_sql(world: &World, statement: &str, expected: Expect) {
    let answer = match world.engine.sql(&Tenant::default(), statement).await {
        Ok(answer) => answer.batches.try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    let text = match answer {
        Ok(batches) => datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string(),
        Err(error) => format!("{:?}: {}", error.kind(), error.message()),
    };
    expected.assert_eq(&text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_reads_series_and_profiles() {
    let mut world = three_segments().await;
    world.push(&[("service_name", "db"), ("pod", "p")], START + 5 * SECOND, Fixture::cpu().profile("main 9")).await;
    let by_service = "SELECT service_name, count(*) AS profiles, sum(total) AS total FROM segment.profiles \
                      GROUP BY service_name ORDER BY service_name";
    check_sql(
        &world,
        by_service,
        expect![[r#"
        +--------------+----------+-------+
        | service_name | profiles | total |
        +--------------+----------+-------+
        | api          | 2        | 4     |
        | db           | 1        | 9     |
        | web          | 1        | 2     |
        +--------------+----------+-------+"#]],
    )
    .await;
    let labels = "SELECT label(labels, 'pod') AS pod, profile_type FROM segment.series \
                  WHERE selects(labels, profile_type, '{pod=~\".+\"}')";
    check_sql(
        &world,
        labels,
        expect![[r#"
        +-----+---------------------------------------------+
        | pod | profile_type                                |
        +-----+---------------------------------------------+
        | p   | process_cpu:cpu:nanoseconds:cpu:nanoseconds |
        +-----+---------------------------------------------+"#]],
    )
    .await;
    let join = "SELECT s.service_name, p.total FROM segment.profiles p JOIN segment.series s \
                ON s.segment = p.segment AND s.series_id = p.series_id WHERE s.service_name = 'web'";
    check_sql(
        &world,
        join,
        expect![[r#"
        +--------------+-------+
        | service_name | total |
        +--------------+-------+
        | web          | 2     |
        +--------------+-------+"#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_walks_from_samples_to_names_in_segments_and_heads() {
    let mut world = three_segments().await;
    world.push(&[("service_name", "db")], START + 5 * SECOND, Fixture::cpu().profile("main;g 9")).await;
    let walk = "SELECT x.service_name, CAST(n.bytes AS STRING) AS leaf, s.value * p.unit AS value FROM segment.samples s \
                JOIN segment.profiles p ON p.segment = s.segment AND p.profile = s.profile \
                JOIN segment.series x ON x.segment = s.segment AND x.series_id = s.series_id \
                JOIN segment.stacks k ON k.segment = s.segment AND k.stack_id = s.stack_key - p.stack_base \
                JOIN segment.call_sites c ON c.segment = s.segment AND c.call_site_id = k.call_site_id \
                JOIN segment.locations l ON l.segment = s.segment AND l.location_id = c.location_id AND l.line_index = 0 \
                JOIN segment.functions f ON f.segment = s.segment AND f.function_id = l.function_id \
                JOIN segment.strings n ON n.segment = s.segment AND n.string_id = f.name_id \
                ORDER BY leaf";
    check_sql(
        &world,
        walk,
        expect![[r#"
        +--------------+------+-------+
        | service_name | leaf | value |
        +--------------+------+-------+
        | api          | f0   | 1     |
        | web          | f1   | 2     |
        | api          | f2   | 3     |
        | db           | g    | 9     |
        +--------------+------+-------+"#]],
    )
    .await;
}

/// A profile whose samples have a thread, a time, a trace and a span, or fewer of these.
fn observations() -> flamestore_model::ProfileBatch {
    let mut builder = ProfileBuilder::new();
    builder.sample_type("samples", "count");
    let (time, thread) = (|number| LabelText::Num(number, "nanoseconds"), ("thread", LabelText::Str("worker")));
    let trace = ("trace_id", LabelText::Str("000102030405060708090a0b0c0d0e0f"));
    let span = |id| ("span_id", LabelText::Str(id));
    builder.add_sample(&["main"], &[1], &[thread, trace, span("00000000000000a1"), ("timestamp_ns", time(5))]);
    builder.add_sample(&["main"], &[2], &[trace, span("00000000000000a2"), ("timestamp_ns", time(4)), thread]);
    builder.add_sample(&["main"], &[3], &[("end_timestamp_ns", LabelText::Num(6, "")), span("239")]);
    builder.add_sample(&["main"], &[4], &[]);
    builder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_shows_when_and_for_which_span_an_observation_was_made() {
    let shown = "SELECT s.value, s.observed_unix_nano AS observed, s.ended_unix_nano AS ended, \
                 encode(s.trace_id, 'hex') AS trace, encode(s.span_id, 'hex') AS span, \
                 CAST(k.bytes AS STRING) AS key, CAST(v.bytes AS STRING) AS text FROM segment.samples s \
                 LEFT JOIN segment.label_sets l ON l.segment = s.segment AND l.label_set_id = s.label_set_id \
                 LEFT JOIN segment.strings k ON k.segment = l.segment AND k.string_id = l.key_id \
                 LEFT JOIN segment.strings v ON v.segment = l.segment AND v.string_id = l.string_id \
                 JOIN segment.series x ON x.segment = s.segment AND x.series_id = s.series_id \
                 WHERE x.service_name = 'jobs' ORDER BY s.value";
    // Segments of other samples have no such columns.
    let mut world = three_segments().await;
    world.push(&[("service_name", "jobs")], START + 5 * SECOND, observations()).await;
    for _in_head_and_segment in 0..2 {
        check_sql(
            &world,
            shown,
            expect![[r#"
            +-------+----------+-------+----------------------------------+------------------+---------+--------+
            | value | observed | ended | trace                            | span             | key     | text   |
            +-------+----------+-------+----------------------------------+------------------+---------+--------+
            | 1     | 5        |       | 000102030405060708090a0b0c0d0e0f | 00000000000000a1 | thread  | worker |
            | 2     | 4        |       | 000102030405060708090a0b0c0d0e0f | 00000000000000a2 | thread  | worker |
            | 3     |          | 6     |                                  |                  | span_id | 239    |
            | 4     |          |       |                                  |                  |         |        |
            +-------+----------+-------+----------------------------------+------------------+---------+--------+"#]],
        )
        .await;
        world.flush().await;
    }
    let of_span = "SELECT value FROM segment.samples WHERE span_id = decode('00000000000000a2', 'hex') OR observed_unix_nano = 5 \
                   ORDER BY value";
    check_sql(
        &world,
        of_span,
        expect![[r#"
        +-------+
        | value |
        +-------+
        | 1     |
        | 2     |
        +-------+"#]],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_is_read_only() {
    let world = World::new().await;
    check_sql(
        &world,
        "CREATE TABLE t AS SELECT 1",
        expect!["Invalid: a query failed: Error during planning: DDL not supported: CreateMemoryTable"],
    )
    .await;
    check_sql(
        &world,
        "INSERT INTO series SELECT * FROM series",
        expect!["Invalid: a query failed: Error during planning: DML not supported: Insert Into"],
    )
    .await;
    check_sql(
        &world,
        "SET datafusion.execution.batch_size = 1",
        expect!["Invalid: a query failed: Error during planning: Statement not supported: SetVariable"],
    )
    .await;
    check_sql(
        &world,
        "SELECT nothing FROM segment.series",
        expect!["Invalid: a query failed: Schema error: No field named nothing."],
    )
    .await;
    check_sql(&world, "SELEC", expect![[r#"Invalid: a query failed: SQL error: ParserError("Expected: an SQL statement, found: SELEC at Line: 1, Column: 1")"#]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_plans_prune_by_filters() {
    let world = three_segments().await;
    let plan = format!(
        "EXPLAIN FORMAT INDENT SELECT total FROM segment.profiles WHERE service_name = 'api' AND time_unix_nano > {}",
        START + 1
    );
    check_sql(&world, &plan, expect![[r#"
        +---------------+---------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------+
        | plan_type     | plan                                                                                                                                                                                                          |
        +---------------+---------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------+
        | logical_plan  | Projection: segment.profiles.total                                                                                                                                                                            |
        |               |   Filter: segment.profiles.service_name = Utf8("api") AND segment.profiles.time_unix_nano > Int64(1700006340000000001)                                                                                        |
        |               |     TableScan: segment.profiles projection=[service_name, time_unix_nano, total], partial_filters=[segment.profiles.service_name = Utf8("api"), segment.profiles.time_unix_nano > Int64(1700006340000000001)] |
        | physical_plan | FilterExec: service_name@0 = api AND time_unix_nano@1 > 1700006340000000001, projection=[total@2]                                                                                                             |
        |               |   CooperativeExec                                                                                                                                                                                             |
        |               |     ProfilesExec: selector={service_name="api"}, range=1700006340000000002..9223372036854775807, segments=1/3, heads=0, columns=[service_name, time_unix_nano, total]                                         |
        |               |                                                                                                                                                                                                               |
        +---------------+---------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------------+"#]]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explained_merge_says_what_was_skipped() {
    let world = three_segments().await;
    let text = world.engine.explain_merge(&query(r#"{service_name="web"}"#, TimeRange::ALL)).await.unwrap();
    for expected in [
        "MergeFinalExec",
        "MergeExec: selector={service_name=\"web\"}",
        "segments=1/3",
        "segments_pruned_service=2",
        "keep: 1 series",
        "skip: service",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}

/// The table with all its times moved into 1970.
fn a_second_later(table: Bytes) -> Vec<u8> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(table).unwrap();
    let keys = reader.metadata().file_metadata().key_value_metadata().cloned();
    let schema = Arc::clone(reader.schema());
    let properties = WriterProperties::builder().set_key_value_metadata(keys).build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options).unwrap();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let moved = |(field, column): (&FieldRef, &ArrayRef)| match field.name().starts_with("time_unix_nano") {
            true => {
                Arc::new(column.as_primitive::<Int64Type>().unary::<_, Int64Type>(|time| time + SECOND)) as ArrayRef
            }
            false => Arc::clone(column),
        };
        let columns = schema.fields().iter().zip(batch.columns()).map(moved).collect();
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap();
    }
    writer.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_joins_stacks_in_segments_of_every_format() {
    let mut world = World::new().await;
    const FIXTURES: [&str; 4] = ["v1", "v2", "v3", "v3-observing"];
    for (number, fixture) in FIXTURES.into_iter().enumerate() {
        for table in Table::ALL.into_iter().filter(|table| !Table::ROLLUPS.contains(table)) {
            let frozen = format!("{}/../segment/fixtures/{fixture}/{table}.parquet", env!("CARGO_MANIFEST_DIR"));
            let bytes = a_second_later(std::fs::read(frozen).unwrap().into());
            let path = format!("{fixture}/{table}/day=1970-01-01/{number:032x}.parquet");
            world.objects.put(&path.into(), PutPayload::from(bytes)).await.unwrap();
        }
    }
    let bucket = Bucket::new(Arc::clone(&world.objects) as Arc<dyn ObjectStore>, "", "memory:");
    let clock = Arc::new(ManualClock::new(START));
    let options = RepairOptions { rebuild: true, dry_run: false, clock, entropy: Arc::new(Entropy::from_seed(1)) };
    let report = repair(&bucket, &options, &|_, _| {}).await.unwrap();
    assert!(report.committed.is_some(), "{report:?}");
    world.reopen().await;
    let joined = "SELECT p.profile, max(p.total) = sum(s.value * p.unit) AS is_total, count(k.stack_id) AS stacks, \
                  count(c.call_site_id) AS leaves, count(c.depth) AS depths, \
                  count(s.observed_unix_nano) AS times, count(s.trace_id) AS traces FROM segment.profiles p \
                  JOIN segment.samples s ON s.segment = p.segment AND s.profile = p.profile \
                  LEFT JOIN segment.stacks k ON k.segment = s.segment AND k.stack_id = s.stack_key - p.stack_base \
                  LEFT JOIN segment.call_sites c ON c.segment = k.segment AND c.call_site_id = k.call_site_id \
                  WHERE s.stack_key >= 0 GROUP BY 1 ORDER BY 1";
    let mut text = String::new();
    for fixture in FIXTURES {
        let tenant = Tenant::new(fixture).unwrap();
        let batches: Vec<_> = world.engine.sql(&tenant, joined).await.unwrap().batches.try_collect().await.unwrap();
        writeln!(text, "{}", datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap()).unwrap();
    }
    expect![[r#"
        +---------+----------+--------+--------+--------+-------+--------+
        | profile | is_total | stacks | leaves | depths | times | traces |
        +---------+----------+--------+--------+--------+-------+--------+
        | 0       | true     | 2      | 2      | 0      | 0     | 0      |
        | 1       | true     | 3      | 3      | 0      | 0     | 0      |
        | 2       | true     | 3      | 3      | 0      | 0     | 0      |
        | 3       | true     | 2      | 2      | 0      | 0     | 0      |
        | 5       | true     | 1      | 1      | 0      | 0     | 0      |
        +---------+----------+--------+--------+--------+-------+--------+
        +---------+----------+--------+--------+--------+-------+--------+
        | profile | is_total | stacks | leaves | depths | times | traces |
        +---------+----------+--------+--------+--------+-------+--------+
        | 0       | true     | 2      | 2      | 0      | 0     | 0      |
        | 1       | true     | 3      | 3      | 0      | 0     | 0      |
        | 2       | true     | 3      | 3      | 0      | 0     | 0      |
        | 3       | true     | 2      | 2      | 0      | 0     | 0      |
        | 5       | true     | 1      | 1      | 0      | 0     | 0      |
        +---------+----------+--------+--------+--------+-------+--------+
        +---------+----------+--------+--------+--------+-------+--------+
        | profile | is_total | stacks | leaves | depths | times | traces |
        +---------+----------+--------+--------+--------+-------+--------+
        | 0       | true     | 2      | 2      | 2      | 0     | 0      |
        | 1       | true     | 3      | 3      | 3      | 0     | 0      |
        | 2       | true     | 3      | 3      | 3      | 0     | 0      |
        | 3       | true     | 2      | 2      | 2      | 0     | 0      |
        | 5       | true     | 1      | 1      | 1      | 0     | 0      |
        +---------+----------+--------+--------+--------+-------+--------+
        +---------+----------+--------+--------+--------+-------+--------+
        | profile | is_total | stacks | leaves | depths | times | traces |
        +---------+----------+--------+--------+--------+-------+--------+
        | 0       | true     | 23     | 23     | 23     | 8     | 4      |
        | 1       | true     | 14     | 14     | 14     | 8     | 4      |
        | 2       | true     | 1      | 1      | 1      | 0     | 0      |
        | 3       | true     | 3      | 3      | 3      | 3     | 1      |
        +---------+----------+--------+--------+--------+-------+--------+
    "#]]
    .assert_eq(&text);
}

/// Asks `statement` for a number on a runtime of one thread, and counts how often another task has its turn meanwhile.
async fn check_turns(statement: &str, expected: &str) {
    let world = World::new().await;
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    let other = tokio::spawn(std::future::poll_fn(move |context| {
        counted.fetch_add(1, Ordering::Relaxed);
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    }));
    let rows = sql(&world, statement).await;
    other.abort();
    assert_eq!(rows, Ok(vec![vec![expected.to_owned()]]), "{statement}");
    let turns = turns.load(Ordering::Relaxed);
    // To plan a statement takes some fifty.
    assert!(turns > 200, "{turns}: {statement}");
}

#[tokio::test]
async fn a_join_gives_others_their_turn() {
    let pairs = |rows: u64, on: &str| {
        format!("SELECT count(*) FROM generate_series(1, {rows}) a JOIN generate_series(1, {rows}) b ON {on}")
    };
    check_turns(&pairs(10_000, "true"), "100000000").await;
    check_turns(&pairs(3000, "a.value <> b.value"), "8997000").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_whose_left_side_outgrows_the_memory_says_so() {
    let mut world = World::new().await;
    let pairs = "SELECT count(*) FROM \
                 (SELECT value, repeat(chr(value), 300) AS text FROM (SELECT DISTINCT value FROM generate_series(1, 50000))) a \
                 LEFT JOIN generate_series(1, 3) b ON a.value + b.value < 5 AND a.text <> chr(b.value)";
    assert_eq!(sql(&world, pairs).await, Ok(vec![vec!["50003".to_owned()]]));
    world.engine = Engine::new(Arc::clone(&world.store), limits(16 << 20)).unwrap();
    let error = sql(&world, pairs).await.unwrap_err();
    assert!(error.starts_with("Exhausted: "), "{error}");
    assert!(error.contains("[query_memory_bytes_max=16777216]") && error.contains("one of its sides"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sort_that_outgrows_its_temporary_files_names_the_limit() {
    let mut world = World::new().await;
    let sorted = "SELECT max(place) FROM (SELECT row_number() OVER (ORDER BY text) AS place FROM \
                  (SELECT repeat(chr(value % 50000 + 1), 100) AS text FROM generate_series(1, 400000)))";
    for (spill_bytes_max, expected) in [(1 << 30, Ok(())), (1 << 20, Err("[query_spill_bytes_max=1048576]"))] {
        let options = QueryOptions { spill_bytes_max, partitions: 1, ..limits(64 << 20) };
        world.engine = Engine::new(Arc::clone(&world.store), options).unwrap();
        match (sql(&world, sorted).await, expected) {
            (Ok(rows), Ok(())) => assert_eq!(rows, [["400000"]]),
            (Err(error), Err(limit)) => assert!(error.starts_with("Exhausted: ") && error.contains(limit), "{error}"),
            (answer, expected) => panic!("{answer:?}, not {expected:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_outgrow_the_memory_are_answered() {
    let mut world = World::new().await;
    world.engine = Engine::new(Arc::clone(&world.store), limits(48 << 20)).unwrap();
    let groups = "SELECT count(*), sum(times) FROM (SELECT text, count(*) AS times FROM (SELECT concat(arrow_cast(value, 'Utf8'), \
                  repeat(chr(value % 50000 + 1), 100)) AS text FROM generate_series(1, 300000)) GROUP BY text)";
    assert_eq!(sql(&world, groups).await, Ok(vec![vec!["300000".to_owned(), "300000".to_owned()]]));
    let plan = sql(&world, &format!("EXPLAIN {groups}")).await.unwrap();
    assert!(
        !plan[1][1].contains("RepartitionExec"),
        "an exchange with several writers may come to a standstill: {}",
        plan[1][1]
    );
}
