//! Two thousand targets on loopback: none is late by an interval, and none is missed.
//!
//! `FLAMESTORE_SCRAPE_SECONDS` says for how long (12), `FLAMESTORE_SCRAPE_INTERVAL` how often each is scraped (10s). Stands
//! alone, so that nothing else in its process takes the time that it asks about.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use flamestore_formats::{ProfileBuilder, encode_pprof, gzip};
use flamestore_scrape::{ScrapeConfig, ScrapeOptions, ScrapedProfile, Scraper, Sink};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const TARGETS: usize = 2000;
const SERVERS: usize = 20;
const BODIES_MAX: usize = 16;
/// Scrapes after which a target counts from zero again, as a process does that has restarted.
const RESTART_EVERY: i64 = 5;

/// What comes: how many profiles, and how many at once.
#[derive(Default)]
struct Count {
    pushes: AtomicU64,
    now: AtomicU64,
    most: AtomicU64,
}

#[async_trait]
impl Sink for Count {
    async fn push(&self, profile: ScrapedProfile) -> flamestore_model::Result<()> {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        assert_eq!(profile.batch.samples.len(), 2);
        tokio::task::yield_now().await;
        self.pushes.fetch_add(1, Ordering::Relaxed);
        self.now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What target `n` answers with at a count.
fn profile(n: usize, count: i64) -> Vec<u8> {
    let (mut builder, frame) = (ProfileBuilder::new(), format!("handler_{n}"));
    builder.sample_type("alloc_space", "bytes").period("space", "bytes", 524_288);
    builder.add_sample(&["main", "serve", &frame], &[count], &[]).add_sample(&["main", "log", &frame], &[count], &[]);
    gzip(&encode_pprof(&builder.finish().unwrap())).unwrap()
}

/// Serves all targets on some ports.
async fn serve(tasks: &mut JoinSet<()>) -> Vec<SocketAddr> {
    let counts: Arc<Vec<AtomicI64>> = Arc::new((0..TARGETS).map(|_| AtomicI64::new(0)).collect());
    let answer =
        async move |Path(n): Path<usize>| profile(n, counts[n].fetch_add(1, Ordering::Relaxed) % RESTART_EVERY + 1);
    let router = Router::new().route("/{n}", get(answer));
    let mut addresses = Vec::new();
    for _ in 0..SERVERS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        let router = router.clone();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    }
    addresses
}

/// A job of one profile of each target.
fn job(addresses: &[SocketAddr], interval: Duration) -> ScrapeConfig {
    let group = |n: usize| {
        format!("{{targets=['{}'],labels={{__profiles__='memory',__profile_path__='/{n}'}}}}", addresses[n % SERVERS])
    };
    let groups = (0..TARGETS).map(group).collect::<Vec<_>>().join(",");
    let interval = humantime::format_duration(interval);
    toml::from_str(&format!("job_name='fleet'\nscrape_interval='{interval}'\nstatic_configs=[{groups}]")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_targets_are_never_late_by_an_interval() {
    let seconds: u64 = setting("FLAMESTORE_SCRAPE_SECONDS", 12);
    let interval = humantime::parse_duration(&setting("FLAMESTORE_SCRAPE_INTERVAL", "10s".to_owned())).unwrap();
    let mut tasks = JoinSet::new();
    let config = job(&serve(&mut tasks).await, interval);
    let now = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    let options = ScrapeOptions {
        bodies_max: BODIES_MAX,
        requests_max: 256,
        sync_delay: Duration::ZERO,
        ..ScrapeOptions::new(Arc::new(now))
    };
    let sink = Arc::new(Count::default());
    let scraper = Scraper::new(&[config], options, Arc::clone(&sink) as _).unwrap();
    let (page, stop) = (scraper.page(), CancellationToken::new());
    // the scraper runs on its own; how long is what this test is about
    assert!(tokio::time::timeout(Duration::from_secs(seconds), scraper.run(stop)).await.is_err());

    let page: Value = serde_json::from_str(&page.render()).unwrap();
    let targets = page["activeTargets"].as_array().unwrap();
    let sum = |name: &str| targets.iter().map(|target| target[name].as_u64().unwrap()).sum::<u64>();
    let late = targets.iter().map(|target| target["lateSecondsMax"].as_f64().unwrap()).fold(0.0, f64::max);
    let errors = targets.iter().filter(|target| target["lastError"] != "").count();
    let (scrapes, missed, pushes) = (sum("scrapes"), sum("missed"), sink.pushes.load(Ordering::Relaxed));
    let most = sink.most.load(Ordering::Relaxed);
    println!(
        "{TARGETS} targets for {seconds} s, each every {}: {scrapes} scrapes",
        humantime::format_duration(interval)
    );
    println!("latest {:.4} intervals after its time, {missed} missed, {errors} failed", late / interval.as_secs_f64());
    println!("{pushes} profiles pushed, at most {most} at once, peak memory {}", peak_memory());

    assert_eq!(targets.len(), TARGETS);
    assert!(late < interval.as_secs_f64(), "{late}");
    assert_eq!((missed, errors), (0, 0));
    assert!(scrapes > 0 && pushes >= scrapes && most <= u64::try_from(BODIES_MAX).unwrap(), "{pushes} {most}");
    // each has its turn in every interval, and the run begins and ends within one
    let whole = u64::try_from(Duration::from_secs(seconds).as_nanos() / interval.as_nanos()).unwrap();
    let least = targets.iter().map(|target| target["scrapes"].as_u64().unwrap()).min();
    assert!(least >= Some(whole.saturating_sub(1)), "{least:?} of {whole}");
}

/// The most memory that this process has held, where the system tells it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}
