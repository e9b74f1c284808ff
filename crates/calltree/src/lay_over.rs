//! Flame trees laid over each other: what viewers of Pyroscope's flame graphs and their diffs expect.
//!
//! Each tree was folded and truncated by itself, so that a node that is left out of one tree and kept in another is a part of
//! `other` in the first. The rules are those of Pyroscope (`pkg/model`, what its answers show):
//!
//! - Nodes of the same path are one node; where a tree does not have it, its values are 0.
//! - A frame that is called `other` and the leaf of what was left out are one leaf, the last among its siblings. What lies below
//!   such a frame is in its total, and not shown: it cannot be told from what was left out before the tree was stored.
//! - All other siblings are ordered by name, bytewise.
//!
//! One tree alone can be laid over nothing: then only the second rule changes it.

use flamestore_model::NONE;

use crate::byte_strings::index;
use crate::fold::OTHER;
use crate::{ByteStrings, FlameTree};

/// `trees`, each of one column, as one tree with a column for each.
///
/// # Panics
/// When a tree has not exactly one column.
pub fn lay_over<const C: usize>(trees: [&FlameTree; C]) -> FlameTree {
    assert!(trees.iter().all(|tree| tree.totals.len() == 1), "one column a tree");
    Layers::new(trees).lay()
}

/// A node to be written: where it is in each tree, [`NONE`] where it is not.
enum Pending<const C: usize> {
    Node { at: [u32; C], parent: u32 },
    Other { totals: [i64; C], parent: u32 },
}

struct Layers<'a, const C: usize> {
    trees: [&'a FlameTree; C],
    /// Per tree and node, the first node after its subtree.
    ends: [Vec<u32>; C],
    /// Per tree and name, its rank among the names of all trees.
    ranks: [Vec<u32>; C],
    /// The rank of `other`, [`NONE`] where no tree has it.
    other: u32,
    /// Names of the answer by rank, [`NONE`] for those that were not needed yet.
    name_of: Vec<u32>,
    flame: FlameTree,
}

impl<'a, const C: usize> Layers<'a, C> {
    fn new(trees: [&'a FlameTree; C]) -> Self {
        let mut names: Vec<&[u8]> = trees.iter().flat_map(|tree| tree.names.iter()).collect();
        names.sort_unstable();
        names.dedup();
        let rank = |name: &[u8]| names.binary_search(&name).map_or(NONE, index);
        let flame = FlameTree {
            names: ByteStrings::new(),
            name: Vec::new(),
            parent: Vec::new(),
            depth: Vec::new(),
            is_other: Vec::new(),
            self_values: vec![Vec::new(); C],
            totals: vec![Vec::new(); C],
        };
        Self {
            trees,
            ends: trees.map(ends),
            ranks: trees.map(|tree| tree.names.iter().map(rank).collect()),
            other: rank(OTHER),
            name_of: vec![NONE; names.len()],
            flame,
        }
    }

    fn lay(mut self) -> FlameTree {
        let mut pending = vec![Pending::Node { at: [0; C], parent: 0 }];
        let mut children = Vec::new();
        while let Some(next) = pending.pop() {
            match next {
                Pending::Node { at, parent } => {
                    let node = self.push_node(at, parent);
                    self.push_children(at, node, &mut children, &mut pending);
                }
                Pending::Other { totals, parent } => {
                    let name = self.name(self.other, OTHER);
                    self.push(name, parent, true, totals, totals);
                }
            }
        }
        self.flame
    }

    fn push_node(&mut self, at: [u32; C], parent: u32) -> u32 {
        let mut name = 0;
        let (mut own, mut totals) = ([0; C], [0; C]);
        for (column, node) in at.into_iter().enumerate().filter(|(_, node)| *node != NONE) {
            let (tree, node) = (self.trees[column], node as usize);
            own[column] = tree.self_values[0][node];
            totals[column] = tree.totals[0][node];
            let id = tree.name[node];
            name = self.name(self.ranks[column][id as usize], tree.names.get(id));
        }
        self.push(name, parent, false, own, totals)
    }

    /// Makes what is below the nodes `at` pending, the last child first. `children` is room to work in.
    fn push_children(
        &self,
        at: [u32; C],
        parent: u32,
        children: &mut Vec<(u32, usize, u32)>,
        pending: &mut Vec<Pending<C>>,
    ) {
        let mut other: Option<[i64; C]> = None;
        children.clear();
        for (column, node) in at.into_iter().enumerate().filter(|(_, node)| *node != NONE) {
            let (tree, ends) = (self.trees[column], &self.ends[column]);
            let mut child = node + 1;
            while child < ends[node as usize] {
                let rank = self.ranks[column][tree.name[child as usize] as usize];
                if rank == self.other {
                    let total = &mut other.get_or_insert([0; C])[column];
                    *total = total.wrapping_add(tree.totals[0][child as usize]);
                } else {
                    children.push((rank, column, child));
                }
                child = ends[child as usize];
            }
        }
        if let Some(totals) = other {
            pending.push(Pending::Other { totals, parent });
        }
        children.sort_unstable();
        for same in children.chunk_by(|a, b| a.0 == b.0).rev() {
            let mut at = [NONE; C];
            for (_, column, child) in same {
                at[*column] = *child;
            }
            pending.push(Pending::Node { at, parent });
        }
    }

    fn name(&mut self, rank: u32, name: &[u8]) -> u32 {
        let known = &mut self.name_of[rank as usize];
        if *known == NONE {
            *known = self.flame.names.push(name);
        }
        *known
    }

    fn push(&mut self, name: u32, parent: u32, is_other: bool, own: [i64; C], totals: [i64; C]) -> u32 {
        let flame = &mut self.flame;
        let node = index(flame.name.len());
        let depth = flame.depth.get(parent as usize).map_or(0, |depth| depth + 1);
        flame.name.push(name);
        flame.parent.push(parent);
        flame.depth.push(depth);
        flame.is_other.push(is_other);
        for (column, value) in flame.self_values.iter_mut().zip(own) {
            column.push(value);
        }
        for (column, value) in flame.totals.iter_mut().zip(totals) {
            column.push(value);
        }
        node
    }
}

/// Per node, the first node after its subtree.
fn ends(tree: &FlameTree) -> Vec<u32> {
    let mut ends: Vec<u32> = (1..=index(tree.len())).collect();
    for node in (1..tree.len()).rev() {
        let parent = tree.parent[node] as usize;
        ends[parent] = ends[parent].max(ends[node]);
    }
    ends
}
