//! Does merging segments stay within the memory it is given, how fast is it, and how small does it make them?
//!
//! A first process pushes a fleet and flushes every five minutes of profiles (or every `FLAMESTORE_BENCH_FLUSH_SCRAPES` profiles
//! of a service) into a folder. A second one, which never saw the data, merges all of it as `flamestore store compact` does, and
//! says how much memory it took as a whole.

use std::process::Command;
use std::time::Instant;

use flamestore_benches::{Goal, Report, fleet, process_cpu, size};
use flamestore_model::Tenant;
use flamestore_segment::Table;
use flamestore_store::{
    Background, Bucket, BucketOptions, Compactor, CompactorOptions, Manifest, PushProfile, Scope, Store, StoreOptions,
    StoreUrl, ls,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const MEMORY_BYTES_MAX: usize = 512 << 20;
/// The folder of the second process; a folder that the first one leaves behind for another run.
const FOLDER: &str = "FLAMESTORE_BENCH_COMPACT_FOLDER";
/// Profiles of a service in one flush.
const FLUSH_SCRAPES: &str = "FLAMESTORE_BENCH_FLUSH_SCRAPES";
const FIVE_MINUTES: usize = 20;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let Ok(folder) = std::env::var(FOLDER) {
        return runtime.block_on(compact(&folder));
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().ok_or("a path is not UTF-8")?;
    runtime.block_on(fill(path))?;
    // as the command tells its allocator
    let status = Command::new(std::env::current_exe()?).env(FOLDER, path).env("MIMALLOC_PURGE_DELAY", "10").status()?;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

fn bucket(folder: &str) -> Outcome<Bucket> {
    Ok(folder.parse::<StoreUrl>()?.open(&BucketOptions::default())?)
}

async fn fill(folder: &str) -> Outcome<()> {
    let mut options = StoreOptions::new(bucket(folder)?);
    options.background = Background::Off;
    options.head_bytes_max = 4 << 30;
    let store = Store::open(options).await?;
    let fleet = fleet();
    let flush_scrapes = size(FLUSH_SCRAPES, FIVE_MINUTES);
    let services: Vec<_> = fleet.services().collect();
    let mut runs: Vec<_> = services.iter().map(|service| service.run()).collect();
    loop {
        let mut pushed = 0;
        for (service, run) in services.iter().zip(&mut runs) {
            for scrape in run.take(flush_scrapes) {
                let batch = service.batch(&scrape);
                let (tenant, labels) = (Tenant::default(), service.labels());
                store
                    .push(PushProfile { tenant, labels, batch, received: None, id: None, time_unix_nano: None })
                    .await?;
                pushed += 1;
            }
        }
        if pushed == 0 {
            return Ok(store.shutdown().await?);
        }
        store.flush().await?;
    }
}

async fn compact(folder: &str) -> Outcome<()> {
    let report = Report::new("Does merging segments stay within its memory, and how small does it make them?");
    let bucket = bucket(folder)?;
    let before = ls(&bucket).await?.manifest;
    let mut options = CompactorOptions::new(bucket.clone());
    options.memory_bytes_max = MEMORY_BYTES_MAX;
    let compactor = Compactor::new(options)?;
    let (started, cpu) = (Instant::now(), process_cpu());
    let done = compactor.compact(Scope::All, &|_, _| {}).await?;
    let (wall, cpu) = (started.elapsed().as_secs_f64(), (process_cpu() - cpu).as_secs_f64());
    let after = ls(&bucket).await?.manifest;

    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let samples = samples(&after);
    report.note(format!("{} segments into {}, {samples} samples", done.segments_in, done.segments_out));
    report.figure("bytes merged", mib(done.bytes_in as f64), "MiB");
    let peak = mib(resident_peak_bytes()?);
    report.goal("memory of the process at its peak", peak, "MiB", Goal::AtMost(mib(MEMORY_BYTES_MAX as f64)));
    report.figure("wall time", wall, "s");
    report.figure("CPU time", cpu / done.samples_out as f64 * 1e9, "ns/sample");
    report.figure("bytes merged by wall time", mib(done.bytes_in as f64) / wall, "MiB/s");
    report.figure("samples merged by CPU time", done.samples_out as f64 / cpu / 1e6, "M/s");
    report.figure("all in, before", bytes(&before, |_| true) / samples as f64, "B/sample");
    report.figure("all in, after", bytes(&after, |_| true) / samples as f64, "B/sample");
    report.figure("  of these samples", bytes(&after, |table| table == Table::Samples) / samples as f64, "B/sample");
    let is_rollup = |table| Table::ROLLUPS.contains(&table);
    report.figure("  of these roll-ups", bytes(&after, is_rollup) / samples as f64, "B/sample");
    report.figure(
        "times as many bytes written as the flushes wrote",
        1.0 + done.bytes_out as f64 / done.bytes_in as f64,
        "×",
    );
    Ok(())
}

fn samples(manifest: &Manifest) -> u64 {
    manifest.segments.iter().map(|entry| entry.sample_rows).sum()
}

fn bytes(manifest: &Manifest, counts: impl Fn(Table) -> bool) -> f64 {
    let tables = manifest.segments.iter().flat_map(|entry| &entry.tables);
    tables.filter(|table| counts(table.table)).map(|table| table.bytes).sum::<u64>() as f64
}

/// The most memory this process ever had, as Linux tells it.
fn resident_peak_bytes() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/self/status")?;
    let kib = line.trim().trim_end_matches(" kB").parse::<f64>()?;
    Ok(kib * 1024.0)
}
