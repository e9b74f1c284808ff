//! Pages of one column chunk as they are stored.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;

use super::inflate;
use crate::page_check::Fetched;
use crate::pair_scan::Located;
use crate::scan::page_rows;

/// The pages of a column chunk, in order; with page locations only wanted ones need to be there.
pub(crate) struct StoredPages {
    pub(crate) reader: SerializedPageReader<Fetched>,
    /// Whether pages come compressed with zstd.
    pub(super) is_zstd: bool,
}

impl StoredPages {
    /// The pages of `column`, a column chunk of `rows` rows, whose bytes are `fetched`.
    ///
    /// # Errors
    /// When the library refuses what the footer says of the column.
    pub(crate) fn new(
        fetched: &Arc<Fetched>,
        column: &ColumnChunkMetaData,
        rows: usize,
        pages: Option<&[PageLocation]>,
    ) -> Result<Self> {
        let is_zstd = matches!(column.compression(), Compression::ZSTD(_));
        // The library makes two contexts of zstd a reader, which takes longer than to decode a few pages: to it pages of
        // zstd are not compressed, and they are decompressed here.
        let stored = column.clone().into_builder().set_compression(Compression::UNCOMPRESSED);
        let column = if is_zstd { &stored.build()? } else { column };
        let reader = SerializedPageReader::new(Arc::clone(fetched), column, rows, pages.map(<[_]>::to_vec))?;
        Ok(Self { reader, is_zstd })
    }

    /// The next page, decompressed.
    ///
    /// # Errors
    /// When it cannot be read or decompressed.
    pub(crate) fn next_inflated(&mut self) -> Result<Option<Page>> {
        let Some(mut page) = self.reader.get_next_page()? else { return Ok(None) };
        if !self.is_zstd {
            return Ok(Some(page));
        }
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = inflated(buf, 0)?,
            Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, is_compressed, .. } => {
                let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                if std::mem::take(is_compressed) {
                    *buf = inflated(buf, usize::try_from(levels).unwrap_or(usize::MAX))?;
                }
            }
        }
        Ok(Some(page))
    }
}

/// What is in `page`, of which the first `levels` bytes are not compressed.
fn inflated(page: &Bytes, levels: usize) -> Result<Bytes> {
    let broken = |what: &str| ParquetError::General(what.to_owned());
    let (levels, values) = page.split_at_checked(levels).ok_or_else(|| broken("a page ends within its levels"))?;
    inflate::owned(levels, values).map(Bytes::from).map_err(|wrong| broken(wrong.as_str()))
}

/// Where the dictionary of a column chunk lies: before its first page, if anything does.
pub(super) fn dictionary_range((column, pages): Located<'_>) -> Option<Range<u64>> {
    let (start, first) = (column.byte_range().0, u64::try_from(pages.first()?.offset).ok()?);
    (start != first).then_some(start..first)
}

/// Where the pages of a column chunk of `rows` rows lie that hold `wanted` ones (ascending, disjoint, counted from the first
/// one), and the dictionary they need.
pub(crate) fn page_ranges(located: Located<'_>, rows: u64, wanted: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = dictionary_range(located).into_iter().collect();
    let (_, pages) = located;
    for (page, rows) in pages.iter().zip(page_rows(pages, 0..rows)) {
        let first = wanted.partition_point(|range| range.end <= rows.start);
        if wanted.get(first).is_some_and(|range| range.start < rows.end) {
            let start = u64::try_from(page.offset).unwrap_or(0);
            ranges.push(start..start + u64::try_from(page.compressed_page_size).unwrap_or(0));
        }
    }
    ranges
}
