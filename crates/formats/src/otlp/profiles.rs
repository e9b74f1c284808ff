//! The profiles of a request, one at a time.

use flamestore_model::{
    Error, Label, LabelValue, Labels, ProfileBatch, ProfileHeader, ProfileId, Result, Samples, ValueType,
};

use super::OtlpRequest;
use super::any_value::StringTable;
use super::clocks;
use super::dictionary::dangling;
use super::labels::{LabelReader, Pairs, merge};
use super::request::ProfileAt;
use super::sample::{RawSample, numbers};
use crate::gather::Gather;
use crate::limits::within;
use crate::wire::{Reader, Span, bytes_tag, fixed64_tag, varint_tag};

/// One profile of a request.
#[derive(Clone, Debug)]
pub struct OtlpProfile {
    /// The attributes of the resource, the scope (with `otel.scope.name`, `otel.scope.version`) and the profile, by their own
    /// names; of a name that stands twice, the first of these. `service_name` is always there: `service.name`, else
    /// `unknown_service:` and the executable's name, else `unknown_service`.
    pub labels: Labels,
    /// Its one sample type, its symbols, a row for each observation.
    pub batch: ProfileBatch,
    /// Its own id, if it has one.
    pub id: Option<ProfileId>,
}

/// Decodes the profiles of a request one after another: each is whole, or an error that says why it is not.
#[derive(Debug)]
pub struct OtlpProfiles<'a> {
    request: &'a OtlpRequest,
    next: usize,
    gather: Gather<'a>,
    labels: LabelReader<'a>,
    resource: Option<(Span, Pairs)>,
    scope: Option<(Span, Pairs)>,
    sample: RawSample,
    sample_labels: Vec<Label>,
    spent: Spent,
}

/// What the profiles so far took of the limits that they share.
#[derive(Debug, Default)]
struct Spent {
    samples: usize,
    labels: usize,
    stack_locations: usize,
}

/// The fields of a profile but for its samples.
#[derive(Default)]
struct ProfileFields<'a> {
    sample_type: Option<Reader<'a>>,
    period_type: Option<Reader<'a>>,
    period: i64,
    time: u64,
    duration: u64,
    id: &'a [u8],
    attributes: Vec<u64>,
}

impl<'a> OtlpProfiles<'a> {
    pub(super) fn new(request: &'a OtlpRequest) -> Self {
        let OtlpRequest { dictionary, limits, .. } = request;
        Self {
            request,
            next: 0,
            gather: Gather::new(dictionary.tables(), limits),
            labels: LabelReader::new(dictionary, limits),
            resource: None,
            scope: None,
            sample: RawSample::default(),
            sample_labels: Vec::new(),
            spent: Spent::default(),
        }
    }

    fn profile(&mut self, at: ProfileAt) -> Result<OtlpProfile> {
        let bytes = &self.request.bytes;
        if self.resource.as_ref().is_none_or(|(span, _)| *span != at.resource) {
            self.resource = Some((at.resource, self.labels.resource(Reader::of(bytes, at.resource))?));
        }
        if self.scope.as_ref().is_none_or(|(span, _)| *span != at.scope) {
            self.scope = Some((at.scope, self.labels.scope(Reader::of(bytes, at.scope))?));
        }
        let reader = Reader::of(bytes, at.profile);
        let fields = self.fields(reader)?;
        self.gather.start();
        let mut header = self.header(&fields)?;
        let own = self.profile_attributes(&fields.attributes, &mut header)?;
        let scope = self.scope_attributes(&mut header);
        let resource = self.resource.iter().flat_map(|(_, pairs)| pairs);
        // A resource is read once, but each of its profiles has its labels.
        self.labels.spend(resource.clone().chain(&scope).map(|(name, value)| name.len() + value.len()).sum())?;
        let labels = merge(resource.chain(&scope).chain(&own))?;
        let samples = self.samples(reader)?;
        let symbols = self.gather.finish()?;
        Ok(OtlpProfile { labels, batch: ProfileBatch { header, symbols, samples }, id: profile_id(fields.id)? })
    }

