//! The bytes of a part of the log, a file or an object.
//!
//! ```text
//! offset  size  what
//!      0     4  "FSWL"
//!      4     4  format version, little-endian; 1
//!      8    16  the log's id, big-endian
//!     24     8  the writer's epoch, little-endian
//!     32    16  random bits of this part, big-endian
//!     48     8  XXH3-64 of the 48 bytes before, little-endian
//!     56     …  records, each:
//!                  0   4  "FSWR"
//!                  4   4  length of the payload, little-endian
//!                  8   8  generation, little-endian
//!                 16   8  XXH3-64 of the generation's 8 bytes and the payload, little-endian
//!                 24   …  payload: protobuf, see `record`
//! ```
//!
//! What ends early, with no whole record after it, is a torn tail: it was never acknowledged. Whole records after bytes that
//! are none mean damage; reading goes on with them. See `docs/format/wal.md`.

use bytes::Bytes;
use flamestore_model::{Error, Result};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::Entry;

/// The newest format this build writes, and the newest it reads.
const FORMAT: u32 = 1;
const MAGIC: &[u8; 4] = b"FSWL";
const RECORD_MAGIC: &[u8; 4] = b"FSWR";
/// Bytes before the first record.
pub(super) const HEADER_BYTES: usize = 56;
/// Bytes of a record before its payload.
const FRAME_BYTES: usize = 24;

/// What a part says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartHeader {
    pub(super) wal: u128,
    pub(super) epoch: u64,
    pub(super) nonce: u128,
}

/// A part as it was found.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) header: PartHeader,
    /// Generation and payload of each whole record.
    pub(super) records: Vec<(u64, Bytes)>,
    /// Bytes at the end that are no whole record.
    pub(super) torn_bytes: usize,
    /// Where whole records stop and others follow.
    pub(super) damaged_at: Option<usize>,
}

impl PartHeader {
    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.wal.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.nonce.to_be_bytes());
        let checksum = xxh3_64(&bytes[..48]);
        bytes[48..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Self> {
        let wrong = |what: String| Error::corrupt(format!("wal: {what}"));
        let header: &[u8; HEADER_BYTES] =
            bytes.first_chunk().ok_or_else(|| wrong(format!("a part of {} bytes has no header", bytes.len())))?;
        if &header[..4] != MAGIC {
            return Err(wrong("a part does not start with \"FSWL\"".to_owned()));
        }
        let format = u32::from_le_bytes(array(&header[4..8]));
        if format > FORMAT {
            let hint = "is newer than the newest this build knows: upgrade flamestore";
            return Err(Error::invalid(format!("wal: format {format} {hint}")).with("known", FORMAT));
        }
        if xxh3_64(&header[..48]) != u64::from_le_bytes(array(&header[48..])) || format == 0 {
            return Err(wrong("the checksum of a part's header differs".to_owned()));
        }
        Ok(Self {
            wal: u128::from_be_bytes(array(&header[8..24])),
            epoch: u64::from_le_bytes(array(&header[24..32])),
            nonce: u128::from_be_bytes(array(&header[32..48])),
        })
    }
}

impl Part {
    /// Reads a part. Nothing in it is trusted.
    ///
    /// # Errors
    /// `Corrupt` when its header is damaged, `Invalid` when a newer build wrote it.
    pub(super) fn read(bytes: &Bytes) -> Result<Self> {
        let header = PartHeader::read(bytes)?;
        let mut part = Self { header, records: Vec::new(), torn_bytes: 0, damaged_at: None };
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            match record_at(bytes, at) {
                Some((generation, payload, end)) => {
                    part.records.push((generation, payload));
                    at = end;
                }
                None => match next_record(bytes, at + 1) {
                    Some(next) => {
                        part.damaged_at.get_or_insert(at);
                        at = next;
                    }
                    None => {
                        part.torn_bytes = bytes.len() - at;
                        break;
                    }
                },
            }
        }
        Ok(part)
    }
}

