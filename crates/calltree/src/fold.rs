//! Folding a call tree by frame name, and truncating it without changing a total.
//!
//! Totals come from one pass over the nodes, last to first. Then the flame tree is opened from the root down, heaviest
//! first, so that only what is kept, and its children, is ever looked at:
//!
//! ```text
//! group = frames of one name below one kept group: (node, line), (node, line), …
//!         opening it lists the frames right below each: the next inlined line, or the outermost line of the children;
//!         sorted by name, neighbours of one name are its child groups
//! ```
//!
//! A child weighs no more than its parent, so the groups come off the heap by falling weight: the `max_nodes`-th is the
//! threshold, and what weighs as much is kept too. What is left below a kept group becomes its `other` leaf.
//! Weights are totals of absolute values, columns added: with one column and nothing negative, the totals themselves.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use flamestore_model::NONE;

use crate::byte_strings::index;
use crate::frame::FrameTable;
use crate::{ByteStrings, FlameTree, ValueTree};

/// How to fold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldOptions {
    /// How many nodes to keep, the root and `other` leaves not counted, and ties with the lightest kept one coming on top;
    /// 0 keeps all.
    pub max_nodes: usize,
}

/// Folds frames of the same name (the same bytes) below the same parent into one node, and keeps the heaviest ones.
/// The children left out of a kept node become one leaf, `other`. The totals of kept nodes do not depend on what is left
/// out. Sums wrap at 64 bits.
///
/// # Panics
/// When a column is not as long as the tree.
pub fn fold(tree: &ValueTree, options: &FoldOptions) -> FlameTree {
    assert!(tree.values.iter().all(|column| column.len() == tree.tree.len()), "one value per node");
    let mut folder = Folder::new(tree);
    match options.max_nodes {
        0 => folder.open_all(),
        max_nodes => folder.open_heaviest(max_nodes),
    }
    Emitter::new(&folder).emit()
}

/// Frames of one name below one group.
#[derive(Clone, Copy)]
struct Group {
    name: u32,
    /// Rows of [`Folder::items`].
    items: (u32, u32),
    weight: u64,
    /// The groups below, once opened: neighbours, by name.
    children: (u32, u32),
    /// Its row in the values of opened groups; [`NONE`] while not opened.
    opened: u32,
}

/// A frame: line `line`, counted from the outermost, of a node's location.
#[derive(Clone, Copy)]
struct Item {
    node: u32,
    line: u32,
}

/// What opening a group reads of each child, side by side since children lie far apart.
struct Node {
    weight: u64,
    /// The nodes of its subtree.
    size: u32,
    /// The name of its outermost frame.
    name: u32,
}

struct Folder<'a> {
    tree: &'a ValueTree,
    frames: FrameTable<'a>,
    nodes: Vec<Node>,
    /// Where the weights are no totals: totals by node.
    totals: Vec<Vec<i64>>,
    groups: Vec<Group>,
    items: Vec<Item>,
    /// Per opened group, one value per column.
    self_values: Vec<i64>,
    group_totals: Vec<i64>,
    opened: u32,
    scratch: Vec<(u32, Item)>,
}

impl<'a> Folder<'a> {
    fn new(tree: &'a ValueTree) -> Self {
        let frames = FrameTable::new(&tree.dictionary);
        let weights_are_totals = matches!(&tree.values[..], [column] if adds_up(column));
        let columns = if weights_are_totals { 0 } else { tree.values.len() };
        let root = Group { name: NONE, items: (0, 1), weight: u64::MAX, children: (0, 0), opened: NONE };
        Self {
            tree,
            nodes: nodes(tree, &frames),
            frames,
            totals: (0..columns).map(|column| tree.totals(column)).collect(),
            groups: vec![root],
            items: vec![Item { node: 0, line: 0 }],
            self_values: Vec::new(),
            group_totals: Vec::new(),
            opened: 0,
            scratch: Vec::new(),
        }
    }

    fn open_all(&mut self) {
        // In the order in which they are written, so that neighbours in the answer are neighbours in memory.
        let mut pending = vec![0];
        while let Some(group) = pending.pop() {
            self.open(group);
            let (start, end) = self.groups[group as usize].children;
            pending.extend((start..end).rev());
        }
    }

