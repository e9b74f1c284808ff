//! The stacks of one dictionary by the names of their frames: what is asked of stacks is found out once a stack, not once a row.
//!
//! Tests walk locations once and the call tree once: a node fits when its frames do or its caller does.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, StringArray, UInt32Array};
use arrow::datatypes::{Int32Type, UInt32Type};
use flamestore_calltree::{FrameStrings, LabelBytes, Observation, SealedDictionary, frame_name};
use flamestore_model::{Error, NONE, Result, place_name};
use hashbrown::HashMap;
use parking_lot::Mutex;
use regex::Regex;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::columns::wrong;
use super::names::{Known, Names};

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
    /// How many frames each stack has, once that was asked for, or [`NONE`].
    depths: Mutex<Vec<u32>>,
    /// What names the frames of each node, once numbers of stacks were asked for.
    frames: OnceLock<Arc<FrameStrings>>,
    numbers: Mutex<Numbers>,
}

/// The numbers of names that were asked for; those of stacks and sets of labels are [`NONE`] before.
#[derive(Default)]
struct Numbers {
    stacks: Vec<u32>,
    /// Of the strings of the dictionary, or [`NONE`].
    strings: Vec<u32>,
    /// Of the locations that no function names.
    places: HashMap<u32, u32>,
    label_sets: Vec<u32>,
    leaves: Vec<u32>,
    roots: Vec<u32>,
}

/// One end of each stack: the number of its name, and the names.
struct Ends {
    keys: Vec<Option<i32>>,
    names: Arc<StringArray>,
}

impl StackNames {
    pub(super) fn new(sealed: Arc<SealedDictionary>) -> Self {
        let (leaves, roots) = (OnceLock::new(), OnceLock::new());
        Self {
            sealed,
            leaves,
            roots,
            ids: OnceLock::new(),
            depths: Mutex::default(),
            frames: OnceLock::new(),
            numbers: Mutex::default(),
        }
    }

    /// Takes `frames`, which are those of its stacks, so that they are not made again.
    pub(super) fn with_frames(self, frames: Arc<FrameStrings>) -> Self {
        Self { frames: OnceLock::from(frames), ..self }
    }

