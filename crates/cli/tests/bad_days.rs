//! Bad days of a real server under load: its bucket is gone for a while, and its log has no room.
//!
//! `FLAMESTORE_OUTAGE_SECONDS` says how long the bucket is unreachable (3). The outage ends when that time is over and every
//! connection that pushes was told that the server is full. The memory of profiles is bounded so that it is full by then.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and tells its figures"
)]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use std::collections::BTreeSet;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use flamestore_proto::v1::PushRequest;
use flamestore_testkit::{S3Place, Wire, profile};
use support::load::{PUSHERS, audit, connect, push_of, reach, runtime};
use support::{Running, write_pprof};
use tokio::sync::watch;
use tonic::{Code, Status};

/// No wait is longer: what is waited for then never comes.
const PATIENCE: Duration = Duration::from_secs(120);
/// Stacks that all profiles share, so that a profile takes as much memory as a real one does.
const SHARED_STACKS: usize = 300;
/// Acknowledged pushes before the outage, and after it.
const ACKNOWLEDGED_MIN: usize = 100;
/// Bounds that the server is given, in MiB: merges, and cached parts of segments.
const COMPACTION_MIB: u64 = 64;
const CACHE_MIB: u64 = 16;
/// What a server takes besides its bounds, in MiB: the command itself, footers, requests on their way.
const BASE_MIB: u64 = 160;

/// How much profiles may take in memory: this load fills it in less than the outage, or soon after.
fn head_mib(outage: Duration) -> u64 {
    3 + outage.as_secs() / 2
}

/// The most that a server may take: its bounds, and that of the head once more for what a flush makes of it.
fn memory_mib_max(outage: Duration) -> u64 {
    BASE_MIB + COMPACTION_MIB + CACHE_MIB + 2 * head_mib(outage)
}

fn outage() -> Duration {
    let seconds = std::env::var("FLAMESTORE_OUTAGE_SECONDS").ok().map_or(3, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

/// `serve` on a bucket that is reached at `endpoint`, with its log in `wal`.
fn serve(place: &S3Place, endpoint: &str, wal: &Path, more: &[&str]) -> Command {
    let mut command = support::load::serve(&place.url(), "wal", wal, &[&["--log", "error"], more].concat());
    reach(&mut command, place, endpoint);
    command
}

/// The push of a profile with one stack of its own and those that all share, each once.
fn numbered(stack: &str, after_noon: usize) -> PushRequest {
    let shared: String = (0..SHARED_STACKS).map(|n| format!(" | main;shared;f{n} 1")).collect();
    push_of(&format!("{stack} 1{shared}"), after_noon)
}

/// Everything that was acknowledged is there once, and nothing else is.
fn audit_all(server: &Running, acknowledged: &BTreeSet<String>) {
    let counted = audit(server, acknowledged);
    assert_eq!(counted.len(), acknowledged.len() + SHARED_STACKS, "something is there that was refused");
    let shared = counted.iter().filter(|(stack, _)| stack.starts_with("main;shared;"));
    shared.for_each(|(stack, times)| assert_eq!(*times, acknowledged.len(), "{stack}"));
}

/// What a load has come to so far.
#[derive(Clone, Debug, Default)]
struct Load {
    acknowledged: BTreeSet<String>,
    refused: usize,
    /// By connection: refusals since the outage began.
    full: [usize; PUSHERS],
}

impl Load {
    fn is_full(&self) -> bool {
        self.full.iter().all(|refused| *refused > 0)
    }
}

/// Pushes profile after profile until told to stop; one that is refused is sent again when the server says.
async fn push_on(address: String, pusher: usize, load: watch::Sender<Load>, stop: watch::Receiver<bool>) {
    let (mut client, mut number) = (connect(&address).await, 0);
    while !*stop.borrow() {
        let stack = format!("main;pusher{pusher};push{number}");
        match client.push(numbered(&stack, number * PUSHERS + pusher)).await {
            Ok(_) => {
                number += 1;
                load.send_modify(|load| {
                    load.acknowledged.insert(stack);
                });
            }
            Err(status) => {
                let delay = delay_of(&status, Code::ResourceExhausted);
                load.send_modify(|load| {
                    load.refused += 1;
                    load.full[pusher] += 1;
                });
                tokio::time::sleep(delay).await;
            }
        }
    }
}

/// How long a server that refuses with `code` wants to be left alone.
fn delay_of(status: &Status, code: Code) -> Duration {
    assert_eq!(status.code(), code, "{status}");
    let seconds = status.metadata().get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=10).contains(&seconds), "{seconds}");
    Duration::from_secs(seconds)
}

async fn until(load: &mut watch::Receiver<Load>, what: impl FnMut(&Load) -> bool) -> Load {
    let waiting = tokio::time::timeout(PATIENCE, load.wait_for(what));
    waiting.await.unwrap_or_else(|_| panic!("what was waited for never came")).unwrap().clone()
}

