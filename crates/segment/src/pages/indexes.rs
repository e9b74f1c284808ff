//! RLE_DICTIONARY: rows of the column chunk's dictionary, as runs of one row and as rows packed into bits.
//!
//! ```text
//! width, then runs:   length << 1, the row in whole bytes       groups of eight << 1 | 1, the rows packed
//! ```

use super::bits::{GROUP, unpack, varint};
use super::{Broken, Number, push};

/// Adds the `rows` numbers of a page to `out`, looked up in `dictionary`.
pub(super) fn decode<T: Number>(bytes: &[u8], dictionary: &[T], rows: usize, out: &mut Vec<T>) -> Result<(), Broken> {
    let (width, bytes) = bytes.split_first().ok_or(Broken::Short)?;
    if *width > 32 {
        return Err(Broken::Layout);
    }
    let mut runs = Runs { bytes, width: *width, dictionary };
    let mut left = rows;
    while left > 0 {
        let head = varint(&mut runs.bytes).ok_or(Broken::Short)?;
        let length = usize::try_from(head >> 1).ok().filter(|length| *length > 0).ok_or(Broken::Layout)?;
        left -= match head & 1 {
            0 => runs.same(length.min(left), out)?,
            _ => runs.packed(length.saturating_mul(8), left, out)?,
        };
    }
    Ok(())
}

struct Runs<'a, T> {
    bytes: &'a [u8],
    width: u8,
    dictionary: &'a [T],
}

impl<T: Number> Runs<'_, T> {
    /// Adds one row's number `count` times.
    fn same(&mut self, count: usize, out: &mut Vec<T>) -> Result<usize, Broken> {
        let (row, rest) = self.bytes.split_at_checked(usize::from(self.width).div_ceil(8)).ok_or(Broken::Short)?;
        let row = row.iter().rev().fold(0_usize, |row, byte| row << 8 | usize::from(*byte));
        let number = *self.dictionary.get(row).ok_or(Broken::Row)?;
        self.bytes = rest;
        out.resize(out.len() + count, number);
        Ok(count)
    }

    /// Adds the numbers of a run of packed rows, at most `left` of them; the answer is how many there were.
    fn packed(&mut self, in_run: usize, left: usize, out: &mut Vec<T>) -> Result<usize, Broken> {
        let wanted = in_run.min(left);
        let mut done = 0;
        while done < wanted {
            let count = (wanted - done).min(GROUP);
            let mut rows = [0; GROUP];
            unpack(self.bytes, self.width, count, &mut rows).ok_or(Broken::Short)?;
            let mut numbers = [T::of(0); GROUP];
            for (number, row) in numbers.iter_mut().zip(&rows[..count]) {
                *number = *self.dictionary.get(*row as usize).ok_or(Broken::Row)?;
            }
            push(out, &numbers, count);
            // A run ends in a whole byte, and so does a group.
            let taken = (in_run - done).min(GROUP);
            self.bytes = self.bytes.get(taken * usize::from(self.width) / 8..).unwrap_or_default();
            done += count;
        }
        Ok(wanted)
    }
}
