//! Which format bytes have, as far as they say it themselves.
//!
//! | behind gzip or zstd | format |
//! |---|---|
//! | `FLR\0` | JFR |
//! | `ff ff ff ff` and a length: a message of Arrow's stream | a record of Parca's |
//! | words 0, 3, 0; a title of gperftools' text | pprof, whose decoder reads the former and explains the latter |
//! | protobuf to the last byte: `sample_type`s of two numbers, strings | pprof |
//! | protobuf to the last byte: `resource_profiles` of messages, and a table beside them | OTLP |
//! | a JSON object with `resourceProfiles` | OTLP |
//! | a JSON object with `shared`, or with a `$schema` of speedscope | speedscope |
//! | lines that end in a space and a number | folded text |
//!
//! Lines of stacks look like any text, trees and tries like any bytes: these are never recognised. The bytes are walked once and
//! nothing of them is kept, so what bounds the work is their length.

use std::fmt;

use bytes::Bytes;
use flamestore_model::Result;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::Limits;
use crate::pprof::is_legacy;
use crate::wire::{Reader, bytes_tag, varint_tag};

const JFR: &[u8] = b"FLR\0";
const ARROW: [u8; 4] = [0xff; 4];
/// How much of a text is looked at.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// A format that bytes were found to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// pprof, also of gperftools.
    Pprof,
    /// Folded text.
    Folded,
    /// A file of speedscope's.
    Speedscope,
    /// A recording of Java Flight Recorder.
    Jfr,
    /// A request of OpenTelemetry profiles, in protobuf or JSON.
    Otlp,
    /// A record of Parca's: a stream of Arrow IPC.
    Parca,
}

/// What `bytes` are, compressed or not; nothing where they do not tell. Whether they are whole is for the decoder to find out.
///
/// # Errors
/// As [`crate::decompress`].
pub fn recognise(bytes: Bytes, limits: &Limits) -> Result<Option<Recognised>> {
    let bytes = crate::decompress(bytes, limits)?;
    Ok(by_start(&bytes)
        .or_else(|| protobuf(&bytes).ok().flatten())
        .or_else(|| json(&bytes))
        .or_else(|| is_folded(&bytes).then_some(Recognised::Folded)))
}

/// Whether `bytes`, which are a request of OTLP, are its JSON. They start with a brace then, as no protobuf does; behind
/// white space they could be either, but JSON is no protobuf to its last byte.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    let text = bytes.trim_ascii_start();
    text.starts_with(b"{") && (text.len() == bytes.len() || protobuf(bytes).is_err())
}

fn by_start(bytes: &[u8]) -> Option<Recognised> {
    if bytes.starts_with(JFR) {
        return Some(Recognised::Jfr);
    }
    if bytes.starts_with(&ARROW) && bytes.len() >= 2 * ARROW.len() {
        return Some(Recognised::Parca);
    }
    is_legacy(bytes).then_some(Recognised::Pprof)
}

/// Which of the two protobuf messages `bytes` are: the fields of a pprof are numbers or lie beyond 2, and its field 1 holds
/// numbers, where that of OTLP holds messages.
///
/// # Errors
/// `Invalid` when they are not protobuf to the last byte.
fn protobuf(bytes: &[u8]) -> Result<Option<Recognised>> {
    let mut reader = Reader::new(bytes);
    let (mut is_pprof, mut is_otlp, mut seen) = (true, true, 0u32);
    while !reader.is_done() {
        let tag = reader.tag()?;
        let (number, is_message) = (tag >> 3, tag & 7 == 2);
        is_pprof &= match number {
            1..=6 | 11 => is_message,
            7..=10 | 12 | 14 | 15 => tag & 7 == 0,
            13 => is_message || tag & 7 == 0,
            _ => true,
        };
        // before layout 1.8, tables stood beside the resources
        is_otlp &= is_message && number <= 8;
        seen |= u32::try_from(number).ok().and_then(|number| 1u32.checked_shl(number)).unwrap_or_default();
        if tag != bytes_tag(1) {
            reader.skip(tag, 0)?;
            continue;
        }
        let (has_numbers, has_messages) = kinds(reader.message()?).unwrap_or((true, true));
        is_pprof &= !has_messages;
        is_otlp &= !has_numbers;
    }
    let has = |number: u32| seen & 1 << number != 0;
    Ok(match (has(1), is_pprof && has(6), is_otlp && seen & !0b11 != 0) {
        (true, true, _) => Some(Recognised::Pprof),
        (true, false, true) => Some(Recognised::Otlp),
        _ => None,
    })
}

/// Whether a row has the two numbers of pprof's `ValueType`, and whether it has messages; what is neither is both.
fn kinds(mut row: Reader<'_>) -> Result<(bool, bool)> {
    let (mut has_numbers, mut has_messages) = (false, false);
    while !row.is_done() {
        let tag = row.tag()?;
        let (is_number, is_message) = (tag == varint_tag(1) || tag == varint_tag(2), tag & 7 == 2);
        has_numbers |= !is_message;
        has_messages |= !is_number;
        row.skip(tag, 0)?;
    }
    Ok((has_numbers, has_messages))
}

fn json(bytes: &[u8]) -> Option<Recognised> {
    let mut found = None;
    // what stands behind the key that tells is for the decoder to read
    drop(serde_json::Deserializer::from_slice(bytes).deserialize_map(Keys(&mut found)));
    found
}

/// Looks through the keys of an object until one tells what it is.
struct Keys<'a>(&'a mut Option<Recognised>);

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            *self.0 = match key.as_str() {
                "resourceProfiles" => Some(Recognised::Otlp),
                "shared" => Some(Recognised::Speedscope),
                "$schema" if map.next_value::<String>()?.contains("speedscope") => Some(Recognised::Speedscope),
                "$schema" => continue,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            break;
        }
        Ok(())
    }
}

/// Whether every line of the start of `bytes` is a stack and a number.
fn is_folded(bytes: &[u8]) -> bool {
    let mut text = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
    if text.len() < bytes.len() {
        let end = memchr::memrchr(b'\n', text).unwrap_or_default();
        text = &text[..end];
    }
    let mut lines =
        text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()).peekable();
    lines.peek().is_some() && memchr::memchr(0, text).is_none() && lines.all(is_folded_line)
}

fn is_folded_line(line: &[u8]) -> bool {
    let Some(at) = memchr::memrchr(b' ', line) else { return false };
    std::str::from_utf8(&line[at + 1..]).is_ok_and(|digits| digits.parse::<i64>().is_ok())
}
