//! What frames are called: the name of the function, or else the address.

use std::borrow::Cow;

use flamestore_model::NONE;

use crate::byte_strings::index;
use crate::{Dictionary, SealedDictionary};

/// The name of a frame: of line `line_index` (0 is the innermost) of a location. A location without lines is one frame.
///
/// A line without a function, or whose function has no name, and a location without lines are called by their absolute
/// address, `0x…`, or `<unknown>` when that is 0. Invalid UTF-8 is replaced.
///
/// # Panics
/// When there is no such location, or it has lines but not this one.
pub fn frame_name(dictionary: &Dictionary, location: u32, line_index: usize) -> Cow<'_, str> {
    let rows = dictionary.locations.line_rows(location);
    if rows.is_empty() {
        return Cow::Owned(place_name(dictionary, location));
    }
    assert!(line_index < rows.len(), "location {location} has {} lines", rows.len());
    match function_name(dictionary, rows.start + line_index) {
        Some(name) => dictionary.strings.text(name),
        None => Cow::Owned(place_name(dictionary, location)),
    }
}

/// The string that names the function of a line, if it has one.
fn function_name(dictionary: &Dictionary, line: usize) -> Option<u32> {
    match dictionary.locations.line_function[line] {
        NONE => None,
        function => Some(dictionary.functions.name[function as usize]).filter(|name| *name != 0),
    }
}

fn place_name(dictionary: &Dictionary, location: u32) -> String {
    flamestore_model::place_name(dictionary.absolute_address(location))
}

/// The strings that name the frames of each node of a sealed dictionary's tree, laid out in the order of the tree: who names
/// stacks reads it from front to back, where the symbols themselves lie all over.
#[derive(Debug, Default)]
pub struct FrameStrings {
    /// The frames of node `i`, outermost first, are `strings[ends[i - 1]..ends[i]]`.
    ends: Vec<u32>,
    strings: Vec<u32>,
}

impl FrameStrings {
    /// Those of `sealed`.
    ///
    /// # Panics
    /// When a node refers to a location that does not exist.
    pub fn of(sealed: &SealedDictionary) -> Self {
        let SealedDictionary { dictionary, tree, .. } = sealed;
        let mut all = Self { ends: Vec::with_capacity(tree.len()), strings: Vec::with_capacity(tree.len()) };
        all.ends.push(0);
        for location in tree.location.iter().skip(1) {
            let lines = dictionary.locations.line_rows(*location);
            let unnamed = lines.is_empty().then_some(NONE);
            let names = lines.rev().map(|line| function_name(dictionary, line).unwrap_or(NONE));
            all.strings.extend(names.chain(unnamed));
            all.ends.push(index(all.strings.len()));
        }
        all
    }

    /// The strings that name the frames of the nodes from `first` to `last`, one node after the other, the frames of each
    /// outermost first; [`NONE`] for a frame that the place of its node's location names.
    ///
    /// # Panics
    /// When there are no such nodes.
    pub fn of_nodes(&self, first: u32, last: u32) -> &[u32] {
        let start = (first as usize).checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.strings[start as usize..self.ends[last as usize] as usize]
    }

    /// Bytes that it takes.
    pub fn memory_bytes(&self) -> usize {
        4 * (self.ends.len() + self.strings.len())
    }
}

/// The frame names of all locations of a dictionary as ranks: two frames have the same name if and only if they have the
/// same rank, and ranks are in the bytewise order of the names.
pub(crate) struct FrameTable<'a> {
    dictionary: &'a Dictionary,
    /// The frames of location `i`, outermost first, are `ranks[offsets[i]..offsets[i + 1]]`.
    offsets: Vec<u32>,
    ranks: Vec<u32>,
    /// Names that are not strings of the dictionary, by rising rank.
    made: Vec<(u32, String)>,
}

impl<'a> FrameTable<'a> {
    pub(crate) fn new(dictionary: &'a Dictionary) -> Self {
        let locations = &dictionary.locations;
        let mut offsets = Vec::with_capacity(locations.len() + 1);
        let mut ranks = Vec::with_capacity(locations.line_function.len());
        let mut unnamed = Vec::new();
        offsets.push(0);
        for location in 0..index(locations.len()) {
            let rows = locations.line_rows(location);
            if rows.is_empty() {
                unnamed.push((index(ranks.len()), location));
                ranks.push(NONE);
            }
            for row in rows.rev() {
                let name = function_name(dictionary, row);
                if name.is_none() {
                    unnamed.push((index(ranks.len()), location));
                }
                ranks.push(name.unwrap_or(NONE));
            }
            offsets.push(index(ranks.len()));
        }
        let mut table = Self { dictionary, offsets, ranks, made: Vec::new() };
        if !unnamed.is_empty() {
            table.name_places(&unnamed);
        }
        table
    }

    /// Ranks the names made from addresses among the strings, which moves the strings after them.
    fn name_places(&mut self, unnamed: &[(u32, u32)]) {
        let strings = &self.dictionary.strings;
        let mut places: Vec<(String, u32)> =
            unnamed.iter().map(|(frame, location)| (place_name(self.dictionary, *location), *frame)).collect();
        places.sort_unstable();
        // Per made name, the string it comes before; the names before it move it on.
        let mut before: Vec<u32> = Vec::new();
        let mut named: Vec<(u32, u32)> = Vec::with_capacity(places.len());
        let mut strings_named: Vec<(u32, u32)> = Vec::new();
        for (name, frame) in places {
            if self.made.last().is_some_and(|(_, last)| *last == name) {
                named.push((frame, index(self.made.len() - 1)));
                continue;
            }
            match strings.binary_search(name.as_bytes()) {
                Ok(string) => strings_named.push((frame, string)),
                Err(at) => {
                    named.push((frame, index(self.made.len())));
                    self.made.push((at + index(before.len()), name));
                    before.push(at);
                }
            }
        }
        for (frame, string) in strings_named {
            self.ranks[frame as usize] = string;
        }
        for rank in self.ranks.iter_mut().filter(|rank| **rank != NONE) {
            *rank += index(before.partition_point(|at| at <= rank));
        }
        for (frame, made) in named {
            self.ranks[frame as usize] = self.made[made as usize].0;
        }
    }

    /// The ranks of the frames of a location, outermost first; none for the root.
    #[inline]
    pub(crate) fn frames(&self, location: u32) -> &[u32] {
        if location == NONE {
            return &[];
        }
        let location = location as usize;
        &self.ranks[self.offsets[location] as usize..self.offsets[location + 1] as usize]
    }

    /// One more than the largest rank.
    pub(crate) fn len(&self) -> usize {
        self.dictionary.strings.len() + self.made.len()
    }

    /// The name of a rank.
    pub(crate) fn name(&self, rank: u32) -> &[u8] {
        match self.made.binary_search_by_key(&rank, |(rank, _)| *rank) {
            Ok(at) => self.made[at].1.as_bytes(),
            Err(smaller) => self.dictionary.strings.get(rank - index(smaller)),
        }
    }

    /// The rank of a name, if a frame may have it.
    pub(crate) fn rank(&self, name: &[u8]) -> Option<u32> {
        let made = self.made.binary_search_by(|(_, made)| made.as_bytes().cmp(name));
        match (made, self.dictionary.strings.binary_search(name)) {
            (Ok(at), _) => Some(self.made[at].0),
            (Err(smaller), Ok(string)) => Some(string + index(smaller)),
            (Err(_), Err(_)) => None,
        }
    }
}
