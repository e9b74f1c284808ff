//! Profiles made of what is none yet: stacks of names, files of speedscope, recordings of JFR.

use bytes::Bytes;
use flamestore_formats::{
    FoldedOptions, JfrOptions, Limits, decode_folded, decode_jfr, decode_lines, decode_speedscope, decode_tree,
    decode_trie,
};
use flamestore_model::{Error, Labels, ProfileBatch, ProfileId, Result, Strings, Tenant, ValueType};
use flamestore_store::{PushProfile, retry_id};

use crate::doors::profile_kind::FoldedKind;
use crate::intake::Intake;

/// Forms of stacks of names, most of which say nothing of what their values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stacks {
    Folded,
    Lines,
    Tree,
    Trie,
    Speedscope,
}

/// A profile that was made.
#[derive(Debug)]
pub(super) struct Made {
    /// The first part of its profile type.
    pub(super) family: String,
    /// What its file calls it; may be empty.
    pub(super) name: String,
    pub(super) batch: ProfileBatch,
}

/// The profiles in `bytes`, whose values are of `kind` where the bytes do not say it.
///
/// # Errors
/// Those of the decoder; `Invalid` when a value is too large for the stored unit.
pub(super) fn of_stacks(
    stacks: Stacks,
    kind: &FoldedKind,
    bytes: Bytes,
    options: &FoldedOptions,
    limits: &Limits,
) -> Result<Vec<Made>> {
    let nameless = |batch| vec![(String::new(), batch)];
    let decoded: Vec<(String, ProfileBatch)> = match stacks {
        Stacks::Folded => nameless(decode_folded(bytes, options, limits)?),
        Stacks::Lines => nameless(decode_lines(bytes, options, limits)?),
        Stacks::Tree => nameless(decode_tree(bytes, options, limits)?),
        Stacks::Trie => nameless(decode_trie(bytes, options, limits)?),
        Stacks::Speedscope => {
            let profiles = decode_speedscope(bytes, options, limits)?.into_iter();
            profiles.map(|profile| (profile.name, profile.batch)).collect()
        }
    };
    let made = |(name, mut batch): (String, ProfileBatch)| {
        // speedscope's files state their unit, and are decoded by it
        if stacks != Stacks::Speedscope {
            multiply(&mut batch, kind.factor)?;
        }
        let family = family_of(&batch, kind).to_owned();
        if matches!(family.as_str(), "process_cpu" | "wall") {
            name_period(&mut batch)?;
        }
        Ok(Made { family, name, batch })
    };
    decoded.into_iter().map(made).collect()
}

/// The profiles of a recording: one for each kind of event.
///
/// # Errors
/// Those of the decoder.
pub(super) fn of_recording(bytes: Bytes, options: &JfrOptions, limits: &Limits) -> Result<Vec<Made>> {
    let profiles = decode_jfr(bytes, options, limits)?.into_iter();
    Ok(profiles.map(|jfr| Made { family: jfr.name.to_owned(), name: String::new(), batch: jfr.batch }).collect())
}

/// Stores what was made of `content`, at a time of its own unless one is given. The profile is not what was received, which
/// so cannot stand for it in the log: its id is made here, and none where no time is known, since it may be meant twice.
///
/// # Errors
/// Those of the store.
pub(super) async fn store(
    intake: &Intake,
    tenant: &Tenant,
    labels: Labels,
    batch: ProfileBatch,
    time_unix_nano: Option<i64>,
    content: &[&[u8]],
) -> Result<ProfileId> {
    let stated = time_unix_nano.or(Some(batch.header.time_unix_nano).filter(|time| *time != 0));
    let id = stated.map(|time| retry_id(tenant, &labels, time, content));
    let tenant = tenant.clone();
    intake.store(PushProfile { tenant, labels, batch, received: None, id, time_unix_nano }).await
}

/// A file may say what its values are, and is believed before the name.
fn family_of<'a>(batch: &ProfileBatch, kind: &'a FoldedKind) -> &'a str {
    let text = |id: u32| batch.symbols.strings.text(id);
    let first = batch.header.sample_types.first().map(|ty| (text(ty.ty), text(ty.unit)));
    match first.as_ref().map(|(ty, unit)| (&**ty, &**unit)) {
        Some(("wall", _)) => "wall",
        Some((_, "bytes")) => "memory",
        _ => &kind.profile_type.name,
    }
}

/// Multiplies values that are in a larger unit than the stored one.
fn multiply(batch: &mut ProfileBatch, factor: i64) -> Result<()> {
    for (row, value) in batch.samples.values.iter_mut().enumerate().filter(|_| factor != 1) {
        let too_large = || Error::invalid(format!("sample {row}: the value is too large")).with("value", *value);
        *value = value.checked_mul(factor).ok_or_else(too_large)?;
    }
    Ok(())
}

/// Calls the period that of CPU time, as Pyroscope calls it for wall time too.
fn name_period(batch: &mut ProfileBatch) -> Result<()> {
    let [ty, unit] = add_strings(batch, ["cpu", "nanoseconds"])?;
    batch.header.period_type = ValueType { ty, unit };
    Ok(())
}

/// Adds strings to the table of `batch`.
fn add_strings<const N: usize>(batch: &mut ProfileBatch, texts: [&str; N]) -> Result<[u32; N]> {
    let nothing = Strings::from_spans(Bytes::new(), vec![(0, 0)])?;
    let (bytes, mut spans) = std::mem::replace(&mut batch.symbols.strings, nothing).into_parts();
    let mut bytes = Vec::from(bytes);
    let number = |n: usize| u32::try_from(n).map_err(|_| Error::exhausted("the profile has too many strings"));
    let mut ids = [0; N];
    for (id, text) in ids.iter_mut().zip(texts) {
        *id = number(spans.len())?;
        spans.push((number(bytes.len())?, number(text.len())?));
        bytes.extend_from_slice(text.as_bytes());
    }
    batch.symbols.strings = Strings::from_spans(Bytes::from(bytes), spans)?;
    Ok(ids)
}
