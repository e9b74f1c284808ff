//! Rows as PostgreSQL's clients read them, in text and in binary.
//!
//! | | text | binary |
//! |---|---|---|
//! | times | `2026-03-01 12:00:00.25+00`, UTC, microseconds | microseconds since 2000 |
//! | lists | `{a,"b c",NULL}` | an array of one dimension |
//! | maps, structs, lists of lists | their JSON | the same |
//! | bytes | `\x00ff` | as they are |
//! | 64 bits without a sign, decimals | digits | digits of base 10,000 |
//!
//! Nanoseconds have no place in these types: times are cut to microseconds.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Days, NaiveDate, NaiveTime};
use flamestore_model::{Error, Result};
use flamestore_query::{PgType, PgValue};

use super::wire::put_length;
use crate::sql::json_texts;

/// From 1970 to 2000.
pub(super) const EPOCH_DAYS: i32 = 10_957;
/// From 1970 to 2000.
pub(super) const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

/// Adds a message of each row of `batch` to `out`.
///
/// # Errors
/// `Invalid` when a value has no place in its type, `Exhausted` when a row has none in a message.
pub(super) fn write_rows(batch: &RecordBatch, types: &[PgType], formats: &[Format], out: &mut BytesMut) -> Result<()> {
    let columns = batch.columns().iter().zip(types).map(|(column, ty)| canonical(column, *ty));
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>().map_err(unwritable)?;
    let count = u16::try_from(columns.len()).map_err(|_| Error::exhausted("the rows have too many columns"))?;
    let mut scratch = String::new();
    for row in 0..batch.num_rows() {
        out.put_u8(b'D');
        let start = out.len();
        out.put_u32(0);
        out.put_u16(count);
        for ((column, ty), format) in columns.iter().zip(types).zip(formats) {
            put_value(column, *ty, row, *format, &mut scratch, out)?;
        }
        let length = out.len() - start;
        if i32::try_from(length).is_err() {
            return Err(Error::exhausted("a row is too long for a message").with("bytes", length));
        }
        put_length(out, start, length);
    }
    Ok(())
}

fn unwritable(error: ArrowError) -> Error {
    Error::invalid("the answer cannot be written as PostgreSQL's types; cast the column").because(error)
}

/// The type of Arrow that values are written from.
pub(super) fn canonical_type(value: PgValue) -> DataType {
    match value {
        PgValue::Bool => DataType::Boolean,
        PgValue::Bytes => DataType::LargeBinary,
        PgValue::Int2 => DataType::Int16,
        PgValue::Int4 => DataType::Int32,
        PgValue::Int8 => DataType::Int64,
        PgValue::Float4 => DataType::Float32,
        PgValue::Float8 => DataType::Float64,
        PgValue::Numeric | PgValue::Text | PgValue::Json => DataType::Utf8,
        PgValue::Date => DataType::Date32,
        PgValue::Time => DataType::Time64(TimeUnit::Microsecond),
        PgValue::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PgValue::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        PgValue::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
    }
}

fn canonical(column: &ArrayRef, ty: PgType) -> std::result::Result<ArrayRef, ArrowError> {
    if ty.value == PgValue::Json {
        return json_texts(column);
    }
    let value = canonical_type(ty.value);
    match ty.is_array {
        true => cast(column, &DataType::new_list(value, true)),
        false => cast(column, &value),
    }
}

/// Adds a value and its length before it.
fn put_value(
    column: &ArrayRef,
    ty: PgType,
    row: usize,
    format: Format,
    scratch: &mut String,
    out: &mut BytesMut,
) -> Result<()> {
    if column.is_null(row) {
        out.put_i32(-1);
        return Ok(());
    }
    let start = out.len();
    out.put_u32(0);
    match (format, ty.is_array) {
        (Format::Text, false) => {
            scratch.clear();
            write_text(column, ty.value, row, scratch)?;
            out.put_slice(scratch.as_bytes());
        }
        (Format::Text, true) => {
            scratch.clear();
            write_array(&column.as_list::<i32>().value(row), ty.value, scratch)?;
            out.put_slice(scratch.as_bytes());
        }
        (Format::Binary, false) => put_binary(column, ty.value, row, out)?,
        (Format::Binary, true) => put_array(&column.as_list::<i32>().value(row), ty.value, scratch, out)?,
    }
    put_length(out, start, out.len() - start - 4);
    Ok(())
}

