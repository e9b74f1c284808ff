//! Parca's read API: every report is the oracle's, every status the one that its clients know.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, UInt64Type};
use arrow::ipc::reader::StreamReader;
use flamestore_model::{Selector, TimeRange};
use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_request::{Mode, Options, ReportType};
use flamestore_proto::parca::query::v1alpha1::query_response::Report;
use flamestore_proto::parca::query::v1alpha1::query_service_client::QueryServiceClient;
use flamestore_proto::parca::query::v1alpha1::{filter, profile_diff_selection, stack_filter, string_condition};
use flamestore_proto::querier::v1 as querier;
use flamestore_testkit::{Fixture, Oracle, folded};
use prost::Message;
use prost_types::Timestamp;
use tonic::Code;
use tonic::transport::Channel;

use crate::harness::{CPU, NOON, Running, SECOND, http_client, merge_folded, raw};

/// What is asked for with `:delta`.
const DELTA: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta";
const START: i64 = NOON - 60 * SECOND;
const END: i64 = NOON + 600 * SECOND;
const RANGE: TimeRange = TimeRange { start: START, end: END + 1 };
const JSON: (&str, &str) = ("content-type", "application/json");

fn client(running: &Running) -> QueryServiceClient<Channel> {
    QueryServiceClient::new(running.channel.clone()).max_decoding_message_size(usize::MAX)
}

fn at(nanos: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: nanos.div_euclid(SECOND), nanos: i32::try_from(nanos.rem_euclid(SECOND)).unwrap() })
}

/// Half of it in a segment, half of it in the head.
async fn fill(running: &Running) -> Oracle {
    let mut oracle = Oracle::new();
    let cpu = |second: i64, text: &str| {
        Fixture::cpu().time(NOON + second * SECOND).mapping(0x1000, 0x9000, "b1").profile(text)
    };
    let api = [("service_name", "api"), ("pod", "api-1")];
    let web = [("service_name", "web"), ("region", "eu")];
    running.push_both(&mut oracle, &api, cpu(0, "main;read@1010 3 | main;write 1 {thread=a} | main;main;read 2")).await;
    running.push_both(&mut oracle, &web, cpu(1, "main;serve 5 | main;serve<inlined;- 7 | init 4")).await;
    running.store.flush().await.unwrap();
    running.push_both(&mut oracle, &api, cpu(60, "main;read@1010 4 | main;other 2")).await;
    running.push_both(&mut oracle, &web, cpu(61, "main;serve 1")).await;
    let heap = Fixture::heap().time(NOON + 61 * SECOND).profile("main;alloc 1,100,1,50 {bytes=64} | init 1,1,0,0");
    running.push_both(&mut oracle, &api, heap).await;
    oracle
}

fn merge_options(query: &str) -> v1::MergeProfile {
    v1::MergeProfile { query: query.to_owned(), start: at(START), end: at(END) }
}

fn merge(query: &str, report: ReportType) -> v1::QueryRequest {
    v1::QueryRequest {
        mode: Mode::Merge as i32,
        options: Some(Options::Merge(merge_options(query))),
        report_type: report as i32,
        ..Default::default()
    }
}

fn diff(base: &str, compared: &str, absolute: bool, report: ReportType) -> v1::QueryRequest {
    let side = |query: &str| v1::ProfileDiffSelection {
        mode: profile_diff_selection::Mode::Merge as i32,
        options: Some(profile_diff_selection::Options::Merge(merge_options(query))),
    };
    let options = v1::DiffProfile { a: Some(side(base)), b: Some(side(compared)), absolute: Some(absolute) };
    v1::QueryRequest {
        mode: Mode::Diff as i32,
        options: Some(Options::Diff(options)),
        report_type: report as i32,
        ..Default::default()
    }
}

async fn answer(running: &Running, request: v1::QueryRequest) -> v1::QueryResponse {
    client(running).query(request).await.unwrap().into_inner()
}

fn batch(record: &[u8]) -> RecordBatch {
    let mut reader = StreamReader::try_new(record, None).unwrap();
    let batch = reader.next().unwrap().unwrap();
    assert!(reader.next().is_none());
    batch
}

/// Numbers of any width.
fn numbers(column: &ArrayRef) -> Vec<Option<i64>> {
    let wide = arrow::compute::cast(column, &DataType::Int64).unwrap();
    wide.as_primitive::<Int64Type>().iter().collect()
}

/// Texts behind keys of any width, of bytes or UTF-8.
fn texts(column: &ArrayRef) -> Vec<Option<String>> {
    let plain = arrow::compute::cast(column, &DataType::Binary).unwrap();
    plain.as_binary::<i32>().iter().map(|text| text.map(|text| String::from_utf8_lossy(text).into_owned())).collect()
}

/// A flame graph as it comes over the wire.
#[derive(Debug)]
struct Drawn {
    batch: RecordBatch,
    names: Vec<Option<String>>,
    parents: Vec<i32>,
    cumulative: Vec<i64>,
    flat: Vec<i64>,
    diff: Vec<Option<i64>>,
    depth: Vec<i64>,
    offset: Vec<i64>,
    labels_only: BooleanArray,
    height: i32,
    trimmed: i64,
    unit: String,
    total: i64,
    filtered: i64,
}

const COLUMNS: [&str; 18] = [
    "labels_only",
    "location_address",
    "mapping_file",
    "mapping_build_id",
    "location_line",
    "inlined",
    "function_startline",
    "function_name",
    "function_system_name",
    "function_file_name",
    "children",
    "parent",
    "cumulative",
    "flat",
    "diff",
    "timestamp",
    "depth",
    "value_offset",
];

