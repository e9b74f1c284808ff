//! `ProfilesService.Export`: a gRPC method whose message is not decoded by the gRPC layer.
//!
//! Three layouts share the method's name, so there is no one message type for it: the codec hands the bytes through, and
//! the decoder finds the layout. A plain POST to the same path is answered as over HTTP.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use bytes::{Buf, BufMut, Bytes};
use futures::FutureExt;
use futures::future::BoxFuture;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EnabledCompressionEncodings, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, UnaryService};
use tower::Service;

use crate::guard::is_grpc;
use crate::intake::Intake;
use crate::otlp::{Encoding, ExportResponse, export, http};
use crate::status::{status_of, tenant_of};

/// The path of the method.
pub(crate) const EXPORT: &str = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";

/// The service of the method, around one intake.
#[derive(Clone, Debug)]
pub(crate) struct ProfilesServer(pub(crate) Intake);

impl NamedService for ProfilesServer {
    const NAME: &'static str = "opentelemetry.proto.collector.profiles.v1development.ProfilesService";
}

impl<B> Service<Request<B>> for ProfilesServer
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let intake = self.0.clone();
        async move {
            if request.uri().path() != EXPORT {
                return Ok(Status::unimplemented("the service has one method: Export").into_http());
            }
            if !is_grpc(request.headers()) {
                let answer = http::export(State(intake), request.map(Body::new)).await;
                return Ok(answer.map(tonic::body::Body::new));
            }
            Ok(grpc(intake.config.request_bytes_max).unary(Export(intake), request).await)
        }
        .boxed()
    }
}

/// The gRPC layer around the method: compression both ways, and the limit on a message.
fn grpc(request_bytes_max: usize) -> Grpc<BytesCodec> {
    let mut encodings = EnabledCompressionEncodings::default();
    encodings.enable(CompressionEncoding::Gzip);
    encodings.enable(CompressionEncoding::Zstd);
    Grpc::new(BytesCodec)
        .apply_compression_config(encodings, encodings)
        .apply_max_message_size_config(Some(request_bytes_max), None)
}

struct Export(Intake);

impl UnaryService<Bytes> for Export {
    type Response = ExportResponse;
    type Future = BoxFuture<'static, Result<tonic::Response<ExportResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let intake = self.0.clone();
        async move {
            let tenant = tenant_of(request.metadata()).map_err(|error| status_of(&error))?;
            let told = export(&intake, &tenant, Encoding::Protobuf, request.into_inner()).await;
            told.map(tonic::Response::new).map_err(|error| status_of(&error))
        }
        .boxed()
    }
}

/// Requests as they are, answers as protobuf.
#[derive(Clone, Copy, Debug)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = ExportResponse;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = ExportResponse;
    type Error = Status;

    fn encode(&mut self, response: ExportResponse, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&response.encode_to_vec());
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
