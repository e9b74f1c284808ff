//! A map bounded by bytes: what was used least recently goes first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Values with their sizes, at most `bytes_max` in sum.
#[derive(Debug)]
pub struct ByteLru<K, V> {
    bytes_max: u64,
    bytes: u64,
    uses: u64,
    values: HashMap<K, Held<V>>,
    /// When each key was last used; the first is the next to go.
    order: BTreeMap<u64, K>,
}

/// A value with its size and when it was used.
#[derive(Debug)]
struct Held<V> {
    value: V,
    bytes: u64,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> ByteLru<K, V> {
    /// An empty map of at most `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, bytes: 0, uses: 0, values: HashMap::new(), order: BTreeMap::new() }
    }

    /// The bound.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// The bytes of all values.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether `key` is there; that is no use of it.
    pub fn contains(&self, key: &K) -> bool {
        self.values.contains_key(key)
    }

    /// The value of `key`, which is now the one used last.
    pub fn get(&mut self, key: &K) -> Option<V> {
        let held = self.values.get_mut(key)?;
        self.order.remove(&held.used);
        self.uses += 1;
        held.used = self.uses;
        self.order.insert(held.used, key.clone());
        Some(held.value.clone())
    }

    /// Puts a value of `bytes` in and returns what had to go for it. A value over the bound is not taken in.
    pub fn put(&mut self, key: K, value: V, bytes: u64) -> Vec<(K, V)> {
        self.remove(&key);
        let mut evicted = Vec::new();
        if bytes > self.bytes_max {
            return evicted;
        }
        while self.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some(held) = self.values.remove(&oldest) {
                self.bytes -= held.bytes;
                evicted.push((oldest, held.value));
            }
        }
        self.uses += 1;
        self.bytes += bytes;
        self.order.insert(self.uses, key.clone());
        self.values.insert(key, Held { value, bytes, used: self.uses });
        evicted
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let held = self.values.remove(key)?;
        self.order.remove(&held.used);
        self.bytes -= held.bytes;
        Some(held.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_least_recently_goes_first_and_the_bound_holds() {
        let mut lru = ByteLru::new(10);
        assert_eq!(lru.put("a", 1, 4), []);
        assert_eq!(lru.put("b", 2, 4), []);
        assert_eq!(lru.get(&"a"), Some(1));
        assert_eq!(lru.put("c", 3, 4), [("b", 2)]);
        assert_eq!(lru.bytes(), 8);
        assert_eq!(lru.put("d", 4, 11), [], "too large to be taken in");
        assert!(lru.contains(&"a") && lru.contains(&"c") && !lru.contains(&"d"));
        assert_eq!(lru.put("a", 5, 10), [("c", 3)], "a value takes the place of its former self");
        assert_eq!((lru.get(&"a"), lru.bytes()), (Some(5), 10));
        assert_eq!((lru.remove(&"a"), lru.bytes()), (Some(5), 0));
    }
}
