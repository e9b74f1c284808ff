//! A real server on a free port, its clients, and ways to ask without them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flamestore_model::{Labels, ProfileBatch, ProfileId, Result, Selector, TimeRange};
use flamestore_proto::v1;
use flamestore_proto::v1::ingest_service_client::IngestServiceClient;
use flamestore_proto::v1::query_service_client::QueryServiceClient;
use flamestore_proto::v1::status_service_client::StatusServiceClient;
use flamestore_query::{Engine, QueryOptions};
use flamestore_server::{Server, ServerConfig};
use flamestore_store::{Background, BucketOptions, SeriesMax, Store, StoreOptions, StoreUrl};
use flamestore_testkit::{Oracle, S3Access};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

/// The type of the fixtures' profiles.
pub(crate) const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";
/// The time of the first profile: 2026-03-01 12:00 UTC.
pub(crate) const NOON: i64 = 1_772_366_400_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;
/// No test takes longer: what waits, waits in vain.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A server that runs until it is stopped; dropped with its test, it just ends.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    /// Where PostgreSQL's protocol is spoken, if it is.
    pub(crate) postgres: Option<SocketAddr>,
    pub(crate) store: Arc<Store>,
    pub(crate) channel: Channel,
    shutdown: oneshot::Sender<()>,
    serving: JoinHandle<Result<()>>,
}

pub(crate) fn config() -> ServerConfig {
    ServerConfig { listen: "127.0.0.1:0".parse().unwrap(), ..ServerConfig::default() }
}

impl Running {
    /// A server on a store in memory.
    pub(crate) async fn start() -> Self {
        Self::start_with(config(), StoreUrl::Memory, &BucketOptions::default()).await
    }

    pub(crate) async fn start_configured(config: ServerConfig) -> Self {
        Self::start_with(config, StoreUrl::Memory, &BucketOptions::default()).await
    }

    /// A server on a store in `folder`.
    pub(crate) async fn start_in(folder: &Path) -> Self {
        Self::start_with(config(), StoreUrl::Folder(folder.to_owned()), &BucketOptions::default()).await
    }

    /// A server whose memory for profiles is full, whatever the first one is.
    pub(crate) async fn start_full() -> Self {
        let bucket = StoreUrl::Memory.open(&BucketOptions::default()).unwrap();
        Self::start_store(config(), StoreOptions { head_bytes_max: 1, ..StoreOptions::new(bucket) }).await
    }

    /// A server whose tenants may have no series.
    pub(crate) async fn start_without_series() -> Self {
        let bucket = StoreUrl::Memory.open(&BucketOptions::default()).unwrap();
        let series_max = SeriesMax { default: 0, by_tenant: HashMap::new() };
        Self::start_store(config(), StoreOptions { series_max, ..StoreOptions::new(bucket) }).await
    }

    pub(crate) async fn start_with(config: ServerConfig, url: StoreUrl, bucket: &BucketOptions) -> Self {
        Self::start_store(config, StoreOptions::new(url.open(bucket).unwrap())).await
    }

    pub(crate) async fn start_store(config: ServerConfig, options: StoreOptions) -> Self {
        Self::start_all(config, options, QueryOptions::default()).await
    }

    /// A server whose queries may hold so many bytes together.
    pub(crate) async fn start_with_memory(memory_bytes_max: usize) -> Self {
        let bucket = StoreUrl::Memory.open(&BucketOptions::default()).unwrap();
        let queries = QueryOptions { memory_bytes_max, ..QueryOptions::default() };
        Self::start_all(config(), StoreOptions::new(bucket), queries).await
    }

    async fn start_all(config: ServerConfig, options: StoreOptions, queries: QueryOptions) -> Self {
        let options = StoreOptions { background: Background::Off, ..options };
        let store = Store::open(options).await.unwrap();
        let engine = Arc::new(Engine::new(Arc::clone(&store), queries).unwrap());
        let server = Server::bind(config, Arc::clone(&store), engine).await.unwrap();
        let (addr, postgres) = (server.local_addr(), server.postgres_addr());
        let (shutdown, told) = oneshot::channel();
        let serving = tokio::spawn(server.serve(async {
            let _ = told.await;
        }));
        Self { addr, postgres, store, channel: connect(addr).await, shutdown, serving }
    }

    /// Clients of a server that somebody else ends.
    pub(crate) fn attach(addr: SocketAddr, store: Arc<Store>, channel: Channel) -> Self {
        let (shutdown, _) = oneshot::channel();
        Self { addr, postgres: None, store, channel, shutdown, serving: tokio::spawn(async { Ok(()) }) }
    }

    /// Asks the server to end.
    pub(crate) fn shut_down(self) -> JoinHandle<Result<()>> {
        let _ = self.shutdown.send(());
        self.serving
    }

    /// Ends the server and says how it ended.
    pub(crate) async fn stop(self) -> Result<()> {
        ended(self.shut_down()).await
    }

