//! DELTA_BINARY_PACKED: differences less the smallest of their block, packed into bits.
//!
//! ```text
//! header   values of a block, miniblocks of a block, count, first value
//! block    smallest difference, a width a miniblock, the miniblocks
//! ```

use super::bits::{GROUP, unpack, varint, wide, zigzag};
use super::{Broken, Number, push};

/// Adds the `rows` numbers of a page to `out`.
pub(super) fn decode<T: Number>(bytes: &[u8], rows: usize, out: &mut Vec<T>) -> Result<(), Broken> {
    let mut deltas = Deltas::<T>::new(bytes, rows)?;
    let mut left = rows;
    if left > 0 {
        out.push(deltas.last);
        left -= 1;
    }
    while left > 0 {
        deltas.begin_block()?;
        left = deltas.block(left, out)?;
    }
    Ok(())
}

struct Deltas<'a, T> {
    bytes: &'a [u8],
    values_per_miniblock: usize,
    miniblocks: usize,
    last: T,
    /// Of the block under way.
    smallest: T,
    widths: &'a [u8],
}

impl<'a, T: Number> Deltas<'a, T> {
    fn new(mut bytes: &'a [u8], rows: usize) -> Result<Self, Broken> {
        let header = &mut bytes;
        let mut next = || varint(header).and_then(|number| usize::try_from(number).ok()).ok_or(Broken::Short);
        let (values, miniblocks, count) = (next()?, next()?, next()?);
        let first = zigzag(&mut bytes).ok_or(Broken::Short)?;
        if count != rows {
            return Err(Broken::Count);
        }
        let values_per_miniblock = values.checked_div(miniblocks).unwrap_or(0);
        if values_per_miniblock == 0 || !values_per_miniblock.is_multiple_of(GROUP) {
            return Err(Broken::Layout);
        }
        let (last, smallest) = (T::of(first), T::of(0));
        Ok(Self { bytes, values_per_miniblock, miniblocks, last, smallest, widths: &[] })
    }

    fn begin_block(&mut self) -> Result<(), Broken> {
        self.smallest = T::of(zigzag(&mut self.bytes).ok_or(Broken::Short)?);
        (self.widths, self.bytes) = self.bytes.split_at_checked(self.miniblocks).ok_or(Broken::Short)?;
        Ok(())
    }

    /// Adds at most `left` numbers, those of a block, to `out`; the answer is how many are left after it.
    fn block(&mut self, mut left: usize, out: &mut Vec<T>) -> Result<usize, Broken> {
        for width in self.widths {
            // The widths of miniblocks that hold nothing mean nothing.
            let mut in_miniblock = self.values_per_miniblock.min(left);
            if in_miniblock > 0 && usize::from(*width) > T::BYTES * 8 {
                return Err(Broken::Layout);
            }
            while in_miniblock > 0 {
                let count = in_miniblock.min(GROUP);
                self.group(*width, count, out)?;
                (left, in_miniblock) = (left - count, in_miniblock - count);
            }
        }
        Ok(left)
    }

    /// Adds `count` numbers, at most those of one group, to `out`.
    fn group(&mut self, width: u8, count: usize, out: &mut Vec<T>) -> Result<(), Broken> {
        if width <= 32 {
            let mut deltas = [0; GROUP];
            unpack(self.bytes, width, count, &mut deltas).ok_or(Broken::Short)?;
            let mut numbers = [self.last; GROUP];
            let mut last = self.last;
            for (number, delta) in numbers.iter_mut().zip(deltas) {
                last = last.add(self.smallest.add(T::of(u64::from(delta))));
                *number = last;
            }
            push(out, &numbers, count);
            self.last = numbers[count - 1];
        } else {
            for at in 0..count {
                let delta = wide(self.bytes, width, at).ok_or(Broken::Short)?;
                self.last = self.last.add(self.smallest).add(T::of(delta));
                out.push(self.last);
            }
        }
        self.bytes = self.bytes.get(GROUP / 8 * usize::from(width)..).unwrap_or_default();
        Ok(())
    }
}
