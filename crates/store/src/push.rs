//! What a producer hands in, and its checked form.

use std::collections::BTreeSet;
use std::mem::size_of;

use bytes::Bytes;
use flamestore_calltree::{Interned, Observed};
use flamestore_model::{
    Error, Function, Label, Labels, Line, Location, Mapping, NONE, ProfileBatch, ProfileId, ProfileType, Result,
    Tenant, names,
};
use flamestore_segment::ProfileMeta;
use xxhash_rust::xxh3::Xxh3;

use crate::wal::ProfileFormat;

/// A profile to store.
#[derive(Clone, Debug)]
pub struct PushProfile {
    /// Whose it is.
    pub tenant: Tenant,
    /// The labels of its series. `service_name` defaults to `unknown_service`; `__name__` replaces the family that the
    /// sample types would give; the other labels derived from the profile type are ignored.
    pub labels: Labels,
    /// The decoded profile.
    pub batch: ProfileBatch,
    /// What was received, and decoded to the batch: the write-ahead log keeps it as it is.
    pub received: Option<(ProfileFormat, Bytes)>,
    /// Its id, if the producer may send it again: a second push of the same id is accepted and not counted. Where none is
    /// given, a profile that was received as bytes and states its time gets one made of these and its labels, so that
    /// the same request sent twice counts once as well.
    pub id: Option<ProfileId>,
    /// When it was taken, in nanoseconds since 1970; what the profile says, or now, where nothing is given.
    pub time_unix_nano: Option<i64>,
}

/// A push that was checked: nothing but a full head or a full table can refuse it any more.
pub(crate) struct Checked {
    pub(crate) tenant: Tenant,
    pub(crate) service: String,
    pub(crate) labels: Labels,
    /// The labels as they were given.
    pub(crate) given_labels: Labels,
    /// One per sample type of the batch.
    pub(crate) profile_types: Vec<ProfileType>,
    pub(crate) batch: ProfileBatch,
    pub(crate) received: Option<(ProfileFormat, Bytes)>,
    pub(crate) id: ProfileId,
    /// Whether a second push of the same id is to be recognised.
    pub(crate) is_remembered: bool,
    pub(crate) time_unix_nano: i64,
}

/// The rows of one sample type of an interned batch.
pub(crate) struct TypeRows {
    pub(crate) stacks: Vec<u32>,
    pub(crate) values: Vec<i64>,
    pub(crate) label_sets: Vec<u32>,
    pub(crate) observed: Observed,
}

impl Checked {
    /// Checks `push`; `new_id` and `now` stand in for what it does not say.
    pub(crate) fn new(push: PushProfile, new_id: ProfileId, now: i64) -> Result<Self> {
        let PushProfile { tenant, labels, batch, received, id, time_unix_nano } = push;
        batch.check()?;
        let given_labels = labels.clone();
        let service = labels.service_name().to_owned();
        let profile_types = profile_types(&batch, labels.get(names::NAME));
        let labels = names::DERIVED.iter().fold(labels, |labels, name| labels.with(name, ""));
        let said = Some(batch.header.time_unix_nano).filter(|time| *time != 0);
        let stated = time_unix_nano.or(said);
        let id = id.or_else(|| {
            let ((_, bytes), time) = (received.as_ref()?, stated?);
            Some(retry_id(&tenant, &given_labels, time, &[bytes]))
        });
        Ok(Self {
            tenant,
            labels: labels.with(names::SERVICE_NAME, &service),
            given_labels,
            service,
            profile_types,
            batch,
            received,
            id: id.unwrap_or(new_id),
            is_remembered: id.is_some(),
            time_unix_nano: stated.unwrap_or(now),
        })
    }

