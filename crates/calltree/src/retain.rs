//! Part of a dictionary: the symbols some locations use. What is kept keeps its order, so every map rises.

use flamestore_model::{Function, Line, Mapping, NONE};

use crate::byte_strings::index;
use crate::{ByteStrings, Dictionary, Functions, LabelSets, Locations};

/// The dictionary of these locations without label sets, and the new location ids by old id ([`NONE`] where dropped).
pub(crate) fn retain(dictionary: &Dictionary, locations: &[u32]) -> (Dictionary, Vec<u32>) {
    let from = &dictionary.locations;
    let location_map = map(from.len(), locations.iter().copied());
    let kept = || kept(&location_map);
    let mapping_map = map(dictionary.mappings.len(), kept().map(|id| from.mapping[id as usize]));
    let function_map =
        map(dictionary.functions.len(), kept().flat_map(|id| from.line_function[from.line_rows(id)].iter().copied()));
    let string_map = string_map(dictionary, &mapping_map, &function_map);

    let mut strings = ByteStrings::new();
    for id in self::kept(&string_map) {
        strings.push(dictionary.strings.get(id));
    }
    let string = |id: u32| string_map[id as usize];
    let mapping = |id: u32| {
        let mapping = dictionary.mappings[id as usize];
        Mapping { filename: string(mapping.filename), build_id: string(mapping.build_id), ..mapping }
    };
    let mut functions = Functions::default();
    for function in self::kept(&function_map).map(|id| dictionary.functions.get(id)) {
        functions.push(Function {
            name: string(function.name),
            system_name: string(function.system_name),
            filename: string(function.filename),
            start_line: function.start_line,
        });
    }
    let mapped = |map: &[u32], id: u32| if id == NONE { NONE } else { map[id as usize] };
    let mut locations = Locations::default();
    for id in kept() {
        let key = from.key(id);
        let lines = from.lines(id).map(|line| Line { function: mapped(&function_map, line.function), ..line });
        locations.push(mapped(&mapping_map, key.mapping), key.address, key.is_folded, lines);
    }
    let mappings = self::kept(&mapping_map).map(mapping).collect();
    (Dictionary { strings, mappings, functions, locations, label_sets: LabelSets::default() }, location_map)
}

fn string_map(dictionary: &Dictionary, mappings: &[u32], functions: &[u32]) -> Vec<u32> {
    let of_mappings = kept(mappings).flat_map(|id| {
        let mapping = &dictionary.mappings[id as usize];
        [mapping.filename, mapping.build_id]
    });
    let of_functions = kept(functions).flat_map(|id| {
        let function = dictionary.functions.get(id);
        [function.name, function.system_name, function.filename]
    });
    map(dictionary.strings.len(), [0].into_iter().chain(of_mappings).chain(of_functions))
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
