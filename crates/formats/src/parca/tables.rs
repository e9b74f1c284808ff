//! The tables that all profiles of a request share, grown row by row under limits. What is equal is kept once.
//!
//! Views and runs let few bytes name the same text or the same lines a million times. So what is looked up is counted too:
//! [`LOOKED_UP_MAX`] times `decompressed_bytes_max` of text, and as many lines as there may be locations of stacks.

use std::hash::BuildHasher;

use bytes::Bytes;
use flamestore_model::{Function, Line, Location, Mapping, NONE, Result};
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::Limits;
use crate::gather::Tables;
use crate::limits::within;
use crate::wire::Span;

/// How often all text of the limit may be looked up.
const LOOKED_UP_MAX: usize = 16;

/// See the module. String 0 is the empty one.
pub(super) struct TableBuilder {
    limits: Limits,
    hasher: DefaultHashBuilder,
    text_looked_up: usize,
    lines_looked_up: usize,
    text: Vec<u8>,
    strings: Vec<Span>,
    string_ids: HashTable<u32>,
    mappings: Vec<Mapping>,
    mapping_ids: HashMap<Mapping, u32>,
    functions: Vec<Function>,
    function_ids: HashMap<Function, u32>,
    lines: Vec<Line>,
    locations: Vec<Location>,
    location_ids: HashTable<u32>,
}

/// Tables that grow no more.
#[derive(Clone, Debug)]
pub(super) struct BuiltTables {
    text: Bytes,
    strings: Vec<Span>,
    mappings: Vec<Mapping>,
    functions: Vec<Function>,
    lines: Vec<Line>,
    locations: Vec<Location>,
}

impl TableBuilder {
    /// Tables without rows but for the empty string.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            hasher: DefaultHashBuilder::default(),
            text_looked_up: 0,
            lines_looked_up: 0,
            text: Vec::new(),
            strings: vec![(0, 0)],
            string_ids: HashTable::new(),
            mappings: Vec::new(),
            mapping_ids: HashMap::new(),
            functions: Vec::new(),
            function_ids: HashMap::new(),
            lines: Vec::new(),
            locations: Vec::new(),
            location_ids: HashTable::new(),
        }
    }

    /// The limits.
    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The number of a string.
    ///
    /// # Errors
    /// `Exhausted` over `string_bytes_max`, `strings_max`, `decompressed_bytes_max` and what may be looked up.
    pub(super) fn string(&mut self, bytes: &[u8]) -> Result<u32> {
        if bytes.is_empty() {
            return Ok(0);
        }
        within("string_bytes_max", self.limits.string_bytes_max, bytes.len())?;
        self.text_looked_up = self.text_looked_up.saturating_add(bytes.len());
        let max = self.limits.decompressed_bytes_max.saturating_mul(LOOKED_UP_MAX);
        within("bytes of Arrow text in all rows", max, self.text_looked_up)?;
        let Self { limits, hasher, text, strings, string_ids, .. } = self;
        let hash = hasher.hash_one(bytes);
        if let Some(id) = string_ids.find(hash, |id| slice(text, strings[*id as usize]) == bytes) {
            return Ok(*id);
        }
        within("strings_max", limits.strings_max, strings.len() + 1)?;
        within("decompressed_bytes_max", limits.decompressed_bytes(), text.len() + bytes.len())?;
        let id = row(strings.len());
        strings.push((row(text.len()), row(bytes.len())));
        text.extend_from_slice(bytes);
        string_ids.insert_unique(hash, id, |id| hasher.hash_one(slice(text, strings[*id as usize])));
        Ok(id)
    }

    /// The number of a mapping; [`NONE`] for one that says nothing.
    ///
    /// # Errors
    /// `Exhausted` over `mappings_max`.
    pub(super) fn mapping(&mut self, mapping: Mapping) -> Result<u32> {
        if mapping == Mapping::default() {
            return Ok(NONE);
        }
        let next = self.mappings.len();
        let id = *self.mapping_ids.entry(mapping).or_insert(row(next));
        if id as usize == next {
            within("mappings_max", self.limits.mappings_max, next + 1)?;
            self.mappings.push(mapping);
        }
        Ok(id)
    }

    /// The number of a function; [`NONE`] for one that says nothing.
    ///
    /// # Errors
    /// `Exhausted` over `functions_max`.
    pub(super) fn function(&mut self, function: Function) -> Result<u32> {
        if function == Function::default() {
            return Ok(NONE);
        }
        let next = self.functions.len();
        let id = *self.function_ids.entry(function).or_insert(row(next));
        if id as usize == next {
            within("functions_max", self.limits.functions_max, next + 1)?;
            self.functions.push(function);
        }
        Ok(id)
    }

    /// The number of a location. `lines`: innermost inlined function first.
    ///
    /// # Errors
    /// `Exhausted` over `lines_per_location_max`, `lines_max`, `locations_max` and what may be looked up.
    pub(super) fn location(&mut self, mapping: u32, address: u64, lines: &[Line]) -> Result<u32> {
        within("lines_per_location_max", self.limits.lines_per_location_max, lines.len())?;
        self.lines_looked_up = self.lines_looked_up.saturating_add(lines.len());
        within("lines of Arrow in all rows", self.limits.stack_locations_max, self.lines_looked_up)?;
        let Self { limits, hasher, lines: all_lines, locations, location_ids, .. } = self;
        let hash = hasher.hash_one((mapping, address, lines));
        let is = |id: &u32| {
            let location = &locations[*id as usize];
            (location.mapping, location.address) == (mapping, address) && lines_of(all_lines, location) == lines
        };
        if let Some(id) = location_ids.find(hash, is) {
            return Ok(*id);
        }
        within("lines_max", limits.lines_max, all_lines.len() + lines.len())?;
        within("locations_max", limits.locations_max, locations.len() + 1)?;
        let (id, lines_start) = (row(locations.len()), row(all_lines.len()));
        all_lines.extend_from_slice(lines);
        locations.push(Location { mapping, address, is_folded: false, lines_start, lines_end: row(all_lines.len()) });
        location_ids.insert_unique(hash, id, |id| {
            let location = &locations[*id as usize];
            hasher.hash_one((location.mapping, location.address, lines_of(all_lines, location)))
        });
        Ok(id)
    }

    /// The tables.
    pub(super) fn finish(self) -> BuiltTables {
        let Self { text, strings, mappings, functions, lines, locations, .. } = self;
        BuiltTables { text: Bytes::from(text), strings, mappings, functions, lines, locations }
    }
}

impl BuiltTables {
    /// The tables, to be referred to.
    pub(super) fn tables(&self) -> Tables<'_> {
        let Self { text, strings, mappings, functions, lines, locations } = self;
        Tables { text, strings, mappings, functions, lines, locations }
    }

    /// The bytes of string `id`.
    pub(super) fn text(&self, id: u32) -> &[u8] {
        slice(&self.text, self.strings[id as usize])
    }
}

fn slice(text: &[u8], (start, length): Span) -> &[u8] {
    &text[start as usize..start as usize + length as usize]
}

fn lines_of<'a>(lines: &'a [Line], location: &Location) -> &'a [Line] {
    &lines[location.lines_start as usize..location.lines_end as usize]
}

/// A row number or an offset, which the limits keep below 2³².
fn row(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NONE)
}
