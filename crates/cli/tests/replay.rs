//! Captured requests of real profilers, replayed: each is taken, and what is stored is what was sent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use flamestore_formats::{Limits, decode_pprof, decompress, encode_pprof, gzip, pprof_equal};
use flamestore_model::ProfileBatch;
use flamestore_proto::parca::profilestore as parca;
use flamestore_proto::push::v1::{PushRequest, RawProfileSeries, RawSample};
use flamestore_proto::types::v1::LabelPair;
use flamestore_testkit::Fixture;
use prost::Message;
use serde_json::{Value, json};
use support::Running;

/// 2026-05-01T12:00:00Z.
const NOON: i64 = 1_777_636_800_000_000_000;
const WRITE_RAW: &str = "/parca.profilestore.v1alpha1.ProfileStoreService/WriteRaw";
const EVER: [&str; 4] = ["--from", "2000-01-01", "--to", "2100-01-01"];

/// A captured request: its head and its body.
struct Captured {
    head: Value,
    body: Vec<u8>,
}

impl Captured {
    fn read(file: &Path) -> Self {
        let head = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        Self { head, body: fs::read(file.with_extension("body")).unwrap() }
    }

    fn new(path: &str, headers: Value, body: Vec<u8>) -> Self {
        Self { head: json!({"path": path, "headers": headers, "len": body.len()}), body }
    }

    fn write(&self, file: &Path) {
        fs::write(file, self.head.to_string()).unwrap();
        fs::write(file.with_extension("body"), &self.body).unwrap();
    }

    fn header(&self, name: &str) -> &str {
        self.head["headers"][name].as_str().unwrap_or_default()
    }

    /// The profiles it holds, taken out by the plainest means.
    fn profiles(&self) -> Vec<ProfileBatch> {
        let path = self.head["path"].as_str().unwrap();
        let plain = |bytes: &[u8]| decompress(bytes.to_vec().into(), &Limits::default()).unwrap();
        let body = if self.header("content-encoding") == "gzip" { plain(&self.body) } else { self.body.clone().into() };
        let pprofs: Vec<Vec<u8>> = if path.starts_with("/push.v1.") {
            let series = PushRequest::decode(body).unwrap().series;
            series.into_iter().flat_map(|s| s.samples).map(|sample| sample.raw_profile.to_vec()).collect()
        } else if path == WRITE_RAW {
            let series = parca::WriteRawRequest::decode(body).unwrap().series;
            series.into_iter().flat_map(|s| s.samples).map(|sample| sample.raw_profile.to_vec()).collect()
        } else if path.starts_with("/profiling/") {
            let boundary = self.header("content-type").split("boundary=").nth(1).unwrap();
            vec![attachment(&body, boundary, "profile.pprof")]
        } else {
            vec![body.to_vec()]
        };
        pprofs.into_iter().map(|bytes| decode_pprof(bytes.into(), &Limits::default()).unwrap()).collect()
    }
}

/// The part of a form that is a file of this name.
fn attachment(form: &[u8], boundary: &str, file_name: &str) -> Vec<u8> {
    let find =
        |bytes: &[u8], text: &str| bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let head = find(form, &format!("filename=\"{file_name}\""));
    let start = head + find(&form[head..], "\r\n\r\n") + 4;
    let end = start + find(&form[start..], &format!("\r\n--{boundary}"));
    form[start..end].to_vec()
}

/// Replays `files` twice, as a client does that lost an answer; checks that the store holds what they hold, once.
fn check(files: &[PathBuf]) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::serve(&folder.path().join("store"));
    let names: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    for _ in 0..2 {
        let told = server.ok(&[&["replay"], &names[..]].concat());
        assert_eq!(told.lines().filter(|line| line.starts_with("200  ")).count(), files.len(), "{told}");
    }
    let mut expected: Vec<ProfileBatch> = files.iter().flat_map(|file| Captured::read(file).profiles()).collect();
    let listed: Value =
        serde_json::from_str(&server.ok(&[&["profiles", "--format", "json"], &EVER[..]].concat())).unwrap();
    let ids: BTreeSet<&str> = listed.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), expected.len());
    for id in ids {
        let file = folder.path().join("profile.pb.gz");
        server.ok(&["profile", id, "--output", file.to_str().unwrap()]);
        let stored = decode_pprof(fs::read(file).unwrap().into(), &Limits::default()).unwrap();
        let same = expected.iter().position(|sent| pprof_equal(sent, &stored).is_ok());
        expected.remove(same.unwrap_or_else(|| panic!("profile {id} is none that was sent")));
    }
    server
}

