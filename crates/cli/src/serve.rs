//! `serve`: a server in this process, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use flamestore_model::ErrorKind;
use flamestore_query::Engine;
use flamestore_server::{Role, Server};
use flamestore_store::{Compactor, Store, StoreUrl};
use tokio::task::JoinHandle;

use crate::config::{BucketArgs, LimitArgs, Listen, Settings, listen_address, store_url};
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::scrape::Scraping;

/// Runs a server: gRPC, GET /ready and GET /metrics on one port. Ctrl-C or SIGTERM writes what is in memory and ends it.
///
/// A flag goes before its environment variable, that before the file, and that before the default.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Where profiles are kept: a folder, `s3://bucket/prefix`, or `memory:`.
    #[arg(long, env = "FLAMESTORE_STORE", value_name = "URL", value_parser = store_url)]
    store: Option<StoreUrl>,
    /// The address and port to listen on; port 0 takes a free one [default: 127.0.0.1:4040].
    #[arg(long, env = "FLAMESTORE_LISTEN", value_name = "ADDRESS", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// The address and port to speak PostgreSQL's protocol on, as 127.0.0.1:5432; port 0 takes a free one [default: none].
    #[arg(long, env = "FLAMESTORE_POSTGRES_LISTEN", value_name = "ADDRESS", value_parser = listen_address)]
    postgres_listen: Option<SocketAddr>,
    /// A TOML file with these settings and more.
    #[arg(long, env = "FLAMESTORE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    bucket: BucketArgs,
}

impl Serve {
    /// Runs the command.
    pub(crate) async fn run(self) -> Outcome {
        let config = self.config.as_deref();
        let listen = Listen { http: self.listen, postgres: self.postgres_listen };
        let settings = Settings::read(config, self.store.as_ref(), listen, &self.bucket, &self.limits)?;
        let stop = StopSignal::new()?;
        let Bound { server, tending, scraping } = bind(&settings).await?;
        output::print(&ready_line(&settings, &server))?;
        // nothing may be scraped into a store that is being shut down
        let leave = async {
            stop.received().await;
            if let Some(scraping) = scraping {
                scraping.end().await;
            }
        };
        let served = server.serve(leave).await;
        tending.end().await;
        Ok(served?)
    }
}

/// The compactor of a server, if that is one of its roles.
pub(crate) struct Tending {
    running: Option<(Arc<Compactor>, JoinHandle<()>)>,
}

impl Tending {
    fn start(compactor: Compactor, store: Arc<Store>) -> Self {
        let compactor = Arc::new(compactor);
        let running = Arc::clone(&compactor);
        let task = tokio::spawn(async move { running.run(Some(&store)).await });
        Self { running: Some((compactor, task)) }
    }

    /// Ends what is under way; what it has not committed is lost and not missed.
    pub(crate) async fn end(mut self) {
        if let Some((compactor, task)) = self.running.take() {
            compactor.stop();
            if let Err(error) = task.await {
                tracing::error!(%error, "the compactor broke");
            }
        }
    }
}

impl Drop for Tending {
    fn drop(&mut self) {
        if let Some((compactor, _)) = &self.running {
            compactor.stop();
        }
    }
}

/// A server that holds its port, and what runs beside it.
pub(crate) struct Bound {
    pub(crate) server: Server,
    pub(crate) tending: Tending,
    /// What pulls profiles, if the settings name something to pull them from.
    pub(crate) scraping: Option<Scraping>,
}

/// A server of `settings` that holds its port; its store is open, tended and scraped into if these are roles of its.
///
/// # Errors
/// When the store cannot be opened or the port cannot be had.
pub(crate) async fn bind(settings: &Settings) -> Outcome<Bound> {
    let store = Store::open(settings.store_options()?).await?;
    let engine = Arc::new(Engine::new(Arc::clone(&store), settings.query.clone())?);
    let tends = settings.server.has_role(Role::Compact);
    // the store's own bucket: one in memory is gone with its handle
    let compactor = tends.then(|| settings.compactor_options(store.options().bucket.clone())).transpose()?;
    let compactor = compactor.map(Compactor::new).transpose()?;
    let bound = Server::bind(settings.server.clone(), Arc::clone(&store), engine).await;
    let server = bound.map_err(|error| match error.kind() {
        ErrorKind::Unavailable => {
            Failure::from(error).hint("is another server running there? `--listen 127.0.0.1:0` takes a free port")
        }
        _ => Failure::from(error),
    })?;
    let scraping = start_scraping(settings, &store)?;
    let page = scraping.as_ref().map(Scraping::page);
    let server = match page {
        Some(page) => server.with_targets(page),
        None => server,
    };
    let tending = compactor.map_or(Tending { running: None }, |compactor| Tending::start(compactor, store));
    Ok(Bound { server, tending, scraping })
}

fn start_scraping(settings: &Settings, store: &Arc<Store>) -> Outcome<Option<Scraping>> {
    let Settings { scrape, scraper, server, .. } = settings;
    if scrape.is_empty() {
        return Ok(None);
    }
    if !server.has_role(Role::Ingest) {
        tracing::info!(jobs = scrape.len(), "nothing is scraped: that is for processes of the role ingest");
        return Ok(None);
    }
    Ok(Some(Scraping::start(scrape, scraper, server, Arc::clone(store))?))
}

/// What tells people and scripts that a server is ready, and where.
pub(crate) fn ready_line(settings: &Settings, server: &Server) -> String {
    let scheme = if settings.server.tls.is_some() { "https" } else { "http" };
    let postgres = server.postgres_addr().map(|address| format!(" and postgresql://{address}")).unwrap_or_default();
    format!("flamestore is listening on {scheme}://{}{postgres}, store {}\n", server.local_addr(), settings.store)
}

/// Ctrl-C and SIGTERM, heard from its making on.
pub(crate) struct StopSignal {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl StopSignal {
    /// Starts to listen for the signals, so that one that comes early is not missed.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub(crate) fn new() -> Outcome<Self> {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let wrong = |e| Failure::io("signals cannot be received", &e);
            Ok(Self {
                terminate: signal(SignalKind::terminate()).map_err(wrong)?,
                interrupt: signal(SignalKind::interrupt()).map_err(wrong)?,
            })
        }
        #[cfg(not(unix))]
        Ok(Self {})
    }

    /// Completes when one of them comes.
    #[cfg(unix)]
    pub(crate) async fn received(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Completes on Ctrl-C.
    #[cfg(not(unix))]
    pub(crate) async fn received(self) {
        // Without the signal there is nothing to wait for; the process is then ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
