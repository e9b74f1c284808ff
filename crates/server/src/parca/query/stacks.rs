//! The stacks that a report is made of: filtered, cut and turned as the request wants, a node per frame.
//!
//! ```text
//! call trees, one per group of labels ─ filters, sandwich ─▶ frames ─ inverted? ─▶ one tree of frames per group, in preorder
//! ```
//!
//! A node of the call tree of a location with inlined lines is several nodes here. Frames of one function may be several
//! nodes of one caller: each report merges what is one to it.

use std::collections::HashMap;

use flamestore_calltree::ValueTree;
use flamestore_model::{Error, NONE, Result};
use flamestore_query::Memory;

use super::filter::Shape;
use super::frames::{Frame, Frames, Known};

/// Nodes that memory is reserved for at one time.
const NODES_AT_ONCE: usize = 256;
/// What a node of a tree takes: in the tree, in its order of children, and where it is found by its caller.
const NODE_BYTES: usize = 2 * size_of::<u32>() + size_of::<Pair>() + size_of::<Vec<u32>>() + 32;

/// A value of what is asked for, and one of the base that it is compared with; 0 where nothing is.
pub(super) type Pair = [i64; 2];

/// The trees of all groups over the same frames.
#[derive(Debug)]
pub(super) struct Stacks {
    /// What holds them, and what is made of them.
    pub(super) memory: Memory,
    pub(super) frames: Frames,
    pub(super) groups: Vec<Group>,
    /// What is kept.
    pub(super) total: Pair,
    /// What filters dropped.
    pub(super) filtered: Pair,
}

/// The stacks of one group of labels.
#[derive(Debug)]
pub(super) struct Group {
    /// The values of the labels grouped by; empty where there is none.
    pub(super) labels: Vec<String>,
    pub(super) tree: FrameTree,
}

/// A tree of frames in preorder. Node 0 is the root, its own parent, without a frame.
#[derive(Debug)]
pub(super) struct FrameTree {
    pub(super) parent: Vec<u32>,
    /// A row of [`Frames::rows`], [`NONE`] for the root.
    pub(super) frame: Vec<u32>,
    /// The values of stacks that end here.
    pub(super) own: Vec<Pair>,
}

impl Default for FrameTree {
    fn default() -> Self {
        Self { parent: vec![0], frame: vec![NONE], own: vec![[0; 2]] }
    }
}

impl FrameTree {
    fn push(&mut self, parent: u32, frame: u32) -> Result<u32> {
        let many = |_| Error::exhausted("the stacks have too many frames").with("found", self.parent.len());
        let node = u32::try_from(self.parent.len()).map_err(many)?;
        self.parent.push(parent);
        self.frame.push(frame);
        self.own.push([0; 2]);
        Ok(node)
    }

    /// Per node, the sum of the values below it and its own.
    pub(super) fn totals(&self) -> Vec<Pair> {
        let mut totals = self.own.clone();
        for node in (1..totals.len()).rev() {
            let below = totals[node];
            add(&mut totals[self.parent[node] as usize], below);
        }
        totals
    }

    /// The same tree in preorder, children in the order they have.
    fn in_preorder(&self) -> Self {
        let mut children: Vec<Vec<u32>> = vec![Vec::new(); self.parent.len()];
        for (node, parent) in (0_u32..).zip(&self.parent).skip(1) {
            children[*parent as usize].push(node);
        }
        let mut ordered = Self { parent: Vec::new(), frame: Vec::new(), own: Vec::new() };
        let mut open = vec![(0_u32, 0_u32)];
        while let Some((node, parent)) = open.pop() {
            // No more nodes than there were.
            let number = u32::try_from(ordered.parent.len()).unwrap_or(NONE);
            ordered.parent.push(parent);
            ordered.frame.push(self.frame[node as usize]);
            ordered.own.push(self.own[node as usize]);
            open.extend(children[node as usize].iter().rev().map(|child| (*child, number)));
        }
        ordered
    }
}

/// How many nodes of a tree there is memory for.
#[derive(Debug, Default)]
struct Reserved(usize);

