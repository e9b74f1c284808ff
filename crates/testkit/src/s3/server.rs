//! The server itself: a listener, one lock, and the S3 service behind it.

use std::io;
use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError, HttpRequest, HttpResponse};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

use super::{Fault, Faults, S3Access};

/// Bytes of the largest request body.
const BODY_BYTES_MAX: usize = 1 << 30;

const SLOW_DOWN: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>SlowDown</Code>\
    <Message>Please reduce your request rate.</Message></Error>";

/// A running S3 server with one empty bucket; path-style requests, signatures checked.
#[derive(Debug)]
pub struct S3Server {
    /// Where it listens: `http://127.0.0.1:<port>`.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// The access key id it accepts.
    pub access_key: String,
    /// The secret access key it accepts.
    pub secret_key: String,
    faults: Faults,
    folder: TempDir,
    listening: JoinHandle<()>,
}

struct Backend {
    service: S3Service,
    one_at_a_time: Mutex<()>,
    faults: Faults,
}

impl S3Server {
    /// Starts a server on a free port, inside the runtime of the caller.
    ///
    /// # Errors
    /// When no folder can be made or no port is free.
    pub async fn start() -> io::Result<Self> {
        let (bucket, access_key, secret_key) = ("flamestore-test", "test-access-key", "test-secret-key");
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join(bucket))?;
        let files = s3s_fs::FileSystem::new(folder.path()).map_err(|e| io::Error::other(format!("{e:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(access_key, secret_key));
        let faults = Faults::default();
        let backend = Backend { service: builder.build(), one_at_a_time: Mutex::new(()), faults: faults.clone() };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        Ok(Self {
            endpoint,
            bucket: bucket.to_owned(),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            faults,
            folder,
            listening: tokio::spawn(listen(listener, Arc::new(backend))),
        })
    }

    /// How to reach its bucket.
    pub fn access(&self) -> S3Access {
        S3Access {
            endpoint: self.endpoint.clone(),
            bucket: self.bucket.clone(),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
        }
    }

    /// The faults it shows; none at first.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The folder that holds the bucket's objects as plain files, for tests that damage them.
    pub fn bucket_folder(&self) -> std::path::PathBuf {
        self.folder.path().join(&self.bucket)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Accepts connections until aborted; its connections end with it.
async fn listen(listener: TcpListener, backend: Arc<Backend>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let backend = Arc::clone(&backend);
        connections.spawn(async move {
            let answer = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                let backend = Arc::clone(&backend);
                async move { backend.answer(request.map(Body::from)).await }
            });
            // a connection that breaks is the client's to notice
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), answer).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Backend {
    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let fault = self.faults.strike(request.method().as_str(), request.uri().path());
        match fault {
            Some(Fault::SlowDown) => return slow_down(),
            Some(Fault::DropRequest) => return Err(dropped()),
            Some(Fault::Latency(time)) => tokio::time::sleep(time).await,
            Some(Fault::DropAnswer) | None => {}
        }
        let (head, mut body) = request.into_parts();
        let bytes = body.store_all_limited(BODY_BYTES_MAX).await.map_err(HttpError::new)?;
        let request = HttpRequest::from_parts(head, Body::from(bytes));
        let answer = {
            let _turn = self.one_at_a_time.lock().await;
            self.service.call(request).await?
        };
        if fault == Some(Fault::DropAnswer) { Err(dropped()) } else { Ok(answer) }
    }
}

fn slow_down() -> Result<HttpResponse, HttpError> {
    let answer = hyper::Response::builder().status(503).header("content-type", "application/xml");
    answer.body(Body::from(SLOW_DOWN.to_owned())).map_err(|e| HttpError::new(Box::new(e)))
}

fn dropped() -> HttpError {
    HttpError::new(Box::new(io::Error::other("the test drops this connection")))
}
