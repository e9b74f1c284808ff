//! Reads the numbers and texts of a chunk.
//!
//! Numbers are varints of up to nine bytes (the ninth holds eight bits), or big-endian where the chunk says so.

use flamestore_model::{Error, Result};

use super::metadata::Kind;

/// A place in a chunk.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    is_compressed: bool,
}

/// A text as it stands in the chunk.
#[derive(Clone, Copy)]
pub(super) enum Text<'a> {
    /// There is none, or it is empty.
    Empty,
    Utf8(&'a [u8]),
    Latin1(&'a [u8]),
    /// UTF-16 units, as numbers of a chunk that is compressed or not.
    Utf16(&'a [u8], bool),
    /// The key of a constant.
    Ref(i64),
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`, a chunk.
    pub(super) fn new(bytes: &'a [u8], is_compressed: bool) -> Self {
        Self { bytes, at: 0, is_compressed }
    }

    /// Where it is in the chunk.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The same chunk at `at`.
    pub(super) fn moved(self, at: usize) -> Self {
        Self { at: at.min(self.bytes.len()), ..self }
    }

    /// The same place, but nothing can be read from `end` on.
    pub(super) fn until(self, end: usize) -> Self {
        Self { bytes: &self.bytes[..end.clamp(self.at, self.bytes.len())], ..self }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let Some(taken) = self.bytes[self.at..].get(..length) else { return Err(self.cut_off()) };
        self.at += length;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some(taken) = self.bytes[self.at..].first_chunk::<N>() else { return Err(self.cut_off()) };
        self.at += N;
        Ok(*taken)
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    /// The next number of the type `short` or `char`: 16 bits, however many were written.
    pub(super) fn short(&mut self) -> Result<i64> {
        if self.is_compressed {
            let [low, high, ..] = self.varint()?.to_le_bytes();
            return Ok(i64::from(i16::from_le_bytes([low, high])));
        }
        self.array().map(i16::from_be_bytes).map(i64::from)
    }

    /// The next number of the type `int`: 32 bits, however many were written.
    pub(super) fn int(&mut self) -> Result<i64> {
        if self.is_compressed {
            let [a, b, c, d, ..] = self.varint()?.to_le_bytes();
            return Ok(i64::from(i32::from_le_bytes([a, b, c, d])));
        }
        self.array().map(i32::from_be_bytes).map(i64::from)
    }

    /// The next number of the type `long`.
    pub(super) fn long(&mut self) -> Result<i64> {
        if self.is_compressed { self.varint() } else { self.array().map(i64::from_be_bytes) }
    }

    /// Moves past a number of this kind, if it is one.
    #[inline]
    pub(super) fn skip_number(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Short | Kind::Int | Kind::Long if self.is_compressed => self.varint().map(drop),
            Kind::Byte => self.byte().map(drop),
            Kind::Short => self.take(2).map(drop),
            Kind::Int | Kind::Float => self.take(4).map(drop),
            Kind::Long | Kind::Double => self.take(8).map(drop),
            Kind::Text | Kind::Object => Ok(()),
        }
    }

    /// The next number of the type `int`, which counts things of at least `bytes_min` bytes each that follow.
    pub(super) fn count(&mut self, bytes_min: usize) -> Result<usize> {
        let count = self.int()?;
        let fits = |count: &usize| count.saturating_mul(bytes_min) <= self.left();
        let found = usize::try_from(count).ok().filter(fits);
        found.ok_or_else(|| self.wrong("a count is larger than what follows").with("count", count))
    }

    #[inline]
    fn varint(&mut self) -> Result<i64> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(i64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<i64> {
        let mut value = 0u64;
        for shift in (0..56).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value.cast_signed());
            }
        }
        value |= u64::from(self.byte()?) << 56;
        Ok(value.cast_signed())
    }

    /// The next text.
    pub(super) fn text(&mut self) -> Result<Text<'a>> {
        match self.byte()? {
            0 | 1 => Ok(Text::Empty),
            2 => Ok(Text::Ref(self.long()?)),
            3 => {
                let length = self.count(1)?;
                Ok(Text::Utf8(self.take(length)?))
            }
            4 => {
                let count = self.count(1)?;
                let start = self.at;
                for _ in 0..count {
                    self.short()?;
                }
                Ok(Text::Utf16(&self.bytes[start..self.at], self.is_compressed))
            }
            5 => {
                let length = self.count(1)?;
                Ok(Text::Latin1(self.take(length)?))
            }
            other => Err(self.wrong("a text has an unknown encoding").with("encoding", other)),
        }
    }

    /// The error of bytes that are wrong in the way `what` says, here.
    #[cold]
    pub(super) fn wrong(&self, what: &str) -> Error {
        Error::invalid(format!("JFR: {what}")).with("offset", self.at)
    }

    #[cold]
    fn cut_off(&self) -> Error {
        self.wrong("the bytes end within a value")
    }
}

impl Text<'_> {
    /// How many bytes or units it has.
    pub(super) fn len(&self) -> usize {
        match self {
            Text::Empty | Text::Ref(_) => 0,
            Text::Utf8(bytes) | Text::Latin1(bytes) => bytes.len(),
            Text::Utf16(units, is_compressed) => units_of(units, *is_compressed).count(),
        }
    }

    /// The text's bytes, in UTF-8 as far as it was valid; [`Text::Ref`] has none.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.append_to(&mut out);
        out
    }

    /// Appends [`Self::to_bytes`] to `out`.
    pub(super) fn append_to(self, out: &mut Vec<u8>) {
        let mut utf8 = [0; 4];
        match self {
            Text::Empty | Text::Ref(_) => {}
            Text::Utf8(bytes) => out.extend_from_slice(bytes),
            Text::Latin1(bytes) if bytes.is_ascii() => out.extend_from_slice(bytes),
            Text::Latin1(bytes) => {
                bytes.iter().for_each(|byte| out.extend(char::from(*byte).encode_utf8(&mut utf8).bytes()));
            }
            Text::Utf16(units, is_compressed) => {
                let chars = char::decode_utf16(units_of(units, is_compressed))
                    .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER));
                chars.for_each(|c| out.extend(c.encode_utf8(&mut utf8).bytes()));
            }
        }
    }
}

/// The UTF-16 units in `bytes`.
fn units_of(bytes: &[u8], is_compressed: bool) -> impl Iterator<Item = u16> {
    let mut cursor = Cursor::new(bytes, is_compressed);
    std::iter::from_fn(move || if cursor.left() == 0 { None } else { cursor.short().ok() })
        .map(|unit| u16::from_le_bytes([unit.to_le_bytes()[0], unit.to_le_bytes()[1]]))
}
