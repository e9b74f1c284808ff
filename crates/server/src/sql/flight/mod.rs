//! Arrow Flight SQL: statements, prepared statements with parameters, and what there is to ask, for ADBC, JDBC and ODBC.
//!
//! ```text
//! GetFlightInfo ─▶ describe ─▶ schema, and a ticket that holds the statement ─▶ DoGet ─▶ rows
//! CreatePreparedStatement ─▶ handle ─▶ DoPut of a row of values ─▶ handle with them ─▶ GetFlightInfo ─▶ DoGet
//! ```
//!
//! The server keeps nothing between calls: tickets and handles say all ([`Bound`]), so any server of a store answers any of
//! them, and nothing is left behind by a client that goes. SQL is read-only, so updates, transactions and savepoints are refused.
//! A call asks for the tenant that its metadata names. The handshake takes anybody.

mod answer;
mod bound;
mod metadata;

use std::pin::Pin;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any, Command,
    CommandPreparedStatementQuery, DoPutPreparedStatementResult, ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, IpcMessage, PollInfo, PutResult, SchemaAsIpc, SchemaResult, Ticket,
};
use bytes::Bytes;
use flamestore_model::{Error, Result, Tenant};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::Sql;
use crate::guard::Bounds;
use crate::status::{status_of, tenant_of};
use answer::Answer;
use bound::Bound;

/// The methods of the service.
pub(crate) const METHODS: [&str; 10] = [
    "/arrow.flight.protocol.FlightService/Handshake",
    "/arrow.flight.protocol.FlightService/ListFlights",
    "/arrow.flight.protocol.FlightService/GetFlightInfo",
    "/arrow.flight.protocol.FlightService/PollFlightInfo",
    "/arrow.flight.protocol.FlightService/GetSchema",
    "/arrow.flight.protocol.FlightService/DoGet",
    "/arrow.flight.protocol.FlightService/DoPut",
    "/arrow.flight.protocol.FlightService/DoExchange",
    "/arrow.flight.protocol.FlightService/DoAction",
    "/arrow.flight.protocol.FlightService/ListActions",
];

const CREATE: &str = "CreatePreparedStatement";
const CLOSE: &str = "ClosePreparedStatement";

/// What a driver that sent a name and a password is told to send instead of them. It opens nothing.
const NO_TOKEN: &str = "Bearer none-needed";

/// Answers `arrow.flight.protocol.FlightService` from one engine.
#[derive(Clone, Debug)]
pub(crate) struct Flight(pub(crate) Sql);

/// What is asked for.
enum Asked {
    Rows(Bound),
    Table(arrow::array::RecordBatch),
}

impl Flight {
    /// What `command` asks for.
    async fn asked(&self, tenant: &Tenant, command: Command) -> Result<Asked> {
        let engine = &self.0.engine;
        Ok(Asked::Table(match command {
            Command::CommandStatementQuery(query) => {
                without_transaction(query.transaction_id.as_ref())?;
                return Ok(Asked::Rows(Bound::new(query.query)?));
            }
            Command::TicketStatementQuery(ticket) => return Ok(Asked::Rows(Bound::decode(&ticket.statement_handle)?)),
            Command::CommandPreparedStatementQuery(query) => {
                return Ok(Asked::Rows(Bound::decode(&query.prepared_statement_handle)?));
            }
            Command::CommandGetCatalogs(query) => metadata::catalogs(query)?,
            Command::CommandGetDbSchemas(query) => metadata::schemas(engine, tenant, query).await?,
            Command::CommandGetTables(query) => metadata::tables(engine, tenant, query).await?,
            Command::CommandGetTableTypes(query) => metadata::table_types(query)?,
            Command::CommandGetSqlInfo(query) => metadata::sql_info(query)?,
            Command::CommandGetXdbcTypeInfo(query) => metadata::types(query)?,
            Command::CommandGetPrimaryKeys(_) => metadata::no_primary_keys(),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => metadata::no_foreign_keys(),
            other => return Err(refused(&other)),
        }))
    }

    /// The columns of the answer.
    async fn schema(&self, tenant: &Tenant, asked: &Asked) -> Result<SchemaRef> {
        match asked {
            Asked::Table(table) => Ok(table.schema()),
            Asked::Rows(bound) if bound.values().is_empty() => {
                Ok(self.0.engine.describe_sql(tenant, bound.statement()).await?.columns)
            }
            // values may tell more of the types; what was planned for it is dropped before a row is read
            Asked::Rows(bound) => Ok(self.0.engine.sql_bound(tenant, bound.statement(), bound.values()).await?.schema),
        }
    }

