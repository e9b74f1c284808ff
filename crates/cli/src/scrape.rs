//! `[[scrape]]` and `[scraper]`: profiles that a server pulls, handed to its store.
//!
//! ```toml
//! [[scrape]]                        # a job; any number of them
//! job_name = "shop"
//! static_configs = [{ targets = ["10.0.0.1:6060"] }]
//! [scraper]                         # what bounds all jobs together
//! requests_max = 4096
//! ```
//!
//! A scraped profile goes the way of a pushed one: into the log, into the head. One that the store refuses is lost, and the
//! targets page says why.

use std::sync::Arc;

use async_trait::async_trait;
use flamestore_formats::Limits;
use flamestore_model::Result;
use flamestore_scrape::{LabelLimits, ScrapeConfig, ScrapeOptions, ScrapedProfile, Scraper, Sink, TargetsPage};
use flamestore_server::ServerConfig;
use flamestore_store::{Clock, ProfileFormat, PushProfile, Store, SystemClock};
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What bounds all jobs together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ScraperSection {
    requests_max: Option<usize>,
    bodies_max: Option<usize>,
    targets_max: Option<usize>,
}

impl ScraperSection {
    /// The options of a server of `config`.
    fn options(&self, config: &ServerConfig) -> ScrapeOptions {
        let mut options = ScrapeOptions::new(Arc::new(|| SystemClock.now_unix_nano()));
        options.requests_max = self.requests_max.unwrap_or(options.requests_max);
        options.bodies_max = self.bodies_max.unwrap_or(options.bodies_max);
        options.targets_max = self.targets_max.unwrap_or(options.targets_max);
        options.labels = LabelLimits { labels_max: config.series_labels_max, label_bytes_max: config.label_bytes_max };
        options.limits = Limits::from(&config.profile);
        options
    }
}

/// Stores what is scraped.
struct StoreSink {
    store: Arc<Store>,
}

#[async_trait]
impl Sink for StoreSink {
    async fn push(&self, profile: ScrapedProfile) -> Result<()> {
        let ScrapedProfile { tenant, labels, batch, received } = profile;
        let received = received.map(|bytes| (ProfileFormat::Pprof, bytes));
        let push = PushProfile { tenant, labels, batch, received, id: None, time_unix_nano: None };
        self.store.push(push).await.map(|_| ())
    }
}

/// A scraper that runs beside a server; it ends when it is dropped.
pub(crate) struct Scraping {
    page: TargetsPage,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Scraping {
    /// Starts to scrape `jobs` into `store`.
    ///
    /// # Errors
    /// `Invalid` for a job that makes no sense.
    pub(crate) fn start(
        jobs: &[ScrapeConfig],
        section: &ScraperSection,
        config: &ServerConfig,
        store: Arc<Store>,
    ) -> Result<Self> {
        let scraper = Scraper::new(jobs, section.options(config), Arc::new(StoreSink { store }))?;
        let (page, stop) = (scraper.page(), CancellationToken::new());
        let stopped = stop.clone();
        let running = tokio::spawn(async move { scraper.run(stopped).await });
        Ok(Self { page, stop, running })
    }

    /// The targets page.
    pub(crate) fn page(&self) -> TargetsPage {
        self.page.clone()
    }

    /// Gives up what is being scraped; what was handed to the store stays.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.running).await {
            tracing::error!(%error, "the scraper broke");
        }
    }
}

impl Drop for Scraping {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
