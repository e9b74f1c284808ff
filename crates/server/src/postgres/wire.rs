//! Messages of the protocol, version 3.0: read within bounds, written into a buffer.
//!
//! ```text
//! start-up    │ length 4 │ code 4 │ …            before anything else, at most 10,000 bytes
//! afterwards  │ tag 1 │ length 4 │ …             the length counts itself
//! ```
//!
//! A length is compared with its limit before anything is made room for, and memory grows with what has arrived, not with
//! what was announced.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::failure::{BAD_MESSAGE, Failure, TOO_LONG, WARNING};
use super::startup::Stream;

/// Bytes of the first message; more are sent by nobody.
const STARTUP_BYTES_MAX: usize = 10_000;
const READ_BYTES: usize = 8 << 10;
/// So much is read of what a client sends while its statement runs; then it waits.
const READ_AHEAD_BYTES_MAX: usize = 1 << 20;

/// Why there is no message.
#[derive(Debug)]
pub(super) enum NoMessage {
    /// The connection is closed, or broken.
    Gone,
    /// What came is none.
    Wrong(Failure),
}

impl From<io::Error> for NoMessage {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// A message with its tag.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Body,
}

/// Reads messages.
#[derive(Debug)]
pub(super) struct Reader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The stream, unless something is read of it and not taken yet.
    pub(super) fn into_stream(self) -> Option<R> {
        self.buffer.is_empty().then_some(self.stream)
    }

    pub(super) fn stream_mut(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The same over a stream of any kind.
    pub(super) fn boxed(self) -> Reader<Box<dyn Stream>>
    where
        R: Stream + 'static,
    {
        Reader { stream: Box::new(self.stream), buffer: self.buffer }
    }

    /// What reads the stream, and what writes to it.
    pub(super) fn split(self) -> (Reader<ReadHalf<R>>, Writer<WriteHalf<R>>)
    where
        R: AsyncWrite,
    {
        let (read, write) = tokio::io::split(self.stream);
        (Reader { stream: read, buffer: self.buffer }, Writer::new(write))
    }

    /// The first message.
    pub(super) async fn startup(&mut self) -> Result<Body, NoMessage> {
        self.next(0, STARTUP_BYTES_MAX).await.map(|message| message.body)
    }

    /// The next message, which has `bytes_max` at most. Nothing is lost when the future is dropped.
    pub(super) async fn message(&mut self, bytes_max: usize) -> Result<Message, NoMessage> {
        self.next(1, bytes_max).await
    }

    async fn next(&mut self, tag_bytes: usize, bytes_max: usize) -> Result<Message, NoMessage> {
        loop {
            if let Some(message) = self.take(tag_bytes, bytes_max)? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    fn take(&mut self, tag_bytes: usize, bytes_max: usize) -> Result<Option<Message>, NoMessage> {
        let Some(length) = self.buffer.get(tag_bytes..tag_bytes + 4) else { return Ok(None) };
        let length = length.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
        if length < 4 {
            return Err(NoMessage::Wrong(Failure::fatal(BAD_MESSAGE, format!("invalid message length {length}"))));
        }
        if length > bytes_max {
            let said = format!("a message has {length} bytes, and at most {bytes_max} are taken");
            return Err(NoMessage::Wrong(Failure::fatal(TOO_LONG, said)));
        }
        if self.buffer.len() < tag_bytes + length {
            return Ok(None);
        }
        let tag = self.buffer.first().copied().filter(|_| tag_bytes > 0).unwrap_or_default();
        let mut whole = self.buffer.split_to(tag_bytes + length);
        whole.advance(tag_bytes + 4);
        Ok(Some(Message { tag, body: Body(whole.freeze()) }))
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Completes when the client is gone. What it sends is kept.
    pub(super) async fn gone(&mut self) {
        loop {
            if self.buffer.len() >= READ_AHEAD_BYTES_MAX {
                std::future::pending::<()>().await;
            }
            if self.fill().await.is_err() {
                return;
            }
        }
    }
}

/// What a message says.
#[derive(Clone, Debug)]
pub(super) struct Body(Bytes);

impl Body {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u8(&mut self) -> Result<u8, Failure> {
        self.0.try_get_u8().map_err(short)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Failure> {
        self.0.try_get_i16().map_err(short)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Failure> {
        self.0.try_get_i32().map_err(short)
    }

    /// How many things follow: two bytes, without a sign.
    pub(super) fn count(&mut self) -> Result<usize, Failure> {
        self.0.try_get_u16().map(usize::from).map_err(short)
    }

    /// Text up to a zero.
    pub(super) fn text(&mut self) -> Result<String, Failure> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| Failure::fatal(BAD_MESSAGE, "a text in a message has no end"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        let wrong = |_| Failure::new("22021", "a text in a message is not UTF-8");
        std::str::from_utf8(&text).map(str::to_owned).map_err(wrong)
    }

    /// A value with its length before it; none where that is -1.
    pub(super) fn value(&mut self) -> Result<Option<Bytes>, Failure> {
        let length = self.i32()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= self.0.len());
        let length = length.ok_or_else(|| Failure::fatal(BAD_MESSAGE, "a value in a message is longer than it"))?;
        Ok(Some(self.0.split_to(length)))
    }
}

fn short(_: bytes::TryGetError) -> Failure {
    Failure::fatal(BAD_MESSAGE, "a message is shorter than it must be")
}

/// Writes messages; nothing leaves before [`Writer::flush`].
#[derive(Debug)]
pub(super) struct Writer<W> {
    stream: W,
    pub(super) buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(stream: W) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    pub(super) fn message(&mut self, tag: u8, write: impl FnOnce(&mut BytesMut)) {
        message(&mut self.buffer, tag, write);
    }

    /// A message that says nothing but its tag.
    pub(super) fn mark(&mut self, tag: u8) {
        self.message(tag, |_| {});
    }

    /// An error; where it is, as its position among the characters of the text that was sent.
    pub(super) fn failure(&mut self, failure: &Failure, position: Option<usize>) {
        let severity = if failure.is_fatal { "FATAL" } else { "ERROR" };
        self.message(b'E', |out| {
            fields(out, severity, failure.code, &failure.message);
            if let Some(position) = position {
                out.put_u8(b'P');
                text(out, &position.to_string());
            }
            out.put_u8(0);
        });
    }

    /// A warning, beside what is answered.
    pub(super) fn warning(&mut self, said: &str) {
        self.message(b'N', |out| {
            fields(out, "WARNING", WARNING, said);
            out.put_u8(0);
        });
    }

    /// Hands over what was written.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all_buf(&mut self.buffer).await?;
        self.stream.flush().await
    }

    /// Ends the connection.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        self.stream.shutdown().await
    }
}

/// What errors and warnings have.
fn fields(out: &mut BytesMut, severity: &str, code: &str, said: &str) {
    for (field, value) in [(b'S', severity), (b'V', severity), (b'C', code), (b'M', said)] {
        out.put_u8(field);
        text(out, value);
    }
}

/// Adds a message to `out`.
pub(super) fn message(out: &mut BytesMut, tag: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    write(out);
    put_length(out, start, out.len() - start);
}

/// Writes `length` at `start`, where four bytes were left for it.
pub(super) fn put_length(out: &mut BytesMut, start: usize, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Text with the zero that ends it; zeros in it are left out.
pub(super) fn text(out: &mut BytesMut, text: &str) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn first(bytes: &[u8], bytes_max: usize) -> Result<(u8, usize), &'static str> {
        match Reader::new(bytes).message(bytes_max).await {
            Ok(message) => Ok((message.tag, message.body.0.len())),
            Err(NoMessage::Gone) => Err("gone"),
            Err(NoMessage::Wrong(failure)) => Err(failure.code),
        }
    }

    #[tokio::test]
    async fn messages_are_read_within_bounds() {
        assert_eq!(first(b"Q\0\0\0\x08abc\0rest", 100).await, Ok((b'Q', 4)));
        assert_eq!(first(b"S\0\0\0\x04", 100).await, Ok((b'S', 0)));
        assert_eq!(first(b"Q\0\0\0\x08ab", 100).await, Err("gone"));
        assert_eq!(first(b"Q\0\0\0\x03", 100).await, Err(BAD_MESSAGE));
        assert_eq!(first(b"Q\x7f\xff\xff\xff", 100).await, Err(TOO_LONG));
        assert_eq!(first(b"Q\xff\xff\xff\xff", 100).await, Err(TOO_LONG));
    }

    #[test]
    fn what_a_message_lacks_is_told() {
        let mut body = Body(Bytes::from_static(b"ab\0\0\0\0\x02xy\xff\xff\xff\xff\0\0\0\x09z"));
        assert_eq!(body.text().unwrap(), "ab");
        assert_eq!(body.value().unwrap().unwrap(), "xy");
        assert_eq!(body.value().unwrap(), None);
        assert_eq!(body.value().unwrap_err().code, BAD_MESSAGE);
        assert!(body.text().is_err());
    }
}
