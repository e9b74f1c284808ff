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

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flamestore_proto::v1::ingest_service_client::IngestServiceClient;
use flamestore_testkit::S3Place;
use support::Running;
use support::load::{PUSHERS, audit, connect, push_of, reach, runtime, serve};
use tokio::sync::Notify;
use tonic::transport::Channel;

/// What all servers are started with.
const OPTIONS: [&str; 4] = ["--log", "warn", "--flush-interval", "1s"];

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
    /// Starts the server that `serve` makes, and checks what is there.
    fn start(&mut self, serve: Command) -> Running {
        let started = Instant::now();
        let server = Running::start_command(serve);
        let took = started.elapsed();
        self.slowest_start = self.slowest_start.max(took);
        self.audit(&server);
        server
    }

    /// What was acknowledged is there, and what was cut off, if at all, once as well.
    fn audit(&self, server: &Running) {
        let counted = audit(server, &self.acknowledged);
        let twice: Vec<_> = counted.iter().filter(|(_, times)| **times != 1).collect();
        assert!(twice.is_empty(), "counted more than once: {twice:?}");
    }

    /// Pushes from several connections and kills the server after `kill_after` acknowledgements.
    fn play(&mut self, runtime: &tokio::runtime::Runtime, server: Running, round: usize, kill_after: usize) {
        let (enough, count) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        // all of them before the first push, which may be the last
        let clients: Vec<_> = (0..PUSHERS).map(|_| runtime.block_on(connect(&server.address))).collect();
        let pushers: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(pusher, client)| {
                let (enough, count) = (Arc::clone(&enough), Arc::clone(&count));
                runtime.spawn(async move {
                    let told = move || {
                        if count.fetch_add(1, Ordering::Relaxed) + 1 == kill_after {
                            enough.notify_one();
                        }
                    };
                    push_until_gone(client, round, pusher, told).await
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
async fn push_until_gone(
    mut client: IngestServiceClient<Channel>,
    round: usize,
    pusher: usize,
    told: impl Fn(),
) -> (Vec<String>, usize) {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let stack = format!("main;round{round};pusher{pusher};push{number}");
        let offset = (round * PUSHERS + pusher) * 1_000_000 + number;
        match client.push(push_of(&format!("{stack} 1"), offset)).await {
            Ok(_) => acknowledged.push(stack),
            Err(_) => return (acknowledged, number + 1),
        }
        told();
    }
    unreachable!("the server is killed")
}

/// Plays all rounds; `started` gives the command of each start, `between` runs after each kill.
fn play_all(name: &str, started: impl Fn() -> Command, between: impl Fn()) {
    let runtime = runtime();
    let mut auditor = Auditor::default();
    let rounds = rounds();
    for round in 0..rounds {
        let server = auditor.start(started());
        // spread over what is before, within and after the flushes of a second
        auditor.play(&runtime, server, round, 1 + (round * 389) % 1500);
        between();
    }
    let server = auditor.start(started());
    assert_eq!(server.stop("TERM").code, Some(0));
    let server = auditor.start(started());
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
    play_all("wal", || serve(store.to_str().unwrap(), "wal", &folder.path().join("wal"), &OPTIONS), || {});
}

#[test]
fn a_killed_server_without_its_disk_keeps_what_its_bucket_has_acknowledged() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let place = runtime.block_on(S3Place::open("killed")).unwrap();
    let disk = tempfile::tempdir().unwrap();
    let started = || {
        let mut command = serve(&place.url(), "bucket", &disk.path().join("wal"), &OPTIONS);
        reach(&mut command, &place, &place.access.endpoint);
        command.current_dir(disk.path());
        command
    };
    play_all("bucket", started, || {
        for entry in std::fs::read_dir(disk.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        }
    });
}
