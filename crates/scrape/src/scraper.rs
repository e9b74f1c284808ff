//! The scraper: what discovery finds becomes targets, and targets that are due are scraped.
//!
//! ```text
//! discovery ─▶ relabel ─▶ targets ─▶ schedule ─▶ scrapes (at most requests_max) ─▶ sink
//!                            └────────▶ targets page ◀──────────┘
//! ```
//!
//! One task decides, one task a running scrape, none a target. When `requests_max` scrapes run, what is due waits for one to
//! end; how late it then begins is told by the targets page. Memory is bounded by `targets_max` and by what [`crate::scrape`]
//! says of answers.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use flamestore_formats::Limits;
use flamestore_model::{Error, Result};
use parking_lot::Mutex;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::ScrapeConfig;
use crate::discover::{Discovered, Providers};
use crate::metric;
use crate::relabel::LabelMap;
use crate::schedule::{Due, Schedule, TargetKey};
use crate::scrape::Scrapes;
use crate::sink::Sink;
use crate::state::{Change, Ended, Outcome, State, TargetsPage, WrongTarget};
use crate::target::{Job, LabelLimits, Resolved};

/// Wall time in nanoseconds since 1970.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What bounds a scraper, and the clock it looks at.
#[derive(Clone)]
pub struct ScrapeOptions {
    /// Scrapes that run at the same time; each holds a socket.
    pub requests_max: usize,
    /// Answers that are held in memory at the same time.
    pub bodies_max: usize,
    /// Answers that are decoded at the same time.
    pub decode_threads: usize,
    /// What discovery may find, profiles of one target not counted.
    pub targets_max: usize,
    /// What bounds the labels of a target.
    pub labels: LabelLimits,
    /// What a scraped profile may hold.
    pub limits: Limits,
    /// How long changes that discovery finds are gathered before targets follow.
    pub sync_delay: Duration,
    /// Wall time: the phase of the schedule, and what the targets page shows.
    pub now: Now,
}

impl ScrapeOptions {
    /// The defaults, with a clock.
    pub fn new(now: Now) -> Self {
        Self {
            requests_max: 4096,
            bodies_max: 64,
            decode_threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            targets_max: 20_000,
            labels: LabelLimits { labels_max: 128, label_bytes_max: 4096 },
            limits: Limits::default(),
            sync_delay: Duration::from_secs(1),
            now,
        }
    }

    fn check(&self) -> Result<()> {
        let positive = [
            ("requests_max", self.requests_max),
            ("bodies_max", self.bodies_max),
            ("decode_threads", self.decode_threads),
        ];
        match positive.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::invalid(format!("{name} must be at least 1"))),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for ScrapeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests_max, bodies_max, targets_max, .. } = self;
        let mut shown = f.debug_struct("ScrapeOptions");
        shown.field("requests_max", requests_max).field("bodies_max", bodies_max).field("targets_max", targets_max);
        shown.finish_non_exhaustive()
    }
}

/// Scrapes the targets of some jobs once it runs.
#[must_use = "a scraper scrapes only while it runs"]
pub struct Scraper {
    jobs: Arc<[Job]>,
    providers: Mutex<Vec<Providers>>,
    discovered: Arc<Discovered>,
    state: Arc<State>,
    scrapes: Arc<Scrapes>,
    options: ScrapeOptions,
}

impl fmt::Debug for Scraper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scraper").field("jobs", &self.jobs).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Scraper {
    /// A scraper of these jobs, which hands what it scrapes to `sink`.
    ///
    /// # Errors
    /// `Invalid` for settings that make no sense, with the job's name; `Exhausted` for too many static targets.
    pub fn new(configs: &[ScrapeConfig], options: ScrapeOptions, sink: Arc<dyn Sink>) -> Result<Self> {
        options.check()?;
        let jobs: Arc<[Job]> = configs.iter().map(Job::new).collect::<Result<_>>()?;
        if let Some(twice) =
            jobs.iter().enumerate().find(|(at, job)| jobs[..*at].iter().any(|other| other.name == job.name))
        {
            return Err(Error::invalid("two scrape jobs have one name").with("job_name", format!("{:?}", twice.1.name)));
        }
        let discovered = Arc::new(Discovered::new(options.targets_max));
        let providers = configs.iter().enumerate().map(|(at, config)| {
            let providers = Providers::new(at, config, &discovered);
            providers.map_err(|e| e.with("job_name", format!("{:?}", config.job_name)))
        });
        Ok(Self {
            providers: Mutex::new(providers.collect::<Result<_>>()?),
            scrapes: Arc::new(Scrapes::new(Arc::clone(&jobs), sink, &options)),
            state: Arc::default(),
            discovered,
            jobs,
            options,
        })
    }

    /// The targets page.
    pub fn page(&self) -> TargetsPage {
        TargetsPage {
            jobs: self.jobs.iter().map(|job| (job.name.clone(), job.tenant.clone())).collect(),
            state: Arc::clone(&self.state),
            discovered: Arc::clone(&self.discovered),
        }
    }

    /// Scrapes until `stop` is cancelled; scrapes that run then are given up. To be run once.
    pub async fn run(&self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        for providers in std::mem::take(&mut *self.providers.lock()) {
            providers.spawn(&self.discovered, &mut tasks);
        }
        let mut run = Run {
            scraper: self,
            start: Instant::now(),
            schedule: Schedule::default(),
            running: JoinSet::new(),
            keys: HashMap::new(),
        };
        run.until(stop).await;
        run.running.shutdown().await;
        tasks.shutdown().await;
    }

    /// The targets of what was found for job number `job`.
    fn resolve(jobs: &[Job], job: usize, found: &[Arc<LabelMap>], limits: LabelLimits) -> Outcome {
        let mut outcome = Outcome::default();
        for discovered in found {
            for resolved in jobs[job].targets(job, discovered, limits) {
                match resolved {
                    Resolved::Active(target) => {
                        outcome.active.insert(target.key(), Arc::new(target));
                    }
                    Resolved::Dropped => outcome.dropped += 1,
                    Resolved::Wrong(error) => {
                        outcome.wrong.push(WrongTarget { discovered: Arc::clone(discovered), error: error.to_string() })
                    }
                }
            }
        }
        outcome
    }
}

