//! Connect's unary calls: each becomes a gRPC call of the same process, its answer becomes Connect's again.
//!
//! ```text
//! POST /pkg.Service/Method, application/proto or application/json (gzip, zstd)
//!   ─▶ read, decompress ─▶ JSON? as the method's descriptor says ─▶ one gRPC frame ─▶ service
//!   ◀─ gzip if accepted ◀─ JSON? ◀─ its one frame, or {"code", "message", "details"} with an HTTP status ◀─
//! ```
//!
//! No method has code of its own here: what there is to know of one stands in its descriptor. Unknown fields are ignored. Of
//! a path of the API, everything that is neither gRPC nor this is answered 405 or 415. A JSON body is bounded by
//! [`JSON_BYTES_MAX`] on top of the message limit: a message built field by field takes many times its bytes.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use flamestore_model::{Error, Result};
use http_body_util::BodyExt;
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, MethodDescriptor};
use tonic::{Code, Status};

use crate::body::{BodyError, media_type, read_body};
use crate::compute::Compute;
use crate::guard::{is_grpc, put_right};
use crate::packed::accepts_gzip;
use crate::refusal::Refusal;

/// The most bytes of a JSON request.
const JSON_BYTES_MAX: usize = 8 << 20;
/// Smaller answers are not worth compressing.
const GZIP_BYTES_MIN: usize = 1 << 10;
/// Flag and length before a gRPC message.
const FRAME_HEAD_BYTES: usize = 5;
const PROTOCOL_VERSION: &str = "connect-protocol-version";
const ACCEPTED: HeaderValue = HeaderValue::from_static(
    "application/grpc, application/grpc+proto, application/grpc-web, application/grpc-web+proto, application/json, \
     application/proto",
);

/// The unary methods of the API, and what bounds a call.
#[derive(Debug)]
pub(crate) struct Connect {
    methods: HashMap<String, MethodDescriptor>,
    request_bytes_max: usize,
    compute: Compute,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Proto,
    Json,
}

impl Codec {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Proto => "application/proto",
            Self::Json => "application/json",
        })
    }
}

impl Connect {
    /// The methods of an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// `Internal` when it cannot be read.
    pub(crate) fn new(descriptors: &[u8], request_bytes_max: usize, compute: Compute) -> Result<Self> {
        let pool = DescriptorPool::decode(descriptors)
            .map_err(|error| Error::internal("a descriptor of the API cannot be read").because(error))?;
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let path = |method: &MethodDescriptor| format!("/{}/{}", method.parent_service().full_name(), method.name());
        Ok(Self { methods: methods.map(|method| (path(&method), method)).collect(), request_bytes_max, compute })
    }

    async fn call(&self, method: &MethodDescriptor, request: Request, next: Next) -> Result<Response, Refusal> {
        let codec = codec(method, &request)?;
        let (parts, body) = request.into_parts();
        let asked = parts.headers.clone();
        let bytes_max = match codec {
            Codec::Proto => self.request_bytes_max,
            Codec::Json => self.request_bytes_max.min(JSON_BYTES_MAX),
        };
        let bytes = read_body(&parts.headers, body, bytes_max, &self.compute).await?;
        let message = match codec {
            Codec::Proto => bytes,
            Codec::Json => {
                let input = method.input();
                self.compute.run_on(bytes.len(), move || message_of_json(input, &bytes)).await?
            }
        };
        let answer = next.run(grpc_request(parts, message)?).await;
        let (headers, message) = unary_answer(answer).await?;
        let body = match codec {
            Codec::Proto => message,
            Codec::Json => {
                let output = method.output();
                self.compute.run_on(message.len(), move || json_of_message(output, &message)).await?
            }
        };
        let mut answer = Response::new(Body::empty());
        *answer.headers_mut() = headers;
        answer.headers_mut().insert(header::CONTENT_TYPE, codec.content_type());
        answer.extensions_mut().insert(Code::Ok);
        Ok(gzipped(&asked, answer, body, &self.compute).await?)
    }
}

/// `answer` with the body `bytes`, compressed if the request of `headers` takes that and it is worth it.
pub(crate) async fn gzipped(
    headers: &HeaderMap,
    mut answer: Response,
    bytes: Bytes,
    compute: &Compute,
) -> Result<Response> {
    if bytes.len() < GZIP_BYTES_MIN || !accepts_gzip(headers) {
        *answer.body_mut() = Body::from(bytes);
        return Ok(answer);
    }
    answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    *answer.body_mut() = Body::from(compute.run(move || flamestore_formats::gzip(&bytes)).await?);
    Ok(answer)
}

