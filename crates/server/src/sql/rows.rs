//! Rows in the forms that leave the process: JSON, CSV, Arrow.
//!
//! | | JSON | CSV | Arrow |
//! |---|---|---|---|
//! | shape | `{"columns":[{"name","type"}],"rows":[[…],…]}` | a header, lines | an IPC stream |
//! | null | `null` | nothing | null |
//! | integers | numbers, also of 64 bits | digits | as they are |
//! | floats | numbers; `null` for what is none | digits, `NaN`, `inf` | as they are |
//! | times | RFC 3339; UTC where there is no zone | the same | as they are |
//! | bytes | base64 | base64 | as they are |
//! | lists, maps, structs | arrays and objects | their JSON | as they are |
//!
//! Nothing is kept but the rows that were not taken yet, and for Arrow the dictionaries of the last batch.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow_json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use arrow_json::{Encoder, EncoderFactory};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flamestore_model::{Error, Result};
use flamestore_query::DamagedSegment;
use serde::Serialize;

/// Rows of text are encoded so many at a time.
const TEXT_ROWS_MAX: usize = 1024;
/// RFC 3339 of times without a zone, which are of UTC.
const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// A form of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// One object with the columns and an array a row.
    Json,
    /// Comma-separated values under a header, RFC 4180.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

/// Writes batches of one schema in one format.
#[derive(Debug)]
pub struct RowWriter {
    format: Format,
    buffer: Vec<u8>,
}

enum Format {
    Json { has_rows: bool, options: EncoderOptions },
    Csv { options: EncoderOptions },
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Json { .. } => "Json",
            Self::Csv { .. } => "Csv",
            Self::Arrow(_) => "Arrow",
        })
    }
}

#[derive(Serialize)]
struct Column<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    data_type: String,
}

impl RowWriter {
    /// A writer of rows of `schema`.
    ///
    /// # Errors
    /// `Invalid` when the format cannot hold a column of the schema.
    pub fn new(format: RowFormat, schema: &SchemaRef) -> Result<Self> {
        let mut buffer = Vec::new();
        let options = EncoderOptions::default()
            .with_explicit_nulls(true)
            .with_timestamp_format(TIME_FORMAT.to_owned())
            .with_encoder_factory(Arc::new(Base64Bytes));
        let format = match format {
            RowFormat::Json => {
                let column = |field: &FieldRef| {
                    serde_json::to_string(&Column { name: field.name(), data_type: field.data_type().to_string() })
                };
                let columns: std::result::Result<Vec<_>, _> = schema.fields().iter().map(column).collect();
                let columns = columns.map_err(|e| Error::internal("a schema cannot be written").because(e))?;
                buffer.extend_from_slice(format!("{{\"columns\":[{}],\"rows\":[", columns.join(",")).as_bytes());
                Format::Json { has_rows: false, options }
            }
            RowFormat::Csv => {
                let header = RecordBatch::new_empty(Arc::new(as_text(schema)));
                csv(&header, true, &mut buffer).map_err(unwritable)?;
                Format::Csv { options }
            }
            RowFormat::Arrow => {
                let writer = StreamWriter::try_new(Vec::new(), schema).map_err(unwritable)?;
                Format::Arrow(Box::new(writer))
            }
        };
        Ok(Self { format, buffer })
    }

    /// `batch` in pieces of which each is little enough to be written at once.
    pub fn pieces(&self, batch: &RecordBatch) -> Vec<RecordBatch> {
        let (rows, step) = match self.format {
            Format::Arrow(_) => (batch.num_rows(), batch.num_rows().max(1)),
            Format::Json { .. } | Format::Csv { .. } => (batch.num_rows(), TEXT_ROWS_MAX),
        };
        (0..rows).step_by(step).map(|at| batch.slice(at, step.min(rows - at))).collect()
    }

