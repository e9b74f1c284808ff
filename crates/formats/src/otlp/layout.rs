//! The three layouts of a request: what each field number means, and how to tell which one the bytes have.
//!
//! The protocol renumbered fields within one package and says nowhere in the bytes which numbers it means:
//!
//! ```text
//! field              1.8   1.9   1.10
//! Profile.profile_id   8     7      7     and so on up to attribute_indices, 12 or 11
//! Sample.values        2     2      4
//! Sample.attributes    3     3      2
//! Sample.link          4     4      3
//! ```
//!
//! Wire types tell most requests apart. Where they do not (no sample has a field 3 or 4), both meanings are tried against
//! the tables, for all samples of the request: the newest that makes sense wins. Decoding without an error proves nothing.

use flamestore_model::{Error, Result};

use super::dictionary::Dictionary;
use super::sample::RawSample;
use crate::Limits;
use crate::wire::{Reader, Span, bytes_tag, varint_tag};

/// Which version's field numbers a request has. Later versions have those of 1.10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpLayout {
    /// opentelemetry-proto 1.8, of collectors 0.136 to 0.139.
    V1_8,
    /// opentelemetry-proto 1.9, of collectors 0.140 to 0.147.
    V1_9,
    /// opentelemetry-proto 1.10 and later.
    V1_10,
}

impl OtlpLayout {
    /// The version, as people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_8 => "1.8",
            Self::V1_9 => "1.9",
            Self::V1_10 => "1.10",
        }
    }

    /// The number of `Profile.profile_id`.
    pub(super) fn profile_id(self) -> u64 {
        if self == Self::V1_8 { 8 } else { 7 }
    }

    /// The number of `Profile.attribute_indices`, the highest of `Profile`.
    pub(super) fn profile_attributes(self) -> u64 {
        if self == Self::V1_8 { 12 } else { 11 }
    }

    /// The number of `Sample.values`.
    pub(super) fn values(self) -> u64 {
        if self == Self::V1_10 { 4 } else { 2 }
    }

    /// The number of `Sample.attribute_indices`.
    pub(super) fn attributes(self) -> u64 {
        if self == Self::V1_10 { 2 } else { 3 }
    }

    /// The number of `Sample.link_index`.
    pub(super) fn link(self) -> u64 {
        if self == Self::V1_10 { 3 } else { 4 }
    }
}

/// What the wire types of a request's profiles and samples speak for.
#[derive(Debug, Default)]
struct Evidence {
    profile_1_8: bool,
    profile_later: bool,
    /// A field 7 that would be a strange id: comments of 1.8, or a mistake.
    odd_id: bool,
    sample_before_1_10: bool,
    sample_1_10: bool,
}

/// The layout of the request with the profiles at `profiles`.
///
/// # Errors
/// `Invalid` when they have the numbers of a version before 1.8, of two versions, or make sense under none.
pub(super) fn layout_of(
    bytes: &[u8],
    profiles: impl Iterator<Item = Span> + Clone,
    dictionary: &Dictionary,
    limits: &Limits,
) -> Result<OtlpLayout> {
    let mut evidence = Evidence::default();
    for span in profiles.clone() {
        evidence.add_profile(Reader::of(bytes, span))?;
    }
    let Evidence { mut profile_1_8, profile_later, odd_id, sample_before_1_10, sample_1_10 } = evidence;
    profile_1_8 |= odd_id && !profile_later && !sample_1_10;
    if (profile_1_8 && profile_later) || ((profile_1_8 || sample_before_1_10) && sample_1_10) {
        return Err(Error::invalid("the request mixes the field numbers of two OTLP versions"));
    }
    match (profile_1_8, sample_before_1_10, sample_1_10) {
        (true, _, _) => return Ok(OtlpLayout::V1_8),
        (_, true, _) => return Ok(OtlpLayout::V1_9),
        (_, _, true) => return Ok(OtlpLayout::V1_10),
        _ => {}
    }
    let mut sample = RawSample::default();
    let makes_sense = |layout: &OtlpLayout| {
        profiles
            .clone()
            .all(|span| samples_make_sense(Reader::of(bytes, span), *layout, &mut sample, dictionary, limits))
    };
    let found = [OtlpLayout::V1_10, OtlpLayout::V1_9].into_iter().find(makes_sense);
    found.ok_or_else(|| {
        Error::invalid(
            "the samples make sense under no layout of OTLP profiles from 1.8 to 1.10: is the sender's version older?",
        )
    })
}

/// The error of a request of a version whose tables lie elsewhere.
#[cold]
pub(super) fn too_old(why: &str) -> Error {
    Error::invalid(format!(
        "the request has the layout of OTLP profiles 1.7 or older ({why}); layouts 1.8 to 1.10 are read: update the sender"
    ))
}

impl Evidence {
    fn add_profile(&mut self, mut profile: Reader<'_>) -> Result<()> {
        while !profile.is_done() {
            let tag = profile.tag()?;
            match (tag >> 3, tag & 7) {
                (2, 2) => {
                    self.add_sample(profile.message()?)?;
                    continue;
                }
                (3, 0 | 2) => return Err(too_old("field 3 of a profile is not its time")),
                (8, 2) | (9, 0) | (12, _) | (7, 0) => self.profile_1_8 = true,
                (8, 0) | (9, 2) | (11, 0) => self.profile_later = true,
                (7, 2) => {
                    let length = profile.message()?.left();
                    self.odd_id |= length != 0 && length != 16;
                    continue;
                }
                _ => {}
            }
            profile.skip(tag, 0)?;
        }
        Ok(())
    }

    /// A single number in field 3 or 4 is no evidence: writers may write repeated fields one by one.
    fn add_sample(&mut self, mut sample: Reader<'_>) -> Result<()> {
        while !sample.is_done() {
            let tag = sample.tag()?;
            self.sample_before_1_10 |= tag == bytes_tag(3);
            self.sample_1_10 |= tag == bytes_tag(4);
            sample.skip(tag, 0)?;
        }
        Ok(())
    }
}

/// Whether every sample of `profile` is whole and refers to rows that exist.
fn samples_make_sense(
    mut profile: Reader<'_>,
    layout: OtlpLayout,
    sample: &mut RawSample,
    dictionary: &Dictionary,
    limits: &Limits,
) -> bool {
    let mut check = || -> Result<bool> {
        while !profile.is_done() {
            let tag = profile.tag()?;
            if tag != bytes_tag(2) {
                profile.skip(tag, 0)?;
                continue;
            }
            sample.read(profile.message()?, layout, limits)?;
            if !sample.makes_sense(dictionary) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    check().unwrap_or(false)
}

/// Whether a row of the dictionary's table 7 is a unit of an attribute, as in 1.7, and not a stack.
pub(super) fn is_attribute_unit(mut row: Reader<'_>) -> Result<bool> {
    while !row.is_done() {
        let tag = row.tag()?;
        if tag == varint_tag(2) {
            return Ok(true);
        }
        row.skip(tag, 0)?;
    }
    Ok(false)
}
