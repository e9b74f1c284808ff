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

use flamestore_model::{Error, Result, SegmentId, Tenant};
use flamestore_segment::{SealedSegment, SealedTable, SegmentOptions, build_tables, seal};
use futures::{StreamExt, TryStreamExt, stream};

use crate::bucket::{Bucket, Created};
use crate::commit::{Change, Committer};
use crate::head::HeadPart;
use crate::key::Day;
use crate::manifest::{SegmentEntry, SegmentSource, TableEntry};
use crate::view::HeadView;
use crate::{Clock, Entropy, Manifest, metric};

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
    pub(crate) bucket: Bucket,
    pub(crate) committer: Committer,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<Entropy>,
    pub(crate) segment: SegmentOptions,
    pub(crate) uploads_max: usize,
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
            Some(entries) => entries.clone(),
            None => self.upload_parts(parts).await?,
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
            let closed = Arc::clone(part);
            let view = blocking(move || {
                closed.close();
                Ok(Arc::new(HeadView::new(closed.watermarks())))
            });
            let view = view.await?;
            for plan in plan(&part.tenant, &view) {
                let (view, options, day) = (Arc::clone(&view), self.segment.clone(), plan.day);
                let sealed = blocking(move || seal(build_tables(view.segment_input(Some(day)), &options)?, &options));
                entries.push(Arc::new(self.upload(plan, sealed.await?).await?));
            }
        }
        Ok(entries)
    }

    async fn upload(&self, plan: SegmentPlan, sealed: SealedSegment) -> Result<SegmentEntry> {
        let now = self.clock.now_unix_nano();
        let millis = u64::try_from(now / 1_000_000).unwrap_or_default();
        let id = SegmentId::from_parts(millis, self.entropy.next_u128());
        let entry = self.entry(id, plan, &sealed, now);
        let uploads = sealed.tables.into_iter().map(|table| self.upload_table(&entry, table));
        stream::iter(uploads).buffer_unordered(self.uploads_max).try_collect::<()>().await?;
        metrics::counter!(metric::names::FLUSHED_BYTES).increment(entry.bytes());
        Ok(entry)
    }

    async fn upload_table(&self, entry: &SegmentEntry, sealed: SealedTable) -> Result<()> {
        let path = entry.key(sealed.table).to_string();
        let bytes = sealed.bytes.len() as u64;
        match self.bucket.create(&path, sealed.bytes).await? {
            Created::New => Ok(()),
            // the id is ours alone: a repeated request found what the first one made
            Created::Exists if self.bucket.size(&path).await? == Some(bytes) => Ok(()),
            Created::Exists => Err(Error::internal("an object of a new segment exists already").with("object", path)),
        }
    }

    fn entry(&self, id: SegmentId, plan: SegmentPlan, sealed: &SealedSegment, now: i64) -> SegmentEntry {
        let meta = &sealed.meta;
        let table = |sealed: &SealedTable| TableEntry {
            table: sealed.table,
            bytes: sealed.bytes.len() as u64,
            rows: sealed.rows,
            footer_bytes: sealed.footer_bytes,
            checksum: sealed.checksum,
        };
        let mut tables: Vec<TableEntry> = sealed.tables.iter().map(table).collect();
        tables.sort_by_key(|entry| entry.table);
        SegmentEntry {
            id,
            tenant: plan.tenant,
            day: plan.day,
            level: 0,
            source: SegmentSource::Flush,
            time_min: meta.time_min,
            time_max: meta.time_max,
            profile_types: meta.profile_types.clone(),
            services: meta.services.clone(),
            tables,
            sample_rows: meta.sample_rows,
            profile_rows: meta.profile_rows,
            series: meta.series,
            stacks: meta.stacks,
            created_unix_nano: now,
            writer: self.committer.writer().to_owned(),
            writer_epoch: self.committer.epoch(),
            format_version: meta.format_version,
        }
    }
}

/// Runs what takes long away from the threads that answer requests.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::internal("a task of the store did not end").because(error)),
    }
}