/// The whole record at `at`: its generation, its payload, and where it ends.
fn record_at(bytes: &Bytes, at: usize) -> Option<(u64, Bytes, usize)> {
    let frame: &[u8; FRAME_BYTES] = bytes.get(at..)?.first_chunk()?;
    if &frame[..4] != RECORD_MAGIC {
        return None;
    }
    let length = usize::try_from(u32::from_le_bytes(array(&frame[4..8]))).ok()?;
    let start = at + FRAME_BYTES;
    let end = start.checked_add(length).filter(|end| *end <= bytes.len())?;
    let generation = u64::from_le_bytes(array(&frame[8..16]));
    let checksum = u64::from_le_bytes(array(&frame[16..24]));
    (checksum_of(generation, &bytes[start..end]) == checksum).then(|| (generation, bytes.slice(start..end), end))
}

/// Where the next whole record starts, from `from` on.
fn next_record(bytes: &Bytes, from: usize) -> Option<usize> {
    let starts = memchr::memmem::find_iter(bytes.get(from..)?, RECORD_MAGIC).map(|at| from + at);
    starts.into_iter().find(|at| record_at(bytes, *at).is_some())
}

/// Appends `entry` to `bytes` as a record.
///
/// # Errors
/// `Exhausted` when it has 4 GiB or more.
pub(super) fn write_record(bytes: &mut Vec<u8>, entry: &Entry) -> Result<()> {
    let length = u32::try_from(entry.payload.len())
        .map_err(|_| Error::exhausted("wal: a record has 4 GiB or more").with("bytes", entry.payload.len()))?;
    bytes.extend_from_slice(RECORD_MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&entry.generation.to_le_bytes());
    bytes.extend_from_slice(&checksum_of(entry.generation, &entry.payload).to_le_bytes());
    bytes.extend_from_slice(&entry.payload);
    Ok(())
}

fn checksum_of(generation: u64, payload: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&generation.to_le_bytes());
    hash.update(payload);
    hash.digest()
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: PartHeader = PartHeader { wal: 1 << 100, epoch: 7, nonce: 9 };

    fn part(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = HEADER.to_bytes().to_vec();
        for (generation, payload) in (1..).zip(payloads) {
            write_record(&mut bytes, &Entry { generation, payload: payload.to_vec() }).unwrap();
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Part> {
        Part::read(&Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn a_part_is_read_back_as_written() -> Result<()> {
        let found = read(&part(&[b"one", b"", b"three"]))?;
        assert_eq!(found.header, HEADER);
        let records: Vec<(u64, &[u8])> = found.records.iter().map(|(g, payload)| (*g, &payload[..])).collect();
        assert_eq!(records, [(1, &b"one"[..]), (2, b""), (3, b"three")]);
        assert_eq!((found.torn_bytes, found.damaged_at), (0, None));
        Ok(())
    }

    #[test]
    fn a_part_cut_at_any_byte_loses_its_last_records_only() -> Result<()> {
        let whole = part(&[b"one", b"two", b"three"]);
        for length in HEADER_BYTES..whole.len() {
            let found = read(&whole[..length])?;
            let kept = found.records.len();
            let bytes: usize = [3, 3, 5][..kept].iter().map(|payload| FRAME_BYTES + payload).sum();
            assert_eq!((HEADER_BYTES + bytes + found.torn_bytes, found.damaged_at), (length, None), "{length} bytes");
            assert!(kept < 3);
        }
        for length in 0..HEADER_BYTES {
            assert!(read(&whole[..length]).is_err(), "{length} bytes");
        }
        Ok(())
    }

    #[test]
    fn a_flipped_byte_loses_one_record_and_is_noticed_unless_it_is_the_last() -> Result<()> {
        let whole = part(&[b"one", b"two", b"three"]);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x20;
            let found = match read(&damaged) {
                Ok(found) if at >= HEADER_BYTES => found,
                Ok(_) => panic!("byte {at} of the header"),
                Err(_) => continue,
            };
            assert_eq!(found.records.len(), 2, "byte {at}");
            assert!(found.damaged_at.is_some() != (found.torn_bytes > 0), "byte {at}");
        }
        Ok(())
    }
}
