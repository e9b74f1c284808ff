//! Fingerprints of a batch's locations: 128 keyed bits over all that a location says, so that a known one is found with
//! one look-up, whatever the ids of the batch, and without touching what is stored.
//!
//! ```text
//! location = mapping key, relative address, folded, (function, line, column)*      function = three strings, start line
//! ```
//!
//! Strings, functions and mappings are hashed once per batch. Equal content has equal fingerprints in every batch;
//! different content differs, but for a chance that producers cannot raise without knowing the seed.

use flamestore_model::{Location, NONE, ProfileBatch};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::dictionary::mapping_key;

/// The fingerprints of one batch; the buffers serve the next one.
#[derive(Debug, Default)]
pub(crate) struct Fingerprints {
    /// By string, 0 while not computed.
    strings: Vec<u128>,
    /// By function and by mapping; `None` where one refers to nothing.
    functions: Vec<Option<u128>>,
    mappings: Vec<Option<u128>>,
    words: Vec<u64>,
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
            let name = self.string(batch, function.name, seed)?;
            let system_name = self.string(batch, function.system_name, seed)?;
            let filename = self.string(batch, function.filename, seed)?;
            let start_line = u128::from(function.start_line.cast_unsigned());
            Some(xxh3_128_with_seed(bytemuck::bytes_of(&[name, system_name, filename, start_line]), seed))
        }));
        self.functions = functions;
        let mut mappings = std::mem::take(&mut self.mappings);
        mappings.clear();
        mappings.extend(symbols.mappings.iter().map(|mapping| {
            let (file, pages, offset) = mapping_key(mapping);
            let place = u128::from(pages) << 64 | u128::from(offset);
            Some(xxh3_128_with_seed(bytemuck::bytes_of(&[self.string(batch, file, seed)?, place]), seed))
        }));
        self.mappings = mappings;
    }

    /// The fingerprint of a location of the batch begun; `None` where it refers to nothing.
    pub(crate) fn location(&mut self, batch: &ProfileBatch, location: &Location, seed: u64) -> Option<u128> {
        let (mapping, start) = match location.mapping {
            NONE => (0, 0),
            id => ((*self.mappings.get(id as usize)?)?, batch.symbols.mappings[id as usize].memory_start),
        };
        let lines = batch.symbols.lines.get(location.lines_start as usize..location.lines_end as usize)?;
        self.words.clear();
        self.words.extend(halves(mapping));
        self.words.extend([location.address.wrapping_sub(start), u64::from(location.is_folded)]);
        for line in lines {
            let function = if line.function == NONE { 0 } else { (*self.functions.get(line.function as usize)?)? };
            self.words.extend(halves(function));
            self.words.extend([line.line.cast_unsigned(), line.column.cast_unsigned()]);
        }
        Some(xxh3_128_with_seed(bytemuck::cast_slice(&self.words), seed))
    }

    fn string(&mut self, batch: &ProfileBatch, id: u32, seed: u64) -> Option<u128> {
        let known = self.strings.get_mut(id as usize)?;
        if *known == 0 {
            *known = xxh3_128_with_seed(batch.symbols.strings.get(id), seed);
        }
        Some(*known)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.strings.capacity() * size_of::<u128>()
            + (self.functions.capacity() + self.mappings.capacity()) * size_of::<Option<u128>>()
            + self.words.capacity() * size_of::<u64>()
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn halves(bits: u128) -> [u64; 2] {
    [bits as u64, (bits >> 64) as u64]
}
