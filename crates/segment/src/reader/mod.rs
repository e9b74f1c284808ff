//! Reads one segment.
//!
//! ```text
//! selector ─▶ postings ─▶ series ─▶ windows ─▶ row ranges of roll-ups ┐
//!                            │    └▶ profiles ─▶ row ranges of samples ─┴▶ dense sums by stack ─▶ leaves ─▶ ValueTree
//!                            └▶ dictionary: rows of one service in seven tables ──────────────────┘
//! ```
//!
//! Kept once read, in a cache bounded by bytes: footers with page indexes, `dictionaries`, `series`, `postings`, `windows`,
//! and dictionaries. A merge holds one dictionary and one sum per stack of it.

mod cache;
mod inspect;
mod lists;
#[cfg(test)]
mod pair_tests;
mod postings;
mod profiles;
mod samples;
mod stack_sums;
mod symbols;
mod verify;
mod verify_rollups;
mod windows;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, UInt32Array};
use flamestore_calltree::{FrameStrings, SealedDictionary, ValueTree};
use flamestore_model::{Error, ProfileId, Result, Selector, TimeRange};
use roaring::RoaringBitmap;

pub use cache::DictionaryCache;
pub use inspect::{SegmentFacts, TableFacts, inspect, read_everything};
pub use stack_sums::StackSums;

use crate::observed;
use crate::pair_scan::{Names, TakePair, scan_pair};
use crate::scan::{TableFile, column, scan};
use crate::{
    Cover, DictionaryEntry, DictionarySelection, ProfileDetail, ProfileRow, ProfileSamples, ReadFrom, Resolution,
    SampleColumns, SampleParts, ScanReport, SeriesTable, Table, TableSource, WindowRow, WindowSums, WindowTable, cover,
};
use cache::{Kept, Part};
use postings::Postings;
use samples::Run;

/// Bytes of dictionaries a reader keeps when it shares no cache.
const CACHE_BYTES_MAX: usize = 16 << 20;

/// Reads one segment. Footers, page indexes and the small tables are kept once read, as long as the cache has
/// room for them.
///
/// All reads fail with `Corrupt`, naming the table, when what was stored is not what was written, and with the error of
/// the source when it cannot be reached.
pub struct SegmentReader {
    source: Arc<dyn TableSource>,
    files: [Kept<TableFile>; Table::ALL.len()],
    dictionaries: Kept<Vec<DictionaryEntry>>,
    series: Kept<SeriesTable>,
    postings: Kept<Postings>,
    windows: Kept<WindowTable>,
    cache: Arc<DictionaryCache>,
    cache_key: u64,
}

impl SegmentReader {
    /// A reader with a small dictionary cache of its own.
    pub fn new(source: Arc<dyn TableSource>) -> Self {
        Self::with_cache(source, Arc::new(DictionaryCache::new(CACHE_BYTES_MAX)))
    }

    /// A reader that shares `cache` with readers of other segments.
    pub fn with_cache(source: Arc<dyn TableSource>, cache: Arc<DictionaryCache>) -> Self {
        Self {
            source,
            files: Default::default(),
            dictionaries: Kept::default(),
            series: Kept::default(),
            postings: Kept::default(),
            windows: Kept::default(),
            cache_key: cache.reader_key(),
            cache,
        }
    }

    /// The rows of `table`, which is opened and its footer checked.
    ///
    /// # Errors
    /// As all reads; `NotFound` when the segment has no such table.
    pub async fn rows(&self, table: Table) -> Result<u64> {
        Ok(self.file(table).await?.rows())
    }

    /// What the columns that tell observations apart take when decoded: a row at most, and all rows.
    pub(crate) async fn observed_bytes(&self) -> Result<(u64, u64)> {
        let file = self.file(Table::Samples).await?;
        let widths = observed::widths().filter_map(|(name, width)| Some((width, file.values(name)?)));
        Ok(widths.fold((0, 0), |(row, all), (width, values)| {
            (row + width, values.saturating_mul(width).saturating_add(all))
        }))
    }

    /// The bytes that `rows` of `table` take as stored, about: of a page that they share with others, their part.
    ///
    /// # Errors
    /// As all reads; `NotFound` when the segment has no such table.
    pub async fn stored_bytes(&self, table: Table, rows: Range<u64>) -> Result<u64> {
        Ok(self.file(table).await?.stored_bytes(&rows))
    }

    /// Where the bytes come from.
    pub fn source(&self) -> &Arc<dyn TableSource> {
        &self.source
    }

