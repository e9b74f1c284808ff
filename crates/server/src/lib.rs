//! The server: gRPC, gRPC-Web, Connect and plain HTTP on one port.
//!
//! ```text
//! listener ─▶ HTTP/1.1, HTTP/2, over TLS or not ─▶ guard: span, place, deadline, metrics ─▶ Connect becomes gRPC ─▶ router
//!    IngestService   profiles decoded one by one, stored or named as rejected
//!    PusherService   the same for Pyroscope's clients
//!    otlp            OpenTelemetry's profiles, over gRPC and HTTP
//!    parca           Parca's agents: pprof, records of Arrow, and what they send beside profiles; what its pages ask
//!    doors           profiles by plain HTTP: /ingest of Pyroscope, the intake of Datadog's agent
//!    QuerierService  what Grafana, Profiles Drilldown and profilecli ask of Pyroscope
//!    QueryService    selections ─▶ engine ─▶ flame graph, Arrow, pprof, folded text
//!    sql             statements ─▶ engine ─▶ rows, streamed: QueryService/Sql, /api/v1/sql
//!    postgres        the same over PostgreSQL's protocol, on a port of its own
//!    StatusService   segments and head, how far questions are
//!    page            the web page at /, which asks all of these
//!    reflection, health, GET /ready, GET /metrics
//! ```
//!
//! Nothing here knows how profiles are kept: requests become calls of `flamestore-store` and `flamestore-query`, errors
//! become statuses in one place, and what keeps a core busy runs on a bounded number of threads of its own. Bounds are
//! those of [`ServerConfig`]; a full server says so at once.

mod body;
mod compute;
mod config;
mod connect;
mod doors;
mod guard;
mod holdings;
mod ingest;
mod intake;
mod listener;
mod many;
mod otlp;
mod packed;
mod page;
mod parca;
mod postgres;
mod push;
mod querier;
mod query;
mod refusal;
mod router;
mod running;
mod sampled;
mod server;
mod several;
mod sql;
mod status;
mod telemetry;
mod tenants;
mod tls;
mod translate;

pub use config::{OwnProfileLimits, ProfileLimits, Role, ServerConfig, TenantLimits};
pub use server::Server;
pub use sql::{RowFormat, RowWriter};
pub use tls::TlsFiles;
