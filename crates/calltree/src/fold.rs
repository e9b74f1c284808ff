//! Folding a call tree by frame name, and truncating it without changing a total.
//!
//! Totals come from one pass over the nodes, last to first. Then the flame tree is opened from the root down, heavy groups
//! before light ones, so that little more than what is kept, and its children, is ever looked at:
//!
//! ```text
//! group = frames of one name below one kept group: (node, line), (node, line), …
//!         opening it lists the frames right below each: the next inlined line, or the outermost line of the children;
//!         sorted by name, neighbours of one name are its child groups
//! ```
//!
//! A child weighs no more than its parent. So groups wait in buckets of similar weight, the heaviest bucket is opened first,
//! and a bucket below the `max_nodes` heaviest groups listed so far is never opened. The `max_nodes`-th weight is the
//! threshold, and what weighs as much is kept too. What is left below a kept group becomes its `other` leaf.
//! Weights are totals of absolute values, columns added: with one column and nothing negative, the totals themselves.

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
/// When the tree has neither one column nor two, or a column is not as long as the tree.
pub fn fold(tree: &ValueTree, options: &FoldOptions) -> FlameTree {
    assert!(tree.values.iter().all(|column| column.len() == tree.tree.len()), "one value per node");
    match &tree.values[..] {
        [column] => fold_columns(tree, [column], options),
        [before, after] => fold_columns(tree, [before, after], options),
        columns => panic_columns(columns.len()),
    }
}

#[expect(clippy::panic, reason = "an assertion at the door")]
fn panic_columns(columns: usize) -> ! {
    panic!("a tree of {columns} columns; one or two can be folded")
}

fn fold_columns<const C: usize>(tree: &ValueTree, columns: [&Vec<i64>; C], options: &FoldOptions) -> FlameTree {
    let mut folder = Folder::new(tree, columns, options.max_nodes);
    match options.max_nodes {
        0 => folder.open_all(),
        max_nodes => {
            folder.open_heaviest();
            folder.close_light(max_nodes);
        }
    }
    Emitter::new(&folder).emit()
}

/// Frames of one name below one group.
#[derive(Clone, Copy)]
struct Group<const C: usize> {
    name: u32,
    /// Rows of [`Folder::items`].
    items: (u32, u32),
    weight: u64,
    /// The groups below, once opened: neighbours, by name.
    children: (u32, u32),
    is_open: bool,
    /// Whether groups below that weigh something were too light to be listed.
    has_light_children: bool,
    self_values: [i64; C],
    totals: [i64; C],
}

/// A frame: line `line`, counted from the outermost, of a node's location.
#[derive(Clone, Copy)]
struct Item {
    node: u32,
    line: u32,
}

/// What opening a group reads of each child, side by side since children lie far apart.
struct Node<const C: usize> {
    totals: [i64; C],
    /// The nodes of its subtree.
    size: u32,
    location: u32,
}

struct Folder<'a, const C: usize> {
    columns: [&'a Vec<i64>; C],
    frames: FrameTable<'a>,
    /// The rank of the outermost frame of each location.
    outermost: Vec<u32>,
    nodes: Vec<Node<C>>,
    /// Weights by node, where totals do not add up to them.
    weights: Option<Vec<u64>>,
    waiting: Waiting,
    groups: Vec<Group<C>>,
    items: Vec<Item>,
    scratch: Vec<(u32, Item)>,
}

/// Groups to open, in buckets of similar weight.
struct Waiting {
    /// By rising weight.
    buckets: Vec<Bucket>,
    /// The bucket of the lightest group that may be kept: as many groups as are wanted lie there or above.
    floor: usize,
    /// Groups that were listed in the bucket `floor` or above.
    listed: usize,
    /// How many groups are wanted; 0 for all.
    max_nodes: usize,
}

#[derive(Clone, Default)]
struct Bucket {
    groups: Vec<u32>,
    listed: usize,
}

impl Waiting {
    /// Buckets for each power of two.
    const STEPS: usize = 16;

    fn new(max_nodes: usize) -> Self {
        let buckets = if max_nodes == 0 { 0 } else { (u64::BITS as usize + 1) * Self::STEPS };
        Self { buckets: vec![Bucket::default(); buckets], floor: 0, listed: 0, max_nodes }
    }

    /// The bucket of a weight; it rises with the weight.
    fn bucket(weight: u64) -> usize {
        let bits = u64::BITS - weight.leading_zeros();
        let below_first = weight << (u64::BITS - bits).min(63) << 1;
        bits as usize * Self::STEPS + (below_first >> 60) as usize
    }

    /// Whether a group of this weight may be kept.
    fn takes(&self, weight: u64) -> bool {
        self.max_nodes == 0 || Self::bucket(weight) >= self.floor
    }

    /// Lists a group that may be kept.
    fn push(&mut self, group: u32, weight: u64) {
        if self.max_nodes == 0 {
            return;
        }
        let bucket = &mut self.buckets[Self::bucket(weight)];
        bucket.groups.push(group);
        bucket.listed += 1;
        self.listed += 1;
        while self.listed - self.buckets[self.floor].listed >= self.max_nodes {
            self.listed -= self.buckets[self.floor].listed;
            self.floor += 1;
        }
    }
}

