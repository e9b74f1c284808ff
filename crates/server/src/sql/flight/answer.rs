//! Rows as messages of Flight.
//!
//! ```text
//! schema │ rows │ rows │ … │ no rows, and which segments are missing from those before
//! ```
//!
//! What only the end can tell is `app_metadata` of a message of no rows: readers that know nothing of it take it for an empty
//! batch. Some of them (Go's, Rust's) cannot read a message that has nothing but `app_metadata`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::FlightData;
use flamestore_model::{Error, Result};
use flamestore_query::{DamagedSegment, SqlAnswer, SqlReport};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::Status;

use crate::guard::Bounds;
use crate::sql::rows::named;
use crate::sql::{PART_BYTES_MAX, Parts, Piece, Sql, within};

/// Segments that one message names; the text of each is short.
const DAMAGED_AT_ONCE: usize = 64;

/// A message, or the end of an answer.
#[derive(Debug)]
enum Sent {
    Message(FlightData),
    End,
}

impl Piece for Sent {
    fn is_last(&self) -> bool {
        matches!(self, Self::End)
    }
}

/// The messages of an answer. Dropped, they end the statement.
pub(super) struct Answer(Parts<Sent>);

impl Stream for Answer {
    type Item = Result<FlightData, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match ready!(self.0.poll_next_unpin(context)) {
            Some(Ok(Sent::Message(message))) => Some(Ok(message)),
            Some(Err(status)) => Some(Err(status)),
            Some(Ok(Sent::End)) | None => None,
        })
    }
}

/// `table` as an answer.
///
/// # Errors
/// `Internal` when its schema cannot be written.
pub(super) fn table(sql: &Sql, table: RecordBatch, bounds: Bounds) -> Result<Answer> {
    rows(
        sql,
        SqlAnswer { schema: table.schema(), batches: stream::iter([Ok(table)]).boxed(), report: SqlReport::default() },
        bounds,
    )
}

/// The rows of a statement as an answer: encoded in a task that ends with it, at its deadline, or with the server.
///
/// # Errors
/// `Internal` when the schema cannot be written.
pub(super) fn rows(sql: &Sql, answer: SqlAnswer, bounds: Bounds) -> Result<Answer> {
    let SqlAnswer { schema, mut batches, report } = answer;
    let mut encoder = Encoder::new(sql.answer_bytes_max);
    let first = encoder.schema(&schema);
    let compute = sql.compute.clone();
    Ok(Answer(Parts::of(|sender| {
        let messages = sender.clone();
        within(bounds, sender, async move {
            let gone = |_| Error::unavailable("the client is gone");
            messages.send(Ok(Sent::Message(first))).await.map_err(gone)?;
            while let Some(batch) = batches.try_next().await? {
                for piece in encoder.pieces(batch) {
                    let encode = move || {
                        let encoded = encoder.encode(&piece)?;
                        Ok((encoder, encoded))
                    };
                    let encoded;
                    (encoder, encoded) = compute.run(encode).await?;
                    for message in encoded {
                        messages.send(Ok(Sent::Message(message))).await.map_err(gone)?;
                    }
                }
            }
            for damaged in report.report().damaged.chunks(DAMAGED_AT_ONCE) {
                for message in encoder.missing(&schema, damaged)? {
                    messages.send(Ok(Sent::Message(message))).await.map_err(gone)?;
                }
            }
            messages.send(Ok(Sent::End)).await.map_err(gone)
        })
    })))
}

/// Turns batches of one schema into messages that a client takes.
struct Encoder {
    options: IpcWriteOptions,
    dictionaries: DictionaryTracker,
    context: IpcWriteContext,
    part_bytes_max: usize,
    message_bytes_max: usize,
}

impl Encoder {
    fn new(answer_bytes_max: usize) -> Self {
        Self {
            options: IpcWriteOptions::default(),
            dictionaries: DictionaryTracker::new(false),
            context: IpcWriteContext::default(),
            part_bytes_max: PART_BYTES_MAX.min(answer_bytes_max / 2).max(1),
            message_bytes_max: answer_bytes_max,
        }
    }

