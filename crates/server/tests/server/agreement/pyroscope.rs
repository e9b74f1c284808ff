//! What Pyroscope's read API says.

use std::collections::BTreeSet;

use flamestore_model::{Labels, Selector, TimeRange};
use flamestore_proto::google::v1::Profile;
use flamestore_proto::querier::v1;
use flamestore_proto::types::v1 as types;
use prost::Message;
use serde_json::Value;

use super::wires::{answer, beside, stacks_of_diff, stacks_of_pprof, with_parameters};
use super::{Expected, Question, Stacks, Steps, World};
use crate::harness::{Running, http_client};
use crate::plain_tree::{self, plain_stacks};
use crate::querier::levels;

const SERVICE: &str = "querier.v1.QuerierService";
const MILLIS: i64 = 1_000_000;
/// As many nodes as are given.
const ALL_NODES: i64 = 1 << 20;

fn selection(question: &Question, format: v1::ProfileFormat) -> v1::SelectMergeStacktracesRequest {
    v1::SelectMergeStacktracesRequest {
        profile_type_id: question.ty.to_string(),
        label_selector: question.labels.to_owned(),
        start: question.range.start / MILLIS,
        end: question.range.end / MILLIS,
        max_nodes: Some(ALL_NODES),
        format: format.into(),
        ..Default::default()
    }
}

fn of_profile(profile: &Profile) -> Stacks {
    if profile.sample.is_empty() { Stacks::new() } else { stacks_of_pprof(profile.encode_to_vec()) }
}

pub(super) async fn check_merge(running: &Running, question: &Question, expected: &Expected) {
    let ask = async |format| -> v1::SelectMergeStacktracesResponse {
        answer(running, SERVICE, "SelectMergeStacktraces", &selection(question, format)).await
    };
    let pprof = ask(v1::ProfileFormat::Pprof).await.pprof.unwrap().profile.unwrap();
    assert_eq!(of_profile(&pprof), expected.sums, "{question:?}");
    let asked = selection(question, v1::ProfileFormat::Unspecified);
    let request = v1::SelectMergeProfileRequest {
        profile_type_id: asked.profile_type_id,
        label_selector: asked.label_selector,
        start: asked.start,
        end: asked.end,
        ..Default::default()
    };
    let profile: Profile = answer(running, SERVICE, "SelectMergeProfile", &request).await;
    assert_eq!(of_profile(&profile), expected.sums, "{question:?}");
    if !expected.can_be_drawn() {
        return;
    }
    let graph = ask(v1::ProfileFormat::Flamegraph).await.flamegraph.unwrap();
    assert_eq!(plain_tree::stacks(&graph.names, &levels(&graph.levels)), expected.stacks, "{question:?}");
    assert_eq!(graph.total, expected.total());
    let tree = ask(v1::ProfileFormat::Tree).await.tree;
    let mut stacks = Stacks::new();
    if !tree.is_empty() {
        plain_stacks(&plain_tree::decode(&tree), "", &mut stacks);
    }
    assert_eq!(stacks, expected.stacks, "{question:?}");
    check_page(running, question, expected).await;
}

/// The page is a flame graph and a timeline.
async fn check_page(running: &Running, question: &Question, expected: &Expected) {
    let [from, until] = [question.range.start, question.range.end].map(|time| (time / MILLIS).to_string());
    let nodes = ALL_NODES.to_string();
    let parameters = [("query", question.query()), ("from", from), ("until", until), ("max-nodes", nodes)];
    for path in ["/render", "/pyroscope/render"] {
        let page = page(running, path, &parameters).await;
        let (names, rows) = flamebearer(&page);
        assert_eq!(plain_tree::stacks(&names, &rows), expected.stacks, "{question:?}");
        assert_eq!(page["flamebearer"]["numTicks"], expected.total());
        let step = page["timeline"]["durationDelta"].as_f64().unwrap();
        let request = v1::SelectSeriesRequest { step, ..series_request(question) };
        let told: v1::SelectSeriesResponse = answer(running, SERVICE, "SelectSeries", &request).await;
        let points: f64 = told.series.iter().flat_map(|series| &series.points).map(|point| point.value).sum();
        let samples = page["timeline"]["samples"].as_array().unwrap();
        assert_eq!(samples.iter().map(|sample| sample.as_f64().unwrap()).sum::<f64>(), points, "{question:?}");
    }
}

async fn page(running: &Running, path: &str, parameters: &[(&str, String)]) -> Value {
    let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let path = with_parameters(path, &parameters);
    let answer = running.ask(http_client(false), reqwest::Method::GET, &path, &[], "").await;
    assert_eq!(answer.status, 200, "{path} {}", answer.text());
    serde_json::from_slice(&answer.bytes).unwrap()
}

fn flamebearer(page: &Value) -> (Vec<String>, Vec<Vec<i64>>) {
    let part = |name: &str| page["flamebearer"][name].clone();
    (serde_json::from_value(part("names")).unwrap(), serde_json::from_value(part("levels")).unwrap())
}

