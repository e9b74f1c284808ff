//! `POST /profiling/v1/input`: what Datadog's tracers send to their agent.
//!
//! A form of `event.json`, which says the tags and the time, and of attachments. Every attachment that is a pprof by its
//! name is stored as it is, one that is a recording of JFR as a profile of each kind of event; plain, gzip or zstd. Other
//! attachments (metrics, provenance of code) are left aside. Tags become labels, `service` being `service_name`. 200 is an
//! empty answer; 400 an event that cannot be read, 413 a body over the limit, 422 a form without a profile or with one that
//! cannot be read, 429 and 503 try again.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use bytes::Bytes;
use chrono::DateTime;
use flamestore_formats::JfrOptions;
use flamestore_model::{Error, Labels, Result, Tenant, names};
use flamestore_store::{ProfileFormat, PushProfile};
use serde::Deserialize;

use crate::body::read_body;
use crate::doors::multipart::Part;
use crate::doors::{made, multipart, unprocessable, unreadable};
use crate::intake::Intake;
use crate::push::Rejections;
use crate::refusal::Refusal;
use crate::status::tenant_in;

const EVENT: &str = "event";
const EVENT_FILE: &str = "event.json";
const SERVICE_TAG: &str = "service";

/// What `event.json` says that is kept.
#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    tags_profiler: String,
    #[serde(default)]
    process_tags: Option<String>,
    #[serde(default)]
    start: Option<String>,
}

/// Answers `POST /profiling/v1/input`.
pub(super) async fn input(State(intake): State<Intake>, request: Request) -> Result<StatusCode, Refusal> {
    let (head, body) = request.into_parts();
    let tenant = tenant_in(&head.headers)?;
    let intake = intake.of(&tenant);
    let read = read_body(&head.headers, body, intake.allowed.request_bytes_max, &intake.compute).await;
    let bytes = read.map_err(unreadable)?;
    intake.take_bytes(&tenant, bytes.len())?;
    let parts = multipart::parts(&head.headers, bytes).await?;
    let event = Event::find(&parts)?;
    let mut rejections = Rejections::default();
    for part in parts {
        let title = part.title();
        let stored = match title.rsplit_once('.') {
            Some((_, "pprof")) => event.store(&intake, &tenant, family(title), part.bytes.clone()).await,
            Some((_, "jfr")) => event.store_recording(&intake, &tenant, part.bytes.clone()).await,
            _ => continue,
        };
        rejections.add(|| title.to_owned(), stored);
    }
    if rejections.profiles() == 0 {
        return Err(unprocessable(Error::invalid("no attachment of the form is a profile")));
    }
    rejections.finish().map(|()| StatusCode::OK).map_err(unprocessable)
}

impl Event {
    fn find(parts: &[Part]) -> Result<Self> {
        let part = parts.iter().find(|part| part.name == EVENT || part.file_name == EVENT_FILE);
        let part = part.ok_or_else(|| Error::invalid("the form has no event.json"))?;
        serde_json::from_slice(&part.bytes)
            .map_err(|error| Error::invalid("event.json: not what it should be").because(error))
    }

    async fn store(&self, intake: &Intake, tenant: &Tenant, family: Option<&str>, bytes: Bytes) -> Result<()> {
        let batch = intake.decode(ProfileFormat::Pprof, bytes.clone()).await?;
        let labels = self.labels(intake, family)?;
        let time_unix_nano = if batch.header.time_unix_nano == 0 { self.start()? } else { None };
        let received = Some((ProfileFormat::Pprof, bytes));
        let tenant = tenant.clone();
        intake.store(PushProfile { tenant, labels, batch, received, id: None, time_unix_nano }).await.map(|_| ())
    }

    async fn store_recording(&self, intake: &Intake, tenant: &Tenant, bytes: Bytes) -> Result<()> {
        let (limits, recording) = (intake.limits(), bytes.clone());
        let work = move || made::of_recording(recording, &JfrOptions::default(), &limits);
        for (at, made) in intake.compute.run(work).await?.into_iter().enumerate() {
            let labels = self.labels(intake, Some(&made.family))?;
            made::store(intake, tenant, labels, made.batch, None, &[&bytes, &at.to_le_bytes()]).await?;
        }
        Ok(())
    }

    /// A tag that stands twice has its last value; those of the profiler come before those of the process.
    fn labels(&self, intake: &Intake, family: Option<&str>) -> Result<Labels> {
        let tags = [self.process_tags.as_deref().unwrap_or_default(), &self.tags_profiler];
        let pairs = tags.iter().flat_map(|tags| tags.split(',')).filter_map(|tag| tag.trim().split_once(':'));
        let named = |(name, value)| (if name == SERVICE_TAG { names::SERVICE_NAME } else { name }, value);
        let kept = |(name, _): &(&str, &str)| !name.is_empty() && !names::DERIVED.contains(name);
        let mut labels: BTreeMap<&str, &str> = pairs.map(named).filter(kept).collect();
        if let Some(family) = family {
            labels.insert(names::NAME, family);
        }
        intake.labels(labels)
    }

    fn start(&self) -> Result<Option<i64>> {
        let Some(text) = &self.start else { return Ok(None) };
        let time = DateTime::parse_from_rfc3339(text).ok().and_then(|time| time.timestamp_nanos_opt());
        let wrong = || Error::invalid("event.json: start is not a time").with("found", format!("{text:?}"));
        time.ok_or_else(wrong).map(Some)
    }
}

/// Go's profiles of locks have the same sample types, whatever they wait for: their files' names tell.
fn family(file_name: &str) -> Option<&'static str> {
    ["block", "mutex"].into_iter().find(|family| file_name.contains(family))
}
