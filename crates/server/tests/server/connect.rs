//! Connect and gRPC-Web: every protocol on one port, with the answers their clients know.

use base64::Engine;
use flamestore_formats::gzip;
use flamestore_proto::v1;
use flamestore_server::{Role, ServerConfig};
use flamestore_testkit::Fixture;
use prost::Message;

use crate::harness::{Answer, CPU, NOON, Running, SECOND, config, http_client, merge_folded, raw, selection};

const PUSH: &str = "/flamestore.v1.IngestService/Push";
const MERGE: &str = "/flamestore.v1.QueryService/Merge";
const JSON: (&str, &str) = ("content-type", "application/json");
const PROTO: (&str, &str) = ("content-type", "application/proto");

fn push_request(seconds: i64) -> v1::PushRequest {
    let profile = Fixture::cpu().time(NOON + seconds * SECOND).profile("main;read 3");
    v1::PushRequest { profiles: vec![raw(&[("service_name", "api")], &profile)] }
}

/// A push as JSON: the bytes in base64.
fn push_json(seconds: i64) -> String {
    let request = push_request(seconds);
    let bytes = base64::engine::general_purpose::STANDARD.encode(&request.profiles[0].profile);
    format!(
        r#"{{"profiles": [{{"labels": [{{"name": "service_name", "value": "api"}}], "profile": "{bytes}", "later": {{}}}}]}}"#
    )
}

/// `message` in a frame of gRPC.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

