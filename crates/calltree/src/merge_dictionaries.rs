//! The union of dictionaries. Strings are compared as bytes; everything else as integers, through the maps made before it.
//! Inputs are sorted and every map rises, so each table is one k-way merge, linear in its size.

use flamestore_model::{Label, LabelValue, Line, Mapping, NONE};

use crate::byte_strings::index;
use crate::dictionary::mapping_key;
use crate::symbols::{LocationKey, label_order};
use crate::union::{Remaps, Row, union};
use crate::{ByteStrings, Dictionary, Functions, LabelSets, Locations};

/// New ids by old id, per table of one input. Every map is total and rises strictly with the old id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DictionaryRemap {
    /// New string ids.
    pub strings: Vec<u32>,
    /// New mapping ids.
    pub mappings: Vec<u32>,
    /// New function ids.
    pub functions: Vec<u32>,
    /// New location ids.
    pub locations: Vec<u32>,
    /// New label set ids.
    pub label_sets: Vec<u32>,
}

/// The union of dictionaries and how to get there.
#[derive(Clone, Debug)]
pub struct MergedDictionary {
    /// The union, in canonical order.
    pub dictionary: Dictionary,
    /// One per input.
    pub remaps: Vec<DictionaryRemap>,
}

/// The union of dictionaries. Where the same file is mapped at different addresses, the mapping that is least by file name,
/// then address, then flags stands for all, whatever the order of the inputs.
///
/// # Panics
/// When the union has 2³² − 1 rows in a table, or 4 GiB of strings. Inputs must be in canonical order
/// ([`Dictionary::check`]).
pub fn merge_dictionaries(inputs: &[&Dictionary]) -> MergedDictionary {
    let (distinct, input_of) = distinct(inputs);
    let (dictionary, remaps) = match distinct[..] {
        [] => (Dictionary::default(), Vec::new()),
        [single] => (single.clone(), vec![DictionaryRemap::identity(single)]),
        _ => merge_distinct(&distinct),
    };
    MergedDictionary { dictionary, remaps: input_of.into_iter().map(|at| remaps[at].clone()).collect() }
}

/// The inputs without repetitions, and where each input is among them.
fn distinct<'a>(inputs: &[&'a Dictionary]) -> (Vec<&'a Dictionary>, Vec<usize>) {
    let mut distinct: Vec<&Dictionary> = Vec::new();
    let mut input_of = Vec::with_capacity(inputs.len());
    for &input in inputs {
        let known = distinct.iter().position(|known| std::ptr::eq(*known, input) || *known == input);
        input_of.push(known.unwrap_or(distinct.len()));
        if known.is_none() {
            distinct.push(input);
        }
    }
    (distinct, input_of)
}

impl DictionaryRemap {
    fn identity(dictionary: &Dictionary) -> Self {
        let rows = |len: usize| (0..index(len)).collect();
        Self {
            strings: rows(dictionary.strings.len()),
            mappings: rows(dictionary.mappings.len()),
            functions: rows(dictionary.functions.len()),
            locations: rows(dictionary.locations.len()),
            label_sets: rows(dictionary.label_sets.len()),
        }
    }
}

fn merge_distinct(inputs: &[&Dictionary]) -> (Dictionary, Vec<DictionaryRemap>) {
    let (strings, string_maps) = merge_strings(inputs);
    let (mappings, mapping_maps) = merge_mappings(inputs, &string_maps);
    let (functions, function_maps) = merge_functions(inputs, &string_maps);
    let (locations, location_maps) = merge_locations(inputs, &mapping_maps, &function_maps);
    let (label_sets, label_set_maps) = merge_label_sets(inputs, &string_maps);
    let maps = string_maps.into_iter().zip(mapping_maps).zip(function_maps).zip(location_maps).zip(label_set_maps);
    let remap = |((((strings, mappings), functions), locations), label_sets)| DictionaryRemap {
        strings,
        mappings,
        functions,
        locations,
        label_sets,
    };
    (Dictionary { strings, mappings, functions, locations, label_sets }, maps.map(remap).collect())
}

fn lengths(inputs: &[&Dictionary], length: impl Fn(&Dictionary) -> usize) -> Vec<usize> {
    inputs.iter().map(|input| length(input)).collect()
}

fn merge_strings(inputs: &[&Dictionary]) -> (ByteStrings, Vec<Vec<u32>>) {
    let lengths = lengths(inputs, |input| input.strings.len());
    let get = |row: Row| inputs[row.run].strings.get(row.row);
    let bytes = inputs.iter().map(|input| input.strings.bytes().len()).max().unwrap_or_default();
    let mut strings = ByteStrings::with_capacity(lengths.iter().copied().max().unwrap_or_default(), bytes);
    let mut remaps = Remaps::new(&lengths);
    union(
        &lengths,
        |a, b| get(a).cmp(get(b)),
        |row, is_new| {
            remaps.note(row, is_new);
            if is_new {
                strings.push(get(row));
            }
        },
    );
    (strings, remaps.maps)
}

