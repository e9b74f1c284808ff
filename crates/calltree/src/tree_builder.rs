//! Builds a call tree from stacks: groups them by location, one depth after another, and numbers the groups in preorder.
//!
//! A stack is looked at once per depth it shares with another; each look is one load and a place in a sort of integers.
//! There is no comparison of whole stacks, so the cost is bounded by the number of frames and the depth costs no recursion.

use crate::CallTree;
use crate::byte_strings::index;

/// Stacks that share their first `depth` locations, of which the last is `location`.
struct Group {
    parent: u32,
    location: u32,
    depth: u32,
    /// Rows of the order.
    start: u32,
    end: u32,
}

/// The tree of `stacks` (root first, locations already in canonical order), and the node each of them ends in.
pub(crate) fn build_tree<'a>(stacks: impl ExactSizeIterator<Item = &'a [u32]>) -> (CallTree, Vec<u32>) {
    let stacks: Vec<&[u32]> = stacks.collect();
    let mut leaves = vec![0; stacks.len()];
    let mut tree = CallTree::default();
    // The location at the current depth in the high half, the stack in the low one.
    let mut order: Vec<u64> = (0..stacks.len() as u64).collect();
    let mut open = Vec::new();
    let all = Group { parent: 0, location: 0, depth: 0, start: 0, end: index(stacks.len()) };
    split(&all, 0, &stacks, &mut order, &mut leaves, &mut open);
    while let Some(group) = open.pop() {
        let node = index(tree.len());
        tree.parent.push(group.parent);
        tree.location.push(group.location);
        if group.end - group.start == 1 {
            let stack = stack_of(order[group.start as usize]);
            leaves[stack as usize] = chain(&mut tree, node, &stacks[stack as usize][group.depth as usize..]);
        } else {
            split(&group, node, &stacks, &mut order, &mut leaves, &mut open);
        }
    }
    (tree, leaves)
}

/// Ends the stacks that are no deeper than `group` in `node`, and pushes the groups below, last one first.
fn split(group: &Group, node: u32, stacks: &[&[u32]], order: &mut [u64], leaves: &mut [u32], open: &mut Vec<Group>) {
    let (start, end, depth) = (group.start as usize, group.end as usize, group.depth as usize);
    let mut kept = start;
    for at in start..end {
        let stack = stack_of(order[at]);
        match stacks[stack as usize].get(depth) {
            None => leaves[stack as usize] = node,
            Some(location) => {
                order[kept] = u64::from(*location) << 32 | u64::from(stack);
                kept += 1;
            }
        }
    }
    order[start..kept].sort_unstable();
    let first = open.len();
    let mut at = start;
    while at < kept {
        let location = order[at] >> 32;
        let run = order[at..kept].iter().take_while(|entry| **entry >> 32 == location).count();
        open.push(Group {
            parent: node,
            location: index(usize::try_from(location).unwrap_or(usize::MAX)),
            depth: group.depth + 1,
            start: index(at),
            end: index(at + run),
        });
        at += run;
    }
    open[first..].reverse();
}

/// Appends a chain of nodes below `node` and returns the last.
fn chain(tree: &mut CallTree, mut node: u32, locations: &[u32]) -> u32 {
    for location in locations {
        tree.parent.push(node);
        tree.location.push(*location);
        node = index(tree.len() - 1);
    }
    node
}

#[expect(clippy::cast_possible_truncation, reason = "the low half")]
fn stack_of(entry: u64) -> u32 {
    entry as u32
}

#[cfg(test)]
mod tests {
    use flamestore_model::NONE;

    use super::*;

    #[test]
    fn stacks_become_a_tree_in_preorder() {
        let stacks: [&[u32]; 7] = [&[5, 2, 9], &[], &[1], &[5, 2], &[5, 1, 1, 1], &[5, 2, 9], &[5, 2, 9, 0]];
        let (tree, leaves) = build_tree(stacks.into_iter());
        assert_eq!(tree.location, [NONE, 1, 5, 1, 1, 1, 2, 9, 0]);
        assert_eq!(tree.parent, [0, 0, 0, 2, 3, 4, 2, 6, 7]);
        assert_eq!(leaves, [7, 0, 1, 6, 5, 7, 8]);
        for (stack, leaf) in stacks.iter().zip(leaves) {
            assert_eq!(tree.stack(leaf), *stack);
        }
    }
}
