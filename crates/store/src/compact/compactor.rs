//! Tends a store: merges, rolls up, expires, deletes and collects, once or until stopped.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flamestore_model::{Error, ErrorKind, Result, SegmentId};
use flamestore_segment::{MergeLimits, SegmentOptions};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    Busy, CompactionPlan, CompactionPolicy, Rewrite, RewriteError, RewriteLimits, RewriteReport, Rewriter, plan,
    plan_all,
};
use crate::bucket::Bucket;
use crate::collect::{CollectReport, CollectorPolicy, Mode, collect};
use crate::commit::{self, Change, Committer};
use crate::manifest::Manifest;
use crate::retain::{RetentionPolicy, expired};
use crate::roll_up::{RollUpPolicy, RollUpReport};
use crate::upload::Uploader;
use crate::{Clock, Entropy, Store, SystemClock, metric};

/// How a [`Compactor`] works: every bound, with its default.
#[derive(Clone)]
pub struct CompactorOptions {
    /// Where the objects are.
    pub bucket: Bucket,
    /// The name that manifests and segments tell of it. It needs not be unique.
    pub writer: String,
    /// When segments are merged.
    pub compaction: CompactionPolicy,
    /// Which months are rolled up.
    pub roll_up: RollUpPolicy,
    /// What expires.
    pub retention: RetentionPolicy,
    /// What is deleted for good.
    pub collector: CollectorPolicy,
    /// Memory that all merges together may take, most of it for the segment that is being built. It cannot be kept to below
    /// 64 MiB or so: one profile, one dictionary and the footers of the inputs have to fit.
    pub memory_bytes_max: usize,
    /// Merges at one time.
    pub jobs_max: usize,
    /// How often there is a look for something to merge or to expire.
    pub interval: Duration,
    /// How often garbage is collected and months are rolled up.
    pub collect_interval: Duration,
    /// Tables uploaded at one time.
    pub uploads_max: usize,
    /// How the tables of segments are cut.
    pub segment: SegmentOptions,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Random bits of ids and nonces.
    pub entropy: Arc<Entropy>,
}

impl CompactorOptions {
    /// The defaults, on `bucket`.
    pub fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            writer: "compactor".to_owned(),
            compaction: CompactionPolicy::default(),
            roll_up: RollUpPolicy::default(),
            retention: RetentionPolicy::default(),
            collector: CollectorPolicy::default(),
            memory_bytes_max: 512 << 20,
            jobs_max: 1,
            interval: Duration::from_secs(15),
            collect_interval: Duration::from_secs(3600),
            uploads_max: 4,
            segment: SegmentOptions::default(),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(Entropy::from_system()),
        }
    }

    fn check(&self) -> Result<()> {
        self.compaction.check()?;
        self.collector.check()?;
        for (name, value) in [
            ("memory_bytes_max", self.memory_bytes_max),
            ("jobs_max", self.jobs_max),
            ("uploads_max", self.uploads_max),
        ] {
            if value == 0 {
                return Err(Error::invalid(format!("compaction: {name} is 0")));
            }
        }
        match self.interval.is_zero() || self.collect_interval.is_zero() {
            true => Err(Error::invalid("compaction: interval and collect_interval must be longer than 0")),
            false => Ok(()),
        }
    }

    fn limits(&self) -> RewriteLimits {
        let bytes = self.memory_bytes_max / self.jobs_max;
        // A piece takes four times its bytes while its tables are built and encoded, dictionaries as much while they are
        // merged; the rest is for what the process needs anyway and for what the allocator holds back.
        let merge = MergeLimits { piece_bytes_max: bytes / 8, dictionary_bytes_max: bytes / 32 };
        RewriteLimits { merge, read_ahead_bytes_max: bytes / 16, footer_bytes_max: bytes / 16 }
    }
}