    /// Whether these are the stacks of `sealed`.
    pub(super) fn is_of(&self, sealed: &Arc<SealedDictionary>) -> bool {
        Arc::ptr_eq(&self.sealed, sealed)
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
        let strings = self.sealed.dictionary.strings.len() * size_of::<u32>();
        let frames = self.frames.get().map_or(0, |frames| frames.memory_bytes());
        self.len() * 48 + self.sealed.tree.len() * 8 + strings + frames
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

    /// How many frames each of `stacks` has.
    pub(super) fn depths<'a>(&'a self, stacks: impl Iterator<Item = u32> + 'a) -> impl Iterator<Item = u32> + 'a {
        let mut known = self.depths.lock();
        known.resize(self.len(), NONE);
        stacks.map(move |stack| {
            let depth = &mut known[stack as usize];
            if *depth == NONE {
                let SealedDictionary { tree, leaves, .. } = &*self.sealed;
                let frames = |location| frame_count(&self.sealed, location);
                let frames: usize = tree.stack(leaves[stack as usize]).into_iter().map(frames).sum();
                *depth = u32::try_from(frames).unwrap_or(NONE - 1);
            }
            *depth
        })
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
        self.leaves().column(stacks)
    }

    /// The outermost frames of `stacks`, as a column.
    ///
    /// # Errors
    /// `Internal` when the column cannot be built.
    pub(super) fn root_column(&self, stacks: impl Iterator<Item = u32>) -> Result<ArrayRef> {
        self.roots().column(stacks)
    }

    /// The numbers of `stacks`, as a column.
    ///
    /// # Errors
    /// `Exhausted` when there are too many names, or there is no memory for them.
    pub(super) fn stack_numbers(&self, names: &Names, stacks: &[u32]) -> Result<ArrayRef> {
        let mut numbers = self.numbers.lock();
        let Numbers { stacks: known, strings, places, .. } = &mut *numbers;
        let SealedDictionary { dictionary, tree, leaves } = &*self.sealed;
        let frames = self.frames.get_or_init(|| Arc::new(FrameStrings::of(&self.sealed)));
        known.resize(self.len(), NONE);
        strings.resize(dictionary.strings.len(), NONE);
        let (mut runs, mut of_stack) = (Vec::new(), Vec::new());
        let number = |stack: u32, names: &mut Known| {
            runs.clear();
            of_stack.clear();
            // Nodes are in preorder, so that a chain of callers is mostly a run of neighbours.
            let mut node = leaves[stack as usize];
            while node != 0 {
                let (last, mut first) = (node, node);
                node = tree.parent[node as usize];
                while node != 0 && node + 1 == first {
                    first = node;
                    node = tree.parent[node as usize];
                }
                runs.push((first, last));
            }
            for (first, last) in runs.iter().rev() {
                let (start, of_run) = (of_stack.len(), frames.of_nodes(*first, *last));
                let known = |string: &u32| strings.get(*string as usize).copied().filter(|number| *number != NONE);
                of_stack.extend(of_run.iter().map_while(known));
                if of_stack.len() - start == of_run.len() {
                    continue;
                }
                // One of the names was not met before, or is that of a place.
                of_stack.truncate(start);
                for node in *first..=*last {
                    for string in frames.of_nodes(node, node) {
                        let number = match *string {
                            NONE => places.entry(tree.location[node as usize]).or_insert(NONE),
                            string => &mut strings[string as usize],
                        };
                        if *number == NONE {
                            *number = match *string {
                                NONE => names.add_text(&self.place(node))?,
                                string => names.add_text(&dictionary.strings.text(string))?,
                            };
                        }
                        of_stack.push(*number);
                    }
                }
            }
            names.add_stack(&of_stack)
        };
        number_column(names, known, stacks, number)
    }

    /// What names the frame of a node that no function names.
    fn place(&self, node: u32) -> String {
        place_name(self.sealed.dictionary.absolute_address(self.sealed.tree.location[node as usize]))
    }

    /// How many frames each of `stacks` has, whose numbers will be asked for.
    ///
    /// # Errors
    /// As [`Self::stack_numbers`].
    pub(super) fn frame_counts(&self, names: &Names, stacks: &[u32]) -> Result<Vec<u32>> {
        let numbers = self.stack_numbers(names, stacks)?;
        let known = names.known();
        let frames = |number: Option<u32>| number.map_or(0, |number| known.stack(number).len());
        let counts = numbers.as_primitive::<UInt32Type>().iter().map(frames);
        Ok(counts.map(|frames| u32::try_from(frames).unwrap_or(u32::MAX)).collect())
    }

    /// The numbers of sets of the samples' own labels, as a column.
    ///
    /// # Errors
    /// As [`Self::stack_numbers`].
    pub(super) fn label_numbers(&self, names: &Names, sets: &[u32]) -> Result<ArrayRef> {
        let mut numbers = self.numbers.lock();
        let dictionary = &self.sealed.dictionary;
        // The last one is for no set.
        let none = u32::try_from(dictionary.label_sets.len()).unwrap_or(NONE);
        numbers.label_sets.resize(dictionary.label_sets.len() + 1, NONE);
        let number = |set: u32, names: &mut Known| {
            let mut pairs: Vec<(String, String)> = Vec::new();
            dictionary.row_labels(if set == none { NONE } else { set }, &Observation::NONE, |key, value| {
                let value = match value {
                    LabelBytes::Str(text) => String::from_utf8_lossy(text).into_owned(),
                    LabelBytes::Num(number, _) => number.to_string(),
                };
                pairs.push((String::from_utf8_lossy(key).into_owned(), value));
            });
            let texts = pairs.iter().flat_map(|(key, value)| [key, value]);
            let pairs = texts.map(|text| names.add_text(text)).collect::<Result<Vec<_>>>()?;
            names.add_pairs(&pairs)
        };
        let sets: Vec<u32> = sets.iter().map(|set| if *set == NONE { none } else { *set }).collect();
        number_column(names, &mut numbers.label_sets, &sets, number)
    }

    /// The numbers of the innermost frames of `stacks`, as a column.
    ///
    /// # Errors
    /// As [`Self::stack_numbers`].
    pub(super) fn leaf_numbers(&self, names: &Names, stacks: &[u32]) -> Result<ArrayRef> {
        self.leaves().number_column(names, &mut self.numbers.lock().leaves, stacks)
    }

    /// The numbers of the outermost frames of `stacks`, as a column.
    ///
    /// # Errors
    /// As [`Self::stack_numbers`].
    pub(super) fn root_numbers(&self, names: &Names, stacks: &[u32]) -> Result<ArrayRef> {
        self.roots().number_column(names, &mut self.numbers.lock().roots, stacks)
    }

    fn leaves(&self) -> &Ends {
        let innermost = || self.sealed.tree.location.iter().map(|of| (*of, 0)).collect::<Vec<_>>();
        self.leaves.get_or_init(|| self.ends(&innermost()))
    }

    fn roots(&self) -> &Ends {
        self.roots.get_or_init(|| self.ends(&self.outermost()))
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
            location != NONE && frame_name(&self.sealed.dictionary, location, line) == name
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
        let none = (NONE, 0);
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
            if location == NONE {
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

    /// The numbers of the ends of `stacks`; `numbers` are those of the names, once they were asked for.
    fn number_column(&self, names: &Names, numbers: &mut Vec<u32>, stacks: &[u32]) -> Result<ArrayRef> {
        if numbers.len() != self.names.len() {
            let texts = || self.names.iter().map(Option::unwrap_or_default);
            *numbers = names.add(|names| texts().map(|text| names.add_text(text)).collect())?;
        }
        let number = |stack: &u32| {
            let key = self.keys[*stack as usize].and_then(|key| usize::try_from(key).ok());
            key.map(|key| numbers[key])
        };
        Ok(Arc::new(stacks.iter().map(number).collect::<UInt32Array>()))
    }
}

/// The numbers of `rows`; `known` are those found before, by row, and `find` finds the others.
fn number_column(
    names: &Names,
    known: &mut [u32],
    rows: &[u32],
    mut find: impl FnMut(u32, &mut Known) -> Result<u32>,
) -> Result<ArrayRef> {
    if rows.iter().any(|row| known[*row as usize] == NONE) {
        names.add(|names| {
            for row in rows {
                if known[*row as usize] == NONE {
                    known[*row as usize] = find(*row, names)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| known[*row as usize]))))
}

/// How many frames a location is; at least 1.
fn frame_count(sealed: &SealedDictionary, location: u32) -> usize {
    sealed.dictionary.locations.line_rows(location).len().max(1)
}
