//! What flamestore.v1 and SQL say.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use arrow::ipc::reader::StreamReader;
use flamestore_model::{Labels, TimeRange};
use flamestore_proto::v1;
use serde_json::Value;

use super::wires::{
    answer_apart, beside, rows, stacks_of_diff, stacks_of_frames, stacks_of_pprof, stacks_of_text, with_parameters,
};
use super::{Expected, Functions, Question, Stacks, Steps, World, summed};
use crate::harness::{Running, http_client, selection_in};
use crate::plain_tree;

const SERVICE: &str = "flamestore.v1.QueryService";

/// The answer of a method by every protocol, apart from its report: that tells what was read, which is less the second time.
macro_rules! told {
    ($running:expr, $method:literal, $request:expr, $answer:ty) => {
        answer_apart::<_, $answer>($running, SERVICE, $method, $request, |answer| answer.report = None).await
    };
}

fn selection(question: &Question) -> Option<v1::Selection> {
    selection_in(&question.query(), question.range.start, question.range.end)
}

async fn merge(
    running: &Running,
    question: &Question,
    format: v1::AnswerFormat,
    combine: v1::Combine,
) -> v1::merge_response::Answer {
    let request = v1::MergeRequest {
        selection: selection(question),
        format: format.into(),
        max_nodes: -1,
        resolution: 0,
        combine: combine.into(),
    };
    told!(running, "Merge", &request, v1::MergeResponse).answer.unwrap()
}

/// The rows of a statement, the same by gRPC and by HTTP.
pub(super) async fn sql(running: &Running, statement: &str) -> Vec<Vec<Value>> {
    let path = with_parameters("/api/v1/sql", &[("q", statement)]);
    let told = running.ask(http_client(false), reqwest::Method::GET, &path, &[], "").await;
    assert_eq!(told.status, 200, "{statement}: {}", told.text());
    let told: Value = serde_json::from_slice(&told.bytes).unwrap();
    let by_http: Vec<Vec<Value>> = serde_json::from_value(told["rows"].clone()).unwrap();
    let request = v1::SqlRequest { statement: statement.to_owned(), limit: 0 };
    let mut parts = running.query().sql(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        bytes.extend_from_slice(&part.arrow);
    }
    let batches: Vec<RecordBatch> = StreamReader::try_new(&bytes[..], None).unwrap().map(Result::unwrap).collect();
    let [mut by_http, mut by_grpc] = [by_http, rows(&batches)];
    by_http.sort_by_key(|row| format!("{row:?}"));
    by_grpc.sort_by_key(|row| format!("{row:?}"));
    assert_eq!(by_http, by_grpc, "{statement}");
    by_grpc
}