    fn schema(&mut self, schema: &SchemaRef) -> FlightData {
        let encoded = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            schema,
            &mut self.dictionaries,
            &self.options,
        );
        encoded.into()
    }

    /// `batch` in pieces that are about a part each.
    fn pieces(&self, batch: RecordBatch) -> Vec<RecordBatch> {
        let parts = batch.get_array_memory_size().div_ceil(self.part_bytes_max).max(1);
        slices(&batch, batch.num_rows().div_ceil(parts))
    }

    /// The messages of `batch`: one, unless its rows are larger than those around them.
    ///
    /// # Errors
    /// `Exhausted` when a row is larger than a message may be.
    fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<FlightData>> {
        let encoded =
            IpcDataGenerator::default().encode(batch, &mut self.dictionaries, &self.options, &mut self.context);
        let (dictionaries, rows) =
            encoded.map_err(|error| Error::internal("rows cannot be written as Arrow").because(error))?;
        let message = FlightData::from(rows);
        let bytes = message.encoded_len();
        if bytes > self.part_bytes_max && batch.num_rows() > 1 {
            let halves = slices(batch, batch.num_rows().div_ceil(2));
            let encoded = halves.iter().map(|half| self.encode(half)).collect::<Result<Vec<_>>>()?;
            return Ok(encoded.into_iter().flatten().collect());
        }
        if bytes > self.message_bytes_max {
            let large = Error::exhausted("a row is larger than a message may be; ask for fewer columns");
            return Err(large.with("answer_bytes_max", self.message_bytes_max).with("bytes", bytes));
        }
        Ok(dictionaries.into_iter().map(FlightData::from).chain([message]).collect())
    }

    /// No rows of `schema`, and which segments are missing.
    ///
    /// # Errors
    /// As [`Self::encode`].
    fn missing(&mut self, schema: &SchemaRef, damaged: &[DamagedSegment]) -> Result<Vec<FlightData>> {
        let mut messages = self.encode(&RecordBatch::new_empty(Arc::clone(schema)))?;
        if let Some(last) = messages.last_mut() {
            last.app_metadata = serde_json::json!({ "damaged": named(damaged) }).to_string().into();
        }
        Ok(messages)
    }
}

/// `batch` in slices of `rows` rows; none of one without rows.
fn slices(batch: &RecordBatch, rows: usize) -> Vec<RecordBatch> {
    let slice = |at| batch.slice(at, rows.min(batch.num_rows() - at));
    (0..batch.num_rows()).step_by(rows.max(1)).map(slice).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray};
    use arrow_flight::decode::FlightRecordBatchStream;
    use flamestore_model::ErrorKind;

    use super::*;

    fn texts(lengths: &[usize]) -> RecordBatch {
        let column: ArrayRef =
            Arc::new(StringArray::from_iter_values(lengths.iter().map(|length| "x".repeat(*length))));
        RecordBatch::try_from_iter([("text", column)]).unwrap()
    }

    /// The messages of `batch`, none larger than allowed, and the lengths of the texts in them.
    async fn check(lengths: &[usize], answer_bytes_max: usize, messages: usize) {
        let batch = texts(lengths);
        let mut encoder = Encoder::new(answer_bytes_max);
        let mut sent = vec![encoder.schema(&batch.schema())];
        for piece in encoder.pieces(batch.clone()) {
            sent.extend(encoder.encode(&piece).unwrap());
        }
        assert!(sent.iter().all(|message| message.encoded_len() <= answer_bytes_max));
        assert_eq!(sent.len(), 1 + messages, "{answer_bytes_max}");
        let read = FlightRecordBatchStream::new_from_flight_data(stream::iter(sent.into_iter().map(Ok)));
        let read: Vec<RecordBatch> = read.try_collect().await.unwrap();
        assert_eq!(arrow::compute::concat_batches(&batch.schema(), &read).unwrap(), batch);
    }

    #[tokio::test]
    async fn rows_are_spread_over_messages_by_size() {
        check(&[1, 2, 3], 1 << 20, 1).await;
        check(&[400; 8], 2000, 8).await;
        check(&[4000, 1, 1, 1, 1, 1, 1, 1], 5000, 4).await;
    }

    #[test]
    fn a_row_that_no_message_holds_is_refused() {
        let error = Encoder::new(1000).encode(&texts(&[5000])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert!(error.to_string().contains("answer_bytes_max=1000"), "{error}");
    }
}
