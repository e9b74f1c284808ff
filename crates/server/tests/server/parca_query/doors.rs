//! Every door by which the same is asked, and what is refused at them.

use std::collections::BTreeMap;

use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_request::{Options, ReportType};
use flamestore_proto::querier::v1 as querier;
use prost::Message;
use tonic::Code;

use super::ranges::range;
use super::reports::{Drawn, drawn, table};
use super::{DELTA, END, START, answer, at, client, fill, merge, merge_options};
use crate::harness::{CPU, Running, http_client, merge_folded};

const JSON: (&str, &str) = ("content-type", "application/json");

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
    for report in [ReportType::Source, ReportType::Flamechart] {
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
async fn reports_are_made_in_the_memory_of_queries() {
    let running = Running::start_with_memory(16 << 10).await;
    fill(&running).await;
    assert!(!merge_folded(&running, CPU).await.is_empty());
    let status = client(&running).query(merge(DELTA, ReportType::FlamegraphArrow)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("query_memory_bytes_max=16384"), "{status:?}");
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
        let frames: Vec<&str> = stack.split(';').map(super::reports::nameless).collect();
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
