//! OpenTelemetry's profiles: over gRPC, over HTTP, with partial success and the statuses that its clients act upon.

use std::path::PathBuf;

use flamestore_formats::gzip;
use flamestore_proto::v1;
use flamestore_server::{ProfileLimits, ServerConfig};
use prost::Message;
use serde_json::{Value, json};
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Status};

use crate::harness::{Answer, CPU, NOON, Running, SECOND, config, merge_folded, selection};

const PATH: &str = "/v1development/profiles";
const EXPORT: &str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

/// `ExportProfilesServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exported {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_profiles: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// Bytes as they are, so that a client can send any layout.
#[derive(Clone, PartialEq, Message)]
struct Anything {
    #[prost(message, repeated, tag = "1")]
    resource_profiles: Vec<ResourceProfiles>,
    #[prost(message, optional, tag = "2")]
    dictionary: Option<Dictionary>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceProfiles {
    #[prost(message, repeated, tag = "2")]
    scope_profiles: Vec<ScopeProfiles>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeProfiles {
    #[prost(message, repeated, tag = "2")]
    profiles: Vec<Profile>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Profile {
    #[prost(message, optional, tag = "1")]
    sample_type: Option<ValueType>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(message, optional, tag = "5")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "6")]
    period: i64,
    #[prost(bytes = "vec", tag = "7")]
    profile_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int32, tag = "1")]
    ty: i32,
    #[prost(int32, tag = "2")]
    unit: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(int32, tag = "1")]
    stack: i32,
    #[prost(int64, repeated, tag = "4")]
    values: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Dictionary {
    #[prost(message, repeated, tag = "1")]
    mappings: Vec<Nothing>,
    #[prost(message, repeated, tag = "2")]
    locations: Vec<Location>,
    #[prost(message, repeated, tag = "3")]
    functions: Vec<Function>,
    #[prost(message, repeated, tag = "4")]
    links: Vec<Nothing>,
    #[prost(string, repeated, tag = "5")]
    strings: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<Nothing>,
    #[prost(message, repeated, tag = "7")]
    stacks: Vec<Stack>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(message, repeated, tag = "3")]
    lines: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(int32, tag = "1")]
    function: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(int32, tag = "1")]
    name: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Stack {
    #[prost(int32, repeated, tag = "1")]
    locations: Vec<i32>,
}

/// A profile of `value` samples of `main;read`, taken every 10 ms.
pub(crate) fn cpu(seconds: i64, value: i64) -> Profile {
    Profile {
        sample_type: Some(ValueType { ty: 1, unit: 2 }),
        samples: vec![Sample { stack: 1, values: vec![value] }],
        time_unix_nano: u64::try_from(NOON + seconds * SECOND).unwrap(),
        period_type: Some(ValueType { ty: 3, unit: 4 }),
        period: 10_000_000,
        profile_id: Vec::new(),
    }
}

fn off_cpu(seconds: i64, value: i64) -> Profile {
    let sample_type = Some(ValueType { ty: 5, unit: 4 });
    Profile { sample_type, period_type: None, period: 0, ..cpu(seconds, value) }
}

pub(crate) fn wrong(seconds: i64) -> Profile {
    Profile { samples: vec![Sample { stack: 99, values: vec![1] }], ..cpu(seconds, 1) }
}

fn request(profiles: Vec<Profile>) -> Anything {
    let strings = ["", "samples", "count", "cpu", "nanoseconds", "off_cpu", "main", "read"];
    let location = |function| Location { lines: vec![Line { function }] };
    let dictionary = Dictionary {
        mappings: vec![Nothing {}],
        locations: vec![Location::default(), location(1), location(2)],
        functions: vec![Function::default(), Function { name: 6 }, Function { name: 7 }],
        links: vec![Nothing {}],
        strings: strings.map(str::to_owned).to_vec(),
        attributes: vec![Nothing {}],
        stacks: vec![Stack::default(), Stack { locations: vec![2, 1] }],
    };
    let scope_profiles = vec![ScopeProfiles { profiles }];
    Anything { resource_profiles: vec![ResourceProfiles { scope_profiles }], dictionary: Some(dictionary) }
}

pub(crate) fn bytes(profiles: Vec<Profile>) -> Vec<u8> {
    request(profiles).encode_to_vec()
}

pub(crate) async fn export(running: &Running, profiles: Vec<Profile>) -> Result<Exported, Status> {
    let mut grpc = Grpc::new(running.channel.clone()).send_compressed(CompressionEncoding::Gzip);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Anything, Exported>::default();
    grpc.unary(Request::new(request(profiles)), EXPORT.parse().unwrap(), codec).await.map(tonic::Response::into_inner)
}

