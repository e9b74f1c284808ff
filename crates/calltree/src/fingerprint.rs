//! Fingerprints of a batch's locations: 128 keyed bits over all that a location says, so that a known one is found with
//! one look-up, whatever the ids of the batch, and without touching what is stored.
//!
//! ```text
//! location = mapping key, relative address, folded, (function, line, column)*      function = three strings, start line
//! ```
//!
//! Strings, functions and mappings are hashed once per batch. Equal content has equal fingerprints in every batch;
//! different content differs, but for a chance that producers cannot raise without knowing the seed.

use flamestore_model::{Line, Location, NONE, ProfileBatch};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::dictionary::mapping_key;

/// The fingerprints of one batch; the buffers serve the next one.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints {
    /// By string, 0 while not computed.
    strings: Vec<u128>,
    /// By function and by mapping, 0 where one refers to nothing.
    functions: Vec<u128>,
    mappings: Vec<u128>,
}

impl Fingerprints {
    /// Gets ready for the locations of `batch`.
    pub(crate) fn begin(&mut self, batch: &ProfileBatch, seed: u64) {
        let symbols = &batch.symbols;
        self.strings.clear();
        self.strings.resize(symbols.strings.len(), 0);
        let mut functions = std::mem::take(&mut self.functions);
        functions.clear();
        functions.extend(symbols.functions.iter().map(|function| {
            let strings = [function.name, function.system_name, function.filename];
            let [name, system_name, filename] = strings.map(|id| self.string(batch, id, seed));
            let start_line = u128::from(function.start_line.cast_unsigned());
            match name != 0 && system_name != 0 && filename != 0 {
                true => xxh3_128_with_seed(bytemuck::bytes_of(&[name, system_name, filename, start_line]), seed),
                false => 0,
            }
        }));
        self.functions = functions;
        let mut mappings = std::mem::take(&mut self.mappings);
        mappings.clear();
        mappings.extend(symbols.mappings.iter().map(|mapping| {
            let (file, pages, offset) = mapping_key(mapping);
            let place = u128::from(pages) << 64 | u128::from(offset);
            match self.string(batch, file, seed) {
                0 => 0,
                file => xxh3_128_with_seed(bytemuck::bytes_of(&[file, place]), seed),
            }
        }));
        self.mappings = mappings;
    }

    /// The fingerprint of a location of the batch begun, 0 where it refers to nothing.
    pub(crate) fn location(&self, batch: &ProfileBatch, location: &Location, seed: u64) -> u128 {
        let rows = location.lines_start as usize..location.lines_end as usize;
        let (Some(lines), Some((mapping, start))) = (batch.symbols.lines.get(rows), self.mapping(batch, location))
        else {
            return 0;
        };
        let [low, high] = halves(mapping);
        let place = [low, high, location.address.wrapping_sub(start), u64::from(location.is_folded)];
        let line = |line: &Line| {
            let function = match line.function {
                NONE => 0,
                id => self.functions.get(id as usize).copied().filter(|function| *function != 0)?,
            };
            let [low, high] = halves(function);
            Some([low, high, line.line.cast_unsigned(), line.column.cast_unsigned()])
        };
        if let [only] = lines {
            return line(only).map_or(0, |line| xxh3_128_with_seed(bytemuck::bytes_of(&[place, line]), seed));
        }
        let words = std::iter::once(Some(place)).chain(lines.iter().map(line)).collect::<Option<Vec<_>>>();
        words.map_or(0, |words| xxh3_128_with_seed(bytemuck::cast_slice(&words), seed))
    }

    /// The fingerprint of a location's mapping, and what its address is relative to.
    fn mapping(&self, batch: &ProfileBatch, location: &Location) -> Option<(u128, u64)> {
        if location.mapping == NONE {
            return Some((0, 0));
        }
        let fingerprint = self.mappings.get(location.mapping as usize).copied().filter(|mapping| *mapping != 0)?;
        Some((fingerprint, batch.symbols.mappings[location.mapping as usize].memory_start))
    }

    /// The fingerprint of a string, 0 where there is none.
    fn string(&mut self, batch: &ProfileBatch, id: u32, seed: u64) -> u128 {
        let Some(known) = self.strings.get_mut(id as usize) else { return 0 };
        if *known == 0 {
            *known = xxh3_128_with_seed(batch.symbols.strings.get(id), seed);
        }
        *known
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.strings.capacity() * size_of::<u128>()
            + (self.functions.capacity() + self.mappings.capacity()) * size_of::<u128>()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn halves(bits: u128) -> [u64; 2] {
    [bits as u64, (bits >> 64) as u64]
}
