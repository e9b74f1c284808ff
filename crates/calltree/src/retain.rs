//! Part of a dictionary: the symbols that some stacks, mappings and label sets use. What is kept keeps its order, so every
//! map rises.

use flamestore_model::{Function, Label, LabelValue, Line, Mapping, NONE};

use crate::byte_strings::index;
use crate::symbols::label_order;
use crate::{ByteStrings, CallTree, Dictionary, Functions, LabelSets, Locations, SealedDictionary};

/// Which rows of a sealed dictionary to keep, one flag a row. What they refer to is kept with them.
#[derive(Clone, Debug)]
pub struct Keep {
    /// The stacks.
    pub stacks: Vec<bool>,
    /// The mappings, beside those of the stacks.
    pub mappings: Vec<bool>,
    /// The label sets.
    pub label_sets: Vec<bool>,
}

/// A part of a sealed dictionary. The maps give new ids by old id, [`NONE`] where dropped; they rise.
#[derive(Clone, Debug)]
pub struct Retained {
    /// The part.
    pub sealed: SealedDictionary,
    /// New stack ids.
    pub stacks: Vec<u32>,
    /// New mapping ids.
    pub mappings: Vec<u32>,
    /// New label set ids.
    pub label_sets: Vec<u32>,
}

impl Keep {
    /// Nothing of `sealed`, yet.
    pub fn nothing(sealed: &SealedDictionary) -> Self {
        Self {
            stacks: vec![false; sealed.leaves.len()],
            mappings: vec![false; sealed.dictionary.mappings.len()],
            label_sets: vec![false; sealed.dictionary.label_sets.len()],
        }
    }

    /// Whether every stack and label set is kept. Mappings are not asked: those of the stacks are kept anyway.
    pub fn is_all(&self) -> bool {
        self.stacks.iter().chain(&self.label_sets).all(|kept| *kept)
    }
}

impl SealedDictionary {
    /// The part of it that `keep` names.
    ///
    /// # Panics
    /// When `keep` is not as long as the tables.
    pub fn retain(&self, keep: &Keep) -> Retained {
        assert_eq!(keep.stacks.len(), self.leaves.len(), "one flag per stack");
        let stacks = map(self.leaves.len(), chosen(&keep.stacks));
        let nodes = nodes(&self.tree, kept(&stacks).map(|stack| self.leaves[stack as usize]));
        let locations = kept(&nodes).skip(1).map(|node| self.tree.location[node as usize]);
        let used = Used {
            locations: map(self.dictionary.locations.len(), locations),
            mappings: chosen(&keep.mappings).collect(),
            label_sets: map(self.dictionary.label_sets.len(), chosen(&keep.label_sets)),
        };
        let part = retain_used(&self.dictionary, used);
        let tree = CallTree {
            parent: kept(&nodes).map(|node| nodes[self.tree.parent[node as usize] as usize]).collect(),
            location: kept(&nodes).map(|node| mapped(&part.locations, self.tree.location[node as usize])).collect(),
        };
        let leaves = kept(&stacks).map(|stack| nodes[self.leaves[stack as usize] as usize]).collect();
        Retained {
            sealed: SealedDictionary { dictionary: part.dictionary.into(), tree, leaves },
            stacks,
            mappings: part.mappings,
            label_sets: part.label_sets,
        }
    }
}

/// The new nodes by old node of the smallest tree that has `leaves`.
fn nodes(tree: &CallTree, leaves: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut used = vec![false; tree.len()];
    used[0] = true;
    for leaf in leaves {
        used[leaf as usize] = true;
    }
    for node in (1..tree.len()).rev() {
        if used[node] {
            used[tree.parent[node] as usize] = true;
        }
    }
    map(used.len(), chosen(&used))
}

fn chosen(flags: &[bool]) -> impl Iterator<Item = u32> {
    flags.iter().enumerate().filter(|(_, chosen)| **chosen).map(|(row, _)| index(row))
}

fn mapped(map: &[u32], id: u32) -> u32 {
    if id == NONE { NONE } else { map[id as usize] }
}

/// What is kept: maps of locations and label sets, and mappings that no location needs to use.
struct Used {
    locations: Vec<u32>,
    mappings: Vec<u32>,
    label_sets: Vec<u32>,
}

/// A part of a dictionary, and new ids by old id.
struct Part {
    dictionary: Dictionary,
    locations: Vec<u32>,
    mappings: Vec<u32>,
    label_sets: Vec<u32>,
}

