//! A connection after its start: messages, answered in the order they come.
//!
//! | message | answer |
//! |---|---|
//! | `Q`, a text of statements | the rows of each, up to the first that fails; ready |
//! | `P` parse, `B` bind, `D` describe, `E` execute, `C` close | one each; after a failure none until `S` |
//! | `S` sync | portals end, unless a transaction is open; ready |
//!
//! A connection keeps [`STATEMENTS_MAX`] prepared statements of [`KEPT_BYTES_MAX`] together, and [`PORTALS_MAX`] portals.

use std::collections::HashMap;
use std::time::Duration;

use bytes::BufMut;
use flamestore_model::Tenant;
use flamestore_query::{PgType, ScalarValue, check_statement, database_of};
use tokio::io::{AsyncWrite, ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::catalog::{About, Asked, rewrite};
use super::failure::{
    BAD_MESSAGE, DUPLICATE_STATEMENT, Failure, IDLE, NO_PORTAL, NO_STATEMENT, NOT_SUPPORTED, SHUTTING_DOWN, SYNTAX,
    TOO_MANY_KEPT, TRANSACTION_FAILED, position,
};
use super::parameters::Parameter;
use super::query::{Cancellable, Columns, Running, Start, Stop, expand};
use super::startup::{Client, Stream};
use super::statement::{Kind, Settings, kind, split};
use super::values::Format;
use super::wire::{Body, Message, NoMessage, Reader, Writer, text};
use super::{Door, Key};
use crate::status::code_of;

/// Prepared statements of a connection.
const STATEMENTS_MAX: usize = 1024;
/// Bytes of their texts.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// Portals of a connection.
const PORTALS_MAX: usize = 64;
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
    statements: HashMap<String, Prepared>,
    portals: HashMap<String, Portal>,
    /// Whether messages are passed over until the next sync.
    skips: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    Failed,
}

