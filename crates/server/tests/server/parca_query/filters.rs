//! Filters of stacks and frames, and stacks seen from elsewhere.

use std::collections::BTreeMap;

use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_request::ReportType;
use flamestore_proto::parca::query::v1alpha1::{filter, stack_filter, string_condition};
use tonic::Code;

use super::reports::{drawn, pprof};
use super::{DELTA, RANGE, answer, client, fill, merge, selector};
use crate::harness::{CPU, Running};

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
