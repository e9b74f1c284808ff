//! Answers without dictionaries and views of Arrow: what saves memory on the way is of no use to those who ask, and many readers
//! do not know it.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use flamestore_model::{Error, Result};

/// The plain form of batches of one schema.
pub(super) struct Plain {
    schema: SchemaRef,
    /// Whether any column changes.
    changes: bool,
}

impl Plain {
    /// The plain form of batches of `schema`.
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let fields: Vec<FieldRef> = schema.fields().iter().map(plain_field).collect();
        let changes = fields.iter().zip(schema.fields()).any(|(plain, field)| plain != field);
        let plain = Schema::new_with_metadata(fields, schema.metadata().clone());
        Self { schema: if changes { Arc::new(plain) } else { Arc::clone(schema) }, changes }
    }

    /// Batches of `schema` as they are.
    pub(super) fn as_is(schema: &SchemaRef) -> Self {
        Self { schema: Arc::clone(schema), changes: false }
    }

    /// Its schema.
    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// `batch` in this form.
    ///
    /// # Errors
    /// `Exhausted` when a column is too large for its type.
    pub(super) fn batch(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if !self.changes {
            return Ok(batch);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns =
            columns.map(|(column, field)| cast(column, field.data_type())).collect::<std::result::Result<_, _>>();
        let plain =
            columns.and_then(|columns| RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options));
        plain.map_err(|error| {
            Error::exhausted("the names of one batch of rows take too many bytes; ask for fewer columns").because(error)
        })
    }
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let plain = plain_type(field.data_type());
    match plain == *field.data_type() {
        true => Arc::clone(field),
        false => Arc::new(Field::clone(field).with_data_type(plain)),
    }
}

/// The plain form of a type.
pub(super) fn plain_type(ty: &DataType) -> DataType {
    match ty {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) => DataType::List(plain_field(field)),
        DataType::LargeList(field) => DataType::LargeList(plain_field(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        other => other.clone(),
    }
}
