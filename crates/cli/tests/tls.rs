//! A server with a certificate, asked by the command over HTTP/2 and HTTP/1.1.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{Running, run};
use tempfile::TempDir;

/// An authority, and what it signs, as PEM files in a folder.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        let authority = Self { folder, issuer };
        authority.sign("server");
        authority.sign("client");
        authority
    }

    /// Writes a certificate for loopback as `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A folded profile to push.
    fn profile(&self) -> String {
        fs::write(self.folder.path().join("a.folded"), "main;work 3\n").unwrap();
        self.path("a.folded")
    }

    /// A captured request of OpenTelemetry without a profile.
    fn captured(&self) -> PathBuf {
        let file = self.folder.path().join("request.json");
        let head = r#"{"path": "/v1development/profiles", "headers": {"content-type": "application/json"}}"#;
        fs::write(&file, head).unwrap();
        fs::write(file.with_extension("body"), "{}").unwrap();
        file
    }
}

#[test]
fn a_server_with_a_certificate_is_asked_over_https() {
    let authority = Authority::new();
    let (cert, key) = (authority.path("server.pem"), authority.path("server.key"));
    let listen = ["serve", "--store", "memory:", "--listen", "127.0.0.1:0", "--log", "warn"];
    let server = Running::start(&[&listen[..], &["--tls-cert-file", &cert, "--tls-key-file", &key]].concat());
    assert!(server.address.starts_with("https://127.0.0.1:"), "{}", server.address);
    let ca = authority.path("ca.pem");
    let trusting = ["--ca-file", ca.as_str()];
    server.ok(&[&["push", &authority.profile()], &trusting[..]].concat());
    let ever = ["--query", "process_cpu:samples:count::{}", "--from", "2000-01-01", "--to", "2100-01-01"];
    let merged = server.ok(&[&["merge", "--format", "folded"], &ever[..], &trusting[..]].concat());
    assert_eq!(merged, "main;work 3\n");
    let replayed = server.ok(&[&["replay", authority.captured().to_str().unwrap()], &trusting[..]].concat());
    assert!(replayed.starts_with("200"), "{replayed}");

    let distrusting = server.run(&["types"]);
    assert_eq!(distrusting.code, Some(1));
    assert!(distrusting.err.contains("UnknownIssuer"), "{}", distrusting.err);
    let plain = run(&["types", "--server", &server.address.replace("https:", "http:")]);
    assert_eq!(plain.code, Some(1));
}

#[test]
fn a_server_may_want_a_certificate_of_its_clients() {
    let authority = Authority::new();
    let config = authority.folder.path().join("flamestore.toml");
    let (cert, key, ca) = (authority.path("server.pem"), authority.path("server.key"), authority.path("ca.pem"));
    let tls = format!("[server.tls]\ncert_file = '{cert}'\nkey_file = '{key}'\nclient_ca_file = '{ca}'\n");
    fs::write(&config, tls).unwrap();
    let listen = ["serve", "--store", "memory:", "--listen", "127.0.0.1:0", "--log", "warn"];
    let server = Running::start(&[&listen[..], &["--config", config.to_str().unwrap()]].concat());
    let (client_cert, client_key) = (authority.path("client.pem"), authority.path("client.key"));
    let known = ["--ca-file", &ca, "--cert-file", &client_cert, "--key-file", &client_key];
    assert_eq!(server.ok(&[&["types"], &known[..]].concat()), "");
    let captured = authority.captured();
    server.ok(&[&["replay", captured.to_str().unwrap()], &known[..]].concat());
    assert_eq!(server.run(&["types", "--ca-file", &ca]).code, Some(1));
}

#[test]
fn a_certificate_that_cannot_be_used_ends_the_start() {
    let authority = Authority::new();
    let (cert, key) = (authority.path("server.pem"), authority.path("client.key"));
    let listen = ["serve", "--store", "memory:", "--listen", "127.0.0.1:0"];
    let ended = run(&[&listen[..], &["--tls-cert-file", &cert, "--tls-key-file", &key]].concat());
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("the certificate cannot be used with the key"), "{}", ended.err);
    let half = run(&[&listen[..], &["--tls-cert-file", &cert]].concat());
    assert_eq!(half.code, Some(2));
}
