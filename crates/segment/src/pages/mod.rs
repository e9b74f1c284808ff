//! Decodes columns of integers without nulls, page by page, straight into lists of numbers: the part of Parquet that
//! summing samples needs, without Arrow arrays and with contexts of zstd that last.
//!
//! ```text
//! page of the library's page reader (header and checksum are done) ─▶ decompressed ─▶ numbers of the page
//! PLAIN · RLE_DICTIONARY · DELTA_BINARY_PACKED · BYTE_STREAM_SPLIT               every encoding an integer may have
//! ```
//!
//! Pages are found by the offset index and hold at most [`PAGE_ROWS_MAX`] rows; a file that is otherwise is left to the
//! library's own decoder ([`fits`]). Nothing is trusted: a page that holds fewer or more numbers than the index says, or
//! refers to a row the dictionary does not have, is damage. Memory is bounded by one page of each column.

mod bits;
mod delta;
mod indexes;
mod inflate;
mod stored;

use std::ops::Range;
use std::sync::Arc;

use flamestore_model::Result;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;

use crate::page_check::Fetched;
use crate::pair_scan::Located;
use crate::scan::{corrupt, guard, page_rows};
use crate::schema::Table;
use stored::dictionary_range;
pub(crate) use stored::{StoredPages, page_ranges};

/// The most rows of a page that is decoded here.
const PAGE_ROWS_MAX: u64 = 1 << 16;

/// An integer as Parquet stores it.
pub(crate) trait Number: Copy {
    const TYPE: Type;
    const BYTES: usize;
    /// The lowest bits.
    fn of(bits: u64) -> Self;
    /// The sum, wrapping.
    fn add(self, other: Self) -> Self;
}

impl Number for u32 {
    const TYPE: Type = Type::INT32;
    const BYTES: usize = 4;

    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are asked for")]
    #[inline]
    fn of(bits: u64) -> Self {
        bits as Self
    }

    #[inline]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

impl Number for i64 {
    const TYPE: Type = Type::INT64;
    const BYTES: usize = 8;

    #[inline]
    fn of(bits: u64) -> Self {
        bits.cast_signed()
    }

    #[inline]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

/// What is wrong with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// It ends too early.
    Short,
    /// It holds another number of values than its header or the index says.
    Count,
    /// Its parts contradict each other.
    Layout,
    /// It refers to a row that the dictionary does not have.
    Row,
    /// It is encoded as no integer may be.
    Encoding,
    /// It cannot be decompressed.
    Compressed,
}

impl Broken {
    fn as_str(self) -> &'static str {
        match self {
            Self::Short => "a page ends too early",
            Self::Count => "a page holds another number of values than it should",
            Self::Layout => "the layout of a page contradicts itself",
            Self::Row => "a page refers to a row that the dictionary does not have",
            Self::Encoding => "a page of integers has an encoding that integers do not have",
            Self::Compressed => "a page cannot be decompressed",
        }
    }
}

/// Whether pages of `column` can be decoded here.
pub(crate) fn fits<T: Number>((column, pages): Located<'_>, rows: u64) -> bool {
    let levels = column.column_descr().max_def_level() + column.column_descr().max_rep_level();
    let longest = page_rows(pages, 0..rows).map(|rows| rows.end.saturating_sub(rows.start)).max();
    column.column_type() == T::TYPE && levels == 0 && longest.is_some_and(|rows| rows <= PAGE_ROWS_MAX)
}

/// The pages of one column chunk, in order.
pub(crate) struct ColumnPages<'a, T> {
    table: Table,
    name: &'a str,
    stored: StoredPages,
    /// First rows of the pages not yet left behind, within the row group, and the end of the last.
    bounds: std::vec::IntoIter<Range<u64>>,
    dictionary: Vec<T>,
    has_dictionary: bool,
    /// The page decoded last and its first row.
    numbers: Vec<T>,
    first: u64,
}

