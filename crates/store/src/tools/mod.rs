//! What can be done to a bucket without opening it as a store: look, count, mend, take out.
//!
//! Nothing here claims an epoch, so all but [`repair`] are safe beside running stores, and only [`repair`] writes: one
//! manifest version. A manifest of a newer format is refused by all, untouched. What is wrong with a segment is reported and
//! never ends the work on the others.

mod check;
mod debuginfo;
mod export;
mod repair;
mod usage;

use std::sync::Arc;

use flamestore_model::Result;
use flamestore_segment::{DictionaryCache, SegmentReader};

use crate::Bucket;
use crate::cache::{CacheOptions, SegmentCache};
use crate::manifest::SegmentEntry;
use crate::source::BucketSource;

pub use check::{CheckReport, Depth, Listing, Problem, check, check_at, ls};
pub use export::{ExportFormat, ExportOptions, ExportReport, export};
pub use repair::{Found, RepairOptions, RepairReport, Verdict, repair};
pub use usage::{Usage, UsageCell, usage};

/// Told how far the work has come: what is done, and all there is to do, in bytes.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Bytes that a tool keeps of what it reads and of what it decodes, each.
const CACHE_BYTES: usize = 32 << 20;

/// Makes readers of segments that share small caches.
struct Readers {
    bucket: Bucket,
    cache: Arc<SegmentCache>,
    dictionaries: Arc<DictionaryCache>,
}

impl Readers {
    async fn new(bucket: &Bucket) -> Result<Self> {
        let memory_bytes_max = CACHE_BYTES as u64;
        let cache = SegmentCache::open(&CacheOptions { memory_bytes_max, ..CacheOptions::default() }).await?;
        let dictionaries = Arc::new(DictionaryCache::with_footers(CACHE_BYTES, CACHE_BYTES));
        Ok(Self { bucket: bucket.clone(), cache, dictionaries })
    }

    fn reader(&self, entry: &Arc<SegmentEntry>) -> SegmentReader {
        let source = BucketSource::new(self.bucket.clone(), Arc::clone(entry), Arc::clone(&self.cache));
        SegmentReader::with_cache(Arc::new(source), Arc::clone(&self.dictionaries))
    }
}
