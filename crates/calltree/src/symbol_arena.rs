//! The growing symbol tables of an interner, and how the symbols of a batch find their place in them.
//!
//! Ids are given as first seen. What a batch refers to is resolved once per batch and remembered in a [`BatchMemo`].
//! Locations that are known are found first, all in one loop so that the look-ups overlap, by a fingerprint of all they say;
//! the address alone is never trusted. The others are looked up by content when a sample first needs them.

use flamestore_model::{Error, Function, Label, LabelValue, Line, Location, Mapping, NONE, ProfileBatch, Result};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::byte_strings::index;
use crate::dictionary::mapping_key;
use crate::fingerprint::Fingerprints;
use crate::id_table::{HashedIds, VerifiedIds};
use crate::symbols::label_order;
use crate::{ByteStrings, LabelSets};

/// Symbols by first-seen id.
#[derive(Debug)]
pub(crate) struct SymbolArena {
    seed: u64,
    pub(crate) strings: ByteStrings,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) functions: Vec<Function>,
    /// Addresses are relative to the mapping; lines are rows of `lines`.
    pub(crate) locations: Vec<Location>,
    pub(crate) lines: Vec<Line>,
    pub(crate) label_sets: LabelSets,
    string_ids: VerifiedIds,
    mapping_ids: VerifiedIds,
    function_ids: VerifiedIds,
    location_ids: VerifiedIds,
    /// Locations by fingerprint.
    fingerprint_ids: HashedIds,
    label_set_ids: VerifiedIds,
    scratch_lines: Vec<Line>,
    scratch_labels: Vec<Label>,
    scratch_words: Vec<u64>,
}

/// The ids of a batch's symbols in the arena, [`NONE`] while not resolved.
#[derive(Debug, Default)]
pub(crate) struct BatchMemo {
    strings: Vec<u32>,
    mappings: Vec<u32>,
    functions: Vec<u32>,
    pub(crate) locations: Vec<u32>,
    fingerprints: Fingerprints,
    /// By location, 0 where one refers to nothing.
    prints: Vec<u128>,
}

impl BatchMemo {
    /// Forgets the batch before and makes room for `batch`.
    fn begin(&mut self, batch: &ProfileBatch) {
        let symbols = &batch.symbols;
        for (ids, rows) in [
            (&mut self.strings, symbols.strings.len()),
            (&mut self.mappings, symbols.mappings.len()),
            (&mut self.functions, symbols.functions.len()),
            (&mut self.locations, symbols.locations.len()),
        ] {
            ids.clear();
            ids.resize(rows, NONE);
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let ids = [&self.strings, &self.mappings, &self.functions, &self.locations];
        ids.iter().map(|ids| ids.capacity() * size_of::<u32>()).sum::<usize>()
            + self.prints.capacity() * size_of::<u128>()
            + self.fingerprints.memory_bytes()
    }
}

impl SymbolArena {
    pub(crate) fn new(seed: u64) -> Self {
        let mut arena = Self {
            seed,
            strings: ByteStrings::new(),
            mappings: Vec::new(),
            functions: Vec::new(),
            locations: Vec::new(),
            lines: Vec::new(),
            label_sets: LabelSets::default(),
            string_ids: VerifiedIds::default(),
            mapping_ids: VerifiedIds::default(),
            function_ids: VerifiedIds::default(),
            location_ids: VerifiedIds::default(),
            fingerprint_ids: HashedIds::default(),
            label_set_ids: VerifiedIds::default(),
            scratch_lines: Vec::new(),
            scratch_labels: Vec::new(),
            scratch_words: Vec::new(),
        };
        let empty = arena.strings.push(b"");
        arena.string_ids.insert(xxh3_64_with_seed(b"", seed), empty);
        arena
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let ids = [&self.string_ids, &self.mapping_ids, &self.function_ids, &self.location_ids, &self.label_set_ids];
        self.strings.memory_bytes()
            + self.mappings.capacity() * size_of::<Mapping>()
            + self.functions.capacity() * size_of::<Function>()
            + self.locations.capacity() * size_of::<Location>()
            + self.lines.capacity() * size_of::<Line>()
            + self.label_sets.offsets.capacity() * size_of::<u32>()
            + self.label_sets.labels.capacity() * size_of::<Label>()
            + self.fingerprint_ids.memory_bytes()
            + ids.iter().map(|ids| ids.memory_bytes()).sum::<usize>()
    }

    /// Gets ready for `batch`: finds those of its locations that are known.
    pub(crate) fn begin(&self, batch: &ProfileBatch, memo: &mut BatchMemo) {
        memo.begin(batch);
        let BatchMemo { locations, fingerprints, prints, .. } = memo;
        fingerprints.begin(batch, self.seed);
        prints.clear();
        prints.extend(batch.symbols.locations.iter().map(|place| fingerprints.location(batch, place, self.seed)));
        for (id, print) in locations.iter_mut().zip(prints) {
            *id = if *print == 0 { NONE } else { self.fingerprint_ids.find(*print).unwrap_or(NONE) };
        }
    }