    /// Writes the rows of `batch`.
    ///
    /// # Errors
    /// `Invalid` when a value has no form in this format.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let buffer = &mut self.buffer;
        let written = match &mut self.format {
            Format::Json { has_rows, options } => json(batch, options, has_rows, buffer),
            Format::Csv { options } => text(batch, options).and_then(|batch| csv(&batch, false, buffer)),
            Format::Arrow(writer) => writer.write(batch),
        };
        written.map_err(unwritable)
    }

    /// What was written and not taken yet.
    pub fn take(&mut self) -> Bytes {
        match &mut self.format {
            Format::Arrow(writer) => std::mem::take(writer.get_mut()).into(),
            Format::Json { .. } | Format::Csv { .. } => std::mem::take(&mut self.buffer).into(),
        }
    }

    /// Ends the answer; gives what was not taken yet.
    ///
    /// # Errors
    /// `Internal` when the end cannot be written.
    pub fn finish(self) -> Result<Bytes> {
        self.finish_telling(false, &[])
    }

    /// The same, and tells in JSON whether there are more rows, and which segments are missing.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub(crate) fn finish_telling(mut self, has_more: bool, damaged: &[DamagedSegment]) -> Result<Bytes> {
        match &mut self.format {
            Format::Json { has_rows, .. } => {
                self.buffer.extend_from_slice(if *has_rows { b"\n]" } else { b"]" });
                if has_more {
                    self.buffer.extend_from_slice(b",\n\"has_more\":true");
                }
                if !damaged.is_empty() {
                    self.buffer.extend_from_slice(format!(",\n\"damaged\":{}", named(damaged)).as_bytes());
                }
                self.buffer.extend_from_slice(b"}\n");
            }
            Format::Csv { .. } => {}
            Format::Arrow(writer) => {
                writer.finish().map_err(|e| Error::internal("a stream of Arrow does not end").because(e))?;
            }
        }
        Ok(self.take())
    }
}

/// Segments that are missing, as JSON.
pub(super) fn named(damaged: &[DamagedSegment]) -> serde_json::Value {
    damaged.iter().map(|of| serde_json::json!({ "segment": of.segment, "error": of.error })).collect()
}

fn unwritable(error: ArrowError) -> Error {
    Error::invalid("the answer cannot be written in this format; cast the column, or ask for arrow").because(error)
}

/// Writes the rows of `batch` as arrays, one a line.
fn json(
    batch: &RecordBatch,
    options: &EncoderOptions,
    has_rows: &mut bool,
    out: &mut Vec<u8>,
) -> std::result::Result<(), ArrowError> {
    let columns = batch.columns().iter().map(plain).collect::<std::result::Result<Vec<_>, _>>()?;
    let fields = fields(batch.schema_ref(), plain_type);
    let mut encoders = fields
        .iter()
        .zip(&columns)
        .map(|(field, column)| make_encoder(field, column.as_ref(), options))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        out.extend_from_slice(if *has_rows { b",\n[" } else { b"\n[" });
        *has_rows = true;
        for (at, encoder) in encoders.iter_mut().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            value(encoder, row, out);
        }
        out.push(b']');
    }
    Ok(())
}

fn value(encoder: &mut NullableEncoder<'_>, row: usize, out: &mut Vec<u8>) {
    match encoder.is_null(row) {
        true => out.extend_from_slice(b"null"),
        false => encoder.encode(row, out),
    }
}

/// Writes `batch`, which [`text`] made, as lines; the names of its columns first if `has_header`.
fn csv(batch: &RecordBatch, has_header: bool, out: &mut Vec<u8>) -> std::result::Result<(), ArrowError> {
    let writer = arrow_csv::WriterBuilder::new().with_header(has_header);
    writer.with_timestamp_format(TIME_FORMAT.to_owned()).build(out).write(batch)
}

/// `batch` with what CSV has no form for as text.
fn text(batch: &RecordBatch, options: &EncoderOptions) -> std::result::Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| {
        let column = plain(column)?;
        match column.data_type() {
            ty if ty.is_nested() => json_text(&column, options),
            ty if is_bytes(ty) => base64_text(&column),
            _ => Ok(column),
        }
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::new(as_text(batch.schema_ref())), columns)
}

/// The schema of what [`text`] makes of batches of `schema`.
fn as_text(schema: &Schema) -> Schema {
    let text = |ty: &DataType| match plain_type(ty) {
        ty if ty.is_nested() || is_bytes(&ty) => DataType::Utf8,
        ty => ty,
    };
    Schema::new(fields(schema, text))
}

/// The fields of `schema` with other types; all may be null.
fn fields(schema: &Schema, ty: impl Fn(&DataType) -> DataType) -> Fields {
    schema.fields().iter().map(|field| Field::new(field.name(), ty(field.data_type()), true)).collect()
}