    /// The dictionaries: one per service, by id.
    ///
    /// # Errors
    /// As all reads.
    pub async fn dictionaries(&self) -> Result<Arc<Vec<DictionaryEntry>>> {
        self.dictionaries.get(&self.cache, (self.cache_key, Part::Dictionaries), lists::dictionaries(self)).await
    }

    /// The series.
    ///
    /// # Errors
    /// As all reads.
    pub async fn series(&self) -> Result<Arc<SeriesTable>> {
        self.series.get(&self.cache, (self.cache_key, Part::Series), lists::series(self)).await
    }

    /// The windows of the segment's roll-ups; empty for a segment without.
    ///
    /// # Errors
    /// As all reads.
    pub async fn windows(&self) -> Result<Arc<WindowTable>> {
        self.windows.get(&self.cache, (self.cache_key, Part::Windows), windows::load(self)).await
    }

    async fn postings(&self) -> Result<Arc<Postings>> {
        self.postings.get(&self.cache, (self.cache_key, Part::Postings), postings::load(self)).await
    }

    /// The ids of the series `selector` fits, by postings.
    ///
    /// # Errors
    /// As all reads.
    pub async fn select_series(&self, selector: &Selector) -> Result<RoaringBitmap> {
        Ok(self.postings().await?.select(selector))
    }

    /// Label names with their values and how many of `series` (all if none is given) have each; derived labels included;
    /// sorted by name, then value. Pairs that no series has are left out.
    ///
    /// # Errors
    /// As all reads.
    pub async fn labels(&self, series: Option<&RoaringBitmap>) -> Result<Vec<(String, String, u64)>> {
        Ok(self.postings().await?.labels(series))
    }

    /// The profiles of `series` taken within `range`, by row.
    ///
    /// # Errors
    /// As all reads.
    pub async fn profiles(
        &self,
        series: &RoaringBitmap,
        range: &TimeRange,
        report: &mut ScanReport,
    ) -> Result<Vec<ProfileRow>> {
        profiles::select(self, series, Some(range), report).await
    }

    /// The profiles of `series`, whenever they were taken, by row.
    pub(crate) async fn all_profiles(
        &self,
        series: &RoaringBitmap,
        report: &mut ScanReport,
    ) -> Result<Vec<ProfileRow>> {
        profiles::select(self, series, None, report).await
    }

    /// The profiles of parts, ranges of time of one series each, in order of series.
    pub(crate) async fn profiles_of(
        &self,
        parts: &[(u32, TimeRange)],
        report: &mut ScanReport,
    ) -> Result<Vec<ProfileRow>> {
        profiles::select_parts(self, parts, report).await
    }

    /// What stands for the profiles of `series` taken within `range`: the widest windows of roll-ups that fit, and profiles
    /// for the rest.
    ///
    /// # Errors
    /// As all reads.
    pub async fn cover(
        &self,
        series: &RoaringBitmap,
        range: &TimeRange,
        from: ReadFrom,
        report: &mut ScanReport,
    ) -> Result<Cover> {
        cover::cover(self, series, range, from, report).await
    }

    /// The windows of `series` that stand for `days`, given by their starts: the longest that lie in them and that `from`
    /// allows. Of a segment without windows of days, those that have one of `days`.
    ///
    /// # Errors
    /// As all reads.
    pub async fn cover_days(&self, series: &RoaringBitmap, days: &BTreeSet<i64>, from: ReadFrom) -> Result<Cover> {
        cover::cover_days(self, series, days, from).await
    }

    /// All that the profiles say of themselves, in the order given.
    ///
    /// # Errors
    /// As all reads.
    pub async fn profile_details(
        &self,
        profiles: &[ProfileRow],
        report: &mut ScanReport,
    ) -> Result<Vec<ProfileDetail>> {
        profiles::details(self, profiles, report).await
    }

    /// The rows of the source profile `id`: one per sample type; empty if it is not here.
    ///
    /// # Errors
    /// As all reads.
    pub async fn find_profile(&self, id: ProfileId, report: &mut ScanReport) -> Result<Vec<ProfileRow>> {
        profiles::find(self, id, report).await
    }

    /// The ids of all source profiles, in no order, each once for each of its sample types.
    ///
    /// # Errors
    /// As all reads.
    pub async fn profile_ids(&self) -> Result<Vec<ProfileId>> {
        profiles::ids(self).await
    }

