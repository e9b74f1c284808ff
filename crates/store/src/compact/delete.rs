//! Deletes what a selector and a time range ask for from the segments of a store.
//!
//! Segment by segment: one without a profile that fits is left alone, one with nothing else is removed, any other is
//! written again without them. Each is one commit, so a deletion that is cut short has deleted some; run again it goes on.
//! Segments that came meanwhile are looked at too, until all were.
//!
//! Not deleted: what is in a head. It is in no segment yet, and comes with the next flush; run the deletion again then.
//! The bytes go when the collector takes the objects: until then old snapshots show them.

use std::collections::HashSet;
use std::sync::Arc;

use flamestore_model::{ErrorKind, Result, SegmentId, Selector, Tenant, TimeRange};
use flamestore_segment::{DropRule, ScanReport, SegmentReader};

use super::compactor::Done;
use super::{Compactor, Rewrite, RewriteReport};
use crate::cache::SegmentCache;
use crate::collect::Mode;
use crate::commit::Change;
use crate::manifest::SegmentEntry;
use crate::source::BucketSource;

/// Bytes of a segment that are kept while it is looked into.
const CACHE_BYTES_MAX: u64 = 8 << 20;

/// What to delete.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// Whose.
    pub tenant: Tenant,
    /// The profiles of which series.
    pub selector: Selector,
    /// When they were taken.
    pub range: TimeRange,
}

/// What a deletion did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteReport {
    /// Segments looked into.
    pub segments_read: usize,
    /// Segments that were left alone.
    pub untouched: usize,
    /// Segments removed whole.
    pub removed: usize,
    /// Segments written again.
    pub rewritten: usize,
    /// Rows of `profiles` deleted: source profiles times their selected sample types.
    pub profiles: u64,
    /// Bytes of the segments removed or written again.
    pub bytes_in: u64,
    /// Bytes of what they were replaced by.
    pub bytes_out: u64,
    /// Segments that could not be read, and why; nothing was deleted from them.
    pub damaged: Vec<(SegmentId, String)>,
}

/// How much of a segment a deletion takes.
struct Hit {
    profiles: u64,
    is_all: bool,
}

impl DeleteReport {
    fn count(&mut self, hit: &Hit, bytes_in: u64, bytes_out: u64) {
        match hit.is_all {
            true => self.removed += 1,
            false => self.rewritten += 1,
        }
        self.profiles += hit.profiles;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
    }
}

impl Compactor {
    /// Deletes what `deletion` asks for, or with [`Mode::DryRun`] only counts it. `progress` is told how many segments
    /// were looked at, of how many.
    ///
    /// # Errors
    /// What the bucket says. What was deleted so far stays deleted.
    pub async fn delete(
        &self,
        deletion: &Deletion,
        mode: Mode,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<DeleteReport> {
        let mut report = DeleteReport::default();
        let mut seen: HashSet<SegmentId> = HashSet::new();
        loop {
            let manifest = self.refresh().await?;
            let concerned = |entry: &&Arc<SegmentEntry>| {
                entry.tenant == deletion.tenant && entry.overlaps(&deletion.range) && !seen.contains(&entry.id)
            };
            let left: Vec<Arc<SegmentEntry>> = manifest.segments.iter().filter(concerned).cloned().collect();
            if left.is_empty() {
                return Ok(report);
            }
            let total = seen.len() + left.len();
            for entry in left {
                progress(seen.len(), total);
                seen.insert(entry.id);
                self.delete_from(deletion, mode, entry, &mut seen, &mut report).await?;
            }
        }
    }

    async fn delete_from(
        &self,
        deletion: &Deletion,
        mode: Mode,
        entry: Arc<SegmentEntry>,
        seen: &mut HashSet<SegmentId>,
        report: &mut DeleteReport,
    ) -> Result<()> {
        report.segments_read += 1;
        let hit = match self.hit(deletion, &entry).await {
            Ok(hit) => hit,
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                if self.refresh().await?.segment(entry.id).is_some() {
                    report.damaged.push((entry.id, error.to_string()));
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if hit.profiles == 0 {
            report.untouched += 1;
            return Ok(());
        }
        if mode == Mode::DryRun {
            report.count(&hit, entry.bytes(), 0);
            return Ok(());
        }
        let done = match hit.is_all {
            true => self.remove(&entry).await,
            false => {
                let rule = DropRule { selector: deletion.selector.clone(), range: deletion.range };
                let rewrite = Rewrite { inputs: vec![Arc::clone(&entry)], level: entry.level, drop: vec![rule] };
                self.rewriter.run(self.manifest(), &rewrite).await
            }
        };
        match self.settle(done).await? {
            Some(done) => {
                seen.extend(&done.outputs);
                report.count(&hit, entry.bytes(), done.bytes_out);
            }
            // it was replaced meanwhile, and what replaced it is looked at next; or it is damaged
            None => report.damaged.extend(self.damaged().into_iter().filter(|(id, _)| *id == entry.id)),
        }
        Ok(())
    }

    async fn remove(&self, entry: &SegmentEntry) -> Done {
        let change = Change { remove: vec![entry.id], ..Change::default() };
        let manifest = self.rewriter.committer.commit(self.manifest(), &change).await?;
        let report = RewriteReport {
            segments_in: 1,
            bytes_in: entry.bytes(),
            profiles_dropped: entry.profile_rows,
            ..RewriteReport::default()
        };
        Ok((manifest, report))
    }

    async fn hit(&self, deletion: &Deletion, entry: &Arc<SegmentEntry>) -> Result<Hit> {
        let cache = SegmentCache::in_memory(CACHE_BYTES_MAX);
        let source = BucketSource::new(self.options.bucket.clone(), Arc::clone(entry), cache);
        let reader = SegmentReader::new(Arc::new(source));
        let series = reader.select_series(&deletion.selector).await?;
        let rows = reader.profiles(&series, &deletion.range, &mut ScanReport::default()).await?;
        let profiles = rows.len() as u64;
        Ok(Hit { profiles, is_all: profiles == entry.profile_rows })
    }
}