impl Reserved {
    /// Reserves what `tree` has grown by.
    fn reach(&mut self, tree: &FrameTree, memory: &Memory) -> Result<()> {
        while self.0 < tree.parent.len() {
            memory.grow(NODES_AT_ONCE * NODE_BYTES)?;
            self.0 += NODES_AT_ONCE;
        }
        Ok(())
    }
}

/// Adds the values of a pair to those of another one.
pub(super) fn add(sum: &mut Pair, values: Pair) {
    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum = sum.saturating_add(value));
}

impl Stacks {
    /// No stacks yet; `memory` is what they and their frames will take.
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, frames: Frames::default(), groups: Vec::new(), total: [0; 2], filtered: [0; 2] }
    }

    /// Adds the stacks of `tree`, whose columns are what is asked for and, in a diff, the base.
    ///
    /// # Errors
    /// `Exhausted` when there are 2³² frames or more, or more than fit into `query_memory_bytes_max`.
    pub(super) fn add(&mut self, labels: Vec<String>, tree: &ValueTree, shape: &Shape) -> Result<()> {
        let locations = &tree.dictionary.locations;
        let frames = locations.len() + locations.line_function.len();
        // What is kept of each node, and of each frame; texts are those of the tree once more.
        let kept = frames * size_of::<Frame>() + tree.tree.len() * size_of::<[u64; 4]>();
        self.memory.grow(kept + tree.dictionary.strings.memory_bytes())?;
        let mut known = Known::nothing(&tree.dictionary);
        let mut reading = Reading { stacks: self, known: &mut known, tree, shape, seen: HashMap::new() };
        let kept = reading.kept()?;
        let tree = match shape.is_inverted {
            false => reading.upright(&kept)?,
            true => reading.inverted(&kept)?.in_preorder(),
        };
        self.groups.push(Group { labels, tree });
        Ok(())
    }
}

/// What a location means under the filters.
#[derive(Clone, Debug)]
struct Seen {
    met: u64,
    /// Its frames that are kept, the outermost first.
    frames: Vec<u32>,
    /// Those from the function that stacks begin with, and those down to it, if it is there.
    sandwich: Option<(Vec<u32>, Vec<u32>)>,
}

/// The reading of one call tree.
struct Reading<'a, 'b> {
    stacks: &'a mut Stacks,
    known: &'a mut Known<'b>,
    tree: &'b ValueTree,
    shape: &'a Shape,
    seen: HashMap<u32, Seen>,
}

impl Reading<'_, '_> {
    /// The values of the node that are kept; what is dropped is counted. A stack is kept as a whole or not at all.
    fn kept(&mut self) -> Result<Vec<Pair>> {
        let tree = &self.tree.tree;
        let mut met = vec![0_u64; tree.len()];
        let mut is_inside = vec![self.shape.sandwich.is_none(); tree.len()];
        let mut kept = Vec::with_capacity(tree.len());
        for node in 0..tree.len() {
            if node > 0 {
                let parent = tree.parent[node] as usize;
                let seen = self.location(tree.location[node])?;
                met[node] = met[parent] | seen.met;
                is_inside[node] = is_inside[parent] || seen.sandwich.is_some();
            }
            let own = self.own(node);
            let is_kept = is_inside[node] && self.shape.keeps_stack(met[node]);
            add(if is_kept { &mut self.stacks.total } else { &mut self.stacks.filtered }, own);
            kept.push(if is_kept { own } else { [0; 2] });
        }
        Ok(kept)
    }

    fn own(&self, node: usize) -> Pair {
        let column = |at: usize| self.tree.values.get(at).and_then(|column| column.get(node)).copied();
        [column(0).unwrap_or_default(), column(1).unwrap_or_default()]
    }

    fn location(&mut self, location: u32) -> Result<&Seen> {
        if !self.seen.contains_key(&location) {
            let seen = self.look(location)?;
            self.seen.insert(location, seen);
        }
        self.seen.get(&location).ok_or_else(|| Error::internal("a location was not looked at"))
    }

