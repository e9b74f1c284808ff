//! The values of attributes: strings, numbers, lists, maps.
//!
//! What has no column of its own becomes text, by the rules that OpenTelemetry gives to protocols without such types:
//! `true`, `1.5`, bytes in base64, lists and maps in JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flamestore_model::{Error, Result};

use crate::limits::within;
use crate::wire::{Reader, bytes_tag, fixed64_tag, varint_tag};

/// How deep lists and maps may lie in each other.
const DEPTH_MAX: usize = 32;

/// The strings that values refer to by number.
pub(super) trait StringTable {
    /// The string `id`, if there is one.
    fn string(&self, id: u64) -> Option<&[u8]>;
}

/// A value of an attribute; lists and maps are still to be read.
#[derive(Clone, Copy)]
pub(super) enum AnyValue<'a> {
    Empty,
    Str(&'a [u8]),
    /// A string by its number.
    StrRef(u64),
    Bool(bool),
    Int(i64),
    Double(f64),
    List(Reader<'a>),
    Map(Reader<'a>),
    Bytes(&'a [u8]),
}

/// A key, written out or by its number, and a value.
#[derive(Clone, Copy)]
pub(super) struct KeyValue<'a> {
    pub(super) key: Key<'a>,
    pub(super) value: AnyValue<'a>,
}

/// A key, written out or by its number.
#[derive(Clone, Copy)]
pub(super) enum Key<'a> {
    Str(&'a [u8]),
    StrRef(u64),
}

impl<'a> AnyValue<'a> {
    pub(super) fn read(mut reader: Reader<'a>) -> Result<Self> {
        let mut value = Self::Empty;
        while !reader.is_done() {
            let tag = reader.tag()?;
            value = match tag {
                0x0a => Self::Str(reader.message()?.rest()),
                0x10 => Self::Bool(reader.varint()? != 0),
                0x18 => Self::Int(reader.varint()?.cast_signed()),
                DOUBLE => Self::Double(f64::from_bits(reader.fixed64()?)),
                0x2a => Self::List(reader.message()?),
                0x32 => Self::Map(reader.message()?),
                0x3a => Self::Bytes(reader.message()?.rest()),
                0x40 => Self::StrRef(reader.varint()?),
                _ => {
                    reader.skip(tag, 8)?;
                    continue;
                }
            };
        }
        Ok(value)
    }

    /// The values of a list of up to `max` strings and numbers; of anything else, itself.
    pub(super) fn elements(self, max: usize) -> Result<Vec<AnyValue<'a>>> {
        let Self::List(mut list) = self else { return Ok(vec![self]) };
        let mut elements = Vec::new();
        while !list.is_done() {
            let tag = list.tag()?;
            if tag != bytes_tag(1) {
                list.skip(tag, 1)?;
                continue;
            }
            let element = AnyValue::read(list.message()?)?;
            let is_plain = matches!(element, Self::Str(_) | Self::StrRef(_) | Self::Int(_));
            if !is_plain || elements.len() == max {
                return Ok(vec![self]);
            }
            elements.push(element);
        }
        Ok(elements)
    }

    /// Adds the value as text to `out`, which may become `bytes_max` long.
    pub(super) fn write_text(self, strings: &impl StringTable, out: &mut Vec<u8>, bytes_max: usize) -> Result<()> {
        match self {
            Self::Empty => {}
            Self::Str(text) => out.extend_from_slice(text),
            Self::StrRef(id) => out.extend_from_slice(string(strings, id)?),
            Self::Bytes(bytes) => out.extend_from_slice(STANDARD.encode(bytes).as_bytes()),
            Self::Double(number) => out.extend_from_slice(double_text(number).as_bytes()),
            other => other.write_json(strings, out, bytes_max, DEPTH_MAX)?,
        }
        within("string_bytes_max", bytes_max, out.len())
    }

    fn write_json(self, strings: &impl StringTable, out: &mut Vec<u8>, bytes_max: usize, depth: usize) -> Result<()> {
        let quoted = |text: &[u8]| {
            within("string_bytes_max", bytes_max, text.len())?;
            Ok(serde_json::Value::from(String::from_utf8_lossy(text)).to_string())
        };
        let text = match self {
            Self::Empty => "null".to_owned(),
            Self::Str(text) => quoted(text)?,
            Self::StrRef(id) => quoted(string(strings, id)?)?,
            Self::Bool(is_true) => is_true.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Double(number) if number.is_finite() => double_text(number),
            Self::Double(number) => format!("\"{}\"", double_text(number)),
            Self::Bytes(bytes) => format!("\"{}\"", STANDARD.encode(bytes)),
            Self::List(list) => return write_nested(list, (b'[', b']'), strings, out, bytes_max, depth),
            Self::Map(map) => return write_nested(map, (b'{', b'}'), strings, out, bytes_max, depth),
        };
        out.extend_from_slice(text.as_bytes());
        within("string_bytes_max", bytes_max, out.len())
    }
}

/// A number as JavaScript and JSON write it.
fn double_text(number: f64) -> String {
    match (number.is_nan(), number.is_infinite()) {
        (true, _) => "NaN".to_owned(),
        (_, true) if number < 0.0 => "-Infinity".to_owned(),
        (_, true) => "Infinity".to_owned(),
        _ => format!("{number:?}"),
    }
}

/// Adds a list or a map, told by its brackets, as JSON.
fn write_nested(
    mut reader: Reader<'_>,
    (open, close): (u8, u8),
    strings: &impl StringTable,
    out: &mut Vec<u8>,
    bytes_max: usize,
    depth: usize,
) -> Result<()> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(
            Error::invalid("lists and maps of an attribute lie too deep in each other").with("limit", DEPTH_MAX)
        );
    };
    out.push(open);
    let start = out.len();
    while !reader.is_done() {
        let tag = reader.tag()?;
        if tag != bytes_tag(1) {
            reader.skip(tag, 1)?;
            continue;
        }
        if out.len() > start {
            out.push(b',');
        }
        let message = reader.message()?;
        let value = if open == b'{' {
            let KeyValue { key, value } = KeyValue::read(message)?;
            key.as_value().write_json(strings, out, bytes_max, depth)?;
            out.push(b':');
            value
        } else {
            AnyValue::read(message)?
        };
        value.write_json(strings, out, bytes_max, depth)?;
    }
    out.push(close);
    within("string_bytes_max", bytes_max, out.len())
}

impl<'a> KeyValue<'a> {
    pub(super) fn read(mut reader: Reader<'a>) -> Result<Self> {
        let mut pair = Self { key: Key::Str(b""), value: AnyValue::Empty };
        while !reader.is_done() {
            let tag = reader.tag()?;
            match tag {
                0x0a => pair.key = Key::Str(reader.message()?.rest()),
                0x12 => pair.value = AnyValue::read(reader.message()?)?,
                KEY_REF => pair.key = Key::StrRef(reader.varint()?),
                _ => reader.skip(tag, 3)?,
            }
        }
        Ok(pair)
    }
}

impl<'a> Key<'a> {
    /// The key as a string value.
    pub(super) fn as_value(self) -> AnyValue<'a> {
        match self {
            Self::Str(text) => AnyValue::Str(text),
            Self::StrRef(id) => AnyValue::StrRef(id),
        }
    }
}

const DOUBLE: u64 = fixed64_tag(4);
const KEY_REF: u64 = varint_tag(3);

/// The string `id` of the table.
pub(super) fn string(strings: &impl StringTable, id: u64) -> Result<&[u8]> {
    strings.string(id).ok_or_else(|| Error::invalid(format!("an attribute: string {id} is not in the string table")))
}