impl<'a, T: Number> ColumnPages<'a, T> {
    /// The pages of a column chunk of `rows` rows; `fetched` has the bytes of those that are wanted, and of its dictionary.
    pub(crate) fn new(
        (table, name): (Table, &'a str),
        fetched: &Arc<Fetched>,
        located: Located<'_>,
        rows: u64,
    ) -> Result<Self> {
        let (column, pages) = located;
        let bounds: Vec<Range<u64>> = page_rows(pages, 0..rows).collect();
        let (stored, has_dictionary) = guard(table, || {
            let rows = usize::try_from(rows).unwrap_or(usize::MAX);
            let stored = StoredPages::new(fetched, column, rows, Some(pages))?;
            Ok::<_, ParquetError>((stored, dictionary_range(located).is_some()))
        })?;
        Ok(Self {
            table,
            name,
            stored,
            bounds: bounds.into_iter(),
            dictionary: Vec::new(),
            has_dictionary,
            numbers: Vec::new(),
            first: 0,
        })
    }

    /// The numbers from row `row` on to the end of its page: at least one. Rows are asked for in rising order.
    pub(crate) fn from(&mut self, row: u64) -> Result<&[T]> {
        while row >= self.first + self.numbers.len() as u64 {
            let Some(bounds) = self.bounds.next() else {
                return Err(self.wrong(Broken::Count));
            };
            self.load_dictionary()?;
            self.first = bounds.start;
            self.numbers.clear();
            match row < bounds.end {
                true => self.load(usize::try_from(bounds.end - bounds.start).unwrap_or(usize::MAX))?,
                false => guard(self.table, || self.stored.reader.skip_next_page())?,
            }
        }
        let inside = usize::try_from(row.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.numbers.get(inside..).ok_or_else(|| self.wrong(Broken::Count))
    }

    /// The page that lies before all others, where there is one.
    fn load_dictionary(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.has_dictionary) {
            return Ok(());
        }
        let page = guard(self.table, || self.stored.reader.get_next_page())?;
        let Some(Page::DictionaryPage { buf, num_values, .. }) = page else {
            return Err(self.wrong(Broken::Layout));
        };
        let mut dictionary = Vec::new();
        let decoded = match self.stored.is_zstd {
            true => inflate::with(&buf, |bytes| plain(bytes, num_values as usize, &mut dictionary)),
            false => plain(&buf, num_values as usize, &mut dictionary),
        };
        decoded.map_err(|broken| self.wrong(broken))?;
        self.dictionary = dictionary;
        Ok(())
    }

    /// Decodes the next page, which is to hold `rows`.
    fn load(&mut self, rows: usize) -> Result<()> {
        let page = guard(self.table, || self.stored.reader.get_next_page())?;
        let (encoding, bytes, values, is_compressed) = match page {
            Some(Page::DataPage { buf, num_values, encoding, .. }) => (encoding, buf, num_values, true),
            Some(Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. })
                if def_levels_byte_len != 0 || rep_levels_byte_len != 0 =>
            {
                return Err(self.wrong(Broken::Layout));
            }
            Some(Page::DataPageV2 { buf, num_values, encoding, is_compressed, .. }) => {
                (encoding, buf, num_values, is_compressed)
            }
            Some(Page::DictionaryPage { .. }) | None => return Err(self.wrong(Broken::Layout)),
        };
        if values as usize != rows {
            return Err(self.wrong(Broken::Count));
        }
        let mut numbers = std::mem::take(&mut self.numbers);
        let mut decode = |bytes: &[u8]| decode(encoding, bytes, &self.dictionary, rows, &mut numbers);
        let decoded = match is_compressed && self.stored.is_zstd {
            true => inflate::with(&bytes, decode),
            false => decode(&bytes),
        };
        self.numbers = numbers;
        match decoded {
            Ok(()) if self.numbers.len() == rows => Ok(()),
            Ok(()) => Err(self.wrong(Broken::Count)),
            Err(broken) => Err(self.wrong(broken)),
        }
    }

    #[cold]
    fn wrong(&self, broken: Broken) -> flamestore_model::Error {
        corrupt(self.table, broken.as_str()).with("column", self.name).with("row", self.first)
    }
}

/// Adds the `rows` numbers of a page to `out`.
fn decode<T: Number>(
    encoding: Encoding,
    bytes: &[u8],
    dictionary: &[T],
    rows: usize,
    out: &mut Vec<T>,
) -> std::result::Result<(), Broken> {
    match encoding {
        Encoding::DELTA_BINARY_PACKED => delta::decode(bytes, rows, out),
        Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => indexes::decode(bytes, dictionary, rows, out),
        Encoding::PLAIN => plain(bytes, rows, out),
        Encoding::BYTE_STREAM_SPLIT => split(bytes, rows, out),
        _ => Err(Broken::Encoding),
    }
}

/// Adds the first `count` of a group's numbers to `out`.
#[inline]
fn push<T: Number>(out: &mut Vec<T>, numbers: &[T; bits::GROUP], count: usize) {
    match count {
        // Of a length known when it is compiled.
        bits::GROUP => out.extend_from_slice(numbers),
        _ => out.extend_from_slice(&numbers[..count]),
    }
}

fn plain<T: Number>(bytes: &[u8], rows: usize, out: &mut Vec<T>) -> std::result::Result<(), Broken> {
    let bytes = rows.checked_mul(T::BYTES).and_then(|length| bytes.get(..length)).ok_or(Broken::Short)?;
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    out.extend(bytes.chunks_exact(T::BYTES).map(|bytes| T::of(number(bytes))));
    Ok(())
}

/// BYTE_STREAM_SPLIT: the first bytes of all numbers, then the second ones, and so on.
fn split<T: Number>(bytes: &[u8], rows: usize, out: &mut Vec<T>) -> std::result::Result<(), Broken> {
    if rows.checked_mul(T::BYTES) != Some(bytes.len()) {
        return Err(Broken::Count);
    }
    let start = out.len();
    let mut streams = bytes.chunks_exact(rows.max(1));
    out.extend(streams.next().unwrap_or_default().iter().map(|byte| T::of(u64::from(*byte))));
    for (shift, bytes) in (1..).map(|stream| 8 * stream).zip(streams) {
        // Most numbers are small: their high bytes are zeros, which are quicker to tell than to add.
        if bytes.iter().fold(0, |any, byte| any | byte) != 0 {
            let numbers = out[start..].iter_mut().zip(bytes);
            numbers.for_each(|(number, byte)| *number = number.add(T::of(u64::from(*byte) << shift)));
        }
    }
    Ok(())
}
