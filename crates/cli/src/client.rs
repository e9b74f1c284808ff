//! The connection of the client commands: address, tenant, deadline, and errors told in words.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use flamestore_model::Tenant;
use flamestore_proto::v1::ingest_service_client::IngestServiceClient;
use flamestore_proto::v1::query_service_client::QueryServiceClient;
use flamestore_proto::v1::{QueryReport, Selection};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::failure::{Failure, Outcome};
use crate::output::note;
use crate::time::short;

/// The most bytes of one answer.
const ANSWER_BYTES_MAX: usize = 1 << 30;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which server, for whom, and for how long.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub(crate) struct Remote {
    /// The server's address; https:// where it has a certificate.
    #[arg(long, env = "FLAMESTORE_SERVER", default_value = "http://127.0.0.1:4040", value_name = "URL")]
    pub(crate) server: String,
    /// The tenant whose profiles are meant; the server's default tenant when absent.
    #[arg(long, env = "FLAMESTORE_TENANT", value_name = "NAME", value_parser = tenant)]
    pub(crate) tenant: Option<Tenant>,
    /// How long to wait for an answer.
    #[arg(long, env = "FLAMESTORE_TIMEOUT", default_value = "2m", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
    /// PEM certificates that the server's is signed with, beside those that the system trusts.
    #[arg(long, env = "FLAMESTORE_CA_FILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A PEM certificate to show to the server, with --key-file.
    #[arg(long, env = "FLAMESTORE_CERT_FILE", value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// The key of the certificate.
    #[arg(long, env = "FLAMESTORE_KEY_FILE", value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

/// A connected client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    channel: Channel,
    address: String,
    tenant: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Remote {
    /// A server without TLS, for its default tenant.
    pub(crate) fn plain(server: String, timeout: Duration) -> Self {
        Self { server, tenant: None, timeout, ca_file: None, cert_file: None, key_file: None }
    }

    /// The server's address with its scheme.
    ///
    /// # Errors
    /// When the scheme is another than `http` and `https`.
    pub(crate) fn address(&self) -> Outcome<String> {
        let address = match self.server.contains("://") {
            true => self.server.clone(),
            false => format!("http://{}", self.server),
        };
        if !address.starts_with("http://") && !address.starts_with("https://") {
            return Err(Failure::new(format!("--server {}: not an http:// or https:// address", self.server)));
        }
        Ok(address)
    }

    /// Connects.
    ///
    /// # Errors
    /// When the address is no URL or nobody answers there.
    pub(crate) async fn connect(&self) -> Outcome<Client> {
        let address = self.address()?;
        let endpoint = Endpoint::from_shared(address.clone())
            .map_err(|e| Failure::new(format!("--server {}: {e}", self.server)).hint("example: http://127.0.0.1:4040"))?
            .user_agent(concat!("flamestore/", env!("CARGO_PKG_VERSION")))
            .map_err(|e| Failure::new(e.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT);
        let endpoint = match address.starts_with("https://") {
            true => endpoint.tls_config(self.tls()?).map_err(|e| Failure::new(format!("TLS: {}", cause(&e))))?,
            false => endpoint,
        };
        let channel = endpoint.connect().await.map_err(|e| unreachable(&address, &e))?;
        let tenant = self.tenant.as_ref().and_then(|tenant| MetadataValue::try_from(tenant.as_str()).ok());
        Ok(Client { channel, address, tenant, timeout: self.timeout })
    }

    /// A client of plain HTTP that trusts, and shows, the same certificates.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub(crate) fn http(&self) -> Outcome<reqwest::Client> {
        let mut builder = reqwest::Client::builder().timeout(self.timeout).no_proxy().use_rustls_tls();
        let unusable = |path: &Path, e: reqwest::Error| Failure::new(format!("{}: {e}", path.display()));
        if let Some(path) = &self.ca_file {
            for root in reqwest::Certificate::from_pem_bundle(&read(path)?).map_err(|e| unusable(path, e))? {
                builder = builder.add_root_certificate(root);
            }
        }
        if let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) {
            let pem = [read(cert)?, read(key)?].concat();
            builder = builder.identity(reqwest::Identity::from_pem(&pem).map_err(|e| unusable(cert, e))?);
        }
        builder.build().map_err(|e| Failure::new(format!("cannot start an HTTP client: {e}")))
    }

    fn tls(&self) -> Outcome<ClientTlsConfig> {
        let mut tls = ClientTlsConfig::new().with_native_roots();
        if let Some(path) = &self.ca_file {
            tls = tls.ca_certificate(Certificate::from_pem(read(path)?));
        }
        if let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        Ok(tls)
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(|e| Failure::io(path.display().to_string(), &e))
}

impl Client {
    /// The service that answers questions.
    pub(crate) fn query(&self) -> QueryServiceClient<Channel> {
        QueryServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The service that takes profiles.
    pub(crate) fn ingest(&self) -> IngestServiceClient<Channel> {
        IngestServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// `message` with tenant and deadline.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        if let Some(tenant) = &self.tenant {
            request.metadata_mut().insert("x-scope-orgid", tenant.clone());
        }
        request
    }

    /// The failure that `status` means.
    pub(crate) fn failure(&self, status: &Status) -> Failure {
        let message = match status.message() {
            "" => format!("the server answered {:?} without a message", status.code()),
            message => message.to_owned(),
        };
        let failure = Failure::new(message);
        match status.code() {
            // what the server says itself, it says running
            Code::Unavailable if status.metadata().contains_key("flamestore-error") => {
                failure.hint("nothing is wrong with the request; send it again later")
            }
            Code::Unavailable => failure.hint(format!("is `flamestore serve` running on {}?", self.address)),
            Code::DeadlineExceeded | Code::Cancelled => {
                failure.hint("ask for a shorter time range, or wait longer with --timeout")
            }
            Code::Unimplemented => {
                failure.hint(format!("is the server on {} a Flamestore of this version?", self.address))
            }
            _ => failure,
        }
    }
}

/// Warns of segments that could not be read, so are missing from an answer.
pub(crate) fn warn_damaged(report: Option<&QueryReport>) {
    for damaged in report.map(|report| report.damaged.as_slice()).unwrap_or_default() {
        note(&format!("warning: segment {} is missing from the answer: {}", damaged.segment, damaged.error));
    }
    if let Some(widened) = report.and_then(|report| report.widened) {
        let (start, end) = (short(widened.start_unix_nano), short(widened.end_unix_nano));
        note(&format!("samples have expired: the answer is of {start} to {end}"));
    }
    if let Some(expired) = report.map(|report| report.segments_expired).filter(|expired| *expired > 0) {
        note(&format!("warning: the samples of {expired} segments have expired and are missing from the answer"));
    }
}

/// Says that an answer is empty and what was asked, because a range of time is easily too short.
pub(crate) fn note_empty(selection: &Selection) {
    let (start, end) = (short(selection.start_unix_nano), short(selection.end_unix_nano));
    note(&format!(
        "nothing found from {start} to {end}; --from and --to set the range, `flamestore types` lists types"
    ));
}

fn tenant(name: &str) -> flamestore_model::Result<Tenant> {
    Tenant::new(name)
}

fn unreachable(address: &str, error: &tonic::transport::Error) -> Failure {
    Failure::new(format!("cannot reach {address}: {}", cause(error)))
        .hint(format!("is `flamestore serve` running on {address}?"))
}

/// What was at the bottom of it.
fn cause(error: &tonic::transport::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(cause) = source.source() {
        source = cause;
    }
    source.to_string()
}
