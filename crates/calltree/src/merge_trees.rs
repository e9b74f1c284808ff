//! The union of call trees: one pass over all of them in preorder, remembering nothing but where each one stands.
//!
//! The next node of every input hangs below the path from the root to the node emitted last. The one that hangs deepest
//! comes first, since what it hangs below is not finished; among those, the one of the least location. The deeper a node
//! of the path, the larger its number, so the order of two next nodes is that of one integer each:
//!
//! ```text
//! key = (all ones − number of the parent in the union) << 32 | location in the union        least first
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::CallTree;
use crate::byte_strings::index;

/// The union of call trees and how to get there.
#[derive(Clone, Debug)]
pub struct MergedTree {
    /// The union, in preorder.
    pub tree: CallTree,
    /// New node by old node, one map per input; total and strictly rising.
    pub remaps: Vec<Vec<u32>>,
}

/// The union of call trees; each comes with the map of its locations into the dictionary they share.
///
/// # Panics
/// When the union has 2³² − 1 nodes, or a map is shorter than the locations of its tree. Inputs must be in preorder
/// ([`CallTree::check`]).
pub fn merge_trees(inputs: &[(&CallTree, &[u32])]) -> MergedTree {
    let mut cursors: Vec<Cursor<'_>> = inputs.iter().map(|(tree, locations)| Cursor::new(tree, locations)).collect();
    let mut tree = CallTree::default();
    let nodes = inputs.iter().map(|(tree, _)| tree.len()).max().unwrap_or(1);
    tree.parent.reserve(nodes);
    tree.location.reserve(nodes);
    match &mut cursors[..] {
        [a, b] => merge_two(a, b, &mut tree),
        cursors if cursors.len() <= SCAN_INPUTS_MAX => merge_few(cursors, &mut tree),
        cursors => merge_many(cursors, &mut tree),
    }
    MergedTree { tree, remaps: cursors.into_iter().map(|cursor| cursor.remap).collect() }
}

/// Where an input stands: `remap` has the new ids of the nodes before.
struct Cursor<'a> {
    tree: &'a CallTree,
    locations: &'a [u32],
    remap: Vec<u32>,
}

/// The key after the last node of an input: no node has it, as no node but the root is without location.
const END: u64 = u64::MAX;

impl<'a> Cursor<'a> {
    fn new(tree: &'a CallTree, locations: &'a [u32]) -> Self {
        let mut remap = Vec::with_capacity(tree.len());
        remap.push(0);
        Self { tree, locations, remap }
    }

    /// The key of the next node.
    #[inline]
    fn key(&self) -> u64 {
        let node = self.remap.len();
        match self.tree.parent.get(node) {
            Some(parent) => {
                let location = self.locations[self.tree.location[node] as usize];
                u64::from(!self.remap[*parent as usize]) << 32 | u64::from(location)
            }
            None => END,
        }
    }
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn push(tree: &mut CallTree, key: u64) -> u32 {
    let node = index(tree.len());
    tree.parent.push(!((key >> 32) as u32));
    tree.location.push(key as u32);
    node
}

fn merge_two(a: &mut Cursor<'_>, b: &mut Cursor<'_>, tree: &mut CallTree) {
    let (mut at_a, mut at_b) = (a.key(), b.key());
    while at_a != END || at_b != END {
        let key = at_a.min(at_b);
        let node = push(tree, key);
        // Both step before either key is made: the children of a shared node come after it in both.
        if at_a == key {
            a.remap.push(node);
            at_a = a.key();
        }
        if at_b == key {
            b.remap.push(node);
            at_b = b.key();
        }
    }
}

/// Up to how many inputs looking at every next key beats a heap.
const SCAN_INPUTS_MAX: usize = 12;

fn merge_few(cursors: &mut [Cursor<'_>], tree: &mut CallTree) {
    let mut keys: Vec<u64> = cursors.iter().map(Cursor::key).collect();
    while let Some(&key) = keys.iter().min().filter(|key| **key != END) {
        let node = push(tree, key);
        for (at, cursor) in keys.iter_mut().zip(cursors.iter_mut()).filter(|(at, _)| **at == key) {
            cursor.remap.push(node);
            *at = cursor.key();
        }
    }
}

fn merge_many(cursors: &mut [Cursor<'_>], tree: &mut CallTree) {
    let keys = cursors.iter().map(Cursor::key).enumerate().filter(|(_, key)| *key != END);
    let mut heap: BinaryHeap<Reverse<(u64, usize)>> = keys.map(|(input, key)| Reverse((key, input))).collect();
    let mut tied = Vec::with_capacity(cursors.len());
    while let Some(Reverse((key, input))) = heap.pop() {
        tied.push(input);
        while let Some(Reverse((_, input))) = heap.peek().filter(|next| next.0.0 == key) {
            tied.push(*input);
            heap.pop();
        }
        let node = push(tree, key);
        for input in tied.drain(..) {
            cursors[input].remap.push(node);
            let key = cursors[input].key();
            if key != END {
                heap.push(Reverse((key, input)));
            }
        }
    }
}
