//! Trees of frames as plain loops have them: what flame graphs and their diffs must be, worked out without any code of the
//! store.

use std::collections::{BTreeMap, HashMap};

/// A node with the values of two sides; a tree of one side has zeros on the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlainNode {
    pub(crate) name: String,
    pub(crate) own: [i64; 2],
    pub(crate) total: [i64; 2],
    pub(crate) children: Vec<PlainNode>,
}

impl PlainNode {
    fn count(&self) -> usize {
        1 + self.children.iter().map(Self::count).sum::<usize>()
    }

    fn totals(&self, into: &mut Vec<i64>) {
        for child in &self.children {
            into.push(child.total[0]);
            child.totals(into);
        }
    }
}

/// Reads a tree as it travels: a record a node, the last child first.
pub(crate) fn decode(bytes: &[u8]) -> PlainNode {
    let mut at = 0;
    let root = decode_node(bytes, &mut at);
    assert_eq!(at, bytes.len());
    PlainNode { name: "total".to_owned(), ..root }
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    unreachable!()
}

fn decode_node(bytes: &[u8], at: &mut usize) -> PlainNode {
    let length = usize::try_from(varint(bytes, at)).unwrap();
    let name = String::from_utf8(bytes[*at..*at + length].to_vec()).unwrap();
    *at += length;
    let own = i64::try_from(varint(bytes, at)).unwrap();
    let count = varint(bytes, at);
    let mut children: Vec<PlainNode> = (0..count).map(|_| decode_node(bytes, at)).collect();
    children.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    let total = own + children.iter().map(|child| child.total[0]).sum::<i64>();
    PlainNode { name, own: [own, 0], total: [total, 0], children }
}

/// Writes a tree as it travels.
pub(crate) fn encode(node: &PlainNode, is_root: bool, bytes: &mut Vec<u8>) {
    let name = if is_root { "" } else { &node.name };
    put_varint(name.len() as u64, bytes);
    bytes.extend(name.as_bytes());
    put_varint(u64::try_from(node.own[0]).unwrap(), bytes);
    put_varint(node.children.len() as u64, bytes);
    node.children.iter().rev().for_each(|child| encode(child, false, bytes));
}

fn put_varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
}

/// The tree with the nodes whose totals are at least the `max_nodes`-th largest; 0 keeps all. The others, and all that are
/// called `other`, are one leaf of their parent.
pub(crate) fn truncate(root: &PlainNode, max_nodes: usize) -> PlainNode {
    let mut totals = Vec::new();
    root.totals(&mut totals);
    totals.sort_unstable_by(|a, b| b.cmp(a));
    let threshold = if max_nodes == 0 || totals.len() <= max_nodes { 0 } else { totals[max_nodes - 1] };
    cut(root, threshold)
}

fn cut(node: &PlainNode, threshold: i64) -> PlainNode {
    let is_kept = |child: &&PlainNode| child.total[0] >= threshold && child.name != "other";
    let mut children: Vec<PlainNode> =
        node.children.iter().filter(is_kept).map(|child| cut(child, threshold)).collect();
    let rest: i64 = node.children.iter().filter(|child| !is_kept(child)).map(|child| child.total[0]).sum();
    if children.len() < node.children.len() {
        children.push(PlainNode { name: "other".to_owned(), own: [rest, 0], total: [rest, 0], children: Vec::new() });
    }
    PlainNode { children, ..node.clone() }
}

/// Both trees as one with two sides.
pub(crate) fn align(left: Option<&PlainNode>, right: Option<&PlainNode>) -> PlainNode {
    let of = |side: Option<&PlainNode>| side.map_or((0, 0), |node| (node.own[0], node.total[0]));
    let ((left_own, left_total), (right_own, right_total)) = (of(left), of(right));
    let mut by_name: BTreeMap<(bool, &[u8]), [Option<&PlainNode>; 2]> = BTreeMap::new();
    for (side, node) in [left, right].into_iter().enumerate() {
        for child in node.into_iter().flat_map(|node| &node.children) {
            by_name.entry((child.name == "other", child.name.as_bytes())).or_default()[side] = Some(child);
        }
    }
    PlainNode {
        name: left.or(right).unwrap().name.clone(),
        own: [left_own, right_own],
        total: [left_total, right_total],
        children: by_name.values().map(|[left, right]| align(*left, *right)).collect(),
    }
}

