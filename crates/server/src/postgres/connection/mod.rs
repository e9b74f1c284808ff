//! A connection after its start: messages, answered in the order they come.
//!
//! | message | answer |
//! |---|---|
//! | `Q`, a text of statements | the rows of each, up to the first that fails; ready |
//! | `P` parse, `B` bind, `D` describe, `E` execute, `C` close | one each; after a failure none until `S` |
//! | `S` sync | portals end, unless a transaction is open; ready |
//!
//! `P` to `C` are the extended protocol's ([`extended`]), which keeps statements and portals by their names.

mod extended;

use std::time::Duration;

use bytes::BufMut;
use flamestore_model::Tenant;
use flamestore_query::{check_statement, database_of};
use tokio::io::{AsyncWrite, ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;

use super::catalog::{About, Asked, rewrite};
use super::failure::{BAD_MESSAGE, Failure, IDLE, NOT_SUPPORTED, SHUTTING_DOWN, TRANSACTION_FAILED, position};
use super::query::{Cancellable, Columns, Start, Stop};
use super::startup::{Client, Stream};
use super::statement::{Kind, Settings, kind, split};
use super::values::Format;
use super::wire::{Body, Message, NoMessage, Reader, Writer, text};
use super::{Door, Key};
use extended::Kept;

/// How long the last words of an answer may take to leave.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(30);

/// A connection that may ask.
pub(super) struct Connection<'a> {
    door: &'a Door,
    key: &'a Key<'a>,
    reader: Reader<ReadHalf<Box<dyn Stream>>>,
    writer: Writer<WriteHalf<Box<dyn Stream>>>,
    tenant: Tenant,
    user: String,
    settings: Settings,
    transaction: Transaction,
    kept: Kept,
    /// Whether messages are passed over until the next sync.
    skips: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    Failed,
}

#[derive(Clone, Debug)]
enum Plan {
    /// There is no statement.
    Nothing,
    /// It is answered here.
    Here(Kind),
    /// There are no rows.
    Empty,
    /// The engine is asked.
    Query { word: &'static str, text: String },
}

impl<'a> Connection<'a> {
    /// A connection that has started.
    pub(super) fn new(door: &'a Door, reader: Reader<Box<dyn Stream>>, client: Client, key: &'a Key<'a>) -> Self {
        let Client { tenant, user, settings } = client;
        let (reader, writer) = reader.split();
        Self {
            door,
            key,
            reader,
            writer,
            tenant,
            user,
            settings,
            transaction: Transaction::None,
            kept: Kept::default(),
            skips: false,
        }
    }