/// The most memory that a process ever had, in MiB.
fn peak_mib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Pushes to `server` while `wire` is cut for `outage`; what was acknowledged.
async fn load_through(server: &Running, wire: &Wire, outage: Duration) -> Load {
    let (load, mut seen) = watch::channel(Load::default());
    let (stop, stopped) = watch::channel(false);
    let mut pushers = Vec::new();
    for pusher in 0..PUSHERS {
        pushers.push(tokio::spawn(push_on(server.address.clone(), pusher, load.clone(), stopped.clone())));
    }
    until(&mut seen, |load| load.acknowledged.len() >= ACKNOWLEDGED_MIN).await;
    let before = peak_mib(server.id());

    wire.cut();
    load.send_modify(|load| load.full = [0; PUSHERS]);
    let (began, at_first) = (Instant::now(), seen.borrow().acknowledged.len());
    tokio::time::sleep(outage).await;
    let then = until(&mut seen, Load::is_full).await;
    let (gone, turned_away) = (began.elapsed(), wire.turned_away());
    assert!(turned_away > 0, "the server never asked for its bucket");

    let back = Instant::now();
    wire.mend();
    let acknowledged = then.acknowledged.len();
    until(&mut seen, |load| load.acknowledged.len() > acknowledged).await;
    let resumed = back.elapsed();
    until(&mut seen, |load| load.acknowledged.len() >= acknowledged + ACKNOWLEDGED_MIN).await;
    stop.send_replace(true);
    for pusher in pushers {
        pusher.await.unwrap();
    }
    let load = seen.borrow().clone();
    println!(
        "outage of {gone:.1?}: {at_first} profiles acknowledged before, {} during, {} after; {} refused; {turned_away} \
         connections to the bucket in vain; first acknowledged {resumed:.1?} after; memory {before} MiB before, {} MiB at its peak",
        acknowledged - at_first,
        load.acknowledged.len() - acknowledged,
        load.refused,
        peak_mib(server.id()),
    );
    load
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_whose_bucket_is_gone_for_a_while_keeps_what_it_acknowledged_and_goes_on() {
    let runtime = runtime();
    let place = runtime.block_on(S3Place::open("outage")).unwrap();
    let disk = tempfile::tempdir().unwrap();
    let bucket = place.access.endpoint.trim_start_matches("http://").to_socket_addrs().unwrap().next().unwrap();
    let wire = Wire::to(bucket).unwrap();
    let mib = |mib: u64| format!("{mib}MiB");
    let (outage, head) = (outage(), mib(head_mib(outage())));
    let (compaction, cache) = (mib(COMPACTION_MIB), mib(CACHE_MIB));
    let heads = ["--flush-interval", "1s", "--flush-bytes", "1MiB", "--head-bytes-max", &head];
    let others = ["--compaction-memory-bytes-max", &compaction, "--cache-memory-bytes-max", &cache];
    let more = [&heads[..], &others].concat();
    let start = || Running::start_command(serve(&place, &format!("http://{}", wire.address), disk.path(), &more));

    let server = start();
    let load = runtime.block_on(load_through(&server, &wire, outage));
    let memory = peak_mib(server.id());
    let memory_max = memory_mib_max(outage);
    assert!(memory <= memory_max, "{memory} MiB of memory, more than {memory_max}");
    println!("the bound of memory is {memory_max} MiB, {head} of it the head's");
    audit_all(&server, &load.acknowledged);
    let done = server.stop("TERM");
    assert_eq!(done.code, Some(0), "{}", done.err);
    audit_all(&start(), &load.acknowledged);
}

/// `command` as a process whose files grow to `blocks` of 512 bytes at most, and that is told so by an error.
#[cfg(unix)]
fn limited(command: &Command, blocks: u32) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &blocks.to_string()]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.stdin(std::process::Stdio::null());
    limited.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    limited
}

/// Pushes profiles from `first` on until one is refused, and that one twice more; the next number, and the refusal.
async fn push_until_refused(server: &Running, first: usize, acknowledged: &mut BTreeSet<String>) -> (usize, Status) {
    let mut client = connect(&server.address).await;
    for number in first..first + 10_000 {
        let stack = format!("main;push{number}");
        let request = numbered(&stack, number);
        let Err(_) = client.push(request.clone()).await else {
            acknowledged.insert(stack);
            continue;
        };
        client.push(request.clone()).await.unwrap_err();
        return (number, client.push(request).await.unwrap_err());
    }
    panic!("the log never was full");
}

async fn push_one(server: &Running, number: usize, acknowledged: &mut BTreeSet<String>) {
    let stack = format!("main;push{number}");
    connect(&server.address).await.push(numbered(&stack, number)).await.unwrap();
    acknowledged.insert(stack);
}

#[test]
#[cfg(unix)]
fn a_server_whose_log_has_no_room_refuses_pushes_answers_queries_and_goes_on_when_there_is() {
    let runtime = runtime();
    let place = runtime.block_on(S3Place::open("no-room")).unwrap();
    let (disk, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let many = (0..2 * SHARED_STACKS).map(|n| format!("main;other;f{n} 1")).collect::<Vec<_>>().join(" | ");
    let file = write_pprof(files.path(), "other.pb.gz", &profile(&many));
    // nothing is flushed by itself, so the log is all there is
    let whole = || serve(&place, &place.access.endpoint, disk.path(), &["--flush-interval", "1h"]);
    let mut acknowledged = BTreeSet::new();
    let mut next = 0;
    for blocks in [64, 128] {
        let server = Running::start_command(limited(&whole(), blocks));
        let refused;
        (next, refused) = runtime.block_on(push_until_refused(&server, next, &mut acknowledged));
        delay_of(&refused, Code::Unavailable);
        for part in ["wal: cannot write the log", "ulimit -f", disk.path().to_str().unwrap()] {
            assert!(refused.message().contains(part), "{refused}");
        }
        let told = server.run(&["push", file.to_str().unwrap()]);
        assert!(told.code == Some(1) && told.err.contains("send it again later"), "{}", told.err);
        audit_all(&server, &acknowledged);
        server.stop("KILL");
    }
    assert!(acknowledged.len() > 2, "there was no load");

    let server = Running::start_command(whole());
    audit_all(&server, &acknowledged);
    // what was refused is sent again
    runtime.block_on(push_one(&server, next, &mut acknowledged));
    audit_all(&server, &acknowledged);
    assert_eq!(server.stop("TERM").code, Some(0));
    let server = Running::start_command(whole());
    audit_all(&server, &acknowledged);
    println!("a log without room: {} profiles acknowledged", acknowledged.len());
}
