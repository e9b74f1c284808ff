//! A server's life: bind, serve, leave, drain, flush.
//!
//! ```text
//! bind ──▶ serve ──▶ shutdown ──▶ grace: /ready says 503 ──▶ listener closed, requests drain ──▶ store flushed ──▶ end
//!                                                             │ over shutdown_drain: UNAVAILABLE, connections closed
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use flamestore_model::{Error, Result};
use flamestore_proto::parca::debuginfo::debuginfo_service_server::SERVICE_NAME as DEBUGINFO;
use flamestore_proto::parca::profilestore::profile_store_service_server::SERVICE_NAME as PROFILE_STORE;
use flamestore_proto::parca::query::v1alpha1::query_service_server::SERVICE_NAME as PARCA_QUERY;
use flamestore_proto::push::v1::pusher_service_server::SERVICE_NAME as PUSHER;
use flamestore_proto::v1::ingest_service_server::SERVICE_NAME as INGEST;
use flamestore_proto::v1::query_service_server::SERVICE_NAME as QUERY;
use flamestore_proto::v1::status_service_server::SERVICE_NAME as STATUS;
use flamestore_query::Engine;
use flamestore_scrape::TargetsPage;
use flamestore_store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::listener::{Listener, drain};
use crate::parca::Targets;
use crate::postgres;
use crate::router::{Parts, Routed, router};
use crate::tls::Tls;
use crate::{Role, ServerConfig};

/// A server that holds its port and answers once [`Server::serve`] runs.
#[must_use = "a server answers only while it is served"]
pub struct Server {
    config: Arc<ServerConfig>,
    store: Arc<Store>,
    local_addr: SocketAddr,
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    postgres: Option<(postgres::Listener, Arc<postgres::Door>)>,
    health: HealthReporter,
    targets: Targets,
    leaving: CancellationToken,
    abort: CancellationToken,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the port of `config` for an open `store` and the `engine` over it.
    ///
    /// # Errors
    /// `Invalid` for a setting that makes no sense or a certificate that cannot be used, `Unavailable` when the port cannot
    /// be had.
    pub async fn bind(config: ServerConfig, store: Arc<Store>, engine: Arc<Engine>) -> Result<Self> {
        config.check()?;
        let config = Arc::new(config);
        let tls = config.tls.clone().map(Tls::open).transpose()?.map(Arc::new);
        let taken =
            |e: std::io::Error| Error::unavailable("the server cannot listen").with("listen", config.listen).because(e);
        let socket = TcpListener::bind(config.listen).await.map_err(taken)?;
        let local_addr = socket.local_addr().map_err(taken)?;
        let (health, leaving, abort) = (HealthReporter::new(), CancellationToken::new(), CancellationToken::new());
        let targets = Targets::default();
        let Routed { router, guard, compute } = router(Parts {
            config: Arc::clone(&config),
            store: Arc::clone(&store),
            engine: Arc::clone(&engine),
            health: health.clone(),
            targets: targets.clone(),
            leaving: leaving.clone(),
            abort: abort.clone(),
        })?;
        let postgres = match config.postgres_listen.filter(|_| config.has_role(Role::Query)) {
            Some(listen) => {
                let listener = postgres::Listener::bind(listen, config.postgres_connections_max).await?;
                let door = postgres::Door::new(&config, engine, compute, guard, tls.clone());
                Some((listener, Arc::new(door)))
            }
            None => None,
        };
        Ok(Self { config, store, local_addr, socket, tls, router, postgres, health, targets, leaving, abort })
    }

    /// The same server, which also tells what `page` knows of the targets that are scraped: at `GET /targets`, which like `/ready`
    /// takes no place among `requests_max`, and as Parca does.
    pub fn with_targets(mut self, page: TargetsPage) -> Self {
        self.targets.answer_from(page.clone());
        let answer = async move || ([(header::CONTENT_TYPE, "application/json")], page.render());
        self.router = self.router.route("/targets", get(answer));
        self
    }

    /// The address it listens on, with the port it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The address at which it speaks PostgreSQL's protocol, if it does.
    pub fn postgres_addr(&self) -> Option<SocketAddr> {
        self.postgres.as_ref().map(|(listener, _)| listener.local_addr)
    }

    /// Answers until `shutdown` completes, then lets running requests end and writes what the store holds in memory.
    ///
    /// Dropping the future closes all connections and writes nothing.
    ///
    /// # Errors
    /// Those of the last flush: what was acknowledged may then be lost.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        self.set_health(ServingStatus::Serving).await;
        tracing::info!(listen = %self.local_addr, tls = self.tls.is_some(), "serving");
        let stop = CancellationToken::new();
        let (connections_max, tls) = (self.config.connections_max, self.tls.clone());
        let listener = Listener { socket: self.socket, router: self.router, connections_max, tls };
        let leave = async {
            shutdown.await;
            tracing::info!("shutting down");
            self.leaving.cancel();
            set_health(&self.health, ServingStatus::NotServing).await;
            tokio::time::sleep(self.config.shutdown_grace).await;
            stop.cancel();
        };
        let upkeep = upkeep(&stop);
        let certificate = async {
            if let Some(tls) = &self.tls {
                tls.keep_fresh(&stop).await;
            }
        };
        let sessions = async {
            match self.postgres {
                Some((listener, door)) => listener.serve(door, stop.clone()).await,
                None => JoinSet::new(),
            }
        };
        let (connections, sessions, (), (), ()) =
            tokio::join!(listener.serve(stop.clone()), sessions, leave, upkeep, certificate);
        let (drain_max, abort) = (self.config.shutdown_drain, &self.abort);
        let (requests, statements) =
            tokio::join!(drain(connections, drain_max, abort), drain(sessions, drain_max, abort));
        let ended = requests + statements;
        if ended > 0 {
            tracing::warn!(connections = ended, "requests did not end in time and were cancelled");
        }
        self.store.shutdown().await
    }

    async fn set_health(&self, status: ServingStatus) {
        set_health(&self.health, status).await;
    }
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in ["", DEBUGINFO, INGEST, PARCA_QUERY, PROFILE_STORE, PUSHER, QUERY, STATUS] {
        health.set_service_status(service, status).await;
    }
}

/// Keeps the memory of histograms that nobody reads bounded.
async fn upkeep(stop: &CancellationToken) {
    const UPKEEP_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);
    let metrics = crate::telemetry::metrics();
    while tokio::time::timeout(UPKEEP_INTERVAL, stop.cancelled()).await.is_err() {
        metrics.run_upkeep();
    }
}
