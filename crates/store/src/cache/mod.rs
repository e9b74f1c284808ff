//! Parts of segment objects kept near: in memory, and in a folder if there is one. A repeated query asks the bucket nothing.
//!
//! ```text
//! ranges ─▶ extents ─▶ memory ─▶ being fetched already? ─▶ folder ─▶ bucket, neighbours by one request
//!                        ▲                                    │          │
//!                        └────────────────────────────────────┴──────────┴─▶ folder
//! ```
//!
//! Only objects of segments are kept, which never change; manifests and listings are always asked for. An object is known
//! by its path, size and checksum, so what a folder of another store holds is never taken for ours. Compaction reads around
//! the cache: each of its bytes is read once, and would only drive out what queries come back for.
//!
//! Holds always: `memory_bytes_max` and the folder's bound are not passed; of all who miss an extent at one time one
//! fetches it. A fetch is a task of its own, so that one who waits does not depend on whether another is polled; it ends with
//! the read that began it, and then one of those who wait begins anew. What can fail: the bucket, and then the error is the
//! reader's. The folder never fails a read: see `disk`.

mod disk;
mod extents;
mod reader;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flamestore_model::{Error, Result};
use flamestore_segment::{ByteLru, Table};
use futures::future::try_join_all;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use xxhash_rust::xxh3::xxh3_128;

use crate::manifest::SegmentEntry;
use crate::source::ObjectReader;
use disk::DiskCache;
use extents::Extents;
pub(crate) use reader::CachedReader;

use crate::metric::names::{CACHE_BYTES, CACHE_EVICTIONS, CACHE_HITS, CACHE_MISSES};

/// How much of segments is kept near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Bytes kept in memory.
    pub memory_bytes_max: u64,
    /// The folder of the cache on disk; without one there is none. Only one store at a time may use it.
    pub folder: Option<PathBuf>,
    /// Bytes of files in `folder`.
    pub disk_bytes_max: u64,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { memory_bytes_max: 128 << 20, folder: None, disk_bytes_max: 10 << 30 }
    }
}

/// The object a part is of: a hash of its path, size and checksum.
type ObjectId = u128;
/// An extent of an object.
type Key = (ObjectId, u64);
/// What a fetch brought: extents by number. Its absence is a fetch that failed.
type Fetched = Arc<BTreeMap<u64, Bytes>>;

/// What is known of an object to cache parts of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CachedObject {
    id: ObjectId,
    extents: Extents,
}

impl CachedObject {
    /// The object of `table`, as the manifest describes it.
    pub(crate) fn new(entry: &SegmentEntry, table: Table) -> Self {
        let (bytes, footer_bytes, checksum) =
            entry.table(table).map_or((0, 0, 0), |found| (found.bytes, found.footer_bytes, found.checksum));
        let name = format!("{}\n{bytes}\n{checksum:016x}", entry.key(table));
        Self { id: xxh3_128(name.as_bytes()), extents: Extents::new(bytes, bytes.saturating_sub(footer_bytes)) }
    }
}

/// Parts of segment objects in memory and on disk.
#[derive(Debug)]
pub(crate) struct SegmentCache {
    memory: Mutex<Memory>,
    disk: Option<Arc<DiskCache>>,
}

#[derive(Debug)]
struct Memory {
    kept: ByteLru<Key, Bytes>,
    /// Extents being fetched, by whom.
    fetching: HashMap<Key, watch::Receiver<Option<Fetched>>>,
}

/// What to do for the extents a read needs.
struct Plan {
    found: Vec<(u64, Bytes)>,
    /// Somebody fetches them.
    awaited: Vec<watch::Receiver<Option<Fetched>>>,
    /// This read is to fetch them.
    claim: Option<Claim>,
}

/// Extents that one fetch has promised to bring. However it ends, those who wait are told.
struct Claim {
    cache: Arc<SegmentCache>,
    object: CachedObject,
    extents: Vec<u64>,
    tell: watch::Sender<Option<Fetched>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut memory = self.cache.memory.lock();
        for at in &self.extents {
            memory.fetching.remove(&(self.object.id, *at));
        }
    }
}

