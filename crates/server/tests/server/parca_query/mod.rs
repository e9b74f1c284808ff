//! Parca's read API: every report is the oracle's, every status the one that its clients know.

mod diffs;
mod doors;
mod filters;
mod lists;
mod merges;
mod nested;
mod ranges;
pub(crate) mod reports;

use flamestore_model::{Selector, TimeRange};
use flamestore_proto::parca::query::v1alpha1 as v1;
use flamestore_proto::parca::query::v1alpha1::profile_diff_selection;
use flamestore_proto::parca::query::v1alpha1::query_request::{Mode, Options, ReportType};
use flamestore_proto::parca::query::v1alpha1::query_service_client::QueryServiceClient;
use flamestore_testkit::{Fixture, Oracle};
use prost_types::Timestamp;
use tonic::transport::Channel;

use crate::harness::{NOON, Running, SECOND};

/// What is asked for with `:delta`.
pub(crate) const DELTA: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta";
pub(crate) const START: i64 = NOON - 60 * SECOND;
pub(crate) const END: i64 = NOON + 600 * SECOND;
pub(crate) const RANGE: TimeRange = TimeRange { start: START, end: END + 1 };

pub(crate) fn client(running: &Running) -> QueryServiceClient<Channel> {
    QueryServiceClient::new(running.channel.clone()).max_decoding_message_size(usize::MAX)
}

pub(crate) fn at(nanos: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: nanos.div_euclid(SECOND), nanos: i32::try_from(nanos.rem_euclid(SECOND)).unwrap() })
}

/// Half of it in a segment, half of it in the head.
pub(crate) async fn fill(running: &Running) -> Oracle {
    let mut oracle = Oracle::new();
    let cpu = |second: i64, text: &str| {
        Fixture::cpu().time(NOON + second * SECOND).mapping(0x1000, 0x9000, "b1").profile(text)
    };
    let api = [("service_name", "api"), ("pod", "api-1")];
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

pub(crate) fn merge_options(query: &str) -> v1::MergeProfile {
    v1::MergeProfile { query: query.to_owned(), start: at(START), end: at(END) }
}

pub(crate) fn merge(query: &str, report: ReportType) -> v1::QueryRequest {
    v1::QueryRequest {
        mode: Mode::Merge as i32,
        options: Some(Options::Merge(merge_options(query))),
        report_type: report as i32,
        ..Default::default()
    }
}

pub(crate) fn diff(base: &str, compared: &str, absolute: bool, report: ReportType) -> v1::QueryRequest {
    let side = |query: &str| v1::ProfileDiffSelection {
        mode: profile_diff_selection::Mode::Merge as i32,
        options: Some(profile_diff_selection::Options::Merge(merge_options(query))),
    };
    let options = v1::DiffProfile { a: Some(side(base)), b: Some(side(compared)), absolute: Some(absolute) };
    v1::QueryRequest {
        mode: Mode::Diff as i32,
        options: Some(Options::Diff(options)),
        report_type: report as i32,
        ..Default::default()
    }
}

pub(crate) async fn answer(running: &Running, request: v1::QueryRequest) -> v1::QueryResponse {
    client(running).query(request).await.unwrap().into_inner()
}

pub(crate) fn selector(text: &str) -> Selector {
    text.parse().unwrap()
}
