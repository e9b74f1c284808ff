//! Values of parameters as clients send them, in text and in binary.
//!
//! A value is read as the type that the client gave it, else as what the statement tells; text of which nothing is known stays
//! text.

use arrow::datatypes::DataType;
use bytes::{Buf, Bytes};
use flamestore_query::{PgType, PgValue, ScalarValue};

use super::failure::{Failure, WRONG_BINARY, WRONG_TEXT};
use super::values::{EPOCH_DAYS, EPOCH_MICROS, Format, canonical_type};

/// What is known of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// The type that the client gave it.
    pub(super) given: Option<PgType>,
    /// The type that the statement tells; null where it does not.
    pub(super) told: DataType,
}

impl Parameter {
    /// The type that clients are told.
    pub(super) fn ty(&self) -> PgType {
        let told = || match PgType::of(&self.told) {
            // few clients have a type for it, and what is compared with it may be any number
            PgType { value: PgValue::Numeric, is_array } => PgType { value: PgValue::Int8, is_array },
            told => told,
        };
        self.given.unwrap_or_else(told)
    }

    /// The value that `bytes` are.
    ///
    /// # Errors
    /// When they are none of its type.
    pub(super) fn value(&self, bytes: Option<&Bytes>, format: Format) -> Result<ScalarValue, Failure> {
        let ty = self.ty();
        let Some(bytes) = bytes else { return null(&self.told) };
        match format {
            Format::Binary if ty.is_array => array_of_binary(bytes.clone(), ty.value),
            Format::Binary => of_binary(bytes, ty.value),
            Format::Text => {
                let text = std::str::from_utf8(bytes).map_err(|_| Failure::new("22021", "a value is not UTF-8"))?;
                match (self.given, &self.told) {
                    (None, DataType::Null) => Ok(ScalarValue::from(text)),
                    _ if ty.is_array => array_of_text(text, ty.value),
                    _ => of_text(text, ty.value),
                }
            }
        }
    }
}

fn null(told: &DataType) -> Result<ScalarValue, Failure> {
    ScalarValue::try_from(told).map_err(|error| Failure::new(WRONG_TEXT, error.to_string()))
}

fn of_text(text: &str, value: PgValue) -> Result<ScalarValue, Failure> {
    let wrong = || {
        let name = PgType { value, is_array: false }.name();
        Failure::new(WRONG_TEXT, format!("invalid input syntax for type {name}: {text:?}"))
    };
    match value {
        PgValue::Text | PgValue::Json => Ok(ScalarValue::from(text)),
        PgValue::Bytes => {
            let bytes = match text.strip_prefix("\\x") {
                Some(digits) => of_hexadecimal(digits).ok_or_else(wrong)?,
                None => text.as_bytes().to_vec(),
            };
            Ok(ScalarValue::Binary(Some(bytes)))
        }
        PgValue::Numeric => number(text).ok_or_else(wrong),
        value => ScalarValue::from(text.trim())
            .cast_to(&canonical_type(value))
            .ok()
            .filter(|value| !value.is_null())
            .ok_or_else(wrong),
    }
}

/// A number as the smallest type that has a place for it.
fn number(text: &str) -> Option<ScalarValue> {
    let whole = || text.parse().ok().map(|number| ScalarValue::Int64(Some(number)));
    let large = || text.parse().ok().map(|number| ScalarValue::UInt64(Some(number)));
    whole().or_else(large).or_else(|| text.parse().ok().map(|number| ScalarValue::Float64(Some(number))))
}

