//! A server that is full for now, or a tenant who sent too much: every door says so in the way that makes its clients come
//! again.

use std::num::NonZeroU32;

use flamestore_formats::encode_pprof;
use flamestore_proto::parca::profilestore::profile_store_service_client::ProfileStoreServiceClient;
use flamestore_proto::parca::profilestore::{self as parca, WriteRawRequest};
use flamestore_proto::push::v1::pusher_service_client::PusherServiceClient;
use flamestore_proto::push::v1::{PushRequest, RawProfileSeries, RawSample};
use flamestore_server::ServerConfig;
use flamestore_testkit::Fixture;
use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{NOON, Running, config};
use crate::otlp;

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");

fn push() -> PushRequest {
    let raw_profile = encode_pprof(&Fixture::cpu().time(NOON).profile("main;read 3")).into();
    // what lasts comes first, and is not told before what passes
    let wrong = RawSample { raw_profile: vec![1].into(), id: String::new() };
    let samples = vec![wrong, RawSample { raw_profile, id: String::new() }];
    PushRequest { series: vec![RawProfileSeries { samples, ..Default::default() }] }
}

fn write_raw() -> WriteRawRequest {
    let label = parca::Label { name: "__name__".to_owned(), value: "cpu".to_owned() };
    let raw_profile = encode_pprof(&Fixture::cpu().time(NOON).profile("main;read 3")).into();
    let series = parca::RawProfileSeries {
        labels: Some(parca::LabelSet { labels: vec![label] }),
        samples: vec![parca::RawSample { raw_profile, ..Default::default() }],
    };
    WriteRawRequest { series: vec![series], ..Default::default() }
}

fn datadog() -> Vec<u8> {
    let head = "--b\r\nContent-Disposition: form-data; name=\"event\"\r\n\r\n{}\r\n\
                --b\r\nContent-Disposition: form-data; name=\"a.pprof\"\r\n\r\n";
    let pprof = encode_pprof(&Fixture::cpu().time(NOON).profile("main;read 3"));
    [head.as_bytes(), &pprof, b"\r\n--b--\r\n"].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_says_when_to_come_again_in_every_protocol() {
    comes_again(Running::start_full().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_too_many_series_is_told_when_to_come_again_in_every_protocol() {
    comes_again(Running::start_without_series().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_over_its_rate_is_told_when_to_come_again_in_every_protocol() {
    let one = NonZeroU32::new(1);
    let running = Running::start_configured(ServerConfig { bytes_per_second: one, burst_bytes: one, ..config() }).await;
    // As much as a tenant that rested may send, and an hour to come back from it.
    let lines = "main;read 3\n".repeat(300).into_bytes();
    let first = running.post("/ingest?name=app.cpu", &[("content-type", "text/plain")], lines).await;
    assert_eq!(first.status, 200, "{first:?}");
    let another = [("content-type", "text/plain"), ("x-scope-orgid", "another")];
    let theirs = running.post("/ingest?name=app.cpu", &another, b"main;read 3".to_vec()).await;
    assert_eq!(theirs.status, 200, "{theirs:?}");
    comes_again(running).await;
}

/// Every door refuses a profile, and says when to come again.
async fn comes_again(running: Running) {
    let proto = ("content-type", "application/proto");
    let protobuf = ("content-type", "application/x-protobuf");
    for (path, header, body) in [
        ("/push.v1.PusherService/Push", proto, push().encode_to_vec()),
        ("/ingest?name=app.cpu&from=1772366400", ("content-type", "text/plain"), b"main;read 3".to_vec()),
        ("/ingest?name=app&format=pprof", proto, push().series[0].samples[1].raw_profile.to_vec()),
        ("/profiling/v1/input", FORM, datadog()),
        ("/v1development/profiles", protobuf, otlp::bytes(vec![otlp::wrong(0), otlp::cpu(0, 3)])),
    ] {
        let answer = running.post(path, &[header], body).await;
        assert_eq!(answer.status, 429, "{path}: {answer:?}");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!(seconds > 0, "{path}: {answer:?}");
    }
    let mut client = PusherServiceClient::new(running.channel.clone());
    let statuses = [
        client.push(push()).await.unwrap_err(),
        otlp::export(&running, vec![otlp::wrong(0), otlp::cpu(0, 3)]).await.unwrap_err(),
        ProfileStoreServiceClient::new(running.channel.clone()).write_raw(write_raw()).await.unwrap_err(),
    ];
    for status in statuses {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let delay = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
        assert!(delay.is_some(), "{status:?}");
    }
    running.stop().await.unwrap();
}