impl fmt::Debug for CompactorOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompactorOptions")
            .field("bucket", &self.bucket)
            .field("compaction", &self.compaction)
            .field("retention", &self.retention)
            .field("collector", &self.collector)
            .field("memory_bytes_max", &self.memory_bytes_max)
            .finish_non_exhaustive()
    }
}

/// Which merges are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that are due by now.
    Due,
    /// All that leave fewer segments, whatever the time.
    All,
}

/// Tends a store. It needs neither a head nor an epoch; any number of them may work on one bucket.
#[derive(Debug)]
pub struct Compactor {
    pub(crate) options: CompactorOptions,
    pub(crate) rewriter: Rewriter,
    manifest: Mutex<Arc<Manifest>>,
    damaged: Mutex<HashMap<SegmentId, String>>,
    stop: CancellationToken,
}

impl fmt::Debug for Rewriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewriter").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Compactor {
    /// A compactor; nothing happens yet.
    ///
    /// # Errors
    /// `Invalid`, naming the option that makes no sense.
    pub fn new(mut options: CompactorOptions) -> Result<Self> {
        options.check()?;
        // what a merge cannot make at one time is not aimed at
        let piece_bytes_max = options.limits().merge.piece_bytes_max as u64;
        options.compaction.segment_bytes_target = options.compaction.segment_bytes_target.min(piece_bytes_max);
        let (bucket, stop) = (options.bucket.clone(), CancellationToken::new());
        let (clock, entropy) = (Arc::clone(&options.clock), Arc::clone(&options.entropy));
        let rewriter = Rewriter {
            committer: Committer::tending(bucket.clone(), options.writer.clone(), clock.clone(), entropy.clone()),
            uploader: Uploader { bucket: bucket.clone(), clock, entropy, uploads_max: options.uploads_max },
            bucket,
            segment: options.segment.clone(),
            limits: options.limits(),
            stop: stop.clone(),
        };
        Ok(Self { options, rewriter, manifest: Mutex::default(), damaged: Mutex::default(), stop })
    }

    /// Merges until nothing of `scope` is left; `progress` is told before each merge, and after it what it did.
    ///
    /// # Errors
    /// What the bucket says. Damaged segments are no error: see [`Self::damaged`].
    pub async fn compact(
        &self,
        scope: Scope,
        progress: &(dyn Fn(&CompactionPlan, Option<&RewriteReport>) + Sync),
    ) -> Result<RewriteReport> {
        self.refresh().await?;
        self.compact_known(scope, progress).await
    }

    /// As [`Self::compact`], from the manifest that is known: where it is out of date, a commit that conflicts tells so.
    async fn compact_known(
        &self,
        scope: Scope,
        progress: &(dyn Fn(&CompactionPlan, Option<&RewriteReport>) + Sync),
    ) -> Result<RewriteReport> {
        let mut busy = Busy::default();
        let mut running = FuturesUnordered::new();
        let mut total = RewriteReport::default();
        loop {
            busy.damaged = self.damaged.lock().keys().copied().collect();
            let free = self.options.jobs_max.saturating_sub(running.len());
            for plan in self.plans(scope, &busy).into_iter().take(free) {
                busy.running.extend(plan.inputs.iter().map(|entry| entry.id));
                progress(&plan, None);
                running.push(self.run_plan(plan));
            }
            let Some((plan, done)) = running.next().await else { return Ok(total) };
            busy.running.retain(|id| plan.inputs.iter().all(|entry| entry.id != *id));
            if let Some(report) = self.settle(done).await? {
                progress(&plan, Some(&report));
                total += &report;
            }
        }
    }

    /// Lets go of what has expired: whole segments with one commit, others by writing them again without it.
    ///
    /// # Errors
    /// What the bucket says.
    pub async fn expire(&self) -> Result<RewriteReport> {
        let manifest = self.refresh().await?;
        let now = self.options.clock.now_unix_nano();
        let due = expired(&manifest, &self.options.retention, now);
        let mut total = RewriteReport::default();
        let committed = due.committed();
        if !committed.is_empty() {
            let report = RewriteReport {
                segments_in: committed.len(),
                segments_out: due.trim.len(),
                bytes_in: committed.iter().filter_map(|id| manifest.segment(*id)).map(|entry| entry.bytes()).sum(),
                bytes_out: due.trim.iter().map(|entry| entry.bytes()).sum(),
                profiles_dropped: due.remove.iter().map(|entry| entry.profile_rows).sum(),
                ..RewriteReport::default()
            };
            let change = Change { remove: committed, add: due.trim, flush: None };
            let committed = self.rewriter.committer.commit(manifest, &change).await;
            let done = committed.map(|manifest| (manifest, report)).map_err(RewriteError::from);
            self.settle(done).await?.iter().for_each(|report| total += report);
        }
        for (entry, drop) in due.rewrite {
            if self.damaged.lock().contains_key(&entry.id) {
                continue;
            }
            let rewrite = Rewrite { level: entry.level, inputs: vec![entry], drop };
            let done = self.rewriter.run(self.manifest(), &rewrite).await;
            self.settle(done).await?.iter().for_each(|report| total += report);
        }
        Ok(total)
    }

    /// Deletes, or with [`Mode::DryRun`] only counts, what no live snapshot can see.
    ///
    /// # Errors
    /// What the bucket says.
    pub async fn collect(&self, mode: Mode) -> Result<CollectReport> {
        collect(&self.options.bucket, &self.options.collector, self.options.clock.as_ref(), mode).await
    }

    /// The segments that could not be read, and why.
    pub fn damaged(&self) -> Vec<(SegmentId, String)> {
        let mut damaged: Vec<_> = self.damaged.lock().iter().map(|(id, reason)| (*id, reason.clone())).collect();
        damaged.sort();
        damaged
    }

    /// Tends the store until [`Self::stop`]; `store`, if it is in the same process, is told of what changed.
    pub async fn run(&self, store: Option<&Store>) {
        let mut collected: Option<i64> = None;
        let mut failures = 0_u32;
        while !self.stop.is_cancelled() {
            let round = self.round(&mut collected, store).await;
            failures = match round {
                Ok(()) => 0,
                Err(error) if self.stop.is_cancelled() => {
                    tracing::debug!(%error, "stopped");
                    return;
                }
                Err(error) => {
                    metrics::counter!(metric::names::COMPACTION_FAILURES, "kind" => error.kind().as_str()).increment(1);
                    tracing::warn!(%error, failures, "tending the store failed and will be tried again");
                    failures.saturating_add(1)
                }
            };
            let wait = self.options.interval.saturating_mul(1 << failures.min(6));
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.options.clock.sleep(wait) => {}
            }
        }
    }

    /// Ends [`Self::run`] and the merge that is under way, whose work is lost and not missed.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    async fn round(&self, collected: &mut Option<i64>, store: Option<&Store>) -> Result<()> {
        let before = self.manifest().version;
        let done = async {
            // looks for the newest manifest, which the merges start from
            self.expire().await?;
            self.compact_known(Scope::Due, &log).await
        };
        let done = done.await;
        if let Some(store) = store {
            self.damaged().iter().for_each(|(id, reason)| store.quarantine(*id, reason));
            if self.manifest().version > before {
                store.refresh().await?;
            }
        }
        done?;
        let now = self.options.clock.now_unix_nano();
        let interval = i64::try_from(self.options.collect_interval.as_nanos()).unwrap_or(i64::MAX);
        if collected.is_none_or(|at| at.saturating_add(interval) <= now) {
            *collected = Some(now);
            let rolled = self.roll_up().await?;
            if let Some(store) = store.filter(|_| rolled != RollUpReport::default()) {
                store.refresh().await?;
            }
            let report = self.collect(Mode::Delete).await?;
            tracing::info!(objects = report.objects, bytes = report.bytes, manifests = report.manifests, "collected");
        }
        Ok(())
    }

    fn plans(&self, scope: Scope, busy: &Busy) -> Vec<CompactionPlan> {
        let manifest = self.manifest();
        match scope {
            Scope::Due => plan(&manifest, busy, &self.options.compaction, self.options.clock.now_unix_nano()),
            Scope::All => plan_all(&manifest, busy, &self.options.compaction),
        }
    }

    async fn run_plan(&self, plan: CompactionPlan) -> (CompactionPlan, Done) {
        let rewrite = Rewrite { inputs: plan.inputs.clone(), level: plan.level, drop: Vec::new() };
        let started = Instant::now();
        let done = self.rewriter.run(self.manifest(), &rewrite).await;
        metrics::histogram!(metric::names::COMPACTION_SECONDS).record(started.elapsed().as_secs_f64());
        (plan, done)
    }

    /// Takes note of what became of a rewrite; nothing when it has to be planned anew.
    ///
    /// # Errors
    /// What neither the rewrite nor a segment can help: the bucket's.
    pub(super) async fn settle(&self, done: Done) -> Result<Option<RewriteReport>> {
        match done {
            Ok((manifest, report)) => {
                self.install(manifest);
                metrics::counter!(metric::names::COMPACTIONS).increment(1);
                metrics::counter!(metric::names::COMPACTED_BYTES_IN).increment(report.bytes_in);
                metrics::counter!(metric::names::COMPACTED_BYTES_OUT).increment(report.bytes_out);
                Ok(Some(report))
            }
            Err(RewriteError { damaged: Some(id), error }) => {
                // a segment that another compactor replaced and the collector took is gone, not damaged
                if self.refresh().await?.segment(id).is_some() {
                    tracing::error!(segment = %id, %error, "a segment cannot be read and is not merged");
                    self.damaged.lock().insert(id, error.to_string());
                }
                Ok(None)
            }
            Err(RewriteError { damaged: None, error }) if error.kind() == ErrorKind::Conflict => {
                tracing::info!(%error, "segments were replaced by another process meanwhile");
                self.refresh().await?;
                Ok(None)
            }
            Err(failed) => Err(failed.error),
        }
    }

    /// The newest manifest.
    pub(crate) async fn refresh(&self) -> Result<Arc<Manifest>> {
        let known = self.manifest();
        let newest = match known.version {
            0 => commit::newest(&self.options.bucket).await?,
            _ => commit::newer(&self.options.bucket, &known).await?,
        };
        self.install(newest);
        Ok(self.manifest())
    }

    /// The manifest known.
    pub(crate) fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(&self.manifest.lock())
    }

    pub(crate) fn install(&self, manifest: Arc<Manifest>) {
        let fresh = manifest.segments.iter().filter(|entry| entry.level == 0).count();
        metrics::gauge!(metric::names::FRESH_SEGMENTS).set(fresh as f64);
        let mut known = self.manifest.lock();
        if manifest.version > known.version {
            self.damaged.lock().retain(|id, _| manifest.segment(*id).is_some());
            *known = manifest;
        }
    }
}

/// What became of a rewrite.
pub(super) type Done = std::result::Result<(Arc<Manifest>, RewriteReport), RewriteError>;

fn log(plan: &CompactionPlan, done: Option<&RewriteReport>) {
    let (tenant, day, level) = (&plan.tenant, plan.day, plan.level);
    match done {
        None => {
            let (segments, bytes) = (plan.inputs.len(), plan.bytes());
            tracing::debug!(%tenant, %day, level, segments, bytes, "merging segments");
        }
        Some(report) => tracing::info!(
            %tenant, %day, level,
            segments_in = report.segments_in, segments_out = report.segments_out,
            bytes_in = report.bytes_in, bytes_out = report.bytes_out,
            "merged segments"
        ),
    }
}
