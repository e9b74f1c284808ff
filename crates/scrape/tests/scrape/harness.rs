//! A server that a test writes, a scraper with a sink that the test reads, and profiles to serve.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use axum::Router;
use flamestore_formats::{LabelText, ProfileBuilder, encode_pprof, gzip};
use flamestore_model::{ProfileBatch, Result};
use flamestore_scrape::{ScrapeConfig, ScrapeOptions, ScrapedProfile, Scraper, Sink, TargetsPage};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No test takes longer: what waits, waits in vain.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often a page is looked at by who waits for it to change.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A job with one static target at `address` and the settings `more`, which scrapes memory ten times a second.
pub(crate) fn job(address: SocketAddr, more: &str) -> String {
    job_every("100ms", address, more)
}

/// The same with another interval.
pub(crate) fn job_every(interval: &str, address: SocketAddr, more: &str) -> String {
    format!(
        "[[scrape]]\njob_name='shop'\nscrape_interval='{interval}'\nstatic_configs=[{{targets=['{address}']}}]\n{ONLY_MEMORY}\n{more}"
    )
}

/// Switches every other profile off.
pub(crate) const ONLY_MEMORY: &str = "profiling_config.profile.process_cpu.enabled=false\nprofiling_config.profile.block.enabled=false\nprofiling_config.profile.mutex.enabled=false\nprofiling_config.profile.goroutine.enabled=false";

/// A server that ends with its test.
pub(crate) struct Endpoint {
    pub(crate) addr: SocketAddr,
    serving: JoinHandle<()>,
}

impl Endpoint {
    pub(crate) async fn start(router: Router) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), router).await
    }

    pub(crate) async fn start_at(addr: SocketAddr, router: Router) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, serving }
    }

    /// Ends it, and gives its address for another one.
    pub(crate) async fn stop(mut self) -> SocketAddr {
        self.serving.abort();
        assert!((&mut self.serving).await.unwrap_err().is_cancelled());
        self.addr
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Deserialize)]
struct File {
    scrape: Vec<ScrapeConfig>,
}

/// The jobs of a configuration.
pub(crate) fn jobs(config: &str) -> Vec<ScrapeConfig> {
    toml::from_str::<File>(config).unwrap().scrape
}

/// Options that let targets follow discovery at once.
pub(crate) fn options() -> ScrapeOptions {
    let now = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    ScrapeOptions { sync_delay: Duration::ZERO, ..ScrapeOptions::new(Arc::new(now)) }
}

struct Collect(mpsc::Sender<ScrapedProfile>);

#[async_trait]
impl Sink for Collect {
    async fn push(&self, profile: ScrapedProfile) -> Result<()> {
        // a full or closed channel is that of a test that has seen enough
        let _ = self.0.try_send(profile);
        Ok(())
    }
}

/// A scraper that runs until its test ends.
pub(crate) struct Scraping {
    pub(crate) page: TargetsPage,
    pub(crate) profiles: mpsc::Receiver<ScrapedProfile>,
    stop: CancellationToken,
    pub(crate) running: JoinHandle<()>,
}

impl Scraping {
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, options())
    }

    pub(crate) fn start_with(config: &str, options: ScrapeOptions) -> Self {
        let (sender, profiles) = mpsc::channel(100_000);
        Self::start_into(config, options, Arc::new(Collect(sender)), profiles)
    }

    pub(crate) fn start_into(
        config: &str,
        options: ScrapeOptions,
        sink: Arc<dyn Sink>,
        profiles: mpsc::Receiver<ScrapedProfile>,
    ) -> Self {
        let scraper = Scraper::new(&jobs(config), options, sink).unwrap();
        let (page, stop) = (scraper.page(), CancellationToken::new());
        let stopped = stop.clone();
        let running = tokio::spawn(async move { scraper.run(stopped).await });
        Self { page, profiles, stop, running }
    }

    /// The next profile that is stored.
    pub(crate) async fn next(&mut self) -> ScrapedProfile {
        tokio::time::timeout(PATIENCE, self.profiles.recv()).await.unwrap().unwrap()
    }

    /// The next profile whose series has these labels among others.
    pub(crate) async fn next_with(&mut self, name: &str, value: &str) -> ScrapedProfile {
        loop {
            let profile = self.next().await;
            if profile.labels.get(name) == Some(value) {
                return profile;
            }
        }
    }

    /// The targets page.
    pub(crate) fn page(&self) -> Value {
        serde_json::from_str(&self.page.render()).unwrap()
    }

    /// The targets page, once it is as `wanted` says.
    pub(crate) async fn page_with(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            let mut looks = tokio::time::interval(LOOK_INTERVAL);
            loop {
                looks.tick().await;
                let page = self.page();
                if wanted(&page) {
                    return page;
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await;
        found.unwrap_or_else(|_| panic!("the page stays as it is: {:#}", self.page()))
    }

    /// The first target, once it was scraped.
    pub(crate) async fn first_target(&self) -> Value {
        let page = self.page_with(|page| page["activeTargets"][0]["scrapes"].as_u64() > Some(0)).await;
        page["activeTargets"][0].clone()
    }

    /// The URLs of all targets.
    pub(crate) fn urls(page: &Value) -> Vec<String> {
        let targets = page["activeTargets"].as_array().unwrap();
        targets.iter().map(|target| target["scrapeUrl"].as_str().unwrap().to_owned()).collect()
    }

    /// Stops it, and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap();
    }
}

/// A heap profile as Go's, taken at `time_unix_nano`: stacks with the bytes allocated since the start.
pub(crate) fn heap(time_unix_nano: i64, stacks: &[(&str, i64)]) -> Vec<u8> {
    let mut builder = ProfileBuilder::new();
    builder.sample_type("alloc_space", "bytes").sample_type("inuse_space", "bytes");
    builder.period("space", "bytes", 524_288).time(time_unix_nano, 0);
    for (stack, bytes) in stacks {
        let frames: Vec<&str> = stack.split(';').collect();
        builder.add_sample(&frames, &[*bytes, *bytes / 2], &[("bytes", LabelText::Num(64, "bytes"))]);
    }
    gzip(&encode_pprof(&builder.finish().unwrap())).unwrap()
}

/// A CPU profile without a time and a duration.
pub(crate) fn cpu(stack: &str, nanoseconds: i64) -> Vec<u8> {
    let mut builder = ProfileBuilder::new();
    builder.sample_type("samples", "count").sample_type("cpu", "nanoseconds").period("cpu", "nanoseconds", 10_000_000);
    let frames: Vec<&str> = stack.split(';').collect();
    builder.add_sample(&frames, &[1, nanoseconds], &[]);
    gzip(&encode_pprof(&builder.finish().unwrap())).unwrap()
}

/// The sum of the first values of a profile.
pub(crate) fn total(batch: &ProfileBatch) -> i64 {
    (0..batch.samples.len()).map(|row| batch.values(row)[0]).sum()
}
