//! `POST /ingest` of Pyroscope: a profile in one of several forms, everything else about it in the query string.
//!
//! | form | told by | stored as |
//! |---|---|---|
//! | pprof | `format=pprof` | it is |
//! | form with `profile`, `sample_type_config` | `multipart/form-data` | its pprof is |
//! | folded text | everything else | one sample type, made of the name's suffix and the sample rate |
//!
//! A pprof keeps its labels, values, addresses and columns; only the family, the first part of its profile type, follows
//! Pyroscope's rules. 200 is an empty answer; 400 wrong parameters, 408 a body that broke off, 413 one over the limit, 415
//! an unknown content encoding, 422 a profile that cannot be read or is over a limit, 429 and 503 try again.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use flamestore_formats::{FoldedOptions, Limits, decode_folded};
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
    Folded,
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
        Form::Folded => take_folded(&intake, tenant, &said, bytes).await,
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
async fn take_folded(intake: &Intake, tenant: Tenant, said: &Said, bytes: Bytes) -> Result<()> {
    let kind = folded_kind(&said.name.app, &said.units)?;
    let labels = said.labels(intake, &kind.service, Some(&kind.profile_type.name))?;
    let id = said.from.map(|from| retry_id(&tenant, &labels, from, &[said.query.as_bytes(), &bytes]));
    let batch = decode_kind(intake, said, kind, bytes).await?;
    intake.store(PushProfile { tenant, labels, batch, received: None, id, time_unix_nano: said.from }).await.map(|_| ())
}

async fn decode_kind(intake: &Intake, said: &Said, kind: FoldedKind, bytes: Bytes) -> Result<ProfileBatch> {
    let options = FoldedOptions {
        sample_type: kind.profile_type.sample_type.clone(),
        sample_unit: kind.profile_type.sample_unit.clone(),
        time_unix_nano: said.from.unwrap_or_default(),
        duration_nano: said.duration(),
    };
    let (limits, sample_rate) = (intake.limits.clone(), said.sample_rate);
    let work = move || {
        let mut batch = decode_folded(bytes, &options, &limits)?;
        scale(&mut batch, &kind, sample_rate)?;
        Ok(batch)
    };
    intake.compute.run(work).await
}

/// Multiplies the values by what one of them stands for, and says so in the period.
fn scale(batch: &mut ProfileBatch, kind: &FoldedKind, sample_rate: u32) -> Result<()> {
    let (factor, divisor) = match kind.is_sampled {
        true => (NANOS_PER_SECOND, i64::from(sample_rate)),
        false => (kind.factor, 1),
    };
    for (row, value) in batch.samples.values.iter_mut().enumerate() {
        let scaled = i128::from(*value) * i128::from(factor) / i128::from(divisor);
        let too_large = |_| Error::invalid(format!("sample {row}: the value is too large")).with("value", *value);
        *value = i64::try_from(scaled).map_err(too_large)?;
    }
    if kind.profile_type.period_type.is_empty() {
        return Ok(());
    }
    let period_type = [kind.profile_type.period_type.as_str(), kind.profile_type.period_unit.as_str()];
    let [ty, unit] = add_strings(batch, period_type)?;
    batch.header.period_type = ValueType { ty, unit };
    batch.header.period = if kind.is_sampled { factor / divisor } else { 0 };
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

    fn duration(&self) -> i64 {
        match (self.from, self.until) {
            (Some(from), Some(until)) => until.saturating_sub(from).max(0),
            _ => 0,
        }
    }
}

/// How the body is encoded.
fn form(format: &str, media_type: &str) -> Result<Form> {
    let is_form = media_type == "multipart/form-data";
    let unread = || Error::invalid("the format is not read").with("format", format!("{format:?}"));
    match (format, media_type) {
        ("trie" | "tree" | "lines" | "jfr" | "speedscope", _) => Err(unread()),
        (_, "binary/octet-stream+trie" | "binary/octet-stream+tree") => Err(unread().with("content_type", media_type)),
        ("pprof", _) if !is_form => Ok(Form::Pprof),
        _ if is_form => Ok(Form::PprofParts),
        _ => Ok(Form::Folded),
    }
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
        check("", "", Some(Form::Folded));
        check("groups", "text/plain", Some(Form::Folded));
        check("jfr", "multipart/form-data", None);
        check("", "binary/octet-stream+trie", None);
    }

    #[test]
    fn samples_become_nanoseconds_of_their_rate() {
        let scaled = |app: &str, text: &'static str, rate: u32| {
            let mut batch =
                decode_folded(Bytes::from_static(text.as_bytes()), &FoldedOptions::default(), &Limits::default())?;
            scale(&mut batch, &folded_kind(app, "")?, rate)?;
            batch.check()?;
            let text = |id: u32| batch.symbols.strings.text(id).into_owned();
            let period = batch.header.period_type;
            Ok((batch.samples.values.clone(), batch.header.period, text(period.ty), text(period.unit)))
        };
        let told =
            |(values, period, ty, unit): (Vec<i64>, i64, String, String)| format!("{values:?} {period} {ty} {unit}");
        let check = |app, text, rate, expected: &str| {
            let told = scaled(app, text, rate).map_or_else(|error: Error| error.to_string(), told);
            assert_eq!(told, expected);
        };
        check("a", "f 3\ng -1\nh 0", 100, "[30000000, -10000000, 0] 10000000 cpu nanoseconds");
        check("a", "f 3", 999, "[3003003] 1001001 cpu nanoseconds");
        check("a.milliseconds", "f 3", 100, "[3000000] 0 cpu nanoseconds");
        check("a.alloc_space", "f 3", 100, "[3] 0  ");
        check("a", "f 9223372036854775807", 100, "sample 0: the value is too large [value=9223372036854775807]");
    }
}