/// Writes `requests` to files in `folder`.
fn write(requests: &[Captured], folder: &Path) -> Vec<PathBuf> {
    let files: Vec<PathBuf> = (0..requests.len()).map(|at| folder.join(format!("{at:03}.json"))).collect();
    requests.iter().zip(&files).for_each(|(request, file)| request.write(file));
    files
}

/// What the series of a server say of themselves.
fn series(server: &Running) -> String {
    server.ok(&[&["series", "--format", "json"], &EVER[..]].concat())
}

#[test]
fn requests_captured_from_real_profilers_are_stored_as_they_were_sent() {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else { return };
    for (client, expected) in [
        ("py140", vec!["process_cpu:cpu:nanoseconds:cpu:nanoseconds", "demo.py.app", "otel.scope.name"]),
        ("py1012", vec!["process_cpu:cpu:nanoseconds:cpu:nanoseconds", "demo.py.app", "\"host\":\"h1\""]),
        ("py0816", vec!["process_cpu:cpu:nanoseconds:cpu:nanoseconds", "demo.py.app", "pyspy"]),
        ("rust", vec!["process_cpu:cpu:nanoseconds:cpu:nanoseconds", "demo.rust", "\"region\":\"eu\""]),
        (
            "node",
            vec![
                "wall:wall:nanoseconds:wall:nanoseconds",
                "wall:cpu:nanoseconds:wall:nanoseconds",
                "memory:inuse_space:bytes:inuse_space:bytes",
                "demo.node.app",
                "com.grafana.pyroscope/nodejs",
                "nodespy",
            ],
        ),
        ("dd", vec!["wall-time:wall-time:nanoseconds", "\"service_name\":\"demo-dd\"", "\"env\":\"test\""]),
    ] {
        let folder = Path::new(&corpus).join("captured").join(client);
        let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        assert!(!files.is_empty(), "{}", folder.display());
        let told = series(&check(&files));
        for part in expected {
            assert!(told.contains(part), "{client}: {part} is not in {told}");
        }
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    LabelPair { name: name.to_owned(), value: value.to_owned() }
}

/// The request of `WriteRaw` with these profiles of one series.
fn write_raw(name: &str, job: &str, profiles: Vec<Vec<u8>>) -> Captured {
    let label = |name: &str, value: &str| parca::Label { name: name.to_owned(), value: value.to_owned() };
    let labels = Some(parca::LabelSet { labels: vec![label("__name__", name), label("job", job)] });
    let sample = |bytes: Vec<u8>| parca::RawSample { raw_profile: bytes.into(), executable_info: Vec::new() };
    let samples = profiles.into_iter().map(sample).collect();
    let request = parca::WriteRawRequest {
        series: vec![parca::RawProfileSeries { labels, samples }],
        ..parca::WriteRawRequest::default()
    };
    Captured::new(WRITE_RAW, json!({"content-type": "application/proto"}), request.encode_to_vec())
}

/// A request of each kind, as the profilers send them.
fn requests() -> Vec<Captured> {
    let pprof =
        |seconds: i64, text: &str| encode_pprof(&Fixture::cpu().time(NOON + seconds * 1_000_000_000).profile(text));
    let sample = |seconds, id: &str| RawSample { raw_profile: pprof(seconds, "main;push 3").into(), id: id.to_owned() };
    let samples = vec![sample(0, "963d69ea-bbb4-4c4f-a5b6-6e653c3175d8"), sample(1, "")];
    let labels = vec![label("__name__", "process_cpu"), label("service_name", "pushed")];
    let push = PushRequest { series: vec![RawProfileSeries { labels, samples, annotations: Vec::new() }] };
    let ingested = gzip(&pprof(2, "main;ingest 5")).unwrap();
    let event = json!({"tags_profiler": "service:traced,env:test", "start": "2026-05-01T12:00:03Z", "end": "2026-05-01T12:00:04Z"});
    let mut form = format!(
        "--b\r\nContent-Disposition: form-data; name=\"event\"; filename=\"event.json\"\r\n\r\n{event}\r\n\
         --b\r\nContent-Disposition: form-data; name=\"profile.pprof\"; filename=\"profile.pprof\"\r\n\r\n"
    )
    .into_bytes();
    form.extend(gzip(&pprof(3, "main;trace 7")).unwrap());
    form.extend(b"\r\n--b--\r\n");
    vec![
        Captured::new(
            "/push.v1.PusherService/Push",
            json!({"host": "127.0.0.1:1", "content-length": "5", "content-type": "application/proto", "content-encoding": "gzip"}),
            gzip(&push.encode_to_vec()).unwrap(),
        ),
        Captured::new(
            "/ingest?format=pprof&from=1777636802&until=1777636812&name=ingested%7Bregion%3Deu%7D&spyName=nodespy",
            json!({"content-type": "application/octet-stream"}),
            ingested,
        ),
        Captured::new("/profiling/v1/input", json!({"content-type": "multipart/form-data; boundary=b"}), form),
        write_raw("process_cpu", "written", vec![pprof(4, "main;write 9"), pprof(5, "main;write -1")]),
    ]
}

#[test]
fn requests_of_every_kind_are_stored_as_they_were_sent_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(&requests(), folder.path());
    let told = series(&check(&files));
    for part in [
        "\"service_name\":\"pushed\"",
        "\"region\":\"eu\"",
        "\"service_name\":\"traced\"",
        "\"env\":\"test\"",
        "\"service_name\":\"written\"",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

#[test]
fn real_profiles_that_a_scraper_of_parcas_would_write_are_stored_as_they_are() {
    let Some(corpus) = std::env::var_os("FLAMESTORE_CORPUS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> =
        fs::read_dir(Path::new(&corpus).join("pprof/go")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let requests: Vec<Captured> =
        files.iter().map(|file| write_raw("profile", "scraped", vec![fs::read(file).unwrap()])).collect();
    assert!(requests.len() > 5);
    let told = series(&check(&write(&requests, folder.path())));
    assert!(told.contains("\"service_name\":\"scraped\""), "{told}");
}

#[test]
fn what_a_door_has_changed_survives_a_kill_and_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let otlp = json!({
        "resourceProfiles": [{"scopeProfiles": [{"profiles": [{
            "sampleType": {"typeStrindex": 1, "unitStrindex": 2}, "periodType": {"typeStrindex": 3, "unitStrindex": 4},
            "period": 10, "timeUnixNano": NOON.to_string(), "samples": [{"stackIndex": 1, "values": [7]}],
        }]}]}],
        "dictionary": {
            "stringTable": ["", "samples", "count", "cpu", "nanoseconds", "main"],
            "functionTable": [{}, {"nameStrindex": 5}], "locationTable": [{}, {"lines": [{"functionIndex": 1}]}],
            "stackTable": [{}, {"locationIndices": [1]}], "mappingTable": [{}], "linkTable": [{}], "attributeTable": [{}],
        },
    });
    let stacks = "/ingest?name=app.cpu&from=1777636800&until=1777636810&sampleRate=1000000000";
    let requests = [
        Captured::new(stacks, json!({}), b"main;read 3\nmain;write 1\n".to_vec()),
        Captured::new(
            "/v1development/profiles",
            json!({"content-type": "application/json"}),
            otlp.to_string().into_bytes(),
        ),
    ];
    let files = write(&requests, folder.path());
    for _ in 0..2 {
        let server = Running::serve(&store);
        server.ok(&["replay", files[0].to_str().unwrap(), files[1].to_str().unwrap()]);
        let query = |query: &str| server.ok(&[&["merge", "--query", query], &EVER[..]].concat());
        assert_eq!(query("process_cpu:cpu:nanoseconds:cpu:nanoseconds"), "main 70\nmain;read 3\nmain;write 1\n");
        assert_eq!(query("process_cpu:samples:count:cpu:nanoseconds"), "main 7\nmain;read 3\nmain;write 1\n");
        server.stop("KILL");
    }
}

#[test]
fn what_cannot_be_replayed_and_what_is_refused_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::serve(&folder.path().join("store"));
    let file = folder.path().join("a.json");
    let name = file.to_str().unwrap();
    let refused = |captured: Captured, expected: &str| {
        captured.write(&file);
        let done = server.run(&["replay", name]);
        assert_eq!(done.code, Some(1), "{}", done.out);
        assert!(done.err.contains(expected), "{}", done.err);
    };
    refused(Captured::new("/ingest?format=pprof", json!({}), vec![1]), "400 Bad Request");
    refused(Captured::new("/ingest?format=pprof&name=a", json!({}), vec![1]), "422 Unprocessable Entity");
    refused(Captured::new("/nowhere", json!({}), vec![]), "404 Not Found");
    refused(Captured::new("nowhere", json!({}), vec![]), "does not start with '/'");
    refused(Captured::new("/", json!({"content-type": "application/grpc"}), vec![]), "cannot be replayed");
    fs::remove_file(file.with_extension("body")).unwrap();
    assert!(server.run(&["replay", name]).err.contains("its .body"));
    fs::write(&file, "not JSON").unwrap();
    assert!(server.run(&["replay", name]).err.contains("not a captured request"));
}
