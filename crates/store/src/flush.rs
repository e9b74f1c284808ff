//! Flush: frozen heads become segments of the bucket.
//!
//! ```text
//! plan ─▶ seal (blocking thread) ─▶ publish: 1 upload all tables ─▶ 2 commit ─▶ 3 swap
//!                                          └ crash here: garbage     └ crash here: published
//! ```
//!
//! Holds always: the segments of one flush are committed together and keep their ids when the commit is tried again, so
//! a commit that went through although its answer was lost counts once. One flush is in memory as Parquet, one segment
//! at a time. What fails leaves the frozen heads as they were: queried, and tried again.

use std::sync::Arc;

use flamestore_model::{Error, Result, Tenant};
use flamestore_segment::{SegmentOptions, build_tables, seal};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::commit::{Change, Committer};
use crate::head::HeadPart;
use crate::key::Day;
use crate::manifest::{SegmentEntry, SegmentSource};
use crate::upload::{NewSegment, Uploader};
use crate::view::HeadView;
use crate::{Manifest, metric};

/// What a flush published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    /// The manifest's version after it.
    pub version: u64,
    /// Segments published.
    pub segments: usize,
    /// Source profiles published.
    pub profiles: u64,
    /// Bytes of the objects uploaded.
    pub bytes: u64,
}

/// One segment to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentPlan {
    pub(crate) tenant: Tenant,
    pub(crate) day: Day,
}

/// The segments a closed head becomes: one per day of its profiles.
pub(crate) fn plan(tenant: &Tenant, view: &HeadView) -> Vec<SegmentPlan> {
    view.days().into_iter().map(|day| SegmentPlan { tenant: tenant.clone(), day }).collect()
}

/// What publishing needs.
pub(crate) struct Publisher {
    pub(crate) committer: Committer,
    pub(crate) uploader: Uploader,
    pub(crate) segment: SegmentOptions,
}

/// A flush on its way: its segments, once all their objects are in the bucket.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) flush: u64,
    pub(crate) uploaded: Option<Vec<Arc<SegmentEntry>>>,
}

impl Pending {
    /// Whether `manifest` names a segment of it; its segments come and go together until they are merged.
    pub(crate) fn is_in(&self, manifest: &Manifest) -> bool {
        self.uploaded.iter().flatten().any(|entry| manifest.segment(entry.id).is_some())
    }
}

impl Publisher {
    /// Uploads, commits and swaps, in this order; `swap` makes the new manifest the one in use. What was reached is kept
    /// in `pending`, from where the next call goes on.
    pub(crate) async fn publish(
        &self,
        parts: &[Arc<HeadPart>],
        base: Arc<Manifest>,
        pending: &mut Pending,
        swap: impl FnOnce(Arc<Manifest>),
    ) -> Result<FlushReport> {
        let entries = match &pending.uploaded {
            // what was uploaded long ago may be collected before a commit names it
            Some(entries) if self.committer.check_age(entries).is_ok() => entries.clone(),
            _ => self.upload_parts(parts).await?,
        };
        pending.uploaded = Some(entries.clone());
        let report = FlushReport {
            version: 0,
            segments: entries.len(),
            profiles: parts.iter().map(|part| part.profiles()).sum(),
            bytes: entries.iter().map(|entry| entry.bytes()).sum(),
        };
        let change = Change { add: entries, remove: Vec::new(), flush: Some(pending.flush) };
        let manifest = self.committer.commit(base, &change).await?;
        let version = manifest.version;
        swap(manifest);
        Ok(FlushReport { version, ..report })
    }

    async fn upload_parts(&self, parts: &[Arc<HeadPart>]) -> Result<Vec<Arc<SegmentEntry>>> {
        let mut entries = Vec::new();
        for part in parts {
            part.close().await;
            let closed = Arc::clone(part);
            let view = blocking(move || Ok(Arc::new(HeadView::new(closed.watermarks())))).await?;
            for plan in plan(&part.tenant, &view) {
                let (view, options, day) = (Arc::clone(&view), self.segment.clone(), plan.day);
                let sealed = blocking(move || seal(build_tables(view.segment_input(Some(day)), &options)?, &options));
                let new = NewSegment {
                    tenant: plan.tenant,
                    day: plan.day,
                    level: 0,
                    source: SegmentSource::Flush,
                    writer: self.committer.writer(),
                    writer_epoch: self.committer.epoch(),
                    covers: Vec::new(),
                };
                let entry = self.uploader.upload(new, sealed.await?).await?;
                metrics::counter!(metric::names::FLUSHED_BYTES).increment(entry.bytes());
                entries.push(Arc::new(entry));
            }
        }
        Ok(entries)
    }
}

/// Runs what takes long away from the threads that answer requests. On a runtime of one thread it is run in place: then
/// nothing happens at a moment that only the machine decides, and a simulation can be repeated.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    if is_alone() {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("a task of the store did not end").because(error)),
    }
}

/// As [`blocking`], for work that makes requests in between.
pub(crate) async fn blocking_on<T, F>(work: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send,
{
    if is_alone() {
        return Ok(work().await);
    }
    let runtime = Handle::current();
    blocking(move || Ok(runtime.block_on(work()))).await
}

fn is_alone() -> bool {
    Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread
}