/// A scraper that runs.
struct Run<'a> {
    scraper: &'a Scraper,
    /// What the schedule counts from.
    start: Instant,
    schedule: Schedule,
    running: JoinSet<Ended>,
    /// Whose scrape a task is, should it break.
    keys: HashMap<Id, TargetKey>,
}

impl Run<'_> {
    async fn until(&mut self, stop: CancellationToken) {
        let discovered = Arc::clone(&self.scraper.discovered);
        let mut sync_at = None;
        loop {
            self.start_due();
            let is_full = self.running.len() >= self.scraper.options.requests_max;
            let next = self.schedule.next_due().filter(|_| !is_full).map(|due| self.start + due);
            tokio::select! {
                () = stop.cancelled() => return,
                () = discovered.changed(), if sync_at.is_none() => {
                    sync_at = Some(Instant::now() + self.scraper.options.sync_delay);
                }
                () = until(sync_at) => {
                    sync_at = None;
                    self.sync().await;
                }
                Some(ended) = self.running.join_next_with_id() => self.finish(ended),
                () = until(next) => {}
            }
        }
    }

    /// Starts what is due, as far as there is room.
    fn start_due(&mut self) {
        while self.running.len() < self.scraper.options.requests_max {
            let now = self.start.elapsed();
            let Some(Due { key, at }) = self.schedule.take_due(now) else { return };
            let late = now - at;
            metrics::histogram!(metric::LATE_SECONDS).record(late.as_secs_f64());
            let (scrapes, state) = (Arc::clone(&self.scraper.scrapes), Arc::clone(&self.scraper.state));
            let unix_nano = (self.scraper.options.now)();
            let task = self.running.spawn(async move {
                let begun = Instant::now();
                let ended = |answered, error| Ended { key, unix_nano, took: begun.elapsed(), late, answered, error };
                match state.target(key) {
                    Some((target, before)) => {
                        let scraped = scrapes.scrape(&target, before).await;
                        ended(scraped.answered, scraped.result.err())
                    }
                    None => ended(None, None),
                }
            });
            self.keys.insert(task.id(), key);
        }
    }

    fn finish(&mut self, ended: std::result::Result<(Id, Ended), tokio::task::JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(key) = self.keys.remove(&id) else { return };
        let missed = self.schedule.finish(key, self.start.elapsed());
        let ended = ended.map_or_else(|error| self.broken(key, error), |(_, ended)| ended);
        let outcome = ended.error.as_ref().map_or("stored", |error| error.kind().as_str());
        metrics::counter!(metric::SCRAPES_TOTAL, "outcome" => outcome).increment(1);
        metrics::histogram!(metric::SCRAPE_SECONDS).record(ended.took.as_secs_f64());
        self.scraper.state.ended(ended, missed);
    }

    fn broken(&self, key: TargetKey, error: tokio::task::JoinError) -> Ended {
        tracing::error!(%error, "a scrape broke");
        let error = Some(Error::internal("the scrape broke").because(error));
        Ended {
            key,
            unix_nano: (self.scraper.options.now)(),
            took: Duration::ZERO,
            late: Duration::ZERO,
            answered: None,
            error,
        }
    }

    /// Lets targets follow what discovery has found.
    async fn sync(&mut self) {
        for (job, found) in self.scraper.discovered.take_changed() {
            let (jobs, limits) = (Arc::clone(&self.scraper.jobs), self.scraper.options.labels);
            let resolving = tokio::task::spawn_blocking(move || Scraper::resolve(&jobs, job, &found, limits));
            let outcome = match resolving.await {
                Ok(outcome) => outcome,
                Err(error) => {
                    tracing::error!(%error, "relabelling broke");
                    continue;
                }
            };
            let Change { added, removed } = self.scraper.state.set_job(job, outcome);
            tracing::debug!(job, added = added.len(), removed = removed.len(), "targets changed");
            removed.iter().for_each(|key| self.schedule.remove(*key));
            let (now, unix_nano) = (self.start.elapsed(), (self.scraper.options.now)());
            for target in added {
                self.schedule.insert(target.key(), target.interval, now, unix_nano);
            }
        }
        let targets = u32::try_from(self.scraper.state.len()).unwrap_or(u32::MAX);
        metrics::gauge!(metric::TARGETS).set(targets);
    }
}

/// Completes at `at`, never without it.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
