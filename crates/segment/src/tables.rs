//! The tables of a segment in memory, as Arrow, and what the segment says of itself.

use arrow::array::RecordBatch;

use crate::resolution::RollUps;
use crate::schema::Table;

/// The tables of one segment as record batches of [`Table::schema`]; what a head shows to SQL and what gets sealed. Columns of
/// `samples` that tell observations apart are absent where no row has a value.
#[derive(Clone, Debug)]
pub struct SegmentTables {
    /// `None` for a table that the segment does not have.
    batches: Vec<Option<Vec<RecordBatch>>>,
    /// What the segment says of itself.
    pub meta: SegmentMeta,
}

/// What a segment says of itself: what a manifest keeps to prune by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentMeta {
    /// The version of its tables.
    pub format_version: u32,
    /// The first time of a profile, in nanoseconds since 1970; 0 without profiles.
    pub time_min: i64,
    /// The last time of a profile; 0 without profiles.
    pub time_max: i64,
    /// The ids of its profile types, sorted, distinct.
    pub profile_types: Vec<String>,
    /// Its services, sorted, distinct.
    pub services: Vec<String>,
    /// Rows of `samples`.
    pub sample_rows: u64,
    /// Rows of `profiles`.
    pub profile_rows: u64,
    /// Rows of `series`.
    pub series: u64,
    /// Rows of `stacks`.
    pub stacks: u64,
    /// Bytes that what tells observations apart takes when decoded, at most.
    pub observed_bytes: u64,
}

/// How tables are cut into row groups, pages and batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// Rows of a row group.
    pub row_group_rows: usize,
    /// Rows of a page of `samples`.
    pub sample_page_rows: usize,
    /// Rows of a page of `strings`, `locations` and roll-ups; four times as many in `call_sites`, an eighth in `profiles`, half in the other
    /// tables. Small, since the rows of a service begin and end inside of a page.
    pub page_rows: usize,
    /// Rows of a record batch of [`SegmentTables`].
    pub batch_rows: usize,
    /// Which roll-ups are built.
    pub rollups: RollUps,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            row_group_rows: 1 << 20,
            sample_page_rows: 8192,
            page_rows: 4096,
            batch_rows: 65_536,
            rollups: RollUps::None,
        }
    }
}

impl SegmentOptions {
    /// Row groups, pages and batches of a few rows, so that tests meet every boundary.
    pub fn tiny() -> Self {
        Self { row_group_rows: 16, sample_page_rows: 4, page_rows: 16, batch_rows: 8, rollups: RollUps::None }
    }
}

impl SegmentTables {
    pub(crate) fn new(meta: SegmentMeta) -> Self {
        let empty = |table: Table| (!Table::ROLLUPS.contains(&table)).then(Vec::new);
        Self { batches: Table::ALL.map(empty).to_vec(), meta }
    }

    pub(crate) fn set(&mut self, table: Table, batches: Vec<RecordBatch>) {
        self.batches[table.index()] = Some(batches);
    }

    /// Whether the segment has `table`, be it empty.
    pub fn has(&self, table: Table) -> bool {
        self.batches[table.index()].is_some()
    }

    /// The rows of `table`; no batch where there is none.
    pub fn batches(&self, table: Table) -> &[RecordBatch] {
        self.batches[table.index()].as_deref().unwrap_or_default()
    }

    /// How many rows `table` has.
    pub fn rows(&self, table: Table) -> usize {
        self.batches(table).iter().map(RecordBatch::num_rows).sum()
    }

    /// Bytes the batches take in memory.
    pub fn memory_bytes(&self) -> usize {
        self.batches.iter().flatten().flatten().map(RecordBatch::get_array_memory_size).sum()
    }

    pub(crate) fn remove(&mut self, table: Table) {
        self.batches[table.index()] = None;
    }

    pub(crate) fn take(&mut self, table: Table) -> Option<Vec<RecordBatch>> {
        self.batches[table.index()].take()
    }
}
