//! Hash tables from content to dense ids: one that verifies what it finds, one that trusts 96 bits of hash.

use hashbrown::HashTable;

/// Ids by 64-bit hash; the caller compares the content of the candidates.
#[derive(Debug, Default)]
pub(crate) struct VerifiedIds {
    table: HashTable<(u32, [u32; 2])>,
}

/// Ids by keyed hash, 96 bits of which are taken for identity: entries of 16 bytes, one cache miss a look-up.
#[derive(Debug, Default)]
pub(crate) struct HashedIds {
    table: HashTable<(u32, [u32; 3])>,
}

impl VerifiedIds {
    /// The id under `hash` for which `same` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let words = split64(hash);
        self.table.find(hash, |(id, at)| *at == words && same(*id)).map(|(id, _)| *id)
    }

    /// Adds an id that [`Self::find`] did not find.
    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        self.table.insert_unique(hash, (id, split64(hash)), |(_, words)| join64(*words));
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.table.allocation_size()
    }
}

impl HashedIds {
    /// The id under `hash`.
    #[inline]
    pub(crate) fn find(&self, hash: u128) -> Option<u32> {
        let (low, words) = split96(hash);
        self.table.find(low, |(_, at)| *at == words).map(|(id, _)| *id)
    }

    /// Adds an id that [`Self::find`] did not find.
    pub(crate) fn insert(&mut self, hash: u128, id: u32) {
        let (low, words) = split96(hash);
        self.table.insert_unique(low, (id, words), |(_, words)| join64([words[0], words[1]]));
    }

    /// Bytes of memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.table.allocation_size()
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn split64(hash: u64) -> [u32; 2] {
    [hash as u32, (hash >> 32) as u32]
}

#[inline]
fn join64(words: [u32; 2]) -> u64 {
    u64::from(words[0]) | u64::from(words[1]) << 32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lower 96 bits")]
fn split96(hash: u128) -> (u64, [u32; 3]) {
    let low = hash as u64;
    let [a, b] = split64(low);
    (low, [a, b, (hash >> 64) as u32])
}
