//! The union of sealed dictionaries: symbols, call trees and stacks, and how to get from an input's ids to the union's.

use std::sync::Arc;

use flamestore_model::NONE;

use crate::byte_strings::index;
use crate::merge_dictionaries::merge_dictionaries;
use crate::merge_trees::merge_trees;
use crate::{CallTree, SealedDictionary};

/// New ids by old id, for what rows of samples and profiles refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedRemap {
    /// New stack ids.
    pub stacks: Vec<u32>,
    /// New mapping ids.
    pub mappings: Vec<u32>,
    /// New label set ids.
    pub label_sets: Vec<u32>,
}

/// The union of sealed dictionaries and how to get there.
#[derive(Clone, Debug)]
pub struct MergedSealed {
    /// The union. Its stacks are in preorder of the nodes they end in, each node once.
    pub sealed: SealedDictionary,
    /// One per input.
    pub remaps: Vec<SealedRemap>,
}

impl SealedRemap {
    /// What leads to where `self` and then `next` lead.
    #[must_use]
    pub fn then(mut self, next: &Self) -> Self {
        for (ids, next) in [
            (&mut self.stacks, &next.stacks),
            (&mut self.mappings, &next.mappings),
            (&mut self.label_sets, &next.label_sets),
        ] {
            ids.iter_mut().for_each(|id| *id = next[*id as usize]);
        }
        self
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        (self.stacks.capacity() + self.mappings.capacity() + self.label_sets.capacity()) * size_of::<u32>()
    }
}

/// The union of sealed dictionaries.
///
/// # Panics
/// When the union outgrows 32-bit ids. Inputs must be in canonical order ([`SealedDictionary::check`]).
pub fn merge_sealed(inputs: &[&SealedDictionary]) -> MergedSealed {
    let dictionaries: Vec<_> = inputs.iter().map(|input| &*input.dictionary).collect();
    let merged = merge_dictionaries(&dictionaries);
    let trees: Vec<(&CallTree, &[u32])> =
        inputs.iter().zip(&merged.remaps).map(|(input, remap)| (&input.tree, &remap.locations[..])).collect();
    let tree = merge_trees(&trees);

    let mut stack_of_node = vec![NONE; tree.tree.len()];
    for (input, nodes) in inputs.iter().zip(&tree.remaps) {
        for leaf in &input.leaves {
            stack_of_node[nodes[*leaf as usize] as usize] = 0;
        }
    }
    let mut leaves = Vec::new();
    for (node, stack) in stack_of_node.iter_mut().enumerate().filter(|(_, stack)| **stack != NONE) {
        *stack = index(leaves.len());
        leaves.push(index(node));
    }
    let remap = |((input, nodes), symbols): ((&&SealedDictionary, &Vec<u32>), crate::DictionaryRemap)| SealedRemap {
        stacks: input.leaves.iter().map(|leaf| stack_of_node[nodes[*leaf as usize] as usize]).collect(),
        mappings: symbols.mappings,
        label_sets: symbols.label_sets,
    };
    let remaps = inputs.iter().zip(&tree.remaps).zip(merged.remaps).map(remap).collect();
    let sealed = SealedDictionary { dictionary: Arc::new(merged.dictionary), tree: tree.tree, leaves };
    MergedSealed { sealed, remaps }
}
