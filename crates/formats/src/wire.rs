//! Reads the protobuf wire format in place: varints, tags, lengths. Offsets in errors are those of the whole profile, or of
//! the request that holds many.
//!
//! A [`Reader`] is a window of the profile. A varint is loaded as eight bytes at once wherever the profile (not only the
//! window) has eight more; what lies behind the window is masked away before the length is checked.

use flamestore_model::{Error, Result};

/// Wire type 0 of field `number` as it stands in the bytes.
pub(crate) const fn varint_tag(number: u64) -> u64 {
    number << 3
}

/// Wire type 2 of field `number` as it stands in the bytes.
pub(crate) const fn bytes_tag(number: u64) -> u64 {
    number << 3 | 2
}

/// Wire type 1 of field `number` as it stands in the bytes.
pub(crate) const fn fixed64_tag(number: u64) -> u64 {
    number << 3 | 1
}

/// A window of a profile's bytes, read from its start to its end.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

/// The offset and length of a slice of the profile.
pub(crate) type Span = (u32, u32);

impl<'a> Reader<'a> {
    /// All of `bytes`, which are fewer than 2³².
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, end: bytes.len() }
    }

    /// The window `span`, which the reader of the same bytes gave.
    #[inline(always)]
    pub(crate) fn of(bytes: &'a [u8], span: Span) -> Self {
        Self { bytes, at: span.0 as usize, end: span.0 as usize + span.1 as usize }
    }

    /// Whether all of the window is read.
    #[inline(always)]
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// How many bytes of the window are left.
    #[inline(always)]
    pub(crate) fn left(&self) -> usize {
        self.end - self.at
    }

    /// The next varint; bits beyond 64 are dropped, as protobuf does.
    #[inline(always)]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 && self.at < self.end => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.varint_long(),
        }
    }

    /// A varint of two bytes or more.
    #[inline]
    fn varint_long(&mut self) -> Result<u64> {
        let Some(window) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) else {
            return self.varint_slow();
        };
        let word = u64::from_le_bytes(*window);
        let stops = !word & GOES_ON;
        if stops & 0x8080 == 0x8000 && self.left() > 1 {
            self.at += 2;
            return Ok((word & 0x7f) | ((word >> 1) & 0x3f80));
        }
        if stops == 0 {
            return self.varint_slow();
        }
        let length = (stops.trailing_zeros() as usize + 1) / 8;
        if length > self.left() {
            return Err(self.cut_off());
        }
        self.at += length;
        Ok(squeeze(word & (stops ^ (stops - 1))))
    }

    /// A varint near the end of the profile, or of nine bytes or more.
    #[cold]
    #[inline(never)]
    fn varint_slow(&mut self) -> Result<u64> {
        let window = &self.bytes[self.at.min(self.end)..self.end];
        let mut value = 0u64;
        for (i, &byte) in window.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.at += i + 1;
                return Ok(value);
            }
        }
        match window.len() < 10 {
            true => Err(self.cut_off()),
            false => Err(self.wrong("a varint is longer than 10 bytes")),
        }
    }

    /// The next field's number and wire type, as one number.
    #[inline(always)]
    pub(crate) fn tag(&mut self) -> Result<u64> {
        self.varint()
    }

    /// The next length-delimited field, as a window of its own.
    #[inline(always)]
    pub(crate) fn message(&mut self) -> Result<Reader<'a>> {
        let length = self.varint()?;
        if length > self.left() as u64 {
            return Err(self.too_long(length));
        }
        let start = self.at;
        // It is at most `left`, so fits.
        #[expect(clippy::cast_possible_truncation, reason = "at most the bytes left")]
        let end = start + length as usize;
        self.at = end;
        Ok(Reader { bytes: self.bytes, at: start, end })
    }

    /// The next eight bytes, as a number.
    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64> {
        let Some(bytes) = self.bytes[self.at..self.end].first_chunk::<8>() else {
            return Err(self.cut_off());
        };
        self.at += 8;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// The bytes of the window that are left.
    #[inline(always)]
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    /// The window as a span.
    #[inline(always)]
    pub(crate) fn span(&self) -> Span {
        #[expect(clippy::cast_possible_truncation, reason = "a profile has fewer than 2³² bytes")]
        (self.at as u32, self.left() as u32)
    }

    /// Adds the numbers of a repeated field of wire type 2 to `out`.
    #[inline(always)]
    pub(crate) fn packed<T>(&mut self, out: &mut Vec<T>, from: impl Fn(u64) -> T) -> Result<()> {
        let mut run = self.message()?;
        while !run.is_done() {
            out.push(from(run.varint()?));
        }
        Ok(())
    }

    /// Adds all numbers left, less one, to `out`: rows of a table whose ids are counted from 1. The answer is whether all are
    /// ids of a table of `rows` rows; if not, `out` got some that mean nothing.
    ///
    /// Lengths of neighbouring numbers are hard to foresee, so four numbers are taken from eight bytes without a branch on
    /// their lengths, where that many end there. See [`Ends`].
    #[inline]
    pub(crate) fn counted_rows(mut self, rows: u32, out: &mut Vec<u32>) -> Result<bool> {
        let mut outside = false;
        while let Some(window) = self.bytes[self.at..self.end].first_chunk::<8>() {
            let word = u64::from_le_bytes(*window);
            let ends = Ends::of(word);
            if ends.last == 0 {
                outside |= self.counted_row(rows, out)?;
                continue;
            }
            let found = ends.numbers(word).map(|number| number.wrapping_sub(1));
            outside |= found.iter().fold(false, |any, row| any | (*row >= rows));
            out.extend_from_slice(&found);
            self.at += ends.length();
        }
        while !self.is_done() {
            outside |= self.counted_row(rows, out)?;
        }
        Ok(!outside)
    }

    /// Adds the next number, less one, to `out`; the answer is whether that is outside of a table of `rows` rows.
    #[inline(always)]
    fn counted_row(&mut self, rows: u32, out: &mut Vec<u32>) -> Result<bool> {
        let row = self.varint()?.wrapping_sub(1);
        #[expect(clippy::cast_possible_truncation, reason = "less than `rows`, or else means nothing")]
        out.push(row as u32);
        Ok(row >= u64::from(rows))
    }

    /// Skips the field of `tag`, which its message does not know: one of the numbers up to `known` has the wrong wire type.
    #[cold]
    pub(crate) fn skip(&mut self, tag: u64, known: u64) -> Result<()> {
        let (number, wire_type) = (tag >> 3, tag & 7);
        if number == 0 {
            return Err(self.wrong("a field has number 0"));
        }
        if number <= known {
            return Err(self.wrong(&format!("field {number} has wire type {wire_type}")));
        }
        let length = match wire_type {
            0 => return self.varint().map(drop),
            2 => return self.message().map(drop),
            1 => 8,
            5 => 4,
            3 | 4 => return Err(self.wrong("a group, which no profile has")),
            _ => return Err(self.wrong(&format!("field {number} has wire type {wire_type}, which does not exist"))),
        };
        if self.left() < length {
            return Err(self.cut_off());
        }
        self.at += length;
        Ok(())
    }

    /// The error of bytes that are wrong in the way `what` says, here.
    #[cold]
    #[inline(never)]
    pub(crate) fn wrong(&self, what: &str) -> Error {
        Error::invalid(format!("malformed protobuf: {what}")).with("offset", self.at)
    }

    #[cold]
    #[inline(never)]
    fn cut_off(&self) -> Error {
        self.wrong("the bytes end within a number")
    }

    #[cold]
    #[inline(never)]
    fn too_long(&self, length: u64) -> Error {
        self.wrong("a field is longer than what holds it").with("length", length).with("left", self.left())
    }
}

