//! What Parca's read API says. Both ends of its ranges count, so the last moment of a question is asked for as its end.

use std::collections::{BTreeMap, BTreeSet};

use flamestore_model::{Labels, Selector, Temporality, TimeRange, names};
use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::profile_diff_selection;
use flamestore_proto::parca::query::v1alpha1::query_request::{Mode, Options, ReportType};
use flamestore_proto::parca::query::v1alpha1::query_response::Report;

use super::wires::{answer, answer_apart, gotten, with_parameters};
use super::{Expected, Functions, Question, Stacks, Steps, World, summed};
use crate::harness::{Running, SECOND};
use crate::parca_query::reports::{Drawn, NAMELESS, batch, nameless, numbers, pprof, table, texts};
use crate::parca_query::{at, client};

const SERVICE: &str = "parca.query.v1alpha1.QueryService";

fn options(query: &str, range: TimeRange) -> v1::MergeProfile {
    v1::MergeProfile { query: query.to_owned(), start: at(range.start), end: at(range.end - 1) }
}

fn merge(query: &str, range: TimeRange, report: ReportType) -> v1::QueryRequest {
    v1::QueryRequest {
        mode: Mode::Merge.into(),
        options: Some(Options::Merge(options(query, range))),
        report_type: report.into(),
        ..Default::default()
    }
}

async fn ask(running: &Running, request: v1::QueryRequest) -> v1::QueryResponse {
    answer(running, SERVICE, "Query", &request).await
}

/// Functions that have a name: those without are told apart by binary and address.
fn named(functions: impl IntoIterator<Item = (String, (i64, i64))>) -> Functions {
    let is_named = |name: &str| !name.is_empty() && nameless(name) != NAMELESS;
    functions.into_iter().filter(|(name, values)| is_named(name) && *values != (0, 0)).collect()
}

fn all_nameless(stacks: &Stacks) -> Stacks {
    let rename = |stack: &str| stack.split(';').map(nameless).collect::<Vec<_>>().join(";");
    summed(stacks.iter().map(|(stack, value)| (rename(stack), *value)))
}

/// What a question is asked for by: a count of samples is answered by what the samples stand for.
fn is_answered_by_another(question: &Question) -> bool {
    question.ty.sample_type == "samples" && !question.ty.period_type.is_empty()
}

pub(super) async fn check_merge(running: &Running, question: &Question, query: String, expected: &Expected) {
    if is_answered_by_another(question) {
        return;
    }
    let range = question.range;
    let report = async |report| ask(running, merge(&query, range, report)).await;
    let (stacks, total) = (all_nameless(&expected.stacks), expected.total());
    let functions = named(expected.functions.clone());
    if expected.can_be_drawn() {
        let graph = Drawn::new(report(ReportType::FlamegraphArrow).await);
        assert_eq!((all_nameless(&graph.folded()), graph.total), (stacks.clone(), total), "{question:?}");
    }
    assert_eq!(all_nameless(&pprof(report(ReportType::Pprof).await)), stacks, "{question:?}");
    let in_table = table(report(ReportType::TableArrow).await).into_iter();
    let in_table = in_table.map(|(name, (total, own, ..))| (name, (own, total)));
    assert_eq!(named(in_table), functions, "{question:?}");
    for by_get in [false, true] {
        let response = match by_get {
            false => report(ReportType::Top).await,
            true => {
                let [start, end] = [range.start, range.end - 1].map(rfc3339);
                let parameters = [
                    ("mode", "MODE_MERGE"),
                    ("report_type", "REPORT_TYPE_TOP"),
                    ("merge.query", &query),
                    ("merge.start", &start),
                    ("merge.end", &end),
                ];
                gotten(running, &with_parameters("/api/profiles/query", &parameters), SERVICE, "Query").await
            }
        };
        let Some(Report::Top(top)) = response.report else { panic!("{response:?}") };
        let name = |node: &v1::TopNode| node.meta.clone().unwrap().function.unwrap_or_default().name;
        let listed = top.list.iter().map(|node| (name(node), (node.flat, node.cumulative)));
        assert_eq!((named(listed), response.total), (functions.clone(), total), "{question:?}");
    }
    let response = report(ReportType::Callgraph).await;
    let Some(Report::Callgraph(graph)) = response.report else { panic!("{response:?}") };
    let name = |node: &v1::CallgraphNode| node.meta.clone().unwrap().function.unwrap_or_default().name;
    let nodes = graph.nodes.iter().map(|node| (name(node), (node.flat, node.cumulative)));
    assert_eq!(named(nodes), functions, "{question:?}");
}