impl Drawn {
    fn new(response: v1::QueryResponse) -> Self {
        let Some(Report::FlamegraphArrow(graph)) = response.report else { panic!("no flame graph: {response:?}") };
        let batch = batch(&graph.record);
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names[..18], COLUMNS);
        let whole = |name: &str| numbers(batch.column_by_name(name).unwrap()).into_iter().map(Option::unwrap).collect();
        let drawn = Self {
            names: texts(batch.column_by_name("function_name").unwrap()),
            parents: batch["parent"].as_primitive::<Int32Type>().values().to_vec(),
            cumulative: whole("cumulative"),
            flat: whole("flat"),
            diff: numbers(&batch["diff"]),
            depth: whole("depth"),
            offset: whole("value_offset"),
            labels_only: batch["labels_only"].as_boolean().clone(),
            height: graph.height,
            trimmed: graph.trimmed,
            unit: graph.unit,
            total: response.total,
            filtered: response.filtered,
            batch,
        };
        drawn.check();
        drawn
    }

    /// What the pages take for granted.
    fn check(&self) {
        let children = self.batch["children"].as_list::<i32>();
        assert_eq!((self.parents[0], self.depth[0], self.offset[0], self.labels_only.is_null(0)), (-1, 0, 0, true));
        let mut listed = 0;
        for row in 0..self.parents.len() {
            let mut x = self.offset[row];
            assert_eq!(children.is_null(row), !self.parents.iter().any(|parent| usize::try_from(*parent) == Ok(row)));
            let below = if children.is_null(row) { Vec::new() } else { numbers(&children.value(row)) };
            for child in below {
                let child = usize::try_from(child.unwrap()).unwrap();
                assert!(child > listed, "breadth first");
                listed = child;
                assert_eq!(usize::try_from(self.parents[child]), Ok(row));
                assert_eq!((self.depth[child], self.offset[child]), (self.depth[row] + 1, x));
                x += self.cumulative[child];
            }
            assert!(x <= self.offset[row] + self.cumulative[row], "children are no wider than their caller");
        }
        assert_eq!(listed + 1, self.parents.len());
        assert_eq!(self.total - self.trimmed, self.cumulative[0]);
    }

    fn path(&self, mut row: usize) -> String {
        let mut path = Vec::new();
        while row != 0 {
            path.push(self.names[row].clone().unwrap_or_else(|| "?".to_owned()));
            row = usize::try_from(self.parents[row]).unwrap();
        }
        path.reverse();
        path.join(";")
    }

    /// The stacks that end in rows, by what they spend there.
    fn folded(&self) -> BTreeMap<String, i64> {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for row in (0..self.parents.len()).filter(|row| self.flat[*row] != 0) {
            *sums.entry(self.path(row)).or_default() += self.flat[row];
        }
        sums
    }

    /// The differences of all nodes.
    fn diffs(&self) -> BTreeMap<String, i64> {
        (1..self.parents.len()).map(|row| (self.path(row), self.diff[row].unwrap())).collect()
    }
}

async fn drawn(running: &Running, request: v1::QueryRequest) -> Drawn {
    Drawn::new(answer(running, request).await)
}

fn pprof(response: v1::QueryResponse) -> BTreeMap<String, i64> {
    let Some(Report::Pprof(bytes)) = response.report else { panic!("no pprof: {response:?}") };
    assert_eq!(response.total, 0);
    let batch = flamestore_formats::decode_pprof(bytes.into(), &Default::default()).unwrap();
    folded(&batch, 0)
}

