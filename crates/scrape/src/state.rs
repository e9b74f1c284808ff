//! What is known of every target: the targets page, in the words of Prometheus's API.
//!
//! ```text
//! {"activeTargets": [{"discoveredLabels", "labels", "scrapePool", "scrapeUrl", "lastError", "lastScrape",
//!                     "lastScrapeDuration", "health", "scrapeInterval", "scrapeTimeout", "scrapes", "missed",
//!                     "lateSecondsMax"}],
//!  "droppedTargetCount": …, "wrongTargets": [{"discoveredLabels", "scrapePool", "error"}],
//!  "discovery": [{"scrapePool", "discovery", "lastError"}]}
//! ```
//!
//! `health` is `unknown` until the first scrape ended, then `up` or `down`. `missed` counts times that passed while a scrape
//! ran, `lateSecondsMax` is the longest that one began after its time. Holds one entry a target and a bounded number of
//! those that are wrong; no lock is held while a page is sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use flamestore_model::{Error, Labels, Tenant};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use crate::discover::Discovered;
use crate::relabel::LabelMap;
use crate::schedule::TargetKey;
use crate::target::Target;

/// Wrong targets that are shown.
const WRONG_MAX: usize = 1000;

/// What is known of all targets.
#[derive(Debug, Default)]
pub(crate) struct State {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    targets: HashMap<TargetKey, Known>,
    /// By job.
    dropped: HashMap<usize, usize>,
    wrong: HashMap<usize, Vec<WrongTarget>>,
}

#[derive(Clone, Debug)]
struct Known {
    target: Arc<Target>,
    last: Option<LastScrape>,
    /// When the target last answered with a profile.
    answered: Option<Instant>,
    scrapes: u64,
    missed: u64,
    late_max: Duration,
}

/// How the last scrape of a target ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastScrape {
    /// When it began, in nanoseconds since 1970.
    pub unix_nano: i64,
    /// How long it took.
    pub took: Duration,
    /// What went wrong, if anything did.
    pub error: Option<String>,
}

/// What is known of a target that is scraped.
#[derive(Clone, Debug)]
pub struct TargetState {
    /// The name of its job.
    pub job: String,
    /// Whose its profiles are.
    pub tenant: Tenant,
    /// What is asked for.
    pub url: String,
    /// The labels of its series.
    pub labels: Labels,
    /// Those before relabelling.
    pub discovered: Arc<BTreeMap<String, String>>,
    /// How its last scrape ended; none has until then.
    pub last: Option<LastScrape>,
}

#[derive(Clone, Debug)]
pub(crate) struct WrongTarget {
    pub(crate) discovered: Arc<LabelMap>,
    pub(crate) error: String,
}

/// What a job's targets became.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) active: HashMap<TargetKey, Arc<Target>>,
    pub(crate) dropped: usize,
    pub(crate) wrong: Vec<WrongTarget>,
}

/// Which targets came and which went.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) added: Vec<Arc<Target>>,
    pub(crate) removed: Vec<TargetKey>,
}

/// How a scrape ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) key: TargetKey,
    pub(crate) unix_nano: i64,
    pub(crate) took: Duration,
    /// How long after its time it began.
    pub(crate) late: Duration,
    /// When the answer was there, if it was one.
    pub(crate) answered: Option<Instant>,
    pub(crate) error: Option<Error>,
}

impl Known {
    fn new(target: Arc<Target>) -> Self {
        Self { target, last: None, answered: None, scrapes: 0, missed: 0, late_max: Duration::ZERO }
    }
}

impl State {
    /// Sets the targets of job number `job`; those that stay keep what is known of them.
    pub(crate) fn set_job(&self, job: usize, outcome: Outcome) -> Change {
        let inner = &mut *self.inner.lock();
        let mut wrong = outcome.wrong;
        wrong.truncate(WRONG_MAX);
        inner.dropped.insert(job, outcome.dropped);
        inner.wrong.insert(job, wrong);
        let mut change = Change::default();
        inner.targets.retain(|key, known| {
            let stays = known.target.job != job || outcome.active.contains_key(key);
            if !stays {
                change.removed.push(*key);
            }
            stays
        });
        for (key, target) in outcome.active {
            match inner.targets.get_mut(&key) {
                Some(known) => known.target = target,
                None => {
                    change.added.push(Arc::clone(&target));
                    inner.targets.insert(key, Known::new(target));
                }
            }
        }
        change
    }

    /// The target of this key, and when it was last answered for.
    pub(crate) fn target(&self, key: TargetKey) -> Option<(Arc<Target>, Option<Instant>)> {
        let inner = self.inner.lock();
        inner.targets.get(&key).map(|known| (Arc::clone(&known.target), known.answered))
    }

