//! What clients other than ours rely on: compression, deadlines, reflection, health, plain HTTP.

use std::time::Duration;

use flamestore_proto::v1;
use flamestore_testkit::{Fault, FaultRule, S3Server, profile};
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{CPU, NOON, Running, config, connect, grpc_status, merge_folded, raw, s3_bucket, selection};

fn stacks(count: usize) -> v1::PushRequest {
    let text: Vec<String> = (0..count).map(|at| format!("main;function_with_a_long_name_{at} 1")).collect();
    let profile = raw(&[("service_name", "api")], &profile(&text.join(" | ")));
    v1::PushRequest { profiles: vec![v1::RawProfile { time_unix_nano: Some(NOON), ..profile }] }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_answers_travel_compressed() {
    let running = Running::start().await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut ingest = running.ingest().send_compressed(encoding).accept_compressed(encoding);
        assert_eq!(ingest.push(stacks(100)).await.unwrap().into_inner().accepted, 1);
        let mut query = running.query().send_compressed(encoding).accept_compressed(encoding);
        let request =
            v1::MergeRequest { selection: selection(CPU), format: 0, max_nodes: -1, resolution: 0, combine: 0 };
        let answer = query.merge(request).await.unwrap();
        let name = if encoding == CompressionEncoding::Gzip { "gzip" } else { "zstd" };
        assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), name);
        let Some(v1::merge_response::Answer::FlameGraph(graph)) = answer.into_inner().answer else { panic!() };
        assert_eq!(graph.names.len(), 102);
    }
    running.stop().await.unwrap();
}

