//! `POST /ingest` of Pyroscope: a profile in one of several forms, everything else about it in the query string.
//!
//! | form | told by | stored as |
//! |---|---|---|
//! | pprof | `format=pprof` | it is |
//! | form with `profile`, `sample_type_config` | `multipart/form-data` | its pprof is |
//! | trie, tree | `format`, or `binary/octet-stream+trie`, `+tree` | the type that the name's suffix names |
//! | lines | `format=lines` | the same |
//! | speedscope | `format=speedscope` | its unit's type, else the same; a profile of each |
//! | folded text | everything else | the type that the name's suffix names |
//!
//! Where values count samples taken at `sampleRate`, they are kept, beside the time that they stand for.
//!
//! A pprof keeps its labels, values, addresses and columns; only the family, the first part of its profile type, follows
//! Pyroscope's rules. 200 is an empty answer; 400 wrong parameters, 408 a body that broke off, 413 one over the limit, 415
//! an unknown content encoding, 422 a profile that cannot be read or is over a limit, 429 and 503 try again.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use flamestore_formats::{
    FoldedOptions, Limits, SampledEvery, decode_folded, decode_lines, decode_speedscope, decode_tree, decode_trie,
};
use flamestore_model::{Error, Labels, ProfileBatch, Result, Strings, Tenant, ValueType, names};
use flamestore_store::{ProfileFormat, PushProfile, retry_id};
use url::form_urlencoded;

use crate::body::{media_type, read_body};
use crate::doors::name::{AppName, parse as parse_name};
use crate::doors::profile_kind::{FoldedKind, SampleTypes, family, folded_kind, sample_types};
use crate::doors::{apptime, multipart, unprocessable, unreadable};
use crate::intake::{Intake, count_bytes, count_outcome};
use crate::refusal::Refusal;
use crate::status::tenant_in;

const SAMPLE_RATE_DEFAULT: u32 = 100;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// A profile says a time later than this, in nanoseconds, or none: clocks that were never set start at 1970.
const TIME_MIN: i64 = 365 * 86_400 * NANOS_PER_SECOND;
/// More bytes than this are no compressed nothing.
const NOTHING_BYTES_MAX: usize = 64;
const SPY_LABEL: &str = "pyroscope_spy";
const APP_LABEL: &str = "app_name";
const PROFILE_NAME_LABEL: &str = "profile_name";

/// What the query string and the content type say of a profile.
#[derive(Debug)]
struct Said {
    name: AppName,
    from: Option<i64>,
    until: Option<i64>,
    sample_rate: u32,
    spy: String,
    units: String,
    form: Form,
    query: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Pprof,
    PprofParts,
    Stacks(Stacks),
}

/// Forms of stacks of names, which say nothing of what their values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stacks {
    Folded,
    Lines,
    Tree,
    Trie,
    Speedscope,
}

/// A profile made of stacks, and what its file calls it.
struct Made {
    name: String,
    batch: ProfileBatch,
}

/// Answers `POST /ingest`.
pub(super) async fn ingest(State(intake): State<Intake>, request: Request) -> Result<StatusCode, Refusal> {
    let (parts, body) = request.into_parts();
    let tenant = tenant_in(&parts.headers)?;
    let said = Said::read(parts.uri.query().unwrap_or_default(), &parts.headers, intake.now_unix_nano())?;
    let read = read_body(&parts.headers, body, intake.config.request_bytes_max, &intake.compute).await;
    let bytes = read.map_err(unreadable)?;
    count_bytes(bytes.len());
    let taken = match said.form {
        Form::Pprof => take_pprof(&intake, tenant, &said, bytes, &SampleTypes::default()).await,
        Form::PprofParts => take_parts(&intake, tenant, &said, &parts.headers, bytes).await,
        Form::Stacks(stacks) => take_stacks(&intake, tenant, &said, stacks, bytes).await,
    };
    count_outcome(&taken);
    taken.map(|()| StatusCode::OK).map_err(unprocessable)
}

async fn take_parts(intake: &Intake, tenant: Tenant, said: &Said, headers: &HeaderMap, body: Bytes) -> Result<()> {
    let parts = multipart::parts(headers, body).await?;
    let find = |name: &str| parts.iter().find(|part| part.name == name).map(|part| part.bytes.clone());
    if find("prev_profile").is_some_and(|bytes| !bytes.is_empty()) {
        return Err(Error::invalid(
            "unsupported client version: a form with prev_profile, whose values are to be subtracted",
        ));
    }
    let config = match find("sample_type_config") {
        Some(json) => sample_types(&json)?,
        None => SampleTypes::default(),
    };
    let profile = find("profile").ok_or_else(|| Error::invalid("the form has no field profile"))?;
    take_pprof(intake, tenant, said, profile, &config).await
}