    /// How many targets there are.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().targets.len()
    }

    /// Notes how a scrape ended, and how many times passed meanwhile.
    pub(crate) fn ended(&self, ended: Ended, missed: u64) {
        let mut inner = self.inner.lock();
        let Some(known) = inner.targets.get_mut(&ended.key) else { return };
        known.scrapes += 1;
        known.missed += missed;
        known.late_max = known.late_max.max(ended.late);
        known.answered = ended.answered.or(known.answered);
        let error = ended.error.map(|error| error.to_string());
        known.last = Some(LastScrape { unix_nano: ended.unix_nano, took: ended.took, error });
    }

    /// All targets by job, URL and labels.
    fn known(&self) -> Vec<Known> {
        let mut known: Vec<Known> = self.inner.lock().targets.values().cloned().collect();
        known.sort_by(|a, b| {
            let key = |known: &Known| (known.target.job, known.target.url.as_str().to_owned());
            key(a).cmp(&key(b)).then_with(|| a.target.labels.cmp(&b.target.labels))
        });
        known
    }

    fn page(&self, jobs: &[(String, Tenant)], discovered: &Discovered) -> Page {
        let known = self.known();
        let (dropped, wrong) = {
            let inner = self.inner.lock();
            (inner.dropped.values().sum(), inner.wrong.clone())
        };
        let name = |job: usize| jobs.get(job).map(|(name, _)| name.clone()).unwrap_or_default();
        let mut wrong: Vec<(usize, Vec<WrongTarget>)> = wrong.into_iter().collect();
        wrong.sort_by_key(|(job, _)| *job);
        let wrong = wrong.into_iter().flat_map(|(job, wrong)| wrong.into_iter().map(move |wrong| (job, wrong)));
        Page {
            active_targets: known.iter().map(|known| ActiveTarget::new(known, name(known.target.job))).collect(),
            dropped_target_count: dropped,
            wrong_targets: wrong
                .map(|(job, wrong)| WrongEntry {
                    discovered_labels: wrong.discovered,
                    scrape_pool: name(job),
                    error: wrong.error,
                })
                .collect(),
            discovery: discovered
                .errors()
                .into_iter()
                .map(|(job, discovery, last_error)| DiscoveryEntry { scrape_pool: name(job), discovery, last_error })
                .collect(),
        }
    }
}

/// A handle on the targets page of a scraper.
#[derive(Clone, Debug)]
pub struct TargetsPage {
    /// Their names, and whose profiles they scrape.
    pub(crate) jobs: Arc<[(String, Tenant)]>,
    pub(crate) state: Arc<State>,
    pub(crate) discovered: Arc<Discovered>,
}

impl TargetsPage {
    /// The targets that are scraped, by job, URL and labels.
    pub fn targets(&self) -> Vec<TargetState> {
        let told = |known: Known| {
            let Known { target, last, .. } = known;
            let (job, tenant) = self.jobs.get(target.job)?.clone();
            let (labels, discovered) = (target.labels.clone(), Arc::clone(&target.discovered));
            Some(TargetState { job, tenant, url: target.url.to_string(), labels, discovered, last })
        };
        self.state.known().into_iter().filter_map(told).collect()
    }

    /// The page as it is now: one JSON object.
    pub fn render(&self) -> String {
        let page = self.state.page(&self.jobs, &self.discovered);
        serde_json::to_string(&page).unwrap_or_else(|error| {
            tracing::error!(%error, "the targets page cannot be written");
            "{}".to_owned()
        })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    active_targets: Vec<ActiveTarget>,
    dropped_target_count: usize,
    wrong_targets: Vec<WrongEntry>,
    discovery: Vec<DiscoveryEntry>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ActiveTarget {
    #[serde(serialize_with = "shared")]
    discovered_labels: Arc<LabelMap>,
    #[serde(serialize_with = "label_set")]
    labels: Labels,
    scrape_pool: String,
    scrape_url: String,
    last_error: String,
    last_scrape: Option<String>,
    last_scrape_duration: Option<f64>,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
    scrapes: u64,
    missed: u64,
    late_seconds_max: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WrongEntry {
    #[serde(serialize_with = "shared")]
    discovered_labels: Arc<LabelMap>,
    scrape_pool: String,
    error: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DiscoveryEntry {
    scrape_pool: String,
    discovery: String,
    last_error: String,
}

impl ActiveTarget {
    fn new(known: &Known, scrape_pool: String) -> Self {
        let Known { target, last, scrapes, missed, .. } = known;
        let error = last.as_ref().and_then(|last| last.error.clone());
        Self {
            discovered_labels: Arc::clone(&target.discovered),
            labels: target.labels.clone(),
            scrape_pool,
            scrape_url: target.url.to_string(),
            health: match (last, &error) {
                (None, _) => "unknown",
                (Some(_), None) => "up",
                (Some(_), Some(_)) => "down",
            },
            last_error: error.unwrap_or_default(),
            last_scrape: last.as_ref().map(|last| time(last.unix_nano)),
            last_scrape_duration: last.as_ref().map(|last| last.took.as_secs_f64()),
            scrape_interval: humantime::format_duration(target.interval).to_string(),
            scrape_timeout: humantime::format_duration(target.deadline).to_string(),
            scrapes: *scrapes,
            missed: *missed,
            late_seconds_max: known.late_max.as_secs_f64(),
        }
    }
}

fn time(unix_nano: i64) -> String {
    DateTime::from_timestamp_nanos(unix_nano).to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn shared<S: serde::Serializer>(labels: &Arc<LabelMap>, serializer: S) -> Result<S::Ok, S::Error> {
    labels.as_ref().serialize(serializer)
}

fn label_set<S: serde::Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter())
}
