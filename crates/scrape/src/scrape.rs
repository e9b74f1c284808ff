//! One scrape: asked, read, decoded, handed on.
//!
//! ```text
//! GET ── head of the answer ── a place among bodies_max ── body ── decode on a thread ── sink
//!  └────────────────── within the target's deadline ──────────┘
//! ```
//!
//! Memory is spent from the place on: at most `bodies_max` answers are held, each of at most `body_bytes_max`, and at most
//! `decode_threads` of them are being decoded, within the limits of a profile. A target that is slow to begin holds a socket
//! only; what it sends meanwhile waits in the network.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flamestore_formats::{Limits, decode_pprof};
use flamestore_model::{Error, ProfileBatch, Result};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::client::body;
use crate::profiles::Window;
use crate::scraper::ScrapeOptions;
use crate::sink::{ScrapedProfile, Sink};
use crate::target::{Job, Target};

/// What all scrapes stand on.
pub(crate) struct Scrapes {
    jobs: Arc<[Job]>,
    sink: Arc<dyn Sink>,
    limits: Arc<Limits>,
    bodies: Semaphore,
    decoders: Arc<Semaphore>,
}

/// What came of one scrape.
pub(crate) struct Scraped {
    /// When the target had answered with a profile, if it did.
    pub(crate) answered: Option<Instant>,
    /// Whether it is stored.
    pub(crate) result: Result<()>,
}

impl Scrapes {
    /// Scrapes for `jobs` into `sink`.
    pub(crate) fn new(jobs: Arc<[Job]>, sink: Arc<dyn Sink>, options: &ScrapeOptions) -> Self {
        Self {
            jobs,
            sink,
            limits: Arc::new(options.limits.clone()),
            bodies: Semaphore::new(options.bodies_max),
            decoders: Arc::new(Semaphore::new(options.decode_threads)),
        }
    }

    /// Scrapes `target`, which was last answered for at `before`.
    pub(crate) async fn scrape(&self, target: &Target, before: Option<Instant>) -> Scraped {
        match self.fetch(target).await {
            Err(error) => Scraped { answered: None, result: Err(error) },
            Ok((place, batch, received)) => {
                let answered = Instant::now();
                let result = self.store(target, batch, received, before.map(|before| answered - before)).await;
                drop(place);
                Scraped { answered: Some(answered), result }
            }
        }
    }

    /// The profile that `target` answers with, and the place that its memory takes.
    async fn fetch(&self, target: &Target) -> Result<(impl Drop + use<'_>, ProfileBatch, Bytes)> {
        let job = &self.jobs[target.job];
        let asked = async {
            let response = job.client.get(&target.url, "*/*").await?;
            let place = self.bodies.acquire().await.map_err(|e| Error::internal("no scrape can run").because(e))?;
            Ok((place, body(response, job.body_bytes_max).await?))
        };
        let late = |_| {
            Err(Error::unavailable("the target does not answer in time").with("seconds", target.deadline.as_secs_f64()))
        };
        let (place, received) = tokio::time::timeout(target.deadline, asked).await.unwrap_or_else(late)?;
        let batch = self.decode(received.clone()).await?;
        Ok((place, batch, received))
    }

    async fn decode(&self, bytes: Bytes) -> Result<ProfileBatch> {
        let turn = Arc::clone(&self.decoders).acquire_owned().await;
        let turn = turn.map_err(|e| Error::internal("no profile can be decoded").because(e))?;
        let limits = Arc::clone(&self.limits);
        let decoding = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            decode_pprof(bytes, &limits)
        });
        decoding.await.map_err(|e| Error::internal("decoding did not end").because(e))?
    }

    /// Hands a profile on, with the time it is about where it does not say: `since` the answer before.
    async fn store(
        &self,
        target: &Target,
        mut batch: ProfileBatch,
        received: Bytes,
        since: Option<Duration>,
    ) -> Result<()> {
        let window = match (target.window, since) {
            (Window::AsSent, _) => None,
            (Window::Seconds(seconds), _) => Some(Duration::from_secs(seconds)),
            // what the first answer is about began before this process knew of the target
            (Window::SinceLast, None) => return Ok(()),
            (Window::SinceLast, Some(since)) => Some(since),
        };
        let mut received = Some(received);
        if let Some(window) = window.filter(|_| batch.header.duration_nano == 0) {
            batch.header.duration_nano = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
            received = None;
        }
        let tenant = self.jobs[target.job].tenant.clone();
        self.sink.push(ScrapedProfile { tenant, labels: target.labels.clone(), batch, received }).await
    }
}
