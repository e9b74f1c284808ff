//! A server that pulls profiles: what a target counts, over its restart, is what the store says was added.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use flamestore_formats::{ProfileBuilder, encode_pprof, gzip};
use support::{Running, run};

/// 2026-05-01T12:00:00Z.
const NOON: i64 = 1_777_636_800_000_000_000;
const AROUND: [&str; 4] = ["--from", "2026-05-01", "--to", "2026-05-02"];
const ALLOCATED: &str = r#"memory:alloc_space:bytes:space:bytes{job="shop"}"#;
/// How long anything may take; far more than it should.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a target has counted at each of its scrapes: it restarts after the third.
const COUNTS: [i64; 5] = [1, 2, 3, 1, 4];

/// The heap profile of scrape `n`, as Go sends it: counted since the start of the process.
fn heap(n: usize) -> Vec<u8> {
    let mut builder = ProfileBuilder::new();
    builder.sample_type("alloc_space", "bytes").sample_type("inuse_space", "bytes").period("space", "bytes", 524_288);
    builder.time(NOON + i64::try_from(n).unwrap() * 1_000_000_000, 0);
    builder.add_sample(&["main", "read"], &[100 * COUNTS[n], 10], &[]);
    builder.add_sample(&["main", "write"], &[7 * COUNTS[n], 0], &[]);
    gzip(&encode_pprof(&builder.finish().unwrap())).unwrap()
}

/// A target that answers each of [`COUNTS`] once, then says 503, and tells that it did.
fn target() -> (SocketAddr, mpsc::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, refused) = mpsc::channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            assert!(line.starts_with("GET /debug/pprof/allocs "), "{line}");
            let (status, body) = if n < COUNTS.len() { ("200 OK", heap(n)) } else { ("503 Busy", Vec::new()) };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(&[head.into_bytes(), body].concat()).unwrap();
            if n >= COUNTS.len() && sender.send(n).is_err() {
                return;
            }
        }
    });
    (address, refused)
}

/// A configuration file whose only job is `job`.
fn file(folder: &tempfile::TempDir, job: &str) -> PathBuf {
    let path = folder.path().join("flamestore.toml");
    std::fs::write(&path, format!("store = \"memory:\"\n[server]\nlisten = \"127.0.0.1:0\"\n[[scrape]]\n{job}"))
        .unwrap();
    path
}

/// The body of an answer of 200 to GET `path`.
fn get(server: &Running, path: &str) -> String {
    let mut stream = TcpStream::connect(server.address.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: flamestore\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

const JOB: &str = "job_name = \"shop\"\nscrape_interval = \"1s\"\n";

#[test]
fn what_was_added_is_right_over_the_restart_of_a_target() {
    let (address, refused) = target();
    let folder = tempfile::tempdir().unwrap();
    let group = format!("{{ targets = [\"{address}\"], labels = {{ __profiles__ = \"memory\", env = \"dev\" }} }}");
    let config = file(&folder, &format!("{JOB}static_configs = [{group}]\n"));
    let server = Running::start(&["serve", "--config", config.to_str().unwrap(), "--log", "warn"]);
    // scrapes of a target follow each other: once the second is refused, all before are stored and the first is shown
    for _ in 0..2 {
        refused.recv_timeout(PATIENCE).unwrap();
    }
    let merge = |more: &[&str]| {
        let args = ["merge", "--query", ALLOCATED, "--format", "folded"];
        server.ok(&[&args, more, &AROUND].concat())
    };
    // from 1 to 3, then from zero to 1 and to 4
    assert_eq!(merge(&["--combine", "added"]), "main;read 600\nmain;write 42\n");
    assert_eq!(merge(&["--combine", "last"]), "main;read 400\nmain;write 28\n");
    let listed = server.ok(&[&["profiles", "--query", ALLOCATED, "--format", "json"][..], &AROUND].concat());
    assert_eq!(listed.matches("\"id\"").count(), COUNTS.len(), "{listed}");
    let labels = format!(r#"{{"env":"dev","instance":"{address}","job":"shop","service_name":"shop"}}"#);
    assert!(listed.contains(&labels), "{listed}");

    let page: serde_json::Value = serde_json::from_str(&get(&server, "/targets")).unwrap();
    let target = &page["activeTargets"][0];
    assert_eq!(target["scrapeUrl"], format!("http://{address}/debug/pprof/allocs"));
    assert_eq!(
        (&target["health"], &target["lastError"]),
        (&"down".into(), &"the answer is not 200 [status=503 Service Unavailable]".into())
    );
    let told = |state: &str| -> serde_json::Value {
        let path = format!("/api/targets?state={state}");
        serde_json::from_str::<serde_json::Value>(&get(&server, &path)).unwrap()["targets"].clone()
    };
    for state in ["STATE_ANY_UNSPECIFIED", "STATE_ACTIVE"] {
        let parcas = &told(state)["shop"]["targets"][0];
        assert_eq!((&parcas["url"], &parcas["lastError"]), (&target["scrapeUrl"], &target["lastError"]));
        assert_eq!(parcas["health"], "HEALTH_BAD");
        assert!(parcas["lastScrape"].as_str().unwrap().starts_with("20"), "{parcas}");
        assert!(parcas["lastScrapeDuration"].as_str().unwrap().ends_with('s'), "{parcas}");
        let labels = parcas["labels"]["labels"].as_array().unwrap();
        assert_eq!(labels.len(), target["labels"].as_object().unwrap().len());
        assert!(labels.contains(&serde_json::json!({"name": "env", "value": "dev"})), "{parcas}");
    }
    assert_eq!(told("STATE_DROPPED"), serde_json::json!({}));
    assert!(get(&server, "/metrics").contains("flamestore_scrapes_total{outcome=\"stored\"} 5"));
    let done = server.stop("TERM");
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
}

#[test]
fn only_processes_that_ingest_scrape() {
    let (address, refused) = target();
    let folder = tempfile::tempdir().unwrap();
    let config = file(&folder, &format!("{JOB}static_configs = [{{ targets = [\"{address}\"] }}]\n"));
    let config = config.to_str().unwrap();
    let store = folder.path().join("store");
    let args = ["serve", "--config", config, "--store", store.to_str().unwrap(), "--roles", "query", "--log", "info"];
    // a store that a server without the role can open
    Running::start(&["serve", "--store", store.to_str().unwrap(), "--listen", "127.0.0.1:0"]).stop("TERM");
    let done = Running::start(&args).stop("TERM");
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.err.contains("nothing is scraped"), "{}", done.err);
    drop(refused);
}

#[test]
fn a_job_without_sense_stops_the_start_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    for (job, expected) in [
        ("scrape_interval = \"1s\"\n", "error: a scrape job needs a job_name [job_name=\"\"]"),
        (
            "job_name = \"a\"\nrelabel_configs = [{ regex = \"(\", action = \"keep\" }]\n",
            "relabelling: the regex cannot be read",
        ),
        ("job_name = \"a\"\nmetrics_path = \"/\"\n", "unknown field `metrics_path`"),
    ] {
        let done = run(&["serve", "--config", file(&folder, job).to_str().unwrap()]);
        assert_eq!(done.code, Some(1), "{}", done.err);
        assert!(done.err.contains(expected), "{}", done.err);
    }
}
