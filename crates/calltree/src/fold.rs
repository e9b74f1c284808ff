//! Folding.

use crate::{ByteStrings, ValueTree};

/// How to fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldOptions {
    /// About how many nodes to keep, the root and `other` leaves not counted; 0 keeps all.
    pub max_nodes: usize,
}

/// A call tree by frame name, in preorder; siblings ordered by name bytewise, the `other` leaf last. Node 0 is the root,
/// named `total`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlameTree {
    /// Distinct names; 0 is `total`.
    pub names: ByteStrings,
    /// The name of each node: an id into `names`.
    pub name: Vec<u32>,
    /// The parent of each node; the root's is itself.
    pub parent: Vec<u32>,
    /// The depth of each node; the root's is 0.
    pub depth: Vec<u32>,
    /// Whether the node is a leaf that stands for the children left out of its parent.
    pub is_other: Vec<bool>,
    /// Columns of self values, one value per node.
    pub self_values: Vec<Vec<i64>>,
    /// Columns of totals, one value per node.
    pub totals: Vec<Vec<i64>>,
}

/// Folds nodes of the same frame name below the same parent together, and truncates.
pub fn fold(_tree: &ValueTree, _options: &FoldOptions) -> FlameTree {
    todo!()
}

impl FlameTree {
    /// Self values by stack of names (root first, joined by `;`), sorted bytewise; stacks whose values are all zero are
    /// left out.
    pub fn folded(&self) -> Vec<(String, Vec<i64>)> {
        todo!()
    }
}
