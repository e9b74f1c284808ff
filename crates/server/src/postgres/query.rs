//! A statement that runs: started, handed on in messages, ended with whatever ends first.

use std::io;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::{BufMut, BytesMut};
use flamestore_model::{Error, Result};
use flamestore_query::{DamagedSegment, PgType, ScalarValue, SqlReport};
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tracing::Instrument;

use super::Slot;
use super::failure::Failure;
use super::values::{Format, write_rows};
use super::wire::{Reader, Writer, text};
use crate::compute::Compute;
use crate::guard::{Admitted, Bounds};
use crate::status::code_of;

/// Rows are encoded so many at a time.
const ROWS_AT_ONCE: usize = 1024;
/// Rows wait for others until there are so many bytes of them.
const FLUSH_BYTES: usize = 64 << 10;

/// Why something ended before its time.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client is to be told.
    Failed(Failure),
    /// There is nobody to tell.
    Gone,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// The columns of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns(Vec<(String, PgType)>);

impl Columns {
    pub(super) fn of(schema: &SchemaRef) -> Self {
        let column = |field: &Arc<arrow::datatypes::Field>| (field.name().clone(), PgType::of(field.data_type()));
        Self(schema.fields().iter().map(column).collect())
    }

    /// Columns of text.
    pub(super) fn texts<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Self {
        Self(names.into_iter().map(|name| (name.into(), PgType::TEXT)).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn types(&self) -> Arc<[PgType]> {
        self.0.iter().map(|(_, ty)| *ty).collect()
    }

    /// Tells a client what rows will have.
    pub(super) fn describe<W: AsyncWrite + Unpin>(&self, formats: &[Format], writer: &mut Writer<W>) {
        writer.message(b'T', |out| {
            out.put_u16(u16::try_from(self.0.len()).unwrap_or(u16::MAX));
            for ((name, ty), format) in self.0.iter().zip(formats) {
                text(out, name);
                out.put_u32(0);
                out.put_u16(0);
                out.put_u32(ty.oid());
                out.put_i16(ty.bytes());
                out.put_i32(-1);
                out.put_u16(u16::from(*format == Format::Binary));
            }
        });
    }
}

/// The time in which a client may cancel: from its making until it is dropped.
pub(super) struct Cancellable<'a> {
    slot: &'a Slot,
    token: CancellationToken,
}

impl<'a> Cancellable<'a> {
    pub(super) fn new(slot: &'a Slot) -> Self {
        let token = CancellationToken::new();
        *slot.lock() = Some(token.clone());
        Self { slot, token }
    }

    /// Completes `work`, unless the client cancels it or leaves, or its time is over.
    pub(super) async fn run<T, R>(
        &self,
        bounds: &Bounds,
        reader: &mut Reader<R>,
        work: impl Future<Output = T>,
    ) -> Result<T, Stop>
    where
        R: AsyncRead + Unpin,
    {
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(Failure::cancelled().into()),
            status = bounds.passed() => Err(Failure::of_status(&status).into()),
            () = reader.gone() => Err(Stop::Gone),
            done = work => Ok(done),
        }
    }
}

impl Drop for Cancellable<'_> {
    fn drop(&mut self) {
        *self.slot.lock() = None;
    }
}

/// A statement that runs in a task of its own, which ends with it.
pub(super) struct Running {
    batches: mpsc::Receiver<Result<Option<RecordBatch>>>,
    rest: Option<RecordBatch>,
    types: Arc<[PgType]>,
    formats: Arc<[Format]>,
    rows: u64,
    has_ended: bool,
    report: SqlReport,
    /// Taken when it has ended.
    admitted: Option<Admitted>,
    bounds: Bounds,
    _task: AbortOnDropHandle<()>,
}

/// What a statement is run with.
pub(super) struct Start<'a> {
    pub(super) door: &'a super::Door,
    pub(super) tenant: &'a flamestore_model::Tenant,
    pub(super) text: &'a str,
    pub(super) values: &'a [ScalarValue],
    /// The columns that the client was told, if it was.
    pub(super) columns: Option<&'a Columns>,
    /// How it wants them; text where nothing is said.
    pub(super) formats: &'a [Format],
    pub(super) timeout: Option<std::time::Duration>,
}

