//! One service's growing dictionary: gives every sample of a batch the id of its stack, by one hash of a list of integers.
//!
//! ```text
//! batch's location ids ──memo, once per batch──▶ location ids ──xxh3──▶ stack id
//!   leaf first            fingerprint, content     root first   96 bit    first seen
//! ```
//!
//! Ids are given as first seen and never change. Memory grows with distinct stacks and symbols only;
//! [`Interner::memory_bytes`] tells when to seal and start anew. A batch that is refused may leave symbols behind, which
//! sealing drops. Labels that differ from sample to sample are not symbols: they become columns ([`Observed`]).

use flamestore_model::{Error, Label, NONE, ProfileBatch, Result};

use crate::SealedDictionary;
use crate::observed::{Lifter, Observation, Observed};
use crate::stack_arena::StackArena;
use crate::symbol_arena::{BatchMemo, SymbolArena};

/// One service's growing dictionary: every distinct stack it has seen, by first-seen id.
#[derive(Debug)]
pub struct Interner {
    symbols: SymbolArena,
    stacks: StackArena,
    memo: BatchMemo,
    block: Block,
    lifter: Lifter,
}

/// How many samples are mapped and hashed before they are looked up: enough for the look-ups, which miss the caches, to
/// overlap.
const BLOCK_SAMPLES: usize = 64;

/// The stacks of a few samples on their way through.
#[derive(Debug, Default)]
struct Block {
    frames: Vec<u32>,
    ends: Vec<usize>,
    hashes: Vec<u128>,
}

impl Block {
    fn stack(&self, at: usize) -> &[u32] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.frames[start..self.ends[at]]
    }

    /// Adds the ids of a stack's locations, root first, [`NONE`] for those not known; false if some may not be.
    fn gather(&mut self, stack: &[u32], known: &[u32]) -> bool {
        let start = self.frames.len();
        self.frames.resize(start + stack.len(), NONE);
        let mut unknown = 0_u32;
        for (id, location) in self.frames[start..].iter_mut().rev().zip(stack) {
            if let Some(known) = known.get(*location as usize) {
                *id = *known;
            }
            // NONE has its highest bit set; an id that has it too costs no more than a second look.
            unknown |= *id;
        }
        unknown >> 31 == 0
    }

    fn hash(&mut self, stacks: &StackArena) {
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        hashes.extend((0..self.ends.len()).map(|at| stacks.hash(self.stack(at))));
        self.hashes = hashes;
    }

    fn memory_bytes(&self) -> usize {
        self.frames.capacity() * size_of::<u32>()
            + self.ends.capacity() * size_of::<usize>()
            + self.hashes.capacity() * size_of::<u128>()
    }
}

/// The ids an [`Interner`] gave to the samples of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interned {
    /// The stack id of each sample.
    pub stacks: Vec<u32>,
    /// The label set id of each sample, [`NONE`] where it has no labels; empty where no sample has any.
    pub label_sets: Vec<u32>,
    /// What else each sample's labels say.
    pub observed: Observed,
    /// The id of the batch's first mapping, the main binary by convention; [`NONE`] when it has no mappings.
    pub main_mapping: u32,
}

impl Default for Interned {
    fn default() -> Self {
        Self { stacks: Vec::new(), label_sets: Vec::new(), observed: Observed::default(), main_mapping: NONE }
    }
}

/// What of an interner to seal.
#[derive(Clone, Copy, Debug, Default)]
pub struct SealSelection<'a> {
    /// The stacks, by interner id; `None` for all. The sealed stack ids are positions in this list.
    pub stacks: Option<&'a [u32]>,
    /// Mappings to keep beside those of the stacks, [`NONE`]s allowed; `None` for all.
    pub keep_mappings: Option<&'a [u32]>,
    /// Label sets to keep, [`NONE`]s allowed; `None` for all.
    pub keep_label_sets: Option<&'a [u32]>,
}

/// What [`Interner::seal`] makes.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The canonical form.
    pub sealed: SealedDictionary,
    /// Sealed mapping id by interner id; [`NONE`] where dropped.
    pub mapping_remap: Vec<u32>,
    /// Sealed label set id by interner id; [`NONE`] where dropped.
    pub label_set_remap: Vec<u32>,
}

impl Interner {
    /// An empty dictionary whose hashes are keyed by `seed`, which producers must not know.
    pub fn new(seed: u64) -> Self {
        Self {
            symbols: SymbolArena::new(seed),
            stacks: StackArena::new(seed),
            memo: BatchMemo::default(),
            block: Block::default(),
            lifter: Lifter::default(),
        }
    }

