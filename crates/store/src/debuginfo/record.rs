//! The small object that tells of an upload: of one that runs, or of the file that is there.
//!
//! ```text
//! "FSDI", format, XXH3-64 of the body, body      docs/format/debuginfo.md
//! ```

use bytes::Bytes;
use flamestore_model::{Error, Result, UploadId};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 4] = *b"FSDI";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 16;

/// What is known of an upload. Field numbers are never used twice.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Record {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) upload: Vec<u8>,
    /// As the client wrote it.
    #[prost(string, tag = "2")]
    pub(crate) build_id: String,
    /// The number that the client's protocol has for where the build id is from.
    #[prost(uint32, tag = "3")]
    pub(crate) build_id_type: u32,
    /// What the client calls the file's hash.
    #[prost(string, tag = "4")]
    pub(crate) hash: String,
    /// Of an upload that runs, as the client said, 0 where it did not.
    #[prost(uint64, tag = "5")]
    pub(crate) bytes: u64,
    /// XXH3-64 of the file.
    #[prost(fixed64, tag = "6")]
    pub(crate) checksum: u64,
    #[prost(sfixed64, tag = "7")]
    pub(crate) started_unix_nano: i64,
    /// 0 while it runs.
    #[prost(sfixed64, tag = "8")]
    pub(crate) finished_unix_nano: i64,
    /// Whether it takes the place of what is there.
    #[prost(bool, tag = "9")]
    pub(crate) force: bool,
}

impl Record {
    /// A record of `upload` that says nothing else.
    pub(crate) fn of(upload: UploadId) -> Self {
        Self { upload: upload.as_bytes().to_vec(), ..Self::default() }
    }

    /// The upload.
    ///
    /// # Errors
    /// `Corrupt` when it has no id.
    pub(crate) fn upload(&self) -> Result<UploadId> {
        let bytes = <[u8; 16]>::try_from(self.upload.as_slice());
        bytes.map(UploadId::from_bytes).map_err(|_| Error::corrupt("debug information: an upload without an id"))
    }

    /// The object.
    pub(crate) fn to_bytes(&self) -> Bytes {
        let body = self.encode_to_vec();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&xxh3_64(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        Bytes::from(bytes)
    }

    /// Reads the object at `path`.
    ///
    /// # Errors
    /// `Invalid` when its format is newer than this build; `Corrupt`, naming the object, when it is not what was written.
    pub(crate) fn from_bytes(path: &str, bytes: &[u8]) -> Result<Self> {
        let corrupt = |what: &str| Error::corrupt(format!("debug information: {what}")).with("object", path);
        let Some(([magic @ .., _, _, _, _], _)) = bytes.split_first_chunk::<8>() else {
            return Err(corrupt("the object is shorter than its header"));
        };
        if *magic != MAGIC {
            return Err(corrupt("the object does not start with \"FSDI\""));
        }
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(corrupt("the object is shorter than its header"));
        };
        let number =
            |at: std::ops::Range<usize>| header[at].iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        let (format, expected, found) = (number(4..8), number(8..16), xxh3_64(body));
        if format > u64::from(FORMAT) {
            let newer =
                format!("debug information: format {format} is newer than this build knows: upgrade flamestore");
            return Err(Error::invalid(newer).with("object", path));
        }
        if expected != found {
            return Err(corrupt("the checksum differs")
                .with("expected", format!("{expected:016x}"))
                .with("found", format!("{found:016x}")));
        }
        let record = Self::decode(body).map_err(|wrong| corrupt("the object cannot be read").because(wrong))?;
        record.upload().map(|_| record).map_err(|wrong| wrong.with("object", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            build_id: "dfbb".to_owned(),
            build_id_type: 1,
            hash: "h".to_owned(),
            bytes: 7,
            checksum: u64::MAX,
            started_unix_nano: -1,
            finished_unix_nano: i64::MAX,
            force: true,
            ..Record::of(UploadId::from_parts(1, 2))
        }
    }

    #[test]
    fn a_record_is_read_back_as_written() {
        let record = record();
        assert_eq!(Record::from_bytes("p", &record.to_bytes()).unwrap(), record);
        assert_eq!(record.upload().unwrap(), UploadId::from_parts(1, 2));
    }

    /// The object of [`record`] as the first version wrote it: every later one reads it.
    #[test]
    fn a_record_of_the_first_format_is_read() {
        let written = include_bytes!("../../fixtures/debuginfo-v1.bin");
        assert_eq!(Record::from_bytes("p", written).unwrap(), record());
        assert_eq!(record().to_bytes(), written.as_slice());
    }

    #[test]
    fn whatever_is_damaged_is_corrupt_and_a_newer_format_is_refused() {
        let bytes = record().to_bytes();
        for end in 0..bytes.len() {
            assert!(Record::from_bytes("p", &bytes[..end]).is_err(), "{end}");
        }
        for at in (0..bytes.len()).filter(|at| !(4..8).contains(at)) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1;
            let error = Record::from_bytes("some/path", &damaged).unwrap_err();
            assert!(error.to_string().contains("object=some/path"), "{error}");
            assert_eq!(error.kind(), flamestore_model::ErrorKind::Corrupt, "{at}");
        }
        let mut newer = bytes.to_vec();
        newer[4] = 2;
        assert!(Record::from_bytes("p", &newer).unwrap_err().to_string().contains("format 2 is newer"));
        let nameless = Record::default().to_bytes();
        assert!(Record::from_bytes("p", &nameless).unwrap_err().to_string().contains("without an id"));
    }
}