impl<'a, const C: usize> Folder<'a, C> {
    fn new(tree: &'a ValueTree, columns: [&'a Vec<i64>; C], max_nodes: usize) -> Self {
        let frames = FrameTable::new(&tree.dictionary);
        let outermost = (0..index(tree.dictionary.locations.len())).map(|id| frames.frames(id)[0]).collect();
        let root = Group {
            name: NONE,
            items: (0, 1),
            weight: u64::MAX,
            children: (0, 0),
            is_open: false,
            has_light_children: false,
            self_values: [0; C],
            totals: [0; C],
        };
        Self {
            columns,
            frames,
            outermost,
            nodes: nodes(tree, columns),
            weights: (!add_up(columns)).then(|| weights(tree, columns)),
            waiting: Waiting::new(max_nodes),
            groups: vec![root],
            items: vec![Item { node: 0, line: 0 }],
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

    /// Opens every group that may be among the heaviest.
    fn open_heaviest(&mut self) {
        self.open(0);
        let mut bucket = self.waiting.buckets.len();
        while bucket > self.waiting.floor {
            bucket -= 1;
            while let Some(group) = self.waiting.buckets[bucket].groups.pop() {
                self.open(group);
            }
        }
    }

    /// Closes the groups that turned out to be lighter than the heaviest `max_nodes`.
    fn close_light(&mut self, max_nodes: usize) {
        let opened = self.groups.iter().skip(1).filter(|group| group.is_open);
        let mut weights: Vec<u64> = opened.map(|group| group.weight).collect();
        if weights.len() <= max_nodes {
            return;
        }
        let (_, threshold, _) = weights.select_nth_unstable_by(max_nodes - 1, |a, b| b.cmp(a));
        for group in &mut self.groups[1..] {
            group.is_open &= group.weight >= *threshold;
        }
    }

    /// Lists the groups below `group` and adds up its values.
    fn open(&mut self, group: u32) {
        let (start, end) = self.groups[group as usize].items;
        let (mut self_values, mut totals) = ([0_i64; C], [0_i64; C]);
        let mut below = std::mem::take(&mut self.scratch);
        below.clear();
        for at in start..end {
            let item = self.items[at as usize];
            let node = item.node as usize;
            add(&mut totals, self.nodes[node].totals);
            let frames = self.frames.frames(self.nodes[node].location);
            if let Some(name) = frames.get(item.line as usize + 1) {
                below.push((*name, Item { node: item.node, line: item.line + 1 }));
                continue;
            }
            add(&mut self_values, self.columns.map(|column| column[node]));
            self.list_children(item.node, &mut below);
        }
        // Children of one node are sorted by location, so by the name of the outermost function.
        if !below.is_sorted_by_key(|(name, _)| *name) {
            below.sort_by_key(|(name, _)| *name);
        }
        let (children, has_light_children) = self.push_groups(&below);
        self.scratch = below;
        let group = &mut self.groups[group as usize];
        *group = Group { children, has_light_children, is_open: true, self_values, totals, ..*group };
    }

    fn list_children(&self, node: u32, below: &mut Vec<(u32, Item)>) {
        let end = node + self.nodes[node as usize].size;
        let mut child = node + 1;
        while child < end {
            let Node { location, size, .. } = self.nodes[child as usize];
            below.push((self.outermost[location as usize], Item { node: child, line: 0 }));
            child += size;
        }
    }

    /// Adds the groups of these frames that may be kept; tells whether others weigh something.
    fn push_groups(&mut self, sorted: &[(u32, Item)]) -> ((u32, u32), bool) {
        let first = index(self.groups.len());
        let mut has_light = false;
        for run in sorted.chunk_by(|a, b| a.0 == b.0) {
            let weight = run.iter().fold(0_u64, |sum, (_, item)| sum.saturating_add(self.weight(item.node)));
            if !self.waiting.takes(weight) {
                has_light |= weight > 0;
                continue;
            }
            self.waiting.push(index(self.groups.len()), weight);
            let items = index(self.items.len());
            self.items.extend(run.iter().map(|(_, item)| *item));
            let items = (items, index(self.items.len()));
            let group = Group { name: run[0].0, items, weight, children: (0, 0), is_open: false, ..self.groups[0] };
            self.groups.push(group);
        }
        ((first, index(self.groups.len())), has_light)
    }

    fn weight(&self, node: u32) -> u64 {
        match &self.weights {
            Some(weights) => weights[node as usize],
            None => self.nodes[node as usize].totals.iter().map(|total| total.cast_unsigned()).sum(),
        }
    }
}

fn add<const C: usize>(sums: &mut [i64; C], values: [i64; C]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = sum.wrapping_add(value);
    }
}

