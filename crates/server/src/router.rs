//! The one port: services, reflection, health, the doors of plain HTTP and the pages behind one router and one guard.
//!
//! ```text
//! gRPC-Web ─▶ gRPC ─┐                         below any prefix
//! GET of Parca's ───┤                         below any prefix that ends in /api
//! gRPC ─────────────┼─▶ guard ─▶ Connect ─▶ gRPC ─▶ services, health, reflection
//! Connect, HTTP ────┘                  └──────────▶ /ingest, … /api/v1/sql, the page, /ready, /metrics
//! ```

use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flamestore_model::{Error, Result};
use flamestore_proto::FILE_DESCRIPTOR_SET;
use flamestore_proto::capabilities::v1::feature_flags_service_server::FeatureFlagsServiceServer;
use flamestore_proto::otlp::logs::logs_service_server::LogsServiceServer;
use flamestore_proto::otlp::trace::trace_service_server::TraceServiceServer;
use flamestore_proto::parca::debuginfo::debuginfo_service_server::DebuginfoServiceServer;
use flamestore_proto::parca::profilestore::agents_service_server::AgentsServiceServer;
use flamestore_proto::parca::profilestore::profile_store_service_server::ProfileStoreServiceServer;
use flamestore_proto::parca::query::v1alpha1::query_service_server::QueryServiceServer as ParcaQueryServiceServer;
use flamestore_proto::parca::scrape::v1alpha1::scrape_service_server::ScrapeServiceServer;
use flamestore_proto::parca::telemetry::telemetry_service_server::TelemetryServiceServer;
use flamestore_proto::push::v1::pusher_service_server::PusherServiceServer;
use flamestore_proto::querier::v1::querier_service_server::QuerierServiceServer;
use flamestore_proto::settings::v1::settings_service_server::SettingsServiceServer;
use flamestore_proto::v1::ingest_service_server::IngestServiceServer;
use flamestore_proto::v1::query_service_server::QueryServiceServer;
use flamestore_proto::v1::status_service_server::StatusServiceServer;
use flamestore_proto::version::v1::version_server::VersionServer;
use flamestore_query::Engine;
use flamestore_store::Store;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding::{Gzip, Zstd};
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, ServiceBuilder};

use crate::body::media_type;
use crate::compute::Compute;
use crate::connect::{Connect, connect};
use crate::doors;
use crate::guard::{Guard, Method, guard, is_grpc};
use crate::holdings::Holdings;
use crate::ingest::Ingest;
use crate::intake::Intake;
use crate::otlp;
use crate::page;
use crate::parca::{Agents, DebuginfoUploads, Dropped, Gateway, Panics, ParcaQueries, ProfileStore, Targets, gateway};
use crate::push::Pusher;
use crate::querier::{self, About, Querier, Settings};
use crate::query::Queries;
use crate::running::Running;
use crate::sql::{self, Flight, Sql};
use crate::telemetry;
use crate::tenants::Tenants;
use crate::{Role, ServerConfig};

/// Answers also when all places are taken: then is when it is asked.
const PROGRESS: &str = "/flamestore.v1.StatusService/Progress";

/// What the routes of one server stand on.
pub(crate) struct Parts {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) health: HealthReporter,
    pub(crate) targets: Targets,
    /// Cancelled when the server is about to stop: `/ready` says so.
    pub(crate) leaving: CancellationToken,
    /// Cancelled when running requests must end.
    pub(crate) abort: CancellationToken,
}

/// The routes of a server, and what its other doors share with them.
pub(crate) struct Routed {
    pub(crate) router: Router,
    pub(crate) guard: Arc<Guard>,
    pub(crate) compute: Compute,
}

/// Service `$server` around `$service`, with compression both ways and message limits.
macro_rules! limited {
    ($server:ident, $service:expr, $config:expr) => {
        $server::new($service)
            .accept_compressed(Gzip)
            .accept_compressed(Zstd)
            .send_compressed(Gzip)
            .send_compressed(Zstd)
            .max_decoding_message_size($config.request_bytes_max)
            .max_encoding_message_size($config.answer_bytes_max)
    };
}

