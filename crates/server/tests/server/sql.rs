//! SQL over both doors: what comes back, in every form; what is refused; who leaves and who is late.

use std::collections::BTreeSet;
use std::io::Read;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use flamestore_proto::v1;
use flamestore_server::ServerConfig;
use flamestore_testkit::profile;
use reqwest::Method;
use serde_json::{Value, json};
use tonic::{Code, Request, Status};

use crate::harness::{Answer, NOON, Running, SECOND, config, http_client, raw};

const PATH: &str = "/api/v1/sql";
/// Rows without end, or nearly.
const ENDLESS: &str = "SELECT value FROM generate_series(1, 1000000000000)";
/// Rows, and later an error.
const BREAKS: &str = "SELECT 1 / (value - 900000) AS n FROM generate_series(1, 1000000)";

async fn get(running: &Running, parameters: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
    let path = format!("{PATH}?{}", encoded(parameters));
    running.ask(http_client(false), Method::GET, &path, headers, "").await
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    parameters.iter().for_each(|(name, value)| {
        text.append_pair(name, value);
    });
    text.finish()
}

/// The rows of `statement` as JSON tells them.
async fn rows(running: &Running, statement: &str, headers: &[(&str, &str)]) -> Value {
    let answer = get(running, &[("q", statement)], headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut told: Value = serde_json::from_slice(&answer.bytes).unwrap();
    told["rows"].take()
}

/// All rows that gRPC streams, and whether there are more.
async fn stream(running: &Running, statement: &str, limit: u64) -> Result<(Vec<RecordBatch>, bool), Status> {
    let request = v1::SqlRequest { statement: statement.to_owned(), limit };
    let mut parts = running.query().sql(request).await?.into_inner();
    let (mut bytes, mut has_more) = (Vec::new(), false);
    while let Some(part) = parts.message().await? {
        assert!(!has_more, "a part after the last");
        bytes.extend_from_slice(&part.arrow);
        has_more = part.has_more;
    }
    Ok((StreamReader::try_new(bytes.as_slice(), None).unwrap().map(Result::unwrap).collect(), has_more))
}

/// The first column, which is one of 64-bit integers.
fn numbers(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

async fn push(running: &Running, service: &str, second: i64) {
    let batch = profile(&format!("main;read {}", second + 1));
    let labels = [("service_name", service)];
    running.push(v1::RawProfile { time_unix_nano: Some(NOON + second * SECOND), ..raw(&labels, &batch) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_segments_are_counted_once() {
    let running = Running::start().await;
    let services = |rows: Value| -> BTreeSet<String> {
        rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
    };
    let count = "SELECT count(*) AS n FROM profiles";
    for (second, service) in [(0, "api"), (1, "web"), (2, "api")] {
        push(&running, service, second).await;
        assert_eq!(rows(&running, count, &[]).await, json!([[second + 1]]));
        assert_eq!(numbers(&stream(&running, count, 0).await.unwrap().0), [second + 1]);
        if second == 1 {
            running.store.flush().await.unwrap();
            assert_eq!(rows(&running, count, &[]).await, json!([[second + 1]]));
        }
    }
    let found = services(rows(&running, "SELECT DISTINCT service_name FROM series", &[]).await);
    assert_eq!(found, BTreeSet::from(["api".to_owned(), "web".to_owned()]));
    running.stop().await.unwrap();
}

/// A value of each kind, with awkward ones among them.
const VALUES: &str = "SELECT 9007199254740993 AS large, CAST(18446744073709551615 AS BIGINT UNSIGNED) AS larger, 0.5 AS half, \
    CAST('NaN' AS DOUBLE) AS none, true AS yes, 'a\"b,\n' AS text, NULL AS nothing, \
    TIMESTAMP '2026-03-01T12:00:00.25' AS time, DATE '2026-03-01' AS day, X'00ff' AS bytes, \
    [1, NULL, 3] AS list, named_struct('a', 1, 'b', [X'01']) AS pair, map(['k', 'l'], ['v', NULL]) AS labels, \
    arrow_cast('word', 'Dictionary(Int32, Utf8)') AS word";

#[tokio::test(flavor = "multi_thread")]
async fn every_type_has_a_form() {
    let running = Running::start().await;
    let answer = get(&running, &[("q", VALUES)], &[]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{}", answer.text());
    let told: Value = serde_json::from_slice(&answer.bytes).unwrap();
    let expected = r#"[9007199254740993,18446744073709551615,0.5,null,true,"a\"b,\n",null,"2026-03-01T12:00:00.250Z","2026-03-01","AP8=",[1,null,3],{"a":1,"b":["AQ=="]},{"k":"v","l":null},"word"]"#;
    assert_eq!(answer.text().lines().nth(1), Some(expected));
    assert_eq!(told["columns"][0], json!({"name": "large", "type": "Int64"}));
    assert_eq!(told["columns"].as_array().unwrap().len(), told["rows"][0].as_array().unwrap().len());

    let answer = get(&running, &[("q", VALUES), ("format", "csv")], &[]).await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
    let expected = "large,larger,half,none,yes,text,nothing,time,day,bytes,list,pair,labels,word\n\
        9007199254740993,18446744073709551615,0.5,NaN,true,\"a\"\"b,\n\",,2026-03-01T12:00:00.250Z,2026-03-01,AP8=,\
        \"[1,null,3]\",\"{\"\"a\"\":1,\"\"b\"\":[\"\"AQ==\"\"]}\",\"{\"\"k\"\":\"\"v\"\",\"\"l\"\":null}\",word\n";
    assert_eq!(answer.text(), expected);

    let answer = get(&running, &[("q", VALUES), ("format", "arrow")], &[]).await;
    assert_eq!(answer.header("content-type"), "application/vnd.apache.arrow.stream");
    let batches: Vec<_> = StreamReader::try_new(&answer.bytes[..], None).unwrap().map(Result::unwrap).collect();
    assert_eq!((batches.len(), batches[0].num_rows(), numbers(&batches)), (1, 1, vec![9_007_199_254_740_993]));
    assert_eq!(batches, stream(&running, VALUES, 0).await.unwrap().0);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rows_are_an_answer_in_every_form() {
    let running = Running::start().await;
    let none = "SELECT 1 AS n, 'x' AS t WHERE false";
    let answer = get(&running, &[("q", none)], &[]).await;
    let expected =
        "{\"columns\":[{\"name\":\"n\",\"type\":\"Int64\"},{\"name\":\"t\",\"type\":\"Utf8\"}],\"rows\":[]}\n";
    assert_eq!(answer.text(), expected);
    assert_eq!(get(&running, &[("q", none), ("format", "csv")], &[]).await.text(), "n,t\n");
    let answer = get(&running, &[("q", none), ("format", "arrow")], &[]).await;
    let reader = StreamReader::try_new(&answer.bytes[..], None).unwrap();
    assert_eq!((reader.schema().fields().len(), reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>()), (2, 0));
    assert!(numbers(&stream(&running, none, 0).await.unwrap().0).is_empty());
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_come_in_parts_and_in_order() {
    let config = ServerConfig { answer_bytes_max: 64 << 10, ..config() };
    let running = Running::start_configured(config).await;
    let many = "SELECT value FROM generate_series(1, 100000) ORDER BY value";
    let expected: Vec<i64> = (1..=100_000).collect();
    assert_eq!(numbers(&stream(&running, many, 0).await.unwrap().0), expected);
    let (batches, has_more) = stream(&running, many, 30_000).await.unwrap();
    assert_eq!((numbers(&batches).as_slice(), has_more), (&expected[..30_000], true));
    assert!(!stream(&running, many, 100_000).await.unwrap().1);
    let found: Vec<Vec<i64>> = serde_json::from_value(rows(&running, many, &[]).await).unwrap();
    assert_eq!(found.concat(), expected);
    let csv = get(&running, &[("q", many)], &[("accept", "text/csv")]).await.text();
    assert!(csv.starts_with("value\n1\n2\n") && csv.lines().count() == 100_001);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_comes_in_the_url_or_the_body() {
    let running = Running::start().await;
    let expected = json!([[7]]);
    let read = |answer: Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice::<Value>(&answer.bytes).unwrap()["rows"].take()
    };
    for name in ["q", "query"] {
        assert_eq!(read(get(&running, &[(name, "SELECT 7")], &[]).await), expected);
        assert_eq!(read(running.post(&format!("{PATH}?{name}=SELECT+7"), &[], "").await), expected);
        let form = encoded(&[(name, "SELECT 7"), ("format", "json")]);
        assert_eq!(read(running.post(PATH, &[FORM], form).await), expected);
        assert_eq!(read(running.post(PATH, &[JSON], json!({name: "SELECT 7"}).to_string()).await), expected);
    }
    for kind in ["text/plain; charset=utf-8", "application/sql"] {
        assert_eq!(read(running.post(PATH, &[("content-type", kind)], "SELECT 7;").await), expected);
    }
    let zipped = flamestore_formats::gzip(b"SELECT 7").unwrap();
    assert_eq!(read(running.post(PATH, &[TEXT, ("content-encoding", "gzip")], zipped).await), expected);
    let csv = running.post(PATH, &[JSON], json!({"query": "SELECT 7 AS n", "format": "csv"}).to_string()).await;
    assert_eq!(csv.text(), "n\n7\n");
    let head = running.ask(http_client(false), Method::HEAD, &format!("{PATH}?q=SELECT+7"), &[], "").await;
    assert_eq!((head.status, head.bytes.len()), (200, 0));
    running.stop().await.unwrap();
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("content-type", "application/json");
const TEXT: (&str, &str) = ("content-type", "text/plain");

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_told_what_is_wrong() {
    let running = Running::start_configured(ServerConfig { request_bytes_max: 2 << 20, ..config() }).await;
    let long = format!("SELECT 1{}", " ".repeat(1 << 20));
    /// Headers, body, status, and what the answer and its code have.
    type Post<'a> = (&'a [(&'a str, &'a str)], &'a [u8], u16, &'a str, &'a str);
    let posts: [Post<'_>; 16] = [
        (&[TEXT], b"", 400, "invalid_argument", "the request has no statement"),
        (&[], b"", 400, "invalid_argument", "the request has no statement"),
        (&[TEXT], b" \n", 400, "invalid_argument", "the request has no statement"),
        (&[TEXT], b"SELEC 1", 400, "invalid_argument", "SELEC"),
        (&[TEXT], b"SELECT * FROM nowhere", 400, "invalid_argument", "nowhere"),
        (&[TEXT], b"SELECT 1; SELECT 2", 400, "invalid_argument", ""),
        (&[TEXT], b"CREATE TABLE t AS SELECT 1", 400, "invalid_argument", ""),
        (&[TEXT], b"DELETE FROM profiles", 400, "invalid_argument", ""),
        (&[TEXT], b"SELECT 1 / 0", 400, "invalid_argument", ""),
        (&[TEXT], b"SELECT '\xff'", 400, "invalid_argument", "not UTF-8 [offset=8]"),
        (&[TEXT], long.as_bytes(), 429, "resource_exhausted", "statement_bytes_max=1048576"),
        (&[JSON], b"{\"query\": 1}", 400, "invalid_argument", "expected a string"),
        (&[JSON], b"{\"query\": \"SELECT 1\", \"fromat\": \"csv\"}", 400, "invalid_argument", "fromat"),
        (&[JSON], b"{\"query\": ", 400, "invalid_argument", "is not JSON"),
        (&[("content-type", "application/xml")], b"<q/>", 415, "unimplemented", "content type"),
        (&[TEXT, ("content-encoding", "br")], b"SELECT 1", 415, "invalid_argument", "content encoding"),
    ];
    for (headers, body, status, code, part) in posts {
        check_refusal(&running.post(PATH, headers, body.to_vec()).await, status, code, part);
    }
    let large = running.post(PATH, &[TEXT], vec![b' '; 3 << 20]).await;
    check_refusal(&large, 413, "resource_exhausted", "request_bytes_max");
    let both = running.post(&format!("{PATH}?q=SELECT+1"), &[TEXT], "SELECT 2").await;
    check_refusal(&both, 400, "invalid_argument", "the URL and the body both");

    let wrong_format = get(&running, &[("q", "SELECT 1"), ("format", "xml")], &[]).await;
    check_refusal(&wrong_format, 400, "invalid_argument", "the format is one of json, csv, arrow [format=xml]");
    check_refusal(&get(&running, &[], &[]).await, 400, "invalid_argument", "no statement");
    let twice = get(&running, &[("q", "SELECT 1"), ("q", "SELECT 2")], &[]).await;
    check_refusal(&twice, 400, "invalid_argument", "stands twice");
    let unaccepted = get(&running, &[("q", "SELECT 1")], &[("accept", "image/png")]).await;
    check_refusal(&unaccepted, 406, "unimplemented", "json, csv, arrow");
    let tenant = get(&running, &[("q", "SELECT 1")], &[("x-scope-orgid", "../a")]).await;
    check_refusal(&tenant, 400, "invalid_argument", "tenant");
    let late = get(&running, &[("q", "SELECT 1")], &[("connect-timeout-ms", "soon")]).await;
    check_refusal(&late, 400, "invalid_argument", "connect-timeout-ms");
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = running.ask(http_client(false), method, PATH, &[], "").await;
        check_refusal(&answer, 405, "unimplemented", "GET or POST");
        assert_eq!(answer.header("allow"), "GET, HEAD, POST");
    }
    assert_eq!(rows(&running, "SELECT 1", &[]).await, json!([[1]]));
    running.stop().await.unwrap();
}

fn check_refusal(answer: &Answer, status: u16, code: &str, part: &str) {
    let told: Value = serde_json::from_slice(&answer.bytes).unwrap_or_default();
    let message = told["message"].as_str().unwrap_or_default();
    assert_eq!((answer.status, told["code"].as_str()), (status, Some(code)), "{}", answer.text());
    assert!(!message.is_empty() && message.contains(part), "{part} is not in {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_tells_wrong_statements_by_status() {
    let running = Running::start().await;
    for (statement, code, part) in [
        ("", Code::InvalidArgument, "the request has no statement"),
        ("SELEC 1", Code::InvalidArgument, "SELEC"),
        ("SELECT * FROM nowhere", Code::InvalidArgument, "nowhere"),
        ("DROP TABLE profiles", Code::InvalidArgument, ""),
        ("SELECT 1 / 0", Code::InvalidArgument, ""),
        (BREAKS, Code::InvalidArgument, ""),
    ] {
        let status = stream(&running, statement, 0).await.unwrap_err();
        assert_eq!(status.code(), code, "{statement}: {status:?}");
        assert!(status.message().contains(part), "{statement}: {status:?}");
    }
    let long = format!("SELECT 1{}", " ".repeat(1 << 20));
    assert_eq!(stream(&running, &long, 0).await.unwrap_err().code(), Code::ResourceExhausted);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_never_taken_for_a_whole_one() {
    let running = Running::start().await;
    for is_http2 in [false, true] {
        for format in ["json", "csv", "arrow"] {
            let query = encoded(&[("q", BREAKS), ("format", format)]);
            let url = format!("http://{}{PATH}?{query}", running.addr);
            let mut answer = http_client(is_http2).get(url).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let mut bytes = 0;
            let broken = loop {
                match answer.chunk().await {
                    Ok(Some(chunk)) => bytes += chunk.len(),
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            assert!(broken, "{format} ended after {bytes} bytes as if that were all");
        }
    }
    let mut parts =
        running.query().sql(v1::SqlRequest { statement: BREAKS.to_owned(), limit: 0 }).await.unwrap().into_inner();
    assert!(parts.message().await.unwrap().is_some());
    let status = loop {
        match parts.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended as if it were whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_frees_its_place() {
    let running = Running::start_configured(ServerConfig { requests_max: 1, ..config() }).await;
    let is_full = async || {
        let answer = get(&running, &[("q", "SELECT 1")], &[]).await;
        assert!([200, 429].contains(&answer.status), "{}", answer.text());
        answer.status == 429
    };
    let mut request = Request::new(v1::SqlRequest { statement: ENDLESS.to_owned(), limit: 0 });
    request.metadata_mut().insert("flamestore-query-id", "mine".parse().unwrap());
    let mut parts = running.query().sql(request).await.unwrap().into_inner();
    assert!(!parts.message().await.unwrap().unwrap().arrow.is_empty());
    assert!(is_full().await);
    // how far it is, a full server tells too
    let asked = v1::ProgressRequest { query_id: "mine".to_owned() };
    assert!(running.status().progress(asked).await.unwrap().into_inner().running);
    let json = ("content-type", "application/json");
    let told = running.post("/flamestore.v1.StatusService/Progress", &[json], r#"{"queryId": "mine"}"#).await;
    assert_eq!((told.status, told.text().as_str()), (200, r#"{"running":true}"#));
    drop(parts);
    while is_full().await {
        tokio::task::yield_now().await;
    }

    for is_http2 in [false, true] {
        let url = format!("http://{}{PATH}?{}", running.addr, encoded(&[("q", ENDLESS)]));
        let mut answer = loop {
            let answer = http_client(is_http2).get(&url).send().await.unwrap();
            if answer.status() == 200 {
                break answer;
            }
        };
        assert!(answer.chunk().await.unwrap().is_some());
        assert!(is_full().await);
        drop(answer);
        while is_full().await {
            tokio::task::yield_now().await;
        }
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_statement_tells_how_far_it_is() {
    let running = Running::start().await;
    for service in ["api", "web"] {
        push(&running, service, 0).await;
        running.store.flush().await.unwrap();
    }
    let progress = async |id: &str, tenant: &'static str| {
        let mut request = Request::new(v1::ProgressRequest { query_id: id.to_owned() });
        request.metadata_mut().insert("x-scope-orgid", tenant.parse().unwrap());
        running.status().progress(request).await.unwrap().into_inner()
    };
    assert_eq!(progress("mine", "anonymous").await, v1::ProgressResponse::default());

    let pairs = "SELECT count(*) FROM samples a, samples b, generate_series(1, 1000000000000)";
    let url = format!("http://{}{PATH}?{}", running.addr, encoded(&[("q", pairs)]));
    let asked = http_client(false).get(url).header("flamestore-query-id", "mine").header("x-scope-orgid", "anonymous");
    let asked = tokio::spawn(asked.send());
    let far = loop {
        let far = progress("mine", "anonymous").await;
        // Each of two tables reads both segments.
        if far.segments_done == 4 {
            break far;
        }
        tokio::task::yield_now().await;
    };
    assert!(far.running && far.segments == 4 && far.rows > 0, "{far:?}");
    assert_eq!(progress("mine", "other").await, v1::ProgressResponse::default());
    assert_eq!(progress("other", "anonymous").await, v1::ProgressResponse::default());
    asked.abort();
    while progress("mine", "anonymous").await.running {
        tokio::task::yield_now().await;
    }

    let id = "q".repeat(65);
    let refused = get(&running, &[("q", "SELECT 1")], &[("flamestore-query-id", &id)]).await;
    check_refusal(&refused, 400, "invalid_argument", "flamestore-query-id is not 1 to 64 visible ASCII characters");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_hold_for_the_whole_answer() {
    let running = Running::start().await;
    let mut request = Request::new(v1::SqlRequest { statement: ENDLESS.to_owned(), limit: 0 });
    request.metadata_mut().insert("grpc-timeout", "3S".parse().unwrap());
    let mut parts = running.query().sql(request).await.unwrap().into_inner();
    let status = loop {
        match parts.message().await {
            Ok(part) => assert!(part.is_some(), "the stream ended as if it were whole"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");

    let url = format!("http://{}{PATH}?{}", running.addr, encoded(&[("q", ENDLESS), ("format", "csv")]));
    let answer = http_client(false).get(url).header("connect-timeout-ms", "3000").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
    let late = get(&running, &[("q", "SELECT count(*) FROM generate_series(1, 1000000000000)")], &[LATE]).await;
    check_refusal(&late, 504, "deadline_exceeded", "the deadline of 400ms passed");
    running.stop().await.unwrap();
}

const LATE: (&str, &str) = ("connect-timeout-ms", "400");

#[tokio::test(flavor = "multi_thread")]
async fn tenants_see_their_own_rows() {
    let running = Running::start().await;
    push(&running, "api", 0).await;
    let batch = profile("secret 1");
    for (tenant, seconds) in [("a", 0..2), ("b", 0..3)] {
        for second in seconds {
            let secret =
                v1::RawProfile { time_unix_nano: Some(NOON + second), ..raw(&[("service_name", tenant)], &batch) };
            let mut request = Request::new(v1::PushRequest { profiles: vec![secret] });
            request.metadata_mut().insert("x-scope-orgid", tenant.parse().unwrap());
            running.ingest().push(request).await.unwrap();
        }
    }
    let count = "SELECT count(*) AS n FROM profiles";
    for (headers, expected) in [(&[][..], 1), (&[("x-scope-orgid", "a")], 2), (&[("x-scope-orgid", "b")], 3)] {
        assert_eq!(rows(&running, count, headers).await, json!([[expected]]));
        let mut request = Request::new(v1::SqlRequest { statement: count.to_owned(), limit: 0 });
        if let [(_, tenant)] = headers {
            request.metadata_mut().insert("x-scope-orgid", tenant.parse().unwrap());
        }
        let mut parts = running.query().sql(request).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await.unwrap() {
            bytes.extend_from_slice(&part.arrow);
        }
        let batches: Vec<_> = StreamReader::try_new(&bytes[..], None).unwrap().map(Result::unwrap).collect();
        assert_eq!(numbers(&batches), [expected]);
    }
    let nobody = rows(&running, count, &[("x-scope-orgid", "c")]).await;
    assert_eq!(nobody, json!([[0]]));
    running.stop().await.unwrap();
}

/// What can be read of a compressed body, and whether it has an end.
fn unpacked(encoding: &str, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut read = Vec::new();
    let ended = match encoding {
        "gzip" => flate2::read::GzDecoder::new(bytes).read_to_end(&mut read),
        "zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut read),
        other => panic!("{other}"),
    };
    (read, ended.is_ok())
}

const MANY: &str = "SELECT value, concat('f', value % 100) AS name FROM generate_series(1, 20000) ORDER BY value";

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_as_the_client_accepts_it() {
    let running = Running::start().await;
    for format in ["json", "csv", "arrow"] {
        let asked = [("q", MANY), ("format", format)];
        let plain = get(&running, &asked, &[]).await;
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept, accept-encoding"));
        for (accepted, encoding) in
            [("gzip", "gzip"), ("zstd", "zstd"), ("gzip, deflate, br, zstd", "zstd"), ("zstd;q=0.5, gzip", "gzip")]
        {
            let packed = get(&running, &asked, &[("accept-encoding", accepted)]).await;
            assert_eq!(packed.header("content-encoding"), encoding, "{accepted}");
            assert_eq!(packed.header("content-type"), plain.header("content-type"));
            assert_eq!(unpacked(encoding, &packed.bytes), (plain.bytes.to_vec(), true), "{format}, {accepted}");
            assert!(packed.bytes.len() * 2 < plain.bytes.len(), "{} of {}", packed.bytes.len(), plain.bytes.len());
        }
        let refused = get(&running, &asked, &[("accept-encoding", "br, gzip;q=0")]).await;
        assert_eq!((refused.header("content-encoding"), &refused.bytes), ("", &plain.bytes));
    }
    let none =
        get(&running, &[("q", "SELECT 7 AS n WHERE false"), ("format", "csv")], &[("accept-encoding", "zstd")]).await;
    assert_eq!(unpacked("zstd", &none.bytes), (b"n\n".to_vec(), true));
    let wrong = get(&running, &[("q", "SELEC 1")], &[("accept-encoding", "gzip, zstd")]).await;
    check_refusal(&wrong, 400, "invalid_argument", "SELEC");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_rows_leave_as_they_are_found_and_what_breaks_off_has_no_end() {
    let running = Running::start().await;
    for (is_http2, encoding) in [(false, "gzip"), (true, "gzip"), (false, "zstd"), (true, "zstd")] {
        let ask = |statement: &str| {
            let url = format!("http://{}{PATH}?{}", running.addr, encoded(&[("q", statement), ("format", "csv")]));
            http_client(is_http2).get(url).header("accept-encoding", encoding).send()
        };
        let (mut answer, mut packed) = (ask(ENDLESS).await.unwrap(), Vec::new());
        assert_eq!(answer.headers()["content-encoding"], encoding);
        while !unpacked(encoding, &packed).0.starts_with(b"value\n1\n2\n3\n") {
            packed.extend_from_slice(&answer.chunk().await.unwrap().unwrap());
        }
        assert!(packed.len() < 1 << 20, "the first rows came after {} bytes", packed.len());
        drop(answer);
        let (mut answer, mut packed) = (ask(BREAKS).await.unwrap(), Vec::new());
        while let Ok(chunk) = answer.chunk().await {
            packed.extend_from_slice(&chunk.expect("a body that ends as if it were whole"));
        }
        assert!(!packed.is_empty() && !unpacked(encoding, &packed).1);
    }
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_follow_compressed_rows() {
    let running = Running::start().await;
    let path = format!("{PATH}?{}", encoded(&[("q", MANY), ("limit", "10000"), ("format", "csv")]));
    let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nte: trailers\r\n");
    for encoding in ["gzip", "zstd"] {
        let answer = running.send(format!("{head}accept-encoding: {encoding}\r\n\r\n").as_bytes()).await;
        assert!(answer.contains(&format!("content-encoding: {encoding}\r\n")), "{answer}");
        assert!(answer.ends_with("\r\n0\r\nflamestore-has-more: true\r\n\r\n"), "{answer}");
    }
    running.stop().await.unwrap();
}
