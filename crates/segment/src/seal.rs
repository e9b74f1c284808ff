//! Writes the tables of a segment as Parquet files.

use bytes::Bytes;
use flamestore_model::Result;

use crate::{SegmentMeta, SegmentOptions, SegmentTables, Table};

/// One table as a Parquet file.
#[derive(Clone, Debug)]
pub struct SealedTable {
    /// Which table.
    pub table: Table,
    /// The file.
    pub bytes: Bytes,
    /// Its rows.
    pub rows: u64,
    /// The last bytes of the file that hold the page index and the footer: one request for them opens the table.
    pub footer_bytes: u64,
    /// XXH3-64 of the file.
    pub checksum: u64,
}

/// A whole segment, ready to be stored.
#[derive(Clone, Debug)]
pub struct SealedSegment {
    /// All tables, in the order of [`Table::ALL`].
    pub tables: Vec<SealedTable>,
    /// What the segment says of itself.
    pub meta: SegmentMeta,
}

impl SealedSegment {
    /// The bytes of all tables.
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes.len() as u64).sum()
    }
}

/// Encodes `tables`, consuming their batches table by table.
///
/// # Errors
/// `Internal` when the Parquet writer refuses what was built.
pub fn seal(_tables: SegmentTables, _options: &SegmentOptions) -> Result<SealedSegment> {
    Err(flamestore_model::Error::internal("not written yet"))
}
