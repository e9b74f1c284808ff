//! Who asks and who answers: passwords, tokens, certificates.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::harness::{Endpoint, Scraping, heap, job_every};

/// A target that wants `authorization`.
fn guarded(authorization: &'static str) -> Router {
    let answer = async move |headers: HeaderMap| match headers.get(header::AUTHORIZATION) {
        Some(value) if value == authorization => Ok(heap(1, &[("main", 1)])),
        _ => Err(StatusCode::UNAUTHORIZED),
    };
    Router::new().route("/debug/pprof/allocs", get(answer))
}

#[tokio::test]
async fn passwords_and_tokens_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "open sesame\n").unwrap();
    let file = file.to_str().unwrap();
    let basic = "Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ==";
    for (authorization, more) in [
        (basic, "basic_auth={username='aladdin',password='open sesame'}".to_owned()),
        (basic, format!("basic_auth={{username='aladdin',password_file='{file}'}}")),
        ("Bearer open sesame", "bearer_token='open sesame'".to_owned()),
        ("Bearer open sesame", format!("bearer_token_file='{file}'")),
    ] {
        let endpoint = Endpoint::start(guarded(authorization)).await;
        Scraping::start(&job_every("1s", endpoint.addr, &more)).next().await;
    }
    let endpoint = Endpoint::start(guarded(basic)).await;
    let scraping = Scraping::start(&job_every("1s", endpoint.addr, ""));
    assert_eq!(scraping.first_target().await["lastError"], "the answer is not 200 [status=401 Unauthorized]");
}

#[tokio::test]
async fn a_token_may_change_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let endpoint = Endpoint::start(guarded("Bearer new")).await;
    let mut scraping =
        Scraping::start(&job_every("1s", endpoint.addr, &format!("bearer_token_file='{}'", file.display())));
    let said = scraping.first_target().await["lastError"].to_string();
    assert!(said.contains("a secret cannot be read") && said.contains("token"), "{said}");
    std::fs::write(&file, "new").unwrap();
    scraping.next().await;
    let page = scraping.page.render();
    assert!(!page.contains("new"), "{page}");
}

/// An authority, and what it signs, as PEM files in a folder.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    /// A certificate for loopback: its bytes and its key; written as `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        (certificate, key)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }

    /// A server of TLS that wants a certificate of this authority from its clients, and answers all with a profile.
    async fn serve(&self) -> std::net::SocketAddr {
        let (certificate, key) = self.sign("server");
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_client_cert_verifier(verifier);
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let body = heap(1, &[("main", 1)]);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let mut request = [0; 4096];
                // a client that goes away is the test's to notice
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&[head.into_bytes(), body].concat()).await;
                let _ = stream.shutdown().await;
            }
        });
        addr
    }
}

#[tokio::test]
async fn both_sides_prove_who_they_are() {
    let authority = Authority::new();
    let addr = authority.serve().await;
    authority.sign("client");
    let path = |name: &str| authority.path(name).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let with = |tls: &str| job_every("1s", addr, &format!("scheme='https'\ntls_config={{{tls}}}"));
    Scraping::start(&with(&format!("ca_file='{ca}',cert_file='{cert}',key_file='{key}'"))).next().await;
    Scraping::start(&with(&format!("insecure_skip_verify=true,cert_file='{cert}',key_file='{key}'"))).next().await;

    let stranger = Scraping::start(&with(&format!("cert_file='{cert}',key_file='{key}'")));
    let said = stranger.first_target().await["lastError"].to_string();
    assert!(said.contains("certificate"), "{said}");
    let nobody = Scraping::start(&with(&format!("ca_file='{ca}'")));
    assert_eq!(nobody.first_target().await["health"], "down");
}
