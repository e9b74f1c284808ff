//! Who calls one function, and what it calls, by frame name.

use std::cmp::Reverse;

use flamestore_model::NONE;

use crate::ValueTree;
use crate::frame::FrameTable;

/// What one function costs, and what of it comes from whom and goes where.
///
/// A stack on which the function calls itself is one of which it is its own caller and callee. Each stack counts once in
/// each number, however often the same call is on it; so callers add up to more than the total where a stack has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// Per column, the values of stacks that end in the function.
    pub self_values: Vec<i64>,
    /// Per column, the values of stacks that the function is on.
    pub totals: Vec<i64>,
    /// Per column, the values of stacks that begin with the function: nobody calls it there.
    pub outermost: Vec<i64>,
    /// Who calls it.
    pub callers: Vec<Neighbour>,
    /// What it calls.
    pub callees: Vec<Neighbour>,
}

/// The other end of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The frame name; invalid UTF-8 is replaced.
    pub name: String,
    /// Per column, the values of stacks that the call is on.
    pub totals: Vec<i64>,
}

/// Who calls the function of this frame name, and what it calls: by falling total (columns added), then name. Those whose
/// values are all zero are left out; of a function that is on no stack, nothing remains. Sums wrap at 64 bits.
///
/// # Panics
/// When a column is not as long as the tree.
pub fn neighbours(tree: &ValueTree, name: &str) -> Neighbours {
    let frames = FrameTable::new(&tree.dictionary);
    let columns = tree.values.len();
    let Some(function) = frames.rank(name.as_bytes()) else {
        let zeros = || vec![0; columns];
        let (callers, callees) = (Vec::new(), Vec::new());
        return Neighbours { self_values: zeros(), totals: zeros(), outermost: zeros(), callers, callees };
    };
    let mut counter = Counter::new(tree, &frames, function);
    for node in 1..tree.tree.len() {
        counter.enter(node);
    }
    counter.finish()
}

/// A node on the path, and the frame that its first one is called by.
struct Open {
    node: u32,
    caller: u32,
}

/// What is counted once a stack, by the rank of a name; the last place is that of no name.
struct Count {
    on_path: Vec<u32>,
    sums: Vec<i64>,
}

struct Counter<'a> {
    tree: &'a ValueTree,
    frames: &'a FrameTable<'a>,
    function: u32,
    totals: Vec<Vec<i64>>,
    path: Vec<Open>,
    itself: Count,
    callers: Count,
    callees: Count,
    self_sums: Vec<i64>,
}

impl Count {
    fn new(names: usize, columns: usize) -> Self {
        Self { on_path: vec![0; names + 1], sums: vec![0; (names + 1) * columns] }
    }

    fn place(&self, rank: u32) -> usize {
        if rank == NONE { self.on_path.len() - 1 } else { rank as usize }
    }

    fn enter(&mut self, rank: u32, columns: &[Vec<i64>], node: usize) {
        let place = self.place(rank);
        self.on_path[place] += 1;
        if self.on_path[place] == 1 {
            let start = place * columns.len();
            for (sum, column) in self.sums[start..].iter_mut().zip(columns) {
                *sum = sum.wrapping_add(column[node]);
            }
        }
    }

    fn leave(&mut self, rank: u32) {
        let place = self.place(rank);
        self.on_path[place] -= 1;
    }

    fn of(&self, rank: u32, columns: usize) -> Vec<i64> {
        let start = self.place(rank) * columns;
        self.sums[start..start + columns].to_vec()
    }

    fn named(&self, frames: &FrameTable<'_>, columns: usize) -> Vec<Neighbour> {
        let ranks = 0..crate::byte_strings::index(frames.len());
        let named = ranks.map(|rank| Neighbour {
            name: String::from_utf8_lossy(frames.name(rank)).into_owned(),
            totals: self.of(rank, columns),
        });
        let mut named: Vec<Neighbour> = named.filter(|one| one.totals.iter().any(|total| *total != 0)).collect();
        // Stable: they come in the order of their names.
        named.sort_by_cached_key(|one| Reverse(one.totals.iter().map(|total| i128::from(*total)).sum::<i128>()));
        named
    }
}

impl<'a> Counter<'a> {
    fn new(tree: &'a ValueTree, frames: &'a FrameTable<'a>, function: u32) -> Self {
        let (names, columns) = (frames.len(), tree.values.len());
        Self {
            tree,
            frames,
            function,
            totals: (0..columns).map(|column| tree.totals(column)).collect(),
            path: vec![Open { node: 0, caller: NONE }],
            itself: Count::new(names, columns),
            callers: Count::new(names, columns),
            callees: Count::new(names, columns),
            self_sums: vec![0; columns],
        }
    }

    fn enter(&mut self, node: usize) {
        while let Some(left) = self.path.pop_if(|open| open.node != self.tree.tree.parent[node]) {
            self.leave(&left);
        }
        let caller = self.path.last().map_or(NONE, |open| self.innermost(open));
        let (frames, function) = (self.frames.frames(self.tree.tree.location[node]), self.function);
        let mut before = caller;
        for &rank in frames {
            if rank == function {
                self.itself.enter(rank, &self.totals, node);
                self.callers.enter(before, &self.totals, node);
            }
            if before == function {
                self.callees.enter(rank, &self.totals, node);
            }
            before = rank;
        }
        if frames.last() == Some(&function) {
            for (sum, column) in self.self_sums.iter_mut().zip(&self.tree.values) {
                *sum = sum.wrapping_add(column[node]);
            }
        }
        self.path.push(Open { node: crate::byte_strings::index(node), caller });
    }

    fn leave(&mut self, open: &Open) {
        let mut before = open.caller;
        for &rank in self.frames.frames(self.tree.tree.location[open.node as usize]) {
            if rank == self.function {
                self.itself.leave(rank);
                self.callers.leave(before);
            }
            if before == self.function {
                self.callees.leave(rank);
            }
            before = rank;
        }
    }

    /// The last frame of the path up to a node.
    fn innermost(&self, open: &Open) -> u32 {
        let frames = self.frames.frames(self.tree.tree.location[open.node as usize]);
        frames.last().copied().unwrap_or(open.caller)
    }

    fn finish(self) -> Neighbours {
        let columns = self.totals.len();
        Neighbours {
            self_values: self.self_sums,
            totals: self.itself.of(self.function, columns),
            outermost: self.callers.of(NONE, columns),
            callers: self.callers.named(self.frames, columns),
            callees: self.callees.named(self.frames, columns),
        }
    }
}
