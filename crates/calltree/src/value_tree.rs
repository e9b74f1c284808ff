//! A call tree with columns of values: what a query accumulates, merges, compares and folds.

use std::sync::Arc;

use crate::{CallTree, Dictionary};

/// A call tree with one or more columns of values. Sums wrap at 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueTree {
    /// The symbols.
    pub dictionary: Arc<Dictionary>,
    /// The tree over its locations.
    pub tree: CallTree,
    /// Columns of self values, one value per node.
    pub values: Vec<Vec<i64>>,
}

impl ValueTree {
    /// The tree of nothing, with `columns` columns.
    pub fn empty(columns: usize) -> Self {
        Self { dictionary: Arc::default(), tree: CallTree::default(), values: vec![vec![0]; columns] }
    }

    /// The nodes of `tree` that have a non-zero value in them or below, given one value per stack and column: scatters
    /// the values to the leaves, then drops what is zero. `tree` and `leaves` are those of a sealed dictionary.
    ///
    /// # Panics
    /// When a column is not as long as `leaves`.
    pub fn from_stacks(_dictionary: Arc<Dictionary>, _tree: &CallTree, _leaves: &[u32], _columns: &[&[i64]]) -> Self {
        todo!()
    }

    /// Drops the nodes that have no non-zero value in them or below. Symbols stay.
    #[must_use]
    pub fn prune(self) -> Self {
        todo!()
    }

    /// Drops the symbols that no node uses, and all label sets.
    #[must_use]
    pub fn prune_symbols(self) -> Self {
        todo!()
    }

    /// Per node, the sum of column `column` over its subtree.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn totals(&self, _column: usize) -> Vec<i64> {
        todo!()
    }

    /// Bytes of memory held by the tree and its values, without the dictionary.
    pub fn memory_bytes(&self) -> usize {
        todo!()
    }
}
