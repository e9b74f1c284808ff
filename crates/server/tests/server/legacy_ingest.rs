//! `/ingest`: every form it takes, with the types and statuses that Pyroscope's clients know.

use flamestore_formats::{LabelText, Limits, ProfileBuilder, decode_pprof, encode_pprof, gzip, pprof_equal};
use flamestore_model::ProfileBatch;
use flamestore_proto::v1;
use flamestore_server::{ProfileLimits, ServerConfig};
use flamestore_testkit::Fixture;

use crate::harness::{Answer, NOON, Running, SECOND, config, merge_folded, selection};
use crate::recording::{CLASS, Chunk, LONG, STACK, STATE, THREAD, constant, numbers, plain, ticks};
use crate::wire::{bytes, message, number};

/// The time of the requests, as seconds.
const FROM: &str = "1772366400";
const CPU_OF_APP: &str = r#"process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="app"}"#;

fn pprof(seconds: i64, text: &str) -> Vec<u8> {
    gzip(&encode_pprof(&Fixture::cpu().time(NOON + seconds * SECOND).profile(text))).unwrap()
}

/// A form of these fields.
fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, bytes) in fields {
        form.extend(
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\r\n").bytes(),
        );
        form.extend_from_slice(bytes);
        form.extend(b"\r\n");
    }
    form.extend(b"--b--\r\n");
    form
}

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");

async fn taken(running: &Running, query: &str, headers: &[(&str, &str)], body: Vec<u8>) {
    let answer = running.post(&format!("/ingest?{query}"), headers, body).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{query}");
}

/// The profile types of everything, sorted.
async fn types(running: &Running) -> Vec<String> {
    let request = v1::ProfileTypesRequest { selection: selection("") };
    let mut types = running.query().profile_types(request).await.unwrap().into_inner().profile_types;
    types.sort();
    types
}

async fn only_profile(running: &Running) -> ProfileBatch {
    let request = v1::ListProfilesRequest { selection: selection(""), limit: 0 };
    let profiles = running.query().list_profiles(request).await.unwrap().into_inner().profiles;
    let request = v1::GetProfileRequest { id: profiles[0].id.clone() };
    let pprof = running.query().get_profile(request).await.unwrap().into_inner().pprof;
    decode_pprof(pprof.into(), &Limits::default()).unwrap()
}