/// The dictionary of these locations without label sets, and the new location ids by old id ([`NONE`] where dropped).
pub(crate) fn retain(dictionary: &Dictionary, locations: &[u32]) -> (Dictionary, Vec<u32>) {
    let used = Used {
        locations: map(dictionary.locations.len(), locations.iter().copied()),
        mappings: Vec::new(),
        label_sets: vec![NONE; dictionary.label_sets.len()],
    };
    let part = retain_used(dictionary, used);
    (part.dictionary, part.locations)
}

fn retain_used(dictionary: &Dictionary, used: Used) -> Part {
    let from = &dictionary.locations;
    let Used { locations: location_map, mappings: more, label_sets: label_set_map } = used;
    let kept_locations = || kept(&location_map);
    let of_locations = kept_locations().map(|id| from.mapping[id as usize]);
    let mapping_map = map(dictionary.mappings.len(), of_locations.chain(more));
    let function_map = map(
        dictionary.functions.len(),
        kept_locations().flat_map(|id| from.line_function[from.line_rows(id)].iter().copied()),
    );
    let string_map = string_map(dictionary, &mapping_map, &function_map, &label_set_map);
    let string = |id: u32| string_map[id as usize];

    let mut strings = ByteStrings::new();
    for id in kept(&string_map) {
        strings.push(dictionary.strings.get(id));
    }
    let mapping = |id: u32| {
        let mapping = dictionary.mappings[id as usize];
        Mapping { filename: string(mapping.filename), build_id: string(mapping.build_id), ..mapping }
    };
    let mut functions = Functions::default();
    for function in kept(&function_map).map(|id| dictionary.functions.get(id)) {
        functions.push(Function {
            name: string(function.name),
            system_name: string(function.system_name),
            filename: string(function.filename),
            start_line: function.start_line,
        });
    }
    let mut locations = Locations::default();
    for id in kept_locations() {
        let key = from.key(id);
        let lines = from.lines(id).map(|line| Line { function: mapped(&function_map, line.function), ..line });
        locations.push(mapped(&mapping_map, key.mapping), key.address, key.is_folded, lines);
    }
    let mappings = kept(&mapping_map).map(mapping).collect();
    let label_sets = retain_label_sets(dictionary, &label_set_map, &string_map);
    let dictionary = Dictionary { strings, mappings, functions, locations, label_sets };
    Part { dictionary, locations: location_map, mappings: mapping_map, label_sets: label_set_map }
}

fn retain_label_sets(dictionary: &Dictionary, label_sets: &[u32], strings: &[u32]) -> LabelSets {
    let label = |label: &Label| Label {
        key: strings[label.key as usize],
        value: match label.value {
            LabelValue::Str(id) => LabelValue::Str(strings[id as usize]),
            LabelValue::Num(number, unit) => LabelValue::Num(number, strings[unit as usize]),
        },
    };
    let mut kept_sets = LabelSets::default();
    for id in kept(label_sets) {
        kept_sets.push(dictionary.label_sets.get(id).iter().map(label));
    }
    kept_sets
}

fn string_map(dictionary: &Dictionary, mappings: &[u32], functions: &[u32], label_sets: &[u32]) -> Vec<u32> {
    let of_mappings = kept(mappings).flat_map(|id| {
        let mapping = &dictionary.mappings[id as usize];
        [mapping.filename, mapping.build_id]
    });
    let of_functions = kept(functions).flat_map(|id| {
        let function = dictionary.functions.get(id);
        [function.name, function.system_name, function.filename]
    });
    let labels = kept(label_sets).flat_map(|id| dictionary.label_sets.get(id));
    let of_label_sets = labels.flat_map(|label| [label.key, label_order(label).3]);
    map(dictionary.strings.len(), [0].into_iter().chain(of_mappings).chain(of_functions).chain(of_label_sets))
}

/// New ids by old id for the old ids `used`, in their old order; [`NONE`] for the others.
fn map(len: usize, used: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut map = vec![NONE; len];
    for id in used.filter(|id| *id != NONE) {
        map[id as usize] = 0;
    }
    for (new, slot) in map.iter_mut().filter(|slot| **slot != NONE).enumerate() {
        *slot = index(new);
    }
    map
}

fn kept(map: &[u32]) -> impl Iterator<Item = u32> {
    map.iter().enumerate().filter(|(_, new)| **new != NONE).map(|(old, _)| index(old))
}