fn write_text(column: &ArrayRef, value: PgValue, row: usize, out: &mut String) -> Result<()> {
    let written = match value {
        PgValue::Bool => out.write_char(if column.as_boolean().value(row) { 't' } else { 'f' }),
        PgValue::Bytes => {
            let bytes = column.as_binary::<i64>().value(row);
            out.push_str("\\x");
            bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
        PgValue::Int2 => write!(out, "{}", column.as_primitive::<Int16Type>().value(row)),
        PgValue::Int4 => write!(out, "{}", column.as_primitive::<Int32Type>().value(row)),
        PgValue::Int8 => write!(out, "{}", column.as_primitive::<Int64Type>().value(row)),
        PgValue::Float4 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            write_float(f64::from(value), value, out)
        }
        PgValue::Float8 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            write_float(value, value, out)
        }
        PgValue::Numeric | PgValue::Text | PgValue::Json => out.write_str(column.as_string::<i32>().value(row)),
        PgValue::Date => write!(out, "{}", date(column.as_primitive::<Date32Type>().value(row))?.format("%Y-%m-%d")),
        PgValue::Time => {
            write!(out, "{}", time(column.as_primitive::<Time64MicrosecondType>().value(row))?.format("%H:%M:%S%.f"))
        }
        PgValue::Timestamp | PgValue::TimestampTz => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = DateTime::from_timestamp_micros(micros).ok_or_else(|| out_of_range(micros))?;
            let zone = if value == PgValue::TimestampTz { "+00" } else { "" };
            write!(out, "{}{zone}", time.format("%Y-%m-%d %H:%M:%S%.f"))
        }
        PgValue::Interval => {
            let value = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            write_interval(value.months, value.days, value.nanoseconds / 1000, out)
        }
    };
    written.map_err(|error| Error::internal("a value cannot be written").because(error))
}

fn out_of_range(value: impl std::fmt::Display) -> Error {
    Error::invalid("a time is out of range: overflow").with("value", value)
}

fn date(days: i32) -> Result<NaiveDate> {
    let epoch = NaiveDate::default();
    let distance = Days::new(u64::from(days.unsigned_abs()));
    let date = if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) };
    date.ok_or_else(|| out_of_range(days))
}

fn time(micros: i64) -> Result<NaiveTime> {
    let seconds = u32::try_from(micros.div_euclid(1_000_000)).ok();
    let nanos = u32::try_from(micros.rem_euclid(1_000_000) * 1000).ok();
    let time =
        seconds.zip(nanos).and_then(|(seconds, nanos)| NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos));
    time.ok_or_else(|| out_of_range(micros))
}

fn write_float(value: f64, shown: impl std::fmt::Display, out: &mut String) -> std::fmt::Result {
    match value {
        value if value.is_nan() => out.write_str("NaN"),
        value if value.is_infinite() => out.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        _ => write!(out, "{shown}"),
    }
}