    /// The id of mapping `row` of the batch; the first mapping seen under a key stays.
    pub(crate) fn mapping(&mut self, batch: &ProfileBatch, memo: &mut BatchMemo, row: u32) -> Result<u32> {
        if row == NONE {
            return Ok(NONE);
        }
        let known = memo.mappings.get(row as usize).copied();
        match known.ok_or_else(|| dangling("mapping", row))? {
            NONE => {}
            id => return Ok(id),
        }
        let mut mapping = batch.symbols.mappings[row as usize];
        mapping.filename = self.string(batch, memo, mapping.filename)?;
        mapping.build_id = self.string(batch, memo, mapping.build_id)?;
        let key = mapping_key(&mapping);
        let hash = self.hash([u64::from(key.0), key.1, key.2]);
        let mappings = &self.mappings;
        let id = match self.mapping_ids.find(hash, |id| mapping_key(&mappings[id as usize]) == key) {
            Some(id) => id,
            None => {
                let id = next(self.mappings.len(), "mappings")?;
                self.mappings.push(mapping);
                self.mapping_ids.insert(hash, id);
                id
            }
        };
        memo.mappings[row as usize] = id;
        Ok(id)
    }

    /// The id of location `row` of the batch.
    #[cold]
    pub(crate) fn location(&mut self, batch: &ProfileBatch, memo: &mut BatchMemo, row: u32) -> Result<u32> {
        let known = memo.locations.get(row as usize).copied();
        match known.ok_or_else(|| dangling("location", row))? {
            NONE => {}
            id => return Ok(id),
        }
        let location = &batch.symbols.locations[row as usize];
        let rows = location.lines_start as usize..location.lines_end as usize;
        let lines = batch.symbols.lines.get(rows).ok_or_else(|| dangling("the lines of location", row))?;
        let mapping = self.mapping(batch, memo, location.mapping)?;
        let start = batch.symbols.mappings.get(location.mapping as usize).map_or(0, |mapping| mapping.memory_start);
        let place = Location { mapping, address: location.address.wrapping_sub(start), ..*location };
        let id = self.location_by_content(batch, memo, &place, lines)?;
        let print = memo.prints[row as usize];
        if print != 0 && self.fingerprint_ids.find(print).is_none() {
            self.fingerprint_ids.insert(print, id);
        }
        memo.locations[row as usize] = id;
        Ok(id)
    }

    fn location_by_content(
        &mut self,
        batch: &ProfileBatch,
        memo: &mut BatchMemo,
        place: &Location,
        lines: &[Line],
    ) -> Result<u32> {
        let mut mapped = std::mem::take(&mut self.scratch_lines);
        mapped.clear();
        for line in lines {
            mapped.push(Line { function: self.function(batch, memo, line.function)?, ..*line });
        }
        let head = u64::from(place.mapping) << 1 | u64::from(place.is_folded);
        let words =
            mapped.iter().flat_map(|l| [u64::from(l.function), l.line.cast_unsigned(), l.column.cast_unsigned()]);
        let hash = hash_words(&mut self.scratch_words, self.seed, [head, place.address].into_iter().chain(words));
        let same = |id: u32| {
            is_at(&self.locations, id, place)
                && self.locations[id as usize].is_folded == place.is_folded
                && self.lines_of(id) == mapped
        };
        let id = match self.location_ids.find(hash, same) {
            Some(id) => id,
            None => {
                let lines_start = next(self.lines.len(), "lines")?;
                let lines_end = next(self.lines.len() + mapped.len(), "lines")?;
                let id = next(self.locations.len(), "locations")?;
                self.lines.extend_from_slice(&mapped);
                self.locations.push(Location { lines_start, lines_end, ..*place });
                self.location_ids.insert(hash, id);
                id
            }
        };
        self.scratch_lines = mapped;
        Ok(id)
    }

    pub(crate) fn lines_of(&self, location: u32) -> &[Line] {
        let location = &self.locations[location as usize];
        &self.lines[location.lines_start as usize..location.lines_end as usize]
    }

