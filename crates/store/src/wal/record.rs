//! What a record says, and how a request is read back out of it: replay is taking the request in anew.

use bytes::Bytes;
use flamestore_formats::{FoldedOptions, Limits, decode_folded, decode_pprof, encode_pprof};
use flamestore_model::{Error, Labels, ProfileBatch, ProfileId, Result, Tenant};
use prost::Message;

use crate::PushProfile;
use crate::push::Checked;

/// The format of a profile as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileFormat {
    /// pprof: protobuf, plain or compressed.
    Pprof,
    /// Folded stacks of one sample type.
    Folded {
        /// What the values are.
        sample_type: String,
        /// Their unit.
        sample_unit: String,
    },
}

impl ProfileFormat {
    /// The profile in `bytes`.
    ///
    /// # Errors
    /// Those of the format's decoder.
    pub fn decode(&self, bytes: Bytes, limits: &Limits) -> Result<ProfileBatch> {
        match self {
            Self::Pprof => decode_pprof(bytes, limits),
            Self::Folded { sample_type, sample_unit } => {
                let (sample_type, sample_unit) = (sample_type.clone(), sample_unit.clone());
                decode_folded(bytes, &FoldedOptions { sample_type, sample_unit, ..FoldedOptions::default() }, limits)
            }
        }
    }
}

/// One push as the log keeps it. Field numbers are never used twice; see `docs/format/wal.md`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Record {
    #[prost(string, tag = "1")]
    tenant: String,
    #[prost(message, repeated, tag = "2")]
    labels: Vec<Pair>,
    #[prost(uint32, tag = "3")]
    format: u32,
    #[prost(bytes = "bytes", tag = "4")]
    profile: Bytes,
    #[prost(bytes = "vec", tag = "5")]
    id: Vec<u8>,
    #[prost(bool, tag = "6")]
    is_remembered: bool,
    #[prost(sfixed64, tag = "7")]
    time_unix_nano: i64,
    #[prost(sfixed64, tag = "8")]
    received_unix_nano: i64,
    #[prost(string, tag = "9")]
    sample_type: String,
    #[prost(string, tag = "10")]
    sample_unit: String,
}

#[derive(Clone, PartialEq, Message)]
struct Pair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

const PPROF: u32 = 1;
const FOLDED: u32 = 2;

impl Record {
    /// The record of a push that came at `received_unix_nano`.
    pub(crate) fn of(push: &Checked, received_unix_nano: i64) -> Self {
        let pair = |(name, value): (&str, &str)| Pair { name: name.to_owned(), value: value.to_owned() };
        let (format, profile) = match &push.received {
            Some((format, bytes)) => (format.clone(), bytes.clone()),
            None => (ProfileFormat::Pprof, Bytes::from(encode_pprof(&push.batch))),
        };
        let (format, sample_type, sample_unit) = match format {
            ProfileFormat::Pprof => (PPROF, String::new(), String::new()),
            ProfileFormat::Folded { sample_type, sample_unit } => (FOLDED, sample_type, sample_unit),
        };
        Self {
            tenant: push.tenant.as_str().to_owned(),
            labels: push.given_labels.iter().map(pair).collect(),
            format,
            profile,
            id: push.id.as_bytes().to_vec(),
            is_remembered: push.is_remembered,
            time_unix_nano: push.time_unix_nano,
            received_unix_nano,
            sample_type,
            sample_unit,
        }
    }

    /// The push of a record, checked as it was when it came.
    ///
    /// # Errors
    /// `Corrupt` when the record is not one of ours, and what the profile's decoder says.
    pub(crate) fn read(payload: Bytes) -> Result<Checked> {
        let wrong = |what: &str| Error::corrupt(format!("wal: a record {what}"));
        let record = Self::decode(payload).map_err(|error| wrong("cannot be read").because(error))?;
        let id: [u8; 16] = record.id[..].try_into().map_err(|_| wrong("has no id of 16 bytes"))?;
        let format = match record.format {
            PPROF => ProfileFormat::Pprof,
            FOLDED => ProfileFormat::Folded { sample_type: record.sample_type, sample_unit: record.sample_unit },
            other => return Err(wrong("is of an unknown format").with("format", other)),
        };
        let push = PushProfile {
            tenant: Tenant::new(record.tenant)?,
            labels: Labels::from_pairs(record.labels.iter().map(|pair| (pair.name.as_str(), pair.value.as_str())))?,
            // it passed the limits of its day
            batch: format.decode(record.profile, &Limits::NONE)?,
            received: None,
            id: record.is_remembered.then(|| ProfileId::from_bytes(id)),
            time_unix_nano: Some(record.time_unix_nano),
        };
        Checked::new(push, ProfileId::from_bytes(id), record.received_unix_nano)
    }
}
