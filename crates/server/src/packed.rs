//! Bodies of answers that leave in parts, compressed as their client accepts it.
//!
//! ```text
//! Accept-Encoding ─▶ wanted ─▶ Packer: part ─▶ bytes that can be read to the end of the part ─▶ … ─▶ last part ─▶ the end
//! ```
//!
//! Each part is flushed, so that a client reads its rows as soon as they are sent. A body without its last part has no end in its
//! encoding either: who decompresses it is told so. A packer holds some 1 MiB, whatever passes through it.

use std::io::{self, Write};

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use flamestore_model::{Error, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::raw::CParameter;
use zstd::stream::write::Encoder as ZstdEncoder;

const GZIP_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 1;
/// How far back matches are looked for: 512 KiB.
const ZSTD_WINDOW_LOG: u32 = 19;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    /// What `Content-Encoding` calls it.
    pub(crate) fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// What `Accept-Encoding` of a request says of each coding, up to 1; 0 where it says nothing of it.
struct Weights {
    gzip: f32,
    zstd: f32,
    identity: f32,
}

impl Weights {
    fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let (mut gzip, mut zstd, mut any, mut identity) = (None, None, None, None);
        for coding in values.flat_map(|value| value.split(',')) {
            let mut parts = coding.split(';').map(str::trim);
            let place = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => &mut gzip,
                "zstd" => &mut zstd,
                "*" => &mut any,
                "identity" => &mut identity,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let weight = weight.map_or(Ok(1.0), str::parse::<f32>);
            *place = Some(weight.ok().filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0));
        }
        let weight = |of: Option<f32>| of.or(any).unwrap_or(0.0);
        Self { gzip: weight(gzip), zstd: weight(zstd), identity: identity.unwrap_or(0.0) }
    }
}

/// The encoding that `Accept-Encoding` of a request prefers: the one with the largest weight, zstd where they weigh the same.
/// None where it names neither, or would rather have none.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<Encoding> {
    let Weights { gzip, zstd, identity } = Weights::of(headers);
    let best = if zstd >= gzip { (zstd, Encoding::Zstd) } else { (gzip, Encoding::Gzip) };
    (best.0 > 0.0 && best.0 >= identity).then_some(best.1)
}

/// Whether an answer to a request with these headers may be gzip.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    Weights::of(headers).gzip > 0.0
}

/// Compresses the parts of one body.
pub(crate) struct Packer(Writer);

enum Writer {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

impl Packer {
    /// A packer of nothing yet.
    ///
    /// # Errors
    /// `Internal` when the library makes none.
    pub(crate) fn new(encoding: Encoding) -> Result<Self> {
        Ok(Self(match encoding {
            Encoding::Gzip => Writer::Gzip(GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL))),
            Encoding::Zstd => {
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL).map_err(failed)?;
                encoder.set_parameter(CParameter::WindowLog(ZSTD_WINDOW_LOG)).map_err(failed)?;
                Writer::Zstd(encoder)
            }
        }))
    }

    /// `part` compressed; a client can read all of it.
    ///
    /// # Errors
    /// `Internal` when the library fails.
    pub(crate) fn pack(&mut self, part: &[u8]) -> Result<Bytes> {
        let packed = match &mut self.0 {
            Writer::Gzip(encoder) => flushed(encoder, part).map(|()| std::mem::take(encoder.get_mut())),
            Writer::Zstd(encoder) => flushed(encoder, part).map(|()| std::mem::take(encoder.get_mut())),
        };
        packed.map(Bytes::from).map_err(failed)
    }

    /// The last `part` compressed, and the end of the body.
    ///
    /// # Errors
    /// As [`Self::pack`].
    pub(crate) fn finish(self, part: &[u8]) -> Result<Bytes> {
        let packed = match self.0 {
            Writer::Gzip(mut encoder) => encoder.write_all(part).and_then(|()| encoder.finish()),
            Writer::Zstd(mut encoder) => encoder.write_all(part).and_then(|()| encoder.finish()),
        };
        packed.map(Bytes::from).map_err(failed)
    }
}

fn flushed(encoder: &mut impl Write, part: &[u8]) -> io::Result<()> {
    encoder.write_all(part)?;
    encoder.flush()
}

fn failed(error: io::Error) -> Error {
    Error::internal("an answer cannot be compressed").because(error)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_client_says_how() {
        let check = |accepted: &'static str, expected: Option<Encoding>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
            assert_eq!(wanted(&headers), expected, "{accepted}");
        };
        assert_eq!(wanted(&HeaderMap::new()), None);
        check("", None);
        check("gzip", Some(Encoding::Gzip));
        check("gzip, deflate, br, zstd", Some(Encoding::Zstd));
        check("GZIP;q=1.0, zstd;q=0.5", Some(Encoding::Gzip));
        check("gzip;q=0, zstd;q=0", None);
        check("gzip; q=0.5, identity", None);
        check("identity;q=0.1, gzip;q=0.5", Some(Encoding::Gzip));
        check("*", Some(Encoding::Zstd));
        check("zstd;q=0, *;q=0.1", Some(Encoding::Gzip));
        check("br, deflate", None);
        check("gzip;q=much", None);
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let check = |accepted: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted))]);
            assert_eq!(accepts_gzip(&headers), expected, "{accepted}");
        };
        check("gzip", true);
        check("br, gzip;q=0.5", true);
        check("gzip;q=0, br", false);
        check("gzip; Q=0", false);
        check("X-GZIP", true);
        check("*", true);
        check("*, gzip;q=0", false);
        check("br", false);
        check("", false);
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    /// What can be read of `packed`.
    fn unpacked(encoding: Encoding, packed: &[u8]) -> (Vec<u8>, bool) {
        let mut read = Vec::new();
        let ended = match encoding {
            Encoding::Gzip => flate2::read::GzDecoder::new(packed).read_to_end(&mut read),
            Encoding::Zstd => zstd::stream::read::Decoder::new(packed).unwrap().read_to_end(&mut read),
        };
        (read, ended.is_ok())
    }

    #[test]
    fn parts_are_read_as_they_come_and_the_end_is_told() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let mut packer = Packer::new(encoding).unwrap();
            let (mut sent, mut packed) = (Vec::new(), Vec::new());
            for part in 0..20 {
                let part = format!("row {part} of many ").repeat(500);
                sent.extend_from_slice(part.as_bytes());
                packed.extend_from_slice(&packer.pack(part.as_bytes()).unwrap());
                assert_eq!(unpacked(encoding, &packed), (sent.clone(), false), "{encoding:?}");
            }
            packed.extend_from_slice(&packer.finish(b"last").unwrap());
            sent.extend_from_slice(b"last");
            assert!(packed.len() * 10 < sent.len(), "{encoding:?}: {} of {}", packed.len(), sent.len());
            assert_eq!(unpacked(encoding, &packed), (sent, true), "{encoding:?}");
        }
    }
}