/// The bit that says a number goes on, of each byte of a word.
const GOES_ON: u64 = 0x8080_8080_8080_8080;

/// The number whose bytes `bits` holds: seven bits of each, the first byte's the lowest.
#[inline(always)]
fn squeeze(bits: u64) -> u64 {
    let bits = bits & !GOES_ON;
    let bits = (bits & 0x007f_007f_007f_007f) | ((bits & 0x7f00_7f00_7f00_7f00) >> 1);
    let bits = (bits & 0x0000_3fff_0000_3fff) | ((bits & 0x3fff_0000_3fff_0000) >> 2);
    (bits & 0x0000_0000_0fff_ffff) | ((bits & 0x0fff_ffff_0000_0000) >> 4)
}

/// Where the first four numbers of a word end: the high bits of their last bytes.
struct Ends {
    at: [u32; 4],
    /// The end bits from the fourth on; 0 where fewer than four numbers end in the word.
    last: u64,
}

impl Ends {
    #[inline(always)]
    fn of(word: u64) -> Self {
        let first = !word & GOES_ON;
        let rest = |ends: u64| ends & ends.wrapping_sub(1);
        let (second, third) = (rest(first), rest(rest(first)));
        let last = rest(third);
        Self { at: [first, second, third, last].map(|ends| ends.trailing_zeros() & 63), last }
    }

    /// How many bytes the four numbers take.
    #[inline(always)]
    fn length(&self) -> usize {
        (self.at[3] as usize + 1) / 8
    }

