//! A real server on a free port, asked by real clients.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test takes for granted ends it when it is not so")]

mod bad_input;
mod connect;
mod datadog;
mod harness;
mod legacy_ingest;
mod lifecycle;
mod otlp;
mod protocol;
mod push;
mod queries;
