//! What functions cost and who calls whom, however often a function is on a stack.
//!
//! A function is what has one name; a frame without one is of its address and its build id. A stack counts once for each
//! function on it, and once for each pair of caller and callee.

use std::collections::HashMap;

use flamestore_model::{NONE, Result};
use flamestore_query::InSteps;

use super::flame::Mixed;
use super::frames::{Frame, Frames};
use super::stacks::{FrameTree, Pair, Stacks, add};

/// What a function takes: in its row, where it is found, and in the answer beside its texts.
const FUNCTION_BYTES: usize = size_of::<Function>() + size_of::<(Key, usize)>() + 640;
/// What a call takes so.
const CALL_BYTES: usize = size_of::<Call>() + size_of::<[usize; 3]>() + 192;

/// Functions in the order in which stacks have them, and the calls between them.
#[derive(Debug, Default)]
pub(super) struct Functions {
    pub(super) rows: Vec<Function>,
    /// By the numbers of caller and callee, in the order in which stacks have them.
    pub(super) calls: Vec<Call>,
}

/// A function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    /// The first of its frames.
    pub(super) first: u32,
    pub(super) mixed: Mixed,
    pub(super) totals: Pair,
    pub(super) own: Pair,
}

/// What one function spends in another one that it calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) caller: usize,
    pub(super) callee: usize,
    pub(super) totals: Pair,
}

/// What tells functions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Name(u32),
    Place { build_id: u32, address: u64 },
}

impl Key {
    fn of(frame: &Frame) -> Self {
        match frame.name {
            0 => Self::Place { build_id: frame.build_id, address: frame.address },
            name => Self::Name(name),
        }
    }
}

impl Functions {
    /// The functions of `stacks`, held in their memory with what is told of them.
    ///
    /// # Errors
    /// `Exhausted` when there is no room for them.
    pub(super) fn of(stacks: &Stacks) -> Result<Self> {
        stacks.memory.grow(stacks.frames.rows.len() * size_of::<u32>())?;
        let mut counting = Counting::new(&stacks.frames, stacks.memory.in_steps());
        for group in &stacks.groups {
            counting.tree(&group.tree)?;
        }
        Ok(counting.functions)
    }
}

struct Counting<'a> {
    frames: &'a Frames,
    functions: Functions,
    /// Per frame, its function.
    of_frame: Vec<u32>,
    numbers: HashMap<Key, usize>,
    calls: HashMap<(usize, usize), usize>,
    /// Per function and per call, how often it is on the path.
    on_path: Vec<u32>,
    calls_on_path: Vec<u32>,
    memory: InSteps<'a>,
}

impl<'a> Counting<'a> {
    fn new(frames: &'a Frames, memory: InSteps<'a>) -> Self {
        Self {
            frames,
            functions: Functions::default(),
            of_frame: vec![NONE; frames.rows.len()],
            numbers: HashMap::new(),
            calls: HashMap::new(),
            on_path: Vec::new(),
            calls_on_path: Vec::new(),
            memory,
        }
    }

    fn tree(&mut self, tree: &FrameTree) -> Result<()> {
        // The nodes from the root to the last one, each with its function and its call.
        let mut path: Vec<(usize, usize, Option<usize>)> = Vec::new();
        for (node, totals) in tree.totals().into_iter().enumerate().skip(1) {
            let parent = tree.parent[node] as usize;
            while let Some((_, function, call)) = path.pop_if(|(open, _, _)| *open != parent) {
                self.leave(function, call);
            }
            let function = self.function(tree.frame[node])?;
            let caller = path.last().map(|(_, caller, _)| *caller);
            let call = caller.map(|caller| self.call(caller, function)).transpose()?;
            self.enter(function, call, totals);
            add(&mut self.functions.rows[function].own, tree.own[node]);
            path.push((node, function, call));
        }
        for (_, function, call) in path {
            self.leave(function, call);
        }
        Ok(())
    }

    fn enter(&mut self, function: usize, call: Option<usize>, totals: Pair) {
        self.on_path[function] += 1;
        if self.on_path[function] == 1 {
            add(&mut self.functions.rows[function].totals, totals);
        }
        if let Some(call) = call {
            self.calls_on_path[call] += 1;
            if self.calls_on_path[call] == 1 {
                add(&mut self.functions.calls[call].totals, totals);
            }
        }
    }

    fn leave(&mut self, function: usize, call: Option<usize>) {
        self.on_path[function] -= 1;
        if let Some(call) = call {
            self.calls_on_path[call] -= 1;
        }
    }

    fn function(&mut self, frame: u32) -> Result<usize> {
        let row = &self.frames.rows[frame as usize];
        let known = self.of_frame[frame as usize];
        if known != NONE {
            return Ok(known as usize);
        }
        let next = self.functions.rows.len();
        let number = *self.numbers.entry(Key::of(row)).or_insert(next);
        if number == next {
            let texts = [row.name, row.system_name, row.filename, row.mapping_file, row.build_id];
            let texts: usize = texts.iter().map(|text| self.frames.texts.get(*text).len()).sum();
            self.memory.grow(FUNCTION_BYTES + texts)?;
            self.functions.rows.push(Function { first: frame, mixed: Mixed::default(), totals: [0; 2], own: [0; 2] });
            self.on_path.push(0);
        }
        let function = &mut self.functions.rows[number];
        function.mixed.note(&self.frames.rows[function.first as usize], row);
        // No more functions than frames.
        self.of_frame[frame as usize] = u32::try_from(number).unwrap_or(NONE);
        Ok(number)
    }

    fn call(&mut self, caller: usize, callee: usize) -> Result<usize> {
        let next = self.functions.calls.len();
        let number = *self.calls.entry((caller, callee)).or_insert(next);
        if number == next {
            self.memory.grow(CALL_BYTES)?;
            self.functions.calls.push(Call { caller, callee, totals: [0; 2] });
            self.calls_on_path.push(0);
        }
        Ok(number)
    }
}