fn rfc3339(nanos: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
}

pub(super) async fn check_diff(
    running: &Running,
    questions: &[Question; 2],
    queries: &[String; 2],
    expected: &[Expected; 2],
) {
    if is_answered_by_another(&questions[0]) {
        return;
    }
    let [before, after] = expected;
    let side = |at: usize| v1::ProfileDiffSelection {
        mode: profile_diff_selection::Mode::Merge.into(),
        options: Some(profile_diff_selection::Options::Merge(options(&queries[at], questions[at].range))),
    };
    let request = |report: ReportType| v1::QueryRequest {
        mode: Mode::Diff.into(),
        options: Some(Options::Diff(v1::DiffProfile { a: Some(side(0)), b: Some(side(1)), absolute: Some(true) })),
        report_type: report.into(),
        ..Default::default()
    };
    let lost = before.stacks.iter().map(|(stack, value)| (stack.clone(), -value));
    let gained = after.stacks.iter().map(|(stack, value)| (stack.clone(), *value));
    let changes = all_nameless(&summed(lost.chain(gained)));
    assert_eq!(all_nameless(&pprof(ask(running, request(ReportType::Pprof)).await)), changes, "{questions:?}");
    if before.can_be_drawn() && after.can_be_drawn() {
        let graph = Drawn::new(ask(running, request(ReportType::FlamegraphArrow)).await);
        assert_eq!((all_nameless(&graph.folded()), graph.total), (all_nameless(&after.stacks), after.total()));
        if graph.parents.len() > 1 {
            assert_eq!(graph.diff[0], Some(after.total() - before.total()), "{questions:?}");
        }
    }
    let response = ask(running, request(ReportType::TableArrow)).await;
    let Some(Report::TableArrow(table)) = response.report else { panic!("{response:?}") };
    let rows = batch(&table.record);
    let column = |name: &str| numbers(&rows[name]).into_iter().map(Option::unwrap_or_default);
    let changed = texts(&rows["function_name"]).into_iter().map(Option::unwrap_or_default);
    let changed = named(changed.zip(column("flat_diff").zip(column("cumulative_diff"))));
    let (was, is) = (named(before.functions.clone()), named(after.functions.clone()));
    let change = |name: &String| {
        let of = |side: &Functions| side.get(name).copied().unwrap_or_default();
        (name.clone(), (of(&is).0 - of(&was).0, of(&is).1 - of(&was).1))
    };
    assert_eq!(changed, named(was.keys().chain(is.keys()).map(change)), "{questions:?}");
}