/// The routes of a server.
///
/// # Errors
/// `Internal` when a descriptor of the API cannot be read.
pub(crate) fn router(parts: Parts) -> Result<Routed> {
    let Parts { config, store, engine, health, targets, leaving, abort } = parts;
    let compute = Compute::new(config.compute_threads());
    let shared = compute.clone();
    let tenants = Arc::new(Tenants::new(&config)?);
    let intake = Intake {
        store: Arc::clone(&store),
        compute: compute.clone(),
        config: Arc::clone(&config),
        allowed: tenants.common(),
        tenants,
    };
    let translated = Arc::new(Connect::new(FILE_DESCRIPTOR_SET, config.request_bytes_max, compute.clone())?);
    let by_get = Arc::new(Gateway::new(FILE_DESCRIPTOR_SET, compute.clone())?);
    let running = Running::default();
    let holdings = Holdings { store, compute: compute.clone(), running: running.clone() };
    let querier =
        Querier { engine: Arc::clone(&engine), compute: compute.clone(), tenants_joined: config.tenants_joined };
    let sql = Sql {
        engine: Arc::clone(&engine),
        compute: compute.clone(),
        request_bytes_max: config.request_bytes_max,
        answer_bytes_max: config.answer_bytes_max,
    };
    let parca_queries = ParcaQueries { engine: Arc::clone(&engine), compute: compute.clone() };
    let flight = Flight(sql.clone());
    let queries = Queries { engine, compute, sql: sql.clone() };
    let mut roles = Routes::builder();
    if config.has_role(Role::Ingest) {
        roles.add_service(limited!(IngestServiceServer, Ingest(intake.clone()), config));
        roles.add_service(limited!(PusherServiceServer, Pusher(intake.clone()), config));
        roles.add_service(otlp::ProfilesServer(intake.clone()));
        let agents = Agents::new(Arc::clone(&intake.store.options().clock));
        let profile_store = ProfileStore { intake: intake.clone(), agents: agents.clone() };
        roles.add_service(limited!(ProfileStoreServiceServer, profile_store, config));
        roles.add_service(limited!(AgentsServiceServer, agents, config));
        let debuginfo = DebuginfoUploads::new(intake.store.debuginfo().clone(), &config);
        roles.add_service(limited!(DebuginfoServiceServer, debuginfo, config));
        roles.add_service(limited!(TelemetryServiceServer, Panics, config));
        roles.add_service(limited!(LogsServiceServer, Dropped, config));
        roles.add_service(limited!(TraceServiceServer, Dropped, config));
    }
    if config.has_role(Role::Query) {
        roles.add_service(limited!(QueryServiceServer, queries, config));
        roles.add_service(limited!(QuerierServiceServer, querier.clone(), config));
        roles.add_service(limited!(ParcaQueryServiceServer, parca_queries, config));
        roles.add_service(limited!(FlightServiceServer, flight, config));
        let clock = Arc::clone(&querier.engine.store().options().clock);
        roles.add_service(limited!(SettingsServiceServer, Settings::new(clock), config));
        roles.add_service(limited!(FeatureFlagsServiceServer, About, config));
        roles.add_service(limited!(VersionServer, About, config));
    }
    let routes = roles
        .routes()
        .add_service(limited!(StatusServiceServer, holdings, config))
        .add_service(limited!(ScrapeServiceServer, targets, config))
        .add_service(tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(health),
        ))
        .add_service(reflection().build_v1().map_err(wrong_descriptor)?)
        .add_service(reflection().build_v1alpha().map_err(wrong_descriptor)?);
    let guarded = Guard::new(&config, methods()?, abort, running);
    let guarded = match config.has_role(Role::Query) {
        true => guarded.free_as(page::PATH, page::paths()),
        false => guarded,
    };
    let guarded = Arc::new(guarded);
    let metrics = telemetry::metrics();
    let doors = if config.has_role(Role::Ingest) { doors::router(intake) } else { Router::new() };
    let pages = match config.has_role(Role::Query) {
        true => querier::router(querier).merge(sql::router(sql)).merge(page::router()),
        false => Router::new(),
    };
    let answering = routes
        .into_axum_router()
        .merge(doors)
        .merge(pages)
        .route("/ready", get(async move || ready(&leaving)))
        .route("/metrics", get(async move || prometheus(metrics.render())))
        .fallback(not_found)
        .layer(from_fn_with_state(translated, connect))
        .layer(from_fn_with_state(Arc::clone(&guarded), guard));
    // Layers of a router come after its choice of a route, and these two give requests other paths.
    let by_path = from_fn(grpc_web).layer(from_fn_with_state(by_get, gateway).layer(answering));
    Ok(Routed { router: Router::new().fallback_service(by_path), guard: guarded, compute: shared })
}

