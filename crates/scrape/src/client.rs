//! HTTP requests to targets and to what names them: credentials, TLS, bounded redirects and bodies.
//!
//! Every request opens a connection of its own and closes it: the number of open sockets is that of running requests,
//! however many targets there are. A body is read up to a limit, in pieces; proxies of the environment are not used. Secret
//! files are read for each request, so that a token may change; certificates are read once.

use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flamestore_formats::Limits;
use flamestore_model::{Error, ErrorKind, Result};
use reqwest::header::{ACCEPT, CONTENT_ENCODING};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity, RequestBuilder, Response};
use tokio::io::AsyncReadExt;
use url::Url;

use crate::config::{Credentials, Secret, SecretSource, TlsConfig};

const USER_AGENT: &str = concat!("flamestore/", env!("CARGO_PKG_VERSION"));
const REDIRECTS_MAX: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Sends the requests of one job, or of one discovery.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    credentials: Credentials,
}

impl Client {
    /// A client of these settings.
    ///
    /// # Errors
    /// `Invalid` when a certificate cannot be read.
    pub(crate) fn new(credentials: Credentials, tls: &TlsConfig, follow_redirects: bool) -> Result<Self> {
        let redirects = if follow_redirects { Policy::limited(REDIRECTS_MAX) } else { Policy::none() };
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirects)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(0)
            .http1_only()
            .no_proxy();
        let http = with_tls(builder, tls)?.build();
        let http = http.map_err(|e| Error::invalid("tls_config: the client cannot be made").because(e))?;
        Ok(Self { http, credentials })
    }

    /// Asks for `url`; the answer's body is still to be read.
    ///
    /// # Errors
    /// `Unavailable` when there is no answer or it is not 200; `Invalid` when a secret cannot be read.
    pub(crate) async fn get(&self, url: &Url, accept: &'static str) -> Result<Response> {
        let request = self.http.get(url.clone()).header(ACCEPT, accept);
        let response = self.signed(request).await?.send().await.map_err(no_answer)?;
        match response.status() {
            reqwest::StatusCode::OK => Ok(response),
            status => Err(Error::unavailable("the answer is not 200").with("status", status)),
        }
    }

    async fn signed(&self, request: RequestBuilder) -> Result<RequestBuilder> {
        Ok(match &self.credentials {
            Credentials::Nobody => request,
            Credentials::Basic { username, password } => {
                let password = match password {
                    Some(source) => Some(source.read().await?),
                    None => None,
                };
                request.basic_auth(username, password.as_ref().map(Secret::expose))
            }
            Credentials::Bearer(source) => request.bearer_auth(source.read().await?.expose()),
        })
    }
}

/// The body of `response`, if it has at most `bytes_max`; a `content-encoding` of gzip is undone.
///
/// # Errors
/// `Exhausted` over the limit; `Unavailable` when the connection breaks.
pub(crate) async fn body(mut response: Response, bytes_max: usize) -> Result<Bytes> {
    let over = |found: u64| {
        Err(Error::exhausted("the answer is over the limit body_bytes_max")
            .with("limit", bytes_max)
            .with("found", found))
    };
    if let Some(claimed) = response.content_length().filter(|claimed| *claimed > bytes_max as u64) {
        return over(claimed);
    }
    let is_gzip = response.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(no_answer)? {
        if body.len() + piece.len() > bytes_max {
            return over((body.len() + piece.len()) as u64);
        }
        body.extend_from_slice(&piece);
    }
    match is_gzip {
        true => flamestore_formats::decompress(
            body.freeze(),
            &Limits { decompressed_bytes_max: bytes_max, ..Limits::default() },
        ),
        false => Ok(body.freeze()),
    }
}

impl SecretSource {
    async fn read(&self) -> Result<Secret> {
        match self {
            Self::Text(secret) => Ok(secret.clone()),
            Self::File(path) => read_secret(path).await,
        }
    }
}

async fn read_secret(path: &Path) -> Result<Secret> {
    let wrong = |e: std::io::Error| Error::invalid("a secret cannot be read").with("file", path.display()).because(e);
    let file = tokio::fs::File::open(path).await.map_err(wrong)?;
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX).read_to_string(&mut text).await.map_err(wrong)?;
    Ok(Secret::new(text.trim()))
}

fn with_tls(builder: reqwest::ClientBuilder, tls: &TlsConfig) -> Result<reqwest::ClientBuilder> {
    let mut builder = builder.use_rustls_tls().danger_accept_invalid_certs(tls.insecure_skip_verify);
    if let Some(path) = &tls.ca_file {
        for certificate in Certificate::from_pem_bundle(&read_pem(path)?).map_err(|e| wrong_pem(path, e))? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    match (&tls.cert_file, &tls.key_file) {
        (Some(certificate), Some(key)) => {
            let pem = [read_pem(certificate)?, b"\n".to_vec(), read_pem(key)?].concat();
            Ok(builder.identity(Identity::from_pem(&pem).map_err(|e| wrong_pem(certificate, e))?))
        }
        (None, None) => Ok(builder),
        _ => Err(Error::invalid("tls_config: cert_file and key_file belong together")),
    }
}

fn read_pem(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| wrong_pem(path, e))
}

fn wrong_pem(path: &Path, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid("tls_config: a file cannot be read").with("file", path.display()).because(cause)
}

/// What went wrong on the way, with the causes that reqwest leaves out of its text.
fn no_answer(error: reqwest::Error) -> Error {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    Error::new(ErrorKind::Unavailable, "there is no answer").because(text)
}
