//! Pyroscope's read API: every answer is the oracle's, every status the one that its clients know.

use std::collections::{BTreeMap, BTreeSet};

use flamestore_model::{ErrorKind, Labels, TimeRange};
use flamestore_proto::querier::v1;
use flamestore_proto::querier::v1::querier_service_client::QuerierServiceClient;
use flamestore_proto::types::v1 as types;
use flamestore_server::ServerConfig;
use flamestore_testkit::{Fixture, Oracle, folded};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::harness::{CPU, NOON, Running, SECOND, config, http_client, raw};
use crate::plain_tree::{self, PlainNode, plain_stacks};

const SERVICE: &str = "/querier.v1.QuerierService/";
const JSON: (&str, &str) = ("content-type", "application/json");
const MILLIS: i64 = 1_000_000;
/// A range with all that is pushed here.
pub(crate) const START: i64 = NOON / MILLIS - 60_000;
pub(crate) const END: i64 = NOON / MILLIS + 600_000;
pub(crate) const RANGE: TimeRange = TimeRange { start: START * MILLIS, end: END * MILLIS };

pub(crate) fn client(running: &Running) -> QuerierServiceClient<Channel> {
    QuerierServiceClient::new(running.channel.clone()).max_decoding_message_size(usize::MAX)
}

/// A request of a client that takes label names of any characters.
fn any_name<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("accept", "*/*; allow-utf8-labelnames=true".parse().unwrap());
    request
}

