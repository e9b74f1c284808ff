//! OpenTelemetry profiles: one request of many profiles, over gRPC and over HTTP.
//!
//! ```text
//! bytes ─▶ a compute thread: layout, dictionary, one profile after the other ─▶ at most DECODED_MAX wait
//!                                                                              ▼
//!                                     its type, labels, id ─▶ store, several at the same time
//! ```
//!
//! A profile that cannot be taken is counted as rejected and the others are stored; the client does not send it again. Where
//! a retry may help (a full server), the whole request ends in an error that says so, and the retry counts nothing twice:
//! a profile's id is its own, else made of the request's bytes and its place.
//!
//! Values that count samples taken at a steady rate get a second sample type, of value times period, as in the CPU profiles
//! of pprof. Nothing else is changed.

mod grpc;
mod http;

use bytes::Bytes;
use flamestore_formats::{Limits, OtlpProfile, decode_otlp, decode_otlp_json};
use flamestore_model::{Error, Labels, ProfileBatch, ProfileId, Result, Tenant, names};
use flamestore_store::{PushProfile, retry_id};
use prost::Message;
use tokio::sync::mpsc;

use crate::intake::Intake;
use crate::many::{DECODED_MAX, store_all};
use crate::sampled;

pub(crate) use grpc::{EXPORT, ProfilesServer};
pub(crate) use http::{PATH, export as export_over_http};

/// The most characters of the message of a partial success.
const MESSAGE_CHARS_MAX: usize = 4096;

/// How a request is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

/// `ExportProfilesServiceResponse`.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// `ExportProfilesPartialSuccess`: absent where all went well.
#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_profiles: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// Stores the profiles of a request.
///
/// # Errors
/// What is wrong with the request as a whole, and errors that a retry may mend.
async fn export(intake: &Intake, tenant: &Tenant, encoding: Encoding, bytes: Bytes) -> Result<ExportResponse> {
    let intake = &intake.of(tenant);
    intake.take_bytes(tenant, bytes.len())?;
    let request_id = retry_id(tenant, &Labels::default(), 0, &[&bytes]);
    let (sender, receiver) = mpsc::channel(DECODED_MAX);
    let limits = intake.limits();
    let decoded = intake.compute.run(move || decode(encoding, bytes, &limits, &sender));
    let stored = store_all(receiver, |at, profile| store(intake, tenant, request_id, at, profile));
    let (decoded, rejections) = tokio::join!(decoded, stored);
    decoded?;
    let (rejected, passing, lasting) = rejections.into_parts();
    if let Some(error) = passing {
        return Err(error);
    }
    Ok(ExportResponse { partial_success: lasting.map(|error| partial_success(rejected, &error)) })
}

fn partial_success(rejected: usize, error: &Error) -> PartialSuccess {
    let error_message = error.to_string().chars().take(MESSAGE_CHARS_MAX).collect();
    PartialSuccess { rejected_profiles: i64::try_from(rejected).unwrap_or(i64::MAX), error_message }
}

/// Decodes the profiles and hands over each; stops when nobody takes them any more.
fn decode(encoding: Encoding, bytes: Bytes, limits: &Limits, sender: &mpsc::Sender<Result<OtlpProfile>>) -> Result<()> {
    let request = match encoding {
        Encoding::Protobuf => decode_otlp(bytes, limits)?,
        Encoding::Json => decode_otlp_json(bytes, limits)?,
    };
    for profile in request.profiles() {
        if sender.blocking_send(profile).is_err() {
            break;
        }
    }
    Ok(())
}

async fn store(
    intake: &Intake,
    tenant: &Tenant,
    request_id: ProfileId,
    at: u64,
    profile: Result<OtlpProfile>,
) -> Result<ProfileId> {
    let OtlpProfile { labels, batch, id } = prepared(profile?)?;
    let labels = intake.labels(labels.iter())?;
    let time = batch.header.time_unix_nano;
    let id = match id {
        Some(id) => id_of_its_own(tenant, &labels, time, &batch, &id),
        None => retry_id(tenant, &labels, time, &[request_id.as_bytes(), &at.to_le_bytes()]),
    };
    let tenant = tenant.clone();
    intake.store(PushProfile { tenant, labels, batch, received: None, id: Some(id), time_unix_nano: None }).await
}

/// `profile` with what its counts stand for, and of the labels that a profile type makes, none but its family.
///
/// # Errors
/// As [`sampled::add_period`].
pub(crate) fn prepared(mut profile: OtlpProfile) -> Result<OtlpProfile> {
    let family = sampled::add_period(&mut profile.batch)?;
    let labels = names::DERIVED.iter().fold(profile.labels, |labels, name| labels.with(name, ""));
    Ok(OtlpProfile { labels: labels.with(names::NAME, family.unwrap_or_default()), ..profile })
}

/// The id to store a profile under that has an id: senders may give the profiles of one window the same, whatever their types.
pub(crate) fn id_of_its_own(
    tenant: &Tenant,
    labels: &Labels,
    time_unix_nano: i64,
    batch: &ProfileBatch,
    id: &ProfileId,
) -> ProfileId {
    let ty = batch.header.sample_types.first().map(|ty| batch.symbols.strings.get(ty.ty)).unwrap_or_default();
    retry_id(tenant, labels, time_unix_nano, &[id.as_bytes(), ty])
}
