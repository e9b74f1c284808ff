//! Frames of LZ4 as Arrow's writers make them: blocks one after the other, no checksums.
//!
//! ```text
//! magic 0x184d2204   flags   block size   [content size u64]   header checksum   blocks (size u32, bytes)   0 u32
//! flags: version 01, blocks that stand for themselves, of blocks a checksum, content size, of all a checksum, 0, dictionary
//! ```
//!
//! The library's reader of frames makes room for 64 KiB or more for each; a record has dozens of small ones. So the frame is
//! taken apart here and the library decompresses the blocks, each into its place. Any other frame is left to the library.

use std::io::{self, Read};

use lz4_flex::block::DecompressError;

/// Version 01, no checksums, no dictionary; the other bits say whether blocks stand for themselves, and that there is a size.
const FLAGS: u8 = 0b0100_0000;
const STANDALONE: u8 = 0b0010_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// Of a block's size: its bytes are as they were.
const AS_IT_WAS: u32 = 1 << 31;

/// Appends what `frame` holds to `out`, `claimed + 1` bytes at most; whoever calls has made sure that this is not too much.
///
/// # Errors
/// When the frame is damaged.
pub(super) fn decompress(frame: &[u8], claimed: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    if let Some((blocks, stand_alone)) = blocks_of(frame) {
        // one more, which tells a frame that is longer than it claims
        out.resize(start + claimed + 1, 0);
        let decompressed = decompress_blocks(blocks, stand_alone, &mut out[start..]).transpose()?;
        out.truncate(start + decompressed.unwrap_or(0));
        if decompressed.is_some() {
            return Ok(());
        }
    }
    lz4_flex::frame::FrameDecoder::new(frame).take(claimed as u64 + 1).read_to_end(out).map(drop)
}

/// The blocks of a frame that is as simple as it can be, and whether each stands for itself.
fn blocks_of(frame: &[u8]) -> Option<(&[u8], bool)> {
    let [flags, _block_size, rest @ ..] = frame.strip_prefix(&MAGIC)? else { return None };
    if flags & !(STANDALONE | CONTENT_SIZE) != FLAGS {
        return None;
    }
    let size_bytes = if flags & CONTENT_SIZE == 0 { 0 } else { 8 };
    let header_checksum = 1;
    Some((rest.get(size_bytes + header_checksum..)?, flags & STANDALONE != 0))
}

/// Decompresses the blocks to `out`; how many bytes they had, those for which there is no room left aside. `None` where the library has to look, since a block refers to those
/// before it.
fn decompress_blocks(mut blocks: &[u8], stand_alone: bool, out: &mut [u8]) -> Option<io::Result<usize>> {
    let damaged = |what: &str| Some(Err(io::Error::new(io::ErrorKind::InvalidData, what.to_owned())));
    let mut length = 0;
    loop {
        let Some((size, rest)) = blocks.split_first_chunk::<4>() else { return damaged("the frame has no end") };
        let size = u32::from_le_bytes(*size);
        if size == 0 {
            return Some(Ok(length));
        }
        if length > 0 && !stand_alone {
            return None;
        }
        let Some((block, rest)) = rest.split_at_checked((size & !AS_IT_WAS) as usize) else {
            return damaged("the frame ends within a block");
        };
        let room = &mut out[length..];
        length += match size & AS_IT_WAS {
            0 => match lz4_flex::block::decompress_into(block, room) {
                Ok(decompressed) => decompressed,
                Err(DecompressError::OutputTooSmall { .. }) => return Some(Ok(out.len())),
                Err(wrong) => return Some(Err(io::Error::new(io::ErrorKind::InvalidData, wrong))),
            },
            _ => {
                let Some(room) = room.get_mut(..block.len()) else { return Some(Ok(out.len())) };
                room.copy_from_slice(block);
                block.len()
            }
        };
        blocks = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;

    fn compress(bytes: &[u8], info: FrameInfo) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_le_bytes()[3]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn every_kind_of_frame_comes_back() {
        let contents = [Vec::new(), b"a".repeat(100), noise(300), [noise(90_000), b"ab".repeat(90_000)].concat()];
        for content in &contents {
            for mode in [BlockMode::Independent, BlockMode::Linked] {
                let info = || FrameInfo::new().block_mode(mode).block_size(BlockSize::Max64KB);
                let size = Some(content.len() as u64);
                for info in
                    [info(), info().content_size(size), info().content_checksum(true), info().block_checksums(true)]
                {
                    let frame = compress(content, info);
                    let mut out = b"before".to_vec();
                    decompress(&frame, content.len(), &mut out).unwrap();
                    assert_eq!(out, [b"before", &content[..]].concat());
                }
            }
        }
    }

    #[test]
    fn simple_frames_are_taken_apart_here_and_no_others() {
        let simple = compress(b"text", FrameInfo::new());
        assert!(blocks_of(&simple).is_some_and(|(_, stand_alone)| stand_alone));
        assert!(blocks_of(&compress(b"text", FrameInfo::new().content_checksum(true))).is_none());
        assert!(blocks_of(b"").is_none() && blocks_of(&MAGIC).is_none());
    }

    #[test]
    fn damaged_frames_are_errors_or_have_another_length() {
        let content = [noise(2000), b"abcd".repeat(500)].concat();
        let frame = compress(&content, FrameInfo::new());
        for end in 0..frame.len() {
            let mut out = Vec::new();
            assert!(decompress(&frame[..end], content.len(), &mut out).is_err() || out.len() < content.len(), "{end}");
        }
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x55;
            let mut out = Vec::new();
            // any outcome but a panic and more than is claimed
            let _ = decompress(&damaged, content.len(), &mut out);
            assert!(out.len() <= content.len() + 1);
        }
        let mut out = Vec::new();
        decompress(&frame, content.len() - 100, &mut out).unwrap();
        assert_eq!(out.len(), content.len() - 99, "one more than claimed");
    }
}