    fn open_heaviest(&mut self, max_nodes: usize) {
        let mut heap = BinaryHeap::new();
        self.open(0);
        self.push_children(&mut heap, 0);
        let (mut kept, mut threshold) = (0, u64::MAX);
        while let Some((weight, Reverse(group))) = heap.pop() {
            if kept >= max_nodes && weight < threshold {
                return;
            }
            kept += 1;
            threshold = weight;
            self.open(group);
            self.push_children(&mut heap, group);
        }
    }

    fn push_children(&self, heap: &mut BinaryHeap<(u64, Reverse<u32>)>, group: u32) {
        let (start, end) = self.groups[group as usize].children;
        heap.extend((start..end).map(|child| (self.groups[child as usize].weight, Reverse(child))));
    }

    /// Lists the groups below `group` and adds up its values.
    fn open(&mut self, group: u32) {
        let columns = self.tree.values.len();
        let (start, end) = self.groups[group as usize].items;
        let row = self.self_values.len();
        self.self_values.resize(row + columns, 0);
        self.group_totals.resize(row + columns, 0);
        let mut below = std::mem::take(&mut self.scratch);
        below.clear();
        for at in start..end {
            let item = self.items[at as usize];
            let node = item.node as usize;
            for column in 0..columns {
                let total = match self.totals.get(column) {
                    Some(totals) => totals[node],
                    None => self.nodes[node].weight.cast_signed(),
                };
                let sum = &mut self.group_totals[row + column];
                *sum = sum.wrapping_add(total);
            }
            let frames = self.frames.frames(self.tree.tree.location[node]);
            if let Some(name) = frames.get(item.line as usize + 1) {
                below.push((*name, Item { node: item.node, line: item.line + 1 }));
                continue;
            }
            for column in 0..columns {
                let value = &mut self.self_values[row + column];
                *value = value.wrapping_add(self.tree.values[column][node]);
            }
            self.list_children(item.node, &mut below);
        }
        // Children of one node are nearly sorted by name, as locations are sorted by outermost function.
        below.sort_by_key(|(name, _)| *name);
        let children = self.push_groups(&below);
        self.scratch = below;
        let group = &mut self.groups[group as usize];
        group.children = children;
        group.opened = self.opened;
        self.opened += 1;
    }

    fn list_children(&self, node: u32, below: &mut Vec<(u32, Item)>) {
        let end = node + self.nodes[node as usize].size;
        let mut child = node + 1;
        while child < end {
            let Node { name, size, .. } = self.nodes[child as usize];
            below.push((name, Item { node: child, line: 0 }));
            child += size;
        }
    }

    fn push_groups(&mut self, sorted: &[(u32, Item)]) -> (u32, u32) {
        let first = index(self.groups.len());
        for run in sorted.chunk_by(|a, b| a.0 == b.0) {
            let items = index(self.items.len());
            let mut weight = 0_u64;
            for (_, item) in run {
                self.items.push(*item);
                weight = weight.saturating_add(self.nodes[item.node as usize].weight);
            }
            let items = (items, index(self.items.len()));
            self.groups.push(Group { name: run[0].0, items, weight, children: (0, 0), opened: NONE });
        }
        (first, index(self.groups.len()))
    }
}

/// Weights, sizes and names of all nodes, in a pass to fill in their own and one, last to first, to add them up.
fn nodes(tree: &ValueTree, frames: &FrameTable<'_>) -> Vec<Node> {
    let outermost: Vec<u32> = (0..index(tree.dictionary.locations.len())).map(|id| frames.frames(id)[0]).collect();
    let name = |location: u32| if location == NONE { NONE } else { outermost[location as usize] };
    let locations = tree.tree.location.iter();
    let mut nodes: Vec<Node> = locations.map(|location| Node { weight: 0, size: 1, name: name(*location) }).collect();
    for column in &tree.values {
        for (node, value) in nodes.iter_mut().zip(column) {
            node.weight = node.weight.saturating_add(value.unsigned_abs());
        }
    }
    for node in (1..nodes.len()).rev() {
        let Node { weight, size, .. } = nodes[node];
        let parent = &mut nodes[tree.tree.parent[node] as usize];
        parent.weight = parent.weight.saturating_add(weight);
        parent.size += size;
    }
    nodes
}

/// Whether no value is negative and the sum fits.
fn adds_up(column: &[i64]) -> bool {
    // No value is larger than all of their bits together.
    let bits = column.iter().fold(0, |bits, value| bits | value);
    let fits = || column.iter().map(|value| i128::from(*value)).sum::<i128>() <= i128::from(i64::MAX);
    bits >= 0 && (i128::from(bits) * column.len() as i128 <= i128::from(i64::MAX) || fits())
}