    /// The four numbers, each as 32 bits: four that end in eight bytes have at most five bytes, so 35 bits, each; more than
    /// 32 become `u32::MAX`.
    #[inline(always)]
    fn numbers(&self, word: u64) -> [u32; 4] {
        let [a, b, c, d] = self.at;
        let slice = |start: u32, end: u32| (word << (63 - end)) >> ((63 - end + start) & 63);
        let bits = [slice(0, a), slice(a + 1, b), slice(b + 1, c), slice(c + 1, d)];
        let goes_on = word & GOES_ON;
        let pairs = goes_on & (goes_on >> 8);
        match pairs & (pairs >> 16) {
            0 => bits.map(squeeze_four),
            _ => bits.map(|bits| u32::try_from(squeeze(bits)).unwrap_or(u32::MAX)),
        }
    }
}

/// [`squeeze`] of at most four bytes.
#[inline(always)]
fn squeeze_four(bits: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "at most four bytes")]
    let bits = bits as u32;
    let bits = (bits & 0x007f_007f) | ((bits & 0x7f00_7f00) >> 1);
    (bits & 0x3fff) | ((bits & 0x3fff_0000) >> 2)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "numbers of tests are small")]
mod tests {
    use super::*;

    fn encoded(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    #[test]
    fn varints_of_all_lengths_are_read_at_the_end_and_before_other_bytes() -> Result<()> {
        for bits in 0..64 {
            for value in [1u64 << bits, (1 << bits) - 1, u64::MAX >> bits] {
                let mut bytes = encoded(value);
                let length = bytes.len();
                assert_eq!(Reader::new(&bytes).varint()?, value);
                bytes.extend_from_slice(&[0xff; 9]);
                let mut reader = Reader::new(&bytes);
                assert_eq!(reader.varint()?, value);
                assert_eq!(reader.left(), 9);
                let cut = Reader { bytes: &bytes, at: 0, end: length - 1 }.varint();
                assert!(cut.is_err(), "{value} without its last byte");
            }
        }
        Ok(())
    }

    #[test]
    fn packed_numbers_of_mixed_lengths_are_read() -> Result<()> {
        let mut state = 1u64;
        for bits_max in [7, 14, 21, 32] {
            for count in 0..40 {
                let numbers = Vec::from_iter((0..count).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (state.rotate_left(20) >> (64 - bits_max)) >> (state % bits_max)
                }));
                let run = numbers.iter().flat_map(|number| encoded(*number)).collect::<Vec<u8>>();
                let mut bytes = encoded(run.len() as u64);
                bytes.extend_from_slice(&run);
                let (mut read, mut rows) = (Vec::new(), vec![7]);
                Reader::new(&bytes).packed(&mut read, |number| number)?;
                assert_eq!(read, numbers);
                bytes.extend_from_slice(&[0xff; 9]);
                let most = u32::try_from(numbers.iter().copied().max().unwrap_or(1)).unwrap();
                let complete = !numbers.contains(&0);
                assert_eq!(Reader::new(&bytes).message()?.counted_rows(most, &mut rows)?, complete);
                let expected = numbers.iter().map(|number| (*number as u32).wrapping_sub(1));
                assert_eq!(rows, Vec::from_iter([7].into_iter().chain(expected)));
                let fewer = most.saturating_sub(1);
                assert_eq!(Reader::new(&bytes).message()?.counted_rows(fewer, &mut rows)?, count == 0);
                if let Some(last) = run.len().checked_sub(1) {
                    let at = bytes.len() - 10;
                    bytes[at] |= 0x80;
                    assert!(
                        Reader::new(&bytes).message()?.counted_rows(most, &mut rows).is_err(),
                        "byte {last} goes on"
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_wrong_field_names_its_offset() {
        let check = |bytes: &[u8], expected: &str| {
            let mut reader = Reader::new(bytes);
            let skipped = reader.tag().and_then(|tag| reader.skip(tag, 3));
            assert_eq!(skipped.map_err(|e| e.to_string()), Err(expected.to_owned()), "{bytes:x?}");
        };
        check(&[0x22, 5, 1], "malformed protobuf: a field is longer than what holds it [offset=2, length=5, left=1]");
        check(&[0x20, 0x80], "malformed protobuf: the bytes end within a number [offset=1]");
        check(&[0x20; 0], "malformed protobuf: the bytes end within a number [offset=0]");
        check(
            &[[0x20].as_slice(), &[0xff; 11]].concat(),
            "malformed protobuf: a varint is longer than 10 bytes [offset=1]",
        );
        check(&[0x23], "malformed protobuf: a group, which no profile has [offset=1]");
        check(&[0x27], "malformed protobuf: field 4 has wire type 7, which does not exist [offset=1]");
        check(&[0x18, 1], "malformed protobuf: field 3 has wire type 0 [offset=1]");
        check(&[0x00], "malformed protobuf: a field has number 0 [offset=1]");
        check(&[0x21, 1, 2], "malformed protobuf: the bytes end within a number [offset=1]");
    }
}
