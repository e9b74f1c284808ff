//! Distinct stacks of a growing dictionary: lists of location ids in one arena, found by one hash of the list.

use flamestore_model::Result;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::id_table::HashedIds;
use crate::symbol_arena::next;

/// Stacks by first-seen id, each a list of location ids, root first.
#[derive(Debug)]
pub(crate) struct StackArena {
    seed: u64,
    offsets: Vec<u32>,
    frames: Vec<u32>,
    ids: HashedIds,
}

impl StackArena {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, offsets: vec![0], frames: Vec::new(), ids: HashedIds::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(crate) fn get(&self, id: u32) -> &[u32] {
        &self.frames[self.offsets[id as usize] as usize..self.offsets[id as usize + 1] as usize]
    }

    /// What tells a stack from all others.
    #[inline]
    pub(crate) fn hash(&self, stack: &[u32]) -> u128 {
        xxh3_128_with_seed(bytemuck::cast_slice(stack), self.seed)
    }

    /// The id of the stack of this hash, if it was seen before.
    #[inline]
    pub(crate) fn find(&self, hash: u128) -> Option<u32> {
        self.ids.find(hash)
    }

    /// Adds a stack that [`Self::find`] did not find.
    #[cold]
    pub(crate) fn insert(&mut self, hash: u128, stack: &[u32]) -> Result<u32> {
        let end = next(self.frames.len() + stack.len(), "frames")?;
        let id = next(self.len(), "stacks")?;
        self.frames.extend_from_slice(stack);
        self.offsets.push(end);
        self.ids.insert(hash, id);
        Ok(id)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        (self.offsets.capacity() + self.frames.capacity()) * size_of::<u32>() + self.ids.memory_bytes()
    }
}
