//! What each function costs, by frame name.

use std::cmp::Reverse;

use flamestore_model::NONE;

use crate::ValueTree;
use crate::frame::FrameTable;

/// What one function costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopRow {
    /// The frame name; invalid UTF-8 is replaced.
    pub name: String,
    /// Per column, the values of stacks that end in it.
    pub self_values: Vec<i64>,
    /// Per column, the values of stacks it is on, each stack counted once however often the function recurs.
    pub totals: Vec<i64>,
}

/// What each function costs: by falling self value (columns added), then falling total, then name. Functions whose values
/// are all zero are left out.
///
/// # Panics
/// When a column is not as long as the tree.
pub fn top(tree: &ValueTree) -> Vec<TopRow> {
    let mut counter = Counter::new(tree);
    for node in 1..tree.tree.len() {
        counter.enter(node);
    }
    counter.rows()
}

struct Counter<'a> {
    tree: &'a ValueTree,
    frames: FrameTable<'a>,
    totals: Vec<Vec<i64>>,
    /// The nodes from the root to the one entered last.
    path: Vec<u32>,
    /// By rank: how often the name is on the path.
    on_path: Vec<u32>,
    /// By rank and column.
    self_sums: Vec<i64>,
    total_sums: Vec<i64>,
}

impl<'a> Counter<'a> {
    fn new(tree: &'a ValueTree) -> Self {
        let frames = FrameTable::new(&tree.dictionary);
        let (names, columns) = (frames.len(), tree.values.len());
        Self {
            tree,
            frames,
            totals: (0..columns).map(|column| tree.totals(column)).collect(),
            path: vec![0],
            on_path: vec![0; names],
            self_sums: vec![0; names * columns],
            total_sums: vec![0; names * columns],
        }
    }

    fn enter(&mut self, node: usize) {
        let tree = &self.tree.tree;
        while let Some(left) = self.path.pop_if(|open| *open != tree.parent[node]) {
            for rank in self.frames.frames(tree.location[left as usize]) {
                self.on_path[*rank as usize] -= 1;
            }
        }
        self.path.push(crate::byte_strings::index(node));
        let columns = self.totals.len();
        let mut innermost = NONE;
        for &rank in self.frames.frames(tree.location[node]) {
            innermost = rank;
            let count = &mut self.on_path[rank as usize];
            *count += 1;
            if *count == 1 {
                add(&mut self.total_sums, rank, &self.totals, node);
            }
        }
        if innermost != NONE && columns > 0 {
            add(&mut self.self_sums, innermost, &self.tree.values, node);
        }
    }

    fn rows(self) -> Vec<TopRow> {
        let columns = self.totals.len();
        let mut rows = Vec::new();
        for rank in 0..self.frames.len() {
            let (start, end) = (rank * columns, (rank + 1) * columns);
            let (own, total) = (&self.self_sums[start..end], &self.total_sums[start..end]);
            if own.iter().chain(total).any(|value| *value != 0) {
                let name = self.frames.name(crate::byte_strings::index(rank));
                let name = String::from_utf8_lossy(name).into_owned();
                rows.push(TopRow { name, self_values: own.to_vec(), totals: total.to_vec() });
            }
        }
        let sum = |values: &[i64]| values.iter().map(|value| i128::from(*value)).sum::<i128>();
        // Stable: rows come in the order of their names.
        rows.sort_by_cached_key(|row| Reverse((sum(&row.self_values), sum(&row.totals))));
        rows
    }
}

/// Adds the values of `node` to those of `rank`.
fn add(sums: &mut [i64], rank: u32, columns: &[Vec<i64>], node: usize) {
    let start = rank as usize * columns.len();
    for (sum, column) in sums[start..].iter_mut().zip(columns) {
        *sum = sum.wrapping_add(column[node]);
    }
}
