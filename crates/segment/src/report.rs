//! What a scan read and what it could skip.

use std::ops::AddAssign;

/// Counts of one scan or of several added up. Footers and page indexes are not counted: they are read once and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Rows decoded and looked at.
    pub rows: u64,
    /// Requests to the source.
    pub requests: u64,
    /// Bytes asked of the source, as stored.
    pub bytes_read: u64,
    /// Row groups of which something was read.
    pub row_groups_read: u64,
    /// Row groups of the scanned tables of which nothing was read.
    pub row_groups_skipped: u64,
    /// Pages read, over the columns looked at.
    pub pages_read: u64,
    /// Pages of the columns looked at that were not read.
    pub pages_skipped: u64,
}

impl AddAssign for ScanReport {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.requests += other.requests;
        self.bytes_read += other.bytes_read;
        self.row_groups_read += other.row_groups_read;
        self.row_groups_skipped += other.row_groups_skipped;
        self.pages_read += other.pages_read;
        self.pages_skipped += other.pages_skipped;
    }
}