fn merge_request() -> v1::MergeRequest {
    v1::MergeRequest { selection: selection(CPU), format: v1::AnswerFormat::Folded as i32, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_pushes_to_the_same_path() {
    let running = Running::start().await;
    let mut seconds = 0..;
    let mut next = || push_request(seconds.next().unwrap()).encode_to_vec();
    let accepted = |answer: &Answer| {
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/proto"), "{answer:?}");
        assert_eq!(v1::PushResponse::decode(answer.bytes.clone()).unwrap().accepted, 1);
    };
    accepted(&running.post(PUSH, &[PROTO], next()).await);
    accepted(&running.post(PUSH, &[PROTO, ("connect-protocol-version", "1")], next()).await);
    accepted(&running.post(PUSH, &[PROTO, ("content-encoding", "gzip")], gzip(&next()).unwrap()).await);
    accepted(&running.ask(http_client(true), reqwest::Method::POST, PUSH, &[PROTO], next()).await);
    let json = running.post(PUSH, &[JSON], push_json(10)).await;
    assert_eq!((json.status, json.header("content-type")), (200, "application/json"), "{json:?}");
    assert!(json.text().starts_with(r#"{"accepted":"1","profileIds":[""#), "{json:?}");
    let zipped = gzip(push_json(11).as_bytes()).unwrap();
    let json = running.post(PUSH, &[JSON, ("content-encoding", "gzip")], zipped).await;
    assert_eq!(json.status, 200, "{json:?}");
    for http2 in [false, true] {
        let headers = [("content-type", "application/grpc-web+proto")];
        let web = running.ask(http_client(http2), reqwest::Method::POST, PUSH, &headers, framed(&next())).await;
        assert_eq!((web.status, web.header("content-type")), (200, "application/grpc-web+proto"), "{web:?}");
        assert!(web.text().contains("grpc-status:0"), "{web:?}");
    }
    let text = base64::engine::general_purpose::STANDARD.encode(framed(&next()));
    let text_type = "application/grpc-web-text";
    let web = running.post(PUSH, &[("content-type", text_type), ("accept", text_type)], text).await;
    assert_eq!((web.status, web.header("content-type")), (200, "application/grpc-web-text+proto"), "{web:?}");
    running.ingest().push(push_request(20)).await.unwrap();
    assert_eq!(merge_folded(&running, CPU).await, "main;read 30\n");

    let metrics = running.get("/metrics").await;
    let counted = r#"flamestore_requests_total{method="/flamestore.v1.IngestService/Push",code="OK"}"#;
    assert!(metrics.contains(counted), "{metrics}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_the_encoding_that_is_asked_for() {
    let running = Running::start().await;
    let text: Vec<String> = (0..200).map(|at| format!("main;function_{at} 1")).collect();
    running.push(raw(&[], &Fixture::cpu().time(NOON).profile(&text.join(" | ")))).await;
    let proto = running.post(MERGE, &[PROTO], merge_request().encode_to_vec()).await;
    let plain = v1::MergeResponse::decode(proto.bytes.clone()).unwrap();
    let zipped = running.post(MERGE, &[PROTO, ("accept-encoding", "br, gzip")], merge_request().encode_to_vec()).await;
    assert_eq!((proto.header("content-encoding"), zipped.header("content-encoding")), ("", "gzip"));
    let unzipped = flamestore_formats::decompress(zipped.bytes, &flamestore_formats::Limits::default()).unwrap();
    assert_eq!(v1::MergeResponse::decode(unzipped).unwrap().answer, plain.answer);
    let request = format!(r#"{{"selection": {{"query": {CPU:?}}}, "format": "ANSWER_FORMAT_FOLDED"}}"#);
    let json = running.post(MERGE, &[JSON], request).await;
    assert!(json.text().contains(r#""folded":"main;function_0 1\nmain;function_1 1\n"#), "{json:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_the_status_of_its_code() {
    let running = Running::start_configured(ServerConfig { request_bytes_max: 1 << 16, ..config() }).await;
    let check = |answer: Answer, status: u16, code: &str, part: &str| {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json", "{answer:?}");
        let text = answer.text();
        assert!(text.starts_with(&format!(r#"{{"code":"{code}","message":""#)) && text.contains(part), "{text}");
    };
    for method in [reqwest::Method::GET, reqwest::Method::PUT, reqwest::Method::PATCH, reqwest::Method::DELETE] {
        let answer = running.ask(http_client(false), method, MERGE, &[JSON], "{}").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{answer:?}");
    }
    for content_type in ["text/plain", "application/connect+json", "application/grpc+json", "application/json2"] {
        let answer = running.post(MERGE, &[("content-type", content_type)], "{}").await;
        assert_eq!(answer.status, 415, "{answer:?}");
        assert!(answer.header("accept-post").contains("application/proto"), "{answer:?}");
    }
    check(running.post(MERGE, &[JSON], "").await, 400, "invalid_argument", "");
    check(running.post(MERGE, &[JSON], "{").await, 400, "invalid_argument", "");
    check(running.post(MERGE, &[JSON], r#"{"maxNodes": "many"}"#).await, 400, "invalid_argument", "");
    check(running.post(MERGE, &[JSON], "{}").await, 400, "invalid_argument", "the request has no selection");
    check(running.post(MERGE, &[PROTO], vec![0xff, 0xff]).await, 400, "invalid_argument", "");
    check(running.post(MERGE, &[PROTO, ("content-encoding", "gzip")], vec![1]).await, 400, "invalid_argument", "");
    check(running.post(MERGE, &[PROTO, ("content-encoding", "br")], vec![]).await, 501, "unimplemented", "gzip");
    check(running.post(MERGE, &[PROTO, ("connect-protocol-version", "2")], vec![]).await, 400, "invalid_argument", "");
    check(
        running.post(MERGE, &[PROTO, ("connect-timeout-ms", "soon")], vec![]).await,
        400,
        "invalid_argument",
        "digits",
    );
    check(running.post(MERGE, &[PROTO, ("x-scope-orgid", "../x")], vec![]).await, 400, "invalid_argument", "tenant");
    check(running.post(PUSH, &[PROTO], vec![0; 1 << 17]).await, 429, "resource_exhausted", "request_bytes_max");
    let bomb = gzip(&vec![0; 1 << 20]).unwrap();
    check(running.post(PUSH, &[PROTO, ("content-encoding", "gzip")], bomb).await, 429, "resource_exhausted", "");
    let get = r#"{"id": "963d69eabbb44c4fa5b66e653c3175d8"}"#;
    let missing = running.post("/flamestore.v1.QueryService/GetProfile", &[JSON], get).await;
    assert_eq!(missing.header("flamestore-error"), "not_found", "{missing:?}");
    check(missing, 404, "not_found", "");
    assert_eq!(running.post("/flamestore.v1.QueryService/Guess", &[JSON], "{}").await.status, 404);

    let metrics = running.get("/metrics").await;
    for code in ["INVALID_ARGUMENT", "UNIMPLEMENTED"] {
        let counted = format!(r#"flamestore_requests_total{{method="{MERGE}",code="{code}"}}"#);
        assert!(metrics.contains(&counted), "{counted} is not in {metrics}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_of_another_role_is_unimplemented_here() {
    let running = Running::start_configured(ServerConfig { roles: vec![Role::Query], ..config() }).await;
    assert_eq!(running.post(PUSH, &[PROTO], Vec::new()).await.status, 501);
    assert_eq!(running.post("/ingest?name=a", &[], "f 1").await.status, 404);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_sent_in_time_is_cancelled() {
    let running = Running::start().await;
    let endless = reqwest::Body::wrap_stream(tokio_stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let answer = running.post(MERGE, &[PROTO, ("connect-timeout-ms", "50")], endless).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert!(answer.text().starts_with(r#"{"code":"deadline_exceeded""#), "{answer:?}");
    running.stop().await.unwrap();
}