pub(crate) async fn fill(running: &Running) -> Oracle {
    let mut oracle = Oracle::new();
    let cpu = |second: i64, text: &str| {
        Fixture::cpu().time(NOON + second * SECOND).mapping(0x1000, 0x9000, "b1").profile(text)
    };
    let api = [("service_name", "api"), ("pod", "api-1"), ("k8s.node", "n1")];
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

pub(crate) fn stacktraces(label_selector: &str) -> v1::SelectMergeStacktracesRequest {
    v1::SelectMergeStacktracesRequest {
        profile_type_id: CPU.to_owned(),
        label_selector: label_selector.to_owned(),
        start: START,
        end: END,
        ..Default::default()
    }
}

pub(crate) fn levels(levels: &[v1::Level]) -> Vec<Vec<i64>> {
    levels.iter().map(|level| level.values.clone()).collect()
}

pub(crate) fn expected_merge(oracle: &Oracle, label_selector: &str) -> BTreeMap<String, i64> {
    oracle.merge_folded(&format!("{CPU}{label_selector}").parse().unwrap(), &RANGE)
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_are_those_of_the_oracle_in_every_form() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let mut client = client(&running);
    for selector in ["{}", r#"{service_name="api"}"#, r#"{region="eu"}"#, r#"{pod=~"nothing"}"#] {
        let expected = expected_merge(&oracle, selector);
        let graph = client.select_merge_stacktraces(stacktraces(selector)).await.unwrap().into_inner();
        let graph = graph.flamegraph.unwrap();
        assert_eq!(plain_tree::stacks(&graph.names, &levels(&graph.levels)), expected, "{selector}");
        assert_eq!(graph.total, expected.values().sum::<i64>());
        let tree = v1::ProfileFormat::Tree as i32;
        let request = v1::SelectMergeStacktracesRequest { format: tree, ..stacktraces(selector) };
        let answer = client.select_merge_stacktraces(request).await.unwrap().into_inner();
        let mut stacks = BTreeMap::new();
        if !answer.tree.is_empty() {
            plain_stacks(&plain_tree::decode(&answer.tree), "", &mut stacks);
        }
        assert_eq!(stacks, expected, "{selector}");
        let pprof = v1::ProfileFormat::Pprof as i32;
        let request = v1::SelectMergeStacktracesRequest { format: pprof, ..stacktraces(selector) };
        let answer = client.select_merge_stacktraces(request).await.unwrap().into_inner();
        let in_stacktraces = answer.pprof.unwrap().profile.unwrap();
        let request = v1::SelectMergeProfileRequest {
            profile_type_id: CPU.to_owned(),
            label_selector: selector.to_owned(),
            start: START,
            end: END,
            ..Default::default()
        };
        let profile = client.select_merge_profile(request).await.unwrap().into_inner();
        assert_eq!(profile, in_stacktraces);
        let ids: Vec<u64> = profile.location.iter().map(|location| location.id).collect();
        assert_eq!(ids, (1..=profile.location.len() as u64).collect::<Vec<_>>());
        if !expected.is_empty() {
            let batch = flamestore_formats::decode_pprof(profile.encode_to_vec().into(), &Default::default()).unwrap();
            assert_eq!(folded(&batch, 0), expected, "{selector}");
        }
    }
    let spans = v1::SelectMergeSpanProfileRequest {
        profile_type_id: CPU.to_owned(),
        label_selector: "{}".to_owned(),
        start: START,
        end: END,
        ..Default::default()
    };
    let all = client.select_merge_span_profile(spans).await.unwrap().into_inner().flamegraph.unwrap();
    assert_eq!(plain_tree::stacks(&all.names, &levels(&all.levels)), expected_merge(&oracle, "{}"));
    let nothing = client.select_merge_stacktraces(stacktraces(r#"{pod="gone"}"#)).await.unwrap().into_inner();
    let nothing = nothing.flamegraph.unwrap();
    assert_eq!((nothing.names, levels(&nothing.levels)), (vec!["total".to_owned()], vec![vec![0; 4]]));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_site_keeps_the_stacks_that_begin_with_it() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let mut client = client(&running);
    let location = |name: &&str| types::Location { name: (*name).to_owned() };
    for call_site in [&["main"][..], &["main", "main"], &["main", "serve"], &["init"], &["gone"], &["read"]] {
        let selector = types::StackTraceSelector { call_site: call_site.iter().map(location).collect(), go_pgo: None };
        let request =
            v1::SelectMergeStacktracesRequest { stack_trace_selector: Some(selector.clone()), ..stacktraces("{}") };
        let expected: BTreeMap<String, i64> = expected_merge(&oracle, "{}")
            .into_iter()
            .filter(|(stack, _)| stack.split(';').take(call_site.len()).eq(call_site.iter().copied()))
            .collect();
        let graph = client.select_merge_stacktraces(request).await.unwrap().into_inner().flamegraph.unwrap();
        assert_eq!(plain_tree::stacks(&graph.names, &levels(&graph.levels)), expected, "{call_site:?}");
        let request = v1::SelectMergeProfileRequest {
            profile_type_id: CPU.to_owned(),
            label_selector: "{}".to_owned(),
            start: START,
            end: END,
            stack_trace_selector: Some(selector),
            ..Default::default()
        };
        let profile = client.select_merge_profile(request).await.unwrap().into_inner();
        let total: i64 = profile.sample.iter().map(|sample| sample.value[0]).sum();
        assert_eq!(total, expected.values().sum::<i64>(), "{call_site:?}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_those_of_the_oracle() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let mut client = client(&running);
    let everything = "{}".parse().unwrap();
    let types_request = v1::ProfileTypesRequest { start: START, end: END };
    let found = client.profile_types(types_request).await.unwrap().into_inner().profile_types;
    let expected: Vec<_> = oracle.profile_types(&everything, &RANGE).iter().map(ToString::to_string).collect();
    assert_eq!(found.iter().map(|ty| ty.id.clone()).collect::<Vec<_>>(), expected);
    let cpu = found.iter().find(|ty| ty.id == CPU).unwrap();
    assert_eq!((&cpu.name[..], &cpu.sample_type[..], &cpu.period_unit[..]), ("process_cpu", "cpu", "nanoseconds"));
    let health = v1::ProfileTypesRequest { start: 1000, end: 4000 };
    assert!(client.profile_types(health).await.unwrap().into_inner().profile_types.is_empty());
    let all_times = v1::ProfileTypesRequest { start: 0, end: 0 };
    assert_eq!(client.profile_types(all_times).await.unwrap().into_inner().profile_types.len(), found.len());

    let matchers = vec![r#"{service_name="api"}"#.to_owned(), r#"{pod=~"api.*"}"#.to_owned()];
    let both = r#"{service_name="api",pod=~"api.*"}"#.parse().unwrap();
    let names = types::LabelNamesRequest { matchers: matchers.clone(), start: START, end: END };
    let plain = client.label_names(names.clone()).await.unwrap().into_inner().names;
    let found = client.label_names(any_name(names)).await.unwrap().into_inner().names;
    let expected: Vec<_> = oracle.label_names(&both, &RANGE).into_iter().collect();
    assert_eq!(found, expected);
    assert_eq!(plain, expected.into_iter().filter(|name| name != "k8s.node").collect::<Vec<_>>());

    for name in ["service_name", "region", "__type__", "gone"] {
        let request = types::LabelValuesRequest { name: name.into(), matchers: vec![], start: START, end: END };
        let found = client.label_values(request).await.unwrap().into_inner().names;
        let expected: Vec<_> = oracle.label_values(name, &everything, &RANGE).into_iter().collect();
        assert_eq!(found, expected, "{name}");
    }

    let series = |label_names: &[&str]| v1::SeriesRequest {
        matchers: vec![],
        label_names: label_names.iter().map(|name| (*name).to_owned()).collect(),
        start: START,
        end: END,
    };
    let sets = |response: v1::SeriesResponse| {
        let set = |set: types::Labels| set.labels.into_iter().map(|label| (label.name, label.value));
        let sets = response.labels_set.into_iter().map(|labels| Labels::from_pairs(set(labels)).unwrap());
        sets.collect::<Vec<_>>()
    };
    let all = oracle.series(&everything, &RANGE);
    let all: BTreeSet<Labels> = all.into_iter().map(|(labels, ty)| ty.add_derived_labels(labels)).collect();
    let found = sets(client.series(any_name(series(&[]))).await.unwrap().into_inner());
    assert_eq!(found, all.into_iter().collect::<Vec<_>>());
    let found = sets(client.series(series(&["service_name", "k8s.node"])).await.unwrap().into_inner());
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, [r#"{service_name="api"}"#, r#"{service_name="web"}"#]);
    running.stop().await.unwrap();
}

/// Totals by step as plain loops have them: a step ends at `START` and every `step` milliseconds, its end included.
fn expected_series(oracle: &Oracle, step: i64, group_by: &[&str]) -> BTreeMap<Labels, BTreeMap<i64, (i64, i64)>> {
    let mut groups: BTreeMap<Labels, BTreeMap<i64, (i64, i64)>> = BTreeMap::new();
    for row in oracle.profiles(&CPU.parse().unwrap(), &TimeRange::ALL) {
        let millis = row.time_unix_nano.div_euclid(MILLIS);
        let end =
            (START..=END).step_by(usize::try_from(step).unwrap()).find(|end| millis <= *end && millis > end - step);
        let Some(end) = end.filter(|_| row.time_unix_nano < END * MILLIS) else { continue };
        let labels = group_by
            .iter()
            .fold(Labels::default(), |labels, name| labels.with(name, row.labels.get(name).unwrap_or_default()));
        let (total, profiles) = groups.entry(labels).or_default().entry(end).or_default();
        *total += row.total;
        *profiles += 1;
    }
    groups
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
async fn series_end_at_their_points_and_come_by_falling_total() {
    let running = Running::start().await;
    let mut oracle = fill(&running).await;
    for (at, nanos) in [(START * MILLIS, 0), (START * MILLIS, 1), (START * MILLIS - 30 * SECOND, 0), (NOON, 999_999)] {
        let profile = Fixture::cpu().time(at + nanos).profile("edge 9");
        running.push_both(&mut oracle, &[("service_name", "edge")], profile).await;
    }
    let mut client = client(&running);
    let request = |step: f64, group_by: &[&str]| v1::SelectSeriesRequest {
        profile_type_id: CPU.to_owned(),
        label_selector: "{}".to_owned(),
        start: START,
        end: END,
        step,
        group_by: group_by.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    for (step, group_by) in
        [(60_000, &[][..]), (15_000, &["service_name"][..]), (1, &["service_name", "pod"]), (77_777, &["pod"])]
    {
        let expected = expected_series(&oracle, step, group_by);
        for average in [false, true] {
            let aggregation = match average {
                true => types::TimeSeriesAggregationType::Average,
                false => types::TimeSeriesAggregationType::Sum,
            };
            let request = v1::SelectSeriesRequest {
                aggregation: Some(aggregation as i32),
                ..request(step as f64 / 1000.0, group_by)
            };
            let found = client.select_series(request).await.unwrap().into_inner().series;
            let mut totals: Vec<i64> = Vec::new();
            for series in &found {
                let pairs = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str()));
                let steps = &expected[&Labels::from_pairs(pairs).unwrap()];
                let value = |(total, profiles): &(i64, i64)| match average {
                    true => *total as f64 / *profiles as f64,
                    false => *total as f64,
                };
                let points: Vec<_> = series.points.iter().map(|point| (point.timestamp, point.value)).collect();
                let expected: Vec<_> = steps.iter().map(|(end, totals)| (*end, value(totals))).collect();
                assert_eq!(points, expected, "{step} {group_by:?}");
                totals.push(steps.values().map(|(total, _)| total).sum());
            }
            assert_eq!(found.len(), expected.len());
            assert!(totals.is_sorted_by(|a, b| a >= b), "{totals:?}");
        }
    }
    let limited = v1::SelectSeriesRequest { limit: Some(1), ..request(60.0, &["service_name"]) };
    let found = client.select_series(limited).await.unwrap().into_inner().series;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].labels[0].value, "edge");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_told_without_reading_it() {
    let running = Running::start().await;
    let mut client = client(&running);
    let nothing = client.get_profile_stats(types::GetProfileStatsRequest {}).await.unwrap().into_inner();
    assert_eq!(nothing, types::GetProfileStatsResponse::default());
    let oracle = fill(&running).await;
    let stats = client.get_profile_stats(types::GetProfileStatsRequest {}).await.unwrap().into_inner();
    let (oldest, newest) = (NOON / MILLIS, NOON / MILLIS + 61_000);
    assert!(stats.data_ingested);
    assert_eq!((stats.oldest_profile_time, stats.newest_profile_time), (oldest, newest));
    let query = format!(r#"{CPU}{{service_name="api"}}"#);
    let request = v1::AnalyzeQueryRequest { start: START, end: END, query: query.clone() };
    let analysis = client.analyze_query(request).await.unwrap().into_inner();
    let impact = analysis.query_impact.unwrap();
    assert_eq!(impact.total_queried_series, oracle.series(&query.parse().unwrap(), &RANGE).len() as u64);
    assert!(impact.total_bytes_in_time_range > 0);
    let profiles: u64 = analysis.query_scopes.iter().map(|scope| scope.profile_count).sum();
    assert_eq!(profiles, oracle.profiles(&"{}".parse().unwrap(), &RANGE).len() as u64);
    let wrong = v1::AnalyzeQueryRequest { start: START, end: END, query: String::new() };
    assert_eq!(client.analyze_query(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_read_together_only_where_that_is_allowed() {
    let alone = Running::start().await;
    let joined = Running::start_configured(ServerConfig { tenants_joined: true, ..config() }).await;
    let ask = |tenants: &'static str| {
        let mut request = Request::new(stacktraces("{}"));
        request.metadata_mut().insert("x-scope-orgid", tenants.parse().unwrap());
        request
    };
    for running in [&alone, &joined] {
        for (tenant, text) in [("a", "m;x 1"), ("b", "m;y 2"), ("c", "m;z 4")] {
            let batch = Fixture::cpu().time(NOON).profile(text);
            let profile = raw(&[("service_name", tenant)], &batch);
            let mut request = Request::new(flamestore_proto::v1::PushRequest { profiles: vec![profile] });
            request.metadata_mut().insert("x-scope-orgid", tenant.parse().unwrap());
            running.ingest().push(request).await.unwrap();
        }
        let one = client(running).select_merge_stacktraces(ask("a")).await.unwrap().into_inner();
        assert_eq!(one.flamegraph.unwrap().total, 1);
        assert_eq!(
            client(running).select_merge_stacktraces(ask("a|../x")).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    let refused = client(&alone).select_merge_stacktraces(ask("a|b")).await.unwrap_err();
    assert_eq!(refused.metadata().get("flamestore-error").unwrap(), ErrorKind::Invalid.as_str());
    let both = client(&joined).select_merge_stacktraces(ask("a|b|a")).await.unwrap().into_inner().flamegraph.unwrap();
    let expected = [("m;x".to_owned(), 1), ("m;y".to_owned(), 2)];
    assert_eq!(plain_tree::stacks(&both.names, &levels(&both.levels)), BTreeMap::from(expected));
    let mut values = Request::new(types::LabelValuesRequest {
        name: "service_name".into(),
        matchers: vec![],
        start: START,
        end: END,
    });
    values.metadata_mut().insert("x-scope-orgid", "c|b".parse().unwrap());
    assert_eq!(client(&joined).label_values(values).await.unwrap().into_inner().names, ["b", "c"]);
    let mut profile = Request::new(v1::SelectMergeProfileRequest {
        profile_type_id: CPU.to_owned(),
        label_selector: "{}".to_owned(),
        start: START,
        end: END,
        ..Default::default()
    });
    profile.metadata_mut().insert("x-scope-orgid", "c|b".parse().unwrap());
    let profile = client(&joined).select_merge_profile(profile).await.unwrap().into_inner();
    assert_eq!(profile.sample.iter().map(|sample| sample.value[0]).sum::<i64>(), 6);
    alone.stop().await.unwrap();
    joined.stop().await.unwrap();
}

/// A tree of some 3000 nodes, names and values of few kinds, so that totals tie and frames are called `other`.
fn made_tree(seed: u64) -> PlainNode {
    let mut state = seed;
    let mut next = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    fn grow(name: &str, depth: u64, next: &mut impl FnMut(u64) -> u64) -> PlainNode {
        let names = ["a", "b", "main.run", "other", "total", "ü"];
        let mut children = Vec::new();
        for name in names {
            if depth < 2 || next(8) < 4 && depth < 9 {
                children.push(grow(name, depth + 1, next));
            }
        }
        let is_leaf = children.is_empty();
        let own = i64::try_from(next(4)).unwrap() + i64::from(is_leaf);
        let own = if depth == 0 { 0 } else { own };
        let total = own + children.iter().map(|child| child.total[0]).sum::<i64>();
        PlainNode { name: name.to_owned(), own: [own, 0], total: [total, 0], children }
    }
    grow("total", 0, &mut next)
}

const WALL: &str = "wall:wall:nanoseconds:cpu:nanoseconds";

/// Stores two trees, asks for their flame graphs, trees and diffs of several sizes, and compares all numbers with those of plain
/// loops.
async fn check_trees(left: &PlainNode, right: &PlainNode, sizes: &[usize]) {
    let running = Running::start().await;
    for (service, tree) in [("left", left), ("right", right)] {
        let mut bytes = Vec::new();
        plain_tree::encode(tree, true, &mut bytes);
        let (from, until) = (NOON / SECOND, NOON / SECOND + 10);
        let path = format!("/ingest?name={service}.nanoseconds&from={from}&until={until}&format=tree");
        let answer = running.post(&path, &[], bytes).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let mut client = client(&running);
    let request = |service: &str, size: usize, format: v1::ProfileFormat| v1::SelectMergeStacktracesRequest {
        profile_type_id: WALL.to_owned(),
        max_nodes: Some(i64::try_from(size).unwrap()),
        format: format as i32,
        ..stacktraces(&format!("{{service_name=\"{service}\"}}"))
    };
    for size in sizes.iter().copied() {
        let mut cut = Vec::new();
        for (service, tree) in [("left", left), ("right", right)] {
            let expected = plain_tree::truncate(tree, size);
            let graph = request(service, size, v1::ProfileFormat::Flamegraph);
            let graph = client.select_merge_stacktraces(graph).await.unwrap().into_inner().flamegraph.unwrap();
            let plain = plain_tree::graph(&expected, 1);
            assert!(graph.names == plain.names, "names of {service} at {size}");
            assert!(levels(&graph.levels) == plain.levels, "levels of {service} at {size}");
            assert_eq!((graph.total, graph.max_self), (expected.total[0], plain.max_self));
            if size > 8192 {
                cut.push(expected);
                continue;
            }
            let tree = request(service, size, v1::ProfileFormat::Tree);
            let tree = client.select_merge_stacktraces(tree).await.unwrap().into_inner().tree;
            let mut bytes = Vec::new();
            plain_tree::encode(&expected, true, &mut bytes);
            assert!(tree == bytes, "tree of {service} at {size}");
            cut.push(expected);
        }
        let side = |service| Some(request(service, size, v1::ProfileFormat::Dot));
        let diff = v1::DiffRequest { left: side("left"), right: side("right") };
        let diff = client.diff(diff).await.unwrap().into_inner().flamegraph.unwrap();
        let expected = plain_tree::align(Some(&cut[0]), Some(&cut[1]));
        let plain = plain_tree::graph(&expected, 2);
        assert!(diff.names == plain.names, "names of the diff at {size}");
        assert!(levels(&diff.levels) == plain.levels, "levels of the diff at {size}");
        assert_eq!((diff.left_ticks, diff.right_ticks), (expected.total[0], expected.total[1]));
        assert_eq!((diff.total, diff.max_self), (diff.left_ticks + diff.right_ticks, plain.max_self));
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn flame_graphs_and_diffs_are_those_of_plain_loops() {
    let (left, right) = (made_tree(1), made_tree(2));
    assert!(plain_tree::counts(&left).0 > 500, "{:?}", plain_tree::counts(&left));
    check_trees(&left, &right, &[1, 2, 7, 64, 300, 8192]).await;
    check_trees(&right, &PlainNode { name: "total".into(), ..made_tree(3) }, &[50]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_trees_are_truncated_to_the_nodes_that_pyroscope_keeps() {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else { return };
    let trees = ["diff_left_tree.bin", "diff_right_tree.bin"].map(|name| {
        let path = std::path::Path::new(&corpus).join("trees").join(name);
        plain_tree::decode(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    });
    // What another decoder counts in the left one: nodes, levels, names.
    for (size, expected) in [
        (0, (220_120, 116, 6_329)),
        (1024, (1_977, 84, 524)),
        (8192, (14_313, 98, 1_866)),
        (65_536, (111_043, 114, 4_940)),
    ] {
        assert_eq!(plain_tree::counts(&plain_tree::truncate(&trees[0], size)), expected, "{size}");
    }
    check_trees(&trees[0], &trees[1], &[1024, 8192, 65_536, 1 << 20]).await;
}

/// A request as JSON of the protocol, without the fields `without`.
fn json(fields: &[(&str, &str)], without: &[&str]) -> String {
    let kept = fields.iter().filter(|(name, _)| !without.contains(name));
    let fields: Vec<String> = kept.map(|(name, value)| format!("\"{name}\": {value}")).collect();
    format!("{{{}}}", fields.join(", "))
}

/// What one endpoint is asked, and what it must say.
struct Endpoint {
    method: &'static str,
    fields: Vec<(&'static str, String)>,
    /// Fields without which there is no answer.
    required: &'static [&'static str],
    /// Fields and values of them that are refused.
    malformed: &'static [(&'static str, &'static str)],
    /// Fields and values of them that are answered.
    valid: &'static [(&'static str, &'static str)],
}

fn endpoints() -> Vec<Endpoint> {
    let range = || vec![("start", START.to_string()), ("end", END.to_string())];
    let typed = || {
        let fields = [("profileTypeID", format!("{CPU:?}")), ("labelSelector", "\"{}\"".to_owned())];
        [fields.to_vec(), range()].concat()
    };
    let with =
        |fields: Vec<(&'static str, String)>, name, value: &str| [fields, vec![(name, value.to_owned())]].concat();
    const WRONG: &[(&str, &str)] = &[
        ("profileTypeID", "\"\""),
        ("profileTypeID", "\"cpu\""),
        ("profileTypeID", "7"),
        ("labelSelector", "\"\""),
        ("labelSelector", "\"{service_name=\""),
        ("labelSelector", "\"{a=~\\\"[\\\"}\""),
        ("start", "\"soon\""),
        ("start", "9999999999999"),
        ("end", "1"),
        ("maxNodes", "-1"),
        ("maxNodes", "1048577"),
        ("maxNodes", "\"many\""),
    ];
    const RANGES: &[(&str, &str)] = &[("start", "\"soon\""), ("end", "1"), ("end", "[]"), ("matchers", "[\"{\"]")];
    const RIGHT: &[(&str, &str)] = &[
        ("maxNodes", "0"),
        ("maxNodes", "\"16\""),
        ("max_nodes", "16"),
        ("format", "\"PROFILE_FORMAT_TREE\""),
        ("labelSelector", "\"{service_name=\\\"api\\\"}\""),
        ("later", "{\"x\": 1}"),
    ];
    let side = || json_of(&typed());
    vec![
        Endpoint {
            method: "SelectMergeStacktraces",
            fields: typed(),
            required: &["profileTypeID", "labelSelector", "end"],
            malformed: WRONG,
            valid: RIGHT,
        },
        Endpoint {
            method: "SelectMergeProfile",
            fields: typed(),
            required: &["profileTypeID", "labelSelector", "end"],
            malformed: WRONG,
            valid: &RIGHT[..3],
        },
        Endpoint {
            method: "SelectMergeSpanProfile",
            fields: typed(),
            required: &["profileTypeID", "labelSelector", "end"],
            malformed: WRONG,
            valid: RIGHT,
        },
        Endpoint {
            method: "SelectSeries",
            fields: with(typed(), "step", "15"),
            required: &["profileTypeID", "labelSelector", "end", "step"],
            malformed: &[
                ("step", "0"),
                ("step", "-1"),
                ("step", "\"x\""),
                ("profileTypeID", "\"cpu\""),
                ("labelSelector", "\"{\""),
                ("end", "1"),
            ],
            valid: &[
                ("groupBy", "[\"pod\"]"),
                ("limit", "1"),
                ("step", "0.001"),
                ("aggregation", "\"TIME_SERIES_AGGREGATION_TYPE_AVERAGE\""),
            ],
        },
        Endpoint {
            method: "Series",
            fields: range(),
            required: &["end"],
            malformed: RANGES,
            valid: &[("labelNames", "[\"pod\"]"), ("matchers", "[\"{}\"]")],
        },
        Endpoint {
            method: "LabelNames",
            fields: range(),
            required: &["end"],
            malformed: RANGES,
            valid: &[("matchers", "[\"{a=\\\"b\\\"}\"]")],
        },
        Endpoint {
            method: "LabelValues",
            fields: with(range(), "name", "\"pod\""),
            required: &["name", "end"],
            malformed: &[("name", "\"\""), ("name", "[]"), ("start", "\"soon\""), ("matchers", "[\"{\"]")],
            valid: &[("matchers", "[\"{}\"]"), ("name", "\"gone\"")],
        },
        Endpoint {
            method: "ProfileTypes",
            fields: range(),
            required: &[],
            malformed: &[("start", "\"soon\""), ("end", "1"), ("end", "{}")],
            valid: &[("start", "0"), ("start", "-5"), ("end", "9999999999999999")],
        },
        Endpoint {
            method: "Diff",
            fields: vec![("left", side()), ("right", side())],
            required: &["left", "right"],
            malformed: &[
                ("left", "{}"),
                ("right", "{}"),
                ("left", "{\"profileTypeID\": \"cpu\", \"labelSelector\": \"{}\", \"end\": 1}"),
                ("left", "7"),
            ],
            valid: &[],
        },
    ]
}

fn json_of(fields: &[(&'static str, String)]) -> String {
    let borrowed: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    json(&borrowed, &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_has_the_statuses_that_clients_know() {
    let running = Running::start().await;
    fill(&running).await;
    let check = async |path: &str, body: String, status: u16| {
        let answer = running.post(path, &[JSON], body.clone()).await;
        assert_eq!(answer.status, status, "{path} {body} {answer:?}");
        let code = if status == 200 { "{" } else { "{\"code\":\"invalid_argument\",\"message\":\"" };
        assert!(answer.text().starts_with(code), "{path} {body} {answer:?}");
    };
    for endpoint in endpoints() {
        let path = format!("{SERVICE}{}", endpoint.method);
        let fields: Vec<(&str, &str)> = endpoint.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        check(&path, json(&fields, &[]), 200).await;
        for (name, value) in endpoint.valid {
            let others: Vec<_> = fields.iter().copied().filter(|(field, _)| field != name).collect();
            check(&path, json(&[&others[..], &[(*name, *value)]].concat(), &[]), 200).await;
        }
        for name in endpoint.required {
            // without an end there is no range where there is no start
            let without = if *name == "end" { &["start", "end"][..] } else { &[*name][..] };
            check(&path, json(&fields, without), 400).await;
        }
        for (name, value) in endpoint.malformed {
            let others: Vec<_> = fields.iter().copied().filter(|(field, _)| field != name).collect();
            check(&path, json(&[&others[..], &[(*name, *value)]].concat(), &[]), 400).await;
        }
        for body in ["", "{", "[]", "null null", "\u{1}"] {
            check(&path, body.to_owned(), 400).await;
        }
        for method in [reqwest::Method::GET, reqwest::Method::PUT, reqwest::Method::PATCH, reqwest::Method::DELETE] {
            let answer = running.ask(http_client(false), method, &path, &[JSON], json(&fields, &[])).await;
            assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{path} {answer:?}");
        }
        for content_type in ["", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream"] {
            let answer = running.post(&path, &[("content-type", content_type)], json(&fields, &[])).await;
            assert_eq!(answer.status, 415, "{path} {answer:?}");
        }
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_and_not_answered_says_so() {
    let running = Running::start().await;
    let mut client = client(&running);
    let unknown = v1::SelectMergeStacktracesRequest { format: 77, ..stacktraces("{}") };
    let asynchronous = v1::SelectMergeStacktracesRequest {
        r#async: Some(v1::AsyncQueryRequest { request_id: String::new(), r#type: 1 }),
        ..stacktraces("{}")
    };
    for request in [unknown, asynchronous] {
        assert_eq!(client.select_merge_stacktraces(request).await.unwrap_err().code(), Code::Unimplemented);
    }
    let go_pgo = types::GoPgo { keep_locations: 1, aggregate_callees: true };
    let selector = types::StackTraceSelector { call_site: vec![], go_pgo: Some(go_pgo) };
    let for_go = v1::SelectMergeStacktracesRequest { stack_trace_selector: Some(selector), ..stacktraces("{}") };
    assert_eq!(client.select_merge_stacktraces(for_go.clone()).await.unwrap_err().code(), Code::Unimplemented);
    let for_go = v1::SelectMergeStacktracesRequest { format: v1::ProfileFormat::Pprof as i32, ..for_go };
    client.select_merge_stacktraces(for_go).await.unwrap();
    let request = format!(
        r#"{{"profile_typeID": {CPU:?}, "label_selector": "{{}}", "start": {START}, "end": "{END}", "format": 77}}"#
    );
    let answer = running.post(&format!("{SERVICE}SelectMergeStacktraces"), &[JSON], request.clone()).await;
    assert_eq!(answer.status, 501, "{answer:?}");
    // the names of formats that are not known are ignored, as all that is not known
    let named = request.replace("\"format\": 77", "\"format\": \"PROFILE_FORMAT_FUNCTIONS\"");
    let answer = running.post(&format!("{SERVICE}SelectMergeStacktraces"), &[JSON], named).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text(), r#"{"flamegraph":{"names":["total"],"levels":[{"values":["0","0","0","0"]}]}}"#);
    running.stop().await.unwrap();
}
