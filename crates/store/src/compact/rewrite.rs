//! Replaces segments by what a merge makes of them: read, merge, upload, commit.
//!
//! ```text
//! inputs ─▶ merger ─▶ piece ─▶ build and encode ─▶ upload ─┐
//!             ▲          one piece in memory               │ next piece
//!             └────────────────────────────────────────────┘ … then one commit: inputs out, outputs in
//! ```
//!
//! Holds always: the inputs go and the outputs come in one manifest version, so no snapshot sees a row twice or not at all.
//! A commit that finds an input gone changes nothing. A crash before the commit leaves objects that nothing names; the
//! same rewrite can be run again at once.
//!
//! Bounded: by [`RewriteLimits`]; nothing is kept of a piece once it is uploaded but its entry.

use std::sync::Arc;

use flamestore_model::{Error, ErrorKind, SegmentId};
use flamestore_segment::{
    DictionaryCache, DropRule, MergeError, MergeLimits, Resolution, RollUps, SegmentMerger, SegmentOptions,
    SegmentReader, build_sealed,
};
use tokio_util::sync::CancellationToken;

use super::read_ahead::{Blocks, ReadAheadSource};
use crate::bucket::Bucket;
use crate::commit::{Change, Committer};
use crate::flush::blocking_on;
use crate::manifest::{Manifest, SegmentEntry, SegmentSource};
use crate::upload::{NewSegment, Uploader};

/// What is to be replaced, and by what.
#[derive(Clone, Debug)]
pub(crate) struct Rewrite {
    /// The segments, of one tenant and day.
    pub(crate) inputs: Vec<Arc<SegmentEntry>>,
    /// The level of what they become.
    pub(crate) level: u32,
    /// The profiles that are left out.
    pub(crate) drop: Vec<DropRule>,
}

/// What bounds the memory of a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RewriteLimits {
    pub(crate) merge: MergeLimits,
    /// Bytes of blocks that are read ahead.
    pub(crate) read_ahead_bytes_max: usize,
    /// Bytes of footers that are kept.
    pub(crate) footer_bytes_max: usize,
}

/// What a rewrite did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewriteReport {
    /// Segments that were replaced.
    pub segments_in: usize,
    /// Segments that they became.
    pub segments_out: usize,
    /// Their ids.
    pub outputs: Vec<SegmentId>,
    /// Bytes of the objects of the former.
    pub bytes_in: u64,
    /// Bytes of the objects of the latter.
    pub bytes_out: u64,
    /// Rows of `samples` written.
    pub samples_out: u64,
    /// Rows of `profiles` left out.
    pub profiles_dropped: u64,
}

impl std::ops::AddAssign<&Self> for RewriteReport {
    fn add_assign(&mut self, other: &Self) {
        self.segments_in += other.segments_in;
        self.segments_out += other.segments_out;
        self.outputs.extend(&other.outputs);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.samples_out += other.samples_out;
        self.profiles_dropped += other.profiles_dropped;
    }
}

/// Why a rewrite failed, and the segment that cannot be read if that is it.
#[derive(Debug)]
pub(crate) struct RewriteError {
    pub(crate) damaged: Option<SegmentId>,
    pub(crate) error: Error,
}

impl From<Error> for RewriteError {
    fn from(error: Error) -> Self {
        Self { damaged: None, error }
    }
}

/// Carries out rewrites.
#[derive(Clone)]
pub(crate) struct Rewriter {
    pub(crate) bucket: Bucket,
    pub(crate) committer: Committer,
    pub(crate) uploader: Uploader,
    pub(crate) segment: SegmentOptions,
    pub(crate) limits: RewriteLimits,
    pub(crate) stop: CancellationToken,
}

