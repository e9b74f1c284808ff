//! The cache on disk: one file per extent, in a folder of its own.
//!
//! ```text
//! <folder>/lock                       held by the store that uses the folder
//! <folder>/5f/5f0c…e1-000000000003    hash of the object, number of the extent, both hexadecimal
//!
//! offset  size  what
//!      0     4  "FSCX"
//!      4     4  length of the body, little-endian
//!      8     8  XXH3-64 of the file's name and the body, little-endian
//!     16     …  the body: bytes of the object
//! ```
//!
//! The folder may be deleted at any time while no store runs. Nothing in it is trusted: a file that is damaged, cut short
//! or of another name is a miss and is deleted. Files are written under a temporary name and renamed, and not synced: what
//! a crash tears is found by its checksum. At start the files are counted, oldest first, and those over the bound go.
//!
//! Holds always: files take at most `bytes_max` bytes (a file system's own rounding aside), those waiting to be written at
//! most `PENDING_BYTES_MAX`. What can fail: writing, when the disk is full or gone; then the cache writes no more until it
//! is opened anew, says so once, and goes on reading.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use flamestore_model::{Error, Result};
use flamestore_segment::ByteLru;
use parking_lot::Mutex;
use tokio::sync::Notify;
use xxhash_rust::xxh3::Xxh3;

use super::{Key, ObjectId};
use crate::flush::blocking;
use crate::metric::names::{CACHE_BYTES, CACHE_EVICTIONS, CACHE_HITS, CACHE_MISSES};

const MAGIC: &[u8; 4] = b"FSCX";
const HEADER_BYTES: usize = 16;
/// Bytes that may wait for the disk; what is fetched beyond is not written.
const PENDING_BYTES_MAX: u64 = 64 << 20;

/// Extents in files.
#[derive(Debug)]
pub(super) struct DiskCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    /// What is in the folder and what is being written: whether the file is there to be read.
    index: Mutex<ByteLru<Key, bool>>,
    /// Set by the first write that failed.
    broken: AtomicBool,
    pending: AtomicU64,
    settled: Notify,
    /// Numbers the temporary names: two tasks that write one extent must not take each other's file.
    writes: AtomicU64,
    /// Locked as long as the cache is open.
    _lock: File,
}

impl DiskCache {
    /// Opens the cache in `folder`, which is made if there is none.
    pub(super) async fn open(folder: PathBuf, bytes_max: u64) -> Result<Self> {
        let shown = folder.display().to_string();
        let opened = blocking(move || Ok(Shared::open(folder, bytes_max))).await?;
        let shared = opened.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Error::invalid("cache: the folder is in use by another store; give each its own cache_dir")
                    .with("folder", &shown)
            }
            _ => Error::invalid("cache: the folder cannot be used; check cache_dir")
                .with("folder", &shown)
                .because(error),
        })?;
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What the folder has of these extents of `object`.
    pub(super) async fn read(&self, object: ObjectId, extents: Vec<u64>) -> BTreeMap<u64, Bytes> {
        let asked = extents.len() as u64;
        let known: Vec<u64> = {
            let mut index = self.shared.index.lock();
            extents.into_iter().filter(|at| index.get(&(object, *at)) == Some(true)).collect()
        };
        let shared = Arc::clone(&self.shared);
        let found = match known.is_empty() {
            true => BTreeMap::new(),
            false => {
                let read =
                    move || Ok(known.iter().filter_map(|at| Some((*at, shared.read(&(object, *at))?))).collect());
                blocking(read).await.unwrap_or_default()
            }
        };
        metrics::counter!(CACHE_HITS, "tier" => "disk").increment(found.len() as u64);
        metrics::counter!(CACHE_MISSES, "tier" => "disk").increment(asked.saturating_sub(found.len() as u64));
        found
    }

    /// Writes extents of `object`, sometime soon.
    pub(super) fn write(&self, object: ObjectId, extents: Vec<(u64, Bytes)>) {
        let bytes: u64 = extents.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if extents.is_empty() || self.shared.broken.load(Ordering::Relaxed) {
            return;
        }
        if self.shared.pending.fetch_add(bytes, Ordering::AcqRel) + bytes > PENDING_BYTES_MAX {
            self.shared.written(bytes);
            return;
        }
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            for (at, body) in &extents {
                shared.write_or_stop(&(object, *at), body);
            }
            shared.written(bytes);
        });
    }

    /// Forgets extents and deletes their files.
    pub(super) fn forget(&self, keys: impl Iterator<Item = Key>) {
        let mut index = self.shared.index.lock();
        let gone: Vec<Key> = keys.filter(|key| index.remove(key).is_some()).collect();
        metrics::gauge!(CACHE_BYTES, "tier" => "disk").set(index.bytes() as f64);
        drop(index);
        if !gone.is_empty() {
            let shared = Arc::clone(&self.shared);
            tokio::task::spawn_blocking(move || gone.iter().for_each(|key| shared.delete(key)));
        }
    }

    /// Waits until nothing waits to be written.
    pub(super) async fn settle(&self) {
        loop {
            let settled = self.shared.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if self.shared.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }
}

