//! A flame graph as rows of numbers, one row per depth, the way flame graph viewers take it.
//!
//! ```text
//! one column:  [x, total, self, name]                                       per node, left to right
//! a diff:      [x, total, self, x, total, self, name]                       before, then after
//! ```
//!
//! `x` is the distance from where the node before on the same depth ends (from 0 for the first). The children of a node
//! start where its self value ends.

use crate::FlameTree;

/// A flame graph as rows of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlameLevels {
    /// Names by index; 0 is `total`. Invalid UTF-8 is replaced.
    pub names: Vec<String>,
    /// Per depth, `3 × columns + 1` numbers per node.
    pub levels: Vec<Vec<i64>>,
    /// The total of each column.
    pub totals: Vec<i64>,
    /// The largest self value of any node and column.
    pub max_self: i64,
}

impl FlameTree {
    /// The levels of this tree: per node and column the distance, the total and the self value, then the index of the
    /// name. They draw a sensible picture only where nothing is negative ([`FlameTree::has_negatives`]).
    pub fn levels(&self) -> FlameLevels {
        let columns = self.totals.len();
        let depths = self.depth.iter().max().map_or(0, |depth| *depth as usize + 1);
        let mut levels: Vec<Vec<i64>> = vec![Vec::new(); depths];
        // Per depth and column, where the node before ends; per node and column, where the next child starts.
        let mut ends = vec![0_i64; depths * columns];
        let mut next = vec![0_i64; self.len() * columns];
        for node in 0..self.len() {
            let depth = self.depth[node] as usize;
            for column in 0..columns {
                let (own, total) = (self.self_values[column][node], self.totals[column][node]);
                let mut x = 0;
                if node > 0 {
                    let start = &mut next[self.parent[node] as usize * columns + column];
                    x = *start;
                    *start = start.wrapping_add(total);
                }
                next[node * columns + column] = x.wrapping_add(own);
                let end = &mut ends[depth * columns + column];
                levels[depth].extend([x.wrapping_sub(*end), total, own]);
                *end = x.wrapping_add(total);
            }
            levels[depth].push(i64::from(self.name[node]));
        }
        FlameLevels {
            names: self.names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
            levels,
            totals: self.totals.iter().map(|column| column[0]).collect(),
            max_self: self.self_values.iter().flatten().copied().max().unwrap_or_default().max(0),
        }
    }
}
