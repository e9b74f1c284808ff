//! The columns of the tables that SQL shows, and what several of them have in common.
//!
//! Ids are hexadecimal text. Times are timestamps in UTC; `time_unix_nano` is the same as a number.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Int64Array, MapArray, RecordBatch, RecordBatchOptions, StringArray, TimestampNanosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use flamestore_model::{Error, Result};
use flamestore_segment::SeriesRow;

use super::named::Kind;
use super::names::Known;
use crate::tables::batches::{labels, labels_type, with_service};

/// What the name of a column of numbers starts with.
pub(super) const NUMBER_OF: char = '#';

/// The time zone of all times.
pub(super) const UTC: &str = "UTC";

/// A table whose rows are read from the segments and heads of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// One row per stored profile and sample type.
    Profiles,
    /// One row per observation.
    Samples,
    /// One row per series and segment or head.
    Series,
    /// One row per distinct stack of a service and segment or head.
    Stacks,
    /// One row per function of a service and segment or head.
    Functions,
}

/// What a column holds.
#[derive(Clone, Copy)]
enum Of {
    Text,
    /// Text of which few values are distinct.
    Name,
    Texts,
    Labels,
    Time,
    Count,
    Number,
}

type Column = (&'static str, Of, bool);

const fn col(name: &'static str, of: Of) -> Column {
    (name, of, false)
}

const fn opt(name: &'static str, of: Of) -> Column {
    (name, of, true)
}

const TYPE_PARTS: [Column; 5] = [
    col("profile_name", Of::Text),
    col("sample_type", Of::Text),
    col("sample_unit", Of::Text),
    col("period_type", Of::Text),
    col("period_unit", Of::Text),
];

const SERIES: [Column; 4] = [
    col("service_name", Of::Text),
    col("profile_type", Of::Text),
    col("temporality", Of::Text),
    col("labels", Of::Labels),
];

const STACK: [Column; 5] = [
    col("stack", Of::Texts),
    opt("leaf", Of::Name),
    opt("root", Of::Name),
    col("depth", Of::Count),
    col("stack_id", Of::Text),
];

impl Shown {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [Self::Profiles, Self::Samples, Self::Series, Self::Stacks, Self::Functions];

    /// The name in SQL.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Profiles => "profiles",
            Self::Samples => "samples",
            Self::Series => "series",
            Self::Stacks => "stacks",
            Self::Functions => "functions",
        }
    }

    /// The name of the operator that reads it.
    pub(super) fn exec_name(self) -> &'static str {
        match self {
            Self::Profiles => "ShowProfilesExec",
            Self::Samples => "ShowSamplesExec",
            Self::Series => "ShowSeriesExec",
            Self::Stacks => "ShowStacksExec",
            Self::Functions => "ShowFunctionsExec",
        }
    }

    /// Whether its rows are of one series, so that selectors mean something.
    pub(super) fn has_series(self) -> bool {
        matches!(self, Self::Profiles | Self::Samples | Self::Series)
    }

    /// Whether its rows have a time.
    pub(super) fn has_time(self) -> bool {
        matches!(self, Self::Profiles | Self::Samples)
    }

    /// Whether its rows have a stack.
    pub(super) fn has_stack(self) -> bool {
        matches!(self, Self::Samples | Self::Stacks)
    }

    /// The columns of names that may be read as numbers, each followed by what its numbers stand for.
    pub(super) fn numbered(self) -> impl Iterator<Item = (&'static str, Kind)> {
        let columns = if self.has_time() { self.columns() } else { Vec::new() };
        columns.into_iter().filter_map(|(name, of, _)| {
            let kind = match of {
                // Ids differ from row to row.
                Of::Text if matches!(name, "profile_id" | "stack_id" | "trace_id" | "span_id") => return None,
                Of::Text => Kind::Text,
                Of::Name => Kind::Name,
                Of::Texts => Kind::Stack,
                Of::Labels => Kind::Labels,
                Of::Time | Of::Count | Of::Number => return None,
            };
            Some((name, kind))
        })
    }

    /// The columns, and after them those of numbers, each called as the column of names behind a [`NUMBER_OF`].
    pub(super) fn schema_with_numbers(self) -> SchemaRef {
        let schema = self.schema();
        let number = |(name, _): (&str, Kind)| {
            let nullable = schema.field_with_name(name).is_ok_and(Field::is_nullable);
            Arc::new(Field::new(format!("{NUMBER_OF}{name}"), DataType::UInt32, nullable))
        };
        let fields = schema.fields().iter().cloned().chain(self.numbered().map(number));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The columns.
    pub(super) fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<[SchemaRef; 5]> = LazyLock::new(|| Shown::ALL.map(|of| schema(&of.columns())));
        Arc::clone(&SCHEMAS[self as usize])
    }

    fn columns(self) -> Vec<Column> {
        let time = [col("time", Of::Time), col("time_unix_nano", Of::Number)];
        let segment = [col("segment", Of::Text)];
        match self {
            Self::Profiles => {
                let own = [
                    col("profile_id", Of::Text),
                    col("total", Of::Number),
                    col("sample_count", Of::Count),
                    col("duration_nano", Of::Number),
                    col("period", Of::Number),
                ];
                [&time[..], &SERIES, &TYPE_PARTS, &own, &segment].concat()
            }
            Self::Samples => {
                let own = [
                    col("profile_id", Of::Text),
                    col("duration_nano", Of::Number),
                    col("period", Of::Number),
                    col("value", Of::Number),
                ];
                let observed = [
                    col("sample_labels", Of::Labels),
                    opt("observed_time", Of::Time),
                    opt("ended_time", Of::Time),
                    opt("trace_id", Of::Text),
                    opt("span_id", Of::Text),
                ];
                [&time[..], &SERIES, &TYPE_PARTS, &own, &STACK, &observed, &segment].concat()
            }
            Self::Series => {
                let own = [col("first_time", Of::Time), col("last_time", Of::Time), col("profile_count", Of::Count)];
                [&SERIES[..], &TYPE_PARTS, &own, &segment].concat()
            }
            Self::Stacks => [&SERIES[..1], &STACK, &segment].concat(),
            Self::Functions => {
                let own = [
                    col("name", Of::Text),
                    opt("system_name", Of::Text),
                    opt("filename", Of::Text),
                    opt("start_line", Of::Number),
                ];
                [&SERIES[..1], &own, &segment].concat()
            }
        }
    }
}