fn of_hexadecimal(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    let pairs = (0..digits.len()).step_by(2).filter_map(|at| digits.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
}

fn of_binary(bytes: &Bytes, value: PgValue) -> Result<ScalarValue, Failure> {
    let wrong = || {
        let name = PgType { value, is_array: false }.name();
        Failure::new(WRONG_BINARY, format!("incorrect binary data format for type {name}"))
    };
    let mut rest = bytes.clone();
    let read = match value {
        PgValue::Bool => rest.try_get_u8().ok().map(|byte| ScalarValue::Boolean(Some(byte != 0))),
        PgValue::Int2 => rest.try_get_i16().ok().map(|number| ScalarValue::Int16(Some(number))),
        PgValue::Int4 => rest.try_get_i32().ok().map(|number| ScalarValue::Int32(Some(number))),
        // a number as PostgreSQL's catalog has it, of four bytes, is one too
        PgValue::Int8 if rest.len() == 4 => {
            rest.try_get_u32().ok().map(|number| ScalarValue::Int64(Some(number.into())))
        }
        PgValue::Int8 => rest.try_get_i64().ok().map(|number| ScalarValue::Int64(Some(number))),
        PgValue::Float4 => rest.try_get_f32().ok().map(|number| ScalarValue::Float32(Some(number))),
        PgValue::Float8 => rest.try_get_f64().ok().map(|number| ScalarValue::Float64(Some(number))),
        PgValue::Numeric => numeric(&mut rest),
        PgValue::Text | PgValue::Json => std::str::from_utf8(&rest.split_to(rest.len())).ok().map(ScalarValue::from),
        PgValue::Bytes => Some(ScalarValue::Binary(Some(rest.split_to(rest.len()).to_vec()))),
        PgValue::Date => {
            let days = rest.try_get_i32().ok().and_then(|days| days.checked_add(EPOCH_DAYS));
            days.map(|days| ScalarValue::Date32(Some(days)))
        }
        PgValue::Time => rest.try_get_i64().ok().map(|micros| ScalarValue::Time64Microsecond(Some(micros))),
        PgValue::Timestamp | PgValue::TimestampTz => {
            let micros = rest.try_get_i64().ok().and_then(|micros| micros.checked_add(EPOCH_MICROS));
            let zone = (value == PgValue::TimestampTz).then(|| "UTC".into());
            micros.map(|micros| ScalarValue::TimestampMicrosecond(Some(micros), zone))
        }
        PgValue::Interval => interval(&mut rest),
    };
    read.filter(|_| rest.is_empty()).ok_or_else(wrong)
}

fn interval(rest: &mut Bytes) -> Option<ScalarValue> {
    let nanos = rest.try_get_i64().ok()?.checked_mul(1000)?;
    let (days, months) = (rest.try_get_i32().ok()?, rest.try_get_i32().ok()?);
    Some(ScalarValue::IntervalMonthDayNano(Some(arrow::datatypes::IntervalMonthDayNano::new(months, days, nanos))))
}

fn numeric(rest: &mut Bytes) -> Option<ScalarValue> {
    const NEGATIVE: u16 = 0x4000;
    let count = rest.try_get_u16().ok()?;
    let weight = i32::from(rest.try_get_i16().ok()?);
    let (sign, _scale) = (rest.try_get_u16().ok()?, rest.try_get_u16().ok()?);
    if ![0, NEGATIVE].contains(&sign) {
        return Some(ScalarValue::Float64(Some(f64::NAN)));
    }
    let groups = (0..count).map(|_| rest.try_get_u16().ok()).collect::<Option<Vec<_>>>()?;
    // places that are neither read as a number of 64 bits nor shown by one of floating point
    if weight > 80 {
        return None;
    }
    let mut text = String::from(if sign == NEGATIVE { "-" } else { "" });
    let group = |at: i32| usize::try_from(at).ok().and_then(|at| groups.get(at)).copied().unwrap_or_default();
    (0..=weight.max(0)).for_each(|at| text.push_str(&format!("{:04}", if weight < 0 { 0 } else { group(at) })));
    let decimals = i32::from(count) - weight - 1;
    if decimals > 0 {
        text.push('.');
        let first = weight + 1;
        (first..first + decimals).take(80).for_each(|at| text.push_str(&format!("{:04}", group(at))));
    }
    number(&text)
}

fn array_of_binary(mut rest: Bytes, value: PgValue) -> Result<ScalarValue, Failure> {
    let wrong = || Failure::new(WRONG_BINARY, "incorrect binary data format for an array");
    let dimensions = rest.try_get_i32().map_err(|_| wrong())?;
    let (_has_nulls, oid) = (rest.try_get_i32().map_err(|_| wrong())?, rest.try_get_u32().map_err(|_| wrong())?);
    let element = PgType::from_oid(oid).filter(|ty| !ty.is_array).map_or(value, |ty| ty.value);
    let length = match dimensions {
        0 => 0,
        1 => rest.try_get_i32().map_err(|_| wrong())?,
        _ => return Err(Failure::new(super::failure::NOT_SUPPORTED, "arrays have one dimension")),
    };
    if dimensions == 1 {
        rest.try_get_i32().map_err(|_| wrong())?;
    }
    let mut values = Vec::new();
    for _ in 0..length {
        let bytes = rest.try_get_i32().map_err(|_| wrong())?;
        values.push(match usize::try_from(bytes) {
            Ok(bytes) if bytes <= rest.len() => of_binary(&rest.split_to(bytes), element)?,
            Ok(_) => return Err(wrong()),
            Err(_) => null(&value_type(element))?,
        });
    }
    list(&values, element)
}

/// The type of Arrow that values are read as.
fn value_type(value: PgValue) -> DataType {
    match value {
        PgValue::Bytes => DataType::Binary,
        PgValue::Numeric => DataType::Float64,
        value => canonical_type(value),
    }
}

fn list(values: &[ScalarValue], value: PgValue) -> Result<ScalarValue, Failure> {
    let ty = value_type(value);
    let wrong = |error: &dyn std::fmt::Display| Failure::new(WRONG_TEXT, error.to_string());
    let values: Result<Vec<_>, _> = values.iter().map(|value| value.cast_to(&ty)).collect();
    let values = values.map_err(|error| wrong(&error))?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values, &ty)))
}