/// Each value of a column as JSON.
fn json_text(column: &ArrayRef, options: &EncoderOptions) -> std::result::Result<ArrayRef, ArrowError> {
    let field: FieldRef = Arc::new(Field::new("", column.data_type().clone(), true));
    let mut encoder = make_encoder(&field, column.as_ref(), options)?;
    let (mut texts, mut json) = (StringBuilder::new(), Vec::new());
    for row in 0..column.len() {
        match encoder.is_null(row) {
            true => texts.append_null(),
            false => {
                json.clear();
                encoder.encode(row, &mut json);
                texts.append_value(String::from_utf8_lossy(&json));
            }
        }
    }
    Ok(Arc::new(texts.finish()))
}

/// Each value of a column as JSON, as it is in rows of JSON.
pub(crate) fn json_texts(column: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    let options = EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_timestamp_format(TIME_FORMAT.to_owned())
        .with_encoder_factory(Arc::new(Base64Bytes));
    json_text(&plain(column)?, &options)
}

fn base64_text(column: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    let bytes = bytes_of(column.as_ref())?;
    let mut texts = StringBuilder::new();
    for row in 0..column.len() {
        texts.append_option(column.is_valid(row).then(|| STANDARD.encode(bytes.value(row))));
    }
    Ok(Arc::new(texts.finish()))
}

/// `column` without dictionaries, and with texts as the keys of its maps, which JSON wants.
fn plain(column: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    let plain = plain_type(column.data_type());
    if plain == *column.data_type() { Ok(Arc::clone(column)) } else { cast(column, &plain) }
}

fn plain_type(ty: &DataType) -> DataType {
    let of = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(plain_type(field.data_type())));
    match ty {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::List(item) => DataType::List(of(item)),
        DataType::LargeList(item) => DataType::LargeList(of(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(of(item), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(of).collect()),
        DataType::Map(entries, is_sorted) => match entries.data_type() {
            DataType::Struct(pair) => {
                let pair: Fields =
                    pair.iter().enumerate().map(|(at, field)| if at == 0 { key(field) } else { of(field) }).collect();
                let entries = entries.as_ref().clone().with_data_type(DataType::Struct(pair));
                DataType::Map(Arc::new(entries), *is_sorted)
            }
            _ => ty.clone(),
        },
        ty => ty.clone(),
    }
}

fn key(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Arc::clone(field),
        _ => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
    }
}

fn is_bytes(ty: &DataType) -> bool {
    matches!(ty, DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_))
}

/// A column of bytes, whatever its layout.
enum BytesOf<'a> {
    Small(&'a arrow::array::BinaryArray),
    Large(&'a arrow::array::LargeBinaryArray),
    View(&'a arrow::array::BinaryViewArray),
    Fixed(&'a FixedSizeBinaryArray),
}

impl BytesOf<'_> {
    fn value(&self, row: usize) -> &[u8] {
        match self {
            Self::Small(array) => array.value(row),
            Self::Large(array) => array.value(row),
            Self::View(array) => array.value(row),
            Self::Fixed(array) => array.value(row),
        }
    }
}

fn bytes_of(array: &dyn Array) -> std::result::Result<BytesOf<'_>, ArrowError> {
    match array.data_type() {
        DataType::Binary => Ok(BytesOf::Small(array.as_binary())),
        DataType::LargeBinary => Ok(BytesOf::Large(array.as_binary())),
        DataType::BinaryView => Ok(BytesOf::View(array.as_binary_view())),
        DataType::FixedSizeBinary(_) => Ok(BytesOf::Fixed(array.as_fixed_size_binary())),
        ty => Err(ArrowError::CastError(format!("{ty} is no column of bytes"))),
    }
}

/// Has JSON write bytes as base64.
#[derive(Debug)]
struct Base64Bytes;

impl EncoderFactory for Base64Bytes {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> std::result::Result<Option<NullableEncoder<'a>>, ArrowError> {
        if !is_bytes(array.data_type()) {
            return Ok(None);
        }
        let encoder: Box<dyn Encoder + 'a> = Box::new(bytes_of(array)?);
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

impl Encoder for BytesOf<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        // a vector takes what is written to it
        let _ = write!(out, "\"{}\"", STANDARD.encode(self.value(row)));
    }
}
