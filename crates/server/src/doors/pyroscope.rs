//! `POST /ingest` of Pyroscope: a profile in one of several forms, everything else about it in the query string.
//!
//! | form | told by | stored as |
//! |---|---|---|
//! | pprof | `format=pprof` | it is |
//! | form with `profile`, `sample_type_config` | `multipart/form-data` | its pprof is |
//! | trie, tree | `format`, or `binary/octet-stream+trie`, `+tree` | the type that the name's suffix names |
//! | lines | `format=lines` | the same |
//! | speedscope | `format=speedscope` | its unit's type, else the same; a profile of each |
//! | JFR, or a form of `jfr` and `labels` | `format=jfr` | a profile of each kind of event |
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
use flamestore_formats::{FoldedOptions, JfrOptions, Limits, SampledEvery};
use flamestore_model::{Error, Labels, ProfileBatch, Result, Tenant, names};
use flamestore_store::{ProfileFormat, PushProfile};
use url::form_urlencoded;

use crate::body::{media_type, read_body};
use crate::doors::made::{self, Made, Stacks};
use crate::doors::name::{AppName, parse as parse_name};
use crate::doors::profile_kind::{FoldedKind, SampleTypes, family, folded_kind, sample_types};
use crate::doors::{apptime, multipart, unprocessable, unreadable};
use crate::intake::{Intake, count_outcome};
use crate::refusal::Refusal;
use crate::several::PROFILE_NAME_LABEL;
use crate::status::tenant_in;

const SAMPLE_RATE_DEFAULT: u32 = 100;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// A profile says a time later than this, in nanoseconds, or none: clocks that were never set start at 1970.
const TIME_MIN: i64 = 365 * 86_400 * NANOS_PER_SECOND;
/// More bytes than this are no compressed nothing.
const NOTHING_BYTES_MAX: usize = 64;
const SPY_LABEL: &str = "pyroscope_spy";
const APP_LABEL: &str = "app_name";

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
    Recording,
    RecordingParts,
}

/// Answers `POST /ingest`.
pub(super) async fn ingest(State(intake): State<Intake>, request: Request) -> Result<StatusCode, Refusal> {
    let (parts, body) = request.into_parts();
    let tenant = tenant_in(&parts.headers)?;
    let intake = intake.of(&tenant);
    let said = Said::read(parts.uri.query().unwrap_or_default(), &parts.headers, intake.now_unix_nano())?;
    let read = read_body(&parts.headers, body, intake.allowed.request_bytes_max, &intake.compute).await;
    let bytes = read.map_err(unreadable)?;
    intake.take_bytes(&tenant, bytes.len())?;
    let taken = match said.form {
        Form::Pprof => take_pprof(&intake, tenant, &said, bytes, &SampleTypes::default()).await,
        Form::PprofParts => take_parts(&intake, tenant, &said, &parts.headers, bytes).await,
        Form::Stacks(stacks) => take_stacks(&intake, &tenant, &said, stacks, bytes).await,
        Form::Recording => take_recording(&intake, &tenant, &said, bytes, None).await,
        Form::RecordingParts => take_recording_parts(&intake, &tenant, &said, &parts.headers, bytes).await,
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

async fn take_stacks(intake: &Intake, tenant: &Tenant, said: &Said, stacks: Stacks, bytes: Bytes) -> Result<()> {
    let kind = folded_kind(&said.name.app, &said.units)?;
    let (service, options) = (kind.service.clone(), said.options(&kind));
    let (limits, body) = (intake.limits(), bytes.clone());
    let made = intake.compute.run(move || made::of_stacks(stacks, &kind, body, &options, &limits)).await?;
    store_made(intake, tenant, said, &service, made, &[&bytes]).await
}

async fn take_recording_parts(
    intake: &Intake,
    tenant: &Tenant,
    said: &Said,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<()> {
    let parts = multipart::parts(headers, body).await?;
    let find = |name: &str| parts.iter().find(|part| part.name == name).map(|part| part.bytes.clone());
    let recording = find("jfr").ok_or_else(|| Error::invalid("the form has no field jfr"))?;
    take_recording(intake, tenant, said, recording, find("labels")).await
}

async fn take_recording(
    intake: &Intake,
    tenant: &Tenant,
    said: &Said,
    recording: Bytes,
    contexts: Option<Bytes>,
) -> Result<()> {
    let content = [recording.clone(), contexts.clone().unwrap_or_default()];
    let options = JfrOptions { period_nanos: Some(said.period()), labels: contexts };
    let limits = intake.limits();
    let made = intake.compute.run(move || made::of_recording(recording, &options, &limits)).await?;
    store_made(intake, tenant, said, &said.name.app, made, &[&content[0], &content[1]]).await
}

/// Stores what was made of `content`.
async fn store_made(
    intake: &Intake,
    tenant: &Tenant,
    said: &Said,
    service: &str,
    made: Vec<Made>,
    content: &[&[u8]],
) -> Result<()> {
    for (at, Made { family, name, batch }) in made.into_iter().enumerate() {
        let mut labels = said.labels(intake, service, Some(&family))?;
        if !name.is_empty() && labels.get(PROFILE_NAME_LABEL).is_none() {
            labels = intake.labels(labels.iter().chain([(PROFILE_NAME_LABEL, name.as_str())]))?;
        }
        let (place, time_unix_nano) = (at.to_le_bytes(), said.time_of(&batch, intake.now_unix_nano()));
        let content = [&[said.query.as_bytes(), &place], content].concat();
        made::store(intake, tenant, labels, batch, time_unix_nano, &content).await?;
    }
    Ok(())
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
            form: form(value("format"), &media_type(headers)),
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
                let every = SampledEvery { ty, unit, period: self.period() };
                FoldedOptions { sampled_every: Some(every), ..stated }
            }
            false => FoldedOptions { sample_type: ty, sample_unit: unit, ..stated },
        }
    }

    /// What lies between two samples, in nanoseconds.
    fn period(&self) -> i64 {
        NANOS_PER_SECOND / i64::from(self.sample_rate)
    }

    fn duration(&self) -> i64 {
        match (self.from, self.until) {
            (Some(from), Some(until)) => until.saturating_sub(from).max(0),
            _ => 0,
        }
    }
}

