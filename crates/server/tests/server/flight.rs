//! Flight SQL as its clients call it: statements, parameters, metadata, what is refused, who leaves and who is late.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema, UInt32Type};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    Any, CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, CommandStatementIngest, CommandStatementQuery,
    CommandStatementSubstraitPlan, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{Action, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, Ticket};
use flamestore_proto::v1;
use flamestore_server::{Role, ServerConfig};
use flamestore_testkit::profile;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::harness::{CPU, NOON, Running, SECOND, config, raw};

type Client = FlightSqlServiceClient<Channel>;

/// Rows without end, or nearly.
const ENDLESS: &str = "SELECT value FROM generate_series(1, 1000000000000)";

fn client(running: &Running) -> Client {
    FlightSqlServiceClient::new(running.channel.clone())
}

fn flight(running: &Running) -> FlightServiceClient<Channel> {
    FlightServiceClient::new(running.channel.clone())
}

async fn world() -> Running {
    let running = Running::start().await;
    for (second, service) in [(0, "api"), (60, "web")] {
        let batch = profile(&format!("main;read {} | main;write 1", second + 2));
        let labels = [("service_name", service)];
        running.push(v1::RawProfile { time_unix_nano: Some(NOON + second * SECOND), ..raw(&labels, &batch) }).await;
    }
    running
}

/// The rows of all endpoints, which have the columns that were announced.
async fn fetched(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
    let announced = info.clone().try_decode_schema()?;
    let mut batches = Vec::new();
    for endpoint in info.endpoint {
        let mut rows = client.do_get(endpoint.ticket.unwrap()).await?;
        while let Some(batch) = rows.try_next().await? {
            batches.push(batch);
        }
        let schema = rows.schema().unwrap();
        let columns = |schema: &Schema| -> Vec<(String, DataType)> {
            schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        assert_eq!(columns(schema), columns(&announced));
    }
    Ok(batches)
}

/// The first column, which is one of text.
fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let column = |batch: &RecordBatch| batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect();
    batches.iter().flat_map(|batch| -> Vec<String> { column(batch) }).collect()
}

/// The first column, which is one of 64-bit integers.
fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("no status: {other}"),
    }
}

