//! Reads a stream of Arrow's IPC format, one record batch after another.
//!
//! ```text
//! message = ffffffff, length, flatbuffer, body      schema, then dictionaries and batches in any order
//! ```
//!
//! The Arrow library trusts what messages claim: it would slice out of bounds, decompress without an end, or copy a dictionary
//! for each of a thousand additions to it. So every length is looked at here before the library sees the message; compressed
//! bodies are decompressed here and handed on plain. Views of text become views of bytes ([`views`]): the library would look for
//! UTF-8 in each of a million views of the same megabyte. What it still finds wrong it says, or panics, which is caught.
//!
//! Bounds: a body plain or after decompression counts towards `decompressed_bytes_max` of the whole stream; at most
//! [`MESSAGES_MAX`] messages; dictionaries are copied or checked again for at most [`AGAIN_MAX`] times that many bytes.

mod views;

use std::collections::HashMap;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::{RecordBatchDecoder, read_dictionary};
use arrow_ipc::{CompressionType, DictionaryBatch, Message, MessageHeader, MetadataVersion};
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use flamestore_model::{Error, Result};
use flatbuffers::{FlatBufferBuilder, VerifierOptions, WIPOffset};

use super::lz4;
use crate::Limits;
use crate::limits::{over, within};

/// The most messages of one stream.
const MESSAGES_MAX: usize = 2048;
/// How often all bytes of the limit may be gone through again.
const AGAIN_MAX: usize = 16;
/// The most buffers of one message.
const BUFFERS_MAX: usize = 16 << 10;
/// LZ4 makes at most 255 bytes of one.
const LZ4_RATIO_MAX: u64 = 256;
/// Buffers of a body start at multiples of this many bytes, as the library likes them.
const ALIGNMENT: usize = 64;

/// The record batches of `stream`, a whole one of Arrow's IPC format from outside; views of text are views of bytes.
///
/// # Errors
/// `Invalid` when it is none, `Exhausted` over a limit.
pub fn decode_records(stream: Bytes, limits: &Limits) -> Result<Vec<RecordBatch>> {
    let mut reader = IpcReader::new(stream, limits);
    std::iter::from_fn(|| reader.next().transpose()).collect()
}

/// A stream that is read from its start to its end.
pub(super) struct IpcReader<'a> {
    bytes: Bytes,
    at: usize,
    limits: &'a Limits,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
    messages: usize,
    body_bytes: usize,
    dictionary_bytes: usize,
    again_bytes: usize,
}

/// The part of a message that describes its body, checked.
struct Body<'a> {
    batch: arrow_ipc::RecordBatch<'a>,
    bytes: Buffer,
}

impl<'a> IpcReader<'a> {
    /// The stream in `bytes`.
    pub(super) fn new(bytes: Bytes, limits: &'a Limits) -> Self {
        Self {
            bytes,
            at: 0,
            limits,
            schema: None,
            dictionaries: HashMap::new(),
            messages: 0,
            body_bytes: 0,
            dictionary_bytes: 0,
            again_bytes: 0,
        }
    }