/// How the body is encoded: what `format` says, and for trees and tries the content type.
fn form(format: &str, media_type: &str) -> Form {
    let is_form = media_type == "multipart/form-data";
    match (format, media_type) {
        ("trie", _) | (_, "binary/octet-stream+trie") => Form::Stacks(Stacks::Trie),
        ("tree", _) | (_, "binary/octet-stream+tree") => Form::Stacks(Stacks::Tree),
        ("lines", _) => Form::Stacks(Stacks::Lines),
        ("speedscope", _) => Form::Stacks(Stacks::Speedscope),
        ("jfr", _) if is_form => Form::RecordingParts,
        ("jfr", _) => Form::Recording,
        ("pprof", _) if !is_form => Form::Pprof,
        _ if is_form => Form::PprofParts,
        _ => Form::Stacks(Stacks::Folded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_told_by_format_and_content_type() {
        let check = |format: &str, media_type: &str, expected: Form| {
            assert_eq!(form(format, media_type), expected, "{format} {media_type}");
        };
        check("pprof", "application/octet-stream", Form::Pprof);
        check("pprof", "multipart/form-data", Form::PprofParts);
        check("", "multipart/form-data", Form::PprofParts);
        check("", "", Form::Stacks(Stacks::Folded));
        check("groups", "text/plain", Form::Stacks(Stacks::Folded));
        check("lines", "", Form::Stacks(Stacks::Lines));
        check("speedscope", "application/json", Form::Stacks(Stacks::Speedscope));
        check("", "binary/octet-stream+trie", Form::Stacks(Stacks::Trie));
        check("tree", "", Form::Stacks(Stacks::Tree));
        check("jfr", "multipart/form-data", Form::RecordingParts);
        check("jfr", "", Form::Recording);
    }

    #[test]
    fn samples_are_kept_beside_the_time_that_they_stand_for() {
        let check = |query: &str, text: &'static str, expected: &str| {
            let said = Said::read(query, &HeaderMap::new(), 0).unwrap();
            let kind = folded_kind(&said.name.app, &said.units).unwrap();
            let (bytes, options) = (Bytes::from_static(text.as_bytes()), said.options(&kind));
            let made = made::of_stacks(Stacks::Folded, &kind, bytes, &options, &Limits::default());
            let told = made.map(|made| {
                let batch = &made[0].batch;
                batch.check().unwrap();
                let text = |id: u32| batch.symbols.strings.text(id).into_owned();
                let types: Vec<String> = batch.header.sample_types.iter().map(|ty| text(ty.ty)).collect();
                let period = text(batch.header.period_type.ty);
                format!("{types:?} {:?} {} {period}", batch.samples.values, batch.header.period)
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
        check("name=a.alloc_space", "f 3", r#"["alloc_space"] [3] 0 "#);
        let over = "sample 0: the value is too large [value=9223372036854775807]";
        check("name=a.seconds", "f 9223372036854775807", over);
    }
}
