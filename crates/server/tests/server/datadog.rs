//! What Datadog's tracers send to their agent.

use flamestore_formats::encode_pprof;
use flamestore_proto::v1;
use flamestore_testkit::Fixture;

use crate::harness::{NOON, Running, SECOND, merge_folded, selection};

const PATH: &str = "/profiling/v1/input";
const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");
const EVENT: &str = r#"{"attachments": ["a.pprof"], "tags_profiler": "service:traced,env:test,host:h1,env:prod,bare,url:http://x",
    "process_tags": "svc.user:true,env:ignored", "start": "2026-03-01T12:00:00.5Z", "end": "2026-03-01T12:01:00Z", "later": {}}"#;

/// A form of these files.
fn form(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (name, bytes) in files {
        let field = name.trim_end_matches(".json");
        form.extend(
            format!("--b\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\r\n").bytes(),
        );
        form.extend_from_slice(bytes);
        form.extend(b"\r\n");
    }
    form.extend(b"--b--\r\n");
    form
}

fn zstd_pprof(time: i64, types: &[(&str, &str)], text: &str) -> Vec<u8> {
    zstd::encode_all(&encode_pprof(&Fixture::cpu().types(types).time(time).profile(text))[..], 3).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pprof_of_a_request_is_stored_with_its_tags_and_once() {
    let running = Running::start().await;
    let wall = zstd_pprof(NOON, &[("wall-time", "nanoseconds")], "main;wait 3");
    let locks = |seconds: i64| {
        zstd_pprof(NOON + seconds * SECOND, &[("contentions", "count"), ("delay", "nanoseconds")], "f 1,2")
    };
    let timeless = zstd_pprof(0, &[("inuse_space", "bytes")], "main;new 9");
    let body = form(&[
        ("event.json", EVENT.as_bytes()),
        ("metrics.json", b"[]"),
        ("profile.pprof", &wall),
        ("delta-block.pprof", &locks(1)),
        ("delta-mutex.pprof", &locks(2)),
        ("heap.pprof", &timeless),
    ]);
    for _ in 0..2 {
        let answer = running.post(PATH, &[FORM], body.clone()).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{answer:?}");
    }
    let request = v1::SeriesRequest { selection: selection(r#"{service_name="traced"}"#), label_names: Vec::new() };
    let series = running.query().series(request).await.unwrap().into_inner().series;
    let mut types: Vec<&str> = series.iter().map(|series| series.profile_type.split(':').next().unwrap()).collect();
    types.sort_unstable();
    assert_eq!(types, ["block", "block", "memory", "mutex", "mutex", "wall-time"]);
    let labels: Vec<String> = series[0].labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
    assert_eq!(labels, ["env=prod", "host=h1", "service_name=traced", "svc.user=true", "url=http://x"]);
    let wall = series.iter().find(|series| series.profile_type.starts_with("wall-time:")).unwrap();
    assert_eq!(merge_folded(&running, &wall.profile_type).await, "main;wait 3\n");
    let memory = series.iter().find(|series| series.profile_type.starts_with("memory:")).unwrap();
    let request = v1::ListProfilesRequest { selection: selection(&memory.profile_type), limit: 0 };
    let profiles = running.query().list_profiles(request).await.unwrap().into_inner().profiles;
    let times: Vec<i64> = profiles.iter().map(|profile| profile.time_unix_nano).collect();
    assert_eq!(times, [NOON + SECOND / 2]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_a_profile_of_each_kind_of_event() {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else { return };
    let running = Running::start().await;
    let file = std::path::Path::new(&corpus).join("jfr/dd-trace-java.jfr.gz");
    let body = form(&[("event.json", EVENT.as_bytes()), ("main.jfr", &std::fs::read(file).unwrap())]);
    let mut lists = Vec::new();
    for _ in 0..2 {
        assert_eq!(running.post(PATH, &[FORM], body.clone()).await.status, 200);
        let request = v1::ListProfilesRequest { selection: selection(r#"{service_name="traced"}"#), limit: 0 };
        lists.push(running.query().list_profiles(request).await.unwrap().into_inner().profiles);
    }
    assert!(lists[0].iter().any(|profile| profile.profile_type.starts_with("process_cpu:")), "{lists:?}");
    assert_eq!(lists[0], lists[1]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_told_and_what_is_good_of_it_is_stored() {
    let running = Running::start().await;
    let good = zstd_pprof(NOON, &[("cpu-time", "nanoseconds")], "main;read 3");
    let event = ("event.json", EVENT.as_bytes());
    for (files, status, part) in [
        (vec![("a.pprof", &good[..])], 400, "no event.json"),
        (vec![("event.json", &b"7"[..]), ("a.pprof", &good[..])], 400, "event.json"),
        (vec![event], 422, "no attachment of the form is a profile"),
        (vec![event, ("a.jfr", &good[..])], 422, "a.jfr: chunk 0"),
        (vec![event, ("a.pprof", &good[..40]), ("b.pprof", &good[..])], 422, "a.pprof: "),
    ] {
        let answer = running.post(PATH, &[FORM], form(&files)).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.text().contains(part), "{answer:?}");
    }
    assert_eq!(running.post(PATH, &[FORM], "no form").await.status, 400);
    assert_eq!(running.post(PATH, &[], "no form").await.status, 400);
    let types = running.query().profile_types(v1::ProfileTypesRequest { selection: selection("") }).await.unwrap();
    let types = types.into_inner().profile_types;
    assert_eq!(types.len(), 1, "{types:?}");
    assert_eq!(merge_folded(&running, &types[0]).await, "main;read 3\n");
    running.stop().await.unwrap();
}