fn merge_mappings(inputs: &[&Dictionary], string_maps: &[Vec<u32>]) -> (Vec<Mapping>, Vec<Vec<u32>>) {
    let lengths = lengths(inputs, |input| input.mappings.len());
    let get = |row: Row| {
        let mapping = inputs[row.run].mappings[row.row as usize];
        let strings = &string_maps[row.run];
        let (filename, build_id) = (strings[mapping.filename as usize], strings[mapping.build_id as usize]);
        Mapping { filename, build_id, ..mapping }
    };
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut remaps = Remaps::new(&lengths);
    union(
        &lengths,
        |a, b| mapping_key(&get(a)).cmp(&mapping_key(&get(b))),
        |row, is_new| {
            remaps.note(row, is_new);
            let mapping = get(row);
            match mappings.last_mut().filter(|_| !is_new) {
                None => mappings.push(mapping),
                Some(kept) if precedence(&mapping) < precedence(kept) => *kept = mapping,
                Some(_) => {}
            }
        },
    );
    (mappings, remaps.maps)
}

/// Which of two mappings of one key stands for both: the lesser. It does not matter in which order they come.
fn precedence(mapping: &Mapping) -> impl Ord + use<> {
    let flags = [mapping.has_functions, mapping.has_filenames, mapping.has_line_numbers, mapping.has_inline_frames];
    (mapping.build_id, mapping.filename, mapping.memory_start, mapping.memory_limit, flags)
}

fn merge_functions(inputs: &[&Dictionary], string_maps: &[Vec<u32>]) -> (Functions, Vec<Vec<u32>>) {
    let lengths = lengths(inputs, |input| input.functions.len());
    let get = |row: Row| {
        let mut function = inputs[row.run].functions.get(row.row);
        for string in [&mut function.name, &mut function.system_name, &mut function.filename] {
            *string = string_maps[row.run][*string as usize];
        }
        function
    };
    let key = |row: Row| {
        let function = get(row);
        (function.name, function.system_name, function.filename, function.start_line)
    };
    let mut functions = Functions::default();
    let mut remaps = Remaps::new(&lengths);
    union(
        &lengths,
        |a, b| key(a).cmp(&key(b)),
        |row, is_new| {
            remaps.note(row, is_new);
            if is_new {
                functions.push(get(row));
            }
        },
    );
    (functions, remaps.maps)
}

fn merge_locations(
    inputs: &[&Dictionary],
    mapping_maps: &[Vec<u32>],
    function_maps: &[Vec<u32>],
) -> (Locations, Vec<Vec<u32>>) {
    let lengths = lengths(inputs, |input| input.locations.len());
    let mapped = |ids: &[u32], id: u32| if id == NONE { NONE } else { ids[id as usize] };
    let line_functions: Vec<Vec<u32>> = inputs
        .iter()
        .zip(function_maps)
        .map(|(input, ids)| input.locations.line_function.iter().map(|id| mapped(ids, *id)).collect())
        .collect();
    let key = |row: Row| {
        let locations = &inputs[row.run].locations;
        let key = locations.key(row.row);
        LocationKey {
            functions: &line_functions[row.run][locations.line_rows(row.row)],
            mapping: mapped(&mapping_maps[row.run], key.mapping),
            ..key
        }
    };
    let mut locations = Locations::default();
    let mut remaps = Remaps::new(&lengths);
    union(
        &lengths,
        |a, b| key(a).compare(&key(b)),
        |row, is_new| {
            remaps.note(row, is_new);
            if is_new {
                let key = key(row);
                let columns = key.lines.iter().zip(key.columns);
                let lines = key.functions.iter().zip(columns);
                let lines = lines.map(|(&function, (&line, &column))| Line { function, line, column });
                locations.push(key.mapping, key.address, key.is_folded, lines);
            }
        },
    );
    (locations, remaps.maps)
}

fn merge_label_sets(inputs: &[&Dictionary], string_maps: &[Vec<u32>]) -> (LabelSets, Vec<Vec<u32>>) {
    let lengths = lengths(inputs, |input| input.label_sets.len());
    let labels = |row: Row| {
        let strings = &string_maps[row.run];
        inputs[row.run].label_sets.get(row.row).iter().map(|label| Label {
            key: strings[label.key as usize],
            value: match label.value {
                LabelValue::Str(id) => LabelValue::Str(strings[id as usize]),
                LabelValue::Num(number, unit) => LabelValue::Num(number, strings[unit as usize]),
            },
        })
    };
    let key = |row: Row| labels(row).map(|label| label_order(&label));
    let mut label_sets = LabelSets::default();
    let mut remaps = Remaps::new(&lengths);
    union(
        &lengths,
        |a, b| key(a).cmp(key(b)),
        |row, is_new| {
            remaps.note(row, is_new);
            if is_new {
                label_sets.push(labels(row));
            }
        },
    );
    (label_sets, remaps.maps)
}