impl Start<'_> {
    /// Starts it; its columns are told too.
    pub(super) async fn run<R: AsyncRead + Unpin>(
        self,
        cancellable: &Cancellable<'_>,
        reader: &mut Reader<R>,
    ) -> Result<(Running, Columns), Stop> {
        let admitted = self.door.guard.admit("postgres")?;
        let bounds = admitted.bounds().at_most(self.timeout);
        let planned = self.door.engine.sql_bound(self.tenant, self.text, self.values);
        let answer = match cancellable.run(&bounds, reader, planned).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                admitted.end(code_of(error.kind()));
                return Err(error.into());
            }
            Err(stop) => return Err(stop),
        };
        let found = Columns::of(&answer.schema);
        // a client that was told of columns reads them as such
        let columns = self.columns.filter(|told| told.len() == found.len()).unwrap_or(&found).clone();
        let formats = expand(self.formats, columns.len())?;
        let (sender, batches) = mpsc::channel(1);
        let mut rows = answer.batches;
        let run = async move {
            while let Some(batch) = rows.next().await {
                if sender.send(batch.map(Some)).await.is_err() {
                    return;
                }
            }
            drop(rows);
            // nobody is left to tell when the client is gone
            let _ = sender.send(Ok(None)).await;
        };
        let task = tokio::spawn(run.in_current_span());
        let running = Running {
            batches,
            rest: None,
            types: columns.types(),
            formats: formats.into(),
            rows: 0,
            has_ended: false,
            report: answer.report,
            admitted: Some(admitted),
            bounds,
            _task: AbortOnDropHandle::new(task),
        };
        Ok((running, columns))
    }
}

/// A format of each of `count` columns: those given, the one that is given for all, or text.
///
/// # Errors
/// When there are others.
pub(super) fn expand(formats: &[Format], count: usize) -> Result<Vec<Format>, Failure> {
    match formats {
        [] => Ok(vec![Format::Text; count]),
        [all] => Ok(vec![*all; count]),
        each if each.len() == count => Ok(each.to_vec()),
        each => {
            let said = format!("{} formats are given, and there are {count} values", each.len());
            Err(Failure::new(super::failure::BAD_MESSAGE, said))
        }
    }
}

impl Running {
    /// Writes rows, `rows_max` at most; once there are no more, also which segments are missing from them. Answers how many
    /// there were in all by then.
    pub(super) async fn hand_on<R, W>(
        &mut self,
        rows_max: Option<usize>,
        compute: &Compute,
        cancellable: &Cancellable<'_>,
        reader: &mut Reader<R>,
        writer: &mut Writer<W>,
    ) -> Result<Option<u64>, Stop>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut left = rows_max.unwrap_or(usize::MAX);
        loop {
            let batch = match self.rest.take() {
                Some(batch) => batch,
                None if self.has_ended => return Ok(Some(self.rows)),
                None => match cancellable.run(&self.bounds, reader, self.batches.recv()).await? {
                    Some(Ok(Some(batch))) => batch,
                    Some(Ok(None)) => {
                        self.has_ended = true;
                        self.end(Code::Ok);
                        for damaged in self.report.report().damaged {
                            let DamagedSegment { segment, error } = damaged;
                            writer.warning(&format!(
                                "segment {segment} cannot be read, and is missing from the rows: {error}"
                            ));
                        }
                        continue;
                    }
                    Some(Err(error)) => {
                        self.end(code_of(error.kind()));
                        return Err(error.into());
                    }
                    // a task that panicked has told no end
                    None => return Err(Error::internal("the answer broke off").into()),
                },
            };
            if batch.num_rows() == 0 {
                continue;
            }
            if left == 0 {
                self.rest = Some(batch);
                return Ok(None);
            }
            let rows = batch.num_rows().min(ROWS_AT_ONCE).min(left);
            if rows < batch.num_rows() {
                self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
            }
            let (piece, types, formats) = (batch.slice(0, rows), Arc::clone(&self.types), Arc::clone(&self.formats));
            let encode = compute.run(move || {
                let mut out = BytesMut::new();
                write_rows(&piece, &types, &formats, &mut out)?;
                Ok(out)
            });
            let encoded = cancellable.run(&self.bounds, reader, encode).await??;
            writer.buffer.unsplit(encoded);
            (left, self.rows) = (left - rows, self.rows + rows as u64);
            if writer.buffer.len() >= FLUSH_BYTES {
                cancellable.run(&self.bounds, reader, writer.flush()).await??;
            }
        }
    }

    /// Gives the place back, and counts the statement as one that ended with `code`.
    fn end(&mut self, code: Code) {
        if let Some(admitted) = self.admitted.take() {
            admitted.end(code);
        }
    }
}