    fn look(&mut self, location: u32) -> Result<Seen> {
        let all: Vec<u32> = self.stacks.frames.of(self.known, location)?.collect();
        let Frames { texts, rows, .. } = &self.stacks.frames;
        let row = |frame: &u32| &rows[*frame as usize];
        let met = match self.shape.stacks.is_empty() {
            true => 0,
            false => all.iter().fold(0, |met, frame| met | self.shape.met(texts, row(frame))),
        };
        let kept = |frames: &[u32]| -> Vec<u32> {
            frames.iter().copied().filter(|frame| self.shape.keeps_frame(texts, row(frame))).collect()
        };
        let is_it =
            |name: &String, frame: &u32| row(frame).has_function && texts.get(row(frame).name) == name.as_bytes();
        let at = self.shape.sandwich.as_ref().and_then(|name| all.iter().position(|frame| is_it(name, frame)));
        let sandwich = at.map(|at| (kept(&all[at..]), kept(&all[..=at])));
        Ok(Seen { met, frames: kept(&all), sandwich })
    }

    /// The tree of the stacks as they are, or from the function on that they are to begin with.
    fn upright(&mut self, kept: &[Pair]) -> Result<FrameTree> {
        let tree = &self.tree.tree;
        let is_needed = needed(tree, kept);
        let (mut frames, mut reserved) = (FrameTree::default(), Reserved::default());
        // Per node of the call tree, the node that its frames end in.
        let mut ends = vec![0_u32; tree.len()];
        let mut is_inside = vec![self.shape.sandwich.is_none(); tree.len()];
        frames.own[0] = kept[0];
        for node in (1..tree.len()).filter(|node| is_needed[*node]) {
            let parent = tree.parent[node] as usize;
            let was_inside = is_inside[parent];
            let seen = self.location(tree.location[node])?;
            let own: &[u32] = match (&seen.sandwich, was_inside) {
                (_, true) => &seen.frames,
                (Some((from_it, _)), false) => from_it,
                (None, false) => &[],
            };
            let mut end = ends[parent];
            for frame in own {
                end = frames.push(end, *frame)?;
            }
            is_inside[node] = was_inside || seen.sandwich.is_some();
            ends[node] = end;
            add(&mut frames.own[end as usize], kept[node]);
            reserved.reach(&frames, &self.stacks.memory)?;
        }
        Ok(frames)
    }

    /// The tree of the stacks from their leaves, or from the function that they are to begin with, to their roots.
    fn inverted(&mut self, kept: &[Pair]) -> Result<FrameTree> {
        let tree = &self.tree.tree;
        let (mut frames, mut reserved) = (FrameTree::default(), Reserved::default());
        let mut ids: HashMap<(u32, u32), u32> = HashMap::new();
        let mut path: Vec<u32> = Vec::new();
        for (node, values) in (0_u32..).zip(kept).filter(|(_, values)| **values != [0; 2]) {
            self.path(&tree.stack(node), &mut path)?;
            let mut end = 0;
            for frame in path.iter().rev() {
                end = match ids.get(&(end, *frame)) {
                    Some(known) => *known,
                    None => {
                        let node = frames.push(end, *frame)?;
                        ids.insert((end, *frame), node);
                        node
                    }
                };
            }
            add(&mut frames.own[end as usize], *values);
            reserved.reach(&frames, &self.stacks.memory)?;
        }
        Ok(frames)
    }

    /// The kept frames of a stack of locations, root first; down to the function that stacks are to begin with, if there is
    /// one.
    fn path(&mut self, stack: &[u32], path: &mut Vec<u32>) -> Result<()> {
        path.clear();
        for location in stack {
            let seen = self.location(*location)?;
            if let Some((_, up_to_it)) = &seen.sandwich {
                path.extend(up_to_it);
                return Ok(());
            }
            path.extend(&seen.frames);
        }
        Ok(())
    }
}

/// Whether there is a value in a node or below it.
fn needed(tree: &flamestore_calltree::CallTree, kept: &[Pair]) -> Vec<bool> {
    let mut needed: Vec<bool> = kept.iter().map(|values| *values != [0; 2]).collect();
    for node in (1..needed.len()).rev() {
        if needed[node] {
            needed[tree.parent[node] as usize] = true;
        }
    }
    needed
}