    /// Bytes the head grows by at most, about: all rows and all symbols as if none were known.
    pub(crate) fn bytes_max(&self) -> usize {
        let ProfileBatch { header, symbols, samples } = &self.batch;
        let strings: usize = (0u32..).take(symbols.strings.len()).map(|id| symbols.strings.get(id).len() + 24).sum();
        let tables = symbols.functions.len() * size_of::<Function>()
            + symbols.lines.len() * size_of::<Line>()
            + symbols.locations.len() * size_of::<Location>()
            + symbols.mappings.len() * size_of::<Mapping>();
        let row_bytes = size_of::<i64>() + 2 * size_of::<u32>() + Observed::row_bytes_max(&self.batch);
        let rows = samples.len() * header.sample_types.len() * row_bytes;
        let stacks = (samples.stack_locations.len() + 4 * samples.len()) * size_of::<u32>();
        rows + stacks + samples.labels.len() * size_of::<Label>() + 2 * tables + 2 * strings
    }

    /// What profile `value_index` says of itself.
    pub(crate) fn meta(&self, value_index: usize, main_mapping: u32) -> Result<ProfileMeta> {
        let ProfileBatch { header, symbols, .. } = &self.batch;
        let string = |id: u32| symbols.strings.get(id).to_vec();
        let number = |n: usize| u32::try_from(n).map_err(|_| Error::invalid("the profile has too many sample types"));
        Ok(ProfileMeta {
            id: self.id,
            value_index: number(value_index)?,
            value_count: number(header.sample_types.len())?,
            time_unix_nano: self.time_unix_nano,
            duration_nano: header.duration_nano,
            period: header.period,
            main_mapping,
            comments: header.comments.iter().map(|id| string(*id)).collect(),
            default_sample_type: string(header.default_sample_type),
            doc_url: string(header.doc_url),
            drop_frames: string(header.drop_frames),
            keep_frames: string(header.keep_frames),
        })
    }

    /// The rows of sample type `value_index`: its values other than zero, and, for the first type, one row for each
    /// sample that is zero in all types, so that no stack is lost.
    pub(crate) fn rows(&self, value_index: usize, interned: &Interned) -> TypeRows {
        let kept = |row: &usize| {
            let values = self.batch.values(*row);
            values[value_index] != 0 || (value_index == 0 && values.iter().all(|value| *value == 0))
        };
        let rows: Vec<usize> = (0..self.batch.samples.len()).filter(kept).collect();
        let column = |of: &[u32]| rows.iter().map(|row| of[*row]).collect::<Vec<u32>>();
        let mut label_sets = if interned.label_sets.is_empty() { Vec::new() } else { column(&interned.label_sets) };
        if label_sets.iter().all(|id| *id == NONE) {
            label_sets = Vec::new();
        }
        TypeRows {
            stacks: column(&interned.stacks),
            values: rows.iter().map(|row| self.batch.values(*row)[value_index]).collect(),
            label_sets,
            observed: interned.observed.take(&rows),
        }
    }
}

/// The id of a profile whose producer gave none: the same for the same request. `content` is what else tells the profile
/// from others of its time: the bytes received, and whatever else was said of them.
pub fn retry_id(tenant: &Tenant, labels: &Labels, time_unix_nano: i64, content: &[&[u8]]) -> ProfileId {
    let mut hash = Xxh3::new();
    let mut add = |part: &[u8]| {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(tenant.as_str().as_bytes());
    for (name, value) in labels.iter() {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    add(&time_unix_nano.to_le_bytes());
    content.iter().for_each(|part| add(part));
    let millis = u64::try_from(time_unix_nano / 1_000_000).unwrap_or_default();
    ProfileId::from_parts(millis, hash.digest128())
}

fn profile_types(batch: &ProfileBatch, name: Option<&str>) -> Vec<ProfileType> {
    let text = |id: u32| batch.symbols.strings.text(id).into_owned();
    let types: Vec<String> = batch.header.sample_types.iter().map(|ty| text(ty.ty)).collect();
    let all: Vec<&str> = types.iter().map(String::as_str).collect::<BTreeSet<_>>().into_iter().collect();
    let period = batch.header.period_type;
    let of = |(ty, unit): (&String, u32)| ProfileType {
        name: name.map_or_else(|| ProfileType::name_for(ty, &all), str::to_owned),
        sample_type: ty.clone(),
        sample_unit: text(unit),
        period_type: text(period.ty),
        period_unit: text(period.unit),
    };
    types.iter().zip(batch.header.sample_types.iter().map(|ty| ty.unit)).map(of).collect()
}