pub(super) async fn check_diff(running: &Running, questions: &[Question; 2], expected: &[Expected; 2]) {
    let [before, after] = expected;
    if !before.can_be_drawn() || !after.can_be_drawn() {
        return;
    }
    let both = beside(&before.stacks, &after.stacks);
    let [left, right] = questions.each_ref().map(|question| Some(selection(question, v1::ProfileFormat::Unspecified)));
    let told: v1::DiffResponse = answer(running, SERVICE, "Diff", &v1::DiffRequest { left, right }).await;
    let graph = told.flamegraph.unwrap();
    assert_eq!(stacks_of_diff(&graph.names, &levels(&graph.levels)), both, "{questions:?}");
    assert_eq!((graph.left_ticks, graph.right_ticks), (before.total(), after.total()));
    let parameters: Vec<(&str, String)> = [("left", &questions[0]), ("right", &questions[1])]
        .into_iter()
        .flat_map(|(side, question)| {
            let names = if side == "left" {
                ["leftQuery", "leftFrom", "leftUntil"]
            } else {
                ["rightQuery", "rightFrom", "rightUntil"]
            };
            let time = |nanos: i64| (nanos / MILLIS).to_string();
            names.into_iter().zip([question.query(), time(question.range.start), time(question.range.end)])
        })
        .chain([("max-nodes", ALL_NODES.to_string())])
        .collect();
    for path in ["/render-diff", "/pyroscope/render-diff"] {
        let page = page(running, path, &parameters).await;
        let (names, rows) = flamebearer(&page);
        assert_eq!(stacks_of_diff(&names, &rows), both, "{questions:?}");
        assert_eq!(page["leftTicks"], before.total());
        assert_eq!(page["rightTicks"], after.total());
    }
}

fn series_request(question: &Question) -> v1::SelectSeriesRequest {
    let asked = selection(question, v1::ProfileFormat::Unspecified);
    v1::SelectSeriesRequest {
        profile_type_id: asked.profile_type_id,
        label_selector: asked.label_selector,
        start: asked.start,
        end: asked.end,
        ..Default::default()
    }
}

/// A step ends with its point here, and begins with it elsewhere: asked from the last millisecond of the first step on, the steps
/// are the same.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the protocol has floating point numbers"
)]
pub(super) async fn check_steps(
    running: &Running,
    question: &Question,
    step_nano: i64,
    group_by: &[&str],
    expected: &Steps,
) {
    let step = step_nano / MILLIS;
    let asked = series_request(question);
    let request = v1::SelectSeriesRequest {
        start: asked.start + step - 1,
        end: asked.end + step - 1,
        step: step as f64 / 1000.0,
        group_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
        ..asked
    };
    let told: v1::SelectSeriesResponse = answer(running, SERVICE, "SelectSeries", &request).await;
    let steps = |series: types::Series| {
        let points = series.points.iter().map(|point| ((point.timestamp + 1 - step) * MILLIS, point.value as i64));
        (labels(&series.labels).to_string(), points.collect())
    };
    assert_eq!(&told.series.into_iter().map(steps).collect::<Steps>(), expected, "{question:?}");
}

fn labels(pairs: &[types::LabelPair]) -> Labels {
    Labels::from_pairs(pairs.iter().map(|pair| (pair.name.as_str(), pair.value.as_str()))).unwrap()
}

pub(super) async fn check_lists(world: &World, labels_asked: &'static str, range: TimeRange) {
    let World { running, oracle, .. } = world;
    let (start, end) = (range.start / MILLIS, range.end / MILLIS);
    let selector: Selector = labels_asked.parse().unwrap();
    let matchers = vec![labels_asked.to_owned()];
    let told: v1::ProfileTypesResponse =
        answer(running, SERVICE, "ProfileTypes", &v1::ProfileTypesRequest { start, end }).await;
    // it has no matchers
    let types = oracle.profile_types(&Selector::default(), &range);
    let types: BTreeSet<String> = types.iter().map(ToString::to_string).collect();
    assert_eq!(told.profile_types.into_iter().map(|ty| ty.id).collect::<BTreeSet<_>>(), types);

    let names = oracle.label_names(&selector, &range);
    let request = types::LabelNamesRequest { matchers: matchers.clone(), start, end };
    let told: types::LabelNamesResponse = answer(running, SERVICE, "LabelNames", &request).await;
    assert_eq!(told.names.into_iter().collect::<BTreeSet<_>>(), names, "{labels_asked}");
    for name in names {
        let values = oracle.label_values(&name, &selector, &range);
        let request = types::LabelValuesRequest { name: name.clone(), matchers: matchers.clone(), start, end };
        let told: types::LabelValuesResponse = answer(running, SERVICE, "LabelValues", &request).await;
        assert_eq!(told.names.into_iter().collect::<BTreeSet<_>>(), values, "{name} of {labels_asked}");
    }

    let all = oracle.series(&selector, &range).into_iter();
    let all: BTreeSet<String> = all.map(|(labels, ty)| ty.add_derived_labels(labels).to_string()).collect();
    let request = v1::SeriesRequest { matchers, label_names: Vec::new(), start, end };
    let told: v1::SeriesResponse = answer(running, SERVICE, "Series", &request).await;
    let listed: BTreeSet<String> = told.labels_set.iter().map(|set| labels(&set.labels).to_string()).collect();
    assert_eq!(listed, all, "{labels_asked}");
}
