//! Columns of Arrow records in the widths that Parca's pages know, and records as streams of IPC, compressed by LZ4.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, DictionaryArray, Int8Array, Int16Array, Int32Array, Int64Array,
    PrimitiveArray, RecordBatch, StringArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::datatypes::{ArrowDictionaryKeyType, Field, Schema, UInt8Type, UInt16Type, UInt32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use flamestore_model::{Error, Result};

use super::frames::Texts;

/// The columns of a record in their order.
#[derive(Default)]
pub(super) struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    /// Appends a column.
    pub(super) fn push(&mut self, name: impl Into<String>, is_nullable: bool, array: ArrayRef) {
        self.fields.push(Field::new(name, array.data_type().clone(), is_nullable));
        self.arrays.push(array);
    }

    /// The record as a stream of one batch.
    ///
    /// # Errors
    /// `Internal` when the columns do not fit together.
    pub(super) fn finish(self) -> Result<Vec<u8>> {
        let schema = Arc::new(Schema::new(self.fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), self.arrays).map_err(wrong)?;
        let options =
            IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).map_err(wrong)?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).map_err(wrong)?;
        writer.write(&batch).map_err(wrong)?;
        writer.into_inner().map_err(wrong)
    }
}

/// Whole numbers in the narrowest type that holds all of them.
pub(super) fn unsigned(values: Vec<Option<u64>>) -> ArrayRef {
    let largest = values.iter().flatten().copied().max().unwrap_or_default();
    if u8::try_from(largest).is_ok() {
        Arc::new(values.into_iter().map(|value| value.and_then(|v| u8::try_from(v).ok())).collect::<UInt8Array>())
    } else if u16::try_from(largest).is_ok() {
        Arc::new(values.into_iter().map(|value| value.and_then(|v| u16::try_from(v).ok())).collect::<UInt16Array>())
    } else if u32::try_from(largest).is_ok() {
        Arc::new(values.into_iter().map(|value| value.and_then(|v| u32::try_from(v).ok())).collect::<UInt32Array>())
    } else {
        Arc::new(values.into_iter().collect::<UInt64Array>())
    }
}

/// The same of numbers below 0 too: both ends count.
pub(super) fn signed(values: Vec<Option<i64>>) -> ArrayRef {
    let fits = |fit: fn(i64) -> bool| values.iter().flatten().all(|value| fit(*value));
    if fits(|value| i8::try_from(value).is_ok()) {
        Arc::new(values.into_iter().map(|value| value.and_then(|v| i8::try_from(v).ok())).collect::<Int8Array>())
    } else if fits(|value| i16::try_from(value).is_ok()) {
        Arc::new(values.into_iter().map(|value| value.and_then(|v| i16::try_from(v).ok())).collect::<Int16Array>())
    } else if fits(|value| i32::try_from(value).is_ok()) {
        Arc::new(values.into_iter().map(|value| value.and_then(|v| i32::try_from(v).ok())).collect::<Int32Array>())
    } else {
        Arc::new(values.into_iter().collect::<Int64Array>())
    }
}

/// Distinct values by number, and the number of each row.
fn numbered<T: Copy + Eq + Hash>(values: &[Option<T>]) -> (Vec<T>, Vec<Option<usize>>) {
    let (mut distinct, mut numbers) = (Vec::new(), HashMap::new());
    let rows = values.iter().map(|value| {
        value.map(|value| {
            *numbers.entry(value).or_insert_with(|| {
                distinct.push(value);
                distinct.len() - 1
            })
        })
    });
    let rows = rows.collect();
    (distinct, rows)
}

/// Texts by id as a dictionary of bytes, whose keys are as narrow as their number allows.
///
/// # Errors
/// `Exhausted` when there are 2³² texts.
pub(super) fn binaries(values: &[Option<u32>], texts: &Texts) -> Result<ArrayRef> {
    let (distinct, rows) = numbered(values);
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(distinct.iter().map(|id| texts.get(*id))));
    match distinct.len() {
        ..0xff => dictionary::<UInt8Type>(&rows, values),
        0xff..0xffff => dictionary::<UInt16Type>(&rows, values),
        _ => dictionary::<UInt32Type>(&rows, values),
    }
}

/// Texts of rows as such a dictionary.
///
/// # Errors
/// As [`binaries`].
pub(super) fn binary_texts(values: &[Option<&str>]) -> Result<ArrayRef> {
    let (distinct, rows) = numbered(values);
    let values: ArrayRef = Arc::new(BinaryArray::from_iter_values(distinct));
    match values.len() {
        ..0xff => dictionary::<UInt8Type>(&rows, values),
        0xff..0xffff => dictionary::<UInt16Type>(&rows, values),
        _ => dictionary::<UInt32Type>(&rows, values),
    }
}

/// Texts by id as a dictionary of UTF-8: with keys of 16 bits if `is_narrow` and they suffice, else of 32.
///
/// # Errors
/// As [`binaries`].
pub(super) fn utf8(values: &[Option<u32>], texts: &Texts, is_narrow: bool) -> Result<ArrayRef> {
    let (distinct, rows) = numbered(values);
    let values: ArrayRef = Arc::new(StringArray::from_iter_values(distinct.iter().map(|id| texts.text(*id))));
    match is_narrow && u16::try_from(values.len()).is_ok() {
        true => dictionary::<UInt16Type>(&rows, values),
        false => dictionary::<UInt32Type>(&rows, values),
    }
}

fn dictionary<K>(rows: &[Option<usize>], values: ArrayRef) -> Result<ArrayRef>
where
    K: ArrowDictionaryKeyType + ArrowPrimitiveType<Native: TryFrom<usize>>,
{
    let many = || Error::exhausted("a column has too many distinct texts").with("found", values.len());
    let key = |row: &Option<usize>| row.map(|row| K::Native::try_from(row).map_err(|_| many())).transpose();
    let keys: PrimitiveArray<K> = rows.iter().map(key).collect::<Result<_>>()?;
    Ok(Arc::new(DictionaryArray::try_new(keys, values).map_err(wrong)?))
}

fn wrong(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("a record cannot be written").because(error)
}
