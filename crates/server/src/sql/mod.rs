//! SQL over several doors: a statement in, its rows out in parts, as they are found.
//!
//! ```text
//! QueryService/Sql, /api/v1/sql ─▶ Sql::start: engine plans ─▶ task: batch ─▶ RowWriter ─▶ part ─┐
//! Flight SQL (`flight`) ─▶ engine plans ───────────────────────▶ task: batch ─▶ messages ────────┤
//!                                                                                                │ one waits
//!                             client ◀─ gRPC messages, or the body of an answer ◀─ Parts ◀───────┘
//! ```
//!
//! A statement runs in a task of its own that ends with its [`Parts`], at its deadline, or with the server: a client that
//! stops reading holds one part and, after the deadline, no query. In memory are the engine's batch, its encoded rows and one part that waits. A
//! stream that just stops has not been told whole: parts end with one that says so, or with an error.

mod door;
mod flight;
mod rows;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use bytes::Bytes;
use flamestore_model::{Error, ErrorKind, Result, Tenant};
use flamestore_query::{Engine, QueryReport, SqlAnswer};
use futures::{Stream, TryStreamExt};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tracing::Instrument;

use crate::compute::Compute;
use crate::guard::Bounds;
use crate::status::status_of;

pub(crate) use door::{PATHS, router};
pub(crate) use flight::{Flight, METHODS as FLIGHT_METHODS};
pub(crate) use rows::json_texts;
pub use rows::{RowFormat, RowWriter};

/// The most bytes of a statement.
const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a part, where answers may not be smaller still.
const PART_BYTES_MAX: usize = 1 << 20;

/// Runs statements.
#[derive(Clone, Debug)]
pub(crate) struct Sql {
    pub(crate) engine: Arc<Engine>,
    pub(crate) compute: Compute,
    pub(crate) request_bytes_max: usize,
    pub(crate) answer_bytes_max: usize,
}

/// What to run, and what is wanted of it.
#[derive(Debug)]
pub(crate) struct Statement<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) text: &'a str,
    pub(crate) format: RowFormat,
    /// Rows at most.
    pub(crate) rows_max: Option<u64>,
}

/// A part of an encoded answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    /// Set in the last part only.
    pub(crate) end: Option<End>,
    /// What was read for the rows, in the last part only.
    pub(crate) report: Option<Box<QueryReport>>,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// These were all rows.
    All,
    /// There are more rows than were asked for.
    HasMore,
}

impl Sql {
    /// Plans a statement and starts it.
    ///
    /// # Errors
    /// `Invalid` when the statement is empty, wrong or no query, `Exhausted` when it is too long; those of
    /// [`Engine::sql`].
    pub(crate) async fn start(&self, statement: &Statement<'_>, bounds: Bounds) -> Result<Parts> {
        check(statement.text)?;
        // What is written as text becomes plain a few rows at a time.
        let answer = match statement.format {
            RowFormat::Arrow => self.engine.sql(statement.tenant, statement.text).await?,
            RowFormat::Json | RowFormat::Csv => self.engine.sql_coded(statement.tenant, statement.text).await?,
        };
        let writer = RowWriter::new(statement.format, &answer.schema)?;
        // room for the frame of a message beside the part
        let part_bytes_max = PART_BYTES_MAX.min(self.answer_bytes_max / 2).max(1);
        let run = Run { answer, compute: self.compute.clone(), rows_max: statement.rows_max, part_bytes_max };
        Ok(Parts::of(|sender| run.within(bounds, writer, sender)))
    }
}

fn check(text: &str) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid("the request has no statement"));
    }
    if text.len() > STATEMENT_BYTES_MAX {
        let long = Error::exhausted("the statement is too long");
        return Err(long.with("statement_bytes_max", STATEMENT_BYTES_MAX).with("found", text.len()));
    }
    Ok(())
}

/// A statement that runs.
struct Run {
    answer: SqlAnswer,
    compute: Compute,
    rows_max: Option<u64>,
    part_bytes_max: usize,
}

type Sender<T = Part> = mpsc::Sender<Result<T, Status>>;

impl Run {
    /// Runs to the end, or until `bounds` say so: the query is gone by the time that the client hears of it.
    async fn within(mut self, bounds: Bounds, writer: RowWriter, sender: Sender) {
        let parts = sender.clone();
        within(bounds, sender, async move { self.write(writer, &parts).await }).await;
    }