/// A statement that was made sense of.
#[derive(Clone, Debug)]
struct Prepared {
    /// What the client sent.
    source: String,
    plan: Plan,
    parameters: Vec<Parameter>,
    columns: Option<Columns>,
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

/// A statement with its values.
struct Portal {
    statement: Prepared,
    values: Vec<ScalarValue>,
    formats: Vec<Format>,
    running: Option<Running>,
    has_ended: bool,
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
            statements: HashMap::new(),
            portals: HashMap::new(),
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
            self.portals.clear();
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
        self.portals.remove("");
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
                self.portals.clear();
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
                let gone = self.statements.remove(name);
                gone.ok_or_else(|| no_statement(name))?;
                "DEALLOCATE"
            }
            Kind::Deallocate(None) => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            Kind::Discard => {
                self.statements.clear();
                self.portals.clear();
                self.settings.clear();
                "DISCARD ALL"
            }
            Kind::Nothing(word) => *word,
        };
        self.writer.message(b'C', |out| text(out, said));
        Ok(())
    }

    /// A message of the extended protocol.
    async fn step(&mut self, tag: u8, body: Body) -> Result<(), Stop> {
        match tag {
            b'P' => self.parse(body).await,
            b'B' => Ok(self.bind(body)?),
            b'D' => self.describe(body).await,
            b'E' => self.execute(body).await,
            b'C' => Ok(self.close(body)?),
            _ => self.flush().await,
        }
    }

    async fn parse(&mut self, mut body: Body) -> Result<(), Stop> {
        let (name, source) = (body.text()?, body.text()?);
        let count = body.count()?;
        let mut given = Vec::new();
        for _ in 0..count {
            given.push(PgType::from_oid(body.i32()?.cast_unsigned()));
        }
        if !name.is_empty() && self.statements.contains_key(&name) {
            let said = format!("prepared statement {name:?} already exists");
            return Err(Failure::new(DUPLICATE_STATEMENT, said).into());
        }
        self.statements.remove(&name);
        let bytes: usize = self.statements.values().map(|statement| statement.source.len()).sum();
        if self.statements.len() >= STATEMENTS_MAX || bytes + source.len() > KEPT_BYTES_MAX {
            return Err(Failure::new(TOO_MANY_KEPT, "too many prepared statements; close some").into());
        }
        let statement = match self.prepare(&source, &given).await {
            Ok(statement) => statement,
            Err(Stop::Failed(failure)) if !failure.is_fatal => {
                self.skips = true;
                self.fail(&failure, failure.place.and_then(|place| position(&source, place)));
                return Ok(());
            }
            Err(stop) => return Err(stop),
        };
        self.statements.insert(name, statement);
        self.writer.mark(b'1');
        Ok(())
    }

    async fn prepare(&mut self, source: &str, given: &[Option<PgType>]) -> Result<Prepared, Stop> {
        let statements = split(source);
        let (plan, columns) = match statements.as_slice() {
            [] => (Plan::Nothing, None),
            [(_, statement)] => self.plan(statement)?,
            _ => {
                let said = "cannot insert multiple commands into a prepared statement";
                return Err(Failure::new(SYNTAX, said).into());
            }
        };
        let source = source.to_owned();
        let Plan::Query { text, .. } = &plan else {
            return Ok(Prepared { source, plan, parameters: Vec::new(), columns });
        };
        let admitted = self.door.guard.admit("postgres-describe")?;
        let cancellable = Cancellable::new(&self.key.slot);
        let bounds = admitted.bounds().at_most(self.settings.statement_timeout());
        let describe = self.door.engine.describe_sql(&self.tenant, text);
        let described = cancellable.run(&bounds, &mut self.reader, describe).await?;
        admitted.end(described.as_ref().map_or_else(|error| code_of(error.kind()), |_| Code::Ok));
        let described = described.map_err(|error| placed(error.into(), *text == source))?;
        let told = described.parameters.fields().iter().enumerate();
        let parameter = |(at, field): (usize, &std::sync::Arc<arrow::datatypes::Field>)| Parameter {
            given: given.get(at).copied().flatten(),
            told: field.data_type().clone(),
        };
        let parameters = told.map(parameter).collect();
        let columns = Some(Columns::of(&described.columns));
        Ok(Prepared { source, plan, parameters, columns })
    }

    fn bind(&mut self, mut body: Body) -> Result<(), Failure> {
        let (portal, name) = (body.text()?, body.text()?);
        let statement = self.statements.get(&name).ok_or_else(|| no_statement(&name))?.clone();
        let formats = read_formats(&mut body)?;
        let count = body.count()?;
        let wanted = statement.parameters.len();
        if count < wanted {
            let said = format!("bind message supplies {count} parameters, but the statement requires {wanted}");
            return Err(Failure::new(BAD_MESSAGE, said));
        }
        let mut values = Vec::new();
        for (at, format) in expand(&formats, count)?.into_iter().enumerate() {
            let value = body.value()?;
            // parameters that were given a type and stand nowhere have no value
            if let Some(parameter) = statement.parameters.get(at) {
                values.push(parameter.value(value.as_ref(), format)?);
            }
        }
        let formats = read_formats(&mut body)?;
        self.portals.remove(&portal);
        if self.portals.len() >= PORTALS_MAX {
            return Err(Failure::new(TOO_MANY_KEPT, "too many portals; close some"));
        }
        self.portals.insert(portal, Portal { statement, values, formats, running: None, has_ended: false });
        self.writer.mark(b'2');
        Ok(())
    }

    async fn describe(&mut self, mut body: Body) -> Result<(), Stop> {
        let (what, name) = (body.u8()?, body.text()?);
        if what == b'S' {
            let statement = self.statements.get(&name).ok_or_else(|| no_statement(&name))?;
            self.writer.message(b't', |out| {
                out.put_u16(u16::try_from(statement.parameters.len()).unwrap_or(u16::MAX));
                statement.parameters.iter().for_each(|parameter| out.put_u32(parameter.ty().oid()));
            });
            match &statement.columns {
                Some(columns) => columns.describe(&expand(&[], columns.len())?, &mut self.writer),
                None => self.writer.mark(b'n'),
            }
            return Ok(());
        }
        let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        self.learn_columns(&mut portal).await?;
        match &portal.statement.columns {
            Some(columns) => columns.describe(&expand(&portal.formats, columns.len())?, &mut self.writer),
            None => self.writer.mark(b'n'),
        }
        self.portals.insert(name, portal);
        Ok(())
    }

    /// Columns may follow from values: then the statement is started to tell them.
    async fn learn_columns(&mut self, portal: &mut Portal) -> Result<(), Stop> {
        if portal.values.is_empty() || portal.running.is_some() || portal.has_ended {
            return Ok(());
        }
        let cancellable = Cancellable::new(&self.key.slot);
        portal.statement.columns = None;
        if let Some((running, columns)) = self.start_portal(portal, &cancellable).await? {
            portal.running = Some(running);
            portal.statement.columns = Some(columns);
        }
        Ok(())
    }

    /// Starts the statement of a portal, if the engine is to be asked.
    async fn start_portal(
        &mut self,
        portal: &Portal,
        cancellable: &Cancellable<'_>,
    ) -> Result<Option<(Running, Columns)>, Stop> {
        let Plan::Query { text, .. } = &portal.statement.plan else { return Ok(None) };
        let start = Start {
            door: self.door,
            tenant: &self.tenant,
            text,
            values: &portal.values,
            columns: portal.statement.columns.as_ref(),
            formats: &portal.formats,
            timeout: self.settings.statement_timeout(),
        };
        start.run(cancellable, &mut self.reader).await.map(Some)
    }

    async fn execute(&mut self, mut body: Body) -> Result<(), Stop> {
        let (name, rows_max) = (body.text()?, body.i32()?);
        let rows_max = usize::try_from(rows_max).ok().filter(|rows_max| *rows_max > 0);
        let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        self.run_portal(&mut portal, rows_max).await?;
        self.portals.insert(name, portal);
        Ok(())
    }

    async fn run_portal(&mut self, portal: &mut Portal, rows_max: Option<usize>) -> Result<(), Stop> {
        let word = match &portal.statement.plan {
            Plan::Nothing => {
                self.writer.mark(b'I');
                return Ok(());
            }
            Plan::Here(kind) => return Ok(self.here(&kind.clone())?),
            Plan::Empty => {
                ended(&mut self.writer, "SELECT", 0);
                return Ok(());
            }
            Plan::Query { word, .. } => *word,
        };
        if portal.has_ended {
            ended(&mut self.writer, word, 0);
            return Ok(());
        }
        if self.transaction == Transaction::Failed {
            return Err(Failure::new(TRANSACTION_FAILED, "current transaction is aborted").into());
        }
        let door = self.door;
        let cancellable = Cancellable::new(&self.key.slot);
        if portal.running.is_none() {
            portal.running = self.start_portal(portal, &cancellable).await?.map(|(running, _)| running);
        }
        let Some(mut running) = portal.running.take() else { return Ok(()) };
        let (reader, writer) = (&mut self.reader, &mut self.writer);
        match running.hand_on(rows_max, &door.compute, &cancellable, reader, writer).await? {
            Some(rows) => {
                portal.has_ended = true;
                ended(writer, word, rows);
            }
            None => {
                portal.running = Some(running);
                writer.mark(b's');
            }
        }
        Ok(())
    }

    fn close(&mut self, mut body: Body) -> Result<(), Failure> {
        let (what, name) = (body.u8()?, body.text()?);
        match what {
            b'S' => _ = self.statements.remove(&name),
            _ => _ = self.portals.remove(&name),
        }
        self.writer.mark(b'3');
        Ok(())
    }
}

/// `failure`, with its place only if it is one in what the client sent.
fn placed(failure: Failure, is_as_sent: bool) -> Failure {
    Failure { place: failure.place.filter(|_| is_as_sent), ..failure }
}

fn no_statement(name: &str) -> Failure {
    Failure::new(NO_STATEMENT, format!("prepared statement {name:?} does not exist"))
}

fn no_portal(name: &str) -> Failure {
    Failure::new(NO_PORTAL, format!("portal {name:?} does not exist"))
}

fn read_formats(body: &mut Body) -> Result<Vec<Format>, Failure> {
    let count = body.count()?;
    let mut formats = Vec::new();
    for _ in 0..count {
        formats.push(match body.i16()? {
            0 => Format::Text,
            1 => Format::Binary,
            other => return Err(Failure::new(BAD_MESSAGE, format!("invalid format code: {other}"))),
        });
    }
    Ok(formats)
}

/// Tells that a statement has ended, and how many rows it gave.
fn ended<W: AsyncWrite + Unpin>(writer: &mut Writer<W>, word: &str, rows: u64) {
    writer.message(b'C', |out| match word {
        "SELECT" => text(out, &format!("SELECT {rows}")),
        word => text(out, word),
    });
}