    /// Answers until the client leaves, is idle for too long, or `stop` is cancelled.
    pub(super) async fn serve(mut self, stop: &CancellationToken) {
        loop {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let said = "terminating connection due to administrator command";
                    Err(NoMessage::Wrong(Failure::fatal(SHUTTING_DOWN, said)))
                }
                message = self.reader.message(self.door.message_bytes_max) => message,
                () = tokio::time::sleep(self.door.idle_max) => {
                    let said = "terminating connection due to idle-session timeout";
                    Err(NoMessage::Wrong(Failure::fatal(IDLE, said)))
                }
            };
            let answered = match message {
                Ok(Message { tag: b'X', .. }) | Err(NoMessage::Gone) => return,
                Ok(message) => self.answer(message).await,
                Err(NoMessage::Wrong(failure)) => Err(Stop::Failed(failure)),
            };
            match answered {
                Ok(()) => {}
                Err(Stop::Gone) => return,
                Err(Stop::Failed(failure)) => {
                    self.fail(&failure, None);
                    if failure.is_fatal {
                        // nobody is left to tell when the client is gone
                        let _ = tokio::time::timeout(FLUSH_TIME_MAX, self.writer.close()).await;
                        return;
                    }
                }
            }
        }
    }

    async fn answer(&mut self, message: Message) -> Result<(), Stop> {
        let Message { tag, body } = message;
        match tag {
            b'S' => {
                self.skips = false;
                self.ready().await
            }
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' if self.skips => Ok(()),
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => match self.step(tag, body).await {
                Err(Stop::Failed(failure)) if !failure.is_fatal => {
                    self.skips = true;
                    Err(Stop::Failed(failure))
                }
                other => other,
            },
            b'Q' => {
                self.skips = false;
                self.simple(body).await
            }
            b'F' => {
                self.fail(&Failure::new(NOT_SUPPORTED, "function calls are not supported"), None);
                self.ready().await
            }
            // what is left of a copy that was refused
            b'd' | b'c' | b'f' => Ok(()),
            tag => Err(Failure::fatal(BAD_MESSAGE, format!("invalid frontend message type {tag}")).into()),
        }
    }

    /// Tells a failure, at `at` of what was sent.
    fn fail(&mut self, failure: &Failure, at: Option<usize>) {
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Failed;
        }
        self.writer.failure(failure, at);
    }

    /// Tells that everything is answered.
    async fn ready(&mut self) -> Result<(), Stop> {
        if self.transaction == Transaction::None {
            self.kept.end_portals();
        }
        let mark = match self.transaction {
            Transaction::None => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        };
        self.writer.message(b'Z', |out| out.put_u8(mark));
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        tokio::time::timeout(FLUSH_TIME_MAX, self.writer.flush()).await.map_err(|_| Stop::Gone)?.map_err(Stop::from)
    }

    async fn simple(&mut self, mut body: Body) -> Result<(), Stop> {
        let text = match body.text() {
            Ok(text) => text,
            Err(failure) if failure.is_fatal => return Err(failure.into()),
            Err(failure) => {
                self.fail(&failure, None);
                return self.ready().await;
            }
        };
        self.kept.end_portal("");
        let statements = split(&text);
        if statements.is_empty() {
            self.writer.mark(b'I');
        }
        for (start, statement) in statements {
            match self.run(statement).await {
                Ok(()) => {}
                Err(Stop::Failed(failure)) if !failure.is_fatal => {
                    let before = text.get(..start).map_or(0, |before| before.chars().count());
                    let at = failure.place.and_then(|place| position(statement, place)).map(|at| before + at);
                    self.fail(&failure, at);
                    break;
                }
                Err(stop) => return Err(stop),
            }
        }
        self.ready().await
    }

    /// Runs a statement that came without a name.
    async fn run(&mut self, source: &str) -> Result<(), Stop> {
        match self.plan(source)? {
            (Plan::Query { word, text }, _) => {
                let door = self.door;
                let cancellable = Cancellable::new(&self.key.slot);
                let timeout = self.settings.statement_timeout();
                let start = Start {
                    door,
                    tenant: &self.tenant,
                    text: &text,
                    values: &[],
                    columns: None,
                    formats: &[],
                    timeout,
                };
                let (mut running, columns) =
                    start.run(&cancellable, &mut self.reader).await.map_err(|stop| match stop {
                        Stop::Failed(failure) => Stop::Failed(placed(failure, text == source)),
                        Stop::Gone => Stop::Gone,
                    })?;
                columns.describe(&vec![Format::Text; columns.len()], &mut self.writer);
                let rows =
                    running.hand_on(None, &door.compute, &cancellable, &mut self.reader, &mut self.writer).await?;
                ended(&mut self.writer, word, rows.unwrap_or_default());
                Ok(())
            }
            (Plan::Empty, columns) => {
                let columns = columns.unwrap_or_else(|| Columns::texts::<String>([]));
                columns.describe(&vec![Format::Text; columns.len()], &mut self.writer);
                ended(&mut self.writer, "SELECT", 0);
                Ok(())
            }
            (Plan::Here(kind), columns) => {
                if let Some(columns) = columns {
                    columns.describe(&[Format::Text], &mut self.writer);
                }
                Ok(self.here(&kind)?)
            }
            (Plan::Nothing, _) => {
                self.writer.mark(b'I');
                Ok(())
            }
        }
    }

    /// Makes sense of a statement; the columns of what the engine is not asked.
    fn plan(&self, source: &str) -> Result<(Plan, Option<Columns>), Failure> {
        let kind = kind(source)?;
        if self.transaction == Transaction::Failed && !matches!(kind, Kind::End(_) | Kind::RollBackTo) {
            let said = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Failure::new(TRANSACTION_FAILED, said));
        }
        let Kind::Query(word) = kind else {
            let columns = match &kind {
                Kind::Show(name) => Some(Columns::texts([name.clone()])),
                _ => None,
            };
            return Ok((Plan::Here(kind), columns));
        };
        check_statement(source)?;
        let about = About {
            database: database_of(&self.tenant),
            user: &self.user,
            settings: &self.settings,
            process: self.key.process,
        };
        Ok(match rewrite(source, &about) {
            Asked::AsItIs => (Plan::Query { word, text: source.to_owned() }, None),
            Asked::Rewritten(text) => (Plan::Query { word, text }, None),
            Asked::Empty(names) => (Plan::Empty, Some(Columns::texts(names))),
        })
    }

    /// Does what needs no engine.
    fn here(&mut self, kind: &Kind) -> Result<(), Failure> {
        let said = match kind {
            Kind::Query(word) => *word,
            Kind::Begin(word) => {
                self.transaction = Transaction::Open;
                *word
            }
            Kind::End(word) => {
                // what failed is rolled back, whatever is asked
                let word = if self.transaction == Transaction::Failed { "ROLLBACK" } else { *word };
                self.transaction = Transaction::None;
                self.kept.end_portals();
                word
            }
            Kind::RollBackTo => {
                self.transaction = Transaction::Open;
                "ROLLBACK"
            }
            Kind::Show(name) => {
                let value = self.settings.get(name)?;
                self.writer.message(b'D', |out| {
                    out.put_u16(1);
                    out.put_u32(u32::try_from(value.len()).unwrap_or_default());
                    out.put_slice(value.as_bytes());
                });
                "SHOW"
            }
            Kind::Set(name, value) => {
                self.settings.set(name, value)?;
                "SET"
            }
            Kind::Deallocate(Some(name)) => {
                self.kept.deallocate(name)?;
                "DEALLOCATE"
            }
            Kind::Deallocate(None) => {
                self.kept.deallocate_all();
                "DEALLOCATE ALL"
            }
            Kind::Discard => {
                self.kept = Kept::default();
                self.settings.clear();
                "DISCARD ALL"
            }
            Kind::Nothing(word) => *word,
        };
        self.writer.message(b'C', |out| text(out, said));
        Ok(())
    }
}

/// `failure`, with its place only if it is one in what the client sent.
fn placed(failure: Failure, is_as_sent: bool) -> Failure {
    Failure { place: failure.place.filter(|_| is_as_sent), ..failure }
}

/// Tells that a statement has ended, and how many rows it gave.
fn ended<W: AsyncWrite + Unpin>(writer: &mut Writer<W>, word: &str, rows: u64) {
    writer.message(b'C', |out| match word {
        "SELECT" => text(out, &format!("SELECT {rows}")),
        word => text(out, word),
    });
}