fn schema(columns: &[Column]) -> SchemaRef {
    let field = |(name, of, nullable): &Column| {
        let ty = match of {
            Of::Text => DataType::Utf8,
            Of::Name => name_type(),
            Of::Texts => texts_type(),
            Of::Labels => labels_type(),
            Of::Time => time_type(),
            Of::Count => DataType::UInt32,
            Of::Number => DataType::Int64,
        };
        Field::new(*name, ty, *nullable)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// The type of a list of names.
pub(super) fn texts_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// The type of names that are given by their number.
pub(super) fn name_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// The type of times.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()))
}

/// The column `name` of a table whose rows are of these series, if it is one of them.
///
/// # Errors
/// `Internal` when the labels cannot be built.
pub(super) fn of_series<'a>(name: &str, rows: impl Iterator<Item = &'a SeriesRow>) -> Result<Option<ArrayRef>> {
    match name {
        "profile_type" => Ok(Some(crate::tables::batches::types(rows))),
        "labels" => labels(rows).map(Some),
        name => {
            let text = |get: fn(&SeriesRow) -> &str| Arc::new(rows.map(|row| Some(get(row))).collect::<StringArray>());
            Ok(text_of_series(name).map(|get| text(get) as ArrayRef))
        }
    }
}

/// What the column of text `name` says of a series, if it is one of them.
fn text_of_series(name: &str) -> Option<fn(&SeriesRow) -> &str> {
    Some(match name {
        "service_name" => |row| &row.service_name,
        "temporality" => |row| row.temporality.as_str(),
        "profile_name" => |row| &row.profile_type.name,
        "sample_type" => |row| &row.profile_type.sample_type,
        "sample_unit" => |row| &row.profile_type.sample_unit,
        "period_type" => |row| &row.profile_type.period_type,
        "period_unit" => |row| &row.profile_type.period_unit,
        _ => return None,
    })
}

/// The number of what the column `name` says of a series, if it is one of these columns.
///
/// # Errors
/// `Exhausted` when there are too many names.
pub(super) fn number_of_series(name: &str, row: &SeriesRow, known: &mut Known) -> Result<Option<u32>> {
    match (name, text_of_series(name)) {
        ("profile_type", _) => known.add_text(&row.profile_type.to_string()).map(Some),
        ("labels", _) => known.add_labels(&with_service(row)).map(Some),
        (_, Some(get)) => known.add_text(get(row)).map(Some),
        (_, None) => Ok(None),
    }
}

/// The columns of `schema` of so many rows.
///
/// # Errors
/// What `column` says; `Internal` when a column is not as the schema says.
pub(super) fn batch(schema: &SchemaRef, rows: usize, column: impl Fn(&str) -> Result<ArrayRef>) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(wrong)
}

/// Times of rows.
pub(super) fn times(times: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone(UTC))
}

/// Numbers of rows.
pub(super) fn numbers(numbers: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(numbers))
}

/// Counts of rows.
pub(super) fn counts(counts: impl Iterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(counts))
}

/// Texts of rows that may have none.
pub(super) fn texts<T: AsRef<str>>(texts: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(texts.collect::<StringArray>())
}

/// Bytes as hexadecimal text.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)]));
    bytes.iter().flat_map(digits).collect()
}

/// A map as one of the type of labels, whose fields may be called otherwise.
///
/// # Errors
/// `Internal` when it is another map.
pub(super) fn as_labels(map: MapArray) -> Result<ArrayRef> {
    let (_, offsets, entries, nulls, _) = map.into_parts();
    let DataType::Map(field, sorted) = labels_type() else {
        return Err(Error::internal("labels are not a map"));
    };
    Ok(Arc::new(MapArray::try_new(field, offsets, entries, nulls, sorted).map_err(wrong)?))
}

/// That a table was asked for a column it does not have.
pub(super) fn unknown_column(column: &str) -> Error {
    Error::internal("a table has no such column").with("column", column)
}

pub(super) fn wrong(error: arrow::error::ArrowError) -> Error {
    Error::internal("a record batch could not be built").because(error)
}
