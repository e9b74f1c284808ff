//! Errors as HTTP tells them: a status, and a body of JSON with a code and a message, as Connect and Pyroscope have it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flamestore_model::Error;
use prost::Message;
use serde::Serialize;
use tonic::{Code, Status};

use crate::status::{connect_name, http_status, status_of};

/// What a refused request is told.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: Code,
    message: String,
    details: Vec<Detail>,
    headers: Box<HeaderMap>,
}

/// A detail of a status, as Connect writes it.
#[derive(Debug, Serialize)]
struct Detail {
    #[serde(rename = "type")]
    name: String,
    value: String,
}

#[derive(Serialize)]
struct Told {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

#[derive(Serialize)]
struct Numbered {
    code: i32,
    message: String,
    /// None is told: when to try again stands in a header.
    details: [Detail; 0],
}

impl Refusal {
    /// The refusal that `status` means: code, message, details and metadata.
    pub(crate) fn of(status: &Status) -> Self {
        let headers = Box::new(status.metadata().clone().into_headers());
        Self {
            status: http_status(status.code()),
            code: status.code(),
            message: status.message().to_owned(),
            details: details(status.details()),
            headers,
        }
    }

    /// A refusal with no error of ours behind it.
    pub(crate) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Vec::new(), headers: Box::default() }
    }

    /// The refusal with another HTTP status, where a protocol has its own.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The refusal with another code, where a protocol has its own.
    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// The answer of a gateway from HTTP to gRPC: the code is its number.
    pub(crate) fn into_numbered(self) -> Response {
        let told = Numbered { code: i32::from(self.code), message: self.message.clone(), details: [] };
        let mut answer = self.into_response();
        *answer.body_mut() = Body::from(serde_json::to_vec(&told).unwrap_or_default());
        answer
    }

    /// Adds a header.
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::of(&status_of(&error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, code, message, details, headers } = self;
        let told = Told { code: connect_name(code), message, details };
        let mut answer = Response::new(Body::from(serde_json::to_vec(&told).unwrap_or_default()));
        *answer.status_mut() = status;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let kept = (*headers).into_iter().filter_map(|(name, value)| Some((name?, value)));
        answer.headers_mut().extend(kept.filter(|(name, _)| *name != header::CONTENT_TYPE));
        answer.extensions_mut().insert(code);
        answer
    }
}

/// The details in an encoded `google.rpc.Status`; none where it cannot be read.
fn details(encoded: &[u8]) -> Vec<Detail> {
    let status = tonic_types::pb::Status::decode(encoded).unwrap_or_default();
    let detail = |any: &prost_types::Any| Detail {
        name: any.type_url.rsplit('/').next().unwrap_or_default().to_owned(),
        value: STANDARD_NO_PAD.encode(&any.value),
    };
    status.details.iter().map(detail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_refusal_tells_code_message_details_and_when_to_try_again() {
        let full = Error::exhausted("full").with("limit", 7).retry_after(Duration::from_secs(2));
        let answer = Refusal::from(full).into_response();
        assert_eq!(
            (answer.status(), &answer.headers()["retry-after"]),
            (StatusCode::TOO_MANY_REQUESTS, &"2".parse().unwrap())
        );
        assert_eq!(answer.headers()["content-type"], "application/json");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        assert_eq!(
            String::from_utf8_lossy(&body),
            r#"{"code":"resource_exhausted","message":"full [limit=7]","details":[{"type":"google.rpc.RetryInfo","value":"CgIIAg"}]}"#
        );
    }

    #[test]
    fn a_protocol_can_have_its_own_status_and_code() {
        let refusal = Refusal::from(Error::invalid("x")).with_status(StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refusal.into_response().status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
}