impl Shared {
    fn open(folder: PathBuf, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.try_lock().map_err(io::Error::from)?;
        let shared = Self {
            index: Mutex::new(ByteLru::new(bytes_max)),
            broken: AtomicBool::new(false),
            pending: AtomicU64::new(0),
            settled: Notify::new(),
            writes: AtomicU64::new(0),
            _lock: lock,
            folder,
        };
        shared.count()?;
        Ok(shared)
    }

    /// Takes stock of the folder: what was written last is the last to go.
    fn count(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, Key, u64)> = Vec::new();
        for folder in fs::read_dir(&self.folder)?.filter_map(io::Result::ok).map(|entry| entry.path()) {
            let is_ours = folder.file_name().is_some_and(|name| name.len() == 2) && folder.is_dir();
            for file in is_ours.then(|| fs::read_dir(&folder)).transpose()?.into_iter().flatten() {
                let file = file?;
                let (path, meta) = (file.path(), file.metadata()?);
                match path.file_name().and_then(|name| key_of(name.to_str()?)).filter(|key| self.path(key) == path) {
                    Some(key) => files.push((meta.modified()?, key, meta.len())),
                    None => drop(fs::remove_file(path)),
                }
            }
        }
        files.sort_unstable();
        for (_, key, bytes) in files {
            self.take_in(key, true, bytes);
        }
        Ok(())
    }

    /// Notes a file of `bytes` unless it is known, and deletes the ones that have to go for it; the answer is whether it was
    /// noted and stays.
    fn take_in(&self, key: Key, is_written: bool, bytes: u64) -> bool {
        let mut index = self.index.lock();
        if index.contains(&key) {
            return false;
        }
        let evicted = index.put(key, is_written, bytes);
        let (is_kept, total) = (index.contains(&key), index.bytes());
        drop(index);
        evicted.iter().for_each(|(key, _)| self.delete(key));
        if !is_kept {
            self.delete(&key);
        }
        metrics::counter!(CACHE_EVICTIONS, "tier" => "disk").increment(evicted.len() as u64);
        metrics::gauge!(CACHE_BYTES, "tier" => "disk").set(total as f64);
        is_kept
    }

    fn path(&self, key: &Key) -> PathBuf {
        let name = name_of(key);
        self.folder.join(&name[..2]).join(&name)
    }

    fn read(&self, key: &Key) -> Option<Bytes> {
        let found = fs::read(self.path(key)).ok().and_then(|file| body(key, file));
        if found.is_none() {
            self.index.lock().remove(key);
            self.delete(key);
        }
        found
    }

    fn write_or_stop(&self, key: &Key, body: &Bytes) {
        let (path, bytes) = (self.path(key), (HEADER_BYTES + body.len()) as u64);
        // Room is made before it is taken, so that the bound holds at every moment. What another task writes, or has written, is
        // left to it.
        if self.broken.load(Ordering::Relaxed) || !self.take_in(*key, false, bytes) {
            return;
        }
        let temporary = path.with_extension(format!("{}.tmp", self.writes.fetch_add(1, Ordering::Relaxed)));
        let Err(error) = write_file(&temporary, &path, key, body) else { return self.written_whole(key, bytes) };
        self.index.lock().remove(key);
        drop(fs::remove_file(temporary));
        if !self.broken.swap(true, Ordering::Relaxed) {
            let folder = self.folder.display();
            tracing::warn!(%folder, %error, "the cache cannot be written and is only read from now on");
        }
    }

    /// A file is there to be read, unless it had to go while it was written.
    fn written_whole(&self, key: &Key, bytes: u64) {
        let mut index = self.index.lock();
        if index.contains(key) {
            index.put(*key, true, bytes);
        } else {
            drop(index);
            self.delete(key);
        }
    }

    fn written(&self, bytes: u64) {
        if self.pending.fetch_sub(bytes, Ordering::AcqRel) == bytes {
            self.settled.notify_waiters();
        }
    }

    fn delete(&self, key: &Key) {
        // a file that stays is counted again at the next start
        drop(fs::remove_file(self.path(key)));
    }
}

