//! Flame trees in the two forms that Pyroscope's clients read: levels, and the bytes of a tree.
//!
//! ```text
//! levels   per depth and node: [x, total, self, name]; of a diff [x, total, self, x, total, self, name]
//!          x is the distance from the end of the node before; names are numbered as a walk that takes the last child
//!          first meets them, `total` first
//! tree     per node: length of the name, name, self, number of children (varints); a node before its children, the last
//!          child first; the root has no name
//! ```

use flamestore_calltree::{FlameLevels, FlameTree, FoldOptions, ValueTree, fold, lay_over};
use flamestore_model::{Error, Result};
use flamestore_proto::querier::v1::{FlameGraph, FlameGraphDiff, Level};

/// `tree` with the `max_nodes` heaviest nodes and those that weigh as much.
pub(super) fn truncated(tree: &ValueTree, max_nodes: usize) -> FlameTree {
    lay_over([&fold(tree, &FoldOptions { max_nodes })])
}

/// The levels of a tree of one column.
pub(super) fn flame_graph(flame: &FlameTree) -> FlameGraph {
    let FlameLevels { names, levels, totals, max_self } = renumbered(flame);
    FlameGraph { names, levels: messages(levels), total: column(&totals, 0), max_self }
}

/// The levels of two trees laid over each other.
///
/// # Errors
/// `Invalid` when a value is negative: it has no width.
pub(super) fn flame_graph_diff(left: &FlameTree, right: &FlameTree) -> Result<FlameGraphDiff> {
    if left.has_negatives() || right.has_negatives() {
        return Err(Error::invalid("profiles with negative values cannot be drawn as a diff"));
    }
    let FlameLevels { names, levels, totals, max_self } = renumbered(&lay_over([left, right]));
    let (left_ticks, right_ticks) = (column(&totals, 0), column(&totals, 1));
    let total = left_ticks.saturating_add(right_ticks);
    Ok(FlameGraphDiff { names, levels: messages(levels), total, max_self, left_ticks, right_ticks })
}

/// The bytes of a tree of one column; none where it holds nothing.
pub(super) fn tree_bytes(flame: &FlameTree) -> Vec<u8> {
    let mut bytes = Vec::new();
    if flame.len() == 1 && flame.self_values[0][0] == 0 {
        return bytes;
    }
    let mut children: Vec<u64> = vec![0; flame.len()];
    flame.parent.iter().skip(1).for_each(|parent| children[*parent as usize] += 1);
    for node in last_child_first(flame) {
        let name = if node == 0 { &[][..] } else { flame.names.get(flame.name[node]) };
        prost::encoding::encode_varint(name.len() as u64, &mut bytes);
        bytes.extend_from_slice(name);
        prost::encoding::encode_varint(flame.self_values[0][node].cast_unsigned(), &mut bytes);
        prost::encoding::encode_varint(children[node], &mut bytes);
    }
    bytes
}

fn messages(levels: Vec<Vec<i64>>) -> Vec<Level> {
    levels.into_iter().map(|values| Level { values }).collect()
}

fn column(totals: &[i64], column: usize) -> i64 {
    totals.get(column).copied().unwrap_or_default()
}

/// The levels with names numbered as a walk meets them that takes the last child first.
fn renumbered(flame: &FlameTree) -> FlameLevels {
    let mut levels = flame.levels();
    let mut number: Vec<Option<i64>> = vec![None; levels.names.len()];
    let mut names = Vec::with_capacity(levels.names.len());
    let mut next = 0;
    for node in last_child_first(flame) {
        let name = flame.name[node] as usize;
        if number[name].is_none() {
            number[name] = Some(next);
            next += 1;
            names.push(std::mem::take(&mut levels.names[name]));
        }
    }
    let width = 3 * flame.totals.len() + 1;
    for values in &mut levels.levels {
        for name in values.iter_mut().skip(width - 1).step_by(width) {
            let known = usize::try_from(*name).ok().and_then(|name| number.get(name).copied().flatten());
            *name = known.unwrap_or_default();
        }
    }
    FlameLevels { names, ..levels }
}

