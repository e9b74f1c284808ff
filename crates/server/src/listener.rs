//! The listener: accepts connections, speaks HTTP/1.1 and HTTP/2 on each, over TLS if it has a certificate, and closes them in
//! two steps.
//!
//! Bounds: `connections_max` open connections; 30 s for the head of an HTTP/1 request; a peer that does not answer an
//! HTTP/2 ping for 20 s is gone, and its requests are dropped.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::tls::Tls;

const PING_INTERVAL: Duration = Duration::from_secs(20);
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// How long to wait before accepting again after an error such as "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;

/// The address of the other side of a connection: an extension of each of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// A listener and what it serves.
pub(crate) struct Listener {
    pub(crate) socket: TcpListener,
    pub(crate) router: Router,
    pub(crate) connections_max: usize,
    /// The certificate; without one, connections are not encrypted.
    pub(crate) tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Serves until `stop` is cancelled, then closes the listening socket and tells every connection to take no new
    /// requests. What is still running is returned.
    pub(crate) async fn serve(self, stop: CancellationToken) -> JoinSet<()> {
        let places = Arc::new(Semaphore::new(self.connections_max.min(Semaphore::MAX_PERMITS)));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return connections,
                accepted = accept(&self.socket, &places) => accepted,
                Some(_) = connections.join_next() => continue,
            };
            if let Some((stream, peer, place)) = accepted {
                let (router, tls) = (self.router.clone(), self.tls.clone());
                connections.spawn(serve_stream(stream, peer, place, tls, router, stop.clone()));
            }
        }
    }
}

/// The next connection; none after an error that may pass.
async fn accept(socket: &TcpListener, places: &Arc<Semaphore>) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, peer)) => Some((stream, Peer(peer.ip()), place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_stream(
    stream: TcpStream,
    peer: Peer,
    _place: OwnedSemaphorePermit,
    tls: Option<Arc<Tls>>,
    router: Router,
    stop: CancellationToken,
) {
    // answers are small and awaited: do not hold their last packet back
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_connection(stream, peer, router, stop).await,
        Some(tls) => {
            if let Some(stream) = tls.accept(stream).await {
                serve_connection(stream, peer, router, stop).await;
            }
        }
    }
}

async fn serve_connection<S>(stream: S, peer: Peer, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL);
    builder.http2().max_concurrent_streams(STREAMS_PER_CONNECTION_MAX).adaptive_window(true);
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request
    });
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended early");
    }
}

/// Waits for `connections` to end, for `drain` at most; then cancels `abort`, which ends their requests, and closes what
/// is left. Answers how many connections had to be ended.
pub(crate) async fn drain(mut connections: JoinSet<()>, drain: Duration, abort: &CancellationToken) -> usize {
    const ABORT_TIME_MAX: Duration = Duration::from_secs(1);
    if wait(&mut connections, drain).await {
        return 0;
    }
    let running = connections.len();
    abort.cancel();
    wait(&mut connections, ABORT_TIME_MAX).await;
    connections.shutdown().await;
    running
}

async fn wait(connections: &mut JoinSet<()>, time_max: Duration) -> bool {
    let all = async { while connections.join_next().await.is_some() {} };
    tokio::time::timeout(time_max, all).await.is_ok()
}