pub(super) async fn check_steps(
    world: &World,
    question: &Question,
    step_nano: i64,
    group_by: &[&str],
    expected: &Steps,
) {
    if is_answered_by_another(question) {
        return;
    }
    let query = world.parcas(question);
    let request = v1::QueryRangeRequest {
        query: query.clone(),
        start: at(question.range.start),
        end: at(question.range.end - 1),
        limit: 0,
        step: Some(prost_types::Duration { seconds: step_nano / SECOND, nanos: 0 }),
        sum_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
    };
    // what was there at a moment does not add up: the first profile of each step is told, by series
    let expected = match world.temporality(question) {
        Temporality::Delta => expected.clone(),
        _ => firsts(world, question, step_nano),
    };
    if expected.is_empty() {
        let refused = client(&world.running).query_range(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::NotFound, "{question:?}");
        return;
    }
    let by_get = {
        let [start, end] = [question.range.start, question.range.end - 1].map(rfc3339);
        let step = format!("{}s", step_nano / SECOND);
        let mut parameters = vec![("query", query.as_str()), ("start", &start), ("end", &end), ("step", &step)];
        parameters.extend(group_by.iter().map(|name| ("sum_by", *name)));
        let path = with_parameters("/api/profiles/query_range", &parameters);
        gotten::<v1::QueryRangeResponse>(&world.running, &path, SERVICE, "QueryRange").await
    };
    let told: v1::QueryRangeResponse =
        answer_apart(&world.running, SERVICE, "QueryRange", &request, without_rates).await;
    for told in [told, by_get] {
        let steps = |series: v1::MetricsSeries| {
            let labels = series.labelset.unwrap_or_default().labels;
            let labels = Labels::from_pairs(labels.iter().map(|label| (label.name.as_str(), label.value.as_str())));
            let points = series.samples.iter().map(|sample| {
                let time = sample.timestamp.unwrap_or_default();
                (time.seconds * SECOND + i64::from(time.nanos), sample.value)
            });
            (labels.unwrap().to_string(), points.collect())
        };
        assert_eq!(told.series.into_iter().map(steps).collect::<Steps>(), expected, "{question:?}");
    }
}

/// Rates are fractions, which the tests' reader of JSON does not read to the last bit.
fn without_rates(told: &mut v1::QueryRangeResponse) {
    let samples = told.series.iter_mut().flat_map(|series| &mut series.samples);
    samples.for_each(|sample| sample.value_per_second = 0.0);
}

/// The total of the first profile of each step, at its time, by series.
fn firsts(world: &World, question: &Question, step_nano: i64) -> Steps {
    let mut firsts: BTreeMap<String, BTreeMap<i64, (i64, i64)>> = BTreeMap::new();
    for row in world.oracle.profiles(&question.selector(), &question.range) {
        let steps = firsts.entry(row.labels.to_string()).or_default();
        steps.entry(row.time_unix_nano / step_nano).or_insert((row.time_unix_nano, row.total));
    }
    firsts.into_iter().map(|(labels, steps)| (labels, steps.into_values().collect())).collect()
}

pub(super) async fn check_lists(world: &World, labels_asked: &'static str, range: TimeRange) {
    let World { running, oracle, .. } = world;
    let (start, end) = (at(range.start), at(range.end - 1));
    let selector: Selector = labels_asked.parse().unwrap();
    let told: v1::ProfileTypesResponse =
        answer(running, SERVICE, "ProfileTypes", &v1::ProfileTypesRequest { start, end }).await;
    let listed = told.types.iter().map(|ty| {
        let parts = [&ty.name, &ty.sample_type, &ty.sample_unit, &ty.period_type, &ty.period_unit];
        parts.map(String::as_str).join(":")
    });
    // it has no matchers
    let types = oracle.profile_types(&Selector::default(), &range);
    assert_eq!(listed.collect::<BTreeSet<_>>(), types.iter().map(ToString::to_string).collect());

    let all = oracle.label_names(&selector, &range).into_iter();
    let plain: BTreeSet<String> = all.filter(|name| !names::DERIVED.contains(&name.as_str())).collect();
    let r#match = vec![labels_asked.to_owned()];
    let request = v1::LabelsRequest { r#match: r#match.clone(), start, end, profile_type: None };
    let told: v1::LabelsResponse = answer(running, SERVICE, "Labels", &request).await;
    assert_eq!(told.label_names.into_iter().collect::<BTreeSet<_>>(), plain, "{labels_asked}");
    for name in plain {
        let values = oracle.label_values(&name, &selector, &range);
        let request =
            v1::ValuesRequest { label_name: name.clone(), r#match: r#match.clone(), start, end, profile_type: None };
        let told: v1::ValuesResponse = answer(running, SERVICE, "Values", &request).await;
        assert_eq!(told.label_values.into_iter().collect::<BTreeSet<_>>(), values, "{name} of {labels_asked}");
    }
}