/// All nodes, each before its children, the last child first: the order in which they are left, backwards.
fn last_child_first(flame: &FlameTree) -> Vec<usize> {
    let mut left = Vec::with_capacity(flame.len());
    let mut open = Vec::new();
    for node in 0..flame.len() {
        while open.len() > flame.depth[node] as usize {
            left.extend(open.pop());
        }
        open.push(node);
    }
    left.extend(open.into_iter().rev());
    left.reverse();
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use flamestore_calltree::{Interner, SealSelection};

    /// `main;read 3 | main;write 1`, folded.
    fn flame(text: &str, max_nodes: usize) -> FlameTree {
        let batch = flamestore_testkit::profile(text);
        let mut interner = Interner::new(0);
        let interned = interner.intern(&batch).unwrap();
        let sealed = interner.seal(&SealSelection::default()).sealed;
        let mut columns = vec![0; sealed.leaves.len()];
        for (row, stack) in interned.stacks.iter().enumerate() {
            columns[*stack as usize] += batch.values(row)[0];
        }
        truncated(&ValueTree::from_stacks(sealed.dictionary, &sealed.tree, &sealed.leaves, &[&columns]), max_nodes)
    }

    fn levels(levels: &[Level]) -> Vec<Vec<i64>> {
        levels.iter().map(|level| level.values.clone()).collect()
    }

    #[test]
    fn levels_count_from_the_end_of_the_node_before() {
        let graph = flame_graph(&flame("func2;func1 10 | func1 20", 0));
        assert_eq!(graph.names, ["total", "func2", "func1"]);
        let expected = [vec![0, 30, 0, 0], vec![0, 20, 20, 2, 0, 10, 0, 1], vec![20, 10, 10, 2]];
        assert_eq!(levels(&graph.levels), expected);
        assert_eq!((graph.total, graph.max_self), (30, 20));
    }

    #[test]
    fn nothing_is_one_node_and_no_bytes() {
        let graph = flame_graph(&flame("a 0", 0));
        assert_eq!((graph.names, levels(&graph.levels)), (vec!["total".to_owned()], vec![vec![0, 0, 0, 0]]));
        assert!(tree_bytes(&flame("a 0", 0)).is_empty());
    }

    #[test]
    fn other_is_a_leaf_and_the_last_one() {
        let graph = flame_graph(&flame("m;other;x 5 | m;z 9 | m;a 1 | m;b 2", 3));
        assert_eq!(graph.names, ["total", "m", "other", "z"]);
        assert_eq!(levels(&graph.levels), [vec![0, 17, 0, 0], vec![0, 17, 0, 1], vec![0, 9, 9, 3, 0, 8, 8, 2]]);
        assert_eq!(graph.max_self, 9);
    }

    #[test]
    fn a_diff_has_both_sides_of_every_node() {
        let diff = flame_graph_diff(&flame("m;a 1 | m;c 4", 0), &flame("m;b 2 | m;c 3 | m 1", 0)).unwrap();
        assert_eq!(diff.names, ["total", "m", "c", "b", "a"]);
        let level2 = vec![0, 1, 1, 1, 0, 0, 4, 0, 0, 0, 0, 2, 2, 3, 0, 4, 4, 0, 3, 3, 2];
        let expected = [vec![0, 5, 0, 0, 6, 0, 0], vec![0, 5, 0, 0, 6, 1, 1], level2];
        assert_eq!(levels(&diff.levels), expected);
        assert_eq!((diff.total, diff.left_ticks, diff.right_ticks, diff.max_self), (11, 5, 6, 4));
        assert!(flame_graph_diff(&flame("a -1", 0), &flame("a 1", 0)).is_err());
    }

    #[test]
    fn a_tree_is_written_last_child_first() {
        let expected = b"\x00\x00\x01\x01m\x00\x02\x01b\x03\x00\x01a\x02\x00";
        assert_eq!(tree_bytes(&flame("m;a 2 | m;b 3", 0)), expected);
    }
}
