//! Every question, answered as the oracle answers it: from memory, then from segments, then from both.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, Int64Array};
use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use flamestore_formats::{Limits, decode_pprof, pprof_equal};
use flamestore_model::{ProfileBatch, ProfileId, Selector, TimeRange};
use flamestore_proto::v1;
use flamestore_testkit::{Fixture, Oracle, S3Place};
use tonic::Code;

use crate::harness::{CPU, NOON, Running, SECOND, all, config, merge_folded, raw, s3_bucket, selection, selection_in};

fn cpu(second: i64, text: &str) -> ProfileBatch {
    Fixture::cpu().time(NOON + second * SECOND).mapping(0x1000, 0x9000, "b1").profile(text)
}

fn heap(second: i64, text: &str) -> ProfileBatch {
    Fixture::heap().time(NOON + second * SECOND).profile(text)
}

/// A server and an oracle that hold the same profiles of two services.
async fn filled(flushed: bool) -> (Running, Oracle, ProfileId) {
    let running = Running::start().await;
    let (oracle, id) = fill(&running, flushed).await;
    (running, oracle, id)
}

async fn fill(running: &Running, flushed: bool) -> (Oracle, ProfileId) {
    let mut oracle = Oracle::new();
    let api = [("service_name", "api"), ("pod", "api-1")];
    let web = [("service_name", "web"), ("region", "eu")];
    running.push_both(&mut oracle, &api, cpu(0, "main;read@1010 3 | main;write 1 {thread=a} | main;main;read 2")).await;
    running.push_both(&mut oracle, &web, cpu(1, "main;serve 5 | main;serve<inlined;- 7 | init 0")).await;
    if flushed {
        running.store.flush().await.unwrap();
    }
    running.push_both(&mut oracle, &api, cpu(60, "main;read@1010 4 | main;other 2")).await;
    let mixed = heap(61, "main;alloc 1,100,1,50 {bytes=64} | main;alloc -2,0,3,4 | init 1,1,0,0");
    let id = running.push_both(&mut oracle, &api, mixed).await;
    (oracle, id)
}

