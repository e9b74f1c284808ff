//! What was decoded of segments, the last used parts, bounded by bytes: footers with the small tables, and dictionaries
//! with their unions.

use std::any::Any;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use flamestore_calltree::{FrameStrings, SealedDictionary};
use flamestore_model::Result;

use super::postings::Postings;
use super::stack_sums::StackUnion;
use crate::ByteLru;
use crate::metric::names::{CACHE_BYTES, CACHE_EVICTIONS, CACHE_HITS, CACHE_MISSES};
use crate::rows::{DictionaryEntry, SeriesRow, SeriesTable, WindowRow, WindowTable};
use crate::scan::TableFile;
use crate::schema::Table;

/// Bytes of footers and small tables kept unless said otherwise.
const FOOTER_BYTES_MAX: usize = 64 << 20;

/// Decoded parts of one segment or several, at most so many bytes; the least recently used go first.
#[derive(Debug)]
pub struct DictionaryCache {
    readers: std::sync::atomic::AtomicU64,
    dictionaries: Tier<SymbolsKey, dyn Any + Send + Sync>,
    footers: Tier<PartKey, dyn Any + Send + Sync>,
}

/// A reader and one of its dictionaries.
pub(super) type Place = (u64, u32);

/// A dictionary, the names of its frames, or the union of several dictionaries in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SymbolsKey {
    One(Place),
    Frames(Place),
    Union(Arc<[Place]>),
}

/// A reader and one of its parts.
pub(super) type PartKey = (u64, Part);

/// What a reader keeps besides dictionaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Part {
    /// A table's footer with its page index.
    Footer(Table),
    Dictionaries,
    Series,
    Postings,
    Windows,
}

#[derive(Debug)]
struct Tier<K, V: ?Sized> {
    name: &'static str,
    kept: Mutex<ByteLru<K, Arc<V>>>,
}

impl<K: Clone + Eq + std::hash::Hash, V: ?Sized> Tier<K, V> {
    fn new(name: &'static str, bytes_max: usize) -> Self {
        Self { name, kept: Mutex::new(ByteLru::new(bytes_max as u64)) }
    }

    fn get(&self, key: &K) -> Option<Arc<V>> {
        let found = self.lock().get(key);
        let counter = if found.is_some() { CACHE_HITS } else { CACHE_MISSES };
        metrics::counter!(counter, "tier" => self.name).increment(1);
        found
    }

