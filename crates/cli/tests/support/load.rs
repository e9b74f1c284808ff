//! A load of pushes of service `api`, and the audit of what a server has of it afterwards.
//!
//! Each push has a stack of its own, counted once: what is lost, and what is there twice, shows in the merge of all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use flamestore_formats::{encode_pprof, gzip};
use flamestore_proto::v1::ingest_service_client::IngestServiceClient;
use flamestore_proto::v1::{Label, PushRequest, RawProfile};
use flamestore_testkit::{S3Place, profile};
use tonic::transport::Channel;

use super::{Running, command};

const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds{service_name=\"api\"}";
/// 2026-05-01T12:00:00Z.
const NOON: i64 = 1_777_636_800_000_000_000;
/// Connections that push at the same time.
pub(crate) const PUSHERS: usize = 4;

/// What the pushes of several connections run on.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// `serve` on a free port, with its log in `wal`.
pub(crate) fn serve(store: &str, durability: &str, wal: &Path, more: &[&str]) -> Command {
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--store", store, "--durability", durability, "--wal"];
    command(&[&fixed[..], &[wal.to_str().unwrap()], more].concat())
}

/// Lets `command` reach the bucket of `place` at `endpoint`.
pub(crate) fn reach(command: &mut Command, place: &S3Place, endpoint: &str) {
    command
        .args(["--s3-endpoint", endpoint, "--s3-allow-http"])
        .env("AWS_ACCESS_KEY_ID", &place.access.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &place.access.secret_key)
        .env("AWS_REGION", "us-east-1");
}

/// A connection that pushes to `address`.
pub(crate) async fn connect(address: &str) -> IngestServiceClient<Channel> {
    IngestServiceClient::connect(address.to_owned()).await.unwrap()
}

/// The push of a profile of `stacks`, taken so many nanoseconds after noon.
pub(crate) fn push_of(stacks: &str, after_noon: usize) -> PushRequest {
    let raw = RawProfile {
        labels: vec![Label { name: "service_name".to_owned(), value: "api".to_owned() }],
        profile: gzip(&encode_pprof(&profile(stacks))).unwrap().into(),
        time_unix_nano: Some(NOON + i64::try_from(after_noon).unwrap()),
        ..RawProfile::default()
    };
    PushRequest { profiles: vec![raw] }
}

/// How often each stack is there; every one of `acknowledged` is so once.
pub(crate) fn audit(server: &Running, acknowledged: &BTreeSet<String>) -> BTreeMap<String, usize> {
    let folded = server.ok(&["merge", "--query", CPU, "--from", "2026-05-01", "--to", "2026-05-03"]);
    let lines = folded.lines().filter_map(|line| line.rsplit_once(' '));
    let counted: BTreeMap<String, usize> = lines.map(|(stack, n)| (stack.to_owned(), n.parse().unwrap())).collect();
    let wrong: Vec<_> = acknowledged.iter().filter(|stack| counted.get(stack.as_str()) != Some(&1)).collect();
    assert!(wrong.is_empty(), "{} of {} acknowledged are not there once: {wrong:?}", wrong.len(), acknowledged.len());
    counted
}
