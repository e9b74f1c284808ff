//! Merging.

use crate::{CallTree, Dictionary, ValueTree};

/// New ids by old id, per table of one input dictionary. Every map rises strictly with the old id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DictionaryRemap {
    /// New string ids.
    pub strings: Vec<u32>,
    /// New mapping ids.
    pub mappings: Vec<u32>,
    /// New function ids.
    pub functions: Vec<u32>,
    /// New location ids.
    pub locations: Vec<u32>,
    /// New label set ids.
    pub label_sets: Vec<u32>,
}

/// The union of dictionaries.
#[derive(Clone, Debug)]
pub struct MergedDictionary {
    /// The union, in canonical order.
    pub dictionary: Dictionary,
    /// One per input.
    pub remaps: Vec<DictionaryRemap>,
}

/// The union of call trees.
#[derive(Clone, Debug)]
pub struct MergedTree {
    /// The union, in preorder.
    pub tree: CallTree,
    /// New node by old node, one per input; strictly rising.
    pub remaps: Vec<Vec<u32>>,
}

/// The union of dictionaries.
pub fn merge_dictionaries(_inputs: &[&Dictionary]) -> MergedDictionary {
    todo!()
}

/// The union of call trees; each comes with the map of its locations into the dictionary they share.
pub fn merge_trees(_inputs: &[(&CallTree, &[u32])]) -> MergedTree {
    todo!()
}

/// The union of value trees: the columns of each input are added to those from its number on.
///
/// # Panics
/// When an input has a column past `columns`.
pub fn merge(_inputs: Vec<(ValueTree, usize)>, _columns: usize) -> ValueTree {
    todo!()
}
