//! Looks at pages of byte strings before the Parquet reader does: in the delta encodings the reader makes room for as many
//! values as the page's bytes claim, and a claim that is damaged can ask for more memory than there is, which ends the
//! process. Here the claim is held against the number of values in the page's header.
//!
//! ```text
//! delta stream:  block size, miniblocks, count, first value, then blocks: min delta, a width per miniblock, the miniblocks
//! DELTA_LENGTH_BYTE_ARRAY:  stream of lengths, bytes      DELTA_BYTE_ARRAY:  stream of prefixes, stream of lengths, bytes
//! ```
//!
//! (Layout: the Parquet format's page on encodings.)

use std::ops::Range;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};

/// Parts of a file, by where they lie in it.
pub(crate) struct Fetched {
    /// By rising start.
    parts: Vec<(Range<u64>, Bytes)>,
    end: u64,
}

impl Fetched {
    /// These parts, in any order.
    pub(crate) fn new(mut parts: Vec<(Range<u64>, Bytes)>) -> Self {
        parts.sort_by_key(|(range, _)| range.start);
        let end = parts.iter().map(|(range, _)| range.end).max().unwrap_or(0);
        Self { parts, end }
    }

    /// The part that holds the byte at `start`.
    fn part(&self, start: u64) -> Option<&(Range<u64>, Bytes)> {
        let after = self.parts.partition_point(|(range, _)| range.start <= start);
        self.parts[..after].iter().next_back().filter(|(range, _)| range.contains(&start))
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.end
    }
}

impl ChunkReader for Fetched {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let (range, bytes) = self.part(start).ok_or_else(|| beyond(start))?;
        Ok(bytes.slice(usize::try_from(start - range.start).map_err(|_| beyond(start))?..).reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.get_read(start)?.into_inner();
        if bytes.len() < length {
            return Err(beyond(start));
        }
        Ok(bytes.slice(..length))
    }
}

fn beyond(start: u64) -> ParquetError {
    ParquetError::EOF(format!("a page at {start} ends beyond what was fetched"))
}

/// Checks a page, once it is decompressed.
///
/// # Errors
/// When it claims more byte strings than its header tells.
pub(crate) fn check_page(column: &ColumnChunkMetaData, page: &Page) -> Result<()> {
    if column.column_type() != Type::BYTE_ARRAY {
        return Ok(());
    }
    let (bytes, encoding, values) = match page {
        Page::DataPage { buf, num_values, encoding, .. } => (after_levels(column, buf.clone())?, encoding, num_values),
        Page::DataPageV2 { buf, num_values, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
            let levels = usize::try_from(levels).ok().filter(|levels| *levels <= buf.len()).ok_or_else(damaged)?;
            (buf.slice(levels..), encoding, num_values)
        }
        Page::DictionaryPage { .. } => return Ok(()),
    };
    let mut stream = Stream(&bytes);
    match encoding {
        Encoding::DELTA_LENGTH_BYTE_ARRAY => stream.header(*values).map(drop),
        Encoding::DELTA_BYTE_ARRAY => {
            stream.skip(*values)?;
            stream.header(*values).map(drop)
        }
        _ => Ok(()),
    }
}

/// The bytes of a page of version 1 behind its levels.
fn after_levels(column: &ColumnChunkMetaData, mut bytes: Bytes) -> Result<Bytes> {
    let descr = column.column_descr();
    for level in [descr.max_rep_level(), descr.max_def_level()] {
        if level > 0 {
            let length = bytes.first_chunk::<4>().map(|length| u32::from_le_bytes(*length) as usize + 4);
            let length = length.filter(|length| *length <= bytes.len()).ok_or_else(damaged)?;
            bytes.advance(length);
        }
    }
    Ok(bytes)
}

fn damaged() -> ParquetError {
    ParquetError::General("a page is shorter than it says, or has more values".to_owned())
}

/// A delta stream and what follows it.
struct Stream<'a>(&'a [u8]);

struct Header {
    values_per_miniblock: u64,
    miniblocks: usize,
    count: u64,
}

impl Stream<'_> {
    fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or_else(damaged)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    fn take(&mut self, length: u64) -> Result<&[u8]> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.0.len()).ok_or_else(damaged)?;
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }

    /// The header of a stream of at most `values_max` values.
    fn header(&mut self, values_max: u32) -> Result<Header> {
        let (block, miniblocks, count, _first) = (self.varint()?, self.varint()?, self.varint()?, self.varint()?);
        let values_per_miniblock = block.checked_div(miniblocks).unwrap_or(0);
        if count > u64::from(values_max) || values_per_miniblock == 0 {
            return Err(damaged());
        }
        Ok(Header { values_per_miniblock, miniblocks: usize::try_from(miniblocks).map_err(|_| damaged())?, count })
    }

    /// Leaves a stream behind.
    fn skip(&mut self, values_max: u32) -> Result<()> {
        let Header { values_per_miniblock, miniblocks, count } = self.header(values_max)?;
        let mut left = count.saturating_sub(1);
        while left > 0 {
            self.varint()?;
            let widths = self.take(miniblocks as u64)?.to_vec();
            for width in widths {
                if left == 0 {
                    break;
                }
                self.take(values_per_miniblock.checked_mul(u64::from(width)).ok_or_else(damaged)? / 8)?;
                left = left.saturating_sub(values_per_miniblock);
            }
        }
        Ok(())
    }
}
