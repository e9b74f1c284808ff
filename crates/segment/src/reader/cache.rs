//! Decoded dictionaries, the last used ones, bounded by bytes.

use std::sync::{Arc, Mutex, PoisonError};

use flamestore_calltree::SealedDictionary;

/// Decoded dictionaries of one segment or several, at most so many bytes; the least recently used go first.
#[derive(Debug)]
pub struct DictionaryCache {
    bytes_max: usize,
    kept: Mutex<Entries>,
}

/// A reader and one of its dictionaries.
type Key = (u64, u32);

#[derive(Debug, Default)]
struct Entries {
    readers: u64,
    bytes: usize,
    /// Least recently used first. A few dozen at most in practice, so a list will do.
    entries: Vec<(Key, Arc<SealedDictionary>, usize)>,
}

impl DictionaryCache {
    /// A cache of at most `bytes_max` bytes; a dictionary that is larger is not kept.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::default() }
    }

    /// Bytes of the dictionaries kept now.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    pub(super) fn reader_key(&self) -> u64 {
        let mut kept = self.lock();
        kept.readers += 1;
        kept.readers
    }

    pub(super) fn get(&self, key: Key) -> Option<Arc<SealedDictionary>> {
        let mut kept = self.lock();
        let at = kept.entries.iter().position(|entry| entry.0 == key)?;
        let entry = kept.entries.remove(at);
        let found = Arc::clone(&entry.1);
        kept.entries.push(entry);
        Some(found)
    }

    pub(super) fn put(&self, key: Key, dictionary: &Arc<SealedDictionary>) {
        let bytes = memory_bytes(dictionary);
        let mut kept = self.lock();
        if bytes > self.bytes_max || kept.entries.iter().any(|entry| entry.0 == key) {
            return;
        }
        while kept.bytes + bytes > self.bytes_max {
            let dropped = kept.entries.remove(0);
            kept.bytes -= dropped.2;
        }
        kept.bytes += bytes;
        kept.entries.push((key, Arc::clone(dictionary), bytes));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn memory_bytes(sealed: &SealedDictionary) -> usize {
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
        assert_eq!(cache.bytes(), 2 * memory_bytes(&dictionary));
        let none = DictionaryCache::new(1);
        none.put((0, 1), &dictionary);
        assert!(none.get((0, 1)).is_none());
    }
}
