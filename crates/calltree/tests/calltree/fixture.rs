//! Profiles made by hand, and what they must add up to.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flamestore_calltree::{
    Function, Interner, Label, LabelValue, Line, Mapping, NONE, SealSelection, SealedDictionary, ValueTree,
};
use flamestore_model::{Location, ProfileBatch, ProfileHeader, Samples, Strings, Symbols, ValueType};

/// A frame of a location: function name and file, line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// `None` for a line without a function.
    pub(crate) name: Option<&'static str>,
    pub(crate) file: &'static str,
    pub(crate) line: i64,
}

/// A location; lines innermost first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    /// A mapping of [`MAPPINGS`].
    pub(crate) mapping: Option<usize>,
    pub(crate) address: u64,
    pub(crate) lines: Vec<Spot>,
}

/// A sample; the stack root first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) stack: Vec<Place>,
    pub(crate) value: i64,
    pub(crate) labels: Vec<(&'static str, Result<&'static str, i64>)>,
}

/// Start, file name, build id; each 8 KiB long.
pub(crate) const MAPPINGS: [(u64, &str, &str); 3] =
    [(0x1000, "app", "b1"), (0x8000, "lib", ""), (0x20000, "lib2", "b0")];

pub(crate) fn spot(name: &'static str) -> Spot {
    Spot { name: Some(name), file: "", line: 0 }
}

/// A sample from `main;read 3`.
fn sample(text: &'static str) -> Sample {
    let (stack, value) = text.trim().rsplit_once(' ').unwrap_or(("", text.trim()));
    let names = stack.split(';').filter(|name| !name.is_empty());
    let place = |name| Place { mapping: None, address: 0, lines: vec![spot(name)] };
    Sample { stack: names.map(place).collect(), value: value.parse().unwrap(), labels: Vec::new() }
}

/// Samples from `main;read 3 | main;write 1`.
pub(crate) fn samples(text: &'static str) -> Vec<Sample> {
    text.split('|').map(sample).collect()
}

#[derive(Default)]
struct Tables {
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
    functions: Vec<Function>,
    lines: Vec<Line>,
    locations: Vec<Location>,
}

fn id(len: usize) -> u32 {
    u32::try_from(len).unwrap()
}

impl Tables {
    fn string(&mut self, string: &str) -> u32 {
        let known = |span: &(u32, u32)| &self.bytes[span.0 as usize..(span.0 + span.1) as usize] == string.as_bytes();
        if let Some(at) = self.spans.iter().position(known) {
            return id(at);
        }
        self.spans.push((id(self.bytes.len()), id(string.len())));
        self.bytes.extend(string.as_bytes());
        id(self.spans.len() - 1)
    }

    fn function(&mut self, spot: &Spot) -> u32 {
        let Some(name) = spot.name else { return NONE };
        let (name, filename) = (self.string(name), self.string(spot.file));
        let function = Function { name, system_name: name, filename, start_line: 0 };
        let at = self.functions.iter().position(|known| *known == function).unwrap_or_else(|| {
            self.functions.push(function);
            self.functions.len() - 1
        });
        id(at)
    }

    fn location(&mut self, place: &Place) -> u32 {
        let lines_start = id(self.lines.len());
        for spot in &place.lines {
            let function = self.function(spot);
            self.lines.push(Line { function, line: spot.line, column: 0 });
        }
        let lines_end = id(self.lines.len());
        let mapping = place.mapping.map_or(NONE, id);
        self.locations.push(Location { mapping, address: place.address, is_folded: false, lines_start, lines_end });
        id(self.locations.len() - 1)
    }
}