    /// The next record batch; none at the end.
    ///
    /// # Errors
    /// `Invalid` when the stream is not what it should be, `Exhausted` over a limit.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>> {
        let next = self.next_message();
        let place = || format!("Arrow message {}", self.messages - 1);
        next.map_err(|error| Error::new(error.kind(), place()).because(error))
    }

    fn next_message(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            self.messages += 1;
            let Some(metadata) = self.metadata()? else { break };
            within("messages of an Arrow stream", MESSAGES_MAX, self.messages)?;
            let message = self.verified(&metadata)?;
            let body = self.take(message.bodyLength(), "body")?;
            match message.header_type() {
                MessageHeader::Schema => self.schema(&message)?,
                MessageHeader::DictionaryBatch => self.dictionary(&message, body)?,
                MessageHeader::RecordBatch => return self.batch(&message, body).map(Some),
                other => return Err(Error::invalid("it is of an unknown kind").with("kind", format!("{other:?}"))),
            }
        }
        match self.schema {
            Some(_) => Ok(None),
            None => Err(Error::invalid("the stream ends without a schema").with("bytes", self.bytes.len())),
        }
    }

    /// The flatbuffer of the next message, where the library can read it in place.
    fn metadata(&mut self) -> Result<Option<Buffer>> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let mut length = self.length()?;
        if length == u32::MAX {
            length = self.length()?;
        }
        if length == 0 {
            return Ok(None);
        }
        let metadata = self.take(i64::from(length), "description")?;
        Ok(Some(Buffer::from(metadata.as_ref())))
    }

    fn length(&mut self) -> Result<u32> {
        let bytes = self.take(4, "length")?;
        let bytes = <[u8; 4]>::try_from(bytes.as_ref());
        bytes.map(u32::from_le_bytes).map_err(|_| Error::internal("four bytes are four bytes"))
    }

    fn take(&mut self, length: i64, what: &str) -> Result<Bytes> {
        let left = self.bytes.len() - self.at;
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= left) else {
            return Err(Error::invalid(format!("its {what} is longer than the stream"))
                .with("bytes", length)
                .with("left", left));
        };
        let taken = self.bytes.slice(self.at..self.at + length);
        self.at += length;
        Ok(taken)
    }

    /// The message in `metadata`. Only a schema is large; what its tables share is counted as often as it is used.
    fn verified<'b>(&self, metadata: &'b Buffer) -> Result<Message<'b>> {
        let max_tables = if self.schema.is_none() { 16 << 10 } else { 64 };
        let options = VerifierOptions { max_depth: 64, max_tables, max_apparent_size: 64 << 20, ..Default::default() };
        let message = arrow_ipc::root_as_message_with_opts(&options, metadata);
        message.map_err(|wrong| Error::invalid("it is damaged").because(first_line(&wrong)))
    }

    fn schema(&mut self, message: &Message<'_>) -> Result<()> {
        if self.schema.is_some() {
            return Err(Error::invalid("it is a second schema"));
        }
        let schema = message.header_as_schema().ok_or_else(|| Error::invalid("it has no schema"))?;
        let schema = guard(|| Ok(arrow_ipc::convert::fb_to_schema(schema)))?;
        self.schema = Some(Arc::new(views::of_bytes(&schema)));
        Ok(())
    }

    fn known_schema(&self) -> Result<SchemaRef> {
        self.schema.clone().ok_or_else(|| Error::invalid("it comes before the schema"))
    }

    fn dictionary(&mut self, message: &Message<'_>, body: Bytes) -> Result<()> {
        let schema = self.known_schema()?;
        let dictionary = message.header_as_dictionary_batch();
        let missing = || Error::invalid("it has no dictionary");
        let dictionary = dictionary.ok_or_else(missing)?;
        let batch = dictionary.data().ok_or_else(missing)?;
        if dictionary.isDelta() {
            self.again()?;
        }
        let mut builder = FlatBufferBuilder::new();
        let body_bytes = self.body_bytes;
        let body = self.plain(batch, body, &mut builder, Some((dictionary.id(), dictionary.isDelta())))?;
        self.dictionary_bytes += self.body_bytes - body_bytes;
        let version = message.version();
        let dictionaries = &mut self.dictionaries;
        match body {
            Plain::AsSent(Body { bytes, .. }) => {
                guard(|| read_dictionary(&bytes, dictionary, &schema, dictionaries, &version))
            }
            Plain::Made(bytes) => {
                let made = Buffer::from(builder.finished_data());
                let dictionary = root::<DictionaryBatch<'_>>(&made)?;
                guard(|| read_dictionary(&bytes, dictionary, &schema, dictionaries, &version))
            }
        }
    }

    fn batch(&mut self, message: &Message<'_>, body: Bytes) -> Result<RecordBatch> {
        let schema = self.known_schema()?;
        let batch = message.header_as_record_batch().ok_or_else(|| Error::invalid("it has no batch"))?;
        self.again()?;
        let mut builder = FlatBufferBuilder::new();
        let version = message.version();
        match self.plain(batch, body, &mut builder, None)? {
            Plain::AsSent(body) => self.decode(body, schema, version),
            Plain::Made(bytes) => {
                let made = Buffer::from(builder.finished_data());
                let batch = root::<arrow_ipc::RecordBatch<'_>>(&made)?;
                self.decode(Body { batch, bytes }, schema, version)
            }
        }
    }

    fn decode(&self, body: Body<'_>, schema: SchemaRef, version: MetadataVersion) -> Result<RecordBatch> {
        let Body { batch, bytes } = body;
        guard(|| RecordBatchDecoder::try_new(&bytes, batch, schema, &self.dictionaries, &version)?.read_record_batch())
    }

    /// Counts that the library goes through all dictionaries so far.
    fn again(&mut self) -> Result<()> {
        self.again_bytes = self.again_bytes.saturating_add(self.dictionary_bytes);
        let max = self.limits.decompressed_bytes_max.saturating_mul(AGAIN_MAX);
        within("bytes of Arrow dictionaries in all batches", max, self.again_bytes)
    }

    /// The body without compression, and its description in `builder` where it had to be made: that of a dictionary with this id
    /// and of whether it is an addition, or of a batch.
    fn plain<'b>(
        &mut self,
        batch: arrow_ipc::RecordBatch<'b>,
        body: Bytes,
        builder: &mut FlatBufferBuilder<'_>,
        dictionary: Option<(i64, bool)>,
    ) -> Result<Plain<'b>> {
        check(&batch, body.len())?;
        let Some(compression) = batch.compression() else {
            self.spend(body.len())?;
            return Ok(Plain::AsSent(Body { batch, bytes: Buffer::from(body) }));
        };
        let mut bytes = Vec::new();
        let mut buffers = Vec::new();
        for buffer in batch.buffers().into_iter().flatten() {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            let start = bytes.len();
            let sent = slice(&body, buffer)?;
            self.decompress(compression.codec(), sent, &mut bytes)?;
            buffers.push(arrow_ipc::Buffer::new(signed(start), signed(bytes.len() - start)));
        }
        let made = describe(builder, &batch, &buffers);
        match dictionary {
            None => builder.finish_minimal(made),
            Some((id, is_delta)) => {
                let args = arrow_ipc::DictionaryBatchArgs { id, data: Some(made), isDelta: is_delta };
                let made = DictionaryBatch::create(builder, &args);
                builder.finish_minimal(made);
            }
        }
        Ok(Plain::Made(Buffer::from_vec(bytes)))
    }

    fn decompress(&mut self, codec: CompressionType, sent: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if sent.is_empty() {
            return Ok(());
        }
        let Some((length, sent)) = sent.split_first_chunk::<8>() else {
            return Err(Error::invalid("a compressed buffer has no length").with("bytes", sent.len()));
        };
        let claimed = match i64::from_le_bytes(*length) {
            // it did not become shorter, so it is as it was
            -1 => {
                self.spend(sent.len())?;
                out.extend_from_slice(sent);
                return Ok(());
            }
            claimed => claimed,
        };
        let wrong_length = || Error::invalid("a compressed buffer is not as long as it claims").with("bytes", claimed);
        let claimed = u64::try_from(claimed).map_err(|_| wrong_length())?;
        self.spend(usize::try_from(claimed).unwrap_or(usize::MAX))?;
        let start = out.len();
        let read = match codec {
            CompressionType::LZ4_FRAME => {
                if claimed > LZ4_RATIO_MAX * sent.len() as u64 {
                    return Err(wrong_length());
                }
                lz4::decompress(sent, usize::try_from(claimed).unwrap_or(usize::MAX), out)
            }
            CompressionType::ZSTD => unzstd(sent, claimed, out),
            other => return Err(Error::invalid("the compression is unknown").with("codec", format!("{other:?}"))),
        };
        read.map_err(|wrong| Error::invalid("a compressed buffer is damaged").because(wrong))?;
        if (out.len() - start) as u64 != claimed { Err(wrong_length()) } else { Ok(()) }
    }

    /// Counts bytes of bodies.
    fn spend(&mut self, bytes: usize) -> Result<()> {
        let max = self.limits.decompressed_bytes();
        self.body_bytes = self.body_bytes.saturating_add(bytes);
        if self.body_bytes > max { Err(over("decompressed_bytes_max", max, self.body_bytes)) } else { Ok(()) }
    }
}

