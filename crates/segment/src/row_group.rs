//! The wanted columns of one row group, as the Parquet library's record batches.
//!
//! ```text
//! wanted rows ─▶ rows to decode ─▶ pages ─▶ one request ─▶ page readers of ours ─▶ the library's decoders ─▶ batches
//! ```
//!
//! The library would make two contexts of zstd for each column of each scan, which takes longer than to decode a few pages.
//! So it is handed pages that are decompressed already, with a context that lasts, and looked at first where a damaged claim
//! could make it ask for more memory than there is ([`check_page`]).

use std::iter;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use flamestore_model::Result;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection};
use parquet::arrow::{FieldLevels, ProjectionMask};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use crate::page_check::{Fetched, check_page};
use crate::pages::{StoredPages, page_ranges};
use crate::scan::{TableFile, guard, pages};

/// Rows of a decoded batch: large, so that the cost of a batch does not show.
const BATCH_ROWS: usize = 1 << 15;

/// Wanted rows that are closer are decoded together with those between them, which are dropped afterwards. So far apart, the
/// library never takes the rows between for wanted ones, whose pages are not fetched: it would from less than 32 rows a
/// selector on, for two selectors a range and one more.
const NEAR_ROWS: u64 = 256;

/// A row group of which some rows and columns are wanted.
pub(crate) struct WantedRowGroup<'a> {
    file: &'a TableFile,
    number: usize,
    metadata: &'a RowGroupMetaData,
    /// The columns, by number.
    leaves: Vec<usize>,
    /// The rows that are decoded, counted from the first of the row group.
    decoded: Vec<Range<u64>>,
    /// Which of these are wanted, unless all are.
    keep: Option<BooleanArray>,
}

/// Its record batches.
pub(crate) struct Batches {
    reader: ParquetRecordBatchReader,
    keep: Option<BooleanArray>,
    /// Rows that were decoded so far.
    decoded: usize,
}

impl<'a> WantedRowGroup<'a> {
    /// Rows `wanted` (ascending, disjoint, counted from the first one) of the columns of `mask` of row group `number`.
    pub(crate) fn new(file: &'a TableFile, number: usize, mask: &ProjectionMask, wanted: &[Range<u64>]) -> Self {
        let metadata = file.parquet().row_group(number);
        let leaves = (0..metadata.num_columns()).filter(|leaf| mask.leaf_included(*leaf)).collect();
        let decoded = join_near(wanted);
        let keep = (decoded.len() != wanted.len()).then(|| marked(wanted, &decoded));
        Self { file, number, metadata, leaves, decoded, keep }
    }

    /// Where the pages lie that hold these rows, and the dictionaries they need.
    pub(crate) fn byte_ranges(&self) -> Vec<Range<u64>> {
        let rows = u64::try_from(self.metadata.num_rows()).unwrap_or(0);
        let ranges = |leaf: &usize| {
            let column = self.metadata.column(*leaf);
            match self.located(*leaf) {
                Some(pages) => page_ranges((column, pages), rows, &self.decoded),
                None => {
                    let (start, length) = column.byte_range();
                    Vec::from_iter(iter::once(start..start.saturating_add(length)))
                }
            }
        };
        self.leaves.iter().flat_map(ranges).collect()
    }

    /// The batches, from the bytes that were asked for.
    pub(crate) fn batches(&self, levels: &FieldLevels, fetched: Fetched) -> Result<Batches> {
        let group = FetchedRowGroup { group: self, fetched: Arc::new(fetched) };
        let reader = guard(self.file.table, || {
            let range = |rows: &Range<u64>| index(rows.start)..index(rows.end);
            let ranges = self.decoded.iter().map(range);
            let selection = RowSelection::from_consecutive_ranges(ranges, group.num_rows());
            ParquetRecordBatchReader::try_new_with_row_groups(levels, &group, BATCH_ROWS, Some(selection))
        })?;
        Ok(Batches { reader, keep: self.keep.clone(), decoded: 0 })
    }

    fn located(&self, leaf: usize) -> Option<&'a [parquet::file::page_index::offset_index::PageLocation]> {
        let located = pages(self.file.parquet().offset_index()?, self.number, leaf)?;
        (!located.is_empty()).then_some(located)
    }
}

impl Batches {
    /// The next batch of wanted rows.
    pub(crate) fn next(&mut self, file: &TableFile) -> Result<Option<RecordBatch>> {
        guard(file.table, || {
            let Some(batch) = self.reader.next().transpose()? else { return Ok(None) };
            let first = self.decoded;
            self.decoded += batch.num_rows();
            match &self.keep {
                Some(keep) => filter_record_batch(&batch, &keep.slice(first, batch.num_rows())).map(Some),
                None => Ok(Some(batch)),
            }
        })
    }
}

/// Ranges with those that lie between near ones.
fn join_near(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start < last.end.saturating_add(NEAR_ROWS) => last.end = range.end,
            _ => joined.push(range.clone()),
        }
    }
    joined
}

/// Which rows of `decoded` are `wanted`.
fn marked(wanted: &[Range<u64>], decoded: &[Range<u64>]) -> BooleanArray {
    let mut marks = Vec::new();
    let mut wanted = wanted.iter().peekable();
    for joined in decoded {
        let first = marks.len();
        marks.resize(first + index(joined.end - joined.start), false);
        while let Some(range) = wanted.next_if(|range| range.end <= joined.end) {
            marks[first + index(range.start - joined.start)..first + index(range.end - joined.start)].fill(true);
        }
    }
    BooleanArray::new(BooleanBuffer::from(marks), None)
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A row group with the bytes of its wanted pages.
struct FetchedRowGroup<'a> {
    group: &'a WantedRowGroup<'a>,
    fetched: Arc<Fetched>,
}

impl RowGroups for FetchedRowGroup<'_> {
    fn num_rows(&self) -> usize {
        usize::try_from(self.group.metadata.num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, leaf: usize) -> ParquetResult<Box<dyn PageIterator>> {
        let column = self.group.metadata.columns().get(leaf);
        let column = column.ok_or_else(|| ParquetError::General("there is no such column".to_owned()))?;
        let stored = StoredPages::new(&self.fetched, column, self.num_rows(), self.group.located(leaf))?;
        Ok(Box::new(OneChunk(Some(Box::new(CheckedPages { column: column.clone(), stored })))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(iter::once(self.group.metadata))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.group.file.parquet()
    }
}

/// The page reader of the one column chunk that there is.
struct OneChunk(Option<Box<CheckedPages>>);

impl Iterator for OneChunk {
    type Item = ParquetResult<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(pages as Box<dyn PageReader>))
    }
}

impl PageIterator for OneChunk {}

/// Pages, decompressed and looked at.
struct CheckedPages {
    column: ColumnChunkMetaData,
    stored: StoredPages,
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let page = self.stored.next_inflated()?;
        if let Some(page) = &page {
            check_page(&self.column, page)?;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.stored.reader.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.stored.reader.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        self.stored.reader.at_record_boundary()
    }
}

impl Iterator for CheckedPages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_rows_are_decoded_together_and_those_between_are_dropped() {
        let wanted = [3..5, 6..7, 7 + NEAR_ROWS..9 + NEAR_ROWS];
        let decoded = join_near(&wanted);
        assert_eq!(decoded, [3..7, 7 + NEAR_ROWS..9 + NEAR_ROWS]);
        let marks: Vec<bool> = marked(&wanted, &decoded).values().iter().collect();
        assert_eq!(marks, [true, true, false, true, true, true]);
    }
}