/// `message` as the body of a gRPC request.
fn framed(message: &impl prost::Message) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
    frame.extend(message.encode_to_vec());
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_past_its_deadline_is_cancelled() {
    let running = Running::start().await;
    let stream = "/flamestore.v1.IngestService/PushStream";
    let answer = running.post_grpc(stream, "grpc-timeout: 300m\r\n", &framed(&stacks(3)), true).await;
    assert_eq!(grpc_status(&answer), Code::DeadlineExceeded as u32, "{answer}");
    assert!(answer.contains("the%20deadline%20of%20300ms%20passed"), "{answer}");
    running.stop().await.unwrap();

    let config = flamestore_server::ServerConfig { deadline_max: Some(Duration::from_millis(50)), ..config() };
    let running = Running::start_configured(config).await;
    let endless = tokio_stream::pending::<v1::PushRequest>();
    assert_eq!(running.ingest().push_stream(endless).await.unwrap_err().code(), Code::DeadlineExceeded);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_waits_for_the_bucket_ends_at_its_deadline() {
    let s3 = S3Server::start().await.unwrap();
    let (url, bucket) = s3_bucket(&s3.access(), "team/profiles");
    let running = Running::start_with(config(), url.clone(), &bucket).await;
    running.ingest().push(stacks(3)).await.unwrap();
    running.stop().await.unwrap();

    let running = Running::start_with(config(), url, &bucket).await;
    s3.faults().add(FaultRule::new(Fault::Latency(Duration::from_secs(600))).method("GET"));
    let request = v1::MergeRequest { selection: selection(CPU), format: 0, max_nodes: 0, resolution: 0, combine: 0 };
    let merge = "/flamestore.v1.QueryService/Merge";
    let answer = running.post_grpc(merge, "grpc-timeout: 100m\r\n", &framed(&request), false).await;
    assert_eq!(grpc_status(&answer), Code::DeadlineExceeded as u32, "{answer}");
    s3.faults().clear();
    assert_eq!(merge_folded(&running, CPU).await.lines().count(), 3);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_says_so_and_stays_healthy() {
    let config = flamestore_server::ServerConfig { requests_max: 1, ..config() };
    let running = Running::start_configured(config).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let streaming = tokio::spawn({
        let mut client = running.ingest();
        async move { client.push_stream(tokio_stream::wrappers::ReceiverStream::new(receiver)).await }
    });
    sender.send(stacks(1)).await.unwrap();
    // the stream holds the only place once its first profile can be seen
    while running.store.head_status().profiles == 0 {
        tokio::task::yield_now().await;
    }
    let request = v1::MergeRequest { selection: selection(CPU), format: 0, max_nodes: 0, resolution: 0, combine: 0 };
    let error = running.query().merge(request.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(error.message().contains("requests_max=1"), "{error:?}");
    let check = HealthCheckRequest { service: String::new() };
    let health = HealthClient::new(running.channel.clone()).check(check).await.unwrap().into_inner();
    assert_eq!(health.status(), ServingStatus::Serving);
    drop(sender);
    assert_eq!(streaming.await.unwrap().unwrap().into_inner().accepted, 1);
    while let Err(error) = running.query().merge(request.clone()).await {
        assert_eq!(error.code(), Code::ResourceExhausted);
    }
    running.stop().await.unwrap();
}

macro_rules! listed_services {
    ($version:ident, $running:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new($running.channel.clone());
        let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
        let answer = answers.next().await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("no list") };
        list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_the_services() {
    let running = Running::start().await;
    for names in [listed_services!(v1, running), listed_services!(v1alpha, running)] {
        for service in ["flamestore.v1.IngestService", "flamestore.v1.QueryService", "flamestore.v1.StatusService"] {
            assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
        }
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_knows_the_services() {
    let running = Running::start().await;
    let mut client = HealthClient::new(connect(running.addr).await);
    for service in ["", "flamestore.v1.IngestService", "flamestore.v1.QueryService", "flamestore.v1.StatusService"] {
        let check = HealthCheckRequest { service: service.to_owned() };
        let status = client.check(check).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    let check = HealthCheckRequest { service: "gone".to_owned() };
    assert_eq!(client.check(check).await.unwrap_err().code(), Code::NotFound);
    drop(client);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_answered_on_the_same_port() {
    let running = Running::start().await;
    running.ingest().push(stacks(1)).await.unwrap();
    let ready = running.get("/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with("ready\n"), "{ready}");
    assert!(running.get("/nothing").await.starts_with("HTTP/1.1 404"));
    let metrics = running.get("/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    for name in [
        r#"flamestore_requests_total{method="/flamestore.v1.IngestService/Push",code="OK"}"#,
        r#"flamestore_request_seconds_bucket{method="/flamestore.v1.IngestService/Push",code="OK",le="60"}"#,
        r#"flamestore_push_profiles_total{outcome="accepted"}"#,
        "flamestore_push_bytes_total",
        r#"flamestore_requests_total{method="other",code="404"}"#,
    ] {
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_the_clients_mistake() {
    let running = Running::start().await;
    let merge = "/flamestore.v1.QueryService/Merge";
    let not_protobuf = running.post_grpc(merge, "", &[0, 0, 0, 0, 2, 0xff, 0xff], false).await;
    assert_eq!(grpc_status(&not_protobuf), 3, "{not_protobuf}");
    let not_gzip = running.post_grpc(merge, "grpc-encoding: gzip\r\n", &[1, 0, 0, 0, 2, 0xff, 0xff], false).await;
    assert_eq!(grpc_status(&not_gzip), 3, "{not_gzip}");
    let unknown_encoding = running.post_grpc(merge, "grpc-encoding: br\r\n", &[1, 0, 0, 0, 2, 0xff, 0xff], false).await;
    assert_eq!(grpc_status(&unknown_encoding), 12, "{unknown_encoding}");
    let bad_timeout = running.post_grpc(merge, "grpc-timeout: soon\r\n", &[0, 0, 0, 0, 0], false).await;
    assert_eq!(grpc_status(&bad_timeout), 3, "{bad_timeout}");
    let unknown_method = running.post_grpc("/flamestore.v1.QueryService/Guess", "", &[0, 0, 0, 0, 0], false).await;
    assert_eq!(grpc_status(&unknown_method), 12, "{unknown_method}");
    let unknown_service = running.post_grpc("/a.b.C/D", "", &[0, 0, 0, 0, 0], false).await;
    assert_eq!(grpc_status(&unknown_service), 12, "{unknown_service}");
    running.stop().await.unwrap();
}
