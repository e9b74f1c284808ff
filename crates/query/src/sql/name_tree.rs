//! Stacks of names added up: a tree of names with a value a node, grown stack by stack.

use flamestore_calltree::{ByteStrings, FlameTree};
use flamestore_formats::ProfileBuilder;
use flamestore_model::{Error, ProfileBatch, ProfileType, Result};
use hashbrown::HashMap;

/// Bytes of a node and its places in the tables, about.
const NODE_BYTES: usize = 64;
/// Bytes of a name beside its text, twice, about.
const NAME_BYTES: usize = 96;

/// Sums of values by stack of names. Node 0 is the root; a parent's number is below that of its children.
#[derive(Debug)]
pub(super) struct NameTree {
    names: Vec<String>,
    name_ids: HashMap<String, u32>,
    /// The parent and the name of each node.
    nodes: Vec<(u32, u32)>,
    node_ids: HashMap<(u32, u32), u32>,
    values: Vec<i64>,
    name_bytes: usize,
}

impl Default for NameTree {
    fn default() -> Self {
        Self {
            names: vec!["total".to_owned()],
            name_ids: HashMap::new(),
            nodes: vec![(0, 0)],
            node_ids: HashMap::new(),
            values: vec![0],
            name_bytes: 0,
        }
    }
}