/// A body without compression.
enum Plain<'a> {
    /// It had none.
    AsSent(Body<'a>),
    /// Its description was made anew.
    Made(Buffer),
}

/// `Ok` when everything the message claims of its body lies within it.
fn check(batch: &arrow_ipc::RecordBatch<'_>, body_bytes: usize) -> Result<()> {
    if batch.length() < 0 {
        return Err(Error::invalid("its number of rows is negative").with("rows", batch.length()));
    }
    for node in batch.nodes().into_iter().flatten() {
        if node.length() < 0 || !(0..=node.length()).contains(&node.null_count()) {
            return Err(Error::invalid("a column's number of rows or of nulls makes no sense")
                .with("rows", node.length())
                .with("nulls", node.null_count()));
        }
    }
    let buffers = batch.buffers().map_or(0, |buffers| buffers.len());
    within("buffers of an Arrow message", BUFFERS_MAX, buffers)?;
    for buffer in batch.buffers().into_iter().flatten() {
        range(buffer, body_bytes)?;
    }
    for count in batch.variadicBufferCounts().into_iter().flatten() {
        if usize::try_from(count).map_or(true, |count| count > buffers) {
            return Err(Error::invalid("a column has more buffers than there are").with("buffers", count));
        }
    }
    Ok(())
}

