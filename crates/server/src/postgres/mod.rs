//! PostgreSQL's protocol on a port of its own, for `psql`, drivers and Grafana's data source.
//!
//! ```text
//! client ─▶ place ─▶ TLS? ─▶ start-up: the database names the tenant ─▶ Connection: statements, one after the other
//!                      │                                                   │ split ─▶ answered here, or rewritten where it asks the catalog
//!                      └ cancel request ─▶ the statement of another one    ▼
//!                                                     task: engine ─▶ one batch waits ─▶ messages
//! ```
//!
//! A statement runs in a task that ends with it: when its client leaves or cancels, at its deadline, or with the server. It takes
//! a place among `requests_max`, as a request of any other door does. Bounds: `postgres_connections_max`, messages of
//! [`MESSAGE_BYTES_MAX`], [`STARTUP_TIME_MAX`] until a client has said who it is, `postgres_idle_max` between two messages, and
//! what a connection may keep of statements and portals.

mod catalog;
mod connection;
mod failure;
mod parameters;
mod query;
mod startup;
mod statement;
mod values;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use flamestore_model::{Error, Result};
use flamestore_query::Engine;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::rustls::crypto::ring;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::ServerConfig;
use crate::compute::Compute;
use crate::guard::Guard;
use crate::tls::Tls;
use connection::Connection;
use startup::Started;

/// How long a client may take to say who it is.
const STARTUP_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a message.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Connections over the limit that are told so at the same time; others wait.
const REFUSED_MAX: usize = 16;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
pub(crate) struct Door {
    engine: Arc<Engine>,
    compute: Compute,
    guard: Arc<Guard>,
    tls: Option<Arc<Tls>>,
    idle_max: Duration,
    message_bytes_max: usize,
    keys: Keys,
}

impl Door {
    /// The door of a server with `config`.
    pub(crate) fn new(
        config: &ServerConfig,
        engine: Arc<Engine>,
        compute: Compute,
        guard: Arc<Guard>,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        let message_bytes_max = config.request_bytes_max.min(MESSAGE_BYTES_MAX);
        let idle_max = config.postgres_idle_max;
        Self { engine, compute, guard, tls, idle_max, message_bytes_max, keys: Keys::default() }
    }
}

/// A listener that holds its port.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) local_addr: SocketAddr,
    connections_max: usize,
}

impl Listener {
    /// Takes the port at `listen`.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be had.
    pub(crate) async fn bind(listen: SocketAddr, connections_max: usize) -> Result<Self> {
        let taken = |error: std::io::Error| {
            Error::unavailable("the server cannot listen").with("postgres_listen", listen).because(error)
        };
        let socket = TcpListener::bind(listen).await.map_err(taken)?;
        let local_addr = socket.local_addr().map_err(taken)?;
        Ok(Self { socket, local_addr, connections_max })
    }

    /// Serves until `stop` is cancelled; connections that are idle end then. What is still running is returned.
    pub(crate) async fn serve(self, door: Arc<Door>, stop: CancellationToken) -> JoinSet<()> {
        let places = Arc::new(Semaphore::new(self.connections_max.min(Semaphore::MAX_PERMITS)));
        let refused = Arc::new(Semaphore::new(REFUSED_MAX));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return connections,
                accepted = accept(&self.socket, &places, &refused) => accepted,
                Some(_) = connections.join_next() => continue,
            };
            if let Some((stream, place, has_place)) = accepted {
                let (door, stop) = (Arc::clone(&door), stop.clone());
                let span = tracing::info_span!("postgres");
                let serve = async move {
                    serve(stream, has_place, &door, &stop).await;
                    drop(place);
                };
                connections.spawn(serve.instrument(span));
            }
        }
    }
}

/// The next connection, and whether it has a place or is to be refused; none after an error that may pass.
async fn accept(
    socket: &TcpListener,
    places: &Arc<Semaphore>,
    refused: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit, bool)> {
    let stream = match socket.accept().await {
        Ok((stream, _)) => stream,
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return None;
        }
    };
    // a server that is this full closes the connection without a word
    match Arc::clone(places).try_acquire_owned() {
        Ok(place) => Some((stream, place, true)),
        Err(_) => Arc::clone(refused).try_acquire_owned().ok().map(|place| (stream, place, false)),
    }
}

async fn serve(stream: TcpStream, has_place: bool, door: &Door, stop: &CancellationToken) {
    // answers are small and awaited: do not hold their last packet back
    let _ = stream.set_nodelay(true);
    let started = tokio::time::timeout(STARTUP_TIME_MAX, startup::start(stream, door, has_place)).await;
    if let Ok(Some(Started { reader, client, key })) = started {
        Connection::new(door, reader, client, &key).serve(stop).await;
    }
}

/// What a client shows to cancel the statement of a connection.
#[derive(Debug, Default)]
struct Keys {
    next: AtomicI32,
    known: Mutex<HashMap<i32, (i32, Slot)>>,
}

/// Where the token of a running statement is.
type Slot = Arc<Mutex<Option<CancellationToken>>>;

impl Keys {
    /// A key of a new connection.
    ///
    /// # Errors
    /// `Internal` when there is no randomness.
    fn make(&self) -> Result<(i32, i32, Slot)> {
        let mut secret = [0; 4];
        let filled = ring::default_provider().secure_random.fill(&mut secret);
        filled.map_err(|_| Error::internal("the system gives no random bytes"))?;
        let (secret, slot) = (i32::from_be_bytes(secret), Slot::default());
        let process = self.next.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.known.lock().insert(process, (secret, Arc::clone(&slot)));
        Ok((process, secret, slot))
    }

    /// Cancels what runs under a key, if it is one.
    fn cancel(&self, process: i32, secret: i32) {
        let known = self.known.lock();
        if let Some((_, slot)) = known.get(&process).filter(|(known, _)| *known == secret)
            && let Some(running) = &*slot.lock()
        {
            running.cancel();
        }
    }
}

/// The key of a connection, which is forgotten with it.
struct Key<'a> {
    keys: &'a Keys,
    process: i32,
    secret: i32,
    slot: Slot,
}

impl<'a> Key<'a> {
    fn new(keys: &'a Keys) -> Result<Self> {
        let (process, secret, slot) = keys.make()?;
        Ok(Self { keys, process, secret, slot })
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        self.keys.known.lock().remove(&self.process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cancels_what_runs_under_it() {
        let keys = Keys::default();
        let key = Key::new(&keys).unwrap();
        let running = CancellationToken::new();
        *key.slot.lock() = Some(running.clone());
        keys.cancel(key.process, key.secret.wrapping_add(1));
        keys.cancel(key.process.wrapping_add(1), key.secret);
        assert!(!running.is_cancelled());
        keys.cancel(key.process, key.secret);
        assert!(running.is_cancelled());
        drop(key);
        assert!(keys.known.lock().is_empty());
    }
}
