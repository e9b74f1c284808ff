//! Builds a [`ProfileBatch`] from names: for tests, folded text, a profiler of our own, and the export of query results.
//!
//! Strings, functions and locations are kept once, however often they are named; samples are kept as added.

use std::hash::BuildHasher;

use bytes::Bytes;
use flamestore_model::{
    Error, Function, Label, LabelValue, Line, Location, Mapping, NONE, ProfileBatch, ProfileHeader, Result, Samples,
    Strings, Symbols, ValueType,
};
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

/// The value of a label, as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelText<'a> {
    /// A string.
    Str(&'a str),
    /// A number and its unit (empty if absent).
    Num(i64, &'a str),
}

/// A profile that grows sample by sample.
#[derive(Debug)]
pub struct ProfileBuilder {
    header: ProfileHeader,
    bytes: Vec<u8>,
    spans: Vec<(u32, u32)>,
    hasher: DefaultHashBuilder,
    /// Ids, found by what they stand for; so are the next ones.
    string_ids: HashTable<u32>,
    mappings: Vec<Mapping>,
    functions: Vec<Function>,
    function_ids: HashTable<u32>,
    lines: Vec<Line>,
    locations: Vec<Location>,
    location_ids: HashTable<u32>,
    samples: Samples,
}

impl Default for ProfileBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ProfileBuilder {
    /// A profile without sample types and samples.
    pub fn new() -> Self {
        let mut empty = Self {
            header: ProfileHeader::default(),
            bytes: Vec::new(),
            spans: Vec::new(),
            hasher: DefaultHashBuilder::default(),
            string_ids: HashTable::new(),
            mappings: Vec::new(),
            functions: Vec::new(),
            function_ids: HashTable::new(),
            lines: Vec::new(),
            locations: Vec::new(),
            location_ids: HashTable::new(),
            samples: Samples { stack_offsets: vec![0], label_offsets: vec![0], ..Samples::default() },
        };
        empty.string("");
        empty
    }

    /// The id of a string, which need not be UTF-8.
    pub fn string(&mut self, text: impl AsRef<[u8]>) -> u32 {
        let text = text.as_ref();
        let Self { hasher, bytes, spans, string_ids, .. } = self;
        let of = |id: &u32| {
            let (start, length) = spans[*id as usize];
            bytes.get(start as usize..start as usize + length as usize).unwrap_or_default()
        };
        match string_ids.entry(hasher.hash_one(text), |id| of(id) == text, |id| hasher.hash_one(of(id))) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let id = row(spans.len());
                vacant.insert(id);
                spans.push((row(bytes.len()), row(text.len())));
                bytes.extend_from_slice(text);
                id
            }
        }
    }

    /// How many strings there are.
    pub(crate) fn strings_len(&self) -> usize {
        self.spans.len()
    }

    /// A type and its unit, as ids.
    pub fn value_type(&mut self, ty: &str, unit: &str) -> ValueType {
        ValueType { ty: self.string(ty), unit: self.string(unit) }
    }

    /// Adds a column of values. All come before the first sample.
    pub fn sample_type(&mut self, ty: &str, unit: &str) -> &mut Self {
        let ty = self.value_type(ty, unit);
        self.header.sample_types.push(ty);
        self
    }

    /// Sets what is counted between two samples and how much of it.
    pub fn period(&mut self, ty: &str, unit: &str, period: i64) -> &mut Self {
        self.header.period_type = self.value_type(ty, unit);
        self.header.period = period;
        self
    }

    /// Sets when the profile was taken (nanoseconds since 1970) and how many nanoseconds it took.
    pub fn time(&mut self, time_unix_nano: i64, duration_nano: i64) -> &mut Self {
        self.header.time_unix_nano = time_unix_nano;
        self.header.duration_nano = duration_nano;
        self
    }

    /// Adds a line of free text.
    pub fn comment(&mut self, text: &str) -> &mut Self {
        let id = self.string(text);
        self.header.comments.push(id);
        self
    }

    /// What the profile says of itself, for what has no method here.
    pub fn header_mut(&mut self) -> &mut ProfileHeader {
        &mut self.header
    }

    /// The id of a mapping; equal ones are kept once. The first one stands for the main binary.
    pub fn mapping(&mut self, mapping: Mapping) -> u32 {
        if let Some(id) = self.mappings.iter().position(|m| *m == mapping) {
            return row(id);
        }
        self.mappings.push(mapping);
        row(self.mappings.len() - 1)
    }

    /// The id of a function; equal ones are kept once.
    pub fn function(&mut self, function: Function) -> u32 {
        let Self { hasher, functions, function_ids, .. } = self;
        let of = |id: &u32| functions[*id as usize];
        match function_ids.entry(hasher.hash_one(function), |id| of(id) == function, |id| hasher.hash_one(of(id))) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let id = row(functions.len());
                vacant.insert(id);
                functions.push(function);
                id
            }
        }
    }

    /// The id of a location; equal ones are kept once. `lines`: innermost inlined function first.
    pub fn location(&mut self, mapping: u32, address: u64, is_folded: bool, lines: &[Line]) -> u32 {
        let Self { hasher, lines: all_lines, locations, location_ids, .. } = self;
        let key = (mapping, address, is_folded, lines);
        let of = |id: &u32| {
            let location = &locations[*id as usize];
            let lines = &all_lines[location.lines_start as usize..location.lines_end as usize];
            (location.mapping, location.address, location.is_folded, lines)
        };
        match location_ids.entry(hasher.hash_one(key), |id| of(id) == key, |id| hasher.hash_one(of(id))) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let id = row(locations.len());
                vacant.insert(id);
                let lines_start = row(all_lines.len());
                all_lines.extend_from_slice(lines);
                let lines_end = row(all_lines.len());
                locations.push(Location { mapping, address, is_folded, lines_start, lines_end });
                id
            }
        }
    }

    /// The id of a location that is known by its function's name only.
    pub fn frame(&mut self, name: impl AsRef<[u8]>) -> u32 {
        let name = self.string(name);
        let function = self.function(Function { name, system_name: name, ..Function::default() });
        self.location(NONE, 0, false, &[Line { function, line: 0, column: 0 }])
    }

    /// A label, as ids.
    pub fn label(&mut self, key: &str, value: LabelText<'_>) -> Label {
        let key = self.string(key);
        let value = match value {
            LabelText::Str(text) => LabelValue::Str(self.string(text)),
            LabelText::Num(number, unit) => LabelValue::Num(number, self.string(unit)),
        };
        Label { key, value }
    }

    /// Adds a sample: `frames` are function names, **root first** as in folded text; one value per sample type.
    pub fn add_sample(&mut self, frames: &[&str], values: &[i64], labels: &[(&str, LabelText<'_>)]) -> &mut Self {
        let stack: Vec<u32> = frames.iter().rev().map(|name| self.frame(name)).collect();
        let labels: Vec<Label> = labels.iter().map(|(key, value)| self.label(key, *value)).collect();
        self.add_row(&stack, values, &labels)
    }

    /// Adds a sample by ids: `stack` are locations, **leaf first** as in a batch; one value per sample type.
    pub fn add_row(&mut self, stack: &[u32], values: &[i64], labels: &[Label]) -> &mut Self {
        self.samples.stack_locations.extend_from_slice(stack);
        self.samples.stack_offsets.push(row(self.samples.stack_locations.len()));
        self.samples.values.extend_from_slice(values);
        self.samples.labels.extend_from_slice(labels);
        self.samples.label_offsets.push(row(self.samples.labels.len()));
        self
    }

    /// Makes room for `rows` samples with so many values and labels each.
    pub(crate) fn reserve_rows(&mut self, rows: usize, values: usize, labels: usize) {
        self.samples.stack_offsets.reserve(rows);
        self.samples.label_offsets.reserve(rows);
        self.samples.values.reserve(rows * values);
        self.samples.labels.reserve(rows * labels);
    }

    /// The profile.
    ///
    /// # Errors
    /// `Invalid` when there is no sample type, a sample had another number of values, or an id was not given by this
    /// builder; `Exhausted` when a table has 2³² rows or more.
    pub fn finish(self) -> Result<ProfileBatch> {
        let mut samples = self.samples;
        let lengths =
            [self.bytes.len(), self.spans.len(), self.lines.len(), samples.stack_locations.len(), samples.labels.len()];
        if let Some(rows) = lengths.iter().find(|rows| **rows >= NONE as usize) {
            return Err(Error::exhausted("a table of the profile has too many rows")
                .with("limit", NONE)
                .with("found", rows));
        }
        if samples.labels.is_empty() {
            samples.label_offsets.clear();
        }
        let strings = Strings::from_spans(Bytes::from(self.bytes), self.spans)?;
        let Self { header, mappings, functions, lines, locations, .. } = self;
        let batch =
            ProfileBatch { header, symbols: Symbols { strings, mappings, functions, lines, locations }, samples };
        batch.check()?;
        Ok(batch)
    }
}

/// A row number or an offset; what does not fit becomes [`NONE`], which [`ProfileBuilder::finish`] refuses.
fn row(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}