/// As `1 year 2 mons 3 days 04:05:06.5`, each part with its sign.
fn write_interval(months: i32, days: i32, micros: i64, out: &mut String) -> std::fmt::Result {
    let start = out.len();
    for (count, one, many) in [(months / 12, "year", "years"), (months % 12, "mon", "mons"), (days, "day", "days")] {
        if count != 0 {
            let space = if out.len() > start { " " } else { "" };
            write!(out, "{space}{count} {}", if count == 1 { one } else { many })?;
        }
    }
    if micros == 0 && out.len() > start {
        return Ok(());
    }
    let space = if out.len() > start { " " } else { "" };
    let (sign, micros) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let seconds = micros / 1_000_000;
    write!(out, "{space}{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
    match micros % 1_000_000 {
        0 => Ok(()),
        rest => write!(out, ".{}", format!("{rest:06}").trim_end_matches('0')),
    }
}

fn write_array(values: &ArrayRef, value: PgValue, out: &mut String) -> Result<()> {
    out.push('{');
    let mut element = String::new();
    for row in 0..values.len() {
        if row > 0 {
            out.push(',');
        }
        if values.is_null(row) {
            out.push_str("NULL");
            continue;
        }
        element.clear();
        write_text(values, value, row, &mut element)?;
        let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\\' | '{' | '}' | ',');
        if !element.is_empty() && element.chars().all(is_plain) && !element.eq_ignore_ascii_case("null") {
            out.push_str(&element);
            continue;
        }
        out.push('"');
        for c in element.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push('"');
    }
    out.push('}');
    Ok(())
}

fn put_binary(column: &ArrayRef, value: PgValue, row: usize, out: &mut BytesMut) -> Result<()> {
    match value {
        PgValue::Bool => out.put_u8(u8::from(column.as_boolean().value(row))),
        PgValue::Bytes => out.put_slice(column.as_binary::<i64>().value(row)),
        PgValue::Int2 => out.put_i16(column.as_primitive::<Int16Type>().value(row)),
        PgValue::Int4 => out.put_i32(column.as_primitive::<Int32Type>().value(row)),
        PgValue::Int8 => out.put_i64(column.as_primitive::<Int64Type>().value(row)),
        PgValue::Float4 => out.put_f32(column.as_primitive::<Float32Type>().value(row)),
        PgValue::Float8 => out.put_f64(column.as_primitive::<Float64Type>().value(row)),
        PgValue::Numeric => put_numeric(column.as_string::<i32>().value(row), out)?,
        PgValue::Text | PgValue::Json => out.put_slice(column.as_string::<i32>().value(row).as_bytes()),
        PgValue::Date => {
            let days = column.as_primitive::<Date32Type>().value(row);
            out.put_i32(days.checked_sub(EPOCH_DAYS).ok_or_else(|| out_of_range(days))?);
        }
        PgValue::Time => out.put_i64(column.as_primitive::<Time64MicrosecondType>().value(row)),
        PgValue::Timestamp | PgValue::TimestampTz => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            out.put_i64(micros.checked_sub(EPOCH_MICROS).ok_or_else(|| out_of_range(micros))?);
        }
        PgValue::Interval => {
            let value = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            out.put_i64(value.nanoseconds / 1000);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
    }
    Ok(())
}

fn put_array(values: &ArrayRef, value: PgValue, scratch: &mut String, out: &mut BytesMut) -> Result<()> {
    let element = PgType { value, is_array: false };
    let length = i32::try_from(values.len()).map_err(|_| Error::exhausted("a list is too long"))?;
    out.put_i32(i32::from(length > 0));
    out.put_i32(i32::from(values.null_count() > 0));
    out.put_u32(element.oid());
    if length > 0 {
        out.put_i32(length);
        out.put_i32(1);
    }
    (0..values.len()).try_for_each(|row| put_value(values, element, row, Format::Binary, scratch, out))
}

/// The decimal number `text`: digits of base 10,000, the weight of the first, the sign, and how many decimals are shown.
fn put_numeric(text: &str, out: &mut BytesMut) -> Result<()> {
    const NEGATIVE: u16 = 0x4000;
    let wrong = || Error::invalid("a number cannot be written").with("value", text);
    let (sign, digits) = text.strip_prefix('-').map_or((0, text), |digits| (NEGATIVE, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = u16::try_from(decimals.len()).map_err(|_| wrong())?;
    let whole = whole.trim_start_matches('0');
    let padded_whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let padded = format!("{padded_whole}{decimals}{}", "0".repeat((4 - decimals.len() % 4) % 4));
    let groups = padded.as_bytes().chunks(4).map(|group| {
        let group = std::str::from_utf8(group).ok().and_then(|group| group.parse::<u16>().ok());
        group.ok_or_else(wrong)
    });
    let mut groups = groups.collect::<Result<Vec<_>>>()?;
    let mut weight = i16::try_from(padded_whole.len() / 4).map_err(|_| wrong())? - 1;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_u16(u16::try_from(groups.len()).map_err(|_| wrong())?);
    out.put_i16(weight);
    out.put_u16(if groups.is_empty() { 0 } else { sign });
    out.put_u16(scale);
    groups.into_iter().for_each(|group| out.put_u16(group));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray, StringArray};

    #[test]
    fn numbers_of_any_size_have_digits_of_base_ten_thousand() {
        let check = |text: &str, expected: &[u16]| {
            let mut out = BytesMut::new();
            put_numeric(text, &mut out).unwrap();
            let found: Vec<u16> = out.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("0", &[0, 0, 0, 0]);
        check("0.00", &[0, 0, 0, 2]);
        check("1", &[1, 0, 0, 0, 1]);
        check("10000", &[1, 1, 0, 0, 1]);
        check("18446744073709551615", &[5, 4, 0, 0, 1844, 6744, 737, 955, 1615]);
        check("-12345.678", &[3, 1, 0x4000, 3, 1, 2345, 6780]);
        check("0.0001", &[1, 0xffff, 0, 4, 1]);
        assert!(put_numeric("x", &mut BytesMut::new()).is_err());
    }

    #[test]
    fn intervals_name_their_parts() {
        let check = |months, days, micros, expected: &str| {
            let mut out = String::new();
            write_interval(months, days, micros, &mut out).unwrap();
            assert_eq!(out, expected);
        };
        check(14, 3, 14_706_500_000, "1 year 2 mons 3 days 04:05:06.5");
        check(0, 0, 0, "00:00:00");
        check(0, -1, -1_000_000, "-1 days -00:00:01");
        check(1, 0, 0, "1 mon");
    }

    #[test]
    fn elements_are_quoted_where_they_must_be() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("b c"), Some("d\"\\"), Some(""), None]));
        let mut out = String::new();
        write_array(&texts, PgValue::Text, &mut out).unwrap();
        assert_eq!(out, r#"{a,"b c","d\"\\","",NULL}"#);
    }

    #[test]
    fn a_row_is_a_message() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)]), Some(vec![])]);
        let batch = RecordBatch::try_from_iter([("n", numbers), ("l", Arc::new(lists) as ArrayRef)]).unwrap();
        let types: Vec<_> = batch.schema().fields().iter().map(|field| PgType::of(field.data_type())).collect();
        let mut out = BytesMut::new();
        write_rows(&batch, &types, &[Format::Text, Format::Text], &mut out).unwrap();
        let expected = b"D\0\0\0\x12\0\x02\0\0\0\x017\0\0\0\x03{1}D\0\0\0\x10\0\x02\xff\xff\xff\xff\0\0\0\x02{}";
        assert_eq!(&out[..], expected);
    }
}