    fn put(&self, key: K, value: Arc<V>, bytes: usize) {
        let mut kept = self.lock();
        let evicted = kept.put(key, value, bytes as u64);
        let bytes = kept.bytes();
        drop(kept);
        metrics::counter!(CACHE_EVICTIONS, "tier" => self.name).increment(evicted.len() as u64);
        metrics::gauge!(CACHE_BYTES, "tier" => self.name).set(bytes as f64);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ByteLru<K, Arc<V>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DictionaryCache {
    /// A cache of at most `bytes_max` bytes of dictionaries; one that is larger is not kept.
    pub fn new(bytes_max: usize) -> Self {
        Self::with_footers(bytes_max, FOOTER_BYTES_MAX)
    }

    /// A cache of at most `bytes_max` bytes of dictionaries and `footer_bytes_max` bytes of footers and small tables.
    pub fn with_footers(bytes_max: usize, footer_bytes_max: usize) -> Self {
        Self {
            readers: 0.into(),
            dictionaries: Tier::new("dictionary", bytes_max),
            footers: Tier::new("footer", footer_bytes_max),
        }
    }

    /// Bytes of the dictionaries kept now.
    pub fn bytes(&self) -> u64 {
        self.dictionaries.lock().bytes()
    }

    /// Bytes of the footers and small tables kept now.
    pub fn footer_bytes(&self) -> u64 {
        self.footers.lock().bytes()
    }

    pub(super) fn reader_key(&self) -> u64 {
        self.readers.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn get(&self, key: Place) -> Option<Arc<SealedDictionary>> {
        self.dictionaries.get(&SymbolsKey::One(key))?.downcast().ok()
    }

    pub(super) fn put(&self, key: Place, dictionary: &Arc<SealedDictionary>) {
        let bytes = memory_bytes(dictionary);
        self.dictionaries.put(SymbolsKey::One(key), Arc::clone(dictionary) as Arc<dyn Any + Send + Sync>, bytes);
    }

    /// The names of the frames of the dictionary `sealed`, which is at `place`.
    pub(super) fn frames(&self, place: Place, sealed: &SealedDictionary) -> Arc<FrameStrings> {
        let key = SymbolsKey::Frames(place);
        if let Some(kept) = self.dictionaries.get(&key).and_then(|kept| kept.downcast().ok()) {
            return kept;
        }
        let made = Arc::new(FrameStrings::of(sealed));
        self.dictionaries.put(key, Arc::clone(&made) as Arc<dyn Any + Send + Sync>, made.memory_bytes());
        made
    }

    /// The union of the dictionaries at `places`; `make` runs when it is not there. `None` where it might take so many
    /// bytes, `bytes_max`, that hardly a dictionary would be kept beside it.
    pub(super) fn union(
        &self,
        places: Vec<Place>,
        bytes_max: usize,
        make: impl FnOnce() -> StackUnion,
    ) -> Option<Arc<StackUnion>> {
        if bytes_max as u64 > self.dictionaries.lock().bytes_max() / 2 {
            return None;
        }
        let key = SymbolsKey::Union(places.into());
        if let Some(kept) = self.dictionaries.get(&key).and_then(|kept| kept.downcast().ok()) {
            return Some(kept);
        }
        let made = Arc::new(make());
        let bytes = made.memory_bytes();
        self.dictionaries.put(key, Arc::clone(&made) as Arc<dyn Any + Send + Sync>, bytes);
        Some(made)
    }
}

/// A part that is loaded when it is needed, and again after the cache let go of it and nobody uses it any more.
pub(super) struct Kept<T>(futures::lock::Mutex<Weak<T>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(futures::lock::Mutex::new(Weak::new()))
    }
}

impl<T: Weighed + Send + Sync + 'static> Kept<T> {
    /// The part; `load` runs when it is not there. Others that ask meanwhile wait for it.
    pub(super) async fn get(
        &self,
        cache: &DictionaryCache,
        key: PartKey,
        load: impl Future<Output = Result<T>>,
    ) -> Result<Arc<T>> {
        let mut kept = self.0.lock().await;
        let is_cached = cache.footers.get(&key).is_some();
        let loaded = match kept.upgrade() {
            Some(found) if is_cached => return Ok(found),
            Some(found) => found,
            None => Arc::new(load.await?),
        };
        *kept = Arc::downgrade(&loaded);
        let bytes = loaded.memory_bytes();
        cache.footers.put(key, Arc::clone(&loaded) as Arc<dyn Any + Send + Sync>, bytes);
        Ok(loaded)
    }
}

/// What knows about how many bytes it takes.
pub(super) trait Weighed {
    fn memory_bytes(&self) -> usize;
}

impl Weighed for TableFile {
    fn memory_bytes(&self) -> usize {
        Self::memory_bytes(self)
    }
}

impl Weighed for Vec<DictionaryEntry> {
    fn memory_bytes(&self) -> usize {
        self.iter().map(|entry| size_of::<DictionaryEntry>() + entry.service_name.len()).sum()
    }
}

impl Weighed for SeriesTable {
    fn memory_bytes(&self) -> usize {
        let labels =
            |row: &SeriesRow| row.labels.iter().map(|(name, value)| name.len() + value.len() + 48).sum::<usize>();
        // the five parts of a profile type are strings of a few bytes
        self.rows.iter().map(|row| size_of::<SeriesRow>() + labels(row) + row.service_name.len() + 5 * 16).sum()
    }
}

impl Weighed for WindowTable {
    fn memory_bytes(&self) -> usize {
        self.rows.len() * size_of::<WindowRow>()
    }
}

impl Weighed for Postings {
    fn memory_bytes(&self) -> usize {
        Self::memory_bytes(self)
    }
}

pub(super) fn memory_bytes(sealed: &SealedDictionary) -> usize {
    let dictionary = &sealed.dictionary;
    dictionary.strings.memory_bytes()
        + dictionary.mappings.len() * size_of::<flamestore_model::Mapping>()
        + dictionary.functions.len() * 20
        + dictionary.locations.len() * 17
        + dictionary.locations.line_function.len() * 20
        + dictionary.label_sets.labels.len() * size_of::<flamestore_model::Label>()
        + dictionary.label_sets.offsets.len() * 4
        + sealed.tree.len() * 8
        + sealed.leaves.len() * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_dictionary_goes_first() {
        let dictionary = Arc::new(SealedDictionary {
            dictionary: Arc::default(),
            tree: flamestore_calltree::CallTree::default(),
            leaves: vec![0],
        });
        let cache = DictionaryCache::new(2 * memory_bytes(&dictionary));
        for id in [1, 2] {
            cache.put((0, id), &dictionary);
        }
        assert!(cache.get((0, 1)).is_some());
        cache.put((0, 3), &dictionary);
        assert!(cache.get((0, 2)).is_none() && cache.get((0, 1)).is_some() && cache.get((0, 3)).is_some());
        assert_eq!(cache.bytes(), 2 * memory_bytes(&dictionary) as u64);
        let none = DictionaryCache::new(1);
        none.put((0, 1), &dictionary);
        assert!(none.get((0, 1)).is_none());
    }
}
