//! A real server on a free port, asked by real clients.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test takes for granted ends it when it is not so")]

mod agreement;
mod bad_input;
mod connect;
mod damage;
mod datadog;
mod debuginfo;
mod flight;
mod full;
mod harness;
mod legacy_ingest;
mod lifecycle;
mod memory;
mod otlp;
mod page;
mod pages;
mod parca;
mod parca_query;
mod plain_tree;
mod postgres;
mod postgres_client;
mod protocol;
mod push;
mod querier;
mod queries;
mod sql;

/// The records that the decoder's own tests are made of.
#[allow(dead_code, reason = "the decoder's tests use the rest")]
#[path = "../../../formats/tests/parca/record.rs"]
mod record;
/// The recordings that the decoder's own tests are made of.
#[allow(dead_code, reason = "the decoder's tests use the rest")]
#[path = "../../../formats/tests/jfr/recording.rs"]
mod recording;
#[path = "../../../formats/tests/wire/mod.rs"]
mod wire;
