//! The Parquet tables of one segment: schema, writer, reader, postings; bytes in, bytes out.
//!
//! ```text
//! SegmentInput ──build_tables──▶ SegmentTables ──seal──▶ SealedSegment   (bytes of Parquet files)
//!                                     │ SQL over a head                     │ TableSource
//!                                     ▼                                     ▼
//!                                RecordBatches                        SegmentReader ──▶ series, profiles, ValueTree
//!                                                                          │ SegmentMerger
//! SealedSegment ◀──build_sealed── SegmentInput ◀───────────────────────────┘   compaction, piece by piece
//! ```
//!
//! No network I/O and no clock: bytes are asked of a [`TableSource`], and any executor may drive the reader. What is read
//! is not trusted: damage is an error of kind `Corrupt`, never a panic.

mod build;
mod byte_lru;
mod compact;
mod cover;
mod days;
mod input;
mod metric;
mod observed;
mod page_check;
mod pages;
mod pair_scan;
mod reader;
mod report;
mod resolution;
mod row_group;
mod rows;
mod scan;
mod schema;
mod seal;
mod source;
mod tables;

pub use build::{build_sealed, build_tables};
pub use byte_lru::ByteLru;
pub use compact::{DropRule, MergeError, MergeLimits, MergeResult, SegmentMerger};
pub use cover::{Cover, ReadFrom};
pub use days::{DaysOf, roll_up_days};
pub use input::{DictionaryInput, ProfileInput, ProfileMeta, SegmentInput, SeriesInput};
pub use metric::names as metric_names;
pub use reader::{DictionaryCache, SegmentFacts, SegmentReader, StackSums, TableFacts, inspect, read_everything};
pub use report::ScanReport;
pub use resolution::{Resolution, RollUps};
pub use rows::{
    DictionaryEntry, DictionarySelection, ProfileDetail, ProfileRow, ProfileSamples, SampleColumns, SampleParts,
    SeriesRow, SeriesTable, Span, WindowRow, WindowSums, WindowTable, all_labels,
};
pub use schema::{FORMAT_VERSION, FORMAT_VERSION_KEY, TABLE_KEY, Table};
pub use seal::{SealedSegment, SealedTable, seal};
pub use source::{MemorySource, TableSource};
pub use tables::{SegmentMeta, SegmentOptions, SegmentTables};