    fn fields(&self, mut reader: Reader<'a>) -> Result<ProfileFields<'a>> {
        let (layout, limits) = (self.request.layout, &self.request.limits);
        let (id, attributes) = (layout.profile_id(), layout.profile_attributes());
        let mut fields = ProfileFields::default();
        while !reader.is_done() {
            let tag = reader.tag()?;
            match tag {
                0x0a => fields.sample_type = Some(reader.message()?),
                SAMPLE => drop(reader.message()?),
                TIME => fields.time = reader.fixed64()?,
                0x20 => fields.duration = reader.varint()?,
                0x2a => fields.period_type = Some(reader.message()?),
                0x30 => fields.period = reader.varint()?.cast_signed(),
                _ if tag == bytes_tag(id) => fields.id = reader.message()?.rest(),
                _ if tag == bytes_tag(attributes) => {
                    let limit = ("labels_per_sample_max", limits.labels_per_sample_max);
                    numbers(reader.message()?, &mut fields.attributes, |id| id, limit)?;
                }
                _ if tag == varint_tag(attributes) => {
                    within("labels_per_sample_max", limits.labels_per_sample_max, fields.attributes.len() + 1)?;
                    fields.attributes.push(reader.varint()?);
                }
                _ => reader.skip(tag, 6)?,
            }
        }
        Ok(fields)
    }

    fn header(&mut self, fields: &ProfileFields<'_>) -> Result<ProfileHeader> {
        let Some(sample_type) = fields.sample_type else {
            return Err(Error::invalid("the profile has no sample type"));
        };
        let sample_type = self.value_type(sample_type, "sample type")?;
        if sample_type.ty == 0 {
            return Err(Error::invalid("the profile's sample type has no name"));
        }
        let period_type = fields.period_type.map(|ty| self.value_type(ty, "period type")).transpose()?;
        let (sample_type, period_type) =
            clocks::named(&self.request.dictionary, sample_type, period_type.unwrap_or_default());
        let time = |number: u64, what: &str| {
            i64::try_from(number).map_err(|_| {
                Error::invalid(format!("the profile's {what} is beyond 63 bits")).with("nanoseconds", number)
            })
        };
        Ok(ProfileHeader {
            sample_types: vec![self.gathered(sample_type)],
            period_type: self.gathered(period_type),
            period: fields.period,
            time_unix_nano: time(fields.time, "time")?,
            duration_nano: time(fields.duration, "duration")?,
            ..ProfileHeader::default()
        })
    }

    /// The type at `reader`, of strings of the dictionary.
    fn value_type(&self, mut reader: Reader<'_>, what: &str) -> Result<ValueType> {
        let mut ty = ValueType::default();
        while !reader.is_done() {
            let tag = reader.tag()?;
            match tag {
                0x08 => ty.ty = self.string(reader.varint()?, what)?,
                0x10 => ty.unit = self.string(reader.varint()?, what)?,
                // In 1.8 it still had an aggregation temporality.
                _ => reader.skip(tag, 2)?,
            }
        }
        Ok(ty)
    }

    fn string(&self, id: u64, what: &str) -> Result<u32> {
        let found = u32::try_from(id).ok().filter(|_| self.request.dictionary.string(id).is_some());
        found.ok_or_else(|| dangling(what, 0, "string", id))
    }

    /// A type of strings of the profile, for one of strings of the dictionary.
    fn gathered(&mut self, ty: ValueType) -> ValueType {
        ValueType { ty: self.gather.string(ty.ty), unit: self.gather.string(ty.unit) }
    }

    /// The labels that the profile's own attributes are; those that pprof has fields for go to the header.
    fn profile_attributes(&mut self, ids: &[u64], header: &mut ProfileHeader) -> Result<Pairs> {
        let dictionary = &self.request.dictionary;
        let mut pairs = Pairs::new();
        for id in ids {
            let Some(attribute) = dictionary.attribute(*id) else {
                return Err(dangling("profile attribute", 0, "attribute", *id));
            };
            let key = dictionary.text(attribute.key);
            for value in dictionary.values(attribute) {
                let length = if let LabelValue::Str(text) = *value { dictionary.text(text).len() } else { 0 };
                self.labels.spend(key.len() + length)?;
                let text = match *value {
                    LabelValue::Str(text) => text,
                    LabelValue::Num(number, _) => {
                        pairs.push((String::from_utf8_lossy(key).into_owned(), number.to_string()));
                        continue;
                    }
                };
                match key {
                    b"pprof.profile.drop_frames" => header.drop_frames = self.gather.string(text),
                    b"pprof.profile.keep_frames" => header.keep_frames = self.gather.string(text),
                    b"pprof.profile.doc_url" => header.doc_url = self.gather.string(text),
                    _ if key.starts_with(b"pprof.profile.comment") => header.comments.push(self.gather.string(text)),
                    _ => {
                        let [key, text] = [key, dictionary.text(text)].map(String::from_utf8_lossy);
                        pairs.push((key.into_owned(), text.into_owned()));
                    }
                }
            }
        }
        Ok(pairs)
    }

    /// The labels that the scope's attributes are; what pprof keeps per profile goes to the header.
    fn scope_attributes(&mut self, header: &mut ProfileHeader) -> Pairs {
        let pairs = self.scope.iter().flat_map(|(_, pairs)| pairs);
        let shown = pairs.clone().find(|(name, _)| name == "pprof.scope.default_sample_type");
        if let (Some((_, shown)), Some(ty)) = (shown, header.sample_types.first())
            && self.gather.text(ty.ty) == shown.as_bytes()
        {
            header.default_sample_type = ty.ty;
        }
        pairs.filter(|(name, _)| !name.starts_with("pprof.scope.")).cloned().collect()
    }

    fn samples(&mut self, mut reader: Reader<'_>) -> Result<Samples> {
        let mut out = Samples { stack_offsets: vec![0], label_offsets: vec![0], ..Samples::default() };
        let mut at = 0;
        while !reader.is_done() {
            let tag = reader.tag()?;
            if tag != SAMPLE {
                reader.skip(tag, 0)?;
                continue;
            }
            self.sample.read(reader.message()?, self.request.layout, &self.request.limits)?;
            self.rows(at, &mut out)?;
            at += 1;
        }
        if out.labels.is_empty() {
            out.label_offsets.clear();
        }
        Ok(out)
    }

    /// Adds a row for each observation of sample `at`.
    fn rows(&mut self, at: usize, out: &mut Samples) -> Result<()> {
        let OtlpRequest { dictionary, limits, .. } = self.request;
        let observations = self.sample.observations().map_err(|e| Error::invalid(format!("sample {at}")).because(e))?;
        let stack = dictionary.stack(self.sample.stack).ok_or_else(|| self.dangling(at, "stack", self.sample.stack))?;
        self.sample_labels(at)?;
        let timed = usize::from(!self.sample.timestamps.is_empty());
        self.spent.samples += observations;
        self.spent.stack_locations =
            self.spent.stack_locations.saturating_add(observations.saturating_mul(stack.len()));
        let labels = observations.saturating_mul(self.sample_labels.len() + timed);
        self.spent.labels = self.spent.labels.saturating_add(labels);
        within("samples_max", limits.samples_max, self.spent.samples)?;
        within("stack_locations_max", limits.stack_locations_max, self.spent.stack_locations)?;
        within("labels_max", limits.labels_max, self.spent.labels)?;

        let start = out.stack_locations.len();
        for location in stack {
            out.stack_locations.push(self.gather.location(*location)?);
        }
        let end = out.stack_locations.len();
        let key = self.gather.known(dictionary.known.timestamp, timed == 1);
        let unit = self.gather.known(dictionary.known.nanoseconds, timed == 1);
        for observation in 0..observations {
            if observation > 0 {
                out.stack_locations.extend_from_within(start..end);
            }
            out.stack_offsets.push(row(out.stack_locations.len()));
            out.values.push(self.sample.values.get(observation).copied().unwrap_or(1));
            out.labels.extend_from_slice(&self.sample_labels);
            if let Some(timestamp) = self.sample.timestamps.get(observation) {
                let Ok(timestamp) = i64::try_from(*timestamp) else {
                    let wrong = Error::invalid(format!("sample {at}: a timestamp is beyond 63 bits"));
                    return Err(wrong.with("nanoseconds", timestamp));
                };
                out.labels.push(Label { key, value: LabelValue::Num(timestamp, unit) });
            }
            out.label_offsets.push(row(out.labels.len()));
        }
        Ok(())
    }

    /// The labels that all observations of sample `at` share.
    fn sample_labels(&mut self, at: usize) -> Result<()> {
        let OtlpRequest { dictionary, limits, .. } = self.request;
        self.sample_labels.clear();
        for id in &self.sample.attributes {
            let Some(attribute) = dictionary.attribute(*id) else { return Err(self.dangling(at, "attribute", *id)) };
            if attribute.key == 0 {
                continue;
            }
            let values = dictionary.values(attribute);
            let found = self.sample_labels.len() + values.len();
            within("labels_per_sample_max", limits.labels_per_sample_max, found)?;
            let key = self.gather.string(attribute.key);
            for value in values {
                let value = match *value {
                    LabelValue::Str(text) => LabelValue::Str(self.gather.string(text)),
                    LabelValue::Num(number, unit) => LabelValue::Num(number, self.gather.string(unit)),
                };
                self.sample_labels.push(Label { key, value });
            }
        }
        let link = dictionary.link(self.sample.link).ok_or_else(|| self.dangling(at, "link", self.sample.link))?;
        for (key, id) in [(dictionary.known.trace_id, link.trace_id), (dictionary.known.span_id, link.span_id)] {
            if id != 0 {
                let value = LabelValue::Str(self.gather.string(id));
                self.sample_labels.push(Label { key: self.gather.string(key), value });
            }
        }
        Ok(())
    }

    #[cold]
    fn dangling(&self, sample: usize, table: &str, id: u64) -> Error {
        dangling("sample", sample, table, id)
    }
}

impl Iterator for OtlpProfiles<'_> {
    type Item = Result<OtlpProfile>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = *self.request.profiles.get(self.next)?;
        self.next += 1;
        Some(self.profile(at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.request.profiles.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for OtlpProfiles<'_> {}

const SAMPLE: u64 = bytes_tag(2);
const TIME: u64 = fixed64_tag(3);

/// An id of 16 bytes; none where it is empty or all zeros.
fn profile_id(bytes: &[u8]) -> Result<Option<ProfileId>> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let id = <[u8; 16]>::try_from(bytes);
    let id = id.map_err(|_| Error::invalid("the profile's id is not 16 bytes long").with("bytes", bytes.len()))?;
    Ok(Some(ProfileId::from_bytes(id)))
}

/// An offset below the limits.
fn row(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