/// What a profile loses elsewhere: numeric labels, negative and zero values, addresses, columns.
fn rich() -> ProfileBatch {
    let mut builder = ProfileBuilder::new();
    builder.sample_type("samples", "count").sample_type("cpu", "nanoseconds").time(NOON, SECOND);
    builder.period("cpu", "nanoseconds", 10_000_000);
    let name = builder.string("work");
    let function = builder.function(flamestore_model::Function { name, ..Default::default() });
    let line = flamestore_model::Line { function, line: 7, column: 3 };
    let location = builder.location(flamestore_model::NONE, 0xabc, false, &[line]);
    let labels = [builder.label("bytes", LabelText::Num(512, "bytes")), builder.label("tag", LabelText::Str("x"))];
    builder.add_row(&[location], &[1, -5], &labels).add_row(&[location], &[0, 0], &[]);
    builder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pprof_is_stored_without_loss_under_both_paths() {
    let running = Running::start().await;
    let path = "/pyroscope/ingest?format=pprof&name=app%7Bregion%3Deu%7D&spyName=rbspy&sampleRate=100";
    for _ in 0..2 {
        assert_eq!(running.post(path, &[], encode_pprof(&rich())).await.status, 200);
    }
    pprof_equal(&rich(), &only_profile(&running).await).unwrap();
    let request = v1::SeriesRequest { selection: selection(CPU_OF_APP), label_names: Vec::new() };
    let series = running.query().series(request).await.unwrap().into_inner().series;
    let labels: Vec<String> = series[0].labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
    assert_eq!(labels, ["pyroscope_spy=rbspy", "region=eu", "service_name=app"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_pprof_takes_its_family_from_what_the_client_calls_its_types() {
    let running = Running::start().await;
    let locks = Fixture::cpu().types(&[("contentions", "count"), ("delay", "nanoseconds")]).time(NOON).profile("f 1,2");
    let config = r#"{"contentions": {"display-name": "block_count", "units": "lock_samples", "cumulative": false},
        "delay": {"display-name": "block_duration", "units": "lock_nanoseconds"}}"#;
    let body = form(&[("profile", &encode_pprof(&locks)), ("sample_type_config", config.as_bytes())]);
    taken(&running, &format!("name=app&from={FROM}000000000&until={FROM}000000001&spyName=gospy"), &[FORM], body).await;
    taken(&running, "name=app&format=pprof", &[FORM], form(&[("profile", &pprof(0, "main;read 3"))])).await;
    let types = types(&running).await;
    assert!(types.iter().any(|ty| ty.starts_with("block:contentions:count:")), "{types:?}");
    assert!(types.iter().any(|ty| ty.starts_with("block:delay:nanoseconds:")), "{types:?}");
    assert!(types.iter().any(|ty| ty.starts_with("process_cpu:cpu:nanoseconds:")), "{types:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn folded_text_becomes_the_type_its_name_ends_in() {
    let running = Running::start().await;
    let stacks = || b"main;read 3\nmain;write 1\n".to_vec();
    for _ in 0..2 {
        taken(&running, &format!("name=app.cpu&from={FROM}&until=1772366410&sampleRate=50"), &[], stacks()).await;
        taken(&running, &format!("name=app.alloc_objects&from={FROM}"), &[], stacks()).await;
        taken(&running, &format!("name=app.alloc_space&from={FROM}&units=bytes"), &[], stacks()).await;
    }
    // says no time: twice the same is two profiles
    for _ in 0..2 {
        taken(&running, "name=other&format=groups", &[], stacks()).await;
    }
    let cpu = merge_folded(&running, CPU_OF_APP).await;
    assert_eq!(cpu, "main;read 60000000\nmain;write 20000000\n");
    let space = merge_folded(&running, r#"memory:alloc_space:bytes::{service_name="app"}"#).await;
    assert_eq!(space, "main;read 3\nmain;write 1\n");
    let other = merge_folded(&running, r#"process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="other"}"#).await;
    assert_eq!(other, "main;read 60000000\nmain;write 20000000\n");
    let expected = [
        "memory:alloc_objects:count::",
        "memory:alloc_space:bytes::",
        "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
        "process_cpu:samples:count:cpu:nanoseconds",
    ];
    assert_eq!(types(&running).await, expected);
    running.stop().await.unwrap();
}

/// A node of a tree or a trie: name, value, children.
fn node(name: &str, value: u8, children: &[Vec<u8>]) -> Vec<u8> {
    let byte = |n: usize| u8::try_from(n).unwrap();
    [&[byte(name.len())], name.as_bytes(), &[value, byte(children.len())], &children.concat()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_stacks_gives_the_same_samples() {
    let running = Running::start().await;
    let trie = node("", 0, &[node("main;", 0, &[node("read", 3, &[]), node("write", 1, &[])])]);
    let tree = node("", 0, &[node("main", 0, &[node("read", 3, &[]), node("write", 1, &[])])]);
    let lines = b"main;read\nmain;read\nmain;write\nmain;read\n".to_vec();
    let speedscope = br#"{"shared": {"frames": [{"name": "main"}, {"name": "read"}, {"name": "write"}]}, "profiles": [
        {"type": "sampled", "name": "p", "unit": "none", "startValue": 0, "endValue": 4, "samples": [[0, 1], [0, 2]], "weights": [3, 1]}]}"#;
    taken(&running, &format!("name=a&format=trie&from={FROM}"), &[], trie.clone()).await;
    taken(&running, &format!("name=b&from={FROM}"), &[("content-type", "binary/octet-stream+trie")], trie).await;
    taken(&running, &format!("name=c&format=tree&from={FROM}"), &[], tree.clone()).await;
    taken(&running, &format!("name=d&from={FROM}"), &[("content-type", "binary/octet-stream+tree")], tree).await;
    taken(&running, &format!("name=e&format=lines&from={FROM}"), &[], lines).await;
    taken(&running, &format!("name=f&format=speedscope&from={FROM}"), &[], speedscope.to_vec()).await;
    for service in ["a", "b", "c", "d", "e", "f"] {
        let query = format!("process_cpu:samples:count:cpu:nanoseconds{{service_name={service:?}}}");
        assert_eq!(merge_folded(&running, &query).await, "main;read 3\nmain;write 1\n", "{service}");
    }
    let named = merge_folded(&running, r#"process_cpu:samples:count:cpu:nanoseconds{profile_name="p"}"#).await;
    assert_eq!(named, "main;read 3\nmain;write 1\n");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_speedscope_file_says_what_its_values_are() {
    let running = Running::start().await;
    let file = br#"{"shared": {"frames": [{"name": "main"}]}, "profiles": [
        {"type": "sampled", "name": "p", "unit": "milliseconds", "startValue": 0, "endValue": 4, "samples": [[0]], "weights": [3]},
        {"type": "sampled", "name": "q", "unit": "bytes", "startValue": 0, "endValue": 4, "samples": [[0]], "weights": [512]}]}"#;
    for _ in 0..2 {
        taken(&running, &format!("name=app&format=speedscope&from={FROM}"), &[], file.to_vec()).await;
    }
    assert_eq!(merge_folded(&running, "wall:wall:nanoseconds:cpu:nanoseconds").await, "main 3000000\n");
    assert_eq!(merge_folded(&running, "memory:samples:bytes::").await, "main 512\n");
    running.stop().await.unwrap();
}

/// A recording with a sample of CPU time, in context 9, and a lock that was waited for.
fn recording() -> Vec<u8> {
    let mut chunk = Chunk { start_nanos: NOON, ..Chunk::new() };
    let (stack, thread) = (constant("stackTrace", STACK), constant("sampledThread", THREAD));
    let entered = [ticks("duration"), constant("eventThread", THREAD), stack, constant("monitorClass", CLASS)];
    chunk
        .class(101, "jdk.ExecutionSample", &[thread, stack, constant("state", STATE), plain("contextId", LONG)])
        .event(101, 502, &[numbers(&[1, 1, 1, 9])])
        .class(102, "jdk.JavaMonitorEnter", &entered)
        .event(102, 504, &[numbers(&[2001, 1, 1, 1])]);
    chunk.bytes()
}

/// Context 9 has the label `endpoint` of value `/buy`.
fn contexts() -> Vec<u8> {
    let entry = |key: u64, value: Vec<u8>| message(2, &[number(1, key), bytes(2, value)]);
    let label = message(1, &[number(1, 1), number(2, 2)]);
    let context = message(1, &[number(1, 9), message(2, &[label])]);
    [context, entry(1, b"endpoint".to_vec()), entry(2, b"/buy".to_vec())].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_a_profile_of_each_kind_of_event() {
    let running = Running::start().await;
    let said = format!("name=shop.app%7Bregion%3Deu%7D&format=jfr&from={FROM}&spyName=javaspy&sampleRate=50");
    let recorded = gzip(&recording()).unwrap();
    let whole = form(&[("jfr", &recorded), ("labels", &gzip(&contexts()).unwrap())]);
    for _ in 0..2 {
        taken(&running, &said, &[FORM], whole.clone()).await;
    }
    taken(&running, "name=raw&format=jfr", &[], recording()).await;
    let stack = "com.shop.App.main;com.shop.App.leaf";
    for (query, value) in [
        (r#"process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="shop.app", region="eu"}"#, 20_000_000),
        (r#"process_cpu:samples:count:cpu:nanoseconds{service_name="shop.app"}"#, 1),
        (r#"mutex:delay:nanoseconds:mutex:count{service_name="shop.app"}"#, 1000),
        (r#"mutex:contentions:count:mutex:count{service_name="shop.app"}"#, 1),
        (r#"process_cpu:samples:count:cpu:nanoseconds{service_name="raw"}"#, 1),
    ] {
        assert_eq!(merge_folded(&running, query).await, format!("{stack} {value}\n"), "{query}");
    }
    let request = v1::ListProfilesRequest {
        selection: selection(r#"process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name="shop.app"}"#),
        limit: 0,
    };
    let listed = running.query().list_profiles(request).await.unwrap().into_inner().profiles;
    let pprof = running.query().get_profile(v1::GetProfileRequest { id: listed[0].id.clone() }).await.unwrap();
    let batch = decode_pprof(pprof.into_inner().pprof.into(), &Limits::default()).unwrap();
    let told = crate::wire::rows(&batch);
    assert!(told.contains(r#"endpoint="/buy""#) && told.contains(r#"thread_name="worker""#), "{told}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_without_a_time_is_of_the_time_of_its_request() {
    let running = Running::start().await;
    for time in [0, 86_400 * SECOND] {
        let batch = Fixture::cpu().time(time).profile("main;read 3");
        taken(&running, &format!("name=app&format=pprof&from={FROM}"), &[], encode_pprof(&batch)).await;
    }
    let request = v1::ListProfilesRequest { selection: selection(CPU_OF_APP), limit: 0 };
    let profiles = running.query().list_profiles(request).await.unwrap().into_inner().profiles;
    assert_eq!(profiles.iter().map(|profile| profile.time_unix_nano).collect::<Vec<_>>(), [NOON, NOON]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_pprof_is_taken_and_nothing_is_stored() {
    let running = Running::start().await;
    taken(&running, "name=app&format=pprof", &[], Vec::new()).await;
    taken(&running, "name=app&format=pprof", &[], gzip(&[]).unwrap()).await;
    taken(&running, "name=app", &[FORM], form(&[("profile", b"")])).await;
    assert_eq!(types(&running).await, Vec::<String>::new());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_has_the_status_that_clients_know() {
    let profile_limits = ProfileLimits { decompressed_bytes_max: 64 << 10, ..ProfileLimits::default() };
    let config = ServerConfig { profile: profile_limits, request_bytes_max: 1 << 17, ..config() };
    let running = Running::start_configured(config).await;
    let check = async |query: &str, headers: &[(&str, &str)], body: Vec<u8>, status: u16, part: &str| {
        let answer: Answer = running.post(&format!("/ingest?{query}"), headers, body).await;
        let text = answer.text();
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/json"), "{query}: {text}");
        assert!(text.starts_with(r#"{"code":""#) && text.contains(part), "{query}: {text}");
    };
    let good = || pprof(0, "main;read 3");
    check("format=pprof", &[], good(), 400, "name: there is none").await;
    check("name=%7Ba%3Db%7D&format=pprof", &[], good(), 400, "name: there is none").await;
    check("name=app&from=soon&format=pprof", &[], good(), 400, "from: not a time").await;
    check("name=app&format=pprof", &[("x-scope-orgid", "../x")], good(), 400, "tenant").await;
    check("name=app&format=pprof", &[], vec![0; 1 << 18], 413, "request_bytes_max").await;
    check("name=app&format=pprof", &[("content-encoding", "br")], good(), 415, "content encoding").await;
    check("name=app&format=pprof", &[("content-encoding", "gzip")], b"plain".to_vec(), 422, "content encoding").await;
    check("name=app&format=pprof", &[], b"no profile".to_vec(), 422, "invalid_argument").await;
    check("name=app&format=pprof", &[], good()[..30].to_vec(), 422, "gzip").await;
    check("name=app&format=pprof", &[], gzip(&vec![0; 1 << 20]).unwrap(), 422, "decompressed_bytes_max").await;
    check("name=my.app", &[], b"main;read 3".to_vec(), 422, "unknown profile type: app").await;
    check("name=app", &[], b"main;read x".to_vec(), 422, "line 1").await;
    check("name=app", &[FORM], b"no form".to_vec(), 422, "multipart").await;
    check("name=app", &[FORM], form(&[("other", b"x")]), 422, "no field profile").await;
    check("name=app", &[FORM], form(&[("profile", &good()), ("sample_type_config", b"[")]), 422, "sample_type_config")
        .await;
    check("name=app&format=speedscope", &[], b"[]".to_vec(), 422, "not a speedscope file").await;
    check("name=app&format=trie", &[], b"\x05ab".to_vec(), 422, "").await;
    check("name=app&format=jfr", &[], b"no recording".to_vec(), 422, "chunk 0").await;
    check("name=app&format=jfr", &[FORM], form(&[("labels", b"")]), 422, "no field jfr").await;
    let previous = form(&[("profile", &good()), ("prev_profile", &good())]);
    check("name=app", &[FORM], previous, 422, "unsupported client version").await;
    let get = running.ask(crate::harness::http_client(false), reqwest::Method::GET, "/ingest?name=app", &[], "").await;
    assert_eq!((get.status, get.header("allow")), (405, "POST"));
    assert_eq!(types(&running).await, Vec::<String>::new());

    let metrics = running.get("/metrics").await;
    let counted = r#"flamestore_requests_total{method="/ingest",code="422"}"#;
    assert!(metrics.contains(counted), "{metrics}");
    running.stop().await.unwrap();
}