/// Writes the opened groups in preorder.
struct Emitter<'a> {
    folder: &'a Folder<'a>,
    flame: FlameTree,
    /// New name ids by rank.
    name_of: Vec<u32>,
}

/// What is to be written below node `parent`.
enum Pending {
    Group { group: u32, parent: u32 },
    Other { parent: u32, values: Vec<i64> },
}

const TOTAL: &[u8] = b"total";
const OTHER: &[u8] = b"other";

impl<'a> Emitter<'a> {
    fn new(folder: &'a Folder<'a>) -> Self {
        let mut names = ByteStrings::new();
        let total = names.push(TOTAL);
        let mut name_of = vec![NONE; folder.frames.len()];
        if let Some(rank) = folder.frames.rank(TOTAL) {
            name_of[rank as usize] = total;
        }
        let columns = folder.tree.values.len();
        let flame = FlameTree {
            names,
            name: Vec::new(),
            parent: Vec::new(),
            depth: Vec::new(),
            is_other: Vec::new(),
            self_values: vec![Vec::new(); columns],
            totals: vec![Vec::new(); columns],
        };
        Self { folder, flame, name_of }
    }

    fn emit(mut self) -> FlameTree {
        let mut pending = vec![Pending::Group { group: 0, parent: 0 }];
        let mut other = NONE;
        while let Some(next) = pending.pop() {
            match next {
                Pending::Group { group, parent } => {
                    let name = self.name(self.folder.groups[group as usize].name);
                    let (self_values, totals) = self.values(group);
                    let node = self.push(name, parent, false, self_values, totals);
                    self.push_below(group, node, &mut pending);
                }
                Pending::Other { parent, values } => {
                    if other == NONE {
                        other = self.other_name();
                    }
                    self.push(other, parent, true, &values, &values);
                }
            }
        }
        self.flame
    }

    fn push_below(&self, group: u32, node: u32, pending: &mut Vec<Pending>) {
        let (start, end) = self.folder.groups[group as usize].children;
        let is_open = |child: &u32| self.folder.groups[*child as usize].opened != NONE;
        if (start..end).any(|child| !is_open(&child) && self.folder.groups[child as usize].weight > 0) {
            let values = self.rest(group, (start..end).filter(is_open));
            pending.push(Pending::Other { parent: node, values });
        }
        pending.extend((start..end).rev().filter(is_open).map(|group| Pending::Group { group, parent: node }));
    }

    /// What of a group's totals is neither its own nor of these children.
    fn rest(&self, group: u32, children: impl Iterator<Item = u32>) -> Vec<i64> {
        let (self_values, totals) = self.values(group);
        let mut rest: Vec<i64> = totals.iter().zip(self_values).map(|(total, own)| total.wrapping_sub(*own)).collect();
        for child in children {
            for (rest, total) in rest.iter_mut().zip(self.values(child).1) {
                *rest = rest.wrapping_sub(*total);
            }
        }
        rest
    }

    /// Self values and totals of an opened group.
    fn values(&self, group: u32) -> (&'a [i64], &'a [i64]) {
        let folder = self.folder;
        let columns = folder.tree.values.len();
        let row = folder.groups[group as usize].opened as usize * columns;
        (&folder.self_values[row..row + columns], &folder.group_totals[row..row + columns])
    }

    fn push(&mut self, name: u32, parent: u32, is_other: bool, self_values: &[i64], totals: &[i64]) -> u32 {
        let node = index(self.flame.len());
        let depth = self.flame.depth.get(parent as usize).map_or(0, |depth| depth + 1);
        self.flame.name.push(name);
        self.flame.parent.push(parent);
        self.flame.depth.push(depth);
        self.flame.is_other.push(is_other);
        for (column, value) in self.flame.self_values.iter_mut().zip(self_values) {
            column.push(*value);
        }
        for (column, total) in self.flame.totals.iter_mut().zip(totals) {
            column.push(*total);
        }
        node
    }

    fn name(&mut self, rank: u32) -> u32 {
        if rank == NONE {
            return 0;
        }
        let name = &mut self.name_of[rank as usize];
        if *name == NONE {
            *name = self.flame.names.push(self.folder.frames.name(rank));
        }
        *name
    }

    fn other_name(&mut self) -> u32 {
        match self.folder.frames.rank(OTHER) {
            Some(rank) => self.name(rank),
            None => self.flame.names.push(OTHER),
        }
    }
}
