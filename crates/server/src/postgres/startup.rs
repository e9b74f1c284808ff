//! The start of a connection: TLS, who the client is, whose rows it reads; or a request to cancel.
//!
//! Nobody is asked for a password, as at the other doors: who may connect is a matter of the network and, with TLS, of the
//! certificates that clients must show. Where the server has a certificate, only TLS is spoken.

use bytes::BufMut;
use flamestore_model::Tenant;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::failure::{BAD_MESSAGE, Failure, NO_DATABASE, NOT_ALLOWED, NOT_SUPPORTED, TOO_MANY_CONNECTIONS};
use super::statement::{Settings, TOLD};
use super::wire::{Body, NoMessage, Reader, Writer, text};
use super::{Door, Key};
use crate::tls::Tls;

const CANCEL: i32 = 80_877_102;
const TLS: i32 = 80_877_103;
const GSS: i32 = 80_877_104;
const MAJOR: i32 = 3;
/// The first byte of a client that speaks TLS without having asked.
const TLS_HANDSHAKE: u8 = 22;
/// What clients call the protocol when TLS is agreed on.
const ALPN: &[u8] = b"postgresql";
/// Questions about encryption before the first message that says who the client is.
const QUESTIONS_MAX: usize = 4;
/// Databases that every client names unless told otherwise.
const DEFAULTS: [&str; 2] = ["flamestore", "postgres"];

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Who a client is, and whose rows it reads.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) tenant: Tenant,
    pub(super) user: String,
    pub(super) settings: Settings,
}

/// A connection that may ask.
pub(super) struct Started<'a> {
    pub(super) reader: Reader<Box<dyn Stream>>,
    pub(super) client: Client,
    pub(super) key: Key<'a>,
}

/// Goes through the start of a connection. Nothing is left of one that was refused, or asked to cancel.
pub(super) async fn start(stream: TcpStream, door: &Door, has_place: bool) -> Option<Started<'_>> {
    let Opened { mut reader, code, mut body } = open(stream, door).await?;
    if code == CANCEL {
        door.keys.cancel(body.i32().ok()?, body.i32().ok()?);
        return None;
    }
    let accepted = match has_place {
        true => accept(code, &mut body, door),
        false => Err(Failure::fatal(TOO_MANY_CONNECTIONS, "sorry, too many clients already")),
    };
    match accepted {
        Ok(Accepted { client, key, unknown }) => {
            let mut writer = Writer::new(reader.stream_mut());
            greet(&mut writer, &key, code & 0xffff, &unknown);
            writer.flush().await.ok()?;
            Some(Started { reader, client, key })
        }
        Err(failure) => {
            refuse(&mut reader, &failure).await;
            None
        }
    }
}

async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(reader: &mut Reader<S>, failure: &Failure) {
    let mut writer = Writer::new(reader.stream_mut());
    writer.failure(failure, None);
    // nobody is left to tell when the client is gone
    let _ = writer.close().await;
}

/// A connection as it was agreed on, with the first message of its own.
struct Opened {
    reader: Reader<Box<dyn Stream>>,
    code: i32,
    body: Body,
}

async fn open(stream: TcpStream, door: &Door) -> Option<Opened> {
    let mut first = [0];
    stream.peek(&mut first).await.ok()?;
    match &door.tls {
        Some(tls) if first == [TLS_HANDSHAKE] => return open_encrypted(stream, tls).await,
        _ => {}
    }
    let mut reader = Reader::new(stream);
    for _ in 0..QUESTIONS_MAX {
        let mut body = first_message(&mut reader).await?;
        match (body.i32().ok()?, &door.tls) {
            (TLS, Some(tls)) => {
                reader.stream_mut().write_all(b"S").await.ok()?;
                // what was sent before TLS was agreed on is nobody's word
                return open_encrypted(reader.into_stream()?, tls).await;
            }
            (TLS | GSS, _) => reader.stream_mut().write_all(b"N").await.ok()?,
            (code, Some(_)) if code != CANCEL => {
                refuse(&mut reader, &Failure::fatal(NOT_ALLOWED, "this server speaks TLS only")).await;
                return None;
            }
            (code, _) => return Some(Opened { reader: reader.boxed(), code, body }),
        }
    }
    None
}

