//! Levels.

use crate::FlameTree;

/// A flame graph as rows of numbers, the way flame graph viewers take it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlameLevels {
    /// Names by index; 0 is `total`.
    pub names: Vec<String>,
    /// Per depth, `3 × columns + 1` numbers per node.
    pub levels: Vec<Vec<i64>>,
    /// The total of each column.
    pub totals: Vec<i64>,
    /// The largest self value of any node and column.
    pub max_self: i64,
}

impl FlameTree {
    /// The levels of this tree: per node and column `[x delta, total, self]`, then the index of the name.
    pub fn levels(&self) -> FlameLevels {
        todo!()
    }
}
