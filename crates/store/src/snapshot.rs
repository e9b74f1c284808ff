//! What a query reads: the segments of one manifest version and the heads beside them, each profile exactly once.

use std::fmt;
use std::sync::Arc;

use flamestore_model::{SegmentId, Tenant};
use flamestore_segment::SegmentReader;

use crate::manifest::SegmentEntry;
use crate::view::HeadView;

/// A segment of the bucket, with what was read of it so far.
pub struct StoredSegment {
    /// What the manifest says of it.
    pub entry: Arc<SegmentEntry>,
    /// Reads it.
    pub reader: Arc<SegmentReader>,
}

impl fmt::Debug for StoredSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredSegment({})", self.entry.id)
    }
}

/// A segment that cannot be read; queries leave it aside and say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedSegment {
    /// What the manifest says of it.
    pub entry: Arc<SegmentEntry>,
    /// What was wrong.
    pub reason: String,
}

/// What one tenant has stored, at one moment. It stays as it is while profiles are pushed and flushed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Whose it is.
    pub tenant: Tenant,
    /// The manifest's version.
    pub version: u64,
    /// The readable segments, by day and id.
    pub segments: Arc<[Arc<StoredSegment>]>,
    /// What is not in a segment yet.
    pub head: Vec<Arc<HeadView>>,
    /// The segments that cannot be read.
    pub damaged: Arc<[DamagedSegment]>,
}

impl Snapshot {
    /// The segment `id`, if it is part of the snapshot.
    pub fn segment(&self, id: SegmentId) -> Option<&Arc<StoredSegment>> {
        self.segments.iter().find(|segment| segment.entry.id == id)
    }
}
