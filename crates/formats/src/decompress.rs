//! Decompression by content, and gzip.
//!
//! | first bytes | container | reader |
//! |---|---|---|
//! | `1f 8b` | gzip | libdeflate in one shot, sized by the trailer; streaming where the trailer is not that of the first member |
//! | `28 b5 2f fd` | zstd | streaming, window and content bounded |
//! | other | none | as is |
//!
//! What a container says of its size is a claim: it is used to refuse early and to size the output, but never beyond
//! `decompressed_bytes_max`, nor beyond what that many compressed bytes can hold.

use std::io::Read;

use bytes::Bytes;
use flamestore_model::{Error, Result};
use libdeflater::{CompressionLvl, Compressor, DecompressionError, Decompressor};

use crate::Limits;
use crate::limits::{over, within};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const GZIP_MEMBER: [u8; 3] = [0x1f, 0x8b, 8];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const LZ4: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// The most bytes that one byte of deflate can become.
const DEFLATE_RATIO_MAX: usize = 1032;

/// `bytes` without their container: gzip of one or more members, zstd, or none, as their first bytes say.
///
/// # Errors
/// `Invalid` when the container is damaged or of a kind that is not read (lz4); `Exhausted` when it holds more than
/// `decompressed_bytes_max`.
pub fn decompress(bytes: Bytes, limits: &Limits) -> Result<Bytes> {
    let mut inflater = Inflater::default();
    inflater.decompress(bytes, limits)
}

/// `bytes` compressed with gzip, at the level that gzip's own default is.
///
/// # Errors
/// `Internal` if the compressor breaks its own bound on the size of its output.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut compressor = Compressor::new(CompressionLvl::default());
    let mut out = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let written = compressor
        .gzip_compress(bytes, &mut out)
        .map_err(|e| Error::internal("gzip needs more room than its bound").because(e.to_string()))?;
    out.truncate(written);
    Ok(out)
}

/// Decompresses; keeps its tables and its output buffer.
#[derive(Default)]
pub(crate) struct Inflater {
    gzip: Option<Decompressor>,
    out: Vec<u8>,
}

impl Inflater {
    /// See [`decompress`].
    pub(crate) fn decompress(&mut self, bytes: Bytes, limits: &Limits) -> Result<Bytes> {
        let bytes_max = limits.decompressed_bytes();
        if bytes.starts_with(&GZIP) {
            return self.gunzip(&bytes, bytes_max);
        }
        if bytes.starts_with(&ZSTD) {
            return unzstd(&bytes, bytes_max);
        }
        if bytes.starts_with(&LZ4) {
            return Err(Error::invalid("the profile is compressed with lz4; send gzip, zstd or no compression"));
        }
        within("decompressed_bytes_max", bytes_max, bytes.len())?;
        Ok(bytes)
    }

    /// Takes a buffer to write the next output to.
    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > self.out.capacity() {
            self.out = buffer;
        }
    }

    fn gunzip(&mut self, bytes: &[u8], bytes_max: usize) -> Result<Bytes> {
        let Some((body, trailer)) = bytes.split_last_chunk::<8>() else {
            return Err(Error::invalid("gzip: the bytes end too early").with("bytes", bytes.len()));
        };
        let [_, _, _, _, size @ ..] = *trailer;
        let claimed = u32::from_le_bytes(size) as usize;
        if claimed > bytes.len().saturating_mul(DEFLATE_RATIO_MAX) {
            return gunzip_streaming(bytes, bytes_max);
        }
        if claimed > bytes_max {
            return Err(refuse_gzip(bytes, bytes_max, claimed));
        }
        let mut out = std::mem::take(&mut self.out);
        out.resize(claimed, 0);
        match self.gzip.get_or_insert_with(Decompressor::new).gzip_decompress(bytes, &mut out) {
            Ok(written) if written == claimed && !repeats_member(body, trailer) => Ok(Bytes::from(out)),
            Ok(_) | Err(DecompressionError::InsufficientSpace) => gunzip_streaming(bytes, bytes_max),
            Err(DecompressionError::BadData) => Err(Error::invalid("gzip: the compressed bytes are damaged")),
        }
    }
}

/// Whether a member that ends in `trailer` is followed by another one within `body`. The first member has the size that the
/// last one's trailer tells; only then can it be another member than the last.
fn repeats_member(body: &[u8], trailer: &[u8; 8]) -> bool {
    let mut end = [0; 11];
    end[..8].copy_from_slice(trailer);
    end[8..].copy_from_slice(&GZIP_MEMBER);
    memchr::memmem::find(body, &end).is_some()
}

/// All members of `bytes`, whatever their trailers tell.
fn gunzip_streaming(bytes: &[u8], bytes_max: usize) -> Result<Bytes> {
    read_all(flate2::read::MultiGzDecoder::new(bytes), "gzip", bytes_max)
}

/// The error of members that claim to hold more than `bytes_max`: read to learn whether they do, but not kept.
fn refuse_gzip(bytes: &[u8], bytes_max: usize, claimed: usize) -> Error {
    let mut reader = flate2::read::MultiGzDecoder::new(bytes).take(bytes_max as u64 + 1);
    match std::io::copy(&mut reader, &mut std::io::sink()) {
        Ok(_) => over("decompressed_bytes_max", bytes_max, claimed),
        Err(e) => Error::invalid("gzip: the compressed bytes are damaged").because(e),
    }
}