fn check_status(status: &Status, code: Code, part: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(part), "{part} is not in {status:?}");
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn number(value: i64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

fn row(columns: Vec<ArrayRef>) -> RecordBatch {
    let named = columns.into_iter().enumerate().map(|(at, column)| (format!("{at}"), column));
    RecordBatch::try_from_iter(named).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_described_and_run() {
    let running = world().await;
    let mut client = client(&running);
    let info = client.execute("SELECT service_name FROM profiles ORDER BY time".to_owned(), None).await.unwrap();
    assert_eq!((info.endpoint.len(), info.total_records), (1, -1));
    assert_eq!(texts(&fetched(&mut client, info).await.unwrap()), ["api", "web"]);
    let info = client.execute("SELECT 1 AS n WHERE false".to_owned(), None).await.unwrap();
    assert!(fetched(&mut client, info).await.unwrap().is_empty());
    let query = CommandStatementQuery { query: "SELECT 7 AS n, 'x' AS t".to_owned(), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(query.as_any().encode_to_vec());
    let told = flight(&running).get_schema(descriptor).await.unwrap().into_inner();
    let schema = Schema::try_from(told).unwrap();
    let types: Vec<&DataType> = schema.fields().iter().map(|field| field.data_type()).collect();
    assert_eq!(types, [&DataType::Int64, &DataType::Utf8]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_take_a_row_of_values() {
    let running = world().await;
    let mut client = client(&running);
    let statement = "SELECT service_name FROM profiles WHERE time >= ? AND service_name <> ? ORDER BY time LIMIT ?";
    let mut prepared = client.prepare(statement.to_owned(), None).await.unwrap();
    let types: Vec<String> =
        prepared.parameter_schema().unwrap().fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types, ["Timestamp(ns, \"UTC\")", "Utf8", "Int64"]);
    assert_eq!(prepared.dataset_schema().unwrap().field(0).name(), "service_name");
    let later = NOON + 60 * SECOND;
    let millis: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![later / 1_000_000]));
    for (time, expected) in [
        (number(NOON), vec!["api", "web"]),
        (number(later), vec!["web"]),
        (millis, vec!["web"]),
        (text("2026-03-01T12:01:00Z"), vec!["web"]),
        (text("2026-03-02"), vec![]),
    ] {
        prepared.set_parameters(row(vec![time, text("db"), number(9)])).unwrap();
        let info = prepared.execute().await.unwrap();
        assert_eq!(texts(&fetched(&mut client, info).await.unwrap()), expected);
    }
    prepared.close().await.unwrap();

    let call = "SELECT CAST(sum(self) AS BIGINT) AS n FROM merge($1, $2, $3)";
    let mut prepared = client.prepare(call.to_owned(), None).await.unwrap();
    let parameters = prepared.parameter_schema().unwrap();
    assert!(parameters.fields().iter().all(|field| field.data_type() == &DataType::Utf8));
    prepared.set_parameters(row(vec![text(CPU), text("2026-03-01"), number(NOON + 1)])).unwrap();
    let info = prepared.execute().await.unwrap();
    assert_eq!(numbers(&fetched(&mut client, info).await.unwrap()), [3]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_are_told_by_name() {
    let running = world().await;
    let mut client = client(&running);
    let mut prepared = client.prepare("SELECT value FROM samples WHERE value = $1".to_owned(), None).await.unwrap();
    let several: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let cases: [(Vec<ArrayRef>, &str); 3] = [
        (vec![text("many")], "parameter=$1"),
        (vec![number(1), number(2)], "parameter=$2"),
        (vec![several], "run it once for each row [rows=2]"),
    ];
    for (values, part) in cases {
        prepared.set_parameters(row(values)).unwrap();
        let error = prepared.execute().await.unwrap_err();
        check_status(&status(error), Code::InvalidArgument, part);
    }
    // without values it is described, and not run
    let mut prepared = client.prepare("SELECT value FROM samples WHERE value = $1".to_owned(), None).await.unwrap();
    let info = prepared.execute().await.unwrap();
    let error = fetched(&mut client, info).await.unwrap_err();
    check_status(&status(error), Code::InvalidArgument, "a parameter of the statement has no value [parameter=$1");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_says_what_there_is() {
    let running = world().await;
    let mut client = client(&running);
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(texts(&fetched(&mut client, info).await.unwrap()), ["flamestore"]);
    let info = client.get_table_types().await.unwrap();
    assert_eq!(texts(&fetched(&mut client, info).await.unwrap()), ["TABLE", "VIEW"]);

    let asked = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: Some("%u%i_".to_owned()) };
    let info = client.get_db_schemas(asked).await.unwrap();
    let found = fetched(&mut client, info).await.unwrap();
    assert_eq!(found[0].column(1).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["public"]);

    let asked = CommandGetTables {
        db_schema_filter_pattern: Some("public".to_owned()),
        table_types: vec!["TABLE".to_owned()],
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = client.get_tables(asked).await.unwrap();
    let found = arrow::compute::concat_batches(
        &Arc::new(info.clone().try_decode_schema().unwrap()),
        &fetched(&mut client, info).await.unwrap(),
    )
    .unwrap();
    let names: Vec<&str> = found.column(2).as_string::<i32>().iter().flatten().collect();
    assert_eq!(names, ["functions", "profiles", "samples", "segments", "series", "stacks"]);
    let columns = found.column(4).as_binary::<i32>().value(2).to_vec();
    let columns = Schema::try_from(arrow_flight::IpcMessage(columns.into())).unwrap();
    assert!(columns.field_with_name("stack").is_ok() && columns.field_with_name("value").is_ok(), "{columns}");

    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly]).await.unwrap();
    let found = fetched(&mut client, info).await.unwrap();
    assert_eq!(found[0].column(0).as_primitive::<UInt32Type>().values(), &[0, 3]);
    assert_eq!(found[0].column(1).as_union().value(0).as_string::<i32>().value(0), "Flamestore");
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: Some(-5) }).await.unwrap();
    let found = fetched(&mut client, info).await.unwrap();
    assert_eq!((texts(&found), found[0].num_columns()), (vec!["BIGINT".to_owned()], 19));
    assert_eq!(found[0].column(1).as_primitive::<Int32Type>().values(), &[-5]);

    let table = "samples".to_owned();
    let keys = [
        (client.get_primary_keys(CommandGetPrimaryKeys { table: table.clone(), ..Default::default() }).await, 6),
        (client.get_exported_keys(CommandGetExportedKeys { table: table.clone(), ..Default::default() }).await, 13),
        (client.get_imported_keys(CommandGetImportedKeys { table, ..Default::default() }).await, 13),
        (client.get_cross_reference(CommandGetCrossReference::default()).await, 13),
    ];
    for (info, columns) in keys {
        let info = info.unwrap();
        assert_eq!(info.clone().try_decode_schema().unwrap().fields().len(), columns);
        assert!(fetched(&mut client, info).await.unwrap().is_empty());
    }
    let actions = flight(&running).list_actions(Empty {}).await.unwrap().into_inner();
    let actions: Vec<String> = actions.map_ok(|action| action.r#type).try_collect().await.unwrap();
    assert_eq!(actions, ["CreatePreparedStatement", "ClosePreparedStatement"]);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_takes_anybody() {
    let running = Running::start().await;
    let mut client = client(&running);
    client.handshake("somebody", "secret").await.unwrap();
    assert_eq!(client.token().map(String::as_str), Some("none-needed"));
    let info = client.execute("SELECT 7".to_owned(), None).await.unwrap();
    assert_eq!(numbers(&fetched(&mut client, info).await.unwrap()), [7]);
    let plain = futures::stream::iter([HandshakeRequest::default()]);
    let answer = flight(&running).handshake(plain).await.unwrap();
    assert!(answer.metadata().get("authorization").is_none());
    assert_eq!(answer.into_inner().count().await, 1);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_change_something_is_refused() {
    let running = Running::start().await;
    let mut client = client(&running);
    let update = client.execute_update("DELETE FROM profiles".to_owned(), None).await.unwrap_err();
    check_status(&status(update), Code::Unimplemented, "SQL is read-only [command=CommandStatementUpdate]");
    let ingest = futures::stream::iter([Ok(row(vec![number(1)]))]);
    let ingest = client.execute_ingest(CommandStatementIngest::default(), ingest).await.unwrap_err();
    check_status(&status(ingest), Code::Unimplemented, "SQL is read-only");
    let begun = client.begin_transaction().await.unwrap_err();
    check_status(&status(begun), Code::Unimplemented, "no such action [action=BeginTransaction]");
    let inside = client.execute("SELECT 1".to_owned(), Some(vec![1].into())).await.unwrap_err();
    check_status(&status(inside), Code::Unimplemented, "there are no transactions");
    let created = client.prepare("CREATE TABLE t AS SELECT 1".to_owned(), None).await.unwrap_err();
    check_status(&status(created), Code::InvalidArgument, "");
    let mut prepared = client.prepare("SELECT 1".to_owned(), None).await.unwrap();
    check_status(&status(prepared.execute_update().await.unwrap_err()), Code::Unimplemented, "SQL is read-only");
    running.stop().await.unwrap();
}

fn command(any: &Any) -> FlightDescriptor {
    FlightDescriptor::new_cmd(any.encode_to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_calls_are_told_what_is_wrong() {
    let running = Running::start().await;
    let mut flight = flight(&running);
    let query = |query: &str| CommandStatementQuery { query: query.to_owned(), transaction_id: None }.as_any();
    let unknown = Any { type_url: "type.googleapis.com/a.b.C".to_owned(), value: Default::default() };
    let broken = Any { value: vec![0xff].into(), ..query("") };
    let descriptors: [(FlightDescriptor, Code, &str); 9] = [
        (command(&query("")), Code::InvalidArgument, "the statement is empty"),
        (command(&query("SELEC 1")), Code::InvalidArgument, "SELEC"),
        (command(&query("SELECT * FROM nowhere")), Code::InvalidArgument, "nowhere"),
        (command(&query(&" ".repeat((1 << 20) + 1))), Code::ResourceExhausted, "the statement is too long"),
        (command(&unknown), Code::InvalidArgument, "no command of Flight SQL [type=type.googleapis.com/a.b.C]"),
        (command(&broken), Code::InvalidArgument, "cannot be read"),
        (FlightDescriptor::new_cmd(vec![0xff]), Code::InvalidArgument, "no command of Flight SQL"),
        (FlightDescriptor::new_path(vec!["samples".to_owned()]), Code::InvalidArgument, "no command of Flight SQL"),
        (command(&CommandStatementSubstraitPlan::default().as_any()), Code::Unimplemented, "Substrait"),
    ];
    for (descriptor, code, part) in descriptors {
        check_status(&flight.get_flight_info(descriptor.clone()).await.unwrap_err(), code, part);
        check_status(&flight.get_schema(descriptor).await.unwrap_err(), code, part);
    }
    let ticket = TicketStatementQuery { statement_handle: vec![9, 9].into() }.as_any().encode_to_vec();
    let got = flight.do_get(Ticket { ticket: ticket.into() }).await.unwrap_err();
    check_status(&got, Code::InvalidArgument, "no handle of a statement");
    check_status(&flight.list_flights(Criteria::default()).await.unwrap_err(), Code::Unimplemented, "tables");
    let poll = flight.poll_flight_info(command(&query("SELECT 1"))).await.unwrap_err();
    check_status(&poll, Code::Unimplemented, "polled");
    let exchange = flight.do_exchange(futures::stream::iter([FlightData::default()])).await.unwrap_err();
    check_status(&exchange, Code::Unimplemented, "DoGet");
    let put = flight.do_put(futures::stream::iter([FlightData::default()])).await.unwrap_err();
    check_status(&put, Code::InvalidArgument, "no descriptor");
    for (name, code, part) in [
        ("CancelFlightInfo", Code::Unimplemented, "cancel that"),
        ("Dance", Code::Unimplemented, "no such action [action=Dance]"),
        ("CreatePreparedStatement", Code::InvalidArgument, "not its request"),
    ] {
        let action = Action { r#type: name.to_owned(), body: query("SELECT 1").encode_to_vec().into() };
        check_status(&flight.do_action(action).await.unwrap_err(), code, part);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_in_messages_of_allowed_size_and_in_order() {
    let running = Running::start_configured(ServerConfig { answer_bytes_max: 64 << 10, ..config() }).await;
    let mut client = client(&running);
    let many = "SELECT value, repeat('x', 100) AS text FROM generate_series(1, 20000) ORDER BY value";
    let info = client.execute(many.to_owned(), None).await.unwrap();
    assert_eq!(numbers(&fetched(&mut client, info).await.unwrap()), (1..=20_000).collect::<Vec<i64>>());
    let info = client.execute("SELECT repeat('x', 100000) AS text".to_owned(), None).await.unwrap();
    let error = fetched(&mut client, info).await.unwrap_err();
    check_status(&status(error), Code::ResourceExhausted, "answer_bytes_max=65536");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_after_rows_ends_the_stream_with_its_status() {
    let running = Running::start().await;
    let mut client = client(&running);
    let breaks = "SELECT 1 / (value - 900000) AS n FROM generate_series(1, 1000000)";
    let info = client.execute(breaks.to_owned(), None).await.unwrap();
    let mut rows = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    assert!(rows.try_next().await.unwrap().is_some());
    let error = loop {
        match rows.try_next().await {
            Ok(batch) => assert!(batch.is_some(), "the stream ended as if it were whole"),
            Err(error) => break error,
        }
    };
    check_status(&status(error), Code::InvalidArgument, "");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_its_place() {
    let running = Running::start_configured(ServerConfig { requests_max: 1, ..config() }).await;
    let mut client = client(&running);
    let ticket = client.execute(ENDLESS.to_owned(), None).await.unwrap().endpoint[0].ticket.clone().unwrap();
    // what told of the ticket may hold its place for a moment more
    let mut rows = loop {
        match client.do_get(ticket.clone()).await {
            Ok(rows) => break rows,
            Err(error) => check_status(&status(error), Code::ResourceExhausted, "requests_max"),
        }
    };
    assert!(rows.try_next().await.unwrap().is_some());
    let full = client.execute("SELECT 1".to_owned(), None).await.unwrap_err();
    check_status(&status(full), Code::ResourceExhausted, "requests_max");
    drop(rows);
    while client.execute("SELECT 1".to_owned(), None).await.is_err() {
        tokio::task::yield_now().await;
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_hold_for_the_whole_answer() {
    let running = Running::start().await;
    let ticket = client(&running).execute(ENDLESS.to_owned(), None).await.unwrap().endpoint[0].ticket.clone().unwrap();
    let mut request = Request::new(ticket);
    request.metadata_mut().insert("grpc-timeout", "3S".parse().unwrap());
    let mut rows = flight(&running).do_get(request).await.unwrap().into_inner();
    let late = loop {
        match rows.message().await {
            Ok(message) => assert!(message.is_some(), "the stream ended as if it were whole"),
            Err(status) => break status,
        }
    };
    check_status(&late, Code::DeadlineExceeded, "");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_see_their_own_rows() {
    let running = world().await;
    for (tenant, expected) in [(None, 2), (Some("other"), 0)] {
        let mut client = client(&running);
        if let Some(tenant) = tenant {
            client.set_header("x-scope-orgid", tenant);
        }
        let info = client.execute("SELECT count(*) AS n FROM profiles".to_owned(), None).await.unwrap();
        assert_eq!(numbers(&fetched(&mut client, info).await.unwrap()), [expected]);
    }
    let mut client = client(&running);
    client.set_header("x-scope-orgid", "../a");
    let error = client.execute("SELECT 1".to_owned(), None).await.unwrap_err();
    check_status(&status(error), Code::InvalidArgument, "tenant");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_only_take_profiles_have_no_flight() {
    let running = Running::start_configured(ServerConfig { roles: vec![Role::Ingest], ..config() }).await;
    let error = client(&running).execute("SELECT 1".to_owned(), None).await.unwrap_err();
    check_status(&status(error), Code::Unimplemented, "");
    running.stop().await.unwrap();
}