    async fn flight_info(&self, request: Request<FlightDescriptor>) -> Result<FlightInfo> {
        let tenant = tenant_of(request.metadata())?;
        let descriptor = request.into_inner();
        let command = command_of(&descriptor.cmd)?;
        let is_text = matches!(command, Command::CommandStatementQuery(_));
        let asked = self.asked(&tenant, command).await?;
        let schema = self.schema(&tenant, &asked).await?;
        let ticket = match &asked {
            Asked::Rows(bound) if is_text => {
                TicketStatementQuery { statement_handle: bound.encode() }.as_any().encode_to_vec().into()
            }
            Asked::Rows(_) | Asked::Table(_) => descriptor.cmd.clone(),
        };
        let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket });
        let info = FlightInfo { schema: message(&schema)?, total_records: -1, total_bytes: -1, ..FlightInfo::new() };
        Ok(info.with_descriptor(descriptor).with_endpoint(endpoint))
    }

    async fn schema_of(&self, request: Request<FlightDescriptor>) -> Result<SchemaResult> {
        let tenant = tenant_of(request.metadata())?;
        let asked = self.asked(&tenant, command_of(&request.get_ref().cmd)?).await?;
        Ok(SchemaResult { schema: message(&*self.schema(&tenant, &asked).await?)? })
    }

    async fn get(&self, request: Request<Ticket>) -> Result<Answer> {
        let tenant = tenant_of(request.metadata())?;
        let bounds = request.extensions().get::<Bounds>().cloned();
        let bounds = bounds.ok_or_else(|| Error::internal("the request has no bounds"))?;
        match self.asked(&tenant, command_of(&request.get_ref().ticket)?).await? {
            Asked::Table(table) => answer::table(&self.0, table, bounds),
            Asked::Rows(bound) => {
                let rows = self.0.engine.sql_bound(&tenant, bound.statement(), bound.values()).await?;
                answer::rows(&self.0, rows, bounds)
            }
        }
    }

    async fn put(&self, request: Request<Streaming<FlightData>>) -> Result<DoPutPreparedStatementResult, Status> {
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        let first = first.ok_or_else(|| invalid("a DoPut has no message"))?;
        let descriptor = first.flight_descriptor.as_ref();
        let descriptor = descriptor.ok_or_else(|| invalid("the first message of a DoPut has no descriptor"))?;
        let command = command_of(&descriptor.cmd).map_err(|error| status_of(&error))?;
        let Command::CommandPreparedStatementQuery(CommandPreparedStatementQuery { prepared_statement_handle }) =
            command
        else {
            return Err(status_of(&refused(&command)));
        };
        let bound = Bound::decode(&prepared_statement_handle).map_err(|error| status_of(&error))?;
        let mut records = bound::Records::new();
        let mut next = Some(first);
        while let Some(message) = next {
            records.add(&message).map_err(|error| status_of(&error))?;
            next = messages.message().await?;
        }
        let bound = self.0.compute.run_on(records.len(), move || bound.with(records)).await;
        let handle = bound.map_err(|error| status_of(&error))?.encode();
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn act(&self, request: Request<Action>) -> Result<Option<Bytes>> {
        let tenant = tenant_of(request.metadata())?;
        let action = request.into_inner();
        match action.r#type.as_str() {
            CREATE => {
                let Command::ActionCreatePreparedStatementRequest(asked) = command_of(&action.body)? else {
                    return Err(Error::invalid("the body of the action is not its request").with("action", CREATE));
                };
                Ok(Some(self.prepare(&tenant, asked).await?.as_any().encode_to_vec().into()))
            }
            CLOSE => Ok(None),
            "CancelQuery" | "CancelFlightInfo" => {
                Err(Error::unsupported("a statement ends with the call that reads it; cancel that"))
            }
            other => Err(Error::unsupported("SQL is read-only and has no such action").with("action", other)),
        }
    }

    async fn prepare(
        &self,
        tenant: &Tenant,
        asked: ActionCreatePreparedStatementRequest,
    ) -> Result<ActionCreatePreparedStatementResult> {
        without_transaction(asked.transaction_id.as_ref())?;
        let bound = Bound::new(asked.query)?;
        let described = self.0.engine.describe_sql(tenant, bound.statement()).await?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: bound.encode(),
            dataset_schema: message(&described.columns)?,
            parameter_schema: message(&writable(&described.parameters))?,
        })
    }
}