fn range(buffer: &arrow_ipc::Buffer, body_bytes: usize) -> Result<std::ops::Range<usize>> {
    let start = usize::try_from(buffer.offset()).ok();
    let end = start.zip(usize::try_from(buffer.length()).ok()).and_then(|(start, length)| start.checked_add(length));
    match start.zip(end).filter(|(_, end)| *end <= body_bytes) {
        Some((start, end)) => Ok(start..end),
        None => Err(Error::invalid("a buffer lies outside of the body")
            .with("offset", buffer.offset())
            .with("bytes", buffer.length())
            .with("body_bytes", body_bytes)),
    }
}

fn slice<'a>(body: &'a Bytes, buffer: &arrow_ipc::Buffer) -> Result<&'a [u8]> {
    Ok(&body[range(buffer, body.len())?])
}

/// The description of `batch`, but for where its buffers lie and that they are compressed.
fn describe<'b>(
    builder: &mut FlatBufferBuilder<'b>,
    batch: &arrow_ipc::RecordBatch<'_>,
    buffers: &[arrow_ipc::Buffer],
) -> WIPOffset<arrow_ipc::RecordBatch<'b>> {
    let nodes: Vec<arrow_ipc::FieldNode> = batch.nodes().into_iter().flatten().copied().collect();
    let counts: Option<Vec<i64>> = batch.variadicBufferCounts().map(|counts| counts.iter().collect());
    let args = arrow_ipc::RecordBatchArgs {
        length: batch.length(),
        nodes: Some(builder.create_vector(&nodes)),
        buffers: Some(builder.create_vector(buffers)),
        compression: None,
        variadicBufferCounts: counts.map(|counts| builder.create_vector(&counts)),
    };
    arrow_ipc::RecordBatch::create(builder, &args)
}

fn root<'b, T: flatbuffers::Follow<'b, Inner = T> + flatbuffers::Verifiable + 'b>(made: &'b [u8]) -> Result<T> {
    let read = flatbuffers::root::<T>(made);
    read.map_err(|wrong| Error::internal("a description that was made cannot be read").because(first_line(&wrong)))
}

/// What is wrong, without the trace of tables that led to it.
fn first_line(wrong: &flatbuffers::InvalidFlatbuffer) -> String {
    wrong.to_string().lines().next().unwrap_or_default().to_owned()
}

fn unzstd(sent: &[u8], claimed: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(sent)?;
    reader.window_log_max(27)?;
    reader.take(claimed + 1).read_to_end(out).map(drop)
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Runs code of the Arrow library on untrusted bytes.
fn guard<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(wrong)) => Err(Error::invalid("it cannot be decoded").because(wrong)),
        Err(_) => Err(Error::invalid("it cannot be decoded").because("the decoder gave up")),
    }
}