/// Turns gRPC-Web into gRPC and its answer back. Pages below a prefix call methods below it: the last two parts of a path count.
async fn grpc_web(mut request: Request, next: Next) -> Response {
    const TYPES: [&str; 4] = [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpc-web-text+proto",
    ];
    if !TYPES.contains(&media_type(request.headers()).as_str()) {
        return next.run(request).await;
    }
    if let Some(uri) = without_prefix(request.uri()) {
        *request.uri_mut() = uri;
    }
    let inner =
        ServiceBuilder::new().map_request(|request: axum::http::Request<tonic::body::Body>| request.map(Body::new));
    match GrpcWebLayer::new().layer(inner.service(next)).call(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(never) => match never {},
    }
}

/// The path of a method without what stands before it, if anything does.
fn without_prefix(uri: &Uri) -> Option<Uri> {
    let (before, method) = uri.path().rsplit_once('/')?;
    let (prefix, service) = before.rsplit_once('/')?;
    if prefix.is_empty() || service.is_empty() || method.is_empty() {
        return None;
    }
    format!("/{service}/{method}").parse().ok()
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Every path that is answered. Those of our own services need a place among the bounded many.
fn methods() -> Result<Vec<Method>> {
    let mut methods = vec![Method::free("/ready"), Method::free("/metrics")];
    methods.extend(doors::PATHS.map(Method::door));
    methods.extend(querier::PATHS.map(Method::door));
    methods.extend(sql::PATHS.map(Method::door));
    methods.push(Method::rpc(otlp::EXPORT));
    methods.extend(sql::FLIGHT_METHODS.map(Method::rpc));
    let free: fn(&str) -> Method = Method::free;
    let sets = [
        (FILE_DESCRIPTOR_SET, Method::rpc as fn(&str) -> Method),
        (tonic_health::pb::FILE_DESCRIPTOR_SET, free),
        (tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET, free),
        (tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET, free),
    ];
    for (encoded, method) in sets {
        methods.extend(paths(encoded)?.iter().map(|path| if path == PROGRESS { free(path) } else { method(path) }));
    }
    Ok(methods)
}

/// The paths of all methods in an encoded `FileDescriptorSet`.
fn paths(encoded: &[u8]) -> Result<Vec<String>> {
    let set = prost_types::FileDescriptorSet::decode(encoded).map_err(wrong_descriptor)?;
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                paths.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    Ok(paths)
}

fn wrong_descriptor(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("a descriptor of the API cannot be read").because(error)
}

fn ready(leaving: &CancellationToken) -> Response {
    match leaving.is_cancelled() {
        false => "ready\n".into_response(),
        true => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response(),
    }
}

fn prometheus(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn not_found(request: Request) -> Response {
    match is_grpc(request.headers()) {
        true => tonic::Status::unimplemented(format!("there is no method {}", request.uri().path())).into_http(),
        false => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_api_has_a_path() {
        let paths = paths(FILE_DESCRIPTOR_SET).unwrap();
        assert!(paths.contains(&"/flamestore.v1.QueryService/Merge".to_owned()), "{paths:?}");
        assert!(paths.contains(&"/push.v1.PusherService/Push".to_owned()), "{paths:?}");
        assert!(paths.contains(&PROGRESS.to_owned()), "{paths:?}");
        assert_eq!(paths.len(), 56);
        assert!(methods().is_ok());
    }

    #[test]
    fn a_prefix_is_what_stands_before_service_and_method() {
        let check = |path: &str, expected: Option<&str>| {
            let found = without_prefix(&path.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), expected, "{path}");
        };
        check("/api/a.B/C", Some("/a.B/C"));
        check("/x/y/api/a.B/C?d=e", Some("/a.B/C"));
        check("/a.B/C", None);
        check("/", None);
        check("/a//", None);
    }

    #[test]
    fn readiness_ends_when_the_server_leaves() {
        let leaving = CancellationToken::new();
        assert_eq!(ready(&leaving).status(), StatusCode::OK);
        leaving.cancel();
        assert_eq!(ready(&leaving).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
