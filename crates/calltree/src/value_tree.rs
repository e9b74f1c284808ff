//! A call tree with columns of values: what a query accumulates, merges, compares and folds.

use std::sync::Arc;

use crate::byte_strings::index;
use crate::merge_dictionaries::merge_dictionaries;
use crate::merge_trees::merge_trees;
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

    /// The nodes of `tree` that have a non-zero value in them or below, given one value per stack and column: scatters the
    /// values to the leaves, then drops what is zero. `tree` and `leaves` are those of a sealed dictionary.
    ///
    /// # Panics
    /// When a column is not as long as `leaves`.
    pub fn from_stacks(dictionary: Arc<Dictionary>, tree: &CallTree, leaves: &[u32], columns: &[&[i64]]) -> Self {
        for stacks in columns {
            assert_eq!(stacks.len(), leaves.len(), "one value per stack");
        }
        // Where no two stacks end in one node, as in all that was sealed or merged here, no values can cancel out.
        if leaves.is_sorted_by(|a, b| a < b) {
            return from_rising(dictionary, tree, leaves, columns);
        }
        let mut values = vec![vec![0_i64; tree.len()]; columns.len()];
        for (nodes, stacks) in values.iter_mut().zip(columns) {
            scatter(nodes, leaves.iter().zip(*stacks), |leaf| leaf);
        }
        prune(dictionary, tree, values)
    }

    /// Drops the nodes that have no non-zero value in them or below. Symbols stay.
    #[must_use]
    pub fn prune(self) -> Self {
        prune(self.dictionary, &self.tree, self.values)
    }

    /// Drops the symbols that no node uses, and all label sets.
    #[must_use]
    pub fn prune_symbols(self) -> Self {
        let Self { dictionary, mut tree, values } = self;
        let (dictionary, locations) = crate::retain::retain(&dictionary, &tree.location[1..]);
        for location in &mut tree.location[1..] {
            *location = locations[*location as usize];
        }
        Self { dictionary: dictionary.into(), tree, values }
    }

    /// Per node, the sum of column `column` over its subtree.
    ///
    /// # Panics
    /// When there is no such column.
    pub fn totals(&self, column: usize) -> Vec<i64> {
        let mut totals = self.values[column].clone();
        for node in (1..totals.len()).rev() {
            let parent = self.tree.parent[node] as usize;
            totals[parent] = totals[parent].wrapping_add(totals[node]);
        }
        totals
    }

    /// Bytes of memory held by the tree and its values, without the dictionary ([`Dictionary::memory_bytes`]).
    pub fn memory_bytes(&self) -> usize {
        let columns = self.values.iter().map(|column| column.capacity() * size_of::<i64>()).sum::<usize>();
        (self.tree.parent.capacity() + self.tree.location.capacity()) * size_of::<u32>() + columns
    }
}

/// Adds the values that are not zero to the nodes that `node` gives for their leaves.
fn scatter<'a>(nodes: &mut [i64], stacks: impl Iterator<Item = (&'a u32, &'a i64)>, node: impl Fn(u32) -> u32) {
    for (leaf, value) in stacks.filter(|(_, value)| **value != 0) {
        let node = &mut nodes[node(*leaf) as usize];
        *node = node.wrapping_add(*value);
    }
}

/// As [`ValueTree::from_stacks`], for leaves that rise: what is dropped never has room for values.
fn from_rising(dictionary: Arc<Dictionary>, tree: &CallTree, leaves: &[u32], columns: &[&[i64]]) -> ValueTree {
    let mut keep = vec![false; tree.len()];
    for stacks in columns {
        for (leaf, value) in leaves.iter().zip(*stacks) {
            keep[*leaf as usize] |= *value != 0;
        }
    }
    let kept = with_callers(tree, &mut keep);
    let values = |node: &dyn Fn(u32) -> u32| -> Vec<Vec<i64>> {
        let column = |stacks: &&[i64]| {
            let mut nodes = vec![0; kept];
            scatter(&mut nodes, leaves.iter().zip(*stacks), node);
            nodes
        };
        columns.iter().map(column).collect()
    };
    if kept == tree.len() {
        return ValueTree { dictionary, tree: tree.clone(), values: values(&|leaf| leaf) };
    }
    let (pruned, remap) = retain(tree, &keep, kept);
    ValueTree { dictionary, tree: pruned, values: values(&|leaf| remap[leaf as usize]) }
}

fn prune(dictionary: Arc<Dictionary>, tree: &CallTree, values: Vec<Vec<i64>>) -> ValueTree {
    let mut keep = kept_leaves(tree.len(), &values);
    let kept = with_callers(tree, &mut keep);
    // What was sealed for the very profiles that are summed: a day, a month, a flush.
    if kept == tree.len() {
        return ValueTree { dictionary, tree: tree.clone(), values };
    }
    let (pruned, _) = retain(tree, &keep, kept);
    let compact = |column: &Vec<i64>| {
        let mut compacted = Vec::with_capacity(kept);
        compacted.extend(column.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(value, _)| *value));
        compacted
    };
    ValueTree { dictionary, tree: pruned, values: values.iter().map(compact).collect() }
}

