//! The doors of plain HTTP: paths other servers' clients post profiles to.
//!
//! | path | who |
//! |---|---|
//! | `/ingest`, `/pyroscope/ingest` | Pyroscope's profilers, Grafana Alloy: [`pyroscope`] |
//! | `/profiling/v1/input` | Datadog's tracers, as their agent takes it: [`datadog`] |
//! | `/v1development/profiles` | OpenTelemetry's collector and profilers: [`otlp`] |
//!
//! A body is read whole under `request_bytes_max`, once its request has a place among the bounded many; each profile is
//! under the limits of every other. Errors are told as JSON with the status that the door's clients understand.

pub(crate) mod apptime;
mod datadog;
mod made;
mod multipart;
mod name;
mod profile_kind;
mod pyroscope;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use flamestore_model::Error;
use tonic::Code;

use crate::body::BodyError;
use crate::intake::Intake;
use crate::otlp;
use crate::push::is_lasting;
use crate::refusal::Refusal;

const INGEST: &str = "/ingest";
const PYROSCOPE_INGEST: &str = "/pyroscope/ingest";
const DATADOG: &str = "/profiling/v1/input";

/// Every path there is.
pub(crate) const PATHS: [&str; 4] = [INGEST, PYROSCOPE_INGEST, DATADOG, otlp::PATH];

/// The doors to `intake`.
pub(crate) fn router(intake: Intake) -> Router {
    Router::new()
        .route(INGEST, post(pyroscope::ingest))
        .route(PYROSCOPE_INGEST, post(pyroscope::ingest))
        .route(DATADOG, post(datadog::input))
        .route(otlp::PATH, post(otlp::export_over_http))
        .with_state(intake)
}

/// The refusal of a profile that cannot be taken: 422 where sending it again cannot help, which no client tries again.
fn unprocessable(error: Error) -> Refusal {
    match is_lasting(&error) {
        true => Refusal::from(error).with_code(Code::InvalidArgument).with_status(StatusCode::UNPROCESSABLE_ENTITY),
        false => Refusal::from(error),
    }
}

/// The refusal of a body that could not be read.
fn unreadable(error: BodyError) -> Refusal {
    let (error, status) = match error {
        BodyError::TooLarge(error) => (error, StatusCode::PAYLOAD_TOO_LARGE),
        BodyError::BrokenOff(error) => (error, StatusCode::REQUEST_TIMEOUT),
        BodyError::UnknownEncoding(error) => (error, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        BodyError::Damaged(error) => (error, StatusCode::UNPROCESSABLE_ENTITY),
    };
    Refusal::from(error).with_status(status)
}
