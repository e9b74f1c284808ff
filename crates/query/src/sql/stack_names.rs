//! The stacks of one dictionary by the names of their frames: what is asked of stacks is found out once a stack, not once a row.
//!
//! Tests walk locations once and the call tree once: a node fits when its frames do or its caller does.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, StringArray};
use arrow::datatypes::Int32Type;
use flamestore_calltree::{SealedDictionary, frame_name};
use flamestore_model::{Error, Result};
use hashbrown::HashMap;
use regex::Regex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::columns::wrong;

/// What a filter asks of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StackTest {
    /// A frame whose name holds a match of this regular expression.
    HasFunction(String),
    /// This innermost frame.
    Leaf(String),
    /// This outermost frame.
    Root(String),
}

impl fmt::Display for StackTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HasFunction(pattern) => write!(f, "has_function({pattern:?})"),
            Self::Leaf(name) => write!(f, "leaf={name:?}"),
            Self::Root(name) => write!(f, "root={name:?}"),
        }
    }
}

/// The regular expression of `has_function`.
///
/// # Errors
/// `Invalid` when it is none, or too large.
pub(crate) fn function_pattern(pattern: &str) -> Result<Regex> {
    Regex::new(pattern)
        .map_err(|wrong| Error::invalid("not a regular expression").with("pattern", pattern).because(wrong))
}

/// The stacks of one dictionary by name.
pub(super) struct StackNames {
    sealed: Arc<SealedDictionary>,
    leaves: OnceLock<Ends>,
    roots: OnceLock<Ends>,
    ids: OnceLock<Vec<u64>>,
    depths: OnceLock<Vec<u32>>,
}

/// One end of each stack: the number of its name, and the names.
struct Ends {
    keys: Vec<Option<i32>>,
    names: Arc<StringArray>,
}

impl StackNames {
    pub(super) fn new(sealed: Arc<SealedDictionary>) -> Self {
        let (leaves, roots) = (OnceLock::new(), OnceLock::new());
        Self { sealed, leaves, roots, ids: OnceLock::new(), depths: OnceLock::new() }
    }

    /// What the stacks are of.
    pub(super) fn sealed(&self) -> &SealedDictionary {
        &self.sealed
    }

    /// How many stacks there are.
    pub(super) fn len(&self) -> usize {
        self.sealed.leaves.len()
    }

    /// About the bytes that it holds beside the dictionary, once all columns were asked for.
    pub(super) fn memory_bytes(&self) -> usize {
        self.len() * 40 + self.sealed.tree.len() * 12
    }

    /// Gives the names of the frames of `stack` to `each`, root first.
    pub(super) fn for_each_frame(&self, stack: u32, mut each: impl FnMut(&str)) {
        let SealedDictionary { dictionary, tree, leaves } = &*self.sealed;
        for location in tree.stack(leaves[stack as usize]) {
            for line in (0..frame_count(&self.sealed, location)).rev() {
                each(&frame_name(dictionary, location, line));
            }
        }
    }

    /// How many frames `stack` has.
    pub(super) fn depth(&self, stack: u32) -> u32 {
        let depths = self.depths.get_or_init(|| {
            let frames = |location| u32::try_from(frame_count(&self.sealed, location)).unwrap_or(u32::MAX);
            self.down(0, |caller, location| u32::saturating_add(*caller, frames(location)))
        });
        depths[self.node(stack)]
    }

    /// A hash of the names of the frames of `stack`: the same in all dictionaries.
    pub(super) fn id(&self, stack: u32) -> u64 {
        let ids = self.ids.get_or_init(|| {
            self.down(0, |caller, location| {
                let lines = (0..frame_count(&self.sealed, location)).rev();
                lines.fold(*caller, |id, line| {
                    xxh3_64_with_seed(frame_name(&self.sealed.dictionary, location, line).as_bytes(), id)
                })
            })
        });
        ids[self.node(stack)]
    }

    /// The innermost frames of `stacks`, as a column.
    ///
    /// # Errors
    /// `Internal` when the column cannot be built.
    pub(super) fn leaf_column(&self, stacks: impl Iterator<Item = u32>) -> Result<ArrayRef> {
        self.leaves
            .get_or_init(|| self.ends(&self.sealed.tree.location.iter().map(|of| (*of, 0)).collect::<Vec<_>>()))
            .column(stacks)
    }

    /// The outermost frames of `stacks`, as a column.
    ///
    /// # Errors
    /// `Internal` when the column cannot be built.
    pub(super) fn root_column(&self, stacks: impl Iterator<Item = u32>) -> Result<ArrayRef> {
        self.roots.get_or_init(|| self.ends(&self.outermost())).column(stacks)
    }