/// Keeps the root and the callers of what is kept too; the answer is how many nodes that makes.
fn with_callers(tree: &CallTree, keep: &mut [bool]) -> usize {
    for node in (1..tree.len()).rev() {
        keep[tree.parent[node] as usize] |= keep[node];
    }
    keep[0] = true;
    keep.iter().filter(|keep| **keep).count()
}

/// The `kept` nodes of `tree` that are to be kept, and the new nodes by old node, which mean something for these alone.
fn retain(tree: &CallTree, keep: &[bool], kept: usize) -> (CallTree, Vec<u32>) {
    let mut pruned = CallTree { parent: Vec::with_capacity(kept), location: Vec::with_capacity(kept) };
    let mut remap = vec![0; tree.len()];
    for node in (0..tree.len()).filter(|node| keep[*node]) {
        remap[node] = index(pruned.len());
        // The root is its own parent, so the parent's new number is always known.
        pruned.parent.push(remap[tree.parent[node] as usize]);
        pruned.location.push(tree.location[node]);
    }
    (pruned, remap)
}

/// Whether a node has a value that is not zero.
fn kept_leaves(nodes: usize, values: &[Vec<i64>]) -> Vec<bool> {
    let mut keep = vec![false; nodes];
    for column in values {
        for (keep, value) in keep.iter_mut().zip(column) {
            *keep |= *value != 0;
        }
    }
    keep
}

/// The union of value trees, with `columns` columns: column `c` of an input is added to column `first + c`, where `first`
/// is the number that comes with it. All inputs at 0 make a range merge; two periods at 0 and 1 make a diff. Nodes whose
/// values cancel out stay. Neither the order nor the grouping of the inputs matters to the answer.
///
/// # Panics
/// When an input has a column past `columns`, or the union outgrows 32-bit ids.
pub fn merge(inputs: Vec<(ValueTree, usize)>, columns: usize) -> ValueTree {
    for (input, first) in &inputs {
        assert!(first + input.values.len() <= columns, "a column past the {columns} of the merge");
        assert!(input.values.iter().all(|column| column.len() == input.tree.len()), "one value per node");
    }
    let Some((first, _)) = inputs.first() else {
        return ValueTree::empty(columns);
    };
    let same_dictionary = |a: &Arc<Dictionary>, b: &Arc<Dictionary>| Arc::ptr_eq(a, b) || a == b;
    match inputs.iter().all(|(input, _)| same_dictionary(&input.dictionary, &first.dictionary)) {
        true => merge_same_dictionary(inputs, columns),
        false => merge_any(inputs, columns),
    }
}

fn merge_same_dictionary(inputs: Vec<(ValueTree, usize)>, columns: usize) -> ValueTree {
    let first = &inputs[0].0;
    if inputs.iter().all(|(input, _)| input.tree == first.tree) {
        return add_columns(inputs, columns);
    }
    let dictionary = Arc::clone(&first.dictionary);
    let locations: Vec<u32> = (0..index(dictionary.locations.len())).collect();
    let maps = vec![&locations[..]; inputs.len()];
    merge_values(dictionary, &inputs, &maps, columns)
}

fn merge_any(inputs: Vec<(ValueTree, usize)>, columns: usize) -> ValueTree {
    let dictionaries: Vec<&Dictionary> = inputs.iter().map(|(input, _)| &*input.dictionary).collect();
    let merged = merge_dictionaries(&dictionaries);
    let maps: Vec<&[u32]> = merged.remaps.iter().map(|remap| &remap.locations[..]).collect();
    merge_values(merged.dictionary.into(), &inputs, &maps, columns)
}

fn merge_values(
    dictionary: Arc<Dictionary>,
    inputs: &[(ValueTree, usize)],
    locations: &[&[u32]],
    columns: usize,
) -> ValueTree {
    let trees: Vec<(&CallTree, &[u32])> =
        inputs.iter().map(|(input, _)| &input.tree).zip(locations.iter().copied()).collect();
    let merged = merge_trees(&trees);
    let mut values = vec![vec![0_i64; merged.tree.len()]; columns];
    for ((input, first), remap) in inputs.iter().zip(&merged.remaps) {
        for (from, to) in input.values.iter().zip(&mut values[*first..]) {
            for (value, node) in from.iter().zip(remap) {
                let sum = &mut to[*node as usize];
                *sum = sum.wrapping_add(*value);
            }
        }
    }
    ValueTree { dictionary, tree: merged.tree, values }
}

/// The merge of inputs that have one tree.
fn add_columns(inputs: Vec<(ValueTree, usize)>, columns: usize) -> ValueTree {
    let mut values: Vec<Vec<i64>> = vec![Vec::new(); columns];
    let mut shape = None;
    for (input, first) in inputs {
        for (from, to) in input.values.into_iter().zip(&mut values[first..]) {
            match to.is_empty() {
                true => *to = from,
                false => to.iter_mut().zip(from).for_each(|(sum, value)| *sum = sum.wrapping_add(value)),
            }
        }
        shape.get_or_insert((input.dictionary, input.tree));
    }
    let (dictionary, tree) = shape.unwrap_or_default();
    for column in values.iter_mut().filter(|column| column.is_empty()) {
        column.resize(tree.len(), 0);
    }
    ValueTree { dictionary, tree, values }
}
