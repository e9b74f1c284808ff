//! The rows of a head as SQL sees them: with the ids of the head's tables, so that they join with the other tables.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::SchemaRef;
use flamestore_model::{Error, Result};
use flamestore_segment::{SegmentTables, Table};

/// All rows of `series` of a head, of the columns of `schema` only.
///
/// # Errors
/// `Internal` when the tables lack a column.
pub(super) fn series(segment: &str, tables: &SegmentTables, schema: &SchemaRef) -> Result<RecordBatch> {
    let rows = whole(tables, Table::Series)?;
    build(schema, rows.num_rows(), |name| match name {
        "segment" => Ok(repeated(segment, rows.num_rows())),
        name => column(&rows, name),
    })
}

/// All rows of `profiles` of a head, of the columns of `schema` only.
///
/// # Errors
/// `Internal` when the tables lack a column.
pub(super) fn profiles(segment: &str, tables: &SegmentTables, schema: &SchemaRef) -> Result<RecordBatch> {
    let (rows, series) = (whole(tables, Table::Profiles)?, whole(tables, Table::Series)?);
    let ids = column(&rows, "series_id")?;
    let ids = ids.as_any().downcast_ref::<UInt32Array>().ok_or_else(|| missing("series_id"))?;
    build(schema, rows.num_rows(), |name| match name {
        "segment" => Ok(repeated(segment, rows.num_rows())),
        // Series are numbered by row.
        "service_name" | "profile_type" | "labels" => take(&column(&series, name)?, ids, None).map_err(wrong),
        name => column(&rows, name),
    })
}

fn whole(tables: &SegmentTables, table: Table) -> Result<RecordBatch> {
    concat_batches(&table.schema(), tables.batches(table)).map_err(wrong)
}

fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    batch.column_by_name(name).cloned().ok_or_else(|| missing(name))
}

fn repeated(text: &str, rows: usize) -> ArrayRef {
    Arc::new(std::iter::repeat_n(Some(text), rows).collect::<StringArray>())
}

fn build(schema: &SchemaRef, rows: usize, column: impl Fn(&str) -> Result<ArrayRef>) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(wrong)
}

fn missing(name: &str) -> Error {
    Error::internal("a table of a head lacks a column").with("column", name)
}

fn wrong(error: arrow::error::ArrowError) -> Error {
    Error::internal("a table of a head could not be read").because(error)
}
