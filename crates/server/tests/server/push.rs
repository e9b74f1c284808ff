//! Pyroscope's push: real requests of its clients' shape, good and bad.

use flamestore_formats::{encode_pprof, gzip};
use flamestore_model::ProfileBatch;
use flamestore_proto::push::v1::pusher_service_client::PusherServiceClient;
use flamestore_proto::push::v1::{PushRequest, RawProfileSeries, RawSample};
use flamestore_proto::types::v1::LabelPair;
use flamestore_proto::v1;
use flamestore_server::{ProfileLimits, ServerConfig};
use flamestore_testkit::Fixture;
use prost::Message;
use tonic::{Code, Request, Status};

use crate::harness::{CPU, NOON, Running, SECOND, config, merge_folded, selection};

const PUSH: &str = "/push.v1.PusherService/Push";
const UUID: &str = "963d69ea-bbb4-4c4f-a5b6-6e653c3175d8";

fn profile(seconds: i64, text: &str) -> ProfileBatch {
    Fixture::cpu().time(NOON + seconds * SECOND).profile(text)
}

fn sample(batch: &ProfileBatch, id: &str) -> RawSample {
    RawSample { raw_profile: encode_pprof(batch).into(), id: id.to_owned() }
}

fn series(labels: &[(&str, &str)], samples: Vec<RawSample>) -> RawProfileSeries {
    let pair = |(name, value): &(&str, &str)| LabelPair { name: (*name).to_owned(), value: (*value).to_owned() };
    RawProfileSeries { labels: labels.iter().map(pair).collect(), samples, annotations: Vec::new() }
}

async fn push(running: &Running, series: Vec<RawProfileSeries>) -> Result<(), Status> {
    PusherServiceClient::new(running.channel.clone()).push(PushRequest { series }).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_stored_with_its_labels_and_its_family() {
    let running = Running::start().await;
    let labels = [("__name__", "my_cpu"), ("service_name", "api"), ("otel.scope.name", "x/y"), ("empty", "")];
    let zipped = gzip(&encode_pprof(&profile(1, "main;read 4"))).unwrap();
    let samples = vec![
        sample(&profile(0, "main;read 3"), ""),
        RawSample { raw_profile: zipped.into(), id: "no UUID".to_owned() },
    ];
    push(&running, vec![series(&labels, samples)]).await.unwrap();
    let query = r#"my_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="api"}"#;
    assert_eq!(merge_folded(&running, query).await, "main;read 7\n");
    let request = v1::SeriesRequest { selection: selection(query), label_names: Vec::new() };
    let found = running.query().series(request).await.unwrap().into_inner().series;
    let names: Vec<&str> = found[0].labels.iter().map(|label| label.name.as_str()).collect();
    assert!(names.contains(&"otel.scope.name") && !names.contains(&"empty"), "{names:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_its_own() {
    let running = Running::start().await;
    let body = PushRequest { series: vec![series(&[], vec![sample(&profile(0, "main;read 3"), "")])] }.encode_to_vec();
    let headers = [("content-type", "application/proto"), ("x-scope-orgid", "team-a")];
    assert_eq!(running.post(PUSH, &headers, body).await.status, 200);
    assert_eq!(merge_folded(&running, CPU).await, "");
    let mut request = Request::new(v1::SeriesRequest { selection: selection(""), label_names: Vec::new() });
    request.metadata_mut().insert("x-scope-orgid", "team-a".parse().unwrap());
    let series = running.query().series(request).await.unwrap().into_inner().series;
    assert_eq!(series[0].labels[0].value, "unknown_service");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_sent_again_counts_once() {
    let running = Running::start().await;
    // one by its id though it says no time, one by its time and bytes, two that share an id by mistake
    let timeless = Fixture::cpu().time(0).profile("main;read 3");
    let all = || {
        let by_id = series(&[], vec![sample(&timeless, UUID), sample(&profile(1, "main;read 5"), "")]);
        let shared = "11111111-2222-3333-4444-555555555555";
        let twice = series(&[], vec![sample(&profile(2, "main;a 1"), shared), sample(&profile(3, "main;b 1"), shared)]);
        vec![by_id, twice]
    };
    for _ in 0..3 {
        push(&running, all()).await.unwrap();
    }
    assert_eq!(merge_folded(&running, CPU).await, "main;a 1\nmain;b 1\nmain;read 8\n");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_profile_is_named_and_the_others_are_stored() {
    let profile_limits =
        ProfileLimits { decompressed_bytes_max: 64 << 10, stack_depth_max: 8, ..ProfileLimits::default() };
    let config = ServerConfig { profile: profile_limits, push_profiles_max: 10, ..config() };
    let running = Running::start_configured(config).await;
    let good = |seconds| sample(&profile(seconds, "main;read 1"), "");
    let bytes = |bytes: Vec<u8>| RawSample { raw_profile: bytes.into(), id: String::new() };
    let encoded = encode_pprof(&profile(0, "main;read 3 | main;write 1"));
    let deep = format!("{} 1", ["f"; 9].join(";"));
    let wrong = [
        (bytes(encoded[..encoded.len() / 2].to_vec()), ""),
        (bytes(gzip(&encoded).unwrap()[..20].to_vec()), "gzip"),
        (bytes(b"no profile".to_vec()), ""),
        (bytes(Vec::new()), ""),
        (bytes(gzip(&vec![0; 1 << 20]).unwrap()), "decompressed_bytes_max"),
        (sample(&profile(0, &deep), ""), "stack_depth_max"),
    ];
    for (at, (wrong, part)) in (0..).zip(wrong.clone()) {
        let samples = vec![good(2 * at), wrong, good(2 * at + 1)];
        let error = push(&running, vec![series(&[], samples)]).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
        assert!(error.message().starts_with("series 0, sample 1: "), "{error:?}");
        assert!(error.message().contains(part) && error.message().ends_with("[rejected=1, profiles=3]"), "{error:?}");
    }
    let twice =
        push(&running, vec![series(&[("a", "1"), ("a", "2")], vec![good(100)]), series(&[], vec![good(101)])]).await;
    assert!(twice.unwrap_err().message().contains("series 0, sample 0: its labels: a label name stands twice"));
    let none = push(&running, vec![series(&[("a", "1")], Vec::new())]).await.unwrap_err();
    assert_eq!((none.code(), none.message()), (Code::InvalidArgument, "no profiles received"));
    let many = push(&running, vec![series(&[], vec![good(0); 11])]).await.unwrap_err();
    assert!(many.message().contains("push_profiles_max"), "{many:?}");
    assert_eq!(merge_folded(&running, CPU).await, format!("main;read {}\n", 2 * wrong.len() + 1));

    let body = PushRequest { series: vec![series(&[], vec![bytes(b"no profile".to_vec())])] }.encode_to_vec();
    let answer = running.post(PUSH, &[("content-type", "application/proto")], body).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().starts_with(r#"{"code":"invalid_argument","message":"series 0, sample 0: "#), "{answer:?}");
    running.stop().await.unwrap();
}