    pub(crate) fn ingest(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel.clone())
    }

    pub(crate) fn query(&self) -> QueryServiceClient<Channel> {
        QueryServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(crate) fn status(&self) -> StatusServiceClient<Channel> {
        StatusServiceClient::new(self.channel.clone())
    }

    /// Pushes one profile, which must be accepted.
    pub(crate) async fn push(&self, profile: v1::RawProfile) -> ProfileId {
        let request = v1::PushRequest { profiles: vec![profile] };
        let answer = self.ingest().push(request).await.unwrap().into_inner();
        assert_eq!((answer.accepted, answer.rejected.len()), (1, 0));
        answer.profile_ids[0].parse().unwrap()
    }

    /// Pushes `batch` to the server and to `oracle`.
    pub(crate) async fn push_both(
        &self,
        oracle: &mut Oracle,
        labels: &[(&str, &str)],
        batch: ProfileBatch,
    ) -> ProfileId {
        let id = self.push(raw(labels, &batch)).await;
        oracle.push(id, &Labels::from_pairs(labels.iter().copied()).unwrap(), None, batch);
        id
    }

    /// The answer of a GET, head and body.
    pub(crate) async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        self.send(request.as_bytes()).await
    }

    /// The answer to a gRPC request of these bytes over HTTP/1.1: what the server says, before any client makes its own
    /// sense of it. More bytes than that are never sent when `unfinished`.
    pub(crate) async fn post_grpc(&self, path: &str, headers: &str, body: &[u8], unfinished: bool) -> String {
        let length = body.len() + usize::from(unfinished);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-type: application/grpc\r\nte: trailers\r\n\
             {headers}content-length: {length}\r\n\r\n",
        );
        self.send(&[head.as_bytes(), body].concat()).await
    }

    /// The answer to a POST.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
        self.ask(http_client(false), reqwest::Method::POST, path, headers, body).await
    }

    /// The answer to a request by `client`.
    pub(crate) async fn ask(
        &self,
        client: reqwest::Client,
        method: reqwest::Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = client.request(method, format!("http://{}{path}", self.addr)).body(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, bytes: answer.bytes().await.unwrap() }
    }

    /// The answer to a request of these bytes, head and body, as it came.
    pub(crate) async fn send(&self, request: &[u8]) -> String {
        let exchange = async {
            let mut stream = TcpStream::connect(self.addr).await?;
            stream.write_all(request).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        let answer = tokio::time::timeout(PATIENCE, exchange).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// The answer to a request over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A client of HTTP/1.1, or of HTTP/2 without TLS, whose requests end in time.
pub(crate) fn http_client(is_http2: bool) -> reqwest::Client {
    let builder = reqwest::Client::builder().timeout(PATIENCE).no_proxy();
    let builder = if is_http2 { builder.http2_prior_knowledge() } else { builder };
    builder.build().unwrap()
}

/// The end of a server that was asked to end.
pub(crate) async fn ended(serving: JoinHandle<Result<()>>) -> Result<()> {
    tokio::time::timeout(PATIENCE, serving).await.unwrap().unwrap()
}

/// A connection whose requests end in time.
pub(crate) async fn connect(addr: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).unwrap().timeout(PATIENCE);
    endpoint.connect().await.unwrap()
}

/// Where the store below `prefix` of a bucket of S3 is and how it is reached.
pub(crate) fn s3_bucket(s3: &S3Access, prefix: &str) -> (StoreUrl, BucketOptions) {
    let url = StoreUrl::S3 { bucket: s3.bucket.clone(), prefix: prefix.to_owned() };
    let bucket = BucketOptions {
        endpoint: Some(s3.endpoint.clone()),
        allow_http: true,
        access_key_id: Some(s3.access_key.clone()),
        secret_access_key: Some(s3.secret_key.clone()),
        ..BucketOptions::default()
    };
    (url, bucket)
}

/// The number after `grpc-status` in an answer as it came over HTTP/1.1.
pub(crate) fn grpc_status(answer: &str) -> u32 {
    let line = answer.lines().find_map(|line| line.strip_prefix("grpc-status: "));
    line.unwrap_or_else(|| panic!("no grpc-status in {answer}")).trim().parse().unwrap()
}

/// `batch` as a gzip-compressed pprof with `labels`.
pub(crate) fn raw(labels: &[(&str, &str)], batch: &ProfileBatch) -> v1::RawProfile {
    let gzip = flamestore_formats::gzip(&flamestore_formats::encode_pprof(batch)).unwrap();
    raw_bytes(labels, gzip)
}

/// Some bytes said to be a profile with `labels`.
pub(crate) fn raw_bytes(labels: &[(&str, &str)], bytes: impl Into<Bytes>) -> v1::RawProfile {
    let label = |(name, value): &(&str, &str)| v1::Label { name: (*name).to_owned(), value: (*value).to_owned() };
    v1::RawProfile { labels: labels.iter().map(label).collect(), profile: bytes.into(), ..Default::default() }
}

pub(crate) fn selection(query: &str) -> Option<v1::Selection> {
    selection_in(query, 0, 0)
}

pub(crate) fn selection_in(query: &str, start: i64, end: i64) -> Option<v1::Selection> {
    Some(v1::Selection { query: query.to_owned(), start_unix_nano: start, end_unix_nano: end })
}

/// A selector and all times, as the oracle asks.
pub(crate) fn all(query: &str) -> (Selector, TimeRange) {
    (query.parse().unwrap(), TimeRange::ALL)
}

/// The merge of `query` as folded text.
pub(crate) async fn merge_folded(running: &Running, query: &str) -> String {
    let request = v1::MergeRequest {
        selection: selection(query),
        format: v1::AnswerFormat::Folded as i32,
        max_nodes: 0,
        resolution: 0,
        combine: 0,
    };
    let answer = running.query().merge(request).await.unwrap().into_inner();
    match answer.answer.unwrap() {
        v1::merge_response::Answer::Folded(text) => text,
        other => panic!("not folded: {other:?}"),
    }
}