impl SegmentCache {
    /// Opens the cache; a folder is made if there is none, and what it holds from before is used.
    ///
    /// # Errors
    /// `Invalid`, naming the folder, when it cannot be used or another store uses it.
    pub(crate) async fn open(options: &CacheOptions) -> Result<Arc<Self>> {
        let disk = match &options.folder {
            Some(folder) => Some(Arc::new(DiskCache::open(folder.clone(), options.disk_bytes_max).await?)),
            None => None,
        };
        let memory = Memory { kept: ByteLru::new(options.memory_bytes_max), fetching: HashMap::new() };
        Ok(Arc::new(Self { memory: Mutex::new(memory), disk }))
    }

    /// A cache of `memory_bytes_max` bytes in memory, for a look at a few segments.
    pub(crate) fn in_memory(memory_bytes_max: u64) -> Arc<Self> {
        let memory = Memory { kept: ByteLru::new(memory_bytes_max), fetching: HashMap::new() };
        Arc::new(Self { memory: Mutex::new(memory), disk: None })
    }

    /// Bytes `ranges` of an object, which are inside of it.
    pub(crate) async fn read(
        self: &Arc<Self>,
        object: CachedObject,
        reader: &ObjectReader,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>> {
        let mut needed: Vec<u64> =
            ranges.iter().filter(|range| !range.is_empty()).flat_map(|range| object.extents.of(range)).collect();
        needed.sort_unstable();
        needed.dedup();
        let extents = self.extents(object, reader, needed).await?;
        ranges.iter().map(|range| cut(object.extents, &extents, range)).collect()
    }

    async fn extents(
        self: &Arc<Self>,
        object: CachedObject,
        reader: &ObjectReader,
        mut needed: Vec<u64>,
    ) -> Result<BTreeMap<u64, Bytes>> {
        let mut have = BTreeMap::new();
        while !needed.is_empty() {
            let plan = self.plan(object, &needed);
            have.extend(plan.found);
            if let Some(claim) = plan.claim {
                let fetch = AbortOnDropHandle::new(tokio::spawn(fetch(claim, reader.clone())));
                let fetched = fetch.await.map_err(|e| Error::internal("a fetch ended early").because(e))??;
                have.extend(fetched.iter().map(|(at, bytes)| (*at, bytes.clone())));
            }
            for mut awaited in plan.awaited {
                // a fetch that failed or was dropped brings nothing: then the next round fetches, and the error is its own
                if let Ok(fetched) = awaited.wait_for(Option::is_some).await {
                    have.extend(fetched.iter().flat_map(|f| f.iter()).map(|(at, bytes)| (*at, bytes.clone())));
                }
            }
            needed.retain(|at| !have.contains_key(at));
        }
        Ok(have)
    }

    fn plan(self: &Arc<Self>, object: CachedObject, needed: &[u64]) -> Plan {
        let mut plan = Plan { found: Vec::new(), awaited: Vec::new(), claim: None };
        let mut missing = Vec::new();
        let (tell, told) = watch::channel(None);
        let mut memory = self.memory.lock();
        let memory = &mut *memory;
        for &at in needed {
            let key = (object.id, at);
            match (memory.kept.get(&key), memory.fetching.get(&key)) {
                (Some(bytes), _) => plan.found.push((at, bytes)),
                (None, Some(fetching)) => {
                    if !plan.awaited.iter().any(|awaited| awaited.same_channel(fetching)) {
                        plan.awaited.push(fetching.clone());
                    }
                }
                (None, None) => {
                    memory.fetching.insert(key, told.clone());
                    missing.push(at);
                }
            }
        }
        metrics::counter!(CACHE_HITS, "tier" => "memory").increment(plan.found.len() as u64);
        metrics::counter!(CACHE_MISSES, "tier" => "memory").increment(missing.len() as u64);
        if !missing.is_empty() {
            plan.claim = Some(Claim { cache: Arc::clone(self), object, extents: missing, tell });
        }
        plan
    }

    /// Keeps extents that were fetched.
    fn keep(&self, object: CachedObject, fetched: &BTreeMap<u64, Bytes>) {
        let mut memory = self.memory.lock();
        let mut evicted = 0;
        for (at, bytes) in fetched {
            evicted += memory.kept.put((object.id, *at), bytes.clone(), bytes.len() as u64).len() as u64;
        }
        let bytes = memory.kept.bytes();
        drop(memory);
        metrics::counter!(CACHE_EVICTIONS, "tier" => "memory").increment(evicted);
        metrics::gauge!(CACHE_BYTES, "tier" => "memory").set(bytes as f64);
    }

    /// Drops all that is kept of a segment: it is gone, or what was read of it cannot be trusted.
    pub(crate) fn forget(&self, entry: &SegmentEntry) {
        for table in &entry.tables {
            let object = CachedObject::new(entry, table.table);
            let keys = (0..object.extents.count()).map(|at| (object.id, at));
            let mut memory = self.memory.lock();
            keys.clone().for_each(|key| drop(memory.kept.remove(&key)));
            drop(memory);
            if let Some(disk) = &self.disk {
                disk.forget(keys);
            }
        }
    }

    /// Waits until the folder has all that was fetched so far.
    pub(crate) async fn settle(&self) {
        if let Some(disk) = &self.disk {
            disk.settle().await;
        }
    }
}

/// Brings the claimed extents: from the folder what it has, from the bucket the rest.
async fn fetch(claim: Claim, reader: ObjectReader) -> Result<Fetched> {
    let Claim { cache, object, extents, .. } = &claim;
    let mut fetched = match &cache.disk {
        Some(disk) => disk.read(object.id, extents.clone()).await,
        None => BTreeMap::new(),
    };
    let missing: Vec<u64> = extents.iter().copied().filter(|at| !fetched.contains_key(at)).collect();
    let runs = object.extents.runs(&missing);
    let reads = runs.iter().map(|run| reader.read_one(object.extents.run_bytes(run)));
    let mut written = Vec::new();
    for (run, bytes) in runs.iter().zip(try_join_all(reads).await?) {
        let start = object.extents.run_bytes(run).start;
        for at in run.clone() {
            let range = object.extents.range(at);
            let part = part(&bytes, range.start - start..range.end - start);
            written.push((at, part.clone()));
            fetched.insert(at, part);
        }
    }
    cache.keep(*object, &fetched);
    let fetched = Arc::new(fetched);
    // before anybody is told, so that who has the answer can wait for it to be written
    if let Some(disk) = &cache.disk {
        disk.write(object.id, written);
    }
    claim.tell.send_replace(Some(Arc::clone(&fetched)));
    Ok(fetched)
}

/// A copy of `range`, so that what is kept does not hold on to all that was fetched with it; all of it is no copy.
fn part(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    let range = at(range.start)..at(range.end);
    if range.len() == bytes.len() { bytes.clone() } else { Bytes::copy_from_slice(&bytes[range]) }
}

/// Bytes `range` out of the extents that hold it; copied where it crosses from one to another.
fn cut(of: Extents, extents: &BTreeMap<u64, Bytes>, range: &Range<u64>) -> Result<Bytes> {
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    let mut parts = of.of(range).map(|at| {
        let (extent, bytes) = (of.range(at), extents.get(&at));
        let wanted = range.start.max(extent.start) - extent.start..range.end.min(extent.end) - extent.start;
        let index = |at: u64| usize::try_from(at).ok();
        let part = bytes.zip(index(wanted.start).zip(index(wanted.end)));
        part.filter(|(bytes, (_, end))| *end <= bytes.len())
            .map(|(bytes, (start, end))| bytes.slice(start..end))
            .ok_or_else(|| Error::internal("a cached part is not as long as it has to be").with("extent", at))
    });
    let first = parts.next().unwrap_or_else(|| Ok(Bytes::new()))?;
    if range.end - range.start == first.len() as u64 {
        return Ok(first);
    }
    let mut joined = BytesMut::from(&first[..]);
    for part in parts {
        joined.extend_from_slice(&part?);
    }
    Ok(joined.freeze())
}
