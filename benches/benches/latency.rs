//! How long does a question about a day of a fleet take, warm, with and without profiles coming in meanwhile?
//!
//! A first process pushes a day of a fleet, flushes each hour and merges the segments. A second one opens that folder and asks each
//! question some 200 times, of another service and another part of the day each time; then the same while every service of the
//! fleet pushes a profile each 15 s. What is measured is the time on the wall, from the call of the engine to the whole answer; a
//! flame graph is folded to 8192 nodes.
//!
//! | variable | default | published figures |
//! |---|---|---|
//! | `FLAMESTORE_BENCH_SERVICES`, `…_SCRAPES` | 8, 16 | 200, 5760 (a day) |
//! | `FLAMESTORE_BENCH_RUNS` | 20 | 200 |
//! | `FLAMESTORE_BENCH_LATENCY_FOLDER` | – | a folder that was filled before |

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flamestore_benches::{Goal, Report, fleet, fleet_of, size};
use flamestore_calltree::{FoldOptions, fold};
use flamestore_model::{Selector, Tenant, TimeRange};
use flamestore_query::{Engine, Query, QueryOptions};
use flamestore_store::{
    Background, Bucket, BucketOptions, Compactor, CompactorOptions, PushProfile, Scope, Store, StoreOptions, StoreUrl,
};
use flamestore_testkit::FleetService;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const FOLDER: &str = "FLAMESTORE_BENCH_LATENCY_FOLDER";
const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
/// Profiles of a service in an hour.
const HOUR_SCRAPES: usize = 240;
const MAX_NODES: usize = 8192;

