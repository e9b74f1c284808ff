//! The extended protocol: statements that are prepared once, and portals, which are statements with their values.
//!
//! ```text
//! P name, text ─▶ Prepared: its parameters and columns ─▶ B values ─▶ Portal ─▶ E rows at most ─▶ rows, and the portal goes on
//!                                                                        └─▶ D its columns
//! ```
//!
//! A connection keeps [`STATEMENTS_MAX`] prepared statements of [`KEPT_BYTES_MAX`] together, and [`PORTALS_MAX`] portals. A
//! prepared statement holds no snapshot, and so is planned again when it runs; a portal holds one from its first row, or from
//! being described with values, until it ends.

use std::collections::HashMap;

use bytes::BufMut;
use flamestore_query::{PgType, ScalarValue};
use tonic::Code;

use super::super::failure::{
    BAD_MESSAGE, DUPLICATE_STATEMENT, Failure, NO_PORTAL, NO_STATEMENT, SYNTAX, TOO_MANY_KEPT, TRANSACTION_FAILED,
    position,
};
use super::super::parameters::Parameter;
use super::super::query::{Cancellable, Columns, Running, Start, Stop, expand};
use super::super::statement::split;
use super::super::values::Format;
use super::super::wire::Body;
use super::{Connection, Plan, Transaction, ended, placed};
use crate::status::code_of;

/// Prepared statements of a connection.
const STATEMENTS_MAX: usize = 1024;
/// Bytes of their texts.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// Portals of a connection.
const PORTALS_MAX: usize = 64;

/// A statement that was made sense of.
#[derive(Clone, Debug)]
struct Prepared {
    /// What the client sent.
    source: String,
    plan: Plan,
    parameters: Vec<Parameter>,
    columns: Option<Columns>,
}

/// A statement with its values.
struct Portal {
    statement: Prepared,
    values: Vec<ScalarValue>,
    formats: Vec<Format>,
    running: Option<Running>,
    has_ended: bool,
}

/// What a connection keeps by name.
#[derive(Default)]
pub(super) struct Kept {
    statements: HashMap<String, Prepared>,
    portals: HashMap<String, Portal>,
}

impl Kept {
    /// Forgets a statement.
    ///
    /// # Errors
    /// When there is none of this name.
    pub(super) fn deallocate(&mut self, name: &str) -> Result<(), Failure> {
        self.statements.remove(name).map(|_| ()).ok_or_else(|| no_statement(name))
    }

    /// Forgets all statements.
    pub(super) fn deallocate_all(&mut self) {
        self.statements.clear();
    }

    /// Ends a portal, if there is one of this name.
    pub(super) fn end_portal(&mut self, name: &str) {
        self.portals.remove(name);
    }

    /// Ends all portals.
    pub(super) fn end_portals(&mut self) {
        self.portals.clear();
    }

    /// Makes room for the statement `name` with the text `source`, in the place of an earlier one without a name.
    ///
    /// # Errors
    /// When there is one of this name, or too much is kept.
    fn make_room(&mut self, name: &str, source: &str) -> Result<(), Failure> {
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(Failure::new(DUPLICATE_STATEMENT, format!("prepared statement {name:?} already exists")));
        }
        self.statements.remove(name);
        let bytes: usize = self.statements.values().map(|statement| statement.source.len()).sum();
        if self.statements.len() >= STATEMENTS_MAX || bytes + source.len() > KEPT_BYTES_MAX {
            return Err(Failure::new(TOO_MANY_KEPT, "too many prepared statements; close some"));
        }
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<&Prepared, Failure> {
        self.statements.get(name).ok_or_else(|| no_statement(name))
    }

    /// Keeps a portal, in the place of an earlier one of this name.
    ///
    /// # Errors
    /// When there are too many.
    fn add_portal(&mut self, name: String, portal: Portal) -> Result<(), Failure> {
        self.portals.remove(&name);
        if self.portals.len() >= PORTALS_MAX {
            return Err(Failure::new(TOO_MANY_KEPT, "too many portals; close some"));
        }
        self.portals.insert(name, portal);
        Ok(())
    }

    /// Takes a portal, which is kept no more: one that fails is gone.
    fn take_portal(&mut self, name: &str) -> Result<Portal, Failure> {
        self.portals.remove(name).ok_or_else(|| no_portal(name))
    }
}

impl Connection<'_> {
    /// A message of the extended protocol.
    pub(super) async fn step(&mut self, tag: u8, body: Body) -> Result<(), Stop> {
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
        self.kept.make_room(&name, &source)?;
        let statement = match self.prepare(&source, &given).await {
            Ok(statement) => statement,
            Err(Stop::Failed(failure)) if !failure.is_fatal => {
                self.skips = true;
                self.fail(&failure, failure.place.and_then(|place| position(&source, place)));
                return Ok(());
            }
            Err(stop) => return Err(stop),
        };
        self.kept.statements.insert(name, statement);
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
        let statement = self.kept.statement(&name)?.clone();
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
        self.kept.add_portal(portal, Portal { statement, values, formats, running: None, has_ended: false })?;
        self.writer.mark(b'2');
        Ok(())
    }

    async fn describe(&mut self, mut body: Body) -> Result<(), Stop> {
        let (what, name) = (body.u8()?, body.text()?);
        if what == b'S' {
            let statement = self.kept.statement(&name)?;
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
        let mut portal = self.kept.take_portal(&name)?;
        self.learn_columns(&mut portal).await?;
        match &portal.statement.columns {
            Some(columns) => columns.describe(&expand(&portal.formats, columns.len())?, &mut self.writer),
            None => self.writer.mark(b'n'),
        }
        self.kept.portals.insert(name, portal);
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
        let mut portal = self.kept.take_portal(&name)?;
        self.run_portal(&mut portal, rows_max).await?;
        self.kept.portals.insert(name, portal);
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
            b'S' => _ = self.kept.statements.remove(&name),
            _ => self.kept.end_portal(&name),
        }
        self.writer.mark(b'3');
        Ok(())
    }
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
