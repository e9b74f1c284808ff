//! Totals over time.

use std::collections::BTreeMap;

use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_request::ReportType;
use flamestore_testkit::Fixture;
use tonic::Code;

use super::reports::drawn;
use super::{DELTA, END, RANGE, START, at, client, fill, merge, selector};
use crate::harness::{CPU, NOON, Running, SECOND, raw};

pub(crate) fn range(query: &str, step: i64, sum_by: &[&str]) -> v1::QueryRangeRequest {
    v1::QueryRangeRequest {
        query: query.to_owned(),
        start: at(START),
        end: at(END),
        limit: 0,
        step: Some(prost_types::Duration { seconds: step, nanos: 0 }),
        sum_by: sum_by.iter().map(|name| (*name).to_owned()).collect(),
    }
}

pub(crate) fn labels_of(series: &v1::MetricsSeries) -> BTreeMap<String, String> {
    let labels = series.labelset.clone().unwrap().labels;
    labels.into_iter().map(|label| (label.name, label.value)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_over_time_are_those_of_the_oracle() {
    let running = Running::start().await;
    let oracle = fill(&running).await;
    let mut client = client(&running);
    for (step, sum_by) in [(60, vec!["service_name"]), (10, vec!["region"]), (3600, vec!["pod", "region"]), (1, vec![])]
    {
        let answer = client.query_range(range(DELTA, step, &sum_by)).await.unwrap().into_inner();
        let names: Vec<String> = match sum_by[..] {
            [] => vec!["pod".to_owned(), "region".to_owned(), "service_name".to_owned()],
            ref sum_by => sum_by.iter().map(|name| (*name).to_owned()).collect(),
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let expected = oracle.time_series(&selector(CPU), &RANGE, step * SECOND, &names);
        let mut sums = BTreeMap::new();
        for series in &answer.series {
            let unit = series.sample_type.clone().unwrap();
            assert_eq!((unit.r#type.as_str(), unit.unit.as_str()), ("cpu", "nanoseconds"));
            for sample in &series.samples {
                let time = sample.timestamp.unwrap();
                assert_eq!(time.seconds.rem_euclid(step), 0);
                sums.insert((labels_of(series), time.seconds * SECOND), sample.value);
            }
        }
        let mut wanted = BTreeMap::new();
        for (labels, points) in expected {
            let labels: BTreeMap<String, String> =
                labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            for (time, value) in points {
                wanted.insert((labels.clone(), time), value);
            }
        }
        assert_eq!(sums, wanted, "{step} {sum_by:?}");
    }
    // One profile of 15 s in a step: its duration; two of different times: the step.
    let answer = client.query_range(range(DELTA, 10, &["service_name"])).await.unwrap().into_inner();
    let api = answer.series.iter().find(|series| labels_of(series)["service_name"] == "api").unwrap();
    let first = &api.samples[0];
    assert_eq!((first.value, first.duration, first.count), (6, 15 * SECOND, 1));
    assert!((first.value_per_second - 6.0 / 15e9).abs() < 1e-20);
    let answer = client.query_range(range(DELTA, 3600, &["service_name"])).await.unwrap().into_inner();
    let api = answer.series.iter().find(|series| labels_of(series)["service_name"] == "api").unwrap();
    assert_eq!((api.samples[0].value, api.samples[0].duration, api.samples[0].count), (12, 3600 * SECOND, 2));
    let limited = v1::QueryRangeRequest { limit: 1, ..range(DELTA, 60, &["service_name"]) };
    assert_eq!(client.query_range(limited).await.unwrap().into_inner().series.len(), 1);
    let without_step = v1::QueryRangeRequest { step: None, ..range(DELTA, 0, &[]) };
    assert_eq!(client.query_range(without_step).await.unwrap().into_inner().series.len(), 2);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_is_the_first_profile_of_each_step() {
    let running = Running::start().await;
    let heap = |second: i64, bytes: i64| {
        let text = format!("main;alloc 1,100,1,{bytes}");
        raw(&[("service_name", "api"), ("pod", "p")], &Fixture::heap().time(NOON + second * SECOND).profile(&text))
    };
    for (second, bytes) in [(0, 50), (10, 70), (60, 90)] {
        running.push(heap(second, bytes)).await;
    }
    let mut client = client(&running);
    let in_use = "memory:inuse_space:bytes:space:bytes";
    let answer = client.query_range(range(in_use, 60, &["service_name"])).await.unwrap().into_inner();
    assert_eq!(answer.series.len(), 1);
    assert_eq!(labels_of(&answer.series[0]).len(), 2);
    let points: Vec<_> = answer.series[0].samples.iter().map(|sample| (sample.timestamp, sample.value)).collect();
    assert_eq!(points, [(at(NOON), 50), (at(NOON + 60 * SECOND), 90)]);
    let wrong = client.query_range(range(&format!("{in_use}:delta"), 60, &[])).await.unwrap_err();
    assert_eq!(wrong.code(), Code::NotFound);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_samples_are_answered_as_the_time_they_stand_for() {
    let running = Running::start().await;
    let types = Fixture::cpu().types(&[("samples", "count"), ("cpu", "nanoseconds")]).time(NOON);
    running.push(raw(&[("service_name", "api")], &types.profile("main;read 3,30 | main;write 1,10"))).await;
    let counts = "process_cpu:samples:count:cpu:nanoseconds:delta";
    let graph = drawn(&running, merge(counts, ReportType::FlamegraphArrow)).await;
    assert_eq!((graph.total, graph.unit.as_str()), (40, "nanoseconds"));
    let answer = client(&running).query_range(range(counts, 60, &[])).await.unwrap().into_inner();
    assert_eq!(answer.series[0].samples[0].value, 40);
    assert_eq!(answer.series[0].sample_type.clone().unwrap().r#type, "cpu");
    running.stop().await.unwrap();
}