/// A flame graph: names, levels, the largest own value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PlainGraph {
    pub(crate) names: Vec<String>,
    pub(crate) levels: Vec<Vec<i64>>,
    pub(crate) max_self: i64,
}

/// The flame graph of a tree of `sides` sides.
pub(crate) fn graph(root: &PlainNode, sides: usize) -> PlainGraph {
    let mut graph = PlainGraph::default();
    let mut numbers = HashMap::new();
    number(root, &mut numbers, &mut graph.names);
    let mut ends = Vec::new();
    place(root, 0, [0; 2], sides, &numbers, &mut ends, &mut graph);
    graph
}

/// Numbers names as they are met by a walk from right to left.
fn number(node: &PlainNode, numbers: &mut HashMap<String, i64>, names: &mut Vec<String>) {
    if !numbers.contains_key(&node.name) {
        numbers.insert(node.name.clone(), i64::try_from(names.len()).unwrap());
        names.push(node.name.clone());
    }
    node.children.iter().rev().for_each(|child| number(child, numbers, names));
}

fn place(
    node: &PlainNode,
    depth: usize,
    x: [i64; 2],
    sides: usize,
    numbers: &HashMap<String, i64>,
    ends: &mut Vec<[i64; 2]>,
    graph: &mut PlainGraph,
) {
    if graph.levels.len() == depth {
        graph.levels.push(Vec::new());
        ends.push([0; 2]);
    }
    for side in 0..sides {
        graph.levels[depth].extend([x[side] - ends[depth][side], node.total[side], node.own[side]]);
        ends[depth][side] = x[side] + node.total[side];
        graph.max_self = graph.max_self.max(node.own[side]);
    }
    graph.levels[depth].push(numbers[&node.name]);
    let mut next = [x[0] + node.own[0], x[1] + node.own[1]];
    for child in &node.children {
        place(child, depth + 1, next, sides, numbers, ends, graph);
        next = [next[0] + child.total[0], next[1] + child.total[1]];
    }
}

/// How many nodes, levels and names there are.
pub(crate) fn counts(root: &PlainNode) -> (usize, usize, usize) {
    let graph = graph(root, 1);
    (root.count(), graph.levels.len(), graph.names.len())
}

/// The stacks of a flame graph with their own values, from its levels alone.
pub(crate) fn stacks(names: &[String], levels: &[Vec<i64>]) -> BTreeMap<String, i64> {
    let mut stacks = BTreeMap::new();
    // The nodes of the level above: start, end, stack.
    let mut above: Vec<(i64, i64, String)> = Vec::new();
    for (depth, level) in levels.iter().enumerate() {
        let (mut here, mut end) = (Vec::new(), 0);
        for node in level.chunks(4) {
            let (x, total, own) = (end + node[0], node[1], node[2]);
            assert!(node[0] >= 0 && own <= total, "{node:?}");
            end = x + total;
            let name = &names[usize::try_from(node[3]).unwrap()];
            let stack = match depth {
                0 => String::new(),
                _ => {
                    let parent = above.iter().find(|(start, parent_end, _)| *start <= x && end <= *parent_end);
                    let (_, _, parent) = parent.unwrap_or_else(|| panic!("{name} lies below nothing"));
                    if parent.is_empty() { name.clone() } else { format!("{parent};{name}") }
                }
            };
            if own != 0 {
                *stacks.entry(stack.clone()).or_default() += own;
            }
            here.push((x, end, stack));
        }
        above = here;
    }
    stacks
}

/// The folded stacks of a tree of plain nodes.
pub(crate) fn plain_stacks(node: &PlainNode, path: &str, into: &mut BTreeMap<String, i64>) {
    if node.own[0] != 0 {
        *into.entry(path.to_owned()).or_default() += node.own[0];
    }
    for child in &node.children {
        let path = if path.is_empty() { child.name.clone() } else { format!("{path};{}", child.name) };
        plain_stacks(child, &path, into);
    }
}
