//! Segments that a statement had to leave out are named by every door that it came through.

use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use flamestore_proto::v1;
use flamestore_server::ServerConfig;
use flamestore_store::{BucketOptions, StoreUrl};
use flamestore_testkit::profile;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::harness::{NOON, Running, SECOND, config, raw};
use crate::postgres_client::{Answer, Client, bind, execute, parse, sync};

const STATEMENT: &str = "SELECT value FROM samples ORDER BY value";
const WHOLE: &str = "SELECT 7 AS value";

/// A server with three profiles, each in a segment of its own; the samples of two are other bytes than were written. Their
/// segments too, sorted.
async fn damaged(folder: &Path) -> (Running, Vec<String>) {
    let running = Running::start_in(folder).await;
    for second in 0..3 {
        let batch = profile(&format!("main;read {}", second + 1));
        let labels = [("service_name", "api")];
        running.push(v1::RawProfile { time_unix_nano: Some(NOON + second * SECOND), ..raw(&labels, &batch) }).await;
        running.store.flush().await.unwrap();
    }
    running.stop().await.unwrap();
    let mut files = files(&folder.join("anonymous").join("samples"));
    files.sort();
    let segment = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let segments: Vec<String> = files.iter().take(2).map(segment).collect();
    for path in &files[..2] {
        let length = std::fs::metadata(path).unwrap().len();
        std::fs::write(path, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
    }
    let listening = ServerConfig { postgres_listen: "127.0.0.1:0".parse().ok(), ..config() };
    let running = Running::start_with(listening, StoreUrl::Folder(folder.to_owned()), &BucketOptions::default()).await;
    (running, segments)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The names in a list of damaged segments, of which each says what is wrong with it.
fn names(damaged: &Value) -> Vec<String> {
    let name = |of: &Value| {
        assert!(!of["error"].as_str().unwrap().is_empty(), "{of}");
        of["segment"].as_str().unwrap().to_owned()
    };
    damaged.as_array().map(|all| all.iter().map(name).collect()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_names_what_is_missing_behind_the_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (running, segments) = damaged(folder.path()).await;
    for _found_and_known in 0..2 {
        let answer = running.post("/api/v1/sql", &[("content-type", "text/plain")], STATEMENT).await;
        let told: Value = serde_json::from_slice(&answer.bytes).unwrap();
        assert_eq!(told["rows"], serde_json::json!([[3]]));
        assert_eq!(names(&told["damaged"]), segments);
    }
    for (statement, expected) in [(STATEMENT, segments.as_slice()), (WHOLE, &[])] {
        let body = format!(
            "POST /api/v1/sql?format=csv HTTP/1.1\r\nhost: test\r\nconnection: close\r\nte: trailers\r\n\
             content-type: text/plain\r\ncontent-length: {}\r\n\r\n{statement}",
            statement.len()
        );
        let answer = running.send(body.as_bytes()).await;
        let trailers = answer.rsplit_once("\r\n0\r\n").unwrap().1;
        let told: Vec<_> = trailers.lines().filter_map(|line| line.strip_prefix("flamestore-damaged: ")).collect();
        assert_eq!(told, expected, "{answer}");
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_names_what_is_missing_in_its_report() {
    let folder = tempfile::tempdir().unwrap();
    let (running, segments) = damaged(folder.path()).await;
    let request = v1::SqlRequest { statement: STATEMENT.to_owned(), limit: 0 };
    let parts: Vec<_> = running.query().sql(request).await.unwrap().into_inner().try_collect().await.unwrap();
    let report = parts.last().unwrap().report.clone().unwrap();
    let told: Vec<_> = report.damaged.iter().map(|of| of.segment.clone()).collect();
    assert_eq!(told, segments);
    running.stop().await.unwrap();
}

/// The messages of Flight that answer `statement`.
async fn messages(running: &Running, statement: &str) -> Vec<FlightData> {
    let mut client = FlightSqlServiceClient::new(running.channel.clone());
    let info = client.execute(statement.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let messages = FlightServiceClient::new(running.channel.clone()).do_get(ticket).await.unwrap().into_inner();
    messages.try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn flight_names_what_is_missing_beside_a_batch_of_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (running, segments) = damaged(folder.path()).await;
    for (statement, expected, value) in [(STATEMENT, segments, 3), (WHOLE, Vec::new(), 7)] {
        let sent = messages(&running, statement).await;
        let told = sent.iter().filter(|message| !message.app_metadata.is_empty());
        let told: Vec<Value> = told.map(|message| serde_json::from_slice(&message.app_metadata).unwrap()).collect();
        assert_eq!(told.iter().flat_map(|told| names(&told["damaged"])).collect::<Vec<_>>(), expected);
        assert_eq!(sent.last().unwrap().app_metadata.is_empty(), expected.is_empty());
        let read = FlightRecordBatchStream::new_from_flight_data(stream::iter(sent.into_iter().map(Ok)));
        let batches: Vec<RecordBatch> = read.map(Result::unwrap).collect().await;
        let values: Vec<i64> =
            batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        assert_eq!(values, [value]);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_warns_of_what_is_missing_before_it_says_that_a_statement_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (running, segments) = damaged(folder.path()).await;
    let mut client = Client::connect(running.postgres.unwrap(), "flamestore").await;
    let check = |answer: Answer, messages: &str| {
        assert_eq!(answer.messages, messages, "{answer:?}");
        for (notice, segment) in answer.notices.iter().zip(&segments) {
            assert_eq!((notice.severity.as_str(), notice.code.as_str()), ("WARNING", "01000"));
            assert!(notice.message.contains(segment.as_str()), "{segment}: {notice:?}");
        }
        assert_eq!(answer.good().rows.len(), messages.matches('D').count());
    };
    check(client.query(STATEMENT).await, "TDNNCZ");
    check(client.bound(STATEMENT, &[], &[], 0).await, "12TDNNCZ");
    check(client.query(WHOLE).await, "TDCZ");
    // a portal that gives a row at a time
    client.query("BEGIN").await;
    let two = "SELECT value FROM samples UNION ALL SELECT 7";
    let steps = [parse("", two, &[]), bind("p", "", &[], 0), execute("p", 1), execute("p", 0), sync()];
    check(client.ask(&steps.concat()).await, "12DsDNNCZ");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_counted_by_their_profiles_until_their_samples_are_found_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (running, segments) = damaged(folder.path()).await;
    let ask = async |statement: &str| -> Value {
        let answer = running.post("/api/v1/sql", &[("content-type", "text/plain")], statement.to_owned()).await;
        serde_json::from_slice(&answer.bytes).unwrap()
    };
    let counted = ask("SELECT count(*) FROM samples").await;
    assert_eq!((counted["rows"].to_string().as_str(), names(&counted["damaged"])), ("[[3]]", Vec::new()));
    assert_eq!(names(&ask(STATEMENT).await["damaged"]), segments);
    let counted = ask("SELECT count(*) FROM samples").await;
    assert_eq!((counted["rows"].to_string().as_str(), names(&counted["damaged"])), ("[[1]]", segments));
    running.stop().await.unwrap();
}
