//! One service's growing dictionary.

use flamestore_model::{NONE, ProfileBatch, Result};

use crate::SealedDictionary;

/// One service's growing dictionary: every distinct stack it has seen, by first-seen id.
#[derive(Debug)]
pub struct Interner {
    seed: u64,
}

/// The ids an [`Interner`] gave to the samples of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interned {
    /// The stack id of each sample.
    pub stacks: Vec<u32>,
    /// The label set id of each sample, [`NONE`] where it has no labels; empty where no sample has any.
    pub label_sets: Vec<u32>,
    /// The id of the batch's first mapping, the main binary by convention; [`NONE`] when it has no mappings.
    pub main_mapping: u32,
}

impl Default for Interned {
    fn default() -> Self {
        Self { stacks: Vec::new(), label_sets: Vec::new(), main_mapping: NONE }
    }
}

/// What of an interner to seal.
#[derive(Clone, Copy, Debug, Default)]
pub struct SealSelection<'a> {
    /// The stacks, by interner id; `None` for all. The sealed stack ids are positions in this list.
    pub stacks: Option<&'a [u32]>,
    /// Mappings to keep beside those of the stacks; `None` for all.
    pub keep_mappings: Option<&'a [u32]>,
    /// Label sets to keep; `None` for all.
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
        Self { seed }
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
    pub fn intern_into(&mut self, _batch: &ProfileBatch, _out: &mut Interned) -> Result<()> {
        let _ = self.seed;
        todo!()
    }

    /// How many distinct stacks were seen.
    pub fn stacks(&self) -> usize {
        todo!()
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        todo!()
    }

    /// The canonical form of the selected stacks and of the symbols they use.
    ///
    /// # Panics
    /// When the selection names an id this interner never gave.
    pub fn seal(&self, _select: &SealSelection<'_>) -> Sealed {
        todo!()
    }
}