async fn take_pprof(intake: &Intake, tenant: Tenant, said: &Said, bytes: Bytes, config: &SampleTypes) -> Result<()> {
    if is_nothing(&bytes) {
        return Ok(());
    }
    let batch = intake.decode(ProfileFormat::Pprof, bytes.clone()).await?;
    let text = |id: u32| batch.symbols.strings.text(id).into_owned();
    let types: Vec<String> = batch.header.sample_types.iter().map(|ty| text(ty.ty)).collect();
    let labels = said.labels(intake, &said.name.app, family(&types, config).as_deref())?;
    let time_unix_nano = said.time_of(&batch, intake.now_unix_nano());
    let received = Some((ProfileFormat::Pprof, bytes));
    intake.store(PushProfile { tenant, labels, batch, received, id: None, time_unix_nano }).await.map(|_| ())
}

/// Whether a pprof says nothing at all, which clients send of quiet programs.
fn is_nothing(bytes: &Bytes) -> bool {
    bytes.len() <= NOTHING_BYTES_MAX
        && flamestore_formats::decompress(bytes.clone(), &Limits::default()).is_ok_and(|bytes| bytes.is_empty())
}

/// The values change on their way in, so what was received cannot stand for them in the log: the id is made here.
async fn take_stacks(intake: &Intake, tenant: Tenant, said: &Said, stacks: Stacks, bytes: Bytes) -> Result<()> {
    let kind = folded_kind(&said.name.app, &said.units)?;
    for (at, made) in decode_stacks(intake, said, stacks, &kind, bytes.clone()).await?.into_iter().enumerate() {
        let mut labels = said.labels(intake, &kind.service, Some(family_of_made(&made.batch, &kind)))?;
        if !made.name.is_empty() && labels.get(PROFILE_NAME_LABEL).is_none() {
            labels = intake.labels(labels.iter().chain([(PROFILE_NAME_LABEL, made.name.as_str())]))?;
        }
        let content = [said.query.as_bytes(), &bytes, &at.to_le_bytes()];
        let id = said.from.map(|from| retry_id(&tenant, &labels, from, &content));
        let (tenant, batch) = (tenant.clone(), made.batch);
        let profile = PushProfile { tenant, labels, batch, received: None, id, time_unix_nano: said.from };
        intake.store(profile).await?;
    }
    Ok(())
}

async fn decode_stacks(
    intake: &Intake,
    said: &Said,
    stacks: Stacks,
    kind: &FoldedKind,
    bytes: Bytes,
) -> Result<Vec<Made>> {
    let options = said.options(kind);
    let (limits, kind) = (intake.limits.clone(), kind.clone());
    let work = move || {
        let nameless = |batch| vec![Made { name: String::new(), batch }];
        let mut all = match stacks {
            Stacks::Folded => nameless(decode_folded(bytes, &options, &limits)?),
            Stacks::Lines => nameless(decode_lines(bytes, &options, &limits)?),
            Stacks::Tree => nameless(decode_tree(bytes, &options, &limits)?),
            Stacks::Trie => nameless(decode_trie(bytes, &options, &limits)?),
            Stacks::Speedscope => {
                let profiles = decode_speedscope(bytes, &options, &limits)?;
                profiles.into_iter().map(|profile| Made { name: profile.name, batch: profile.batch }).collect()
            }
        };
        for made in &mut all {
            // speedscope's files state their unit, and are decoded by it
            if stacks != Stacks::Speedscope {
                multiply(&mut made.batch, kind.factor)?;
            }
            if matches!(family_of_made(&made.batch, &kind), "process_cpu" | "wall") {
                name_period(&mut made.batch)?;
            }
        }
        Ok(all)
    };
    intake.compute.run(work).await
}

/// The family of a profile of stacks: a file may say what its values are, and is believed before the name.
fn family_of_made<'a>(batch: &ProfileBatch, kind: &'a FoldedKind) -> &'a str {
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