/// Answers Connect's calls of unary methods through the services behind it; lets everything else pass.
pub(crate) async fn connect(State(connect): State<Arc<Connect>>, request: Request, next: Next) -> Response {
    if is_grpc(request.headers()) {
        return next.run(request).await;
    }
    if let Some(method) = connect.methods.get(request.uri().path()) {
        return connect.call(method, request, next).await.unwrap_or_else(IntoResponse::into_response);
    }
    let answer = next.run(request).await;
    match is_grpc(answer.headers()) {
        // a service's answer about a method that it does not have, or that is of gRPC alone
        true => Refusal::new(StatusCode::NOT_FOUND, Code::Unimplemented, "there is no such method").into_response(),
        false => answer,
    }
}

/// How the request is encoded, if it is a call at all.
fn codec(method: &MethodDescriptor, request: &Request) -> Result<Codec, Refusal> {
    if request.method() != Method::POST {
        let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, "a method is called with POST");
        return Err(refusal.with_header(header::ALLOW, HeaderValue::from_static("POST")));
    }
    let is_unary = !method.is_client_streaming() && !method.is_server_streaming();
    let codec = match media_type(request.headers()).as_str() {
        "application/proto" if is_unary => Codec::Proto,
        "application/json" if is_unary => Codec::Json,
        _ => {
            let message = "the content type is none that this method takes";
            let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented, message);
            return Err(refusal.with_header(HeaderName::from_static("accept-post"), ACCEPTED));
        }
    };
    match request.headers().get(PROTOCOL_VERSION) {
        Some(version) if version != "1" => Err(Refusal::from(
            Error::invalid(format!("{PROTOCOL_VERSION} must be 1")).with("found", format!("{version:?}")),
        )),
        _ => Ok(codec),
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::UnknownEncoding(error) => Self::from(error)
                .with_code(Code::Unimplemented)
                .with_status(StatusCode::NOT_IMPLEMENTED)
                .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd")),
            BodyError::TooLarge(error) | BodyError::BrokenOff(error) | BodyError::Damaged(error) => Self::from(error),
        }
    }
}

/// The bytes of the message that `json` is; fields that it does not know are ignored.
///
/// # Errors
/// `Invalid` when it is not its JSON.
pub(crate) fn message_of_json(input: MessageDescriptor, json: &[u8]) -> Result<Bytes> {
    let wrong = |error: serde_json::Error| Error::invalid("the request is not the JSON of its message").because(error);
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(input, &mut deserializer, &options).map_err(wrong)?;
    deserializer.end().map_err(wrong)?;
    Ok(Bytes::from(message.encode_to_vec()))
}

/// An answer that is to be told as JSON.
///
/// # Errors
/// `Exhausted` when it nests too deeply, `Internal` when it is not of this type.
pub(crate) fn decoded(output: MessageDescriptor, message: &[u8]) -> Result<DynamicMessage> {
    DynamicMessage::decode(output, message).map_err(|error| match error.to_string().contains("recursion limit") {
        true => Error::exhausted("the answer nests more deeply than is told as JSON; ask for protobuf, or for less"),
        false => Error::internal("an answer is not of its message's type").because(error),
    })
}

fn json_of_message(output: MessageDescriptor, message: &[u8]) -> Result<Bytes> {
    let broken = "an answer is not of its message's type";
    let message = decoded(output, message)?;
    serde_json::to_vec(&message).map(Bytes::from).map_err(|error| Error::internal(broken).because(error))
}

/// The request as a gRPC call of one message.
///
/// # Errors
/// `Exhausted` for a message that no frame holds.
pub(crate) fn grpc_request(mut parts: request::Parts, message: Bytes) -> Result<Request> {
    let too_long = |_| Error::exhausted("a message has 4 GiB or more").with("found", message.len());
    let length = u32::try_from(message.len()).map_err(too_long)?;
    let mut head = BytesMut::with_capacity(FRAME_HEAD_BYTES);
    head.put_u8(0);
    head.put_u32(length);
    for name in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::ACCEPT_ENCODING, header::TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    for name in ["grpc-encoding", "grpc-accept-encoding"] {
        parts.headers.remove(name);
    }
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    let frames = [head.freeze(), message].map(Ok::<_, std::convert::Infallible>);
    Ok(Request::from_parts(parts, Body::from_stream(futures::stream::iter(frames))))
}

