//! Flame graphs of nested messages say what the record of a flame graph says.

use std::collections::BTreeMap;

use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_request::ReportType;
use flamestore_proto::parca::query::v1alpha1::query_response::Report;
use flamestore_testkit::Fixture;
use reqwest::Method;
use serde_json::Value;
use tonic::Code;

use super::reports::drawn;
use super::{DELTA, answer, client, diff, fill, merge};
use crate::harness::{NOON, Running, http_client, raw};

const FORMS: [ReportType; 2] = [ReportType::FlamegraphUnspecified, ReportType::FlamegraphTable];

async fn nested(running: &Running, request: v1::QueryRequest) -> v1::Flamegraph {
    let response = answer(running, request).await;
    let Some(Report::Flamegraph(graph)) = response.report else { panic!("no flame graph: {response:?}") };
    graph
}

/// What a node stands for: the name of its function, the last part of its file, its address and its line.
fn said(graph: &v1::Flamegraph, meta: &v1::FlamegraphNodeMeta) -> (String, String, u64, i64) {
    let nameless = || "?".to_owned();
    if meta.location_index == 0 {
        let (location, mapping) = (meta.location.clone().unwrap(), meta.mapping.clone().unwrap_or_default());
        let name = meta.function.as_ref().map_or_else(nameless, |function| function.name.clone());
        return (name, mapping.file, location.address, meta.line.as_ref().map_or(0, |line| line.line));
    }
    assert!(meta.location.is_none() && meta.function.is_none(), "{meta:?}");
    let at = |index: u32| index as usize - 1;
    let text = |index: u32| graph.string_table[index as usize].clone();
    let location = &graph.locations[at(meta.location_index)];
    let line = location.lines.get(meta.line_index as usize);
    let function = line.filter(|line| line.function_index > 0).map(|line| &graph.function[at(line.function_index)]);
    let name = function.map_or_else(nameless, |function| text(function.name_string_index));
    let has_mapping = location.mapping_index > 0;
    let file = has_mapping.then(|| text(graph.mapping[at(location.mapping_index)].file_string_index));
    (name, file.unwrap_or_default(), location.address, line.map_or(0, |line| line.line))
}

