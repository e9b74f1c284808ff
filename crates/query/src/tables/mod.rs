//! The tables of a snapshot for DataFusion.
//!
//! | table | provider | pruned by |
//! |---|---|---|
//! | `series`, `profiles` | [`RowsTable`]: through the segment readers, damaged segments left out | manifest, postings, pages |
//! | `samples` and the dictionary tables | [`FilesTable`]: DataFusion's Parquet scan | manifest, row groups, pages |
//!
//! Every table has the column `segment`, which names the segment or the head a row is of: an id means nothing without it, so
//! joins are on (`segment`, id).

mod batches;
mod filters;
mod functions;
mod rows;

pub(crate) use functions::{label, label_names, register, selects};
pub(crate) use rows::{RowsKind, RowsTable};
