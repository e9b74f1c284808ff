//! Does a merge of everything a store holds stay within the memory that queries are given?
//!
//! A first process fills a folder and flushes every few services, so that there are many segments. A second one, which never
//! saw the data, merges all of it with `query_memory_bytes_max` set, and says how much memory it took as a whole.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use flamestore_benches::{Goal, Report, fleet};
use flamestore_calltree::{FoldOptions, fold};
use flamestore_model::{Selector, Tenant, TimeRange};
use flamestore_query::{Engine, Query, QueryOptions};
use flamestore_store::{Background, BucketOptions, PushProfile, Store, StoreOptions, StoreUrl};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const MEMORY_BYTES_MAX: usize = 256 << 20;
const FOLDER: &str = "FLAMESTORE_BENCH_MEMORY_FOLDER";
/// Services a flush.
const SERVICES_PER_SEGMENT: usize = 8;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let Ok(folder) = std::env::var(FOLDER) {
        return runtime.block_on(merge_all(&folder));
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().ok_or("a path is not UTF-8")?;
    runtime.block_on(fill(path))?;
    let status = Command::new(std::env::current_exe()?).env(FOLDER, path).status()?;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

async fn open(folder: &str) -> Outcome<Arc<Store>> {
    let bucket = folder.parse::<StoreUrl>()?.open(&BucketOptions::default())?;
    let mut options = StoreOptions::new(bucket);
    options.background = Background::Off;
    Ok(Store::open(options).await?)
}

async fn fill(folder: &str) -> Outcome<()> {
    let store = open(folder).await?;
    for (number, service) in fleet().services().enumerate() {
        for scrape in service.run() {
            let push = PushProfile {
                tenant: Tenant::default(),
                labels: service.labels(),
                batch: service.batch(&scrape),
                received: None,
                id: None,
                time_unix_nano: None,
            };
            store.push(push).await?;
        }
        if number % SERVICES_PER_SEGMENT == SERVICES_PER_SEGMENT - 1 {
            store.flush().await?;
        }
    }
    Ok(store.shutdown().await?)
}

async fn merge_all(folder: &str) -> Outcome<()> {
    let report = Report::new("Does a merge of everything stay within the memory that queries are given?");
    let store = open(folder).await?;
    let options = QueryOptions { memory_bytes_max: MEMORY_BYTES_MAX, partitions: 2, ..QueryOptions::default() };
    let engine = Engine::new(Arc::clone(&store), options)?;
    let before = resident_peak_bytes()?;
    let query = Query::new(Tenant::default(), Selector::default(), TimeRange::ALL);
    let started = Instant::now();
    let answer = engine.merge(&query).await?;
    let elapsed = started.elapsed();
    let folded = fold(&answer.value, &FoldOptions { max_nodes: 8192 });
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    report.note(format!("{} segments, {} samples read", answer.report.segments_read, answer.report.rows));
    report.note(format!("{} nodes merged, {} shown", answer.value.tree.len(), folded.len()));
    report.figure("wall time", elapsed.as_secs_f64() * 1e3, "ms");
    let peak = mib(answer.report.memory_bytes_peak as f64);
    report.goal("memory of the operators at its peak", peak, "MiB", Goal::AtMost(mib(MEMORY_BYTES_MAX as f64)));
    report.figure("resident memory of the process before", mib(before), "MiB");
    report.figure("resident memory of the process at its peak", mib(resident_peak_bytes()?), "MiB");
    Ok(store.shutdown().await?)
}

/// The most memory this process ever had, as Linux tells it.
fn resident_peak_bytes() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    let kib = line.trim().trim_end_matches(" kB").parse::<f64>()?;
    Ok(kib * 1024.0)
}