fn main() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let Ok(folder) = std::env::var(FOLDER) {
        return runtime.block_on(ask(&folder));
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().ok_or("a path is not UTF-8")?;
    runtime.block_on(fill(path))?;
    let status = Command::new(std::env::current_exe()?).env(FOLDER, path).status()?;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

fn bucket(folder: &str) -> Outcome<Bucket> {
    Ok(folder.parse::<StoreUrl>()?.open(&BucketOptions::default())?)
}

async fn push(store: &Store, service: &FleetService, scrape: &flamestore_testkit::Scrape, time: i64) -> Outcome<()> {
    let push = PushProfile {
        tenant: Tenant::default(),
        labels: service.labels(),
        batch: service.batch(scrape),
        received: None,
        id: None,
        time_unix_nano: Some(time),
    };
    store.push(push).await?;
    Ok(())
}

/// Pushes the fleet hour by hour, then merges what was flushed.
async fn fill(folder: &str) -> Outcome<()> {
    let mut options = StoreOptions::new(bucket(folder)?);
    options.background = Background::Off;
    options.head_bytes_max = 6 << 30;
    let store = Store::open(options).await?;
    let fleet = fleet();
    let services: Vec<_> = fleet.services().collect();
    let mut runs: Vec<_> = services.iter().map(FleetService::run).collect();
    loop {
        let mut pushed = 0;
        for (service, run) in services.iter().zip(&mut runs) {
            for scrape in run.take(HOUR_SCRAPES) {
                push(&store, service, &scrape, scrape.time_unix_nano).await?;
                pushed += 1;
            }
        }
        if pushed == 0 {
            break;
        }
        store.flush().await?;
    }
    store.shutdown().await?;
    Compactor::new(CompactorOptions::new(bucket(folder)?))?.compact(Scope::All, &|_, _| {}).await?;
    Ok(())
}

/// What is asked, and how long that may take at most.
#[derive(Clone, Copy, Debug)]
enum Question {
    LabelNames,
    LabelValues,
    ProfileTypes,
    TimeSeries,
    MergeHour,
    MergeDay,
    DiffHours,
}

impl Question {
    const ALL: [(Self, &'static str, f64); 7] = [
        (Self::LabelNames, "label names", 20.0),
        (Self::LabelValues, "label values", 20.0),
        (Self::ProfileTypes, "profile types", 20.0),
        (Self::TimeSeries, "a day's time series of a service", 50.0),
        (Self::MergeHour, "flame graph of an hour of a service", 50.0),
        (Self::MergeDay, "flame graph of a day of a service", 150.0),
        (Self::DiffHours, "diff of two hours of a service", 100.0),
    ];

    async fn ask(self, engine: &Engine, day: TimeRange, service: &str, run: usize) -> Outcome<()> {
        let all = |range| Query::new(Tenant::default(), Selector::default(), range);
        let of = |range| -> Outcome<Query> {
            let selector: Selector = format!("{{service_name=\"{service}\",__type__=\"cpu\"}}").parse()?;
            Ok(Query::new(Tenant::default(), selector, range))
        };
        let hours = ((day.end - day.start) / HOUR).max(2);
        let hour = |number: usize| {
            let start = day.start + i64::try_from(number).unwrap_or(0) % hours * HOUR;
            // Not at whole hours: people look at the last sixty minutes.
            TimeRange { start: start + 600 * SECOND, end: start + 600 * SECOND + HOUR }
        };
        match self {
            Self::LabelNames => drop(engine.label_names(&all(day)).await?),
            Self::LabelValues => drop(engine.label_values(&all(day), "service_name").await?),
            Self::ProfileTypes => drop(engine.profile_types(&all(day)).await?),
            Self::TimeSeries => drop(engine.time_series(&of(day)?, 15 * 60 * SECOND, &[]).await?),
            Self::MergeHour => flame(&engine.merge(&of(hour(run))?).await?.value)?,
            Self::MergeDay => flame(&engine.merge(&of(day)?).await?.value)?,
            Self::DiffHours => flame(&engine.diff(&of(hour(run))?, &of(hour(run + 1))?).await?.value)?,
        }
        Ok(())
    }
}

/// Folds a call tree to what a page shows.
fn flame(tree: &flamestore_calltree::ValueTree) -> Outcome<()> {
    match fold(tree, &FoldOptions { max_nodes: MAX_NODES }).levels().levels.is_empty() {
        true => Err("a flame graph is empty".into()),
        false => Ok(()),
    }
}

async fn ask(folder: &str) -> Outcome<()> {
    let report = Report::new("How long does a question about a day of a fleet take, warm?");
    let mut options = StoreOptions::new(bucket(folder)?);
    options.head_bytes_max = 1 << 30;
    let store = Store::open(options).await?;
    let engine = Arc::new(Engine::new(Arc::clone(&store), QueryOptions { partitions: 2, ..QueryOptions::default() })?);
    let manifest = store.manifest();
    let bounds = manifest.segments.iter().map(|entry| (entry.time_min, entry.time_max));
    let day = bounds.fold(TimeRange { start: i64::MAX, end: i64::MIN }, |day, (min, max)| TimeRange {
        start: day.start.min(min),
        end: day.end.max(max + 1),
    });
    let samples: u64 = manifest.segments.iter().map(|entry| entry.sample_rows).sum();
    let services = size("FLAMESTORE_BENCH_SERVICES", 8);
    let runs = size("FLAMESTORE_BENCH_RUNS", 20);
    report.note(format!(
        "{} segments, {samples} samples of {services} services in {:.1} h; {runs} runs",
        manifest.segments.len(),
        (day.end - day.start) as f64 / HOUR as f64
    ));
    let fleet = fleet_of(services, 1 << 20);
    let names: Vec<String> = fleet.services().map(|service| service.name()).collect();

    let quiet = measure(&engine, day, &names, runs).await?;
    let ingest = tokio::spawn(push_at_rate(Arc::clone(&store), services));
    let loaded = measure(&engine, day, &names, runs).await;
    let pushed = ingest.is_finished();
    ingest.abort();
    if pushed {
        return Err("pushing ended early".into());
    }
    for (((_, what, goal), quiet), loaded) in Question::ALL.into_iter().zip(quiet).zip(loaded?) {
        report.figure(&format!("{what}, p50"), quiet.0, "ms");
        report.goal(&format!("{what}, p95"), quiet.1, "ms", Goal::AtMost(goal));
        report.figure("  while profiles come in, p50", loaded.0, "ms");
        report.goal("  while profiles come in, p95", loaded.1, "ms", Goal::AtMost(2.0 * goal));
    }
    Ok(store.shutdown().await?)
}

/// p50 and p95 of each question, in milliseconds. Each service was asked about once before.
async fn measure(engine: &Engine, day: TimeRange, names: &[String], runs: usize) -> Outcome<Vec<(f64, f64)>> {
    let mut quantiles = Vec::new();
    for (question, _, _) in Question::ALL {
        // A few services, as people look at a few: the caches have seen them.
        let asked = |run: usize| &names[run * 7 % names.len() % 10];
        for run in 0..10 {
            question.ask(engine, day, asked(run), run).await?;
        }
        let mut times = Vec::with_capacity(runs);
        for run in 0..runs {
            let started = Instant::now();
            question.ask(engine, day, asked(run), run).await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        quantiles.push((at(50), at(95)));
    }
    Ok(quantiles)
}

/// A profile of every service each 15 s, spread evenly, taken now, until it is aborted.
async fn push_at_rate(store: Arc<Store>, services: usize) -> Result<(), String> {
    let fleet = fleet_of(services, 1 << 20);
    let services: Vec<_> = fleet.services().collect();
    let mut runs: Vec<_> = services.iter().map(FleetService::run).collect();
    let mut ticks = tokio::time::interval(Duration::from_secs(15) / u32::try_from(services.len()).unwrap_or(1));
    loop {
        for (service, run) in services.iter().zip(&mut runs) {
            ticks.tick().await;
            let Some(scrape) = run.next() else { return Ok(()) };
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(|e| e.to_string())?;
            let now = i64::try_from(now.as_nanos()).map_err(|e| e.to_string())?;
            push(&store, service, &scrape, now).await.map_err(|e| e.to_string())?;
        }
    }
}