impl Said {
    fn read(query: &str, headers: &HeaderMap, now: i64) -> Result<Self> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let value = |name: &str| pairs.iter().find(|pair| pair.0 == name).map_or("", |pair| pair.1.as_str());
        let time = |name: &str| match value(name) {
            "" => Ok(None),
            text => apptime::parse(name, text, now).map(Some),
        };
        let sample_rate = value("sampleRate").parse().ok().filter(|rate| *rate > 0).unwrap_or(SAMPLE_RATE_DEFAULT);
        Ok(Self {
            name: parse_name(value("name"))?,
            from: time("from")?,
            until: time("until")?,
            sample_rate,
            spy: value("spyName").to_owned(),
            units: value("units").to_owned(),
            form: form(value("format"), &media_type(headers))?,
            query: query.to_owned(),
        })
    }

    /// The labels of the series of `service`. Of those that the profile type makes, only the family is set.
    fn labels(&self, intake: &Intake, service: &str, family: Option<&str>) -> Result<Labels> {
        let mut labels = self.name.labels.clone();
        names::DERIVED.iter().for_each(|name| drop(labels.remove(*name)));
        let service_label = if labels.contains_key(names::SERVICE_NAME) { APP_LABEL } else { names::SERVICE_NAME };
        labels.entry(service_label.to_owned()).or_insert_with(|| service.to_owned());
        if !self.spy.is_empty() {
            labels.entry(SPY_LABEL.to_owned()).or_insert_with(|| self.spy.clone());
        }
        if let Some(family) = family {
            labels.insert(names::NAME.to_owned(), family.to_owned());
        }
        intake.labels(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// The time to store a pprof at, where it does not say one itself.
    fn time_of(&self, batch: &ProfileBatch, now: i64) -> Option<i64> {
        match batch.header.time_unix_nano {
            TIME_MIN.. => None,
            0 => self.from,
            _ => Some(self.from.unwrap_or(now)),
        }
    }

    /// What stacks do not say of their profile.
    fn options(&self, kind: &FoldedKind) -> FoldedOptions {
        let (ty, unit) = (kind.profile_type.sample_type.clone(), kind.profile_type.sample_unit.clone());
        let stated = FoldedOptions {
            time_unix_nano: self.from.unwrap_or_default(),
            duration_nano: self.duration(),
            ..FoldedOptions::default()
        };
        match kind.is_sampled {
            true => {
                let period = NANOS_PER_SECOND / i64::from(self.sample_rate);
                FoldedOptions { sampled_every: Some(SampledEvery { ty, unit, period }), ..stated }
            }
            false => FoldedOptions { sample_type: ty, sample_unit: unit, ..stated },
        }
    }

    fn duration(&self) -> i64 {
        match (self.from, self.until) {
            (Some(from), Some(until)) => until.saturating_sub(from).max(0),
            _ => 0,
        }
    }
}

/// How the body is encoded: what `format` says, and for trees and tries the content type.
fn form(format: &str, media_type: &str) -> Result<Form> {
    let is_form = media_type == "multipart/form-data";
    Ok(match (format, media_type) {
        ("trie", _) | (_, "binary/octet-stream+trie") => Form::Stacks(Stacks::Trie),
        ("tree", _) | (_, "binary/octet-stream+tree") => Form::Stacks(Stacks::Tree),
        ("lines", _) => Form::Stacks(Stacks::Lines),
        ("speedscope", _) => Form::Stacks(Stacks::Speedscope),
        ("jfr", _) => return Err(Error::invalid("the format is not read").with("format", format)),
        ("pprof", _) if !is_form => Form::Pprof,
        _ if is_form => Form::PprofParts,
        _ => Form::Stacks(Stacks::Folded),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_told_by_format_and_content_type() {
        let check = |format: &str, media_type: &str, expected: Option<Form>| {
            assert_eq!(form(format, media_type).ok(), expected, "{format} {media_type}");
        };
        check("pprof", "application/octet-stream", Some(Form::Pprof));
        check("pprof", "multipart/form-data", Some(Form::PprofParts));
        check("", "multipart/form-data", Some(Form::PprofParts));
        check("", "", Some(Form::Stacks(Stacks::Folded)));
        check("groups", "text/plain", Some(Form::Stacks(Stacks::Folded)));
        check("lines", "", Some(Form::Stacks(Stacks::Lines)));
        check("speedscope", "application/json", Some(Form::Stacks(Stacks::Speedscope)));
        check("", "binary/octet-stream+trie", Some(Form::Stacks(Stacks::Trie)));
        check("tree", "", Some(Form::Stacks(Stacks::Tree)));
        check("jfr", "multipart/form-data", None);
    }

    #[test]
    fn samples_are_kept_beside_the_time_that_they_stand_for() {
        let check = |query: &str, text: &'static str, expected: &str| {
            let said = Said::read(query, &HeaderMap::new(), 0).unwrap();
            let kind = folded_kind(&said.name.app, &said.units).unwrap();
            let batch = decode_folded(Bytes::from_static(text.as_bytes()), &said.options(&kind), &Limits::default());
            let told = batch.and_then(|mut batch| {
                multiply(&mut batch, kind.factor)?;
                name_period(&mut batch)?;
                batch.check()?;
                let text = |id: u32| batch.symbols.strings.text(id).into_owned();
                let types: Vec<String> = batch.header.sample_types.iter().map(|ty| text(ty.ty)).collect();
                let period = text(batch.header.period_type.ty);
                let (values, every) = (&batch.samples.values, batch.header.period);
                Ok(format!("{types:?} {values:?} {every} {period}"))
            });
            assert_eq!(told.unwrap_or_else(|error| error.to_string()), expected, "{query}");
        };
        let cpu = r#"["samples", "cpu"] [3, 30000000, -1, -10000000, 0, 0] 10000000 cpu"#;
        check("name=a", "f 3\ng -1\nh 0", cpu);
        check("name=a&sampleRate=999", "f 3", r#"["samples", "cpu"] [3, 3003003] 1001001 cpu"#);
        check("name=a&sampleRate=-1", "f 3", r#"["samples", "cpu"] [3, 30000000] 10000000 cpu"#);
        check("name=a.wall", "f 3", r#"["samples", "wall"] [3, 30000000] 10000000 cpu"#);
        check("name=a.wall&units=nanoseconds", "f 3", r#"["wall"] [3] 0 cpu"#);
        check("name=a.milliseconds", "f 3", r#"["wall"] [3000000] 0 cpu"#);
        let over = "sample 0: the value is too large [value=9223372036854775807]";
        check("name=a.seconds", "f 9223372036854775807", over);
    }
}