impl NameTree {
    /// Adds `value` to the stack of these frames, root first.
    ///
    /// # Errors
    /// `Invalid` when the sum leaves 64 bits; `Exhausted` when there are 2³² names or nodes.
    pub(super) fn add<'a>(&mut self, frames: impl Iterator<Item = &'a str>, value: i64) -> Result<()> {
        let mut node = 0;
        for frame in frames {
            let name = self.name(frame)?;
            node = self.child(node, name)?;
        }
        self.add_to(node, value)
    }

    /// Adds another tree, given as its [`Self::parts`].
    ///
    /// # Errors
    /// As [`Self::add`]; `Internal` when they are no such parts.
    pub(super) fn add_parts<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
        nodes: impl Iterator<Item = (u32, u32, i64)>,
    ) -> Result<()> {
        let broken = || Error::internal("the state of an aggregate is no tree");
        // Name 0 is the root's, which no stack has.
        let names = names.map(|name| self.name(name)).collect::<Result<Vec<_>>>()?;
        let mut places: Vec<u32> = Vec::new();
        for (parent, name, value) in nodes {
            let place = match places.is_empty() {
                true => 0,
                false => {
                    let parent = *places.get(parent as usize).ok_or_else(broken)?;
                    let name = (name as usize).checked_sub(1).and_then(|name| names.get(name));
                    self.child(parent, *name.ok_or_else(broken)?)?
                }
            };
            places.push(place);
            self.add_to(place, value)?;
        }
        Ok(())
    }

    /// The names but the root's, and parent, name and value of each node.
    pub(super) fn parts(&self) -> (&[String], impl Iterator<Item = (u32, u32, i64)> + '_) {
        let nodes = self.nodes.iter().zip(&self.values).map(|((parent, name), value)| (*parent, *name, *value));
        (&self.names[1..], nodes)
    }

    /// Bytes that it takes, about.
    pub(super) fn memory_bytes(&self) -> usize {
        self.name_bytes + self.nodes.capacity() * NODE_BYTES
    }

    /// The text of folded stacks: `root;caller;leaf value` a line, sorted by stack, sums of 0 left out.
    pub(super) fn folded(&self) -> String {
        let first = |values: Vec<i64>| values.first().copied().unwrap_or_default();
        self.flame_tree().folded().into_iter().map(|(stack, values)| format!("{stack} {}\n", first(values))).collect()
    }

    /// The flame tree: siblings sorted by name, branches without a value left out.
    pub(super) fn flame_tree(&self) -> FlameTree {
        let children = self.kept_children();
        let mut tree = FlameTree {
            names: ByteStrings::new(),
            name: Vec::new(),
            parent: Vec::new(),
            depth: Vec::new(),
            is_other: Vec::new(),
            self_values: vec![Vec::new()],
            totals: Vec::new(),
        };
        let mut name_ids: HashMap<u32, u32> = HashMap::new();
        // Nodes to come, the next one last: the node, its parent there, its depth.
        let mut next: Vec<(u32, u32, u32)> = vec![(0, 0, 0)];
        while let Some((node, parent, depth)) = next.pop() {
            // A frame may be called as the root is.
            let (_, name) = self.nodes[node as usize];
            let name = if self.names[name as usize] == self.names[0] { 0 } else { name };
            let name = *name_ids.entry(name).or_insert_with(|| tree.names.push(self.names[name as usize].as_bytes()));
            let place = u32::try_from(tree.name.len()).unwrap_or(u32::MAX);
            tree.name.push(name);
            tree.parent.push(parent);
            tree.depth.push(depth);
            tree.is_other.push(false);
            tree.self_values[0].push(self.values[node as usize]);
            next.extend(children[node as usize].iter().rev().map(|child| (*child, place, depth + 1)));
        }
        let mut totals = tree.self_values[0].clone();
        for node in (1..totals.len()).rev() {
            let parent = tree.parent[node] as usize;
            totals[parent] = totals[parent].wrapping_add(totals[node]);
        }
        tree.totals = vec![totals];
        tree
    }

    /// The profile of these stacks; `ty` says what its values are.
    ///
    /// # Errors
    /// `Exhausted` when a table of it has too many rows.
    pub(super) fn profile(&self, ty: &ProfileType) -> Result<ProfileBatch> {
        let mut builder = ProfileBuilder::new();
        builder.sample_type(&ty.sample_type, &ty.sample_unit);
        builder.period(&ty.period_type, &ty.period_unit, 0);
        let mut stack = Vec::new();
        for (at, value) in self.values.iter().enumerate().filter(|(_, value)| **value != 0) {
            stack.clear();
            let mut node = at;
            while node != 0 {
                let (parent, name) = self.nodes[node];
                stack.push(builder.frame(&self.names[name as usize]));
                node = parent as usize;
            }
            builder.add_row(&stack, &[*value], &[]);
        }
        builder.finish()
    }

    /// The children of each node that have a value or lead to one, by name.
    fn kept_children(&self) -> Vec<Vec<u32>> {
        let mut keep: Vec<bool> = self.values.iter().map(|value| *value != 0).collect();
        for node in (1..self.nodes.len()).rev() {
            keep[self.nodes[node].0 as usize] |= keep[node];
        }
        let mut children = vec![Vec::new(); self.nodes.len()];
        for (node, (parent, _)) in (0..).zip(&self.nodes).skip(1) {
            if keep[node as usize] {
                children[*parent as usize].push(node);
            }
        }
        let name = |node: &u32| self.names[self.nodes[*node as usize].1 as usize].as_bytes();
        children.iter_mut().for_each(|of| of.sort_unstable_by(|a, b| name(a).cmp(name(b))));
        children
    }

    fn add_to(&mut self, node: u32, value: i64) -> Result<()> {
        let sum = &mut self.values[node as usize];
        let over = || Error::invalid("the sum of values of a stack leaves 64 bits; ask for fewer rows");
        *sum = sum.checked_add(value).ok_or_else(over)?;
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<u32> {
        if let Some(id) = self.name_ids.get(name) {
            return Ok(*id);
        }
        let id = number(self.names.len())?;
        self.names.push(name.to_owned());
        self.name_ids.insert(name.to_owned(), id);
        self.name_bytes += 2 * name.len() + NAME_BYTES;
        Ok(id)
    }

    fn child(&mut self, parent: u32, name: u32) -> Result<u32> {
        if let Some(node) = self.node_ids.get(&(parent, name)) {
            return Ok(*node);
        }
        let node = number(self.nodes.len())?;
        self.nodes.push((parent, name));
        self.values.push(0);
        self.node_ids.insert((parent, name), node);
        Ok(node)
    }
}

fn number(rows: usize) -> Result<u32> {
    u32::try_from(rows).map_err(|_| Error::exhausted("stacks have too many frames").with("limit", u32::MAX))
}