    /// The dictionary, its call tree and its stacks; only its rows are read, unless it is in the cache.
    ///
    /// # Errors
    /// As all reads; `NotFound` when there is no such dictionary.
    pub async fn load_dictionary(&self, dictionary_id: u32, report: &mut ScanReport) -> Result<Arc<SealedDictionary>> {
        if let Some(kept) = self.cache.get((self.cache_key, dictionary_id)) {
            return Ok(kept);
        }
        let entries = self.dictionaries().await?;
        let entry = entries
            .get(dictionary_id as usize)
            .ok_or_else(|| Error::not_found("the segment has no such dictionary").with("dictionary", dictionary_id))?;
        let loaded = Arc::new(symbols::load(self, entry, report).await?);
        self.cache.put((self.cache_key, dictionary_id), &loaded);
        Ok(loaded)
    }

    /// The names of the frames of `sealed`, which is the dictionary `dictionary_id`.
    pub fn frame_strings(&self, dictionary_id: u32, sealed: &SealedDictionary) -> Arc<FrameStrings> {
        self.cache.frames((self.cache_key, dictionary_id), sealed)
    }

    /// Adds the values of `profiles` into `acc`, indexed by stack id minus `first_stack`. Sums wrap.
    ///
    /// # Errors
    /// As all reads; `Corrupt` when a stack lies outside of `acc`.
    pub async fn accumulate(
        &self,
        profiles: &[ProfileRow],
        first_stack: u32,
        acc: &mut [i64],
        report: &mut ScanReport,
    ) -> Result<()> {
        let runs = profiles.iter().map(Run::from).collect();
        samples::accumulate(self, Table::Samples, "value", runs, (first_stack, acc), report).await
    }

    /// Adds the sums of `windows` into `acc`, indexed by stack id minus `first_stack`. Sums wrap.
    ///
    /// # Errors
    /// As all reads; `Corrupt` when a stack lies outside of `acc`.
    pub async fn accumulate_windows(
        &self,
        windows: &[WindowRow],
        first_stack: u32,
        acc: &mut [i64],
        report: &mut ScanReport,
    ) -> Result<()> {
        for resolution in Resolution::ALL {
            let of = windows.iter().filter(|window| window.resolution == resolution);
            let runs: Vec<Run> = of.map(Run::from).collect();
            if !runs.is_empty() {
                samples::accumulate(self, resolution.table(), "value", runs, (first_stack, acc), report).await?;
            }
        }
        Ok(())
    }

    /// The samples of `profiles`, which are all of dictionary `entry`, in the order given.
    ///
    /// # Errors
    /// As all reads.
    pub async fn samples(
        &self,
        entry: &DictionaryEntry,
        profiles: &[ProfileRow],
        report: &mut ScanReport,
    ) -> Result<Vec<ProfileSamples>> {
        samples::read(self, entry, profiles, report).await
    }

    /// What `parts` asks for of the samples of `profiles`, which are all of dictionary `entry`.
    ///
    /// # Errors
    /// As all reads.
    pub async fn sample_columns(
        &self,
        entry: &DictionaryEntry,
        profiles: &[ProfileRow],
        parts: SampleParts,
        report: &mut ScanReport,
    ) -> Result<SampleColumns> {
        samples::read_columns(self, entry, profiles, parts, report).await
    }

    /// The sums of `windows`, which are all of one resolution and of dictionary `entry`, in the order given.
    ///
    /// # Errors
    /// As all reads.
    pub async fn window_sums(
        &self,
        entry: &DictionaryEntry,
        windows: &[WindowRow],
        report: &mut ScanReport,
    ) -> Result<Vec<WindowSums>> {
        samples::read_windows(self, entry, windows, report).await
    }

    /// What `selector` and `range` ask for, by dictionary: what [`Self::merge_dictionary`] takes.
    ///
    /// # Errors
    /// As all reads.
    pub async fn select(
        &self,
        selector: &Selector,
        range: &TimeRange,
        report: &mut ScanReport,
    ) -> Result<Vec<DictionarySelection>> {
        self.select_from(selector, range, ReadFrom::Widest, report).await
    }

