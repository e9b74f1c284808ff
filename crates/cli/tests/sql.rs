//! `sql` as people run it: against a server, on a bucket, into files, and at a prompt.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use flamestore_testkit::Fixture;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use support::{Done, Running, command, finish, ok, run, write_pprof};

/// 2026-05-01T12:00:00Z.
const NOON: i64 = 1_777_636_800_000_000_000;
const COUNT: &str = "SELECT count(*) AS profiles FROM profiles";

/// A server with three profiles: two of service `api`, one of `web`.
struct House {
    folder: tempfile::TempDir,
    server: Running,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Running::serve(&folder.path().join("store"));
        let house = Self { folder, server };
        for (at, service) in (0..).zip(["api", "api", "web"]) {
            let batch = Fixture::cpu().profile(&format!("main;read {}", at + 1));
            let file = write_pprof(house.folder.path(), &format!("{at}.pb.gz"), &batch);
            let time = (NOON + at * 1_000_000_000).to_string();
            house.server.ok(&["push", file.to_str().unwrap(), "--service-name", service, "--time", &time]);
        }
        house
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn sql(&self, args: &[&str]) -> Done {
        self.server.run(&[&["sql"], args].concat())
    }

    fn ok(&self, args: &[&str]) -> String {
        let done = self.sql(args);
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.err);
        done.out
    }
}

/// `args` of `sql` with `text` as standard input.
fn typed(server: &Running, args: &[&str], text: &str) -> Done {
    let mut child =
        command(&[&["sql", "--server", &server.address], args].concat()).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    finish(child)
}

#[test]
fn rows_come_in_every_form() {
    let house = House::new();
    let values =
        "SELECT 1 AS n, 'a,b' AS text, TIMESTAMP '2026-05-01T12:00:00' AS time, [1, 2] AS list, NULL AS nothing";
    let table = "n  text  time                  list    nothing\n1  a,b   2026-05-01T12:00:00Z  [1, 2]  NULL\n";
    assert_eq!(house.ok(&[values]), table);
    let csv = "n,text,time,list,nothing\n1,\"a,b\",2026-05-01T12:00:00Z,\"[1,2]\",\n";
    assert_eq!(house.ok(&[values, "--format", "csv"]), csv);
    let json = house.ok(&[values, "--format", "json"]);
    assert_eq!(json.lines().nth(1), Some(r#"[1,"a,b","2026-05-01T12:00:00Z",[1,2],null]"#), "{json}");
    let arrow = house.sql(&[values, "--format", "arrow"]).bytes;
    let batches: Vec<_> = StreamReader::try_new(&arrow[..], None).unwrap().map(Result::unwrap).collect();
    check_one(&batches, 5);
    let file = house.path("rows.parquet");
    assert_eq!(house.ok(&[values, "--format", "parquet", "--output", &file]), "");
    check_one(&parquet_rows(Path::new(&file)), 5);
    let hostile = house.ok(&["SELECT chr(27) || '[31m' AS \"a\nb\""]);
    assert_eq!(hostile, "a\\nb\n\\u{1b}[31m\n");
    assert_eq!(house.ok(&["SELECT 1 AS n WHERE false"]), "n\n");
}

/// One row, of which the first column is 1.
fn check_one(batches: &[RecordBatch], columns: usize) {
    assert_eq!((batches.len(), batches[0].num_rows(), batches[0].num_columns()), (1, 1, columns));
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 1);
}

fn parquet_rows(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().build().unwrap();
    reader.map(Result::unwrap).collect()
}

#[test]
fn a_statement_is_an_argument_a_file_or_standard_input() {
    let house = House::new();
    let expected = "profiles\n       3\n";
    assert_eq!(house.ok(&[COUNT]), expected);
    let file = house.path("count.sql");
    fs::write(&file, format!("-- how many\n{COUNT};\n")).unwrap();
    assert_eq!(house.ok(&["--file", &file]), expected);
    assert_eq!(typed(&house.server, &[], COUNT).out, expected);
    assert_eq!(typed(&house.server, &["--file", "-"], COUNT).out, expected);
    let both = house.sql(&[COUNT, "--file", &file]);
    assert_eq!(both.code, Some(2), "{}", both.err);
    let missing = house.sql(&["--file", "/nowhere/x.sql"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("--file /nowhere/x.sql: "), "{}", missing.err);
    let nothing = typed(&house.server, &[], "");
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.err.contains("no statement"), "{}", nothing.err);
}

#[test]
fn a_bucket_answers_without_a_server() {
    let house = House::new();
    let store = house.path("store");
    let services = "SELECT DISTINCT service_name FROM series ORDER BY service_name";
    let on_server = [house.ok(&[COUNT]), house.ok(&[services])];
    let House { folder, server } = house;
    assert_eq!(server.stop("TERM").code, Some(0));
    let before = files(&folder.path().join("store"));
    let on_bucket = [ok(&["sql", "--store", &store, COUNT]), ok(&["sql", "--store", &store, services])];
    assert_eq!(on_bucket, on_server);
    assert_eq!(on_bucket[1], "service_name\napi\nweb\n");
    let other = ok(&["sql", "--store", &store, "--tenant", "other", COUNT]);
    assert_eq!(other, "profiles\n       0\n");
    let limited = run(&["sql", "--store", &store, "--limit", "1", services]);
    assert_eq!(
        (limited.out.as_str(), limited.err.as_str()),
        ("service_name\napi\n", "the first 1 rows; --limit shows more\n")
    );
    let wrong = run(&["sql", "--store", &store, "SELECT * FROM nowhere"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.starts_with("error: ") && wrong.err.contains("nowhere"), "{}", wrong.err);
    let late = run(&[
        "sql",
        "--store",
        &store,
        "--timeout",
        "300ms",
        "SELECT count(*) FROM generate_series(1, 1000000000000)",
    ]);
    assert!(late.err.contains("the deadline of 300ms passed"), "{}", late.err);
    assert_eq!(files(&folder.path().join("store")), before, "reading wrote something");
    let missing = run(&["sql", "--store", "/nowhere/store", COUNT]);
    assert!(missing.err.contains("--store /nowhere/store: there is no such folder"), "{}", missing.err);
}

/// Every file below `folder`, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path.display().to_string()) }
        }
    }
    found.sort();
    found
}