/// The nodes by their paths: total and difference.
fn nodes(graph: &v1::Flamegraph) -> BTreeMap<String, (i64, i64)> {
    let mut nodes = BTreeMap::new();
    let root = graph.root.as_ref().unwrap();
    let mut open: Vec<(String, &v1::FlamegraphNode)> =
        root.children.iter().map(|child| (String::new(), child)).collect();
    while let Some((above, node)) = open.pop() {
        let name = said(graph, node.meta.as_ref().unwrap()).0;
        let path = if above.is_empty() { name } else { format!("{above};{name}") };
        open.extend(node.children.iter().map(|child| (path.clone(), child)));
        assert!(nodes.insert(path, (node.cumulative, node.diff)).is_none());
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_messages_have_the_nodes_of_the_record() {
    let running = Running::start().await;
    fill(&running).await;
    let (api, web) = (format!("{DELTA}{{service_name=\"api\"}}"), format!("{DELTA}{{service_name=\"web\"}}"));
    let nothing = format!("{DELTA}{{pod=\"gone\"}}");
    let trimmed = |report| v1::QueryRequest { node_trim_threshold: Some(20.0), ..merge(DELTA, report) };
    let inverted = |report| v1::QueryRequest { invert_call_stack: Some(true), ..merge(&api, report) };
    let by_label = |report| v1::QueryRequest {
        group_by: Some(v1::GroupBy { fields: vec!["function_name".to_owned(), "labels.pod".to_owned()] }),
        ..merge(DELTA, report)
    };
    for form in FORMS {
        let asked: [&dyn Fn(ReportType) -> v1::QueryRequest; 6] = [
            &|report| merge(DELTA, report),
            &|report| merge(&nothing, report),
            &|report| diff(&api, &web, false, report),
            &|report| diff(&web, &api, true, report),
            &trimmed,
            &inverted,
        ];
        for (at, request) in asked.into_iter().enumerate() {
            let graph = nested(&running, request(form)).await;
            let record = drawn(&running, request(ReportType::FlamegraphArrow)).await;
            let row = |row: usize| (record.path(row), (record.cumulative[row], record.diff[row].unwrap_or_default()));
            assert_eq!(nodes(&graph), (1..record.parents.len()).map(row).collect(), "{form:?} {at}");
            let root = graph.root.as_ref().unwrap();
            assert_eq!((root.cumulative, root.diff), (record.cumulative[0], record.diff[0].unwrap_or_default()));
            assert_eq!((graph.height, graph.trimmed, &graph.unit), (record.height, record.trimmed, &record.unit));
            #[expect(deprecated, reason = "the totals of old are still told")]
            let totals = (graph.total, graph.untrimmed_total);
            assert_eq!(totals, (root.cumulative, record.total));
            assert_eq!(graph.string_table.is_empty(), form == ReportType::FlamegraphUnspecified);
        }
        let (plain, grouped) = (nested(&running, merge(DELTA, form)).await, nested(&running, by_label(form)).await);
        assert_eq!(nodes(&grouped), nodes(&plain), "labels have no place in it");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_say_the_same_of_a_node() {
    let running = Running::start().await;
    fill(&running).await;
    let query = format!("{DELTA}{{service_name=\"api\"}}");
    let [whole, tables] =
        [nested(&running, merge(&query, FORMS[0])).await, nested(&running, merge(&query, FORMS[1])).await];
    let mut open = vec![(whole.root.clone().unwrap().children, tables.root.clone().unwrap().children)];
    let mut all = Vec::new();
    while let Some((mut of_whole, mut of_tables)) = open.pop() {
        assert_eq!(of_whole.len(), of_tables.len());
        for (a, b) in of_whole.drain(..).zip(of_tables.drain(..)) {
            let (a_said, b_said) = (said(&whole, a.meta.as_ref().unwrap()), said(&tables, b.meta.as_ref().unwrap()));
            assert_eq!(a_said, b_said);
            all.push(a_said);
            open.push((a.children, b.children));
        }
    }
    let read = all.iter().find(|(name, ..)| name == "read").unwrap();
    assert_eq!((read.1.as_str(), tables.string_table[0].as_str()), ("/usr/bin/fixture", ""));
    assert!(tables.locations.len() < all.len() + 1 && !tables.function.is_empty());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_deep_is_refused_and_told_how_to_ask() {
    let running = Running::start().await;
    for (service, depth) in [("deep", 200), ("deeper", 1500)] {
        let stack: Vec<String> = (0..depth).map(|at| format!("f{at}")).collect();
        let batch = Fixture::cpu().time(NOON).profile(&format!("{} 7", stack.join(";")));
        running.push(raw(&[("service_name", service)], &batch)).await;
    }
    let query = |service: &str| format!("{DELTA}{{service_name=\"{service}\"}}");
    for form in FORMS {
        let status = client(&running).query(merge(&query("deeper"), form)).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert!(
            status.message().contains("node_trim_threshold") && status.message().contains("depth=1500"),
            "{status:?}"
        );
    }
    let times = "merge.start=2026-03-01T11:59:00Z&merge.end=2026-03-01T12:10:00Z";
    let ask = async |query: &str| {
        let mut of = url::form_urlencoded::Serializer::new(String::new());
        let of = of.append_pair("merge.query", query).finish();
        let path = format!("/api/profiles/query?mode=MODE_MERGE&report_type=REPORT_TYPE_FLAMEGRAPH_TABLE&{of}&{times}");
        let answer = running.ask(http_client(false), Method::GET, &path, &[], "").await;
        (answer.status, serde_json::from_slice::<Value>(&answer.bytes).unwrap())
    };
    let (status, told) = ask(&query("deep")).await;
    assert_eq!((status, told["code"].as_i64()), (429, Some(8)), "{told}");
    assert!(told["message"].as_str().unwrap().contains("nests more deeply"), "{told}");
    fill(&running).await;
    let (status, told) = ask(&query("api")).await;
    assert_eq!((status, told["flamegraph"]["root"]["cumulative"].as_str()), (200, Some("12")), "{told}");
    running.stop().await.unwrap();
}
