//! Sums by stack of several dictionaries as one call tree: the union of the dictionaries is made once and kept.
//!
//! ```text
//! sums of a year  ─┐ stack ids of the union, by stack id
//! sums of a month ─┼───────────▶ one sum per stack of the union ─▶ ValueTree
//! sums of a month ─┘
//! ```
//!
//! A union depends on the dictionaries alone, whatever is selected of them. So where the same segments are asked again, in
//! whatever range, nothing is left of uniting them but one addition a stack. Unions count as dictionaries in the cache,
//! which bounds them; one that would take more than half of it is not made, and call trees are merged instead. Nothing here
//! can fail.

use std::sync::Arc;

use flamestore_calltree::{MergedSealed, SealedDictionary, ValueTree, merge, merge_sealed};

use super::cache::{DictionaryCache, Place, memory_bytes};

/// The sums by stack of what is selected of one dictionary.
#[derive(Clone, Debug)]
pub struct StackSums {
    pub(super) place: Place,
    pub(super) cache: Arc<DictionaryCache>,
    pub(super) sealed: Arc<SealedDictionary>,
    /// One per stack.
    pub(super) sums: Vec<i64>,
}

/// The union of dictionaries, and its stack ids by stack id of each.
#[derive(Debug)]
pub(super) struct StackUnion {
    sealed: SealedDictionary,
    stacks: Vec<Vec<u32>>,
}

impl StackSums {
    /// The sum of the absolute sums.
    pub fn magnitude(&self) -> u128 {
        self.sums.iter().map(|sum| u128::from(sum.unsigned_abs())).sum()
    }

    /// The call tree of the stacks whose sum is not zero: one column of self values, without nodes of no value.
    pub fn into_tree(self) -> ValueTree {
        tree(&self.sealed, &self.sums)
    }

    /// The sum of all `parts` as one call tree without nodes of no value; sums wrap. The same as merging the call trees of the
    /// parts and pruning, but for the symbols that no node uses.
    pub fn merge(mut parts: Vec<Self>) -> ValueTree {
        // The same dictionaries have one union, in whatever order they come.
        parts.sort_by_key(|part| part.place);
        match Self::union(&parts) {
            Some(union) => union.sum(&parts),
            None => merge(parts.into_iter().map(|part| (part.into_tree(), 0)).collect(), 1).prune(),
        }
    }

    fn union(parts: &[Self]) -> Option<Arc<StackUnion>> {
        let first = parts.first().filter(|_| parts.len() > 1)?;
        // Places mean something within their cache only.
        if !parts.iter().all(|part| Arc::ptr_eq(&part.cache, &first.cache)) {
            return None;
        }
        let places = parts.iter().map(|part| part.place).collect();
        let bytes_max = parts.iter().map(|part| memory_bytes(&part.sealed) + part.sums.len() * size_of::<u32>()).sum();
        let make = || StackUnion::new(parts.iter().map(|part| &*part.sealed));
        first.cache.union(places, bytes_max, make)
    }
}

impl StackUnion {
    fn new<'a>(parts: impl Iterator<Item = &'a SealedDictionary>) -> Self {
        let MergedSealed { sealed, remaps } = merge_sealed(&parts.collect::<Vec<_>>());
        Self { sealed, stacks: remaps.into_iter().map(|remap| remap.stacks).collect() }
    }

    /// The sum of `parts`, which are of the dictionaries that this is the union of, in the same order.
    fn sum(&self, parts: &[StackSums]) -> ValueTree {
        let mut sums = vec![0_i64; self.sealed.leaves.len()];
        for (part, stacks) in parts.iter().zip(&self.stacks) {
            for (value, stack) in part.sums.iter().zip(stacks) {
                let sum = &mut sums[*stack as usize];
                *sum = sum.wrapping_add(*value);
            }
        }
        tree(&self.sealed, &sums)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let maps = self.stacks.iter().map(|stacks| stacks.capacity() * size_of::<u32>()).sum::<usize>();
        memory_bytes(&self.sealed) + maps
    }
}

fn tree(sealed: &SealedDictionary, sums: &[i64]) -> ValueTree {
    ValueTree::from_stacks(Arc::clone(&sealed.dictionary), &sealed.tree, &sealed.leaves, &[sums])
}
