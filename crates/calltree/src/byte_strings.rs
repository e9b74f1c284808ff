//! Many byte strings in one allocation: string `id` is the slice between two neighbouring offsets.

use flamestore_model::{Error, Result};

/// Byte strings by dense id. At most 4 GiB of bytes and 2³² − 2 strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteStrings {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
}

impl Default for ByteStrings {
    fn default() -> Self {
        Self::new()
    }
}

impl ByteStrings {
    /// No strings.
    pub fn new() -> Self {
        Self::with_capacity(0, 0)
    }

    /// No strings, with room for `strings` of them and `bytes` in all.
    pub fn with_capacity(strings: usize, bytes: usize) -> Self {
        let mut offsets = Vec::with_capacity(strings + 1);
        offsets.push(0);
        Self { bytes: Vec::with_capacity(bytes), offsets }
    }

    /// The strings between neighbouring `offsets` of `bytes`.
    ///
    /// # Errors
    /// `Corrupt` when the offsets do not rise from 0 to the number of bytes.
    pub fn from_parts(bytes: Vec<u8>, offsets: Vec<u32>) -> Result<Self> {
        let last = offsets.last().map(|&last| last as usize);
        if offsets.first() != Some(&0) || last != Some(bytes.len()) || !offsets.is_sorted() {
            return Err(Error::corrupt("string offsets do not rise from 0 to the number of bytes")
                .with("strings", offsets.len().saturating_sub(1))
                .with("bytes", bytes.len()));
        }
        Ok(Self { bytes, offsets })
    }

    /// The string `id`.
    ///
    /// # Panics
    /// When there is no such string.
    #[inline]
    pub fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        &self.bytes[self.offsets[id] as usize..self.offsets[id + 1] as usize]
    }

    /// The string `id` with invalid UTF-8 replaced.
    ///
    /// # Panics
    /// When there is no such string.
    pub fn text(&self, id: u32) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.get(id))
    }

    /// Appends a string and returns its id.
    ///
    /// # Panics
    /// When the bytes would pass 4 GiB; callers bound what they append ([`ByteStrings::has_room`]).
    pub fn push(&mut self, string: &[u8]) -> u32 {
        assert!(self.has_room(string.len()), "more than 4 GiB of strings in one dictionary");
        let id = self.len();
        self.bytes.extend_from_slice(string);
        self.offsets.push(index(self.bytes.len()));
        index(id)
    }

    /// Whether a string of `length` bytes can still be appended.
    pub fn has_room(&self, length: usize) -> bool {
        self.bytes.len() + length <= u32::MAX as usize && self.offsets.len() < u32::MAX as usize
    }

    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The strings in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator {
        self.offsets.windows(2).map(|pair| &self.bytes[pair[0] as usize..pair[1] as usize])
    }

    /// All bytes, one string after another.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each string starts, then where the last one ends.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Where `string` is or would be among strings sorted bytewise.
    ///
    /// # Errors
    /// The id it would have, when it is not among them.
    pub fn binary_search(&self, string: &[u8]) -> std::result::Result<u32, u32> {
        let at = self.partition_point(|other| other < string);
        match (at as usize) < self.len() && self.get(at) == string {
            true => Ok(at),
            false => Err(at),
        }
    }

    /// The first id for which `before` does not hold, given that it holds for all earlier ones only.
    pub fn partition_point(&self, before: impl Fn(&[u8]) -> bool) -> u32 {
        let (mut low, mut high) = (0, index(self.len()));
        while low < high {
            let middle = low + (high - low) / 2;
            match before(self.get(middle)) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// Bytes of memory held.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.offsets.capacity() * size_of::<u32>()
    }
}

/// A row number as a 32-bit id.
///
/// # Panics
/// When there are 2³² − 1 rows or more: every table of this crate is bounded below that.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "asserted to fit")]
pub(crate) fn index(row: usize) -> u32 {
    assert!(row <= u32::MAX as usize, "more than 2^32 rows in one table");
    row as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_by_id() {
        let mut strings = ByteStrings::new();
        assert_eq!((strings.push(b""), strings.push(b"a"), strings.push(b"\xff\x00b")), (0, 1, 2));
        assert_eq!(strings.iter().collect::<Vec<_>>(), [&b""[..], b"a", b"\xff\x00b"]);
        assert_eq!((strings.get(2), strings.text(2).as_ref()), (&b"\xff\x00b"[..], "\u{fffd}\0b"));
        assert_eq!(strings.binary_search(b"a"), Ok(1));
        assert_eq!((strings.binary_search(b"b"), strings.binary_search(b"\xff\xff")), (Err(2), Err(3)));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let parts = |bytes: &[u8], offsets: &[u32]| ByteStrings::from_parts(bytes.to_vec(), offsets.to_vec()).is_ok();
        assert!(parts(b"ab", &[0, 1, 2]) && parts(b"", &[0]));
        assert!(!parts(b"ab", &[]) && !parts(b"ab", &[0, 1]) && !parts(b"ab", &[1, 2]) && !parts(b"ab", &[0, 2, 1, 2]));
    }
}