/// A batch of these samples, every mapping moved by `slide`.
pub(crate) fn batch_at(samples: &[Sample], slide: u64) -> ProfileBatch {
    let mut tables = Tables::default();
    tables.string("");
    let ty = ValueType { ty: tables.string("cpu"), unit: tables.string("count") };
    let mappings = MAPPINGS.iter().map(|(start, filename, build_id)| Mapping {
        memory_start: start + slide,
        memory_limit: start + slide + 8192,
        filename: tables.string(filename),
        build_id: tables.string(build_id),
        ..Mapping::default()
    });
    let mappings = mappings.collect();
    let mut places: BTreeMap<&Place, u32> = BTreeMap::new();
    let mut columns = Samples { stack_offsets: vec![0], label_offsets: vec![0], ..Samples::default() };
    for sample in samples {
        for place in sample.stack.iter().rev() {
            let location = *places.entry(place).or_insert_with(|| {
                let moved = if place.mapping.is_some() { slide } else { 0 };
                tables.location(&Place { address: place.address + moved, ..place.clone() })
            });
            columns.stack_locations.push(location);
        }
        columns.stack_offsets.push(id(columns.stack_locations.len()));
        columns.values.push(sample.value);
        for (key, value) in &sample.labels {
            let value = match value {
                Ok(text) => LabelValue::Str(tables.string(text)),
                Err(number) => LabelValue::Num(*number, tables.string("bytes")),
            };
            columns.labels.push(Label { key: tables.string(key), value });
        }
        columns.label_offsets.push(id(columns.labels.len()));
    }
    let Tables { bytes, spans, functions, lines, locations } = tables;
    let strings = Strings::from_spans(Bytes::from(bytes), spans).unwrap();
    let batch = ProfileBatch {
        header: ProfileHeader { sample_types: vec![ty], ..ProfileHeader::default() },
        symbols: Symbols { strings, mappings, functions, lines, locations },
        samples: columns,
    };
    batch.check().unwrap();
    batch
}

pub(crate) fn batch(samples: &[Sample]) -> ProfileBatch {
    batch_at(samples, 0)
}

/// The sealed form of everything interned and one value per stack.
pub(crate) fn seal(interner: &Interner, stacks: &[u32], values: &[i64]) -> (SealedDictionary, Vec<i64>) {
    let sealed = interner.seal(&SealSelection::default()).sealed;
    sealed.check().unwrap();
    let mut sums = vec![0_i64; sealed.leaves.len()];
    for (stack, value) in stacks.iter().zip(values) {
        sums[*stack as usize] += value;
    }
    (sealed, sums)
}

/// The value tree of these samples by way of an interner.
pub(crate) fn tree(samples: &[Sample]) -> ValueTree {
    tree_at(samples, 0)
}

/// The same from a process whose mappings are moved by `slide`.
pub(crate) fn tree_at(samples: &[Sample], slide: u64) -> ValueTree {
    let batch = batch_at(samples, slide);
    let mut interner = Interner::new(7);
    let interned = interner.intern(&batch).unwrap();
    let (sealed, sums) = seal(&interner, &interned.stacks, &batch.samples.values);
    let tree = ValueTree::from_stacks(Arc::clone(&sealed.dictionary), &sealed.tree, &sealed.leaves, &[&sums]);
    check_tree(&tree);
    tree
}

pub(crate) fn text_tree(text: &'static str) -> ValueTree {
    tree(&samples(text))
}

pub(crate) fn check_tree(tree: &ValueTree) {
    tree.dictionary.check().unwrap();
    tree.tree.check(&tree.dictionary).unwrap();
}

/// The frame names of a sample, root first.
pub(crate) fn names(sample: &Sample) -> Vec<String> {
    let place_name = |place: &Place| match place.address {
        0 => "<unknown>".to_owned(),
        address => format!("0x{address:x}"),
    };
    let mut names = Vec::new();
    for place in &sample.stack {
        if place.lines.is_empty() {
            names.push(place_name(place));
        }
        for spot in place.lines.iter().rev() {
            let name = spot.name.filter(|name| !name.is_empty());
            names.push(name.map_or_else(|| place_name(place), str::to_owned));
        }
    }
    names
}

/// Sums by folded text, the plain way.
pub(crate) fn folded(samples: &[Sample]) -> Vec<(String, Vec<i64>)> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for sample in samples {
        *sums.entry(names(sample).join(";")).or_default() += sample.value;
    }
    sums.into_iter().filter(|(_, value)| *value != 0).map(|(text, value)| (text, vec![value])).collect()
}
