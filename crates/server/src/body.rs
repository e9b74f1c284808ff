//! Bodies of plain HTTP requests: read whole, with `Content-Encoding` undone, under one limit.
//!
//! Bound: `bytes_max` bytes as sent and as many after decompression. The memory is not spent before a request has its place
//! among the bounded many.

use std::error::Error as StdError;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flamestore_formats::Limits;
use flamestore_model::{Error, ErrorKind};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::compute::Compute;

/// Why a body was not read. Each protocol has its own statuses for these.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It has more bytes than allowed, as sent or decompressed.
    TooLarge(Error),
    /// The client did not send all of it.
    BrokenOff(Error),
    /// It is compressed in a way that is not read.
    UnknownEncoding(Error),
    /// It is not what its `Content-Encoding` says.
    Damaged(Error),
}

/// The bytes of `body`, whose `headers` say how it is compressed.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
    compute: &Compute,
) -> Result<Bytes, BodyError> {
    let encoding = content_encoding(headers)?;
    let bytes = match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if is_too_long(error.as_ref()) => {
            return Err(BodyError::TooLarge(
                Error::exhausted("the request body is too large").with("request_bytes_max", bytes_max),
            ));
        }
        Err(error) => return Err(BodyError::BrokenOff(Error::invalid("the request body broke off").because(error))),
    };
    match encoding {
        Some(encoding) if !bytes.is_empty() => decompressed(encoding, bytes, bytes_max, compute).await,
        _ => Ok(bytes),
    }
}

/// The media type of a request without its parameters, in lowercase.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Encodings of a body, with the bytes they start with.
#[derive(Clone, Copy, Debug)]
enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    fn magic(self) -> &'static [u8] {
        match self {
            Self::Gzip => &[0x1f, 0x8b],
            Self::Zstd => &[0x28, 0xb5, 0x2f, 0xfd],
        }
    }
}

fn content_encoding(headers: &HeaderMap) -> Result<Option<Encoding>, BodyError> {
    let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(None) };
    match value.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Encoding::Gzip)),
        "zstd" => Ok(Some(Encoding::Zstd)),
        _ => Err(BodyError::UnknownEncoding(
            Error::invalid("the content encoding of a request is gzip, zstd or identity")
                .with("content_encoding", format!("{value:?}")),
        )),
    }
}

async fn decompressed(
    encoding: Encoding,
    bytes: Bytes,
    bytes_max: usize,
    compute: &Compute,
) -> Result<Bytes, BodyError> {
    if !bytes.starts_with(encoding.magic()) {
        return Err(BodyError::Damaged(
            Error::invalid("the request body is not what its content encoding says")
                .with("content_encoding", format!("{encoding:?}")),
        ));
    }
    let limits = Limits { decompressed_bytes_max: bytes_max, ..Limits::NONE };
    let compressed_bytes = bytes.len();
    let work = move || flamestore_formats::decompress(bytes, &limits);
    compute.run_on(compressed_bytes, work).await.map_err(|error| match error.kind() {
        ErrorKind::Exhausted => BodyError::TooLarge(
            Error::exhausted("the request body is too large after decompression").with("request_bytes_max", bytes_max),
        ),
        _ => BodyError::Damaged(error),
    })
}

fn is_too_long(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    async fn check(encoding: Option<&'static str>, body: Vec<u8>, expected: Result<&str, &str>) {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let read = read_body(&headers, Body::from(body), 64, &Compute::new(1)).await;
        let told = match &read {
            Ok(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            Err(error) => Err(format!("{error:?}").split('(').next().unwrap_or_default().to_owned()),
        };
        assert_eq!(told.as_deref().map_err(String::as_str), expected, "{encoding:?}: {read:?}");
    }

    #[tokio::test]
    async fn a_body_is_read_as_its_encoding_says() {
        let gzip = |bytes: &[u8]| flamestore_formats::gzip(bytes).unwrap();
        check(None, b"plain".to_vec(), Ok("plain")).await;
        check(Some("identity"), b"plain".to_vec(), Ok("plain")).await;
        check(Some("gzip"), gzip(b"text"), Ok("text")).await;
        check(Some("GZIP"), Vec::new(), Ok("")).await;
        check(Some("gzip"), b"plain".to_vec(), Err("Damaged")).await;
        check(Some("gzip"), gzip(b"text")[..12].to_vec(), Err("Damaged")).await;
        check(Some("zstd"), gzip(b"text"), Err("Damaged")).await;
        check(Some("br"), b"plain".to_vec(), Err("UnknownEncoding")).await;
        check(None, vec![0; 65], Err("TooLarge")).await;
        check(Some("gzip"), gzip(&[0; 65]), Err("TooLarge")).await;
    }
}
