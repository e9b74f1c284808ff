//! Where statements are answered: by a server, or by an engine of this process over a bucket.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use flamestore_model::Tenant;
use flamestore_proto::v1::{DamagedSegment, QueryReport, SqlRequest, SqlResponse};
use flamestore_query::{Engine, SqlAnswer};
use futures::StreamExt;
use tokio::time::Instant;
use tonic::Streaming;

use crate::client::Client;
use crate::failure::{Failure, Outcome};

/// What answers statements.
#[derive(Debug)]
pub(super) enum Source {
    /// A server.
    Server(Client),
    /// A bucket.
    Store {
        /// Reads it.
        engine: Box<Engine>,
        /// Whose tables.
        tenant: Tenant,
        /// How long a statement may take.
        timeout: Duration,
    },
}

/// The rows of a statement, as they are found. Dropped, they cancel it.
#[derive(Debug)]
pub(super) enum Rows {
    Server(Box<FromServer>),
    Store(FromStore),
}

impl Source {
    /// The rows of `statement`, of which there are `rows_max` at most.
    ///
    /// # Errors
    /// What the server or the engine says.
    pub(super) async fn ask(&self, statement: &str, rows_max: Option<u64>) -> Outcome<Rows> {
        match self {
            Self::Server(client) => Ok(Rows::Server(Box::new(FromServer::ask(client, statement, rows_max).await?))),
            Self::Store { engine, tenant, timeout } => {
                let end = Instant::now() + *timeout;
                let answer = within(end, *timeout, engine.sql(tenant, statement)).await??;
                let (left, has_more) = (rows_max, false);
                Ok(Rows::Store(FromStore { answer, left, has_more, end, timeout: *timeout }))
            }
        }
    }
}

impl Rows {
    /// Their columns.
    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::Server(rows) => rows.schema.clone(),
            Self::Store(rows) => rows.answer.schema.clone(),
        }
    }

    /// The next rows; none at the end.
    ///
    /// # Errors
    /// What the server or the engine says.
    pub(super) async fn next(&mut self) -> Outcome<Option<RecordBatch>> {
        // Rows may come faster than they are written: whoever waits for Ctrl-C beside this has its turn.
        tokio::task::yield_now().await;
        match self {
            Self::Server(rows) => rows.next().await,
            Self::Store(rows) => rows.next().await,
        }
    }

    /// After the end: what was read, and what could not be.
    pub(super) fn report(&self) -> QueryReport {
        match self {
            Self::Server(rows) => rows.report.clone().unwrap_or_default(),
            Self::Store(rows) => {
                let report = rows.answer.report.report();
                let damaged =
                    report.damaged.into_iter().map(|of| DamagedSegment { segment: of.segment, error: of.error });
                let (damaged, segments_expired) = (damaged.collect(), report.segments_expired);
                QueryReport { damaged, segments_expired, ..QueryReport::default() }
            }
        }
    }

    /// After the end: whether there are more rows than were asked for.
    pub(super) fn has_more(&self) -> bool {
        match self {
            Self::Server(rows) => rows.has_more,
            Self::Store(rows) => rows.has_more,
        }
    }
}

/// Rows in parts of an Arrow IPC stream.
#[derive(Debug)]
pub(super) struct FromServer {
    client: Client,
    parts: Streaming<SqlResponse>,
    decoder: StreamDecoder,
    /// Bytes that are not decoded yet.
    pending: Buffer,
    /// What was decoded on the way to the schema.
    first: Option<RecordBatch>,
    schema: SchemaRef,
    has_more: bool,
    report: Option<QueryReport>,
}

impl FromServer {
    async fn ask(client: &Client, statement: &str, rows_max: Option<u64>) -> Outcome<Self> {
        let message = SqlRequest { statement: statement.to_owned(), limit: rows_max.unwrap_or(0) };
        let parts = client.query().sql(client.request(message)).await.map_err(|e| client.failure(&e))?.into_inner();
        let mut rows = Self {
            client: client.clone(),
            parts,
            decoder: StreamDecoder::new(),
            pending: Buffer::from(&[][..]),
            first: None,
            schema: SchemaRef::new(arrow::datatypes::Schema::empty()),
            has_more: false,
            report: None,
        };
        rows.first = rows.decode().await?;
        rows.schema = rows.decoder.schema().ok_or_else(|| Failure::new("the server's answer has no columns"))?;
        Ok(rows)
    }

    async fn next(&mut self) -> Outcome<Option<RecordBatch>> {
        match self.first.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.decode().await,
        }
    }

    async fn decode(&mut self) -> Outcome<Option<RecordBatch>> {
        let broken = |e: ArrowError| Failure::new(format!("the server's answer cannot be read: {e}"));
        loop {
            if let Some(batch) = self.decoder.decode(&mut self.pending).map_err(broken)? {
                return Ok(Some(batch));
            }
            match self.parts.message().await.map_err(|e| self.client.failure(&e))? {
                Some(part) => {
                    self.has_more |= part.has_more;
                    self.report = part.report.or(self.report.take());
                    self.pending = Buffer::from(part.arrow);
                }
                None => {
                    self.decoder.finish().map_err(broken)?;
                    return Ok(None);
                }
            }
        }
    }
}

/// Rows of an engine of this process.
#[derive(Debug)]
pub(super) struct FromStore {
    answer: SqlAnswer,
    left: Option<u64>,
    has_more: bool,
    end: Instant,
    timeout: Duration,
}

impl FromStore {
    async fn next(&mut self) -> Outcome<Option<RecordBatch>> {
        while !self.has_more {
            let Some(batch) = within(self.end, self.timeout, self.answer.batches.next()).await? else { break };
            let batch = batch?;
            let rows = self.left.map_or(batch.num_rows(), |left| {
                usize::try_from(left).map_or(batch.num_rows(), |left| left.min(batch.num_rows()))
            });
            self.left = self.left.map(|left| left.saturating_sub(rows as u64));
            self.has_more = rows < batch.num_rows();
            if rows > 0 {
                return Ok(Some(batch.slice(0, rows)));
            }
        }
        Ok(None)
    }
}

/// What `asked` gives, if it does by `end`.
async fn within<T>(end: Instant, timeout: Duration, asked: impl Future<Output = T>) -> Outcome<T> {
    let late = |_| {
        Failure::new(format!("the deadline of {} passed", humantime::format_duration(timeout)))
            .hint("ask for a shorter time range, or wait longer with --timeout")
    };
    tokio::time::timeout_at(end, asked).await.map_err(late)
}