    async fn write(&mut self, mut writer: RowWriter, sender: &Sender) -> Result<()> {
        let (mut left, part_bytes_max) = (self.rows_max, self.part_bytes_max);
        while let Some(batch) = self.next(left).await? {
            let Some(batch) = batch else { return self.end(writer, End::HasMore, sender).await };
            let rows = left.map_or(batch.num_rows(), |left| batch.num_rows().min(count(left)));
            for piece in writer.pieces(&batch.slice(0, rows)) {
                let write = move || {
                    writer.write(&piece)?;
                    let bytes = writer.take();
                    Ok((writer, bytes))
                };
                let bytes;
                (writer, bytes) = self.compute.run(write).await?;
                send(bytes, None, part_bytes_max, sender).await?;
            }
            if rows < batch.num_rows() {
                return self.end(writer, End::HasMore, sender).await;
            }
            left = left.map(|left| left.saturating_sub(rows as u64));
        }
        self.end(writer, End::All, sender).await
    }

    /// The next rows; `Some(None)` where all that were asked for were given, and those after them cannot be.
    async fn next(&mut self, left: Option<u64>) -> Result<Option<Option<RecordBatch>>> {
        match self.answer.batches.try_next().await {
            Ok(batch) => Ok(batch.map(Some)),
            Err(error) if left == Some(0) && error.kind() == ErrorKind::Exhausted => Ok(Some(None)),
            Err(error) => Err(error),
        }
    }

    async fn end(&mut self, writer: RowWriter, end: End, sender: &Sender) -> Result<()> {
        let report = self.answer.report.report();
        let bytes = writer.finish_telling(end == End::HasMore, &report.damaged)?;
        send(bytes, Some((end, report)), self.part_bytes_max, sender).await
    }
}

/// Runs `writing` to its end, or until `bounds` say so, and tells what went wrong once it is gone.
async fn within<T>(bounds: Bounds, sender: Sender<T>, writing: impl Future<Output = Result<()>>) {
    let ended = tokio::select! {
        biased;
        status = bounds.passed() => Err(status),
        written = writing => written.map_err(|error| status_of(&error)),
    };
    if let Err(status) = ended {
        // nobody is left to tell when the client is gone
        let _ = sender.send(Err(status)).await;
    }
}

/// Hands `bytes` over in parts, the last of which has `end`.
async fn send(mut bytes: Bytes, end: Option<(End, QueryReport)>, part_bytes_max: usize, sender: &Sender) -> Result<()> {
    let gone = |_| Error::unavailable("the client is gone");
    while bytes.len() > part_bytes_max {
        let part = Part { bytes: bytes.split_to(part_bytes_max), end: None, report: None };
        sender.send(Ok(part)).await.map_err(gone)?;
    }
    if bytes.is_empty() && end.is_none() {
        return Ok(());
    }
    let (end, report) = end.unzip();
    sender.send(Ok(Part { bytes, end, report: report.map(Box::new) })).await.map_err(gone)
}

fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// What an answer consists of.
trait Piece {
    /// Whether nothing follows.
    fn is_last(&self) -> bool;
}

impl Piece for Part {
    fn is_last(&self) -> bool {
        self.end.is_some()
    }
}

/// The parts of an answer. Dropped, they end the statement.
#[derive(Debug)]
pub(crate) struct Parts<T = Part> {
    receiver: mpsc::Receiver<Result<T, Status>>,
    has_ended: bool,
    _task: AbortOnDropHandle<()>,
}

impl<T: Send + 'static> Parts<T> {
    /// What `write` hands over in a task of its own; one part waits.
    fn of<W: Future<Output = ()> + Send + 'static>(write: impl FnOnce(Sender<T>) -> W) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let task = tokio::spawn(write(sender).in_current_span());
        Self { receiver, has_ended: false, _task: AbortOnDropHandle::new(task) }
    }
}

