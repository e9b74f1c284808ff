//! Rewrites the JSON form of a request as protobuf, field by field, without a tree of values in between.
//!
//! Names in lowerCamelCase; 64-bit numbers as numbers or strings; ids of traces and spans in hexadecimal digits, other bytes
//! in base64; unknown fields and nulls skipped. A repeated field may hold one value without its brackets.
//! A message's length is written in five bytes, so that it can be filled in when its end is known.

use std::fmt;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flamestore_model::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json_fields::{Field, Kind, REQUEST};
use crate::Limits;
use crate::limits::over;

/// The request in `json` as protobuf of layout 1.10, under `decompressed_bytes_max` as well.
pub(super) fn protobuf_of_json(json: &[u8], limits: &Limits) -> Result<Vec<u8>> {
    let mut writer = Writer { out: Vec::new(), bytes_max: limits.decompressed_bytes() };
    let mut json = serde_json::Deserializer::from_slice(json);
    let seed = MessageSeed { fields: REQUEST, writer: &mut writer };
    let read = seed.deserialize(&mut json).and_then(|()| json.end());
    match read {
        Ok(()) => Ok(writer.out),
        Err(_) if writer.out.len() > writer.bytes_max => {
            Err(over("decompressed_bytes_max", writer.bytes_max, format!("more than {}", writer.bytes_max)))
        }
        Err(e) => Err(Error::invalid("not the JSON of an OTLP profiles request").because(e)),
    }
}

struct Writer {
    out: Vec<u8>,
    bytes_max: usize,
}

/// How many bytes a length takes that is filled in later.
const LENGTH_BYTES: usize = 5;

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(low_bits(value) | 0x80);
            value >>= 7;
        }
        self.out.push(low_bits(value));
    }

    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    fn eight_bytes(&mut self, number: u64, value: u64) {
        self.varint(number << 3 | 1);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// Begins a message; the answer is where its body starts.
    fn open(&mut self, number: u64) -> usize {
        self.varint(number << 3 | 2);
        self.out.extend_from_slice(&[0; LENGTH_BYTES]);
        self.out.len()
    }

    /// Ends the message whose body starts at `start`.
    fn close(&mut self, start: usize) {
        let length = (self.out.len() - start) as u64;
        for (at, byte) in self.out[start - LENGTH_BYTES..start].iter_mut().enumerate() {
            let goes_on = if at + 1 < LENGTH_BYTES { 0x80 } else { 0 };
            *byte = low_bits(length >> (7 * at)) | goes_on;
        }
    }
}

fn low_bits(value: u64) -> u8 {
    (value & 0x7f).to_le_bytes()[0]
}

/// Reads an object as the body of a message.
struct MessageSeed<'w> {
    fields: &'static [Field],
    writer: &'w mut Writer,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(NameSeed(self.fields))? {
            match field {
                Some(field) => map.next_value_seed(ValueSeed { field, writer: self.writer })?,
                None => map.next_value::<IgnoredAny>().map(drop)?,
            }
            if self.writer.out.len() > self.writer.bytes_max {
                return Err(A::Error::custom("too long"));
            }
        }
        Ok(())
    }
}

/// Reads a name as the field that has it.
struct NameSeed(&'static [Field]);

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|field| field.name == name))
    }
}

/// Reads the value of a field, or a list of values.
struct ValueSeed<'w> {
    field: &'static Field,
    writer: &'w mut Writer,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ValueSeed<'_> {
    fn number<E: serde::de::Error>(self, value: i128) -> Result<(), E> {
        let number = self.field.number;
        // A negative number is written as the 64 bits that mean it, as protobuf does.
        let bits = i64::try_from(value).map(i64::cast_unsigned).or_else(|_| u64::try_from(value));
        let bits = bits.map_err(|_| E::custom(format!("`{}` is beyond 64 bits", self.field.name)))?;
        match self.field.kind {
            Kind::Int => {
                self.writer.varint(number << 3);
                self.writer.varint(bits);
            }
            Kind::Fixed64 => self.writer.eight_bytes(number, bits),
            #[expect(clippy::cast_precision_loss, reason = "the field holds a float")]
            Kind::Double => self.writer.eight_bytes(number, (value as f64).to_bits()),
            _ => return Err(self.wrong()),
        }
        Ok(())
    }

    fn wrong<E: serde::de::Error>(&self) -> E {
        E::custom(format!("`{}` has a value of the wrong kind", self.field.name))
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the value of `{}`", self.field.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        let Kind::Bool = self.field.kind else { return Err(self.wrong()) };
        self.writer.varint(self.field.number << 3);
        self.writer.varint(value.into());
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.number(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.number(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.writer.eight_bytes(self.field.number, value.to_bits()),
            // 1e3 is a whole number too; what is exact ends where floats have gaps.
            Kind::Int | Kind::Fixed64 if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => {
                #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
                let whole = value as i128;
                return self.number(whole);
            }
            _ => return Err(self.wrong()),
        }
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let number = self.field.number;
        match self.field.kind {
            Kind::Str => self.writer.bytes(number, text.as_bytes()),
            Kind::Base64 => {
                let bytes = BASE64.decode(text).or_else(|_| BASE64_URL.decode(text)).map_err(|_| self.wrong())?;
                self.writer.bytes(number, &bytes);
            }
            Kind::Hex => {
                let bytes = bytes_of_hexadecimal(text).ok_or_else(|| self.wrong())?;
                self.writer.bytes(number, &bytes);
            }
            Kind::Int | Kind::Fixed64 => {
                let value = text.parse::<i128>().map_err(|_| self.wrong())?;
                return self.number(value);
            }
            Kind::Double => {
                let value = match text {
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => text.parse::<f64>().map_err(|_| self.wrong())?,
                };
                self.writer.eight_bytes(number, value.to_bits());
            }
            Kind::Bool | Kind::Message(_) => return Err(self.wrong()),
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(fields) = self.field.kind else { return Err(self.wrong()) };
        let start = self.writer.open(self.field.number);
        MessageSeed { fields, writer: self.writer }.visit_map(map)?;
        self.writer.close(start);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { field, writer } = self;
        while seq.next_element_seed(ElementSeed { field, writer })?.is_some() {
            if writer.out.len() > writer.bytes_max {
                return Err(A::Error::custom("too long"));
            }
        }
        Ok(())
    }
}

/// Reads one value of a list: no list itself.
struct ElementSeed<'w> {
    field: &'static Field,
    writer: &'w mut Writer,
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { field, writer } = self;
        let start = writer.out.len();
        ValueSeed { field, writer }.deserialize(deserializer)?;
        if writer.out.len() == start {
            return Err(D::Error::custom(format!("`{}` has an element without a value", field.name)));
        }
        Ok(())
    }
}

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, ANY_PADDING);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, ANY_PADDING);

/// The bytes of hexadecimal digits in either case.
fn bytes_of_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