    /// The same, answered from what `from` allows.
    ///
    /// # Errors
    /// As all reads.
    pub async fn select_from(
        &self,
        selector: &Selector,
        range: &TimeRange,
        from: ReadFrom,
        report: &mut ScanReport,
    ) -> Result<Vec<DictionarySelection>> {
        let selected = self.select_series(selector).await?;
        let cover = self.cover(&selected, range, from, report).await?;
        let (series, entries) = (self.series().await?, self.dictionaries().await?);
        let select = |entry: &DictionaryEntry| DictionarySelection {
            entry: entry.clone(),
            profiles: Vec::new(),
            windows: Vec::new(),
        };
        let mut selections: Vec<DictionarySelection> = entries.iter().map(select).collect();
        let dictionary = |id: u32| series.get(id).map_or(0, |series| series.dictionary_id as usize);
        for profile in cover.profiles {
            selections[dictionary(profile.series_id)].profiles.push(profile);
        }
        for window in cover.windows {
            selections[dictionary(window.series_id)].windows.push(window);
        }
        selections.retain(|selection| !selection.profiles.is_empty() || !selection.windows.is_empty());
        Ok(selections)
    }

    /// The merge of what is selected of one dictionary: one column of self values, without nodes of no value.
    ///
    /// # Errors
    /// As all reads.
    pub async fn merge_dictionary(
        &self,
        selection: &DictionarySelection,
        report: &mut ScanReport,
    ) -> Result<ValueTree> {
        Ok(self.sum_stacks(selection, report).await?.into_tree())
    }

    /// The sums by stack of what is selected of one dictionary: what [`StackSums::merge`] adds up over segments.
    ///
    /// # Errors
    /// As all reads.
    pub async fn sum_stacks(&self, selection: &DictionarySelection, report: &mut ScanReport) -> Result<StackSums> {
        let DictionarySelection { entry, profiles, windows } = selection;
        let mut sums = vec![0; bounded(self, Table::Stacks, entry.stacks.rows()).await?];
        if !profiles.is_empty() {
            self.accumulate(profiles, entry.stacks.first, &mut sums, report).await?;
        }
        self.accumulate_windows(windows, entry.stacks.first, &mut sums, report).await?;
        let sealed = self.load_dictionary(entry.dictionary_id, report).await?;
        let place = (self.cache_key, entry.dictionary_id);
        Ok(StackSums { place, cache: Arc::clone(&self.cache), sealed, sums })
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

    /// Whether the segment has `table`.
    pub fn has(&self, table: Table) -> bool {
        self.source.has(table)
    }

    async fn file(&self, table: Table) -> Result<Arc<TableFile>> {
        self.files[table.index()]
            .get(&self.cache, (self.cache_key, Part::Footer(table)), TableFile::open(self.source.as_ref(), table))
            .await
    }

    /// Scans `columns` of `rows` of `table`.
    async fn scan(
        &self,
        table: Table,
        columns: &[&str],
        rows: &[Range<u64>],
        report: &mut ScanReport,
        each: &mut (dyn FnMut(&RecordBatch) -> Result<()> + Send),
    ) -> Result<()> {
        let file = self.file(table).await?;
        scan(self.source.as_ref(), &file, columns, rows, report, each).await
    }

    /// Scans a column of ids and one of values, neither of which has nulls, of `rows` of `table`: page by page where the file
    /// allows it, or else by way of the Parquet library's record batches.
    async fn scan_pair(
        &self,
        table: Table,
        names: Names<'_>,
        rows: &[Range<u64>],
        report: &mut ScanReport,
        each: &mut TakePair<'_>,
    ) -> Result<()> {
        let file = self.file(table).await?;
        if scan_pair(self.source.as_ref(), &file, names, rows, report, each).await? {
            return Ok(());
        }
        let mut each = |batch: &RecordBatch| {
            let ids = column::<UInt32Array>(table, batch, names[0])?.values();
            each(ids, column::<Int64Array>(table, batch, names[1])?.values())
        };
        scan(self.source.as_ref(), &file, &names, rows, report, &mut each).await
    }

    /// Scans `columns` of all rows of `table`.
    async fn scan_all(
        &self,
        table: Table,
        columns: &[&str],
        each: &mut (dyn FnMut(&RecordBatch) -> Result<()> + Send),
    ) -> Result<()> {
        let rows = self.file(table).await?.rows();
        self.scan(table, columns, std::slice::from_ref(&(0..rows)), &mut ScanReport::default(), each).await
    }
}

impl std::fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentReader").field("key", &self.cache_key).finish_non_exhaustive()
    }
}

/// The number of `rows`, after making sure that `table` has them: what may be allocated for them.
async fn bounded(reader: &SegmentReader, table: Table, rows: Range<u64>) -> Result<usize> {
    let file = reader.file(table).await?;
    match rows.end <= file.rows() {
        true => Ok(usize::try_from(rows.end - rows.start).unwrap_or(usize::MAX)),
        false => {
            Err(crate::scan::corrupt(table, "rows are missing").with("expected", rows.end).with("found", file.rows()))
        }
    }
}
