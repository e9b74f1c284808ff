//! Schemas in which no text is a view.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema};

/// `schema` with views of bytes for views of text. What tells dictionaries apart stays.
pub(super) fn of_bytes(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

fn field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(data_type(field.data_type())))
}

/// A union or a map, which no column that is read may be, stays what it is.
fn data_type(of: &DataType) -> DataType {
    match of {
        DataType::Utf8View => DataType::BinaryView,
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::ListView(item) => DataType::ListView(field(item)),
        DataType::LargeListView(item) => DataType::LargeListView(field(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(field(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Dictionary(keys, values) => DataType::Dictionary(keys.clone(), Box::new(data_type(values))),
        DataType::RunEndEncoded(ends, values) => DataType::RunEndEncoded(Arc::clone(ends), field(values)),
        other => other.clone(),
    }
}