/// Reads `{a,"b c",NULL}`.
fn array_of_text(text: &str, value: PgValue) -> Result<ScalarValue, Failure> {
    let wrong = || Failure::new(WRONG_TEXT, format!("malformed array literal: {text:?}"));
    let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(wrong)?;
    let mut values = Vec::new();
    let mut rest = inner.chars().peekable();
    while rest.peek().is_some() {
        let (mut element, mut is_quoted, mut in_quotes) = (String::new(), false, false);
        loop {
            match rest.next() {
                Some('"') => (is_quoted, in_quotes) = (true, !in_quotes),
                Some('\\') => element.push(rest.next().ok_or_else(wrong)?),
                Some(',') if !in_quotes => break,
                Some('{' | '}') if !in_quotes => return Err(wrong()),
                Some(c) => element.push(c),
                None if in_quotes => return Err(wrong()),
                None => break,
            }
        }
        values.push(match is_quoted {
            false if element.trim().eq_ignore_ascii_case("null") => null(&value_type(value))?,
            false => of_text(element.trim(), value)?,
            true => of_text(&element, value)?,
        });
    }
    list(&values, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(value: PgValue, is_array: bool) -> Parameter {
        Parameter { given: Some(PgType { value, is_array }), told: DataType::Null }
    }

    fn text(value: PgValue, is_array: bool, text: &str) -> Result<String, &'static str> {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let value = parameter(value, is_array).value(Some(&bytes), Format::Text);
        value.map(|value| value.to_string()).map_err(|failure| failure.code)
    }

    fn binary(value: PgValue, is_array: bool, bytes: &'static [u8]) -> Result<String, &'static str> {
        let value = parameter(value, is_array).value(Some(&Bytes::from_static(bytes)), Format::Binary);
        value.map(|value| value.to_string()).map_err(|failure| failure.code)
    }

    #[test]
    fn values_are_read_from_text() {
        assert_eq!(text(PgValue::Int4, false, " 7 ").as_deref(), Ok("7"));
        assert_eq!(text(PgValue::Int4, false, "x"), Err(WRONG_TEXT));
        assert_eq!(text(PgValue::Bool, false, "t").as_deref(), Ok("true"));
        assert_eq!(text(PgValue::Numeric, false, "18446744073709551615").as_deref(), Ok("18446744073709551615"));
        assert_eq!(text(PgValue::Bytes, false, "\\x0g"), Err(WRONG_TEXT));
        // a null in a list is shown as nothing
        assert_eq!(text(PgValue::Text, true, r#"{a,"b, \"c",NULL}"#).as_deref(), Ok("[a, b, \"c, ]"));
        assert_eq!(text(PgValue::Int8, true, "{1,{2}}"), Err(WRONG_TEXT));
        assert_eq!(text(PgValue::Int8, true, "{}").as_deref(), Ok("[]"));
    }

    #[test]
    fn values_are_read_from_binary() {
        assert_eq!(binary(PgValue::Int8, false, &[0, 0, 0, 0, 0, 0, 1, 0]).as_deref(), Ok("256"));
        assert_eq!(binary(PgValue::Int4, false, &[0, 0, 1]), Err(WRONG_BINARY));
        assert_eq!(binary(PgValue::Int4, false, &[0, 0, 0, 1, 0]), Err(WRONG_BINARY));
        assert_eq!(binary(PgValue::Numeric, false, &[0, 2, 0, 0, 64, 0, 0, 1, 0, 12, 19, 136]).as_deref(), Ok("-12.5"));
        assert_eq!(binary(PgValue::Numeric, false, &[0, 1, 127, 255, 0, 0, 0, 0, 0, 1]), Err(WRONG_BINARY));
        let array = &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, b'a'];
        assert_eq!(binary(PgValue::Text, true, array).as_deref(), Ok("[a]"));
        let endless = &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 127, 255, 255, 255, 0, 0, 0, 1];
        assert_eq!(binary(PgValue::Text, true, endless), Err(WRONG_BINARY));
    }
}