fn name_of((object, at): &Key) -> String {
    format!("{object:032x}-{at:012x}")
}

fn key_of(name: &str) -> Option<Key> {
    let (object, at) = name.split_once('-')?;
    Some((u128::from_str_radix(object, 16).ok()?, u64::from_str_radix(at, 16).ok()?))
}

fn checksum(key: &Key, body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(name_of(key).as_bytes());
    hash.update(body);
    hash.digest()
}

fn write_file(temporary: &Path, path: &Path, key: &Key, body: &[u8]) -> io::Result<()> {
    let mut file = Vec::with_capacity(HEADER_BYTES + body.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&u32::try_from(body.len()).map_err(io::Error::other)?.to_le_bytes());
    file.extend_from_slice(&checksum(key, body).to_le_bytes());
    file.extend_from_slice(body);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(temporary, &file)?;
    fs::rename(temporary, path)
}

/// The body of a file, if it is whole and of this name.
fn body(key: &Key, file: Vec<u8>) -> Option<Bytes> {
    let (header, body) = file.split_first_chunk::<HEADER_BYTES>()?;
    let (magic, rest) = header.split_first_chunk::<4>()?;
    let (length, expected) = rest.split_first_chunk::<4>()?;
    let is_whole = magic == MAGIC
        && u32::from_le_bytes(*length) as usize == body.len()
        && expected == checksum(key, body).to_le_bytes();
    is_whole.then(|| Bytes::from(file).slice(HEADER_BYTES..))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn tasks_that_write_the_same_extents_do_not_disturb_each_other()
    -> std::result::Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let (threads, extents) = (4, 100);
        // Room for all, and for a tenth of them.
        for bytes_max in [1 << 20, 400] {
            let shared = Shared::open(folder.path().join(bytes_max.to_string()), bytes_max)?;
            let start = Barrier::new(threads);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for at in 0..extents {
                            start.wait();
                            shared.write_or_stop(&(7, at), &Bytes::from_static(b"the bytes of an extent"));
                        }
                    });
                }
            });
            assert!(!shared.broken.load(Ordering::Relaxed), "a write failed with {bytes_max}");
            let known: Vec<Key> =
                (0..extents).map(|at| (7, at)).filter(|key| shared.index.lock().contains(key)).collect();
            assert_eq!(known.len(), if bytes_max == 400 { 10 } else { 100 });
            for key in known {
                assert_eq!(shared.read(&key).as_deref(), Some(&b"the bytes of an extent"[..]));
            }
        }
        Ok(())
    }
}