/// Functions by name: total, own, and names of callers and callees.
fn table(response: v1::QueryResponse) -> BTreeMap<String, (i64, i64, BTreeSet<String>, BTreeSet<String>)> {
    let Some(Report::TableArrow(table)) = response.report else { panic!("no table: {response:?}") };
    let batch = batch(&table.record);
    let names = texts(&batch["function_name"]);
    let name = |row: usize| names[row].clone().unwrap_or_else(|| "?".to_owned());
    let (cumulative, flat) = (numbers(&batch["cumulative"]), numbers(&batch["flat"]));
    let neighbours = |column: &str, row: usize| -> BTreeSet<String> {
        let rows = numbers(&batch[column].as_list::<i32>().value(row));
        rows.into_iter().map(|row| name(usize::try_from(row.unwrap()).unwrap())).collect()
    };
    let row = |row: usize| {
        let values = (cumulative[row].unwrap(), flat[row].unwrap());
        (name(row), (values.0, values.1, neighbours("callers", row), neighbours("callees", row)))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn selector(text: &str) -> Selector {
    text.parse().unwrap()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_are_those_of_the_oracle_in_every_report() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    for labels in ["{}", r#"{service_name="api"}"#, r#"{region="eu"}"#, r#"{region=""}"#, r#"{pod=~"nothing"}"#] {
        let (query, asked) = (format!("{DELTA}{labels}"), selector(&format!("{CPU}{labels}")));
        let expected = oracle.merge_folded(&asked, &RANGE);
        let total: i64 = expected.values().sum();
        let graph = drawn(&running, merge(&query, ReportType::FlamegraphArrow)).await;
        assert_eq!((graph.folded(), graph.total, graph.filtered), (expected.clone(), total, 0), "{labels}");
        assert_eq!((graph.unit.as_str(), graph.trimmed, graph.diff[0]), ("nanoseconds", 0, None));
        let longest = expected.keys().map(|stack| stack.split(';').count()).max().unwrap_or_default();
        assert_eq!(usize::try_from(graph.height).unwrap(), longest + 1);
        assert_eq!(pprof(answer(&running, merge(&query, ReportType::Pprof)).await), expected, "{labels}");
        let top: BTreeMap<String, (i64, i64)> =
            oracle.top(&asked, &RANGE).into_iter().map(|row| (row.name, (row.total, row.self_value))).collect();
        let in_table = table(answer(&running, merge(&query, ReportType::TableArrow)).await);
        let values = in_table.into_iter().map(|(name, (total, own, ..))| (name, (total, own))).collect();
        assert_eq!(top, values, "{labels}");
        let response = answer(&running, merge(&query, ReportType::Top)).await;
        let Some(Report::Top(list)) = response.report else { panic!("{response:?}") };
        assert_eq!((response.total, list.unit.as_str()), (total, "nanoseconds"));
        assert_eq!(usize::try_from(list.reported).unwrap(), list.list.len());
        assert!(list.list.is_sorted_by(|a, b| a.cumulative >= b.cumulative));
        let listed =
            list.list.into_iter().map(|node| (node.meta.unwrap().function.unwrap().name, (node.cumulative, node.flat)));
        assert_eq!(top, listed.collect(), "{labels}");
        let response = answer(&running, merge(&query, ReportType::Callgraph)).await;
        let Some(Report::Callgraph(graph)) = response.report else { panic!("{response:?}") };
        let nodes = graph.nodes.iter().map(|node| {
            let name = node.meta.clone().unwrap().function.unwrap().name;
            (name, (node.cumulative, node.flat))
        });
        assert_eq!(top, nodes.collect(), "{labels}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_say_what_their_frames_agree_in() {
    let running = Running::start().await;
    fill(&running).await;
    let graph = drawn(&running, merge(DELTA, ReportType::FlamegraphArrow)).await;
    let row = |path: &str| (1..graph.parents.len()).find(|row| graph.path(*row) == path).unwrap();
    let text = |column: &str, path: &str| texts(&graph.batch[column])[row(path)].clone();
    assert_eq!(text("mapping_file", "main;read").as_deref(), Some("/usr/bin/fixture"));
    assert_eq!(text("mapping_build_id", "main;read").as_deref(), Some("b1"));
    let inlined = graph.batch["inlined"].as_boolean();
    assert!(inlined.value(row("main;inlined;serve")) || inlined.value(row("main;serve;inlined")));
    assert!(!inlined.value(row("main")) && inlined.is_null(0));
    let address = graph.batch["location_address"].as_primitive::<UInt64Type>();
    assert_eq!(address.value(row("main;read")), 0x10);
    let calls = table(answer(&running, merge(DELTA, ReportType::TableArrow)).await);
    let (_, _, callers, callees) = &calls["main"];
    assert!(callers.contains("main") && callees.is_superset(&set(&["main", "read", "write", "other"])), "{calls:?}");
    let response = answer(&running, merge(DELTA, ReportType::Callgraph)).await;
    let Some(Report::Callgraph(called)) = response.report else { panic!("{response:?}") };
    let name = |id: &str| {
        let node = called.nodes.iter().find(|node| node.id == id).unwrap();
        node.meta.clone().unwrap().function.unwrap().name
    };
    let edges: BTreeMap<(String, String), i64> =
        called.edges.iter().map(|edge| ((name(&edge.source), name(&edge.target)), edge.cumulative)).collect();
    assert_eq!(edges[&("main".to_owned(), "read".to_owned())], 9);
    assert_eq!(edges[&("main".to_owned(), "main".to_owned())], 2);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_weighs_less_than_its_part_is_trimmed() {
    let running = Running::start().await;
    running.push(raw(&[("service_name", "api")], &Fixture::cpu().time(NOON).profile("a;b 90 | a;c 9 | d 1"))).await;
    let trim =
        |percent| v1::QueryRequest { node_trim_threshold: Some(percent), ..merge(DELTA, ReportType::FlamegraphArrow) };
    let graph = drawn(&running, trim(1.0)).await;
    assert_eq!((graph.folded().len(), graph.trimmed, graph.total, graph.cumulative[0]), (2, 1, 100, 99));
    let graph = drawn(&running, trim(50.0)).await;
    assert_eq!((graph.folded(), graph.height), (BTreeMap::from([("a;b".to_owned(), 90)]), 3));
    let graph = drawn(&running, trim(0.0)).await;
    assert_eq!((graph.folded().len(), graph.trimmed), (3, 0));
    for wrong in [-1.0, 100.5, f32::NAN] {
        let refused = client(&running).query(trim(wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_told_apart_by_what_is_grouped_by() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let grouped = |fields: &[&str]| {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        v1::QueryRequest { group_by: Some(v1::GroupBy { fields }), ..merge(DELTA, ReportType::FlamegraphArrow) }
    };
    let graph = drawn(&running, grouped(&["function_name", "labels.service_name", "labels.region"])).await;
    let services = texts(&graph.batch["labels.service_name"]);
    let regions = texts(&graph.batch["labels.region"]);
    let top: Vec<usize> = (0..graph.parents.len()).filter(|row| graph.depth[*row] == 1).collect();
    assert_eq!(top.len(), 2);
    for row in top {
        assert!(graph.labels_only.value(row) && graph.names[row].is_none());
        let service = services[row].clone().unwrap();
        assert_eq!(regions[row].as_deref(), (service == "web").then_some("eu"));
        let expected = oracle.merge_folded(&selector(&format!("{CPU}{{service_name={service:?}}}")), &RANGE);
        let below: BTreeMap<String, i64> = (0..graph.parents.len())
            .filter(|row| services[*row].as_ref() == Some(&service) && graph.flat[*row] != 0)
            .map(|row| (graph.path(row).trim_start_matches("?;").to_owned(), graph.flat[row]))
            .collect();
        assert_eq!((below, graph.cumulative[row]), (expected.clone(), expected.values().sum()));
    }
    let elsewhere = Fixture::cpu().time(NOON + 62 * SECOND).mapping(0x1000, 0x9000, "b1").profile("main;read@1020 1");
    running.push(raw(&[("service_name", "api")], &elsewhere)).await;
    let by_function = drawn(&running, grouped(&[])).await;
    let by_address = drawn(&running, grouped(&["location_address"])).await;
    assert_eq!(by_address.folded(), by_function.folded());
    assert!(by_address.parents.len() > by_function.parents.len());
    for same in ["mapping_file", "function_file_name"] {
        assert_eq!(drawn(&running, grouped(&[same])).await.parents.len(), by_function.parents.len());
    }
    let refused = client(&running).query(grouped(&["colour"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("\"colour\""), "{refused:?}");
    let refused = client(&running).query(grouped(&["timestamp"])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    running.stop().await.unwrap();
}

fn stack_filter(condition: string_condition::Condition) -> v1::Filter {
    let function_name = Some(v1::StringCondition { condition: Some(condition) });
    let criteria = v1::FilterCriteria { function_name, ..Default::default() };
    let stack = v1::StackFilter { filter: Some(stack_filter::Filter::Criteria(criteria)) };
    v1::Filter { filter: Some(filter::Filter::StackFilter(stack)) }
}

fn frame_filter(criteria: v1::FilterCriteria) -> v1::Filter {
    let frame = v1::FrameFilter { filter: Some(v1::frame_filter::Filter::Criteria(criteria)) };
    v1::Filter { filter: Some(filter::Filter::FrameFilter(frame)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_keep_whole_stacks_or_single_frames() {
    use string_condition::Condition as C;
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let all = oracle.merge_folded(&selector(CPU), &RANGE);
    let has = |stack: &str, part: &str| stack.split(';').any(|frame| frame.contains(part));
    type Keeps<'a> = Box<dyn Fn(&str) -> bool + 'a>;
    let cases: Vec<(C, Keeps<'_>)> = vec![
        (C::Contains("EA".into()), Box::new(|stack| has(stack, "ea"))),
        (C::NotContains("ea".into()), Box::new(|stack| !has(stack, "ea"))),
        (C::Equal("Write".into()), Box::new(|stack| stack.split(';').any(|frame| frame == "write"))),
        (C::NotEqual("write".into()), Box::new(|stack| !stack.split(';').any(|frame| frame == "write"))),
        (C::StartsWith("in".into()), Box::new(|stack| stack.split(';').any(|frame| frame.starts_with("in")))),
        (C::NotStartsWith("in".into()), Box::new(|stack| !stack.split(';').any(|frame| frame.starts_with("in")))),
    ];
    for (condition, keeps) in cases {
        let expected: BTreeMap<String, i64> = all.clone().into_iter().filter(|(stack, _)| keeps(stack)).collect();
        let filter = vec![stack_filter(condition.clone())];
        let graph =
            drawn(&running, v1::QueryRequest { filter: filter.clone(), ..merge(DELTA, ReportType::FlamegraphArrow) })
                .await;
        assert_eq!(graph.folded(), expected, "{condition:?}");
        let sums = (expected.values().sum(), all.values().sum::<i64>() - expected.values().sum::<i64>());
        assert_eq!((graph.total, graph.filtered), sums, "{condition:?}");
        let request = v1::QueryRequest { filter, ..merge(DELTA, ReportType::Pprof) };
        assert_eq!(pprof(answer(&running, request).await), expected, "{condition:?}");
    }
    #[expect(deprecated, reason = "clients of before filters send it")]
    let request = v1::QueryRequest { filter_query: Some("Write".into()), ..merge(DELTA, ReportType::FlamegraphArrow) };
    assert_eq!(drawn(&running, request).await.folded(), BTreeMap::from([("main;write".to_owned(), 1)]));
    // Frames that are left aside leave their callees to their callers.
    let text = |condition| Some(v1::StringCondition { condition: Some(condition) });
    let without_main = v1::FilterCriteria { function_name: text(C::NotEqual("main".into())), ..Default::default() };
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for (stack, value) in &all {
        let kept: Vec<&str> = stack.split(';').filter(|frame| *frame != "main").collect();
        *expected.entry(kept.join(";")).or_default() += value;
    }
    let request = |criteria| v1::QueryRequest {
        filter: vec![frame_filter(criteria)],
        ..merge(DELTA, ReportType::FlamegraphArrow)
    };
    assert_eq!(drawn(&running, request(without_main)).await.folded(), expected);
    let of_fixture = v1::FilterCriteria { binary: text(C::Equal("Fixture".into())), ..Default::default() };
    assert_eq!(drawn(&running, request(of_fixture.clone())).await.folded(), all);
    let elsewhere = v1::FilterCriteria { binary: text(C::NotEqual("fixture".into())), ..Default::default() };
    let graph = drawn(&running, request(elsewhere)).await;
    assert_eq!((graph.parents.len(), graph.total), (1, all.values().sum()));
    let at_address = v1::FilterCriteria {
        address: Some(v1::NumberCondition { condition: Some(v1::number_condition::Condition::Equal(0x10)) }),
        ..Default::default()
    };
    assert_eq!(drawn(&running, request(at_address)).await.folded()["read"], 7);
    for empty in [v1::Filter { filter: None }, frame_filter(v1::FilterCriteria::default())] {
        let request = v1::QueryRequest { filter: vec![empty], ..merge(DELTA, ReportType::Top) };
        assert_eq!(client(&running).query(request).await.unwrap_err().code(), Code::InvalidArgument);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn stacks_are_turned_and_looked_at_from_one_function() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let all = oracle.merge_folded(&selector(CPU), &RANGE);
    let turned = |stack: &str| stack.split(';').rev().collect::<Vec<_>>().join(";");
    let expected: BTreeMap<String, i64> = all.iter().map(|(stack, value)| (turned(stack), *value)).collect();
    let request = v1::QueryRequest { invert_call_stack: Some(true), ..merge(DELTA, ReportType::FlamegraphArrow) };
    assert_eq!(drawn(&running, request).await.folded(), expected);
    for is_inverted in [false, true] {
        for function in ["main", "read", "serve", "nothing", "rea"] {
            let mut expected: BTreeMap<String, i64> = BTreeMap::new();
            for (stack, value) in &all {
                let frames: Vec<&str> = stack.split(';').collect();
                let Some(at) = frames.iter().position(|frame| *frame == function) else { continue };
                let kept = if is_inverted { turned(&frames[..=at].join(";")) } else { frames[at..].join(";") };
                *expected.entry(kept).or_default() += value;
            }
            let request = v1::QueryRequest {
                sandwich_by_function: Some(function.to_owned()),
                invert_call_stack: Some(is_inverted),
                ..merge(DELTA, ReportType::FlamegraphArrow)
            };
            let graph = drawn(&running, request).await;
            assert_eq!((graph.folded(), graph.total), (expected.clone(), expected.values().sum()), "{function}");
            assert_eq!(graph.filtered, all.values().sum::<i64>() - graph.total);
        }
    }
    running.stop().await.unwrap();
}

/// What the nodes of both sides differ by: of totals, the smaller side scaled up.
fn expected_diffs(
    base: &BTreeMap<String, i64>,
    compared: &BTreeMap<String, i64>,
    absolute: bool,
) -> BTreeMap<String, i64> {
    let totals = |stacks: &BTreeMap<String, i64>| {
        let mut totals: BTreeMap<String, i64> = BTreeMap::new();
        for (stack, value) in stacks {
            let frames: Vec<&str> = stack.split(';').collect();
            for depth in 1..=frames.len() {
                *totals.entry(frames[..depth].join(";")).or_default() += value;
            }
        }
        totals
    };
    let (all_base, all_compared) = (base.values().sum::<i64>(), compared.values().sum::<i64>());
    let is_scaled = !absolute && all_base > 0 && all_compared > 0;
    let scale = |own: i64, other: i64| if is_scaled && other > own { (other, own) } else { (1, 1) };
    let (base_scale, compared_scale) = (scale(all_base, all_compared), scale(all_compared, all_base));
    let (base, compared) = (totals(base), totals(compared));
    let paths: BTreeSet<&String> = base.keys().chain(compared.keys()).collect();
    let scaled = |totals: &BTreeMap<String, i64>, path: &String, (by, of): (i64, i64)| {
        let value = totals.get(path).copied().unwrap_or_default();
        (2 * value * by + of).div_euclid(2 * of)
    };
    let diff = |path: &String| scaled(&compared, path, compared_scale) - scaled(&base, path, base_scale);
    paths.into_iter().map(|path| (path.clone(), diff(path))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_keep_what_only_the_base_has() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let (api, web, none) = (r#"{service_name="api"}"#, r#"{service_name="web"}"#, r#"{pod="none"}"#);
    for (base, compared) in [(api, web), (web, api), (api, api), (none, web), (api, none), (none, none)] {
        let of = |labels: &str| oracle.merge_folded(&selector(&format!("{CPU}{labels}")), &RANGE);
        let query = |labels: &str| format!("{DELTA}{labels}");
        for absolute in [false, true] {
            let graph =
                drawn(&running, diff(&query(base), &query(compared), absolute, ReportType::FlamegraphArrow)).await;
            assert_eq!(graph.folded(), of(compared), "{base} {compared}");
            assert_eq!(graph.total, of(compared).values().sum::<i64>());
            assert_eq!(
                graph.diffs(),
                expected_diffs(&of(base), &of(compared), absolute),
                "{base} {compared} {absolute}"
            );
            assert!(graph.parents.len() == 1 || graph.diff.iter().all(Option::is_some));
        }
        let mut own: BTreeMap<String, i64> = of(compared);
        for (stack, value) in of(base) {
            *own.entry(stack).or_default() -= value;
        }
        own.retain(|_, value| *value != 0);
        let request = diff(&query(base), &query(compared), true, ReportType::Pprof);
        assert_eq!(pprof(answer(&running, request).await), own, "{base} {compared}");
        let response = answer(&running, diff(&query(base), &query(compared), true, ReportType::TableArrow)).await;
        let Some(Report::TableArrow(table)) = response.report else { panic!("{response:?}") };
        let batch = batch(&table.record);
        let top = |labels: &str| -> BTreeMap<String, (i64, i64)> {
            let rows = oracle.top(&selector(&format!("{CPU}{labels}")), &RANGE);
            rows.into_iter().map(|row| (row.name, (row.total, row.self_value))).collect()
        };
        let (before, after) = (top(base), top(compared));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        assert_eq!(batch.num_rows(), names.len());
        let (diffs, own_diffs) = (numbers(&batch["cumulative_diff"]), numbers(&batch["flat_diff"]));
        for (row, name) in texts(&batch["function_name"]).into_iter().enumerate() {
            let name = name.unwrap();
            let (was, is) =
                (before.get(&name).copied().unwrap_or_default(), after.get(&name).copied().unwrap_or_default());
            assert_eq!((diffs[row], own_diffs[row]), (Some(is.0 - was.0), Some(is.1 - was.1)), "{name}");
        }
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_as_wide_as_their_smallest_and_largest_value() {
    let running = Running::start().await;
    let cpu = |service: &str, text: &str| raw(&[("service_name", service)], &Fixture::cpu().time(NOON).profile(text));
    running.push(cpu("a", "x 5000000000 | y 1")).await;
    running.push(cpu("b", "y 2")).await;
    let query = |service: &str| format!("{DELTA}{{service_name={service:?}}}");
    let graph = drawn(&running, diff(&query("a"), &query("b"), true, ReportType::FlamegraphArrow)).await;
    assert_eq!(graph.diffs(), BTreeMap::from([("x".to_owned(), -5_000_000_000), ("y".to_owned(), 1)]));
    assert_eq!(graph.batch["diff"].data_type(), &DataType::Int64);
    assert_eq!(graph.batch["cumulative"].data_type(), &DataType::UInt8);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_profile_is_found_by_its_millisecond() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let single = |nanos: i64, query: &str, report: ReportType| v1::QueryRequest {
        options: Some(Options::Single(v1::SingleProfile { time: at(nanos), query: query.to_owned() })),
        report_type: report as i32,
        ..Default::default()
    };
    let range = TimeRange { start: NOON + SECOND, end: NOON + SECOND + 1 };
    let expected = oracle.merge_folded(&selector(CPU), &range);
    let graph = drawn(&running, single(NOON + SECOND + 999_999, DELTA, ReportType::FlamegraphArrow)).await;
    assert_eq!(graph.folded(), expected);
    assert_eq!(pprof(answer(&running, single(NOON + SECOND, DELTA, ReportType::Pprof)).await), expected);
    for (time, query) in [(NOON + SECOND / 2, DELTA), (NOON + SECOND, CPU), (NOON, "a:b:c:d:e")] {
        let missing = client(&running).query(single(time, query, ReportType::Top)).await.unwrap_err();
        assert_eq!(missing.code(), Code::NotFound, "{query}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_are_files_and_labels() {
    let running = Running::start().await;
    fill(&running).await;
    let metadata = async |request: v1::QueryRequest| match answer(&running, request).await.report {
        Some(Report::ProfileMetadata(metadata)) => (metadata.mapping_files, metadata.labels.join(" ")),
        other => panic!("{other:?}"),
    };
    let fixture = vec!["fixture".to_owned()];
    let all = metadata(merge(DELTA, ReportType::ProfileMetadata)).await;
    assert_eq!(all, (fixture.clone(), "pod region service_name".to_owned()));
    let (api, web) = (format!("{DELTA}{{pod=\"api-1\"}}"), format!("{DELTA}{{region=\"eu\"}}"));
    let of_compared = metadata(diff(&api, &web, false, ReportType::ProfileMetadata)).await;
    assert_eq!(of_compared, (fixture, "region service_name".to_owned()));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn types_labels_and_values_are_listed() {
    let running = Running::start().await;
    let mut client = client(&running);
    let has_data = async |client: &mut QueryServiceClient<Channel>| {
        client.has_profile_data(v1::HasProfileDataRequest {}).await.unwrap().into_inner().has_data
    };
    assert!(!has_data(&mut client).await);
    let oracle = fill(&running).await;
    assert!(has_data(&mut client).await);
    let types = client.profile_types(v1::ProfileTypesRequest { start: None, end: None }).await.unwrap().into_inner();
    let listed: BTreeMap<String, bool> = types
        .types
        .iter()
        .map(|ty| {
            let parts = [&ty.name, &ty.sample_type, &ty.sample_unit, &ty.period_type, &ty.period_unit];
            (parts.map(String::as_str).join(":"), ty.delta)
        })
        .collect();
    let expected: BTreeSet<String> =
        oracle.profile_types(&selector("{}"), &RANGE).iter().map(ToString::to_string).collect();
    assert_eq!(listed.keys().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(listed.iter().filter(|(_, delta)| **delta).map(|(ty, _)| ty.as_str()).collect::<Vec<_>>(), [CPU]);
    let early = v1::ProfileTypesRequest { start: at(NOON), end: at(NOON + SECOND) };
    assert_eq!(client.profile_types(early).await.unwrap().into_inner().types.len(), 1);
    let labels = v1::LabelsRequest { start: at(START), end: at(END), ..Default::default() };
    let names = client.labels(labels.clone()).await.unwrap().into_inner().label_names;
    assert_eq!(names, ["pod", "region", "service_name"]);
    let heap = "memory:alloc_space:bytes:space:bytes";
    let of_heap = v1::LabelsRequest { profile_type: Some(heap.to_owned()), ..labels.clone() };
    assert_eq!(client.labels(of_heap).await.unwrap().into_inner().label_names, ["pod", "service_name"]);
    let of_web = v1::LabelsRequest { r#match: vec![r#"{service_name="web"}"#.to_owned()], ..labels };
    assert_eq!(client.labels(of_web).await.unwrap().into_inner().label_names, ["region", "service_name"]);
    let values = v1::ValuesRequest { label_name: "service_name".to_owned(), ..Default::default() };
    assert_eq!(client.values(values.clone()).await.unwrap().into_inner().label_values, ["api", "web"]);
    let of_heap = v1::ValuesRequest { profile_type: Some(heap.to_owned()), ..values };
    assert_eq!(client.values(of_heap).await.unwrap().into_inner().label_values, ["api"]);
    let nameless = client.values(v1::ValuesRequest::default()).await.unwrap_err();
    assert_eq!(nameless.code(), Code::InvalidArgument);
    assert_eq!(client.series(v1::SeriesRequest::default()).await.unwrap_err().code(), Code::Unimplemented);
    let shared = client.share_profile(v1::ShareProfileRequest::default()).await.unwrap_err();
    assert_eq!(shared.code(), Code::Unimplemented);
    running.stop().await.unwrap();
}

fn range(query: &str, step: i64, sum_by: &[&str]) -> v1::QueryRangeRequest {
    v1::QueryRangeRequest {
        query: query.to_owned(),
        start: at(START),
        end: at(END),
        limit: 0,
        step: Some(prost_types::Duration { seconds: step, nanos: 0 }),
        sum_by: sum_by.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn labels_of(series: &v1::MetricsSeries) -> BTreeMap<String, String> {
    let labels = series.labelset.clone().unwrap().labels;
    labels.into_iter().map(|label| (label.name, label.value)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_over_time_are_those_of_the_oracle() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let mut client = client(&running);
    for (step, sum_by) in [(60, vec!["service_name"]), (10, vec!["region"]), (3600, vec!["pod", "region"]), (1, vec![])]
    {
        let answer = client.query_range(range(DELTA, step, &sum_by)).await.unwrap().into_inner();
        let names: Vec<String> = match sum_by[..] {
            [] => vec!["pod".to_owned(), "region".to_owned(), "service_name".to_owned()],
            ref sum_by => sum_by.iter().map(|name| (*name).to_owned()).collect(),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let expected = oracle.time_series(&selector(CPU), &RANGE, step * SECOND, &names);
        let mut sums = BTreeMap::new();
        for series in &answer.series {
            let unit = series.sample_type.clone().unwrap();
            assert_eq!((unit.r#type.as_str(), unit.unit.as_str()), ("cpu", "nanoseconds"));
            for sample in &series.samples {
                let time = sample.timestamp.unwrap();
                assert_eq!(time.seconds.rem_euclid(step), 0);
                sums.insert((labels_of(series), time.seconds * SECOND), sample.value);
            }
        }
        let mut wanted = BTreeMap::new();
        for (labels, points) in expected {
            let labels: BTreeMap<String, String> =
                labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            for (time, value) in points {
                wanted.insert((labels.clone(), time), value);
            }
        }
        assert_eq!(sums, wanted, "{step} {sum_by:?}");
    }
    // One profile of 15 s in a step: its duration; two of different times: the step.
    let answer = client.query_range(range(DELTA, 10, &["service_name"])).await.unwrap().into_inner();
    let api = answer.series.iter().find(|series| labels_of(series)["service_name"] == "api").unwrap();
    let first = &api.samples[0];
    assert_eq!((first.value, first.duration, first.count), (6, 15 * SECOND, 1));
    assert!((first.value_per_second - 6.0 / 15e9).abs() < 1e-20);
    let answer = client.query_range(range(DELTA, 3600, &["service_name"])).await.unwrap().into_inner();
    let api = answer.series.iter().find(|series| labels_of(series)["service_name"] == "api").unwrap();
    assert_eq!((api.samples[0].value, api.samples[0].duration, api.samples[0].count), (12, 3600 * SECOND, 2));
    let limited = v1::QueryRangeRequest { limit: 1, ..range(DELTA, 60, &["service_name"]) };
    assert_eq!(client.query_range(limited).await.unwrap().into_inner().series.len(), 1);
    let without_step = v1::QueryRangeRequest { step: None, ..range(DELTA, 0, &[]) };
    assert_eq!(client.query_range(without_step).await.unwrap().into_inner().series.len(), 2);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_is_the_first_profile_of_each_step() {
    let running = Running::start().await;
    let heap = |second: i64, bytes: i64| {
        let text = format!("main;alloc 1,100,1,{bytes}");
        raw(&[("service_name", "api"), ("pod", "p")], &Fixture::heap().time(NOON + second * SECOND).profile(&text))
    };
    for (second, bytes) in [(0, 50), (10, 70), (60, 90)] {
        running.push(heap(second, bytes)).await;
    }
    let mut client = client(&running);
    let in_use = "memory:inuse_space:bytes:space:bytes";
    let answer = client.query_range(range(in_use, 60, &["service_name"])).await.unwrap().into_inner();
    assert_eq!(answer.series.len(), 1);
    assert_eq!(labels_of(&answer.series[0]).len(), 2);
    let points: Vec<_> = answer.series[0].samples.iter().map(|sample| (sample.timestamp, sample.value)).collect();
    assert_eq!(points, [(at(NOON), 50), (at(NOON + 60 * SECOND), 90)]);
    let wrong = client.query_range(range(&format!("{in_use}:delta"), 60, &[])).await.unwrap_err();
    assert_eq!(wrong.code(), Code::NotFound);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_samples_are_answered_as_the_time_they_stand_for() {
    let running = Running::start().await;
    let types = Fixture::cpu().types(&[("samples", "count"), ("cpu", "nanoseconds")]).time(NOON);
    running.push(raw(&[("service_name", "api")], &types.profile("main;read 3,30 | main;write 1,10"))).await;
    let counts = "process_cpu:samples:count:cpu:nanoseconds:delta";
    let graph = drawn(&running, merge(counts, ReportType::FlamegraphArrow)).await;
    assert_eq!((graph.total, graph.unit.as_str()), (40, "nanoseconds"));
    let answer = client(&running).query_range(range(counts, 60, &[])).await.unwrap().into_inner();
    assert_eq!(answer.series[0].samples[0].value, 40);
    assert_eq!(answer.series[0].sample_type.clone().unwrap().r#type, "cpu");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_those_of_the_other_doors() {
    let running = Running::start().await;
    fill(&running).await;
    for (query, plain) in
        [(DELTA, CPU), ("memory:inuse_space:bytes:space:bytes", "memory:inuse_space:bytes:space:bytes")]
    {
        let graph = drawn(&running, merge(query, ReportType::FlamegraphArrow)).await;
        let lines = merge_folded(&running, plain).await;
        let sum: i64 = lines.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()).sum();
        let request = querier::SelectMergeStacktracesRequest {
            profile_type_id: plain.to_owned(),
            label_selector: "{}".to_owned(),
            start: START / 1_000_000,
            end: END / 1_000_000,
            ..Default::default()
        };
        let flame = crate::querier::client(&running).select_merge_stacktraces(request).await.unwrap().into_inner();
        assert_eq!((graph.total, graph.total), (sum, flame.flamegraph.unwrap().total), "{query}");
        assert!(graph.total > 0);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_its_code() {
    let running = Running::start().await;
    fill(&running).await;
    let check = async |request: v1::QueryRequest, code: Code, part: &str| {
        let status = client(&running).query(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(part), "{status:?}");
    };
    let graph = ReportType::FlamegraphArrow;
    check(merge("", graph), Code::InvalidArgument, "no query").await;
    check(merge("{a=\"b\"}", graph), Code::InvalidArgument, "selects a profile type").await;
    check(merge("a:b:c{", graph), Code::InvalidArgument, "selector: ").await;
    check(merge(&format!("{CPU}:gamma"), graph), Code::InvalidArgument, "selects a profile type").await;
    let mut backwards = merge_options(DELTA);
    std::mem::swap(&mut backwards.start, &mut backwards.end);
    let backwards = v1::QueryRequest { options: Some(Options::Merge(backwards)), ..merge(DELTA, graph) };
    check(backwards, Code::InvalidArgument, "end after it starts").await;
    let timeless = v1::MergeProfile { query: DELTA.to_owned(), start: None, end: at(END) };
    let timeless = v1::QueryRequest { options: Some(Options::Merge(timeless)), ..merge(DELTA, graph) };
    check(timeless, Code::InvalidArgument, "no start").await;
    check(v1::QueryRequest { mode: 0, ..merge(DELTA, graph) }, Code::InvalidArgument, "mode single").await;
    check(v1::QueryRequest { mode: 9, ..merge(DELTA, graph) }, Code::InvalidArgument, "mode").await;
    check(v1::QueryRequest { options: None, ..merge(DELTA, graph) }, Code::InvalidArgument, "mode merge").await;
    check(v1::QueryRequest { report_type: 42, ..merge(DELTA, graph) }, Code::InvalidArgument, "report type").await;
    for report in
        [ReportType::Source, ReportType::Flamechart, ReportType::FlamegraphTable, ReportType::FlamegraphUnspecified]
    {
        check(merge(DELTA, report), Code::Unimplemented, "").await;
    }
    let backwards = v1::QueryRangeRequest { start: at(END), end: at(START), ..range(DELTA, 10, &[]) };
    assert_eq!(client(&running).query_range(backwards).await.unwrap_err().code(), Code::InvalidArgument);
    let negative = range(DELTA, -10, &[]);
    assert_eq!(client(&running).query_range(negative).await.unwrap_err().code(), Code::InvalidArgument);
    let nothing = range(&format!("{DELTA}{{a=\"none\"}}"), 10, &[]);
    assert_eq!(client(&running).query_range(nothing).await.unwrap_err().code(), Code::NotFound);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_answered_to_get_below_any_prefix() {
    let running = Running::start().await;
    fill(&running).await;
    let get = async |path: &str| {
        let answer = running.ask(http_client(false), reqwest::Method::GET, path, &[], "").await;
        assert_eq!(answer.header("content-type"), "application/json", "{path}: {answer:?}");
        (answer.status, serde_json::from_slice::<serde_json::Value>(&answer.bytes).unwrap())
    };
    let times = "start=2026-03-01T11:59:00Z&end=2026-03-01T12:10:00Z";
    for prefix in ["", "/api", "/parca/api"] {
        let (status, types) = get(&format!("{prefix}/profiles/types")).await;
        assert_eq!((status, types["types"].as_array().unwrap().len()), (200, 5), "{types}");
        assert!(types["types"][0]["delta"].is_boolean(), "fields that are not set are told too: {types}");
        let (status, labels) = get(&format!("{prefix}/profiles/labels?{times}")).await;
        assert_eq!((status, labels["labelNames"].to_string().as_str()), (200, r#"["pod","region","service_name"]"#));
        let (status, values) = get(&format!("{prefix}/profiles/labels/service_name/values?{times}")).await;
        assert_eq!((status, values["labelValues"].to_string().as_str()), (200, r#"["api","web"]"#));
        let (status, series) =
            get(&format!("{prefix}/profiles/query_range?query={DELTA}&{times}&step=60s&sum_by=service_name")).await;
        assert_eq!((status, series["series"].as_array().unwrap().len()), (200, 2), "{series}");
        let merge = "merge.start=2026-03-01T11:59:00Z&merge.end=2026-03-01T12:10:00Z";
        let (status, report) = get(&format!(
            "{prefix}/profiles/query?mode=MODE_MERGE&report_type=REPORT_TYPE_TOP&merge.query={DELTA}&{merge}"
        ))
        .await;
        assert_eq!(
            (status, report["total"].as_str(), report["filtered"].as_str()),
            (200, Some("29"), Some("0")),
            "{report}"
        );
        let (status, has) = get(&format!("{prefix}/profiles/has_profile_data")).await;
        assert_eq!((status, has["hasData"].as_bool()), (200, Some(true)));
    }
    let (status, error) = get(&format!("/profiles/query_range?query={DELTA}&end=2026-03-01T12:10:00Z")).await;
    assert_eq!(
        (status, error["code"].as_i64(), error["message"].as_str()),
        (400, Some(3), Some("the request has no start"))
    );
    let (status, error) = get(&format!("/profiles/query_range?query={DELTA}%7Ba%3D%22none%22%7D&{times}")).await;
    assert_eq!((status, error["code"].as_i64()), (404, Some(5)), "{error}");
    let (status, error) = get("/api/profiles/query?mode=perhaps&report_type=no").await;
    assert_eq!((status, error["code"].as_i64()), (400, Some(3)), "{error}");
    let (status, error) = get("/profiles/series").await;
    assert_eq!((status, error["code"].as_i64()), (501, Some(12)), "{error}");
    let (status, _) = get("/agents").await;
    assert_eq!(status, 200);
    let posted = running.post("/profiles/query", &[JSON], "{}").await;
    assert_eq!(posted.status, 404);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_is_answered_below_any_prefix() {
    let running = Running::start().await;
    fill(&running).await;
    let message = merge(DELTA, ReportType::FlamegraphArrow).encode_to_vec();
    let frame = [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    for prefix in ["", "/api", "/some/where/api"] {
        let path = format!("{prefix}/parca.query.v1alpha1.QueryService/Query");
        for content_type in ["application/grpc-web+proto", "application/grpc-web"] {
            let answer = running.post(&path, &[("content-type", content_type)], frame.clone()).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let length = u32::from_be_bytes(answer.bytes[1..5].try_into().unwrap()) as usize;
            let response = v1::QueryResponse::decode(answer.bytes.slice(5..5 + length)).unwrap();
            assert_eq!(Drawn::new(response).total, 29);
            let trailer = String::from_utf8_lossy(&answer.bytes[5 + length..]).into_owned();
            assert!(trailer.contains("grpc-status:0"), "{trailer}");
        }
    }
    let answer = running.post("/api/no.Service/Method", &[("content-type", "application/grpc-web+proto")], frame).await;
    assert!(answer.header("grpc-status") == "12" || answer.text().contains("grpc-status:12"), "{answer:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_see_their_own_profiles() {
    let running = Running::start().await;
    fill(&running).await;
    let mut request = tonic::Request::new(v1::HasProfileDataRequest {});
    request.metadata_mut().insert("x-scope-orgid", "team-a".parse().unwrap());
    assert!(!client(&running).has_profile_data(request).await.unwrap().into_inner().has_data);
    let mut request = tonic::Request::new(merge(DELTA, ReportType::FlamegraphArrow));
    request.metadata_mut().insert("x-scope-orgid", "team-a".parse().unwrap());
    let nothing = Drawn::new(client(&running).query(request).await.unwrap().into_inner());
    assert_eq!((nothing.parents.len(), nothing.total, nothing.height), (1, 0, 1));
    running.stop().await.unwrap();
}

/// Folded text with all that has no name called the same.
fn nameless(text: &str) -> BTreeMap<String, i64> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for line in text.lines() {
        let (stack, value) = line.rsplit_once(' ').unwrap();
        let frames: Vec<&str> = stack
            .split(';')
            .map(|frame| if frame.starts_with("0x") || frame == "<unknown>" { "?" } else { frame })
            .collect();
        *sums.entry(frames.join(";")).or_default() += value.parse::<i64>().unwrap();
    }
    sums.retain(|_, value| *value != 0);
    sums
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_of_the_corpus_are_answered_as_by_the_other_doors() {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else { return };
    let running = Running::start().await;
    let mut files: Vec<_> = ["go", "languages"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(std::path::Path::new(&corpus).join("pprof").join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() < 200_000))
        .collect();
    files.sort();
    let mut checked = 0;
    for (number, path) in files.iter().enumerate() {
        let service = format!("corpus-{number}");
        let labels = [("service_name", service.as_str())];
        let profile = crate::harness::raw_bytes(&labels, std::fs::read(path).unwrap());
        let request = flamestore_proto::v1::PushRequest { profiles: vec![profile] };
        let pushed = running.ingest().push(request).await;
        if pushed.is_ok_and(|answer| answer.into_inner().accepted == 1) {
            checked += 1;
        }
    }
    assert!(checked > 3, "{checked} of {} files", files.len());
    let mut client = client(&running);
    let types = client.profile_types(v1::ProfileTypesRequest::default()).await.unwrap().into_inner().types;
    assert!(!types.is_empty());
    for ty in types.iter().filter(|ty| ty.sample_type != "samples") {
        let parts = [&ty.name, &ty.sample_type, &ty.sample_unit, &ty.period_type, &ty.period_unit];
        let plain = parts.map(String::as_str).join(":");
        let query = if ty.delta { format!("{plain}:delta") } else { plain.clone() };
        let options = v1::MergeProfile { query, start: at(1), end: at(i64::MAX - 1) };
        let request = |report: ReportType| v1::QueryRequest {
            options: Some(Options::Merge(options.clone())),
            ..merge(DELTA, report)
        };
        let expected = nameless(&merge_folded(&running, &plain).await);
        let graph = drawn(&running, request(ReportType::FlamegraphArrow)).await;
        assert_eq!(graph.total, expected.values().sum::<i64>(), "{plain}");
        if expected.values().all(|value| *value > 0) && expected.keys().all(|stack| !stack.is_empty()) {
            assert!(graph.folded() == expected, "{plain}");
        }
        let functions = table(answer(&running, request(ReportType::TableArrow)).await);
        let own: i64 = functions.values().map(|(_, own, ..)| own).sum();
        assert!(functions.contains_key("?") || own == graph.total, "{plain}: {own} of {}", graph.total);
    }
    running.stop().await.unwrap();
}
