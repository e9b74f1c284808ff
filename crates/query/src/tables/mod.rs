//! The tables of a snapshot for DataFusion as they are stored: the schema `segment` of SQL. What `public` shows is in
//! [`crate::sql`].
//!
//! | table | provider | pruned by |
//! |---|---|---|
//! | `series`, `profiles` | [`RowsTable`]: through the segment readers, damaged segments left out | manifest, postings, pages |
//! | `samples` and the dictionary tables | [`FilesTable`]: DataFusion's Parquet scan | manifest, row groups, pages |
//!
//! Every table has the column `segment`, which names the segment or the head a row is of: an id means nothing without it, so
//! joins are on (`segment`, id).

pub(crate) mod batches;
mod files;
pub(crate) mod filters;
mod functions;
mod head_rows;
mod rows;

pub(crate) use files::FilesTable;
pub(crate) use functions::{LABEL, label, label_names, register, selects};
pub(crate) use rows::{HeadIds, RowsKind, RowsTable, with_profiles};