impl<T: Piece> Stream for Parts<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        // a task that panicked has told no end
        let broken = || Err(status_of(&Error::internal("the answer broke off")));
        let part = ready!(self.receiver.poll_recv(context)).unwrap_or_else(broken);
        self.has_ended = part.as_ref().map_or(true, Piece::is_last);
        Poll::Ready(Some(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::Int64Array;
    use flamestore_query::SqlReport;
    use futures::StreamExt;
    use tonic::Code;

    /// Counts how many batches were asked for, and when the query is gone.
    #[derive(Clone, Default)]
    struct Watch(Arc<AtomicUsize>);

    fn run(batches: Vec<Result<RecordBatch>>, rows_max: Option<u64>, part_bytes_max: usize, watch: &Watch) -> Run {
        let schema = batch(&[]).schema();
        let asked = watch.clone();
        let batches = futures::stream::iter(batches).inspect(move |_| {
            asked.0.fetch_add(1, Ordering::Relaxed);
        });
        let answer = SqlAnswer { schema, batches: batches.boxed(), report: SqlReport::default() };
        Run { answer, compute: Compute::new(1), rows_max, part_bytes_max }
    }

    fn batch(values: &[i64]) -> RecordBatch {
        let column: arrow::array::ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn parts(run: Run, bounds: Bounds) -> Parts {
        let writer = RowWriter::new(RowFormat::Csv, &run.answer.schema).unwrap();
        Parts::of(|sender| run.within(bounds, writer, sender))
    }

    /// The text of all parts and how they ended.
    async fn told(mut parts: Parts) -> (String, Result<End, Code>) {
        let (mut text, mut end) = (Vec::new(), Err(Code::Ok));
        while let Some(part) = parts.next().await {
            match part {
                Ok(part) => {
                    text.extend_from_slice(&part.bytes);
                    end = part.end.ok_or(Code::Ok);
                }
                Err(status) => end = Err(status.code()),
            }
        }
        (String::from_utf8(text).unwrap(), end)
    }

    async fn check_rows(rows_max: Option<u64>, part_bytes_max: usize, expected: &str, end: End) {
        let batches = vec![Ok(batch(&[1, 2])), Ok(batch(&[])), Ok(batch(&[3]))];
        let run = run(batches, rows_max, part_bytes_max, &Watch::default());
        assert_eq!(told(parts(run, Bounds::none())).await, (expected.to_owned(), Ok(end)), "{rows_max:?}");
    }

    #[tokio::test]
    async fn rows_come_up_to_the_limit_and_the_end_says_whether_there_are_more() {
        for part_bytes_max in [1, 3, 1 << 20] {
            check_rows(None, part_bytes_max, "n\n1\n2\n3\n", End::All).await;
            check_rows(Some(3), part_bytes_max, "n\n1\n2\n3\n", End::All).await;
            check_rows(Some(2), part_bytes_max, "n\n1\n2\n", End::HasMore).await;
            check_rows(Some(1), part_bytes_max, "n\n1\n", End::HasMore).await;
            check_rows(Some(0), part_bytes_max, "n\n", End::HasMore).await;
        }
    }

    #[tokio::test]
    async fn rows_over_the_limit_of_the_server_are_not_missed_by_those_who_did_not_ask_for_them() {
        let batches = || vec![Ok(batch(&[1, 2])), Err(Error::exhausted("too many rows"))];
        let asked = |rows_max| told(parts(run(batches(), rows_max, 1 << 20, &Watch::default()), Bounds::none()));
        assert_eq!(asked(Some(2)).await, ("n\n1\n2\n".to_owned(), Ok(End::HasMore)));
        assert_eq!(asked(Some(3)).await, ("n\n1\n2\n".to_owned(), Err(Code::ResourceExhausted)));
        assert_eq!(asked(None).await, ("n\n1\n2\n".to_owned(), Err(Code::ResourceExhausted)));
    }

    #[tokio::test]
    async fn an_error_after_rows_is_told_and_never_an_end() {
        let batches = vec![Ok(batch(&[1])), Err(Error::corrupt("damaged")), Ok(batch(&[2]))];
        let run = run(batches, None, 1 << 20, &Watch::default());
        assert_eq!(told(parts(run, Bounds::none())).await, ("n\n1\n".to_owned(), Err(Code::DataLoss)));
        let parts = Parts::of(|sender: Sender| async move {
            let _sender = sender;
            panic!("as the test wants")
        });
        assert_eq!(told(parts).await, (String::new(), Err(Code::Internal)));
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_holds_no_query_past_the_deadline() {
        let watch = Watch::default();
        let batches = (0..1000).map(|at| Ok(batch(&[at]))).collect();
        let held = Arc::strong_count(&watch.0);
        let run = run(batches, None, 1 << 20, &watch);
        let mut parts = parts(run, Bounds::after(std::time::Duration::from_secs(1)));
        assert_eq!(parts.next().await.unwrap().unwrap().bytes, "n\n0\n");
        while Arc::strong_count(&watch.0) > held {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        assert!(watch.0.load(Ordering::Relaxed) < 10, "it ran ahead of its client");
        assert_eq!(told(parts).await.1, Err(Code::DeadlineExceeded));
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_query() {
        let watch = Watch::default();
        let held = Arc::strong_count(&watch.0);
        let batches = (0..1000).map(|at| Ok(batch(&[at]))).collect();
        let mut parts = parts(run(batches, None, 1 << 20, &watch), Bounds::none());
        assert!(parts.next().await.unwrap().is_ok());
        drop(parts);
        while Arc::strong_count(&watch.0) > held {
            tokio::task::yield_now().await;
        }
        assert!(watch.0.load(Ordering::Relaxed) < 10);
    }
}
