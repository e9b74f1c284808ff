//! Rows of series and profiles as record batches.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
    UInt32Array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use flamestore_model::{Error, Labels, Result, names};
use flamestore_segment::{ProfileDetail, ProfileRow, SeriesRow};

/// The columns of `series`.
pub(crate) fn series_schema() -> Schema {
    use DataType::{Int64, UInt32, Utf8};
    schema_of(&[
        ("segment", Utf8),
        ("series_id", UInt32),
        ("dictionary_id", UInt32),
        ("service_name", Utf8),
        ("profile_type", Utf8),
        ("profile_name", Utf8),
        ("sample_type", Utf8),
        ("sample_unit", Utf8),
        ("period_type", Utf8),
        ("period_unit", Utf8),
        ("temporality", Utf8),
        ("labels", labels_type()),
        ("time_unix_nano_min", Int64),
        ("time_unix_nano_max", Int64),
        ("profile_count", UInt32),
    ])
}

/// The columns of `profiles`: those of the stored table that mean something outside, and what the series says.
pub(crate) fn profiles_schema() -> Schema {
    use DataType::{FixedSizeBinary, Int64, UInt32, Utf8};
    schema_of(&[
        ("segment", Utf8),
        ("profile", UInt32),
        ("profile_id", FixedSizeBinary(16)),
        ("series_id", UInt32),
        ("service_name", Utf8),
        ("profile_type", Utf8),
        ("labels", labels_type()),
        ("value_index", UInt32),
        ("value_count", UInt32),
        ("time_unix_nano", Int64),
        ("duration_nano", Int64),
        ("period", Int64),
        ("unit", Int64),
        ("total", Int64),
        ("row_start", Int64),
        ("row_count", UInt32),
        ("stack_base", Int64),
    ])
}

/// Columns of `profiles` that need more than a [`ProfileRow`].
pub(crate) fn needs_details(column: &str) -> bool {
    matches!(column, "profile_id" | "value_index" | "value_count" | "duration_nano" | "period")
}

/// The series `rows` of `segment`, of the columns of `schema` only.
///
/// # Errors
/// `Internal` when a column is unknown.
pub(crate) fn series_batch(segment: &str, rows: &[&SeriesRow], schema: &SchemaRef) -> Result<RecordBatch> {
    batch(schema, rows.len(), |column| {
        let texts = |get: fn(&SeriesRow) -> &str| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(get(row))).collect::<StringArray>())
        };
        Ok(match column {
            "segment" => repeated(segment, rows.len()),
            "series_id" => u32s(rows.iter().map(|row| row.series_id)),
            "dictionary_id" => u32s(rows.iter().map(|row| row.dictionary_id)),
            "service_name" => texts(|row| &row.service_name),
            "profile_type" => types(rows.iter().copied()),
            "profile_name" => texts(|row| &row.profile_type.name),
            "sample_type" => texts(|row| &row.profile_type.sample_type),
            "sample_unit" => texts(|row| &row.profile_type.sample_unit),
            "period_type" => texts(|row| &row.profile_type.period_type),
            "period_unit" => texts(|row| &row.profile_type.period_unit),
            "temporality" => texts(|row| row.temporality.as_str()),
            "labels" => labels(rows.iter().copied())?,
            "time_unix_nano_min" => i64s(rows.iter().map(|row| row.time_min)),
            "time_unix_nano_max" => i64s(rows.iter().map(|row| row.time_max)),
            "profile_count" => u32s(rows.iter().map(|row| row.profiles.count)),
            other => return Err(unknown_column(other)),
        })
    })
}

/// A profile with its series and, where asked for, with all it says of itself.
pub(crate) struct ProfileOut<'a> {
    pub(crate) row: ProfileRow,
    pub(crate) series: &'a SeriesRow,
    pub(crate) detail: Option<&'a ProfileDetail>,
}