fn exported(answer: &Answer) -> Exported {
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-protobuf"), "{answer:?}");
    Exported::decode(answer.bytes.clone()).unwrap()
}

async fn types(running: &Running) -> Vec<String> {
    let request = v1::ProfileTypesRequest { selection: selection("") };
    let mut types = running.query().profile_types(request).await.unwrap().into_inner().profile_types;
    types.sort();
    types
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_come_over_grpc_and_http_and_count_once() {
    let running = Running::start().await;
    let whole = Exported { partial_success: None };
    for _ in 0..2 {
        assert_eq!(export(&running, vec![cpu(0, 3), off_cpu(0, 40)]).await.unwrap(), whole);
        assert_eq!(exported(&running.post(PATH, &[PROTOBUF], bytes(vec![cpu(1, 4)])).await), whole);
        let zipped = gzip(&bytes(vec![cpu(2, 5)])).unwrap();
        let headers = [PROTOBUF, ("content-encoding", "gzip")];
        assert_eq!(exported(&running.post(EXPORT, &headers, zipped).await), whole);
    }
    assert_eq!(merge_folded(&running, CPU).await, "main;read 120000000\n");
    assert_eq!(merge_folded(&running, "process_cpu:samples:count:cpu:nanoseconds").await, "main;read 12\n");
    assert_eq!(merge_folded(&running, "off_cpu:off_cpu:nanoseconds::").await, "main;read 40\n");
    assert_eq!(exported(&running.post(PATH, &[PROTOBUF], Vec::new()).await), whole);

    let metrics = running.get("/metrics").await;
    for counted in [
        format!(r#"flamestore_requests_total{{method="{EXPORT}",code="OK"}}"#),
        format!(r#"flamestore_requests_total{{method="{PATH}",code="200"}}"#),
    ] {
        assert!(metrics.contains(&counted), "{counted} is not in {metrics}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_its_own_makes_a_profile_count_once_whatever_comes_with_it() {
    let running = Running::start().await;
    let named = |profile: Profile| Profile { profile_id: vec![7; 16], ..profile };
    for others in [vec![], vec![cpu(1, 4)]] {
        let profiles = [others, vec![named(cpu(0, 3)), named(off_cpu(0, 40))]].concat();
        export(&running, profiles).await.unwrap();
    }
    assert_eq!(merge_folded(&running, "process_cpu:samples:count:cpu:nanoseconds").await, "main;read 7\n");
    assert_eq!(merge_folded(&running, "off_cpu:off_cpu:nanoseconds::").await, "main;read 40\n");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_profiles_are_counted_and_the_others_stored() {
    let running = Running::start().await;
    let check = |exported: Exported| {
        let partial = exported.partial_success.unwrap();
        assert_eq!(partial.rejected_profiles, 2);
        assert_eq!(partial.error_message, "profile 1: sample 0: stack 99 is not in the stack table");
    };
    let mixed = |seconds| vec![cpu(seconds, 3), wrong(seconds), cpu(seconds + 1, 4), wrong(seconds)];
    check(export(&running, mixed(0)).await.unwrap());
    check(exported(&running.post(PATH, &[PROTOBUF], bytes(mixed(10))).await));
    assert_eq!(merge_folded(&running, "process_cpu:samples:count:cpu:nanoseconds").await, "main;read 14\n");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_answered_in_json() {
    let running = Running::start().await;
    let profile = |stack: u32, value: &str| {
        json!({"sampleType": {"typeStrindex": 1, "unitStrindex": 2}, "timeUnixNano": NOON.to_string(), "later": true,
            "samples": [{"stackIndex": stack, "values": [value]}]})
    };
    let request = |profiles: Value| {
        json!({
            "resourceProfiles": [{
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
                "scopeProfiles": [{"scope": {"name": "profiler"}, "profiles": profiles}],
            }],
            "dictionary": {
                "stringTable": ["", "events", "count", "main"], "functionTable": [{}, {"nameStrindex": 3}],
                "locationTable": [{}, {"lines": [{"functionIndex": 1}]}], "stackTable": [{}, {"locationIndices": [1]}],
                "mappingTable": [{}], "linkTable": [{}], "attributeTable": [{}],
            },
        })
        .to_string()
    };
    let whole = running.post(PATH, &[JSON], request(json!([profile(1, "7")]))).await;
    assert_eq!((whole.status, whole.header("content-type"), whole.text().as_str()), (200, JSON.1, "{}"), "{whole:?}");
    let mixed = running.post(EXPORT, &[JSON], request(json!([profile(1, "8"), profile(9, "1")]))).await;
    assert_eq!(mixed.status, 200, "{mixed:?}");
    let told: Value = serde_json::from_slice(&mixed.bytes).unwrap();
    assert_eq!(told["partialSuccess"]["rejectedProfiles"], "1");
    assert!(told["partialSuccess"]["errorMessage"].as_str().unwrap().contains("stack 9"), "{told}");
    assert_eq!(merge_folded(&running, r#"events:events:count::{service_name="shop"}"#).await, "main 15\n");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_has_the_status_that_collectors_act_upon() {
    let profile_limits = ProfileLimits { profiles_max: 3, ..ProfileLimits::default() };
    let config = ServerConfig { profile: profile_limits, request_bytes_max: 1 << 16, ..config() };
    let running = Running::start_configured(config).await;
    let check = |answer: Answer, status: u16, code: Code, part: &str| {
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/x-protobuf"), "{answer:?}");
        let told = tonic_types::Status::decode(answer.bytes).unwrap();
        assert_eq!(told.code, code as i32, "{told:?}");
        assert!(told.message.contains(part), "{told:?}");
    };
    let old = Anything { dictionary: None, ..request(vec![cpu(0, 1)]) }.encode_to_vec();
    check(running.post(PATH, &[PROTOBUF], old).await, 400, Code::InvalidArgument, "no dictionary");
    check(running.post(PATH, &[PROTOBUF], vec![0xff]).await, 400, Code::InvalidArgument, "");
    let cut = bytes(vec![cpu(0, 1)]);
    check(running.post(PATH, &[PROTOBUF], cut[..cut.len() - 3].to_vec()).await, 400, Code::InvalidArgument, "");
    let many = bytes((0..4).map(|at| cpu(at, 1)).collect());
    check(running.post(PATH, &[PROTOBUF], many).await, 413, Code::ResourceExhausted, "profiles_max");
    check(running.post(PATH, &[PROTOBUF], vec![0; 1 << 17]).await, 413, Code::ResourceExhausted, "request_bytes_max");
    let bomb = gzip(&vec![0; 1 << 20]).unwrap();
    let zipped = [PROTOBUF, ("content-encoding", "gzip")];
    check(running.post(PATH, &zipped, bomb).await, 413, Code::ResourceExhausted, "after decompression");
    check(running.post(PATH, &zipped, vec![1]).await, 400, Code::InvalidArgument, "content encoding");
    let unknown = [PROTOBUF, ("content-encoding", "br")];
    check(running.post(PATH, &unknown, vec![1]).await, 415, Code::InvalidArgument, "content encoding");
    let tenant = [PROTOBUF, ("x-scope-orgid", "../x")];
    check(running.post(PATH, &tenant, Vec::new()).await, 400, Code::InvalidArgument, "tenant");
    let json = running.post(PATH, &[JSON], "{").await;
    assert_eq!((json.status, json.header("content-type")), (400, "application/json"));
    assert!(json.text().starts_with(r#"{"code":3,"message":""#), "{json:?}");
    assert_eq!(running.post(PATH, &[("content-type", "text/plain")], "x").await.status, 415);
    for path in [PATH, EXPORT] {
        assert!(running.get(path).await.starts_with("HTTP/1.1 405"), "{path}");
    }

    let error = export(&running, (0..4).map(|at| cpu(at, 1)).collect()).await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
    let framed = |message: &[u8]| [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    let large = running.post_grpc(EXPORT, "", &framed(&vec![0; 1 << 17]), false).await;
    // never OUT_OF_RANGE, which clients would send again
    assert_eq!(crate::harness::grpc_status(&large), Code::ResourceExhausted as u32, "{large}");
    let no_method = EXPORT.replace("Export", "Import");
    assert_eq!(crate::harness::grpc_status(&running.post_grpc(&no_method, "", &framed(&[]), false).await), 12);
    assert_eq!(types(&running).await, Vec::<String>::new());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_the_ebpf_profiler_is_stored_alike_from_protobuf_and_json() {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else { return };
    let read = |name: &str| std::fs::read(PathBuf::from(&corpus).join("otlp").join(name)).unwrap();
    let mut folded = Vec::new();
    for (header, name) in [(PROTOBUF, "otel-ebpf-profile.pb.bin"), (JSON, "otel-ebpf-profile.pb.json")] {
        let running = Running::start().await;
        for _ in 0..2 {
            assert_eq!(running.post(PATH, &[header], read(name)).await.status, 200);
        }
        let mut both = merge_folded(&running, CPU).await;
        both += &merge_folded(&running, "off_cpu:off_cpu:nanoseconds::").await;
        folded.push(both);
        running.stop().await.unwrap();
    }
    assert_eq!(folded[0], folded[1]);
    let sum: i64 = folded[0].lines().map(|line| line.rsplit(' ').next().unwrap().parse::<i64>().unwrap()).sum();
    assert!(folded[0].lines().count() > 50 && sum > 0, "{}", folded[0]);
}
