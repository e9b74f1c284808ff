//! Numbers of a fixed width in bits, packed one behind the other, the lowest bit first.

/// How many numbers are unpacked at once. So many take whole bytes, whatever their width.
pub(super) const GROUP: usize = 32;

/// Unpacks the next `count` numbers of `width` bits (at most 32), at most [`GROUP`] of them; what `numbers` holds after them
/// means nothing. `None` if `bytes` holds fewer. The caller skips the bytes of the group.
#[inline]
pub(super) fn unpack(bytes: &[u8], width: u8, count: usize, numbers: &mut [u32; GROUP]) -> Option<()> {
    let whole = GROUP / 8 * usize::from(width);
    match bytes.get(..whole) {
        Some(bytes) => unpack_whole(bytes, width, numbers),
        None => unpack_part(bytes, width, count, numbers),
    }
}

/// The same where the last bytes of a group may be missing.
#[cold]
fn unpack_part(bytes: &[u8], width: u8, count: usize, numbers: &mut [u32; GROUP]) -> Option<()> {
    let needed = (count.min(GROUP) * usize::from(width)).div_ceil(8);
    let mut padded = [0; GROUP / 8 * 32];
    padded.get_mut(..needed)?.copy_from_slice(bytes.get(..needed)?);
    unpack_whole(padded.get(..GROUP / 8 * usize::from(width))?, width, numbers)
}

/// A function a width, so that all shifts are known when it is compiled.
#[inline]
fn unpack_whole(bytes: &[u8], width: u8, numbers: &mut [u32; GROUP]) -> Option<()> {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                0 => numbers.fill(0),
                $($width => unpack_fixed::<$width>(bytes, numbers),)*
                _ => return None,
            }
        };
    }
    by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
    Some(())
}

/// `bytes` are `WIDTH` words.
fn unpack_fixed<const WIDTH: usize>(bytes: &[u8], numbers: &mut [u32; GROUP]) {
    let mut words = [0_u32; WIDTH];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let mask = u32::MAX >> (32 - WIDTH);
    for (at, number) in numbers.iter_mut().enumerate() {
        let (word, shift) = (at * WIDTH / 32, at * WIDTH % 32);
        let mut bits = words[word] >> shift;
        if shift + WIDTH > 32 {
            bits |= words[word + 1] << (32 - shift);
        }
        *number = bits & mask;
    }
}

/// Number `at` of numbers of `width` bits (at most 64). `None` if `bytes` holds fewer.
pub(super) fn wide(bytes: &[u8], width: u8, at: usize) -> Option<u64> {
    let start = at.checked_mul(usize::from(width))?;
    let end = start.checked_add(usize::from(width))?;
    let bytes = bytes.get(start / 8..end.div_ceil(8))?;
    // At most 7 bits before and 64 of the number: nine bytes.
    let bits = bytes.iter().rev().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte)) >> (start % 8);
    let mask = (1_u128 << width) - 1;
    u64::try_from(bits & mask).ok()
}

/// The varint at the start of `bytes`, which are moved on; `None` when it does not end there or has more than 64 bits.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The signed number that a zigzag varint stands for, as two's complement.
pub(super) fn zigzag(bytes: &mut &[u8]) -> Option<u64> {
    let value = varint(bytes)?;
    Some(value >> 1 ^ (value & 1).wrapping_neg())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_bit_by_bit_is_unpacked(width in 0_u8..=64, numbers in prop::collection::vec(any::<u64>(), 32), count in 0_usize..=32) {
            let mask = u64::try_from((1_u128 << width) - 1).unwrap();
            let numbers: Vec<u64> = numbers.iter().map(|number| number & mask).collect();
            let mut bytes = vec![0_u8; 32 * usize::from(width) / 8];
            for bit in 0..32 * usize::from(width) {
                let (number, shift) = (numbers[bit / usize::from(width)], bit % usize::from(width));
                bytes[bit / 8] |= u8::from(number >> shift & 1 == 1) << (bit % 8);
            }
            for (at, number) in numbers.iter().enumerate() {
                prop_assert_eq!(wide(&bytes, width, at), Some(*number));
            }
            prop_assert_eq!(wide(&bytes, width, 32).is_some(), width == 0);
            let needed = (count * usize::from(width)).div_ceil(8);
            let expected: Vec<u32> = numbers.iter().filter_map(|number| u32::try_from(*number).ok()).collect();
            if width > 32 {
                return Ok(());
            }
            let mut unpacked = [7; GROUP];
            unpack(&bytes, width, 32, &mut unpacked).unwrap();
            prop_assert_eq!(&unpacked[..], &expected[..]);
            unpacked = [7; GROUP];
            unpack(&bytes[..needed], width, count, &mut unpacked).unwrap();
            prop_assert_eq!(&unpacked[..count], &expected[..count]);
            if let Some(short) = needed.checked_sub(1) {
                prop_assert_eq!(unpack(&bytes[..short], width, count, &mut unpacked), None);
            }
        }
    }

    #[test]
    fn varints_end_in_time() {
        let read = |bytes: &[u8]| varint(&mut &*bytes);
        assert_eq!(read(&[0xac, 2, 9]), Some(300));
        assert_eq!(read(&[0x80]), None);
        assert_eq!(read(&[0xff; 11]), None);
        assert_eq!(zigzag(&mut [3_u8].as_slice()), Some(u64::MAX - 1));
    }
}
