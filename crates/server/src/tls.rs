//! TLS of the one port: a certificate and its key from files, read again when they change.
//!
//! A certificate is renewed by replacing the files: they are looked at every [`RELOAD_INTERVAL`], and connections that begin
//! after that get the new one. Files that cannot be used are told in the log, and the last certificate that could stays.
//! HTTP/2 and HTTP/1.1 are agreed on by ALPN. TLS 1.2 is the oldest version.
//!
//! Bounds: a handshake takes [`HANDSHAKE_TIME_MAX`] at most, and its connection counts among `connections_max`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flamestore_model::{Error, Result};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

/// The files of a certificate. All are PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and those that it was signed with, its own first.
    pub cert_file: PathBuf,
    /// The key of the certificate.
    pub key_file: PathBuf,
    /// The certificates that clients must be signed with; without them, clients need no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
}

/// What the files say.
#[derive(PartialEq, Eq)]
struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// The certificate in use.
pub(crate) struct Tls {
    files: TlsFiles,
    current: RwLock<(Pem, TlsAcceptor)>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// The certificate in `files`.
    ///
    /// # Errors
    /// `Invalid`, naming the file that cannot be read or is none of PEM, or when certificate and key do not belong together.
    pub(crate) fn open(files: TlsFiles) -> Result<Self> {
        let pem = Pem::read(&files)?;
        let acceptor = pem.acceptor(&files)?;
        Ok(Self { files, current: RwLock::new((pem, acceptor)) })
    }

    /// Agrees with the peer on how to speak; nothing when it does not speak TLS, is not let in, or takes too long.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = self.current.read().1.clone();
        Self::accept_by(acceptor, stream).await
    }

    /// The same with a peer that speaks `protocol` over TLS, and none of the port's own.
    pub(crate) async fn accept_as(&self, stream: TcpStream, protocol: &[u8]) -> Option<TlsStream<TcpStream>> {
        let mut config = ServerConfig::clone(self.current.read().1.config());
        config.alpn_protocols = vec![protocol.to_vec()];
        Self::accept_by(TlsAcceptor::from(Arc::new(config)), stream).await
    }

    async fn accept_by(acceptor: TlsAcceptor, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let refused = match tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error.to_string(),
            Err(late) => late.to_string(),
        };
        tracing::debug!(error = refused, "a connection could not agree on TLS");
        None
    }

    /// Reads the files again from time to time, until `stop` is cancelled.
    pub(crate) async fn keep_fresh(&self, stop: &CancellationToken) {
        while tokio::time::timeout(RELOAD_INTERVAL, stop.cancelled()).await.is_err() {
            match self.reload() {
                Ok(true) => tracing::info!(file = %self.files.cert_file.display(), "a new certificate is in use"),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the files of the certificate cannot be used; the last one stays"),
            }
        }
    }

    /// Whether the files had changed; what they say now is in use then.
    fn reload(&self) -> Result<bool> {
        let pem = Pem::read(&self.files)?;
        if pem == self.current.read().0 {
            return Ok(false);
        }
        let acceptor = pem.acceptor(&self.files)?;
        *self.current.write() = (pem, acceptor);
        Ok(true)
    }
}

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self> {
        let read = |path: &Path| std::fs::read(path).map_err(|e| wrong(path, "the file cannot be read").because(e));
        Ok(Self {
            cert: read(&files.cert_file)?,
            key: read(&files.key_file)?,
            client_ca: files.client_ca_file.as_deref().map(read).transpose()?,
        })
    }

    fn acceptor(&self, files: &TlsFiles) -> Result<TlsAcceptor> {
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|e| wrong(&files.key_file, "the file has no private key in PEM").because(e))?;
        let chain = certificates(&self.cert, &files.cert_file)?;
        let of_files = |e: rustls::Error| {
            let told = "the certificate cannot be used with the key";
            wrong(&files.cert_file, told).with("key_file", files.key_file.display()).because(e)
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(of_files)?;
        let builder = match (&self.client_ca, &files.client_ca_file) {
            (Some(pem), Some(path)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(pem, path)? {
                    roots.add(root).map_err(|e| wrong(path, "a certificate cannot be trusted").because(e))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|e| wrong(path, "clients cannot be checked with the file").because(e))?,
                )
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(of_files)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(wrong(path, "the file has no certificate in PEM")),
        Err(e) => Err(wrong(path, "the file is not PEM").because(e)),
    }
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::invalid(format!("tls: {what}")).with("file", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    /// Writes a new certificate and its key; the key differs from that of any other.
    fn renew(files: &TlsFiles) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&files.cert_file, cert.pem()).unwrap();
        std::fs::write(&files.key_file, signing_key.serialize_pem()).unwrap();
    }

    fn files(folder: &Path) -> TlsFiles {
        let path = |name: &str| folder.join(name);
        TlsFiles { cert_file: path("cert.pem"), key_file: path("key.pem"), client_ca_file: None }
    }

    #[test]
    fn a_new_certificate_is_taken_and_a_wrong_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        renew(&files);
        let tls = Tls::open(files.clone()).unwrap();
        let in_use = || Arc::as_ptr(tls.current.read().1.config());
        let first = in_use();
        assert!(!tls.reload().unwrap());
        renew(&files);
        assert!(tls.reload().unwrap());
        let second = in_use();
        assert_ne!(first, second);
        std::fs::write(&files.cert_file, "").unwrap();
        let refused = tls.reload().unwrap_err().to_string();
        assert!(refused.starts_with("tls: the file has no certificate in PEM [file="), "{refused}");
        assert_eq!(in_use(), second);
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let refused = |files: &TlsFiles| Tls::open(files.clone()).unwrap_err().to_string();
        assert!(refused(&files).contains("cert.pem"));
        renew(&files);
        let cert = std::fs::read(&files.cert_file).unwrap();
        renew(&files);
        std::fs::write(&files.cert_file, cert).unwrap();
        assert!(refused(&files).starts_with("tls: the certificate cannot be used with the key [file="));
        let of_clients = TlsFiles { client_ca_file: Some(files.key_file.clone()), ..files.clone() };
        assert!(refused(&of_clients).starts_with("tls: "));
        std::fs::write(&files.key_file, "no PEM").unwrap();
        assert!(refused(&files).starts_with("tls: the file has no private key in PEM [file="));
    }
}
