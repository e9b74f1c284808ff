//! A server that is killed again and again under a load of pushes: every acknowledged profile is there exactly once.
//!
//! `FLAMESTORE_KILL_ROUNDS` says how many rounds each test plays (3). Rounds differ in after how many acknowledgements the
//! server is killed; what it is doing then is up to the machine.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and tells its figures"
)]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flamestore_formats::{encode_pprof, gzip};
use flamestore_proto::v1::ingest_service_client::IngestServiceClient;
use flamestore_proto::v1::{Label, PushRequest, RawProfile};
use flamestore_testkit::{S3Place, profile};
use support::{Running, command};
use tokio::sync::Notify;

const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"api\"}";
/// 2026-05-01T12:00:00Z.
const NOON: i64 = 1_777_636_800_000_000_000;
/// Connections that push at the same time.
const PUSHERS: usize = 4;
/// A start may take this long.
const START_MAX: Duration = Duration::from_secs(10);

fn rounds() -> usize {
    std::env::var("FLAMESTORE_KILL_ROUNDS").ok().map_or(3, |rounds| rounds.parse().unwrap())
}

/// What was pushed, and what of it is owed.
#[derive(Default)]
struct Auditor {
    acknowledged: BTreeSet<String>,
    attempted: usize,
    slowest_start: Duration,
    failed_pushes: usize,
}

impl Auditor {
    /// Starts the server that `serve` makes, in time, and checks what is there.
    fn start(&mut self, serve: Command) -> Running {
        let started = Instant::now();
        let server = Running::start_command(serve);
        let took = started.elapsed();
        self.slowest_start = self.slowest_start.max(took);
        assert!(took < START_MAX, "a start took {took:?}");
        self.audit(&server);
        server
    }

    fn audit(&self, server: &Running) {
        let folded = server.ok(&["merge", "--query", CPU, "--from", "2026-05-01", "--to", "2026-05-03"]);
        let counted: BTreeMap<&str, &str> = folded.lines().filter_map(|line| line.rsplit_once(' ')).collect();
        let twice: Vec<_> = counted.iter().filter(|(_, times)| **times != "1").collect();
        assert!(twice.is_empty(), "counted more than once: {twice:?}");
        let lost: Vec<_> = self.acknowledged.iter().filter(|stack| !counted.contains_key(stack.as_str())).collect();
        assert!(lost.is_empty(), "{} of {} acknowledged are lost: {lost:?}", lost.len(), self.acknowledged.len());
    }

    /// Pushes from several connections and kills the server after `kill_after` acknowledgements.
    fn play(&mut self, runtime: &tokio::runtime::Runtime, server: Running, round: usize, kill_after: usize) {
        let (enough, count) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|pusher| {
                let (enough, count, address) = (Arc::clone(&enough), Arc::clone(&count), server.address.clone());
                runtime.spawn(async move {
                    let told = move || {
                        if count.fetch_add(1, Ordering::Relaxed) + 1 == kill_after {
                            enough.notify_one();
                        }
                    };
                    push_until_gone(address, round, pusher, told).await
                })
            })
            .collect();
        runtime.block_on(enough.notified());
        server.stop("KILL");
        for pusher in pushers {
            let (acknowledged, attempted) = runtime.block_on(pusher).unwrap();
            self.failed_pushes += attempted - acknowledged.len();
            self.attempted += attempted;
            self.acknowledged.extend(acknowledged);
        }
    }
}

/// Pushes profile after profile until one fails; the stacks of those that were acknowledged, and how many were tried.
async fn push_until_gone(address: String, round: usize, pusher: usize, told: impl Fn()) -> (Vec<String>, usize) {
    let mut client = IngestServiceClient::connect(address).await.unwrap();
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let stack = format!("main;round{round};pusher{pusher};push{number}");
        let offset = (round * PUSHERS + pusher) * 1_000_000 + number;
        let label = Label { name: "service_name".to_owned(), value: "api".to_owned() };
        let raw = RawProfile {
            labels: vec![label],
            profile: gzip(&encode_pprof(&profile(&format!("{stack} 1")))).unwrap().into(),
            time_unix_nano: Some(NOON + i64::try_from(offset).unwrap()),
            ..RawProfile::default()
        };
        match client.push(PushRequest { profiles: vec![raw] }).await {
            Ok(_) => acknowledged.push(stack),
            Err(_) => return (acknowledged, number + 1),
        }
        told();
    }
    unreachable!("the server is killed")
}

fn serve(store: &str, mode: &str, wal: &Path) -> Command {
    let wal = wal.to_str().unwrap();
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--flush-interval", "1s"];
    command(&[&fixed[..], &["--store", store, "--durability", mode, "--wal", wal]].concat())
}

/// Plays all rounds; `serve` gives the command of each start, `between` runs after each kill.
fn play_all(name: &str, serve: impl Fn() -> Command, between: impl Fn()) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut auditor = Auditor::default();
    let rounds = rounds();
    for round in 0..rounds {
        let server = auditor.start(serve());
        // spread over what is before, within and after the flushes of a second
        auditor.play(&runtime, server, round, 1 + (round * 389) % 1500);
        between();
    }
    let server = auditor.start(serve());
    assert_eq!(server.stop("TERM").code, Some(0));
    let server = auditor.start(serve());
    drop(server);
    assert!(auditor.acknowledged.len() >= rounds, "there was no load");
    println!(
        "{name}: {rounds} rounds, {} profiles acknowledged, {} pushes cut off, slowest start {:?}",
        auditor.acknowledged.len(),
        auditor.failed_pushes,
        auditor.slowest_start
    );
}

#[test]
fn a_killed_server_keeps_what_its_disk_has_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    play_all("wal", || serve(store.to_str().unwrap(), "wal", &folder.path().join("wal")), || {});
}

#[test]
fn a_killed_server_without_its_disk_keeps_what_its_bucket_has_acknowledged() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = runtime.block_on(S3Place::open("killed")).unwrap();
    let disk = tempfile::tempdir().unwrap();
    let (url, wal): (String, PathBuf) = (place.url(), disk.path().join("wal"));
    let started = || {
        let mut command = serve(&url, "bucket", &wal);
        command
            .args(["--s3-endpoint", &place.access.endpoint, "--s3-allow-http"])
            .env("AWS_ACCESS_KEY_ID", &place.access.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &place.access.secret_key)
            .env("AWS_REGION", "us-east-1")
            .current_dir(disk.path());
        command
    };
    play_all("bucket", started, || {
        for entry in std::fs::read_dir(disk.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        }
    });
}