async fn check_all(running: &Running, oracle: &Oracle) {
    let queries = [
        CPU.to_owned(),
        format!("{CPU}{{service_name=\"api\"}}"),
        format!("{CPU}{{region=\"eu\"}}"),
        "a:b:c:d:e".into(),
    ];
    for query in &queries {
        check_merge(running, oracle, query).await;
        check_top(running, oracle, query).await;
        check_neighbours(running, oracle, query).await;
        check_time_series(running, oracle, query).await;
    }
    for query in queries.iter().map(String::as_str).chain(["", r#"{pod=~"api-.*"}"#, r#"{region=""}"#]) {
        check_lists(running, oracle, query).await;
        check_profiles(running, oracle, query).await;
    }
    check_diff(running, oracle).await;
}

async fn check_merge(running: &Running, oracle: &Oracle, query: &str) {
    let (selector, range) = all(query);
    let expected: String =
        oracle.merge_folded(&selector, &range).iter().map(|(stack, value)| format!("{stack} {value}\n")).collect();
    assert_eq!(merge_folded(running, query).await, expected, "{query}");
    let total: i64 = oracle.merge_folded(&selector, &range).values().sum();

    let request = |format: v1::AnswerFormat| v1::MergeRequest {
        selection: selection(query),
        format: format as i32,
        max_nodes: 0,
        resolution: 0,
        combine: 0,
    };
    let answer = running.query().merge(request(v1::AnswerFormat::Unspecified)).await.unwrap().into_inner();
    let Some(v1::merge_response::Answer::FlameGraph(graph)) = answer.answer else { panic!("no flame graph") };
    assert_eq!((graph.names[0].as_str(), graph.total), ("total", total));
    assert_eq!(graph.levels[0].values[1], total);

    let answer = running.query().merge(request(v1::AnswerFormat::Arrow)).await.unwrap().into_inner();
    let Some(v1::merge_response::Answer::Arrow(bytes)) = answer.answer else { panic!("no arrow") };
    assert_eq!(arrow_total(&bytes, "total"), total);

    let answer = running.query().merge(request(v1::AnswerFormat::Pprof)).await.unwrap().into_inner();
    let Some(v1::merge_response::Answer::Pprof(bytes)) = answer.answer else { panic!("no pprof") };
    assert_eq!(&bytes[..2], [0x1f, 0x8b]);
    if total != 0 {
        let batch = decode_pprof(Bytes::from(bytes), &Limits::default()).unwrap();
        let folded = flamestore_testkit::folded(&batch, 0);
        assert_eq!(folded, oracle.merge_folded(&selector, &range), "{query}");
    }
}

/// The value of the root in column `name`.
fn arrow_total(bytes: &[u8], name: &str) -> i64 {
    let batch = StreamReader::try_new(bytes, None).unwrap().next().unwrap().unwrap();
    let column = batch.column_by_name(name).unwrap().as_any().downcast_ref::<Int64Array>().unwrap();
    column.value(0)
}

async fn check_top(running: &Running, oracle: &Oracle, query: &str) {
    let (selector, range) = all(query);
    let expected: Vec<_> =
        oracle.top(&selector, &range).into_iter().map(|row| (row.name, row.self_value, row.total)).collect();
    let answer =
        running.query().top(v1::TopRequest { selection: selection(query), limit: 0, combine: 0 }).await.unwrap();
    let answer = answer.into_inner();
    assert_eq!(answer.total, oracle.merge_folded(&selector, &range).values().sum::<i64>());
    let found: Vec<_> = answer.functions.into_iter().map(|row| (row.name, row.self_, row.total)).collect();
    assert_eq!(found, expected, "{query}");
}

/// Callers and callees of every function, and of one that there is not, are what a loop over stacks counts.
async fn check_neighbours(running: &Running, oracle: &Oracle, query: &str) {
    let (selector, range) = all(query);
    let stacks = oracle.merge_folded(&selector, &range);
    let mut functions: BTreeSet<&str> = stacks.keys().flat_map(|stack| stack.split(';')).collect();
    functions.insert("gone");
    for function in functions {
        let (mut own, mut total, mut outermost) = (0, 0, 0);
        let (mut callers, mut callees) = (BTreeMap::new(), BTreeMap::new());
        for (stack, value) in &stacks {
            let names: Vec<&str> = stack.split(';').collect();
            let of = |is_so: bool| if is_so { *value } else { 0 };
            own += of(names.last() == Some(&function));
            outermost += of(names.first() == Some(&function));
            total += of(names.contains(&function));
            let calls: BTreeSet<(&str, &str)> = names.windows(2).map(|pair| (pair[0], pair[1])).collect();
            for (caller, callee) in calls {
                *callers.entry(caller.to_owned()).or_default() += of(callee == function);
                *callees.entry(callee.to_owned()).or_default() += of(caller == function);
            }
        }
        let sorted = |all: BTreeMap<String, i64>| {
            let mut all: Vec<_> = all.into_iter().filter(|(_, total)| *total != 0).collect();
            all.sort_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
            all
        };
        let list =
            |all: Vec<v1::Neighbour>| all.into_iter().map(|one| (one.name, one.total)).collect::<Vec<(String, i64)>>();
        let request =
            v1::NeighboursRequest { selection: selection(query), function: function.to_owned(), limit: 0, combine: 0 };
        let found = running.query().neighbours(request).await.unwrap().into_inner();
        assert_eq!((found.self_, found.total, found.outermost), (own, total, outermost), "{function} of {query}");
        assert_eq!(found.merge_total, stacks.values().sum::<i64>());
        assert_eq!(list(found.callers), sorted(callers), "callers of {function} of {query}");
        assert_eq!(list(found.callees), sorted(callees), "callees of {function} of {query}");
    }
}

async fn check_time_series(running: &Running, oracle: &Oracle, query: &str) {
    let (selector, range) = all(query);
    let request = v1::TimeSeriesRequest {
        selection: selection(query),
        step_nano: 60 * SECOND,
        group_by: vec!["service_name".to_owned(), "gone".to_owned()],
    };
    let answer = running.query().time_series(request).await.unwrap().into_inner();
    let mut found: Vec<_> = answer
        .lines
        .iter()
        .map(|line| {
            let points: Vec<_> = line.points.iter().map(|point| (point.time_unix_nano, point.total)).collect();
            (pairs(&line.labels), points)
        })
        .collect();
    found.sort();
    let expected: Vec<_> = oracle
        .time_series(&selector, &range, 60 * SECOND, &["service_name", "gone"])
        .into_iter()
        .map(|(labels, points)| (labels.to_string(), points.into_iter().collect::<Vec<_>>()))
        .collect();
    assert_eq!(found, expected, "{query}");
}

fn pairs(labels: &[v1::Label]) -> String {
    let pairs = labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
    flamestore_model::Labels::from_pairs(pairs).unwrap().to_string()
}

async fn check_lists(running: &Running, oracle: &Oracle, query: &str) {
    let (selector, range) = all(query);
    let selection = selection(query);
    let mut client = running.query();
    let request = v1::SeriesRequest { selection: selection.clone(), label_names: Vec::new() };
    let answer = client.series(request).await.unwrap().into_inner();
    let found: Vec<_> = answer.series.iter().map(|s| format!("{} {}", s.profile_type, pairs(&s.labels))).collect();
    let expected: Vec<_> =
        oracle.series(&selector, &range).into_iter().map(|(labels, ty)| format!("{ty} {labels}")).collect();
    assert_eq!(sorted(found), sorted(expected), "series of {query}");

    let answer = client.label_names(v1::LabelNamesRequest { selection: selection.clone() }).await.unwrap().into_inner();
    let expected: Vec<_> = oracle.label_names(&selector, &range).into_iter().collect();
    assert_eq!(answer.names, expected, "label names of {query}");

    for name in ["service_name", "pod", "__profile_type__", "__unit__", "gone"] {
        let request = v1::LabelValuesRequest { selection: selection.clone(), name: name.to_owned() };
        let answer = client.label_values(request).await.unwrap().into_inner();
        let expected: Vec<_> = oracle.label_values(name, &selector, &range).into_iter().collect();
        assert_eq!(answer.values, expected, "values of {name} of {query}");
    }

    let answer = client.profile_types(v1::ProfileTypesRequest { selection }).await.unwrap().into_inner();
    let expected: Vec<_> = oracle.profile_types(&selector, &range).iter().map(ToString::to_string).collect();
    assert_eq!(sorted(answer.profile_types), sorted(expected), "types of {query}");
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

async fn check_profiles(running: &Running, oracle: &Oracle, query: &str) {
    let (selector, range) = all(query);
    let request = v1::ListProfilesRequest { selection: selection(query), limit: 0 };
    let answer = running.query().list_profiles(request).await.unwrap().into_inner();
    assert!(answer.profiles.is_sorted_by_key(|profile| std::cmp::Reverse(profile.time_unix_nano)), "newest first");
    let line = |time: i64, id: &str, ty: &str, labels: String, total: i64| format!("{time} {id} {ty} {labels} {total}");
    let found =
        answer.profiles.iter().map(|p| line(p.time_unix_nano, &p.id, &p.profile_type, pairs(&p.labels), p.total));
    let expected = oracle
        .profiles(&selector, &range)
        .into_iter()
        .map(|p| line(p.time_unix_nano, &p.id.to_string(), &p.profile_type.to_string(), p.labels.to_string(), p.total));
    assert_eq!(sorted(found.collect()), sorted(expected.collect()), "{query}");
}

async fn check_diff(running: &Running, oracle: &Oracle) {
    let query = format!("{CPU}{{service_name=\"api\"}}");
    let sides = [(NOON, NOON + 30 * SECOND), (NOON + 30 * SECOND, NOON + 90 * SECOND)];
    let [before, after] = sides.map(|(start, end)| selection_in(&query, start, end));
    let selector: Selector = query.parse().unwrap();
    let [left, right] = sides.map(|(start, end)| TimeRange::new(start, end).unwrap());
    let rows = oracle.diff_folded((&selector, &left), (&selector, &right));
    let request = |format: v1::AnswerFormat| v1::DiffRequest {
        before: before.clone(),
        after: after.clone(),
        format: format as i32,
        max_nodes: 0,
        combine: 0,
    };

    let answer = running.query().diff(request(v1::AnswerFormat::Folded)).await.unwrap().into_inner();
    let Some(v1::diff_response::Answer::Folded(text)) = answer.answer else { panic!("not folded") };
    let expected: String = rows.iter().map(|(stack, (a, b))| format!("{stack} {a} {b}\n")).collect();
    assert_eq!(text, expected);

    let answer = running.query().diff(request(v1::AnswerFormat::FlameGraph)).await.unwrap().into_inner();
    let Some(v1::diff_response::Answer::FlameGraph(graph)) = answer.answer else { panic!("no flame graph") };
    let ticks = rows.values().fold((0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    assert_eq!((graph.left_ticks, graph.right_ticks, graph.total), (ticks.0, ticks.1, ticks.0 + ticks.1));
    assert_eq!(graph.levels[0].values, [0, ticks.0, 0, 0, ticks.1, 0, 0]);

    let answer = running.query().diff(request(v1::AnswerFormat::Arrow)).await.unwrap().into_inner();
    let Some(v1::diff_response::Answer::Arrow(bytes)) = answer.answer else { panic!("no arrow") };
    assert_eq!((arrow_total(&bytes, "total_before"), arrow_total(&bytes, "total_after")), ticks);

    let error = running.query().diff(request(v1::AnswerFormat::Pprof)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

/// `id` comes back as it was pushed, with its labels.
async fn check_get(running: &Running, oracle: &Oracle, id: ProfileId) {
    let answer = running.query().get_profile(v1::GetProfileRequest { id: id.to_string() }).await.unwrap().into_inner();
    let batch = decode_pprof(Bytes::from(answer.pprof), &Limits::default()).unwrap();
    pprof_equal(&batch, oracle.profile(id).unwrap()).unwrap();
    assert_eq!(pairs(&answer.labels), r#"{pod="api-1", service_name="api"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_head_answers_as_the_oracle_does() {
    let (running, oracle, id) = filled(false).await;
    check_all(&running, &oracle).await;
    check_get(&running, &oracle, id).await;
    let head = running.status().head(v1::HeadRequest {}).await.unwrap().into_inner();
    assert_eq!((head.profiles, head.series), (7, 6));
    assert!(head.samples >= 10 && head.memory_bytes > 0 && head.memory_bytes <= head.memory_bytes_max, "{head:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_and_head_together_answer_as_the_oracle_does() {
    let (running, oracle, id) = filled(true).await;
    check_all(&running, &oracle).await;
    check_get(&running, &oracle, id).await;
    running.store.flush().await.unwrap();
    check_all(&running, &oracle).await;
    check_get(&running, &oracle, id).await;
    let segments = running.status().segments(v1::SegmentsRequest {}).await.unwrap().into_inner().segments;
    assert_eq!(segments.iter().map(|segment| segment.profiles).sum::<u64>(), 7);
    assert!(segments.iter().all(|segment| segment.bytes > 0 && segment.damage.is_empty()), "{segments:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_s3_answers_as_the_oracle_does_and_survives_a_restart() {
    let place = S3Place::open("server").await.unwrap();
    let (url, bucket) = s3_bucket(&place.access, &place.prefix);
    let running = Running::start_with(config(), url.clone(), &bucket).await;
    let (oracle, id) = fill(&running, true).await;
    check_all(&running, &oracle).await;
    running.stop().await.unwrap();
    let running = Running::start_with(config(), url, &bucket).await;
    check_all(&running, &oracle).await;
    check_get(&running, &oracle, id).await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_question_are_kept() {
    let (running, _, _) = filled(false).await;
    let mut client = running.query();
    let top =
        client.top(v1::TopRequest { selection: selection(CPU), limit: 1, combine: 0 }).await.unwrap().into_inner();
    assert_eq!(top.functions.len(), 1);
    let neighbours =
        v1::NeighboursRequest { selection: selection(CPU), function: "main".to_owned(), limit: 2, combine: 0 };
    let neighbours = client.neighbours(neighbours).await.unwrap().into_inner();
    assert_eq!((neighbours.callers.len(), neighbours.callees.len()), (1, 2));
    let list = v1::ListProfilesRequest { selection: selection(CPU), limit: 1 };
    let list = client.list_profiles(list).await.unwrap().into_inner();
    assert_eq!(list.profiles[0].time_unix_nano, NOON + 60 * SECOND);
    let graph =
        |max_nodes| v1::MergeRequest { selection: selection(CPU), format: 0, max_nodes, resolution: 0, combine: 0 };
    let truncated = client.merge(graph(1)).await.unwrap().into_inner();
    let Some(v1::merge_response::Answer::FlameGraph(truncated)) = truncated.answer else { panic!("no flame graph") };
    assert!(truncated.names.iter().any(|name| name == "other"), "{:?}", truncated.names);
    let whole = client.merge(graph(-1)).await.unwrap().into_inner();
    let Some(v1::merge_response::Answer::FlameGraph(whole)) = whole.answer else { panic!("no flame graph") };
    assert_eq!(whole.total, truncated.total);
    let kept = v1::SeriesRequest { selection: selection(CPU), label_names: vec!["service_name".to_owned()] };
    let kept = client.series(kept).await.unwrap().into_inner();
    assert_eq!(
        kept.series.iter().map(|s| pairs(&s.labels)).collect::<Vec<_>>(),
        [r#"{service_name="api"}"#, r#"{service_name="web"}"#]
    );
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_see_each_other() {
    let running = Running::start().await;
    let mut request = tonic::Request::new(v1::PushRequest { profiles: vec![raw(&[], &cpu(0, "secret 1"))] });
    request.metadata_mut().insert("x-scope-orgid", "other".parse().unwrap());
    running.ingest().push(request).await.unwrap();
    assert_eq!(merge_folded(&running, CPU).await, "");
    let mut request = tonic::Request::new(v1::ProfileTypesRequest { selection: selection("") });
    request.metadata_mut().insert("x-scope-orgid", "other".parse().unwrap());
    assert_eq!(running.query().profile_types(request).await.unwrap().into_inner().profile_types, [CPU]);
    let mut request = tonic::Request::new(v1::HeadRequest {});
    request.metadata_mut().insert("x-scope-orgid", "../other".parse().unwrap());
    assert_eq!(running.status().head(request).await.unwrap_err().code(), Code::InvalidArgument);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn values_over_time_are_combined_as_asked() {
    let running = Running::start().await;
    let mut oracle = Oracle::new();
    let api = [("service_name", "api")];
    let texts = ["main;keep 0,100,0,10", "main;keep 0,150,0,4 | main;more 0,0,0,8", "main;keep 0,20,0,3"];
    for (second, text) in (0..).zip(texts) {
        running.push_both(&mut oracle, &api, heap(second, text)).await;
    }
    let request = |ty: &str, format: v1::AnswerFormat, combine: i32| v1::MergeRequest {
        selection: selection(&format!("memory:{ty}:bytes:space:bytes")),
        format: format.into(),
        max_nodes: 0,
        resolution: 0,
        combine,
    };
    let folded = async |ty: &str, combine: v1::Combine| {
        let request = request(ty, v1::AnswerFormat::Folded, combine.into());
        match running.query().merge(request).await.unwrap().into_inner().answer {
            Some(v1::merge_response::Answer::Folded(text)) => text,
            other => panic!("not folded: {other:?}"),
        }
    };
    assert_eq!(folded("inuse_space", v1::Combine::Unspecified).await, "main;keep 6\nmain;more 3\n");
    assert_eq!(folded("inuse_space", v1::Combine::Sum).await, "main;keep 17\nmain;more 8\n");
    assert_eq!(folded("inuse_space", v1::Combine::Last).await, "main;keep 3\n");
    assert_eq!(folded("inuse_space", v1::Combine::Max).await, "main;keep 10\nmain;more 8\n");
    assert_eq!(folded("alloc_space", v1::Combine::Auto).await, "main;keep 20\n");
    // 50 more, then a restart and 20
    assert_eq!(folded("alloc_space", v1::Combine::Added).await, "main;keep 70\n");
    let selection = selection("memory:inuse_space:bytes:space:bytes");
    let top = v1::TopRequest { selection, limit: 0, combine: v1::Combine::Max.into() };
    assert_eq!(running.query().top(top).await.unwrap().into_inner().total, 18);
    let pprof = |combine| request("inuse_space", v1::AnswerFormat::Pprof, combine);
    assert!(running.query().merge(pprof(v1::Combine::Sum.into())).await.is_ok());
    for wrong in [v1::Combine::Last.into(), 99] {
        let status = running.query().merge(pprof(wrong)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
}