/// The metadata and the one message of a gRPC answer.
///
/// # Errors
/// What the answer is refused with.
pub(crate) async fn unary_answer(answer: Response) -> Result<(HeaderMap, Bytes), Refusal> {
    let (mut parts, body) = answer.into_parts();
    put_right(&mut parts.headers);
    let broken = |error| Error::internal("an answer broke off").because(error);
    let collected = body.collect().await.map_err(broken)?;
    let mut trailers = collected.trailers().cloned().unwrap_or_default();
    put_right(&mut trailers);
    let unknown = || Status::unknown("the answer has no status");
    let status = Status::from_header_map(&parts.headers).or_else(|| Status::from_header_map(&trailers));
    let status = status.unwrap_or_else(unknown);
    if status.code() != Code::Ok {
        return Err(Refusal::of(&without_protocol(status)));
    }
    let frame = collected.to_bytes();
    if frame.len() < FRAME_HEAD_BYTES {
        return Err(Error::internal("an answer has no message").into());
    }
    let mut headers = metadata(&parts.headers);
    for (name, value) in &metadata(&trailers) {
        if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
            headers.append(name, value.clone());
        }
    }
    Ok((headers, frame.slice(FRAME_HEAD_BYTES..)))
}

/// `status` with the metadata that is not the protocol's.
fn without_protocol(mut status: Status) -> Status {
    let kept = metadata(status.metadata().as_ref());
    *status.metadata_mut() = tonic::metadata::MetadataMap::from_headers(kept);
    status
}

/// What of `headers` is the service's and not the protocol's.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    let protocol = [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TE, header::DATE];
    let kept = |name: &HeaderName| !protocol.contains(name) && !name.as_str().starts_with("grpc-");
    let pairs = headers.iter().filter(|(name, _)| kept(name));
    pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flamestore_proto::{FILE_DESCRIPTOR_SET, v1};

    fn methods() -> Connect {
        Connect::new(FILE_DESCRIPTOR_SET, 1 << 20, Compute::new(1)).unwrap()
    }

    fn told(refusal: Refusal) -> u16 {
        refusal.into_response().status().as_u16()
    }

    #[test]
    fn a_call_is_a_post_of_proto_or_json_to_a_unary_method() {
        let connect = methods();
        let check = |path: &str, method: Method, content_type: &str, expected: Result<Codec, u16>| {
            let request = Request::builder().method(method).header(header::CONTENT_TYPE, content_type);
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(codec(&connect.methods[path], &request).map_err(told), expected, "{path} {content_type}");
        };
        let (merge, stream) = ("/flamestore.v1.QueryService/Merge", "/flamestore.v1.IngestService/PushStream");
        check(merge, Method::POST, "application/proto", Ok(Codec::Proto));
        check(merge, Method::POST, "Application/JSON; charset=utf-8", Ok(Codec::Json));
        check(merge, Method::POST, "application/connect+json", Err(415));
        check(merge, Method::POST, "text/plain", Err(415));
        check(merge, Method::PUT, "application/json", Err(405));
        check(merge, Method::GET, "", Err(405));
        check(stream, Method::POST, "application/json", Err(415));
        check("/push.v1.PusherService/Push", Method::POST, "application/proto", Ok(Codec::Proto));
    }

    #[test]
    fn json_is_read_by_either_name_and_unknown_fields_are_ignored() {
        let connect = methods();
        let input = || connect.methods["/flamestore.v1.QueryService/Top"].input();
        let json = br#"{"selection": {"query": "{}", "start_unix_nano": 5, "endUnixNano": "9"}, "later": [1]}"#;
        let request = v1::TopRequest::decode(message_of_json(input(), json).unwrap()).unwrap();
        let selection = request.selection.unwrap();
        assert_eq!((selection.query.as_str(), selection.start_unix_nano, selection.end_unix_nano), ("{}", 5, 9));
        for wrong in [&b""[..], b"{", b"[]", br#"{"limit": "many"}"#, b"{} {}"] {
            assert!(message_of_json(input(), wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn numbers_of_64_bits_are_written_as_strings() {
        let output = methods().methods["/flamestore.v1.StatusService/Head"].output();
        let head = v1::HeadResponse { profiles: 1 << 60, ..Default::default() };
        let json = json_of_message(output, &head.encode_to_vec()).unwrap();
        assert_eq!(String::from_utf8_lossy(&json), r#"{"profiles":"1152921504606846976"}"#);
    }
}