#[test]
fn wrong_statements_fail_and_leave_no_file() {
    let house = House::new();
    let file = house.path("rows.csv");
    for (statement, part) in [
        ("SELEC 1", "SELEC"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("DROP TABLE profiles", "a query failed"),
        ("SELECT 1 / (value - 900000) AS n FROM generate_series(1, 1000000)", "a query failed"),
    ] {
        let done = house.sql(&[statement, "--format", "csv", "--output", &file]);
        assert_eq!(done.code, Some(1), "{statement}");
        assert!(done.err.starts_with("error: ") && done.err.contains(part), "{statement}: {}", done.err);
        assert!(!Path::new(&file).exists() && !Path::new(&format!("{file}.partial")).exists(), "{statement}");
    }
    let late = house.sql(&["SELECT count(*) FROM generate_series(1, 1000000000000)", "--timeout", "3s"]);
    assert!(late.err.contains("the deadline of 3s passed"), "{}", late.err);
    let format = house.sql(&["SELECT 1", "--format", "xml"]);
    assert_eq!(format.code, Some(2));
    assert!(format.err.contains("parquet"), "{}", format.err);
}

#[test]
fn many_rows_are_shown_up_to_a_limit() {
    let house = House::new();
    let many = "SELECT value FROM generate_series(1, 20000) ORDER BY value";
    let done = house.sql(&[many]);
    assert_eq!((done.out.lines().count(), done.err.as_str()), (10_001, "the first 10000 rows; --limit shows more\n"));
    let done = house.sql(&[many, "--limit", "2"]);
    assert_eq!(
        (done.out.as_str(), done.err.as_str()),
        ("value\n    1\n    2\n", "the first 2 rows; --limit shows more\n")
    );
    let csv = house.sql(&[many, "--format", "csv"]);
    assert_eq!((csv.out.lines().count(), csv.err.as_str()), (20_001, ""));
}

#[test]
#[cfg(target_os = "linux")]
fn a_prompt_takes_statements_of_many_lines_and_survives_ctrl_c() {
    let house = House::new();
    let history = house.path("history");
    let asked = format!(
        "exec {} sql --server {} --format csv --history {history}",
        env!("CARGO_BIN_EXE_flamestore"),
        house.server.address
    );
    // a terminal for the command, from the package that every Debian has
    let mut terminal = std::process::Command::new("script");
    terminal.args(["--quiet", "--command", &asked, "/dev/null"]).env("TERM", "xterm").env("COLUMNS", "100");
    terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = terminal.spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let lines = support::read_lines(child.stdout.take().unwrap());
    let shown = |part: &str| {
        let mut seen = Vec::new();
        while let Ok(line) = lines.recv_timeout(support::PATIENCE) {
            if line.contains(part) {
                return;
            }
            seen.push(line);
            // of rows without end, those before the last are nothing to tell
            seen.drain(..seen.len().saturating_sub(50));
        }
        panic!("no {part:?} in {seen:?}");
    };
    shown("lists the tables");
    keys.write_all(b"SELECT\r6 * 7\rAS answer;\r").unwrap();
    shown("answer");
    shown("42");
    shown("(1 row)");
    keys.write_all(b"\\d series\r").unwrap();
    shown("service_name");
    keys.write_all(b"SELECT * FROM nowhere;\r").unwrap();
    shown("error: ");
    keys.write_all(b"SELECT 'row ' || value AS v FROM generate_series(1, 1000000000000);\r").unwrap();
    shown("row 20000");
    keys.write_all(b"\x03").unwrap();
    shown("the statement was cancelled");
    keys.write_all(b"\\timing\r").unwrap();
    shown("timing is on");
    keys.write_all(b"SELECT 43;\r").unwrap();
    shown("(1 row, ");
    keys.write_all(b"\\q\r").unwrap();
    drop(keys);
    assert_eq!(finish(child).code, Some(0));
    let history = fs::read_to_string(history).unwrap();
    assert!(history.contains("6 * 7") && history.contains("\\timing"), "{history}");
}
