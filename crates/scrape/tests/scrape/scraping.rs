//! What is asked of a target, and what becomes of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::http::Uri;
use axum::routing::get;
use bytes::Bytes;
use flamestore_scrape::{ScrapeOptions, ScrapedProfile, Sink};

use crate::harness::{Endpoint, ONLY_MEMORY, PATIENCE, Scraping, cpu, heap, job, job_every, options, total};

const NOON: i64 = 1_772_366_400_000_000_000;

fn pprof() -> Router {
    let by_query = async |uri: Uri| match uri.query() {
        Some("seconds=1") => cpu("main;work", 7),
        _ => Vec::new(),
    };
    Router::new()
        .route("/debug/pprof/profile", get(by_query))
        .route("/debug/pprof/allocs", get(async || heap(NOON, &[("main;read", 100), ("main;write", 30)])))
        .route("/debug/pprof/goroutine", get(async || heap(NOON, &[("main", 1)])))
}

#[tokio::test]
async fn profiles_come_with_the_labels_of_their_target() {
    let endpoint = Endpoint::start(pprof()).await;
    let config = format!(
        r#"
        [[scrape]]
        job_name = "shop"
        tenant = "team-a"
        scrape_interval = "1s"
        static_configs = [{{ targets = ["{}"], labels = {{ env = "dev" }} }}]
        [scrape.profiling_config.profile]
        mutex.enabled = false
        block.enabled = false
        "#,
        endpoint.addr
    );
    let mut scraping = Scraping::start(&config);
    let address = endpoint.addr.to_string();
    let labels = |name: &str| {
        format!(r#"{{__name__="{name}", env="dev", instance="{address}", job="shop", service_name="shop"}}"#)
    };
    let memory = scraping.next_with("__name__", "memory").await;
    assert_eq!((memory.labels.to_string(), memory.tenant.as_str()), (labels("memory"), "team-a"));
    assert_eq!(total(&memory.batch), 130);
    assert_eq!(memory.batch.header.duration_nano, 0);
    assert_eq!(memory.received, Some(Bytes::from(heap(NOON, &[("main;read", 100), ("main;write", 30)]))));
    // a profile taken over a second that does not say so
    let taken = scraping.next_with("__name__", "process_cpu").await;
    assert_eq!(taken.labels.to_string(), labels("process_cpu"));
    assert_eq!((taken.batch.header.duration_nano, taken.received), (1_000_000_000, None));
    scraping.next_with("__name__", "goroutine").await;

    let page =
        scraping.page_with(|page| page["activeTargets"].as_array().unwrap().iter().all(|t| t["health"] == "up")).await;
    let cpu_url = format!("http://{address}/debug/pprof/profile?seconds=1");
    assert!(Scraping::urls(&page).contains(&cpu_url), "{page:#}");
    let target = &page["activeTargets"][0];
    assert_eq!(target["labels"]["env"], "dev");
    assert_eq!(target["discoveredLabels"]["__address__"], address.as_str());
    assert_eq!((&target["scrapePool"], &target["lastError"]), (&"shop".into(), &"".into()));
    assert!(target["lastScrapeDuration"].as_f64() > Some(0.0) && target["lastScrape"].as_str().unwrap().ends_with('Z'));
    scraping.stop().await;
}

#[tokio::test]
async fn a_target_that_counts_on_is_stored_as_it_counts_and_over_its_restart() {
    let count = Arc::new(AtomicI64::new(0));
    let counting = |count: Arc<AtomicI64>| {
        let answer = async move || {
            let count = count.fetch_add(1, Ordering::Relaxed) + 1;
            heap(NOON + count, &[("main;read", 100 * count)])
        };
        Router::new().route("/debug/pprof/allocs", get(answer))
    };
    let endpoint = Endpoint::start(counting(Arc::clone(&count))).await;
    let mut scraping = Scraping::start(&job_every("1s", endpoint.addr, ""));
    for expected in [100, 200, 300] {
        let profile = scraping.next().await;
        assert_eq!((total(&profile.batch), profile.batch.header.duration_nano), (expected, 0));
    }
    let addr = endpoint.stop().await;
    let page = scraping.page_with(|page| page["activeTargets"][0]["health"] == "down").await;
    assert!(page["activeTargets"][0]["lastError"].as_str().unwrap().starts_with("there is no answer: "), "{page:#}");
    while scraping.profiles.try_recv().is_ok() {}
    // the process that is there now counts from zero
    let _endpoint = Endpoint::start_at(addr, counting(Arc::default())).await;
    for expected in [100, 200] {
        assert_eq!(total(&scraping.next().await.batch), expected);
    }
    scraping.page_with(|page| page["activeTargets"][0]["health"] == "up").await;
    assert_eq!(scraping.page()["activeTargets"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_target_that_remembers_the_last_scrape_is_about_the_time_since_then() {
    let count = Arc::new(AtomicI64::new(0));
    let answer = async move || heap(NOON, &[("main;read", count.fetch_add(1, Ordering::Relaxed))]);
    let endpoint = Endpoint::start(Router::new().route("/debug/pprof/delta_heap", get(answer))).await;
    let more =
        "profiling_config.profile.memory.enabled=false\nprofiling_config.profile.godeltaprof_memory.enabled=true";
    let mut scraping = Scraping::start(&job_every("1s", endpoint.addr, more));
    let first = scraping.next().await;
    // the answer before, which began at a time that nobody here knows, is left out
    assert_eq!((total(&first.batch), first.labels.get("__name__")), (1, Some("memory")));
    assert!(first.batch.header.duration_nano > 0 && first.received.is_none());
}

/// Lets each push take a while, and knows how many were under way at once.
struct Slow {
    now: AtomicI64,
    most: AtomicI64,
    pushed: tokio::sync::mpsc::Sender<ScrapedProfile>,
}

#[async_trait]
impl Sink for Slow {
    async fn push(&self, profile: ScrapedProfile) -> flamestore_model::Result<()> {
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
        // a closed channel is that of a test that has seen enough
        let _ = self.pushed.try_send(profile);
        Ok(())
    }
}

#[tokio::test]
async fn no_more_runs_at_once_than_the_options_say() {
    let endpoint = Endpoint::start(Router::new().route("/{n}", get(async || heap(NOON, &[("main", 1)])))).await;
    let group = |n| format!("{{targets=['{}'],labels={{__profile_path__='/{n}'}}}}", endpoint.addr);
    let groups = (0..50).map(group).collect::<Vec<_>>().join(",");
    let config =
        format!("[[scrape]]\njob_name='shop'\nscrape_interval='100ms'\n{ONLY_MEMORY}\nstatic_configs=[{groups}]");
    for (options, most) in
        [(ScrapeOptions { requests_max: 3, ..options() }, 3), (ScrapeOptions { bodies_max: 2, ..options() }, 2)]
    {
        let (pushed, profiles) = tokio::sync::mpsc::channel(1000);
        let slow = Arc::new(Slow { now: AtomicI64::new(0), most: AtomicI64::new(0), pushed });
        let mut scraping = Scraping::start_into(&config, options, Arc::clone(&slow) as _, profiles);
        for _ in 0..100 {
            scraping.next().await;
        }
        assert!((1..=most).contains(&slow.most.load(Ordering::SeqCst)));
        assert_eq!(scraping.page()["activeTargets"].as_array().unwrap().len(), 50);
        scraping.stop().await;
    }
}

#[tokio::test]
async fn a_scraper_that_is_stopped_gives_up_what_runs() {
    let (asked, mut was_asked) = tokio::sync::mpsc::channel(1);
    let answer = async move || {
        asked.send(()).await.unwrap();
        std::future::pending::<Vec<u8>>().await
    };
    let endpoint = Endpoint::start(Router::new().route("/debug/pprof/allocs", get(answer))).await;
    let scraping = Scraping::start(&job(endpoint.addr, ""));
    tokio::time::timeout(PATIENCE, was_asked.recv()).await.unwrap().unwrap();
    scraping.stop().await;
}
