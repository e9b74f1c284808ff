//! What Pyroscope's pages ask: flame graphs as JSON, settings, single profiles, spans, examples and heat maps.

use std::collections::BTreeMap;

use flamestore_model::{Labels, ProfileId};
use flamestore_proto::querier::v1;
use flamestore_proto::settings::v1 as settings;
use flamestore_proto::settings::v1::settings_service_client::SettingsServiceClient;
use flamestore_proto::types::v1 as types;
use flamestore_testkit::Fixture;
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::harness::{Answer, CPU, NOON, Running, SECOND, http_client, raw};
use crate::plain_tree;
use crate::querier::{END, RANGE, START, client, expected_merge, fill, levels, stacktraces};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn get(running: &Running, path: &str) -> Answer {
    running.ask(http_client(false), reqwest::Method::GET, path, &[], "").await
}

fn query(parameters: &[(&str, &str)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    parameters.iter().for_each(|(name, value)| {
        text.append_pair(name, value);
    });
    text.finish()
}

fn numbers(value: &Value) -> Vec<Vec<i64>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn names(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_get_flame_graphs_and_timelines_as_json() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let (from, until) = (START.to_string(), (END / 1000).to_string());
    let asked = format!("{CPU}{{service_name=\"api\"}}");
    let parameters =
        [("query", asked.as_str()), ("from", &from), ("until", &until), ("groupBy", "pod"), ("maxNodes", "x")];
    for path in ["/pyroscope/render", "/render"] {
        let answer = get(&running, &format!("{path}?{}", query(&parameters))).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{answer:?}");
        let page: Value = serde_json::from_slice(&answer.bytes).unwrap();
        let flamebearer = &page["flamebearer"];
        let expected = expected_merge(&oracle, r#"{service_name="api"}"#);
        let found = plain_tree::stacks(&names(&flamebearer["names"]), &numbers(&flamebearer["levels"]));
        assert_eq!(found, expected);
        let total: i64 = expected.values().sum();
        assert_eq!(flamebearer["numTicks"], json!(total));
        let metadata =
            json!({"format": "single", "spyName": "", "sampleRate": 1_000_000_000, "units": "samples", "name": "cpu"});
        assert_eq!((&page["version"], &page["metadata"]), (&json!(1), &metadata));
        let timeline = &page["timeline"];
        assert_eq!((&timeline["startTime"], &timeline["durationDelta"]), (&json!(START / 1000), &json!(15)));
        let samples: Vec<f64> = serde_json::from_value(timeline["samples"].clone()).unwrap();
        assert_eq!(samples.len(), 45);
        assert_eq!((samples[4], samples[8], samples.iter().sum::<f64>()), (6.0, 6.0, 12.0));
        assert_eq!(page["groups"]["api-1"]["samples"], timeline["samples"]);
    }
    let dot = query(&[&parameters[..3], &[("format", "dot")]].concat());
    let dot = get(&running, &format!("/pyroscope/render?{dot}")).await;
    assert_eq!((dot.status, dot.header("content-type")), (200, "text/plain; charset=utf-8"));
    assert!(dot.text().contains(r#"[label="main\n0 (0.00%) of 12 (100.00%)"]"#), "{}", dot.text());
    let nothing = query(&[("query", &format!("{CPU}{{pod=\"x\"}}")), ("from", "1"), ("until", "2"), ("format", "dot")]);
    let nothing = get(&running, &format!("/pyroscope/render?{nothing}")).await;
    assert_eq!((nothing.status, nothing.text().as_str()), (200, ""));

    let other = format!("{{__name__=\"{CPU}\",service_name=\"web\"}}");
    let sides = [
        ("leftQuery", asked.as_str()),
        ("leftFrom", &from),
        ("leftUntil", &until),
        ("rightQuery", &other),
        ("rightFrom", &from),
        ("rightUntil", &until),
    ];
    let answer = get(&running, &format!("/pyroscope/render-diff?{}", query(&sides))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let page: Value = serde_json::from_slice(&answer.bytes).unwrap();
    let sum = |selector| expected_merge(&oracle, selector).values().sum::<i64>();
    let (left, right) = (sum(r#"{service_name="api"}"#), sum(r#"{service_name="web"}"#));
    assert_eq!((&page["leftTicks"], &page["rightTicks"]), (&json!(left), &json!(right)));
    assert_eq!(numbers(&page["flamebearer"]["levels"])[0], [0, left, 0, 0, right, 0, 0]);
    assert_eq!(page["metadata"]["format"], json!("double"));

    for path in ["/pyroscope/label-values", "/label-values"] {
        let types: Vec<String> =
            serde_json::from_slice(&get(&running, &format!("{path}?label=__name__")).await.bytes).unwrap();
        let everything = "{}".parse().unwrap();
        let expected: Vec<_> = oracle.profile_types(&everything, &RANGE).iter().map(ToString::to_string).collect();
        assert_eq!(types, expected);
        assert_eq!(get(&running, &format!("{path}?label=service_name")).await.text(), r#"["api","web"]"#);
        assert_eq!(get(&running, path).await.status, 400);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_the_statuses_that_clients_know() {
    let running = Running::start().await;
    fill(&running).await;
    let asked = format!("{CPU}{{}}");
    let (from, until) = (START.to_string(), END.to_string());
    let render = [("query", asked.as_str()), ("from", &from), ("until", &until)];
    let diff = [
        ("leftQuery", asked.as_str()),
        ("leftFrom", &from),
        ("leftUntil", &until),
        ("rightQuery", &asked),
        ("rightFrom", &from),
        ("rightUntil", &until),
    ];
    let check = async |path: &str, parameters: &[(&str, &str)], status: u16| {
        let path = format!("{path}?{}", query(parameters));
        let answer = get(&running, &path).await;
        assert_eq!(answer.status, status, "{path} {answer:?}");
        if status == 400 {
            assert!(answer.text().starts_with(r#"{"code":"invalid_argument","message":""#), "{path} {answer:?}");
        }
    };
    let valid = [
        ("maxNodes", "16"),
        ("max-nodes", "0"),
        ("maxNodes", "many"),
        ("groupBy", "pod"),
        ("aggregation", "avg"),
        ("aggregation", "none"),
        ("format", "dot"),
        ("format", "none"),
    ];
    check("/pyroscope/render", &render, 200).await;
    for more in valid {
        check("/pyroscope/render", &[&render[..], &[more]].concat(), 200).await;
    }
    for (path, fields) in [("/pyroscope/render", &render[..]), ("/pyroscope/render-diff", &diff[..])] {
        check(path, fields, 200).await;
        for (name, _) in fields {
            let others: Vec<_> = fields.iter().copied().filter(|(field, _)| field != name).collect();
            check(path, &others, 400).await;
            let wrong: &[&str] = match name.to_lowercase().contains("query") {
                true => &["", "{", "{service_name=\"api\"}", "cpu{}"],
                false => &["soon", "now-", "99999999999999999999"],
            };
            for value in wrong {
                check(path, &[&others[..], &[(*name, *value)]].concat(), 400).await;
            }
        }
        for method in [reqwest::Method::POST, reqwest::Method::PUT, reqwest::Method::PATCH, reqwest::Method::DELETE] {
            let asked = format!("{path}?{}", query(fields));
            let answer = running.ask(http_client(false), method, &asked, &[JSON], "{}").await;
            assert_eq!(answer.status, 405, "{answer:?}");
        }
    }
    check("/pyroscope/render", &[("query", &asked), ("from", "0"), ("until", "0")], 400).await;
    let mut mismatched = diff;
    mismatched[3].1 = "memory:inuse_space:bytes:space:bytes{}";
    check("/pyroscope/render-diff", &mismatched, 400).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_kept_for_each_tenant() {
    let running = Running::start().await;
    let mut client = SettingsServiceClient::new(running.channel.clone());
    let setting = |name: &str, value: &str, modified_at| settings::Setting {
        name: name.to_owned(),
        value: value.to_owned(),
        modified_at,
    };
    let set = |setting| settings::SetSettingsRequest { setting: Some(setting) };
    let all = settings::GetSettingsRequest {};
    let kept = client.set(set(setting("b", "1", 5))).await.unwrap().into_inner().setting;
    assert_eq!(kept, Some(setting("b", "1", 5)));
    assert_eq!(client.set(set(setting("b", "0", 4))).await.unwrap_err().code(), Code::Aborted);
    client.set(set(setting("b", "2", 6))).await.unwrap();
    let stamped = client.set(set(setting("a", "", 0))).await.unwrap().into_inner().setting.unwrap();
    assert!(stamped.modified_at > 0);
    let found = client.get(all).await.unwrap().into_inner().settings;
    assert_eq!(found, [stamped, setting("b", "2", 6)]);
    let mut other = Request::new(all);
    other.metadata_mut().insert("x-scope-orgid", "other".parse().unwrap());
    assert!(client.get(other).await.unwrap().into_inner().settings.is_empty());
    let delete = |name: &str| settings::DeleteSettingsRequest { name: name.to_owned() };
    client.delete(delete("a")).await.unwrap();
    client.delete(delete("a")).await.unwrap();
    assert_eq!(client.get(all).await.unwrap().into_inner().settings.len(), 1);
    assert_eq!(client.delete(delete("")).await.unwrap_err().code(), Code::InvalidArgument);
    for (wrong, code) in [
        (settings::SetSettingsRequest { setting: None }, Code::InvalidArgument),
        (set(setting("", "x", 0)), Code::InvalidArgument),
        (set(setting("x", &"x".repeat(20_000), 0)), Code::ResourceExhausted),
        (set(setting(&"x".repeat(300), "", 0)), Code::ResourceExhausted),
    ] {
        assert_eq!(client.set(wrong).await.unwrap_err().code(), code);
    }
    for at in 1..64 {
        client.set(set(setting(&format!("x{at}"), "", 1))).await.unwrap();
    }
    assert_eq!(client.set(set(setting("one more", "", 1))).await.unwrap_err().code(), Code::ResourceExhausted);

    let answer = running.post("/capabilities.v1.FeatureFlagsService/GetFeatureFlags", &[JSON], "{}").await;
    assert!(answer.text().contains(r#"{"name":"utf8LabelNames","enabled":true"#), "{answer:?}");
    let answer = running.post("/version.v1.Version/Version", &[JSON], "{}").await;
    assert_eq!(answer.text(), r#"{"QuerierAPI":"1"}"#);
    running.stop().await.unwrap();
}

const SPAN: &str = "00f067aa0ba902b7";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Profiles of two pods whose samples have spans and traces; the ids of the profiles.
async fn fill_spans(running: &Running) -> Vec<ProfileId> {
    let texts = [
        format!("main;a 1 {{span_id={SPAN}}} | main;b 2 {{span_id={SPAN}, trace_id={TRACE}}} | main;c 4"),
        format!(
            "main;a 8 {{trace_id={TRACE}}} | main;d 16 {{span_id=00f067aa0ba902b8}} | main;a 32 {{profile_id={SPAN}}}"
        ),
    ];
    let mut ids = Vec::new();
    for (at, text) in (0..).zip(&texts) {
        let batch = Fixture::cpu().time(NOON + at * SECOND).profile(text);
        ids.push(running.push(raw(&[("service_name", "s"), ("pod", &format!("p{at}"))], &batch)).await);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_spans_and_traces_can_be_picked() {
    for is_flushed in [false, true] {
        let running = Running::start().await;
        let ids = fill_spans(&running).await;
        if is_flushed {
            running.store.flush().await.unwrap();
        }
        let mut client = client(&running);
        let id = ids[0].to_string();
        let uuid = format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
        let spans = |ids: &[&str]| v1::SelectMergeStacktracesRequest {
            span_selector: ids.iter().map(|id| (*id).to_owned()).collect(),
            ..stacktraces("{}")
        };
        let of_trace =
            v1::SelectMergeStacktracesRequest { trace_id_selector: vec![TRACE.to_owned()], ..stacktraces("{}") };
        let of_profile = v1::SelectMergeStacktracesRequest { profile_id_selector: vec![uuid], ..stacktraces("{}") };
        let both = v1::SelectMergeStacktracesRequest {
            profile_id_selector: of_profile.profile_id_selector.clone(),
            ..spans(&[SPAN])
        };
        for (request, expected) in [
            (spans(&[SPAN]), &[("main;a", 33), ("main;b", 2)][..]),
            (spans(&["00F067AA0BA902B8"]), &[("main;d", 16)]),
            (spans(&["00000000000000ff"]), &[]),
            (of_trace.clone(), &[("main;a", 8), ("main;b", 2)]),
            (of_profile.clone(), &[("main;a", 1), ("main;b", 2), ("main;c", 4)]),
            (both, &[("main;a", 1), ("main;b", 2)]),
        ] {
            let graph =
                client.select_merge_stacktraces(request.clone()).await.unwrap().into_inner().flamegraph.unwrap();
            let expected: BTreeMap<String, i64> =
                expected.iter().map(|(stack, value)| ((*stack).to_owned(), *value)).collect();
            assert_eq!(plain_tree::stacks(&graph.names, &levels(&graph.levels)), expected, "{request:?}");
            let pprof = v1::SelectMergeStacktracesRequest { format: v1::ProfileFormat::Pprof as i32, ..request };
            let pprof = client.select_merge_stacktraces(pprof).await.unwrap().into_inner().pprof.unwrap();
            let total: i64 = pprof.profile.unwrap().sample.iter().map(|sample| sample.value[0]).sum();
            assert_eq!(total, expected.values().sum::<i64>());
        }
        let both = v1::SelectMergeStacktracesRequest { span_selector: vec![SPAN.to_owned()], ..of_trace };
        let short = spans(&["00f067"]);
        let no_id =
            v1::SelectMergeStacktracesRequest { profile_id_selector: vec!["x".to_owned()], ..stacktraces("{}") };
        for wrong in [both, short, no_id] {
            assert_eq!(client.select_merge_stacktraces(wrong).await.unwrap_err().code(), Code::InvalidArgument);
        }
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn points_have_examples_and_call_sites() {
    let running = Running::start().await;
    let ids = fill_spans(&running).await;
    let mut client = client(&running);
    let request = |group_by: &[&str]| v1::SelectSeriesRequest {
        profile_type_id: CPU.to_owned(),
        label_selector: "{}".to_owned(),
        start: START,
        end: END,
        step: 15.0,
        group_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    let individual = types::ExemplarType::Individual as i32;
    let with_exemplars = v1::SelectSeriesRequest { exemplar_type: individual, ..request(&["service_name"]) };
    let series = client.select_series(with_exemplars).await.unwrap().into_inner().series;
    let points: Vec<_> = series.iter().flat_map(|series| &series.points).collect();
    let values: Vec<_> = points.iter().map(|point| point.value).collect();
    assert_eq!(values, [7.0, 56.0]);
    for (point, id) in points.iter().zip(&ids) {
        let [exemplar] = &point.exemplars[..] else { panic!("{point:?}") };
        assert_eq!(exemplar.profile_id.parse::<ProfileId>().unwrap(), *id);
        let labels = exemplar.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
        assert_eq!(Labels::from_pairs(labels).unwrap().get("service_name"), None);
        assert_eq!(exemplar.labels[0].name, "pod");
    }
    let span = v1::SelectSeriesRequest { exemplar_type: types::ExemplarType::Span as i32, ..request(&[]) };
    assert_eq!(client.select_series(span).await.unwrap_err().code(), Code::Unimplemented);

    let call_site = ["main", "a"].map(|name| types::Location { name: name.to_owned() }).to_vec();
    let selector = Some(types::StackTraceSelector { call_site, go_pgo: None });
    let below = v1::SelectSeriesRequest { stack_trace_selector: selector, ..request(&["pod"]) };
    let series = client.select_series(below).await.unwrap().into_inner().series;
    let found: Vec<_> = series.iter().map(|s| (s.labels[0].value.as_str(), s.points[0].value)).collect();
    assert_eq!(found, [("p1", 40.0), ("p0", 1.0)]);

    let heatmap = |query_type: v1::HeatmapQueryType| v1::SelectHeatmapRequest {
        profile_type_id: CPU.to_owned(),
        label_selector: "{}".to_owned(),
        start: START,
        end: END,
        step: 60.0,
        query_type: query_type as i32,
        exemplar_type: individual,
        ..Default::default()
    };
    let found = client.select_heatmap(heatmap(v1::HeatmapQueryType::Individual)).await.unwrap().into_inner().series;
    let slots: Vec<_> = found.iter().flat_map(|series| &series.slots).collect();
    let counts: i32 = slots.iter().flat_map(|slot| &slot.counts).sum();
    assert_eq!((found.len(), counts, slots[0].y_min.len()), (1, 2, 20));
    let refused = client.select_heatmap(heatmap(v1::HeatmapQueryType::Span)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    running.stop().await.unwrap();
}
