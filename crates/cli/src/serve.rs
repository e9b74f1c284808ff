//! `serve`: a server in this process, until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use flamestore_query::Engine;
use flamestore_server::Server;
use flamestore_store::{Store, StoreUrl};

use crate::config::{BucketArgs, LimitArgs, Settings, listen_address, store_url};
use crate::failure::{Failure, Outcome};
use crate::output;

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
        let settings = Settings::read(config, self.store.as_ref(), self.listen, &self.bucket, &self.limits)?;
        let stop = StopSignal::new()?;
        let server = bind(&settings).await?;
        output::print(&ready_line(server.local_addr(), &settings.store))?;
        Ok(server.serve(stop.received()).await?)
    }
}

/// A server of `settings` that holds its port; its store is open.
///
/// # Errors
/// When the store cannot be opened or the port cannot be had.
pub(crate) async fn bind(settings: &Settings) -> Outcome<Server> {
    let store = Store::open(settings.store_options()?).await?;
    let engine = Arc::new(Engine::new(Arc::clone(&store), settings.query.clone())?);
    Server::bind(settings.server.clone(), store, engine).await.map_err(|error| {
        let hint = "is another server running there? `--listen 127.0.0.1:0` takes a free port";
        Failure::from(error).hint(hint)
    })
}

/// What tells people and scripts that a server is ready, and where.
pub(crate) fn ready_line(address: SocketAddr, store: &StoreUrl) -> String {
    format!("flamestore is listening on http://{address}, store {store}\n")
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