    /// Interns every sample of `batch`.
    ///
    /// # Errors
    /// `Invalid` when an id of the batch refers to nothing; `Exhausted` when a table would pass 2³² rows or bytes.
    pub fn intern(&mut self, batch: &ProfileBatch) -> Result<Interned> {
        let mut out = Interned::default();
        self.intern_into(batch, &mut out)?;
        Ok(out)
    }

    /// Like [`Interner::intern`], into buffers that are reused.
    ///
    /// # Errors
    /// As [`Interner::intern`]; `out` then holds nothing of use.
    pub fn intern_into(&mut self, batch: &ProfileBatch, out: &mut Interned) -> Result<()> {
        self.symbols.begin(batch, &mut self.memo);
        out.main_mapping = match batch.symbols.mappings.is_empty() {
            true => NONE,
            false => self.symbols.mapping(batch, &mut self.memo, 0)?,
        };
        self.intern_stacks(batch, &mut out.stacks)?;
        self.intern_labels(batch, &mut out.label_sets, &mut out.observed)
    }

    fn intern_stacks(&mut self, batch: &ProfileBatch, out: &mut Vec<u32>) -> Result<()> {
        let samples = &batch.samples;
        out.clear();
        out.reserve(samples.len());
        let mut first = 0;
        while first < samples.len() {
            let last = samples.len().min(first + BLOCK_SAMPLES);
            self.map_block(batch, first..last)?;
            self.block.hash(&self.stacks);
            for at in 0..last - first {
                let id = match self.stacks.find(self.block.hashes[at]) {
                    Some(id) => id,
                    None => self.stacks.insert(self.block.hashes[at], self.block.stack(at))?,
                };
                out.push(id);
            }
            first = last;
        }
        Ok(())
    }

    /// Maps the stacks of these samples to location ids of ours.
    fn map_block(&mut self, batch: &ProfileBatch, rows: std::ops::Range<usize>) -> Result<()> {
        let Self { symbols, memo, block, .. } = self;
        let samples = &batch.samples;
        block.frames.clear();
        block.ends.clear();
        for row in rows {
            let (start, end) = (samples.stack_offsets[row] as usize, samples.stack_offsets[row + 1] as usize);
            let stack = samples.stack_locations.get(start..end);
            let stack =
                stack.ok_or_else(|| Error::invalid(format!("sample {row}: its stack is not in the profile")))?;
            let start = block.frames.len();
            if !block.gather(stack, &memo.locations) {
                for (id, location) in
                    block.frames[start..].iter_mut().zip(stack.iter().rev()).filter(|(id, _)| **id == NONE)
                {
                    *id = symbols.location(batch, memo, *location).map_err(|e| e.with("sample", row))?;
                }
            }
            block.ends.push(block.frames.len());
        }
        Ok(())
    }

    fn intern_labels(&mut self, batch: &ProfileBatch, sets: &mut Vec<u32>, observed: &mut Observed) -> Result<()> {
        let Self { symbols, memo, lifter, .. } = self;
        let samples = &batch.samples;
        sets.clear();
        observed.clear();
        if samples.labels.is_empty() {
            return Ok(());
        }
        sets.reserve(samples.len());
        // Neighbours often have the same labels, or differ only in those that are columns.
        let mut last: (&[Label], Observation) = (&[], Observation::NONE);
        let mut last_set: (Vec<Label>, u32) = (Vec::new(), NONE);
        for (row, ends) in samples.label_offsets.windows(2).enumerate() {
            let labels = samples.labels.get(ends[0] as usize..ends[1] as usize);
            let labels =
                labels.ok_or_else(|| Error::invalid(format!("sample {row}: its labels are not in the profile")))?;
            if labels != last.0 {
                last = (labels, lifter.lift(batch, labels).map_err(|e| e.with("sample", row))?);
                if lifter.kept != last_set.0 {
                    last_set.1 = symbols.label_set(batch, memo, &lifter.kept).map_err(|e| e.with("sample", row))?;
                    std::mem::swap(&mut last_set.0, &mut lifter.kept);
                }
            }
            sets.push(last_set.1);
            observed.push(row, &last.1);
        }
        if sets.len() != samples.len() {
            return Err(Error::invalid("label offsets and stack offsets differ in length"));
        }
        if sets.iter().all(|set| *set == NONE) {
            sets.clear();
        }
        Ok(())
    }

    /// How many distinct stacks were seen.
    pub fn stacks(&self) -> usize {
        self.stacks.len()
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.symbols.memory_bytes()
            + self.stacks.memory_bytes()
            + self.memo.memory_bytes()
            + self.block.memory_bytes()
            + self.lifter.memory_bytes()
    }

    /// The canonical form of the selected stacks and of the symbols they use.
    ///
    /// # Panics
    /// When the selection names an id this interner never gave.
    pub fn seal(&self, select: &SealSelection<'_>) -> Sealed {
        crate::seal::seal(&self.symbols, &self.stacks, select)
    }
}