    fn function(&mut self, batch: &ProfileBatch, memo: &mut BatchMemo, row: u32) -> Result<u32> {
        if row == NONE {
            return Ok(NONE);
        }
        let known = memo.functions.get(row as usize).copied();
        match known.ok_or_else(|| dangling("function", row))? {
            NONE => {}
            id => return Ok(id),
        }
        let mut function = batch.symbols.functions[row as usize];
        function.name = self.string(batch, memo, function.name)?;
        function.system_name = self.string(batch, memo, function.system_name)?;
        function.filename = self.string(batch, memo, function.filename)?;
        let names = u64::from(function.name) << 32 | u64::from(function.system_name);
        let hash = self.hash([names, u64::from(function.filename), function.start_line.cast_unsigned()]);
        let functions = &self.functions;
        let id = match self.function_ids.find(hash, |id| functions[id as usize] == function) {
            Some(id) => id,
            None => {
                let id = next(self.functions.len(), "functions")?;
                self.functions.push(function);
                self.function_ids.insert(hash, id);
                id
            }
        };
        memo.functions[row as usize] = id;
        Ok(id)
    }

    fn string(&mut self, batch: &ProfileBatch, memo: &mut BatchMemo, row: u32) -> Result<u32> {
        let known = memo.strings.get(row as usize).copied();
        match known.ok_or_else(|| dangling("string", row))? {
            NONE => {}
            id => return Ok(id),
        }
        let string = bytes(batch, row)?;
        let hash = xxh3_64_with_seed(string, self.seed);
        let strings = &self.strings;
        let id = match self.string_ids.find(hash, |id| strings.get(id) == string) {
            Some(id) => id,
            None => {
                if !self.strings.has_room(string.len()) {
                    return Err(full("strings or their bytes"));
                }
                let id = self.strings.push(string);
                self.string_ids.insert(hash, id);
                id
            }
        };
        memo.strings[row as usize] = id;
        Ok(id)
    }

    /// The id of a sample's labels; [`NONE`] for none.
    pub(crate) fn label_set(&mut self, batch: &ProfileBatch, memo: &mut BatchMemo, labels: &[Label]) -> Result<u32> {
        if labels.is_empty() {
            return Ok(NONE);
        }
        let mut mapped = std::mem::take(&mut self.scratch_labels);
        mapped.clear();
        for label in labels {
            let key = self.string(batch, memo, label.key)?;
            let value = match label.value {
                LabelValue::Str(id) => LabelValue::Str(self.string(batch, memo, id)?),
                LabelValue::Num(number, unit) => LabelValue::Num(number, self.string(batch, memo, unit)?),
            };
            mapped.push(Label { key, value });
        }
        sort_labels(&mut mapped);
        let words = mapped.iter().flat_map(|label| {
            let (key, kind, number, string) = label_order(label);
            [u64::from(key) << 1 | u64::from(kind), number.cast_unsigned(), u64::from(string)]
        });
        let hash = hash_words(&mut self.scratch_words, self.seed, words);
        let sets = &self.label_sets;
        let id = match self.label_set_ids.find(hash, |id| sets.get(id) == mapped) {
            Some(id) => id,
            None => {
                next(self.label_sets.labels.len() + mapped.len(), "labels")?;
                let id = next(self.label_sets.len(), "label sets")?;
                self.label_sets.push(mapped.iter().copied());
                self.label_set_ids.insert(hash, id);
                id
            }
        };
        self.scratch_labels = mapped;
        Ok(id)
    }

    fn hash<const N: usize>(&self, words: [u64; N]) -> u64 {
        xxh3_64_with_seed(bytemuck::cast_slice(&words), self.seed)
    }
}

/// Orders the labels of one set: by key, strings before numbers, equal ones as they were.
pub(crate) fn sort_labels(labels: &mut [Label]) {
    labels.sort_by_key(|label| (label.key, matches!(label.value, LabelValue::Num(..))));
}

fn is_at(locations: &[Location], id: u32, place: &Location) -> bool {
    let location = &locations[id as usize];
    (location.mapping, location.address) == (place.mapping, place.address)
}

fn hash_words(scratch: &mut Vec<u64>, seed: u64, words: impl Iterator<Item = u64>) -> u64 {
    scratch.clear();
    scratch.extend(words);
    xxh3_64_with_seed(bytemuck::cast_slice(scratch), seed)
}

/// The string `id` of the batch.
pub(crate) fn bytes(batch: &ProfileBatch, id: u32) -> Result<&[u8]> {
    match (id as usize) < batch.symbols.strings.len() {
        true => Ok(batch.symbols.strings.get(id)),
        false => Err(dangling("string", id)),
    }
}

/// The id of the next row of a table.
pub(crate) fn next(rows: usize, what: &'static str) -> Result<u32> {
    match rows < u32::MAX as usize {
        true => Ok(index(rows)),
        false => Err(full(what)),
    }
}

fn full(what: &'static str) -> Error {
    Error::exhausted(format!("a dictionary holds at most {} {what}; flush the head", u32::MAX))
}

fn dangling(what: &str, row: u32) -> Error {
    Error::invalid(format!("{what} {row} is not in the profile"))
}