impl Rewriter {
    /// Carries out `rewrite` on top of `base`, the newest manifest known; the manifest that has it.
    ///
    /// # Errors
    /// `Conflict` when an input is gone: nothing was changed. `Corrupt` when one is damaged, which is then named.
    /// `Unavailable` when it was stopped. Otherwise what the bucket says.
    pub(crate) async fn run(
        &self,
        base: Arc<Manifest>,
        rewrite: &Rewrite,
    ) -> std::result::Result<(Arc<Manifest>, RewriteReport), RewriteError> {
        let (this, task) = (self.clone(), rewrite.clone());
        // decoding and encoding take long, so they have a thread of their own; only requests go to the runtime's threads
        let merged = blocking_on(move || async move { this.merge_until_stopped(&task).await }).await?;
        let (added, profiles_dropped) = merged.map_err(|failed| self.blame(rewrite, failed))?;
        let report = RewriteReport {
            segments_in: rewrite.inputs.len(),
            segments_out: added.len(),
            outputs: added.iter().map(|entry| entry.id).collect(),
            bytes_in: rewrite.inputs.iter().map(|entry| entry.bytes()).sum(),
            bytes_out: added.iter().map(|entry| entry.bytes()).sum(),
            samples_out: added.iter().map(|entry| entry.sample_rows).sum(),
            profiles_dropped,
        };
        let remove = rewrite.inputs.iter().map(|entry| entry.id).collect();
        let manifest = self.committer.commit(base, &Change { add: added, remove, flush: None }).await?;
        Ok((manifest, report))
    }

    async fn merge_until_stopped(
        &self,
        rewrite: &Rewrite,
    ) -> std::result::Result<(Vec<Arc<SegmentEntry>>, u64), MergeError> {
        let stopped = || Error::unavailable("store: a merge of segments was stopped");
        tokio::select! {
            () = self.stop.cancelled() => Err(MergeError { input: None, error: stopped() }),
            merged = self.merge(rewrite) => merged,
        }
    }

    async fn merge(&self, rewrite: &Rewrite) -> std::result::Result<(Vec<Arc<SegmentEntry>>, u64), MergeError> {
        let mut merger = SegmentMerger::new(self.readers(rewrite), rewrite.drop.clone(), self.limits.merge).await?;
        let options = SegmentOptions { rollups: rollups(&rewrite.inputs), ..self.segment.clone() };
        let mut added = Vec::new();
        while let Some(piece) = merger.next().await? {
            let sealed = build_sealed(piece, &options).map_err(other)?;
            let Some(first) = rewrite.inputs.first() else { break };
            let new = NewSegment {
                tenant: first.tenant.clone(),
                day: first.day,
                level: rewrite.level,
                source: SegmentSource::Compaction,
                writer: self.committer.writer(),
                writer_epoch: self.committer.epoch(),
                covers: Vec::new(),
            };
            added.push(Arc::new(self.uploader.upload(new, sealed).await.map_err(other)?));
        }
        Ok((added, merger.dropped_profiles()))
    }

    /// Readers of the inputs, which read ahead.
    pub(crate) fn readers(&self, rewrite: &Rewrite) -> Vec<Arc<SegmentReader>> {
        let bytes = rewrite.inputs.iter().map(|entry| entry.bytes()).sum();
        let blocks = Arc::new(Blocks::new(self.limits.read_ahead_bytes_max, rewrite.inputs.len(), bytes));
        // every dictionary is read once: nothing is gained by keeping it
        let cache = Arc::new(DictionaryCache::with_footers(0, self.limits.footer_bytes_max));
        let reader = |entry: &Arc<SegmentEntry>| {
            let source = ReadAheadSource::new(self.bucket.clone(), Arc::clone(entry), Arc::clone(&blocks));
            Arc::new(SegmentReader::with_cache(Arc::new(source), Arc::clone(&cache)))
        };
        rewrite.inputs.iter().map(reader).collect()
    }

    fn blame(&self, rewrite: &Rewrite, failed: MergeError) -> RewriteError {
        let MergeError { input, error } = failed;
        let input = input.and_then(|input| rewrite.inputs.get(input));
        let damaged = input.filter(|_| matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound));
        let error = match input {
            Some(entry) => error.with("segment", entry.id),
            None => error,
        };
        RewriteError { damaged: damaged.map(|entry| entry.id), error }
    }
}

/// The roll-ups of what these segments become, by how long they are together: those of a window are built once it is about
/// half full, since rows of fewer profiles hardly add up.
fn rollups(inputs: &[Arc<SegmentEntry>]) -> RollUps {
    let first = inputs.iter().map(|entry| entry.time_min).min().unwrap_or(0);
    let last = inputs.iter().map(|entry| entry.time_max).max().unwrap_or(0);
    let span = last.saturating_sub(first);
    match () {
        () if span >= Resolution::Day.nanos() / 2 => RollUps::HoursAndDays,
        () if span >= Resolution::Hour.nanos() / 2 => RollUps::Hours,
        () => RollUps::None,
    }
}

fn other(error: Error) -> MergeError {
    MergeError { input: None, error }
}