fn unzstd(bytes: &[u8], bytes_max: usize) -> Result<Bytes> {
    if let Ok(Some(claimed)) = zstd::zstd_safe::get_frame_content_size(bytes)
        && claimed > bytes_max as u64
    {
        return Err(over("decompressed_bytes_max", bytes_max, claimed));
    }
    let damaged = |e: std::io::Error| Error::invalid("zstd: the compressed bytes are damaged").because(e);
    let mut reader = zstd::stream::read::Decoder::with_buffer(bytes).map_err(damaged)?;
    let window_log_max = bytes_max.max(1).ilog2().clamp(23, 27);
    reader.window_log_max(window_log_max).map_err(damaged)?;
    read_all(reader, "zstd", bytes_max)
}

/// All that `reader` gives, if that is at most `bytes_max`.
fn read_all(reader: impl Read, container: &str, bytes_max: usize) -> Result<Bytes> {
    let mut out = Vec::new();
    let read = reader.take(bytes_max as u64 + 1).read_to_end(&mut out);
    read.map_err(|e| Error::invalid(format!("{container}: the compressed bytes are damaged")).because(e))?;
    if out.len() > bytes_max {
        return Err(over("decompressed_bytes_max", bytes_max, format!("more than {bytes_max}")));
    }
    Ok(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"a profile, a profile, a profile, another profile";

    fn small(bytes_max: usize) -> Limits {
        Limits { decompressed_bytes_max: bytes_max, ..Limits::default() }
    }

    fn check(bytes: &[u8], bytes_max: usize, expected: &str) {
        let answer = decompress(Bytes::copy_from_slice(bytes), &small(bytes_max));
        let answer =
            answer.map_or_else(|e| format!("{:?} {e}", e.kind()), |b| String::from_utf8_lossy(&b).into_owned());
        assert_eq!(answer.split(": ").next(), expected.split(": ").next(), "{answer}");
    }

    #[test]
    fn containers_are_told_by_their_first_bytes() -> Result<()> {
        let text = String::from_utf8_lossy(TEXT).into_owned();
        check(TEXT, 100, &text);
        check(&gzip(TEXT)?, 100, &text);
        check(&zstd::encode_all(TEXT, 1).unwrap(), 100, &text);
        check(&LZ4, 100, "Invalid the profile is compressed with lz4; send gzip, zstd or no compression");
        check(&[], 100, "");
        check(&gzip(&[])?, 0, "");
        Ok(())
    }

    #[test]
    fn all_members_of_a_gzip_file_are_read() -> Result<()> {
        for texts in [[TEXT, TEXT], [TEXT, b"short"], [b"short", TEXT], [TEXT, b""], [b"", TEXT]] {
            let bytes = [gzip(texts[0])?, gzip(texts[1])?].concat();
            check(&bytes, 100, &String::from_utf8_lossy(&texts.concat()));
        }
        let frames = [zstd::encode_all(TEXT, 1).unwrap(), zstd::encode_all(TEXT, 1).unwrap()].concat();
        check(&frames, 100, &String::from_utf8_lossy(&[TEXT, TEXT].concat()));
        Ok(())
    }

    #[test]
    fn a_container_that_holds_too_much_is_refused() -> Result<()> {
        let bomb = vec![0u8; 1 << 20];
        let mut lying = gzip(&bomb)?;
        let over = "Exhausted the profile is over the limit decompressed_bytes_max [limit=99, found=1048576]";
        check(&lying, 99, over);
        let size = lying.len() - 4;
        lying[size..].copy_from_slice(&7u32.to_le_bytes());
        check(
            &lying,
            99,
            "Exhausted the profile is over the limit decompressed_bytes_max [limit=99, found=more than 99]",
        );
        lying[size..].copy_from_slice(&u32::MAX.to_le_bytes());
        check(
            &lying,
            99,
            "Exhausted the profile is over the limit decompressed_bytes_max [limit=99, found=more than 99]",
        );
        check(&zstd::bulk::compress(&bomb, 1).unwrap(), 99, over);
        check(
            &zstd::encode_all(bomb.as_slice(), 1).unwrap(),
            99,
            "Exhausted the profile is over the limit decompressed_bytes_max [limit=99, found=more than 99]",
        );
        check(TEXT, 3, "Exhausted the profile is over the limit decompressed_bytes_max [limit=3, found=48]");
        Ok(())
    }

    #[test]
    fn damaged_containers_are_invalid() -> Result<()> {
        let good = gzip(TEXT)?;
        check(&good[..5], 100, "Invalid gzip: ");
        check(&good[..good.len() - 1], 100, "Invalid gzip: ");
        for at in 10..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            check(&bad, 1 << 20, "Invalid gzip: ");
        }
        check(&[good.as_slice(), b"tail of no meaning"].concat(), 1 << 30, "Invalid gzip: ");
        let frame = zstd::encode_all(TEXT, 1).unwrap();
        check(&frame[..frame.len() - 3], 100, "Invalid zstd: ");
        Ok(())
    }
}
