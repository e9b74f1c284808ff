//! Merges in every report.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray};
use arrow::datatypes::UInt64Type;
use flamestore_model::TimeRange;
use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_request::{Options, ReportType};
use flamestore_proto::parca::query::v1alpha1::query_response::Report;
use flamestore_testkit::Fixture;
use tonic::Code;

use super::reports::{drawn, pprof, table, texts};
use super::{DELTA, RANGE, answer, at, client, fill, merge, selector};
use crate::harness::{CPU, NOON, Running, SECOND, raw};

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