async fn open_encrypted(stream: TcpStream, tls: &Tls) -> Option<Opened> {
    let mut reader = Reader::new(tls.accept_as(stream, ALPN).await?);
    let mut body = first_message(&mut reader).await?;
    let code = body.i32().ok()?;
    Some(Opened { reader: reader.boxed(), code, body })
}

async fn first_message<S: AsyncRead + AsyncWrite + Unpin>(reader: &mut Reader<S>) -> Option<Body> {
    match reader.startup().await {
        Ok(body) => Some(body),
        Err(NoMessage::Gone) => None,
        Err(NoMessage::Wrong(failure)) => {
            refuse(reader, &failure).await;
            None
        }
    }
}

struct Accepted<'a> {
    client: Client,
    key: Key<'a>,
    /// Options of the protocol that are not known.
    unknown: Vec<String>,
}

/// Reads who a client is.
fn accept<'a>(version: i32, body: &mut Body, door: &'a Door) -> Result<Accepted<'a>, Failure> {
    if version >> 16 != MAJOR {
        return Err(Failure::fatal(
            NOT_SUPPORTED,
            format!("unsupported frontend protocol {}.{}", version >> 16, version & 0xffff),
        ));
    }
    let (mut user, mut database, mut unknown, mut settings) = (None, None, Vec::new(), Settings::new());
    let fatal = |failure| Failure { is_fatal: true, ..failure };
    loop {
        let name = body.text().map_err(fatal)?;
        if name.is_empty() {
            break;
        }
        let value = body.text().map_err(fatal)?;
        match name.as_str() {
            "user" => user = Some(value),
            "database" => database = Some(value),
            "replication" if !["false", "off", "no", "0"].contains(&value.as_str()) => {
                return Err(Failure::fatal(NOT_SUPPORTED, "replication is not supported"));
            }
            "replication" => {}
            "options" => options(&value).try_for_each(|(name, value)| settings.set(&name, &value)).map_err(fatal)?,
            name if name.starts_with("_pq_.") => unknown.push(name.to_owned()),
            name => settings.set(name, &value).map_err(fatal)?,
        }
    }
    if !body.is_empty() {
        return Err(Failure::fatal(BAD_MESSAGE, "the first message goes on after its end"));
    }
    let user = user.filter(|user| !user.is_empty());
    let user =
        user.ok_or_else(|| Failure::fatal(NOT_ALLOWED, "no PostgreSQL user name specified in startup packet"))?;
    let tenant = match database.as_deref().filter(|name| !name.is_empty()).unwrap_or(&user) {
        name if DEFAULTS.contains(&name) => Tenant::default(),
        name => Tenant::new(name).map_err(|error| Failure::fatal(NO_DATABASE, error.to_string()))?,
    };
    let key = Key::new(&door.keys).map_err(|error| fatal(error.into()))?;
    Ok(Accepted { client: Client { tenant, user, settings }, key, unknown })
}

/// The settings of `-c NAME=VALUE …`, as `PGOPTIONS` holds them.
fn options(text: &str) -> impl Iterator<Item = (String, String)> {
    let pair = |option: &str| {
        let (name, value) = option.trim().split_once('=')?;
        Some((name.trim_start_matches("--").replace('-', "_"), value.to_owned()))
    };
    text.split("-c").filter_map(pair).collect::<Vec<_>>().into_iter()
}

/// Tells a client that it may ask.
fn greet<W: AsyncWrite + Unpin>(writer: &mut Writer<W>, key: &Key<'_>, minor: i32, unknown: &[String]) {
    if minor > 0 || !unknown.is_empty() {
        writer.message(b'v', |out| {
            out.put_i32(MAJOR << 16);
            out.put_u32(u32::try_from(unknown.len()).unwrap_or_default());
            unknown.iter().for_each(|name| text(out, name));
        });
    }
    writer.message(b'R', |out| out.put_i32(0));
    for (name, value) in TOLD {
        writer.message(b'S', |out| {
            text(out, name);
            text(out, value);
        });
    }
    writer.message(b'K', |out| {
        out.put_i32(key.process);
        out.put_i32(key.secret);
    });
    writer.message(b'Z', |out| out.put_u8(b'I'));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_settings() {
        let found: Vec<_> = options("-c statement_timeout=5s -c  search_path=public").collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(found, [pair("statement_timeout", "5s"), pair("search_path", "public")]);
    }
}