/// A first column of text and a second one of numbers.
fn by_name(rows: Vec<Vec<Value>>) -> Stacks {
    summed(rows.iter().map(|row| (text(&row[0]), row[1].as_i64().unwrap())))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

/// The frames of an Arrow answer: the row of the caller and the name of each, and the columns `own`.
fn frames<const N: usize>(bytes: &[u8], own: [&str; N]) -> BTreeMap<String, [i64; N]> {
    let batch = StreamReader::try_new(bytes, None).unwrap().next().unwrap().unwrap();
    let parents = batch["parent"].as_primitive::<UInt32Type>();
    let names = rows(&[batch.project(&[batch.schema().index_of("name").unwrap()]).unwrap()]);
    let row = |row: usize| {
        let parent = parents.is_valid(row).then(|| usize::try_from(parents.value(row)).unwrap());
        (parent, text(&names[row][0]))
    };
    let frames: Vec<_> = (0..batch.num_rows()).map(row).collect();
    let columns = own.map(|name| batch[name].as_primitive::<arrow::datatypes::Int64Type>().values().to_vec());
    stacks_of_frames(&frames, columns.each_ref().map(Vec::as_slice))
}

fn alone(stacks: BTreeMap<String, [i64; 1]>) -> Stacks {
    stacks.into_iter().map(|(stack, [value])| (stack, value)).collect()
}

pub(super) async fn check_merge(running: &Running, question: &Question, expected: &Expected) {
    use v1::merge_response::Answer;
    use v1::{AnswerFormat, Combine};
    for (combine, stacks) in [(Combine::Auto, &expected.stacks), (Combine::Sum, &expected.sums)] {
        let Answer::Folded(text) = merge(running, question, AnswerFormat::Folded, combine).await else { panic!() };
        assert_eq!(&stacks_of_text(&text), stacks, "{question:?}");
        let Answer::Arrow(bytes) = merge(running, question, AnswerFormat::Arrow, combine).await else { panic!() };
        assert_eq!(&alone(frames(&bytes, ["self"])), stacks, "{question:?}");
    }
    if expected.can_be_drawn() {
        let drawn = merge(running, question, AnswerFormat::FlameGraph, Combine::Auto).await;
        let Answer::FlameGraph(graph) = drawn else { panic!() };
        let levels: Vec<Vec<i64>> = graph.levels.into_iter().map(|level| level.values).collect();
        assert_eq!(plain_tree::stacks(&graph.names, &levels), expected.stacks, "{question:?}");
        assert_eq!(graph.total, expected.total());
    }
    let Answer::Pprof(pprof) = merge(running, question, AnswerFormat::Pprof, Combine::Auto).await else { panic!() };
    if !expected.sums.is_empty() {
        assert_eq!(stacks_of_pprof(pprof), expected.sums, "{question:?}");
    }
    let request = v1::TopRequest { selection: selection(question), limit: u32::MAX, combine: 0 };
    let top = told!(running, "Top", &request, v1::TopResponse);
    let listed: Functions = top.functions.into_iter().map(|row| (row.name, (row.self_, row.total))).collect();
    assert_eq!((&listed, top.total), (&expected.functions, expected.total()), "{question:?}");
    check_sql(running, question, expected).await;
}

async fn check_sql(running: &Running, question: &Question, expected: &Expected) {
    let selected = question.condition();
    let ask = async |statement: String| sql(running, &statement).await;
    let stacks = format!(
        "SELECT array_to_string(stack, ';') AS stack, sum(value) AS value FROM samples WHERE {selected} GROUP BY 1"
    );
    assert_eq!(by_name(ask(stacks).await), expected.sums, "{question:?}");
    let own = format!("SELECT leaf, sum(value) FROM samples WHERE {selected} AND leaf IS NOT NULL GROUP BY 1");
    let all = format!(
        "SELECT name, sum(value) FROM (SELECT unnest(array_distinct(stack)) AS name, value FROM samples \
         WHERE {selected}) GROUP BY 1"
    );
    let (own, all) = (by_name(ask(own).await), by_name(ask(all).await));
    let names = own.keys().chain(all.keys());
    let of = |sums: &Stacks, name: &str| sums.get(name).copied().unwrap_or_default();
    let found: Functions = names.map(|name| (name.clone(), (of(&own, name), of(&all, name)))).collect();
    assert_eq!(found, expected.sums_of_functions, "{question:?}");
    let total = ask(format!("SELECT sum(total) FROM profiles WHERE {selected}")).await;
    assert_eq!(total[0][0].as_i64().unwrap_or_default(), expected.total_of_sums(), "{question:?}");
    let asked = format!("'{}', {}, {}", question.query().replace('\'', "''"), question.range.start, question.range.end);
    let merged = ask(format!("SELECT node, parent, name, self, total FROM merge({asked})")).await;
    let (frames, [own, totals]) = tree(merged);
    assert_eq!(alone(stacks_of_frames(&frames, [&own])), expected.stacks, "{question:?}");
    assert_eq!(totals[0], expected.total());
    let top = ask(format!("SELECT name, self, total FROM top_functions({asked})")).await;
    let top: Functions = top.iter().map(|row| (text(&row[0]), (number(&row[1]), number(&row[2])))).collect();
    assert_eq!(top, expected.functions, "{question:?}");
}

/// The parent and the name of each node.
type Nodes = Vec<(Option<usize>, String)>;

/// Rows of node, parent, name and `N` numbers, by their number.
fn tree<const N: usize>(mut rows: Vec<Vec<Value>>) -> (Nodes, [Vec<i64>; N]) {
    rows.sort_by_key(|row| number(&row[0]));
    let parent = |row: &Vec<Value>| row[1].as_u64().map(|parent| usize::try_from(parent).unwrap());
    let frames = rows.iter().map(|row| (parent(row), text(&row[2]))).collect();
    (frames, std::array::from_fn(|column| rows.iter().map(|row| number(&row[3 + column])).collect()))
}

pub(super) async fn check_diff(running: &Running, questions: &[Question; 2], expected: &[Expected; 2]) {
    use v1::AnswerFormat;
    use v1::diff_response::Answer;
    let [before, after] = expected;
    let both = beside(&before.stacks, &after.stacks);
    let request = |format: AnswerFormat| v1::DiffRequest {
        before: selection(&questions[0]),
        after: selection(&questions[1]),
        format: format.into(),
        max_nodes: -1,
        combine: 0,
    };
    let ask = async |format| told!(running, "Diff", &request(format), v1::DiffResponse).answer.unwrap();
    let Answer::Folded(text) = ask(AnswerFormat::Folded).await else { panic!() };
    let folded: BTreeMap<String, (i64, i64)> = text
        .lines()
        .map(|line| {
            let [after, before, stack]: [&str; 3] = line.rsplitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
            (stack.to_owned(), (before.parse().unwrap(), after.parse().unwrap()))
        })
        .collect();
    assert_eq!(folded, both, "{questions:?}");
    let Answer::Arrow(bytes) = ask(AnswerFormat::Arrow).await else { panic!() };
    let pairs = |stacks: BTreeMap<String, [i64; 2]>| -> BTreeMap<String, (i64, i64)> {
        stacks.into_iter().map(|(stack, [before, after])| (stack, (before, after))).collect()
    };
    assert_eq!(pairs(frames(&bytes, ["self_before", "self_after"])), both, "{questions:?}");
    if before.can_be_drawn() && after.can_be_drawn() {
        let Answer::FlameGraph(graph) = ask(AnswerFormat::FlameGraph).await else { panic!() };
        let levels: Vec<Vec<i64>> = graph.levels.into_iter().map(|level| level.values).collect();
        assert_eq!(stacks_of_diff(&graph.names, &levels), both, "{questions:?}");
        assert_eq!((graph.left_ticks, graph.right_ticks), (before.total(), after.total()));
    }
    let [a, b] = questions.each_ref().map(|question| question.range);
    let statement = format!(
        "SELECT node, parent, name, self_before, self_after FROM diff('{}', {}, {}, {}, {})",
        questions[0].query(),
        a.start,
        a.end,
        b.start,
        b.end
    );
    let (rows, [own_before, own_after]) = tree(sql(running, &statement).await);
    assert_eq!(pairs(stacks_of_frames(&rows, [&own_before, &own_after])), both, "{questions:?}");
}

pub(super) async fn check_steps(
    running: &Running,
    question: &Question,
    step_nano: i64,
    group_by: &[&str],
    expected: &Steps,
) {
    let group_by: Vec<String> = group_by.iter().map(|name| (*name).to_owned()).collect();
    let request = v1::TimeSeriesRequest { selection: selection(question), step_nano, group_by: group_by.clone() };
    let told = told!(running, "TimeSeries", &request, v1::TimeSeriesResponse);
    let steps = |line: v1::TimeSeriesLine| {
        let points = line.points.iter().map(|point| (point.time_unix_nano, point.total)).collect();
        (labels(&line.labels).to_string(), points)
    };
    assert_eq!(&told.lines.into_iter().map(steps).collect::<Steps>(), expected, "{question:?}");
    let groups: Vec<String> = group_by.iter().map(|name| format!("label(labels, profile_type, '{name}')")).collect();
    let statement = format!(
        "SELECT time_unix_nano - time_unix_nano % {step_nano} AS step, sum(total) AS total, {} FROM profiles WHERE {} \
         GROUP BY step, {}",
        (0..).zip(&groups).map(|(at, group)| format!("{group} AS g{at}")).collect::<Vec<_>>().join(", "),
        question.condition(),
        (0..groups.len()).map(|at| format!("g{at}")).collect::<Vec<_>>().join(", "),
    );
    let mut found = Steps::new();
    for row in sql(running, &statement).await {
        let values = group_by.iter().zip(&row[2..]);
        let labels = values.fold(Labels::default(), |labels, (name, value)| labels.with(name, &text(value)));
        found.entry(labels.to_string()).or_default().insert(number(&row[0]), number(&row[1]));
    }
    assert_eq!(&found, expected, "{question:?}");
}

fn labels(labels: &[v1::Label]) -> Labels {
    Labels::from_pairs(labels.iter().map(|label| (label.name.as_str(), label.value.as_str()))).unwrap()
}

pub(super) async fn check_lists(world: &World, labels_asked: &'static str, range: TimeRange) {
    let World { running, oracle, .. } = world;
    let selector = labels_asked.parse().unwrap();
    let selection = selection_in(labels_asked, range.start, range.end);
    let types: BTreeSet<String> = oracle.profile_types(&selector, &range).iter().map(ToString::to_string).collect();
    let request = v1::ProfileTypesRequest { selection: selection.clone() };
    let told = told!(running, "ProfileTypes", &request, v1::ProfileTypesResponse);
    assert_eq!(told.profile_types.into_iter().collect::<BTreeSet<_>>(), types, "{labels_asked}");
    let selected = format!(
        "selects(labels, profile_type, '{labels_asked}') AND time_unix_nano >= {} AND time_unix_nano < {}",
        range.start, range.end
    );
    let column = async |what: &str| -> BTreeSet<String> {
        let rows = sql(running, &format!("SELECT DISTINCT {what} AS found FROM profiles WHERE {selected}")).await;
        rows.iter().map(|row| text(&row[0])).filter(|found| !found.is_empty()).collect()
    };
    assert_eq!(column("profile_type").await, types, "{labels_asked}");

    let names = oracle.label_names(&selector, &range);
    let request = v1::LabelNamesRequest { selection: selection.clone() };
    let told = told!(running, "LabelNames", &request, v1::LabelNamesResponse);
    assert_eq!(told.names.into_iter().collect::<BTreeSet<_>>(), names, "{labels_asked}");
    assert_eq!(column("unnest(label_names(labels, profile_type))").await, names, "{labels_asked}");
    for name in &names {
        let values = oracle.label_values(name, &selector, &range);
        let request = v1::LabelValuesRequest { selection: selection.clone(), name: name.clone() };
        let told = told!(running, "LabelValues", &request, v1::LabelValuesResponse);
        assert_eq!(told.values.into_iter().collect::<BTreeSet<_>>(), values, "{name} of {labels_asked}");
        assert_eq!(column(&format!("label(labels, profile_type, '{name}')")).await, values, "{name} of {labels_asked}");
    }

    let all: BTreeSet<String> =
        oracle.series(&selector, &range).into_iter().map(|(labels, ty)| format!("{ty} {labels}")).collect();
    let request = v1::SeriesRequest { selection, label_names: Vec::new() };
    let told = told!(running, "Series", &request, v1::SeriesResponse);
    let listed = told.series.iter().map(|one| format!("{} {}", one.profile_type, labels(&one.labels)));
    assert_eq!(listed.collect::<BTreeSet<_>>(), all, "{labels_asked}");
    let rows = sql(running, &format!("SELECT profile_type, labels FROM profiles WHERE {selected}")).await;
    let series = |row: &Vec<Value>| {
        let pairs = row[1].as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        format!("{} {}", text(&row[0]), Labels::from_pairs(pairs).unwrap())
    };
    assert_eq!(rows.iter().map(series).collect::<BTreeSet<_>>(), all, "{labels_asked}");
}