/// Totals, sizes and locations of all nodes, in a pass to fill in their own and one, last to first, to add them up.
fn nodes<const C: usize>(tree: &ValueTree, columns: [&Vec<i64>; C]) -> Vec<Node<C>> {
    let own = |(node, location): (usize, &u32)| Node {
        totals: columns.map(|column| column[node]),
        size: 1,
        location: *location,
    };
    let mut nodes: Vec<Node<C>> = tree.tree.location.iter().enumerate().map(own).collect();
    for node in (1..nodes.len()).rev() {
        let Node { totals, size, .. } = nodes[node];
        let parent = &mut nodes[tree.tree.parent[node] as usize];
        add(&mut parent.totals, totals);
        parent.size += size;
    }
    nodes
}

/// Totals of absolute values, columns added.
fn weights<const C: usize>(tree: &ValueTree, columns: [&Vec<i64>; C]) -> Vec<u64> {
    let own = |node: usize| columns.iter().fold(0_u64, |sum, column| sum.saturating_add(column[node].unsigned_abs()));
    let mut weights: Vec<u64> = (0..tree.tree.len()).map(own).collect();
    for node in (1..weights.len()).rev() {
        let parent = tree.tree.parent[node] as usize;
        weights[parent] = weights[parent].saturating_add(weights[node]);
    }
    weights
}

/// Whether no value is negative and the sum of all fits.
fn add_up<const C: usize>(columns: [&Vec<i64>; C]) -> bool {
    // No value is larger than all of their bits together.
    let bits = columns.iter().fold(0, |bits, column| column.iter().fold(bits, |bits, value| bits | value));
    let values: usize = columns.iter().map(|column| column.len()).sum();
    let sum = || columns.iter().flat_map(|column| column.iter()).map(|value| i128::from(*value)).sum::<i128>();
    let max = i128::from(i64::MAX);
    bits >= 0 && (i128::from(bits) * values as i128 <= max || sum() <= max)
}

/// Writes the opened groups in preorder.
struct Emitter<'a, const C: usize> {
    folder: &'a Folder<'a, C>,
    flame: FlameTree,
    /// New name ids by rank.
    name_of: Vec<u32>,
}

/// What is to be written below node `parent`.
enum Pending<const C: usize> {
    Group { group: u32, parent: u32 },
    Other { parent: u32, values: [i64; C] },
}

const TOTAL: &[u8] = b"total";
pub(crate) const OTHER: &[u8] = b"other";

impl<'a, const C: usize> Emitter<'a, C> {
    fn new(folder: &'a Folder<'a, C>) -> Self {
        let mut names = ByteStrings::new();
        let total = names.push(TOTAL);
        let mut name_of = vec![NONE; folder.frames.len()];
        if let Some(rank) = folder.frames.rank(TOTAL) {
            name_of[rank as usize] = total;
        }
        let flame = FlameTree {
            names,
            name: Vec::new(),
            parent: Vec::new(),
            depth: Vec::new(),
            is_other: Vec::new(),
            self_values: vec![Vec::new(); C],
            totals: vec![Vec::new(); C],
        };
        Self { folder, flame, name_of }
    }

    fn emit(mut self) -> FlameTree {
        let mut pending = vec![Pending::Group { group: 0, parent: 0 }];
        let mut other = NONE;
        while let Some(next) = pending.pop() {
            match next {
                Pending::Group { group, parent } => {
                    let Group { name, self_values, totals, .. } = self.folder.groups[group as usize];
                    let name = self.name(name);
                    let node = self.push(name, parent, false, self_values, totals);
                    self.push_below(group, node, &mut pending);
                }
                Pending::Other { parent, values } => {
                    if other == NONE {
                        other = self.other_name();
                    }
                    self.push(other, parent, true, values, values);
                }
            }
        }
        self.flame
    }

    fn push_below(&self, group: u32, node: u32, pending: &mut Vec<Pending<C>>) {
        let Group { children: (start, end), has_light_children, self_values, totals, .. } =
            self.folder.groups[group as usize];
        let group = |child: u32| &self.folder.groups[child as usize];
        if has_light_children || (start..end).any(|child| !group(child).is_open && group(child).weight > 0) {
            // What of the totals is neither the group's own nor of the children that are kept.
            let mut rest = totals;
            let kept = (start..end).map(group).filter(|child| child.is_open).map(|child| child.totals);
            for values in kept.chain([self_values]) {
                for (rest, value) in rest.iter_mut().zip(values) {
                    *rest = rest.wrapping_sub(value);
                }
            }
            pending.push(Pending::Other { parent: node, values: rest });
        }
        let kept = (start..end).rev().filter(|child| group(*child).is_open);
        pending.extend(kept.map(|group| Pending::Group { group, parent: node }));
    }

    fn push(&mut self, name: u32, parent: u32, is_other: bool, self_values: [i64; C], totals: [i64; C]) -> u32 {
        let node = index(self.flame.len());
        let depth = self.flame.depth.get(parent as usize).map_or(0, |depth| depth + 1);
        self.flame.name.push(name);
        self.flame.parent.push(parent);
        self.flame.depth.push(depth);
        self.flame.is_other.push(is_other);
        for (column, value) in self.flame.self_values.iter_mut().zip(self_values) {
            column.push(value);
        }
        for (column, total) in self.flame.totals.iter_mut().zip(totals) {
            column.push(total);
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