    /// Whether each stack passes all `tests`.
    ///
    /// # Errors
    /// `Invalid` when a regular expression is none.
    pub(super) fn passing(&self, tests: &[StackTest]) -> Result<Vec<bool>> {
        let mut passing = vec![true; self.len()];
        for test in tests {
            let nodes = self.nodes_passing(test)?;
            for (passes, leaf) in passing.iter_mut().zip(&self.sealed.leaves) {
                *passes &= nodes[*leaf as usize];
            }
        }
        Ok(passing)
    }

    fn nodes_passing(&self, test: &StackTest) -> Result<Vec<bool>> {
        let tree = &self.sealed.tree;
        let is = |(location, line): (u32, usize), name: &str| {
            location != flamestore_model::NONE && frame_name(&self.sealed.dictionary, location, line) == name
        };
        Ok(match test {
            StackTest::HasFunction(pattern) => {
                let fitting = self.locations_with(&function_pattern(pattern)?);
                self.down(false, |caller, location| *caller || fitting[location as usize])
            }
            StackTest::Leaf(name) => tree.location.iter().map(|location| is((*location, 0), name)).collect(),
            StackTest::Root(name) => self.outermost().into_iter().map(|frame| is(frame, name)).collect(),
        })
    }

    /// Whether each location has a frame that fits; a name that many have is matched once.
    fn locations_with(&self, pattern: &Regex) -> Vec<bool> {
        let mut known: HashMap<String, bool> = HashMap::new();
        let mut fits = |location: u32, line| {
            let name = frame_name(&self.sealed.dictionary, location, line);
            match known.get(name.as_ref()) {
                Some(fits) => *fits,
                None => *known.entry(name.into_owned()).or_insert_with_key(|name| pattern.is_match(name)),
            }
        };
        let locations = 0..u32::try_from(self.sealed.dictionary.locations.len()).unwrap_or(u32::MAX);
        locations.map(|location| (0..frame_count(&self.sealed, location)).any(|line| fits(location, line))).collect()
    }

    /// The outermost frame of the stack that ends in each node: its location and line.
    fn outermost(&self) -> Vec<(u32, usize)> {
        let none = (flamestore_model::NONE, 0);
        self.down(none, |caller, location| match *caller == none {
            true => (location, frame_count(&self.sealed, location) - 1),
            false => *caller,
        })
    }

    /// A value for each node, from that of its caller and its location; `root` for the root.
    fn down<T: Clone>(&self, root: T, of: impl Fn(&T, u32) -> T) -> Vec<T> {
        let tree = &self.sealed.tree;
        let mut values = Vec::with_capacity(tree.len());
        values.push(root);
        for node in 1..tree.len() {
            let value = of(&values[tree.parent[node] as usize], tree.location[node]);
            values.push(value);
        }
        values
    }

    fn ends(&self, frames: &[(u32, usize)]) -> Ends {
        let mut numbers: HashMap<String, i32> = HashMap::new();
        let mut names: Vec<String> = Vec::new();
        let mut known: HashMap<(u32, usize), i32> = HashMap::new();
        let mut key = |leaf: u32| {
            let (location, line) = frames[leaf as usize];
            if location == flamestore_model::NONE {
                return None;
            }
            Some(*known.entry((location, line)).or_insert_with(|| {
                let name = frame_name(&self.sealed.dictionary, location, line).into_owned();
                *numbers.entry(name).or_insert_with_key(|name| {
                    names.push(name.clone());
                    i32::try_from(names.len() - 1).unwrap_or(i32::MAX)
                })
            }))
        };
        let keys = self.sealed.leaves.iter().map(|leaf| key(*leaf)).collect();
        Ends { keys, names: Arc::new(StringArray::from_iter_values(names)) }
    }

    fn node(&self, stack: u32) -> usize {
        self.sealed.leaves[stack as usize] as usize
    }
}

impl Ends {
    fn column(&self, stacks: impl Iterator<Item = u32>) -> Result<ArrayRef> {
        let keys: Int32Array = stacks.map(|stack| self.keys[stack as usize]).collect();
        let names = Arc::clone(&self.names) as ArrayRef;
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, names).map_err(wrong)?))
    }
}

/// How many frames a location is; at least 1.
fn frame_count(sealed: &SealedDictionary, location: u32) -> usize {
    sealed.dictionary.locations.line_rows(location).len().max(1)
}