/// The profiles `rows` of `segment`, of the columns of `schema` only.
///
/// # Errors
/// `Internal` when a column is unknown or needs details that were not read.
pub(crate) fn profiles_batch(segment: &str, rows: &[ProfileOut<'_>], schema: &SchemaRef) -> Result<RecordBatch> {
    let series = || rows.iter().map(|row| row.series);
    batch(schema, rows.len(), |column| {
        Ok(match column {
            "segment" => repeated(segment, rows.len()),
            "profile" => u32s(rows.iter().map(|out| out.row.profile)),
            "series_id" => u32s(rows.iter().map(|out| out.row.series_id)),
            "service_name" => Arc::new(series().map(|row| Some(row.service_name.as_str())).collect::<StringArray>()),
            "profile_type" => types(series()),
            "labels" => labels(series())?,
            "time_unix_nano" => i64s(rows.iter().map(|out| out.row.time_unix_nano)),
            "unit" => i64s(rows.iter().map(|out| out.row.unit)),
            "total" => i64s(rows.iter().map(|out| out.row.total)),
            "row_start" => i64s(rows.iter().map(|out| i64::try_from(out.row.row_start).unwrap_or(i64::MAX))),
            "row_count" => u32s(rows.iter().map(|out| out.row.row_count)),
            "stack_base" => i64s(rows.iter().map(|out| out.row.stack_base)),
            other => detail_column(other, rows)?,
        })
    })
}

fn detail_column(column: &str, rows: &[ProfileOut<'_>]) -> Result<ArrayRef> {
    let details = rows.iter().map(|out| out.detail).collect::<Option<Vec<_>>>();
    let details = details.ok_or_else(|| unknown_column(column))?;
    let metas = || details.iter().map(|detail| &detail.meta);
    Ok(match column {
        "profile_id" => ids(metas().map(|meta| meta.id.as_bytes()))?,
        "value_index" => u32s(metas().map(|meta| meta.value_index)),
        "value_count" => u32s(metas().map(|meta| meta.value_count)),
        "duration_nano" => i64s(metas().map(|meta| meta.duration_nano)),
        "period" => i64s(metas().map(|meta| meta.period)),
        other => return Err(unknown_column(other)),
    })
}

/// The type of the column `labels`: that of the stored tables.
pub(crate) fn labels_type() -> DataType {
    let key = Field::new("key", DataType::Utf8, false);
    let value = Field::new("value", DataType::Utf8, true);
    let entries = Field::new("key_value", DataType::Struct(Fields::from(vec![key, value])), false);
    DataType::Map(Arc::new(entries), true)
}

/// What the fields of the type of labels are called.
pub(crate) fn label_field_names() -> MapFieldNames {
    MapFieldNames { entry: "key_value".to_owned(), key: "key".to_owned(), value: "value".to_owned() }
}

fn schema_of(columns: &[(&str, DataType)]) -> Schema {
    Schema::new(columns.iter().map(|(name, ty)| Field::new(*name, ty.clone(), false)).collect::<Vec<_>>())
}

fn batch(schema: &SchemaRef, rows: usize, column: impl Fn(&str) -> Result<ArrayRef>) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(wrong)
}

fn repeated(text: &str, rows: usize) -> ArrayRef {
    Arc::new(std::iter::repeat_n(Some(text), rows).collect::<StringArray>())
}

/// The profile types of rows of these series.
pub(crate) fn types<'a>(rows: impl Iterator<Item = &'a SeriesRow>) -> ArrayRef {
    let mut types = StringBuilder::new();
    rows.for_each(|row| types.append_value(row.profile_type.to_string()));
    Arc::new(types.finish())
}

/// The labels of rows of these series.
///
/// # Errors
/// `Internal` when the column cannot be built.
pub(crate) fn labels<'a>(rows: impl Iterator<Item = &'a SeriesRow>) -> Result<ArrayRef> {
    let mut maps = MapBuilder::new(Some(label_field_names()), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (name, value) in with_service(row).iter() {
            maps.keys().append_value(name);
            maps.values().append_value(value);
        }
        maps.append(true).map_err(wrong)?;
    }
    let maps = maps.finish();
    let (_, offsets, entries, nulls, _) = maps.into_parts();
    let DataType::Map(field, sorted) = labels_type() else {
        return Err(Error::internal("labels are not a map"));
    };
    Ok(Arc::new(arrow::array::MapArray::try_new(field, offsets, entries, nulls, sorted).map_err(wrong)?))
}

/// The labels of a series with its service, without derived ones.
pub(crate) fn with_service(row: &SeriesRow) -> Labels {
    row.labels.clone().with(names::SERVICE_NAME, &row.service_name)
}

fn ids<'a>(ids: impl Iterator<Item = &'a [u8; 16]>) -> Result<ArrayRef> {
    let mut builder = FixedSizeBinaryBuilder::new(16);
    for id in ids {
        builder.append_value(id).map_err(wrong)?;
    }
    Ok(Arc::new(builder.finish()))
}

fn u32s(values: impl Iterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

fn i64s(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn unknown_column(column: &str) -> Error {
    Error::internal("a table has no such column").with("column", column)
}

fn wrong(error: arrow::error::ArrowError) -> Error {
    Error::internal("a record batch could not be built").because(error)
}
