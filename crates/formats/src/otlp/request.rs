//! A request: where its resources, scopes and profiles lie, its dictionary, its layout.

use bytes::Bytes;
use flamestore_model::Result;

use super::dictionary::Dictionary;
use super::json::protobuf_of_json;
use super::layout::{OtlpLayout, layout_of, too_old};
use super::profiles::OtlpProfiles;
use crate::Limits;
use crate::limits::within;
use crate::wire::{Reader, Span};

/// A request with its dictionary decoded, and its profiles still to be.
#[derive(Debug)]
pub struct OtlpRequest {
    pub(super) bytes: Bytes,
    pub(super) limits: Limits,
    pub(super) layout: OtlpLayout,
    pub(super) dictionary: Dictionary,
    pub(super) profiles: Vec<ProfileAt>,
}

/// Where a profile and what it belongs to lie in the request; (0, 0) where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProfileAt {
    pub(super) resource: Span,
    pub(super) scope: Span,
    pub(super) profile: Span,
}

/// Reads an `ExportProfilesServiceRequest` (or `ProfilesData`, which is the same), compressed or not.
///
/// # Errors
/// `Invalid` when the bytes are not such a request, its dictionary contradicts itself, or it has the layout of a version
/// before 1.8 or of several; `Exhausted` when it is over a limit. What is wrong with single profiles is the error of those.
pub fn decode_otlp(bytes: Bytes, limits: &Limits) -> Result<OtlpRequest> {
    read(crate::decompress(bytes, limits)?, None, limits)
}

/// Reads the JSON form of what [`decode_otlp`] reads, compressed or not.
///
/// # Errors
/// `Invalid` when the bytes are not JSON, or a field has a value of the wrong kind; then as [`decode_otlp`].
pub fn decode_otlp_json(bytes: Bytes, limits: &Limits) -> Result<OtlpRequest> {
    let bytes = protobuf_of_json(&crate::decompress(bytes, limits)?, limits)?;
    read(Bytes::from(bytes), Some(OtlpLayout::V1_10), limits)
}

/// Reads the request in a file, which may be of either form: as [`decode_otlp`] or as [`decode_otlp_json`], as its first bytes say.
///
/// # Errors
/// As these.
pub fn decode_otlp_file(bytes: Bytes, limits: &Limits) -> Result<OtlpRequest> {
    let bytes = crate::decompress(bytes, limits)?;
    match crate::recognise::is_json(&bytes) {
        true => decode_otlp_json(bytes, limits),
        false => decode_otlp(bytes, limits),
    }
}

fn read(bytes: Bytes, layout: Option<OtlpLayout>, limits: &Limits) -> Result<OtlpRequest> {
    let mut reader = Reader::new(&bytes);
    let (mut dictionary, mut profiles) = (Vec::new(), Vec::new());
    while !reader.is_done() {
        let tag = reader.tag()?;
        match tag {
            0x0a => resource_profiles(reader.message()?, &mut profiles, limits)?,
            0x12 => {
                within("profiles_max", limits.profiles_max, dictionary.len() + 1)?;
                dictionary.push(reader.message()?.span());
            }
            _ if (3..=8).contains(&(tag >> 3)) => return Err(too_old("tables stand beside the resources")),
            _ => reader.skip(tag, 2)?,
        }
    }
    if dictionary.is_empty() && !profiles.is_empty() {
        return Err(too_old("it has no dictionary"));
    }
    let dictionary = Dictionary::decode(&bytes, &dictionary, limits)?;
    let layout = match layout {
        Some(layout) => layout,
        None => layout_of(&bytes, profiles.iter().map(|at| at.profile), &dictionary, limits)?,
    };
    Ok(OtlpRequest { limits: limits.clone(), layout, dictionary, profiles, bytes })
}

fn resource_profiles(reader: Reader<'_>, out: &mut Vec<ProfileAt>, limits: &Limits) -> Result<()> {
    let resource = last_message(reader, 1)?;
    each_message(reader, 2, |scope_profiles| {
        let scope = last_message(scope_profiles, 1)?;
        each_message(scope_profiles, 2, |profile| {
            within("profiles_max", limits.profiles_max, out.len() + 1)?;
            out.push(ProfileAt { resource, scope, profile: profile.span() });
            Ok(())
        })
    })
}

/// Where the last message in field `number` lies.
fn last_message(reader: Reader<'_>, number: u64) -> Result<Span> {
    let mut last = (0, 0);
    each_message(reader, number, |message| {
        last = message.span();
        Ok(())
    })?;
    Ok(last)
}

fn each_message<'a>(mut reader: Reader<'a>, number: u64, mut each: impl FnMut(Reader<'a>) -> Result<()>) -> Result<()> {
    while !reader.is_done() {
        let tag = reader.tag()?;
        match (tag >> 3, tag & 7) {
            (found, 2) if found == number => each(reader.message()?)?,
            (found, _) if found == number => reader.skip(tag, number)?,
            _ => reader.skip(tag, 0)?,
        }
    }
    Ok(())
}

impl OtlpRequest {
    /// The layout that the request was found to have; JSON names its fields, so has that of 1.10.
    pub fn layout(&self) -> OtlpLayout {
        self.layout
    }

    /// How many profiles there are, whole or not.
    pub fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.profiles.is_empty()
    }

    /// Decodes the profiles one after another, in the order of the request.
    pub fn profiles(&self) -> OtlpProfiles<'_> {
        OtlpProfiles::new(self)
    }
}