/// Parameters of which nothing is known are text: drivers have no way to write a value to a parameter of type null.
fn writable(parameters: &Schema) -> Schema {
    let field = |field: &arrow::datatypes::FieldRef| match field.data_type() {
        DataType::Null => field.as_ref().clone().with_data_type(DataType::Utf8),
        _ => field.as_ref().clone(),
    };
    Schema::new(parameters.fields().iter().map(field).collect::<Vec<_>>())
}

fn without_transaction(id: Option<&Bytes>) -> Result<()> {
    match id {
        None => Ok(()),
        Some(_) => Err(Error::unsupported("SQL is read-only: there are no transactions")),
    }
}

fn refused(command: &Command) -> Error {
    let name = command.type_url().rsplit('.').next().unwrap_or_default().to_owned();
    match command {
        Command::Unknown(any) => Error::invalid("this is no command of Flight SQL").with("type", &any.type_url),
        Command::CommandStatementSubstraitPlan(_) => Error::unsupported("statements are SQL, not plans of Substrait"),
        Command::CommandStatementUpdate(_)
        | Command::CommandPreparedStatementUpdate(_)
        | Command::CommandStatementIngest(_) => Error::unsupported("SQL is read-only").with("command", name),
        _ => Error::invalid("the command has no place in this call").with("command", name),
    }
}

fn command_of(bytes: &[u8]) -> Result<Command> {
    let any = Any::decode(bytes).map_err(|error| Error::invalid("this is no command of Flight SQL").because(error))?;
    Command::try_from(any).map_err(|error| Error::invalid("a command of Flight SQL cannot be read").because(error))
}

/// A schema as a message of Arrow's IPC format.
fn message(schema: &Schema) -> Result<Bytes> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(|error: arrow::error::ArrowError| Error::internal("a schema cannot be written").because(error))?;
    Ok(bytes)
}

fn invalid(said: &str) -> Status {
    status_of(&Error::invalid(said))
}

/// Whether a name and a password came with the call.
fn has_credentials(metadata: &MetadataMap) -> bool {
    metadata.get("authorization").and_then(|value| value.to_str().ok()).is_some_and(|value| value.starts_with("Basic "))
}

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn one<T: Send + 'static>(value: T) -> Response<Streamed<T>> {
    Response::new(stream::iter([Ok(value)]).boxed())
}

fn unsupported<T>(said: &str) -> Result<T, Status> {
    Err(status_of(&Error::unsupported(said)))
}

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Streamed<HandshakeResponse>;
    type ListFlightsStream = Streamed<FlightInfo>;
    type DoGetStream = Streamed<FlightData>;
    type DoPutStream = Streamed<PutResult>;
    type DoExchangeStream = Streamed<FlightData>;
    type DoActionStream = Streamed<arrow_flight::Result>;
    type ListActionsStream = Streamed<ActionType>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let has_credentials = has_credentials(request.metadata());
        let answers = request
            .into_inner()
            .map_ok(|asked| HandshakeResponse { protocol_version: asked.protocol_version, payload: Bytes::new() });
        let mut answer = Response::new(answers.boxed() as Self::HandshakeStream);
        if has_credentials {
            answer.metadata_mut().insert("authorization", tonic::metadata::MetadataValue::from_static(NO_TOKEN));
        }
        Ok(answer)
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        unsupported("there is no list of flights; ask for the tables")
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        self.flight_info(request).await.map(Response::new).map_err(|error| status_of(&error))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        unsupported("statements are not polled; ask with GetFlightInfo")
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        self.schema_of(request).await.map(Response::new).map_err(|error| status_of(&error))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let answer = self.get(request).await.map_err(|error| status_of(&error))?;
        Ok(Response::new(answer.boxed()))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let result = self.put(request).await?;
        Ok(one(PutResult { app_metadata: result.encode_to_vec().into() }))
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        unsupported("nothing is exchanged; ask with GetFlightInfo and DoGet")
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let body = self.act(request).await.map_err(|error| status_of(&error))?;
        let results = body.map(|body| Ok(arrow_flight::Result { body }));
        Ok(Response::new(stream::iter(results).boxed()))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        let actions = [(CREATE, "Prepares a statement."), (CLOSE, "Forgets a prepared statement.")];
        let actions = actions.map(|(name, said)| Ok(ActionType { r#type: name.into(), description: said.into() }));
        Ok(Response::new(stream::iter(actions).boxed()))
    }
}
