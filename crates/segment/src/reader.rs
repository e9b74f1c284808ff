//! Reads the tables of a segment (API; bodies follow).
use std::sync::Arc;

use bytes::Bytes;
use flamestore_calltree::{SealedDictionary, ValueTree};
use flamestore_model::{Error, ProfileId, Result, Selector, TimeRange};
use roaring::RoaringBitmap;

use crate::{
    DictionaryEntry, DictionarySelection, ProfileDetail, ProfileRow, ProfileSamples, ScanReport,
    SeriesTable, Table, TableSource,
};

/// Decoded dictionaries of several segments, at most so many bytes.
#[derive(Debug)]
pub struct DictionaryCache {
    bytes_max: usize,
}

impl DictionaryCache {
    /// A cache of `bytes_max` bytes; 0 keeps nothing.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max }
    }
}

/// Reads one segment. Footers, page indexes and the small tables are read once and kept.
pub struct SegmentReader {
    source: Arc<dyn TableSource>,
    dictionaries_cached: Arc<DictionaryCache>,
}

fn unwritten<T>() -> Result<T> {
    Err(Error::internal("not written yet"))
}

impl SegmentReader {
    /// A reader with a small dictionary cache of its own.
    pub fn new(source: Arc<dyn TableSource>) -> Self {
        Self::with_cache(source, Arc::new(DictionaryCache::new(16 << 20)))
    }

    /// A reader that shares `cache` with readers of other segments.
    pub fn with_cache(source: Arc<dyn TableSource>, cache: Arc<DictionaryCache>) -> Self {
        Self { source, dictionaries_cached: cache }
    }

    /// The dictionaries: one per service, by id.
    ///
    /// # Errors
    /// As all reads: `Corrupt` naming the table, or what the source says.
    pub async fn dictionaries(&self) -> Result<Arc<Vec<DictionaryEntry>>> {
        let _ = (&self.source, self.dictionaries_cached.bytes_max);
        unwritten()
    }

    /// The series.
    ///
    /// # Errors
    /// As all reads.
    pub async fn series(&self) -> Result<Arc<SeriesTable>> {
        unwritten()
    }

    /// The ids of the series `selector` fits, by postings.
    ///
    /// # Errors
    /// As all reads.
    pub async fn select_series(&self, _selector: &Selector) -> Result<RoaringBitmap> {
        unwritten()
    }

    /// Label names with their values and how many series have each, derived labels included; sorted.
    ///
    /// # Errors
    /// As all reads.
    pub async fn labels(&self, _series: Option<&RoaringBitmap>) -> Result<Vec<(String, String, u64)>> {
        unwritten()
    }

    /// The profiles of `series` taken within `range`, by row.
    ///
    /// # Errors
    /// As all reads.
    pub async fn profiles(
        &self,
        _series: &RoaringBitmap,
        _range: &TimeRange,
        _report: &mut ScanReport,
    ) -> Result<Vec<ProfileRow>> {
        unwritten()
    }

    /// All that the profiles say of themselves, in the order given.
    ///
    /// # Errors
    /// As all reads.
    pub async fn profile_details(
        &self,
        _profiles: &[ProfileRow],
        _report: &mut ScanReport,
    ) -> Result<Vec<ProfileDetail>> {
        unwritten()
    }

    /// The rows of the source profile `id`: one per sample type; empty if it is not here.
    ///
    /// # Errors
    /// As all reads.
    pub async fn find_profile(&self, _id: ProfileId, _report: &mut ScanReport) -> Result<Vec<ProfileRow>> {
        unwritten()
    }

    /// The dictionary, its call tree and its stacks; only its rows are read.
    ///
    /// # Errors
    /// As all reads; `NotFound` when there is no such dictionary.
    pub async fn load_dictionary(&self, _dictionary_id: u32, _report: &mut ScanReport) -> Result<Arc<SealedDictionary>> {
        unwritten()
    }

    /// Adds the values of `profiles` into `acc`, indexed by stack id minus `stack_base`. Sums wrap.
    ///
    /// # Errors
    /// As all reads; `Corrupt` when a stack lies outside of `acc`.
    pub async fn accumulate(
        &self,
        _profiles: &[ProfileRow],
        _stack_base: u32,
        _acc: &mut [i64],
        _report: &mut ScanReport,
    ) -> Result<()> {
        unwritten()
    }

    /// The samples of `profiles`, which are all of dictionary `entry`, in the order given.
    ///
    /// # Errors
    /// As all reads.
    pub async fn samples(
        &self,
        _entry: &DictionaryEntry,
        _profiles: &[ProfileRow],
        _report: &mut ScanReport,
    ) -> Result<Vec<ProfileSamples>> {
        unwritten()
    }

    /// The profiles that `selector` and `range` ask for, by dictionary: what [`Self::merge_dictionary`] takes.
    ///
    /// # Errors
    /// As all reads.
    pub async fn select(
        &self,
        _selector: &Selector,
        _range: &TimeRange,
        _report: &mut ScanReport,
    ) -> Result<Vec<DictionarySelection>> {
        unwritten()
    }

    /// The merge of the profiles of one dictionary: one column of self values, without nodes of no value.
    ///
    /// # Errors
    /// As all reads.
    pub async fn merge_dictionary(
        &self,
        _selection: &DictionarySelection,
        _report: &mut ScanReport,
    ) -> Result<ValueTree> {
        unwritten()
    }

    /// The merges of all dictionaries. [`Self::select`] and [`Self::merge_dictionary`] need less memory.
    ///
    /// # Errors
    /// As all reads.
    pub async fn merge(
        &self,
        selector: &Selector,
        range: &TimeRange,
        report: &mut ScanReport,
    ) -> Result<Vec<ValueTree>> {
        let mut trees = Vec::new();
        for selection in self.select(selector, range, report).await? {
            trees.push(self.merge_dictionary(&selection, report).await?);
        }
        Ok(trees)
    }
}

/// Reads every row of every table and checks what the format promises.
///
/// # Errors
/// `Corrupt` naming the table and what is wrong.
pub fn read_everything(_tables: Vec<(Table, Bytes)>) -> Result<()> {
    unwritten()
}
