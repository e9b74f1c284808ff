//! Types, labels, values, and what a selection is made of.

use std::collections::{BTreeMap, BTreeSet};

use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::query_request::ReportType;
use flamestore_proto::parca::query::v1alpha1::query_response::Report;
use flamestore_proto::parca::query::v1alpha1::query_service_client::QueryServiceClient;
use flamestore_proto::parca::scrape::v1alpha1 as scrape;
use flamestore_proto::parca::scrape::v1alpha1::scrape_service_client::ScrapeServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use super::{DELTA, END, RANGE, START, answer, at, client, diff, fill, merge, selector};
use crate::harness::{CPU, NOON, Running, SECOND};

#[tokio::test(flavor = "multi_thread")]
async fn metadata_are_files_and_labels() {
    let running = Running::start().await;
    fill(&running).await;
    let metadata = async |request: v1::QueryRequest| match answer(&running, request).await.report {
        Some(Report::ProfileMetadata(metadata)) => (metadata.mapping_files, metadata.labels.join(" ")),
        other => panic!("{other:?}"),
    };
    let fixture = vec!["fixture".to_owned()];
    let all = metadata(merge(DELTA, ReportType::ProfileMetadata)).await;
    assert_eq!(all, (fixture.clone(), "pod region service_name".to_owned()));
    let (api, web) = (format!("{DELTA}{{pod=\"api-1\"}}"), format!("{DELTA}{{region=\"eu\"}}"));
    let of_compared = metadata(diff(&api, &web, false, ReportType::ProfileMetadata)).await;
    assert_eq!(of_compared, (fixture, "region service_name".to_owned()));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn types_labels_and_values_are_listed() {
    let running = Running::start().await;
    let mut client = client(&running);
    let has_data = async |client: &mut QueryServiceClient<Channel>| {
        client.has_profile_data(v1::HasProfileDataRequest {}).await.unwrap().into_inner().has_data
    };
    assert!(!has_data(&mut client).await);
    let oracle = fill(&running).await;
    assert!(has_data(&mut client).await);
    let types = client.profile_types(v1::ProfileTypesRequest { start: None, end: None }).await.unwrap().into_inner();
    let listed: BTreeMap<String, bool> = types
        .types
        .iter()
        .map(|ty| {
            let parts = [&ty.name, &ty.sample_type, &ty.sample_unit, &ty.period_type, &ty.period_unit];
            (parts.map(String::as_str).join(":"), ty.delta)
        })
        .collect();
    let expected: BTreeSet<String> =
        oracle.profile_types(&selector("{}"), &RANGE).iter().map(ToString::to_string).collect();
    assert_eq!(listed.keys().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(listed.iter().filter(|(_, delta)| **delta).map(|(ty, _)| ty.as_str()).collect::<Vec<_>>(), [CPU]);
    let early = v1::ProfileTypesRequest { start: at(NOON), end: at(NOON + SECOND) };
    assert_eq!(client.profile_types(early).await.unwrap().into_inner().types.len(), 1);
    let labels = v1::LabelsRequest { start: at(START), end: at(END), ..Default::default() };
    let names = client.labels(labels.clone()).await.unwrap().into_inner().label_names;
    assert_eq!(names, ["pod", "region", "service_name"]);
    let heap = "memory:alloc_space:bytes:space:bytes";
    let of_heap = v1::LabelsRequest { profile_type: Some(heap.to_owned()), ..labels.clone() };
    assert_eq!(client.labels(of_heap).await.unwrap().into_inner().label_names, ["pod", "service_name"]);
    let of_web = v1::LabelsRequest { r#match: vec![r#"{service_name="web"}"#.to_owned()], ..labels };
    assert_eq!(client.labels(of_web).await.unwrap().into_inner().label_names, ["region", "service_name"]);
    let values = v1::ValuesRequest { label_name: "service_name".to_owned(), ..Default::default() };
    assert_eq!(client.values(values.clone()).await.unwrap().into_inner().label_values, ["api", "web"]);
    let of_heap = v1::ValuesRequest { profile_type: Some(heap.to_owned()), ..values };
    assert_eq!(client.values(of_heap).await.unwrap().into_inner().label_values, ["api"]);
    let nameless = client.values(v1::ValuesRequest::default()).await.unwrap_err();
    assert_eq!(nameless.code(), Code::InvalidArgument);
    assert_eq!(client.series(v1::SeriesRequest::default()).await.unwrap_err().code(), Code::Unimplemented);
    let shared = client.share_profile(v1::ShareProfileRequest::default()).await.unwrap_err();
    assert_eq!(shared.code(), Code::Unimplemented);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_targets_without_a_scraper() {
    let running = Running::start().await;
    let mut client = ScrapeServiceClient::new(running.channel.clone());
    for state in 0..3 {
        let told = client.targets(scrape::TargetsRequest { state }).await.unwrap().into_inner();
        assert!(told.targets.is_empty(), "{told:?}");
    }
    let unknown = client.targets(scrape::TargetsRequest { state: 9 }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
    let get = async |path: &str| running.get(path).await;
    for path in ["/api/targets", "/some/where/api/targets?state=STATE_DROPPED"] {
        let answer = get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(r#"{"targets":{}}"#), "{path}: {answer}");
    }
    assert!(
        get("/targets").await.starts_with("HTTP/1.1 404"),
        "the page of the scraper is of the process that has one"
    );
    running.stop().await.unwrap();
}
