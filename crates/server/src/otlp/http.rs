//! `POST /v1development/profiles`: a request in protobuf or JSON, its answer in the same.
//!
//! 200 with a partial success where profiles were rejected; 400 what is wrong with the request, 413 a body over the limit
//! after decompression, 415 another content type, 429 and 503 with `Retry-After` try again. Errors are `google.rpc.Status`
//! in the request's encoding.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flamestore_model::{Error, Result};
use prost::Message;
use serde_json::json;
use tonic::{Code, Status};

use crate::body::{BodyError, media_type, read_body};
use crate::intake::Intake;
use crate::otlp::{Encoding, ExportResponse, export as store};
use crate::refusal::Refusal;
use crate::status::{http_status, status_of, tenant_in};

/// Where collectors and profilers post to.
pub(crate) const PATH: &str = "/v1development/profiles";

/// Answers a request over plain HTTP.
pub(crate) async fn export(State(intake): State<Intake>, request: Request) -> Response {
    if request.method() != Method::POST {
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, "profiles are sent with POST");
        return refusal.with_header(header::ALLOW, HeaderValue::from_static("POST")).into_response();
    }
    let encoding = match media_type(request.headers()).as_str() {
        "application/x-protobuf" | "application/protobuf" | "application/proto" => Encoding::Protobuf,
        "application/json" => Encoding::Json,
        _ => {
            let told = "profiles are application/x-protobuf or application/json";
            return Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, told).into_response();
        }
    };
    match answer(&intake, encoding, request).await {
        Ok(answer) => encoding.answer(StatusCode::OK, answer),
        Err((error, status)) => encoding.refusal(&status_of(&error), status),
    }
}

/// The encoded answer, or an error and the status that is not that of its code.
async fn answer(intake: &Intake, encoding: Encoding, request: Request) -> Result<Vec<u8>, (Error, Option<StatusCode>)> {
    let (head, body) = request.into_parts();
    let of_its_code = |error| (error, None);
    let tenant = tenant_in(&head.headers).map_err(of_its_code)?;
    let request_bytes_max = intake.of(&tenant).allowed.request_bytes_max;
    let read = read_body(&head.headers, body, request_bytes_max, &intake.compute).await;
    let bytes: Bytes = read.map_err(|error| match error {
        BodyError::TooLarge(error) => (error, Some(StatusCode::PAYLOAD_TOO_LARGE)),
        BodyError::UnknownEncoding(error) => (error, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        BodyError::BrokenOff(error) | BodyError::Damaged(error) => (error, None),
    })?;
    let told = store(intake, &tenant, encoding, bytes).await;
    told.map(|answer| encoding.response(&answer)).map_err(|error| {
        // over a limit, which a retry cannot mend; a full server says when to come back
        let is_over = error.retry_delay().is_none() && status_of(&error).code() == Code::ResourceExhausted;
        (error, is_over.then_some(StatusCode::PAYLOAD_TOO_LARGE))
    })
}

impl Encoding {
    fn response(self, response: &ExportResponse) -> Vec<u8> {
        match (self, &response.partial_success) {
            (Self::Protobuf, _) => response.encode_to_vec(),
            (Self::Json, None) => b"{}".to_vec(),
            (Self::Json, Some(partial)) => {
                let told = json!({"partialSuccess": {
                    "rejectedProfiles": partial.rejected_profiles.to_string(),
                    "errorMessage": partial.error_message,
                }});
                told.to_string().into_bytes()
            }
        }
    }

    fn answer(self, status: StatusCode, body: Vec<u8>) -> Response {
        let content_type = match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        };
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = status;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        answer
    }

    /// `status` as `google.rpc.Status`, with its metadata as headers.
    fn refusal(self, status: &Status, http: Option<StatusCode>) -> Response {
        let code = status.code() as i32;
        let body = match self {
            Self::Protobuf => {
                let details = tonic_types::pb::Status::decode(status.details()).unwrap_or_default().details;
                tonic_types::pb::Status { code, message: status.message().to_owned(), details }.encode_to_vec()
            }
            Self::Json => json!({"code": code, "message": status.message()}).to_string().into_bytes(),
        };
        let mut answer = self.answer(http.unwrap_or_else(|| http_status(status.code())), body);
        answer.headers_mut().extend(status.metadata().clone().into_headers());
        answer.extensions_mut().insert(status.code());
        answer
    }
}
