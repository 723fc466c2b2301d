//! Accepting and serving connections of the admin API and of the metrics listener.
//!
//! Bounded: [`CONNECTIONS_MAX`] at once on each listener, further ones wait in the kernel's queue; a
//! head that is not there after [`HEAD_TIMEOUT`] ends its connection, an idle keep-alive one too.
//!
//! At the end: no new connection is accepted, idle ones are closed, requests under way are answered,
//! answers without an end of their own are ended ([`Stopping`]); then the future is ready. Who cannot
//! wait for that drops the future, which cuts what is left.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::gate::{self, Gate, Kind, Peer, REQUESTS_MAX};
use super::tokens::Tokens;

/// Connections at once on one listener: a few scripts, each with one or two. Bounds descriptors.
pub const CONNECTIONS_MAX: usize = 128;

/// From a connection's begin, or its last answer, to the end of a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// After a failed accept, such as without descriptors: long enough not to spin, short for a person.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the listener ends; in every request. An answer without an end of its own, such as the
/// stream of events, looks at it and ends.
#[derive(Clone)]
pub(super) struct Stopping(pub(super) watch::Receiver<bool>);

impl Stopping {
    /// Is ready once the listener ends.
    pub(super) async fn begun(&mut self) {
        // An error is a `serve` that was dropped, which is an end too.
        let _ = self.0.wait_for(|stopping| *stopping).await;
    }
}

/// What the admin listener on TCP demands.
#[derive(Clone)]
pub struct TcpDoor {
    /// One of these.
    pub tokens: Tokens,
    /// The host of the configured address if it is a name; taken as `Host` beside IP literals.
    pub host: Option<String>,
}

/// Serves the admin API on a unix socket until `shutdown` is ready and the last request answered.
pub async fn serve_unix(
    listener: UnixListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let gate = Gate::new(Kind::Unix, REQUESTS_MAX);
    serve(listener, gated(router, gate), shutdown).await;
}

/// Serves the admin API on TCP; see [`serve_unix`].
pub async fn serve_tcp(
    listener: TcpListener,
    router: Router,
    door: TcpDoor,
    shutdown: impl Future<Output = ()>,
) {
    let TcpDoor { tokens, host } = door;
    let gate = Gate::new(Kind::Tcp { tokens, host }, REQUESTS_MAX);
    serve(listener, gated(router, gate), shutdown).await;
}

/// Serves a router that everyone may ask, such as [`super::plain::router`]; see [`serve_unix`].
pub async fn serve_plain(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    serve(listener, router, shutdown).await;
}

pub(super) fn gated(router: Router, gate: Arc<Gate>) -> Router {
    router.layer(from_fn_with_state(gate, gate::pass))
}

/// A listener of either kind.
pub(super) trait Accept {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;
    async fn accept(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, _) = UnixListener::accept(self).await?;
        let peer = Peer::Uid(stream.peer_cred()?.uid());
        Ok((stream, peer))
    }
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;
    async fn accept(&self) -> io::Result<(Self::Stream, Peer)> {
        let (stream, address) = TcpListener::accept(self).await?;
        Ok((stream, Peer::Tcp(address.ip())))
    }
}

pub(super) async fn serve<L: Accept>(
    listener: L,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stopping, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            // The semaphore is never closed, so an error is a listener's end, too.
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.map_err(io::Error::other)?;
            let (stream, peer) = listener.accept().await?;
            Ok::<_, io::Error>((stream, peer, place))
        };
        tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => match accepted {
                Ok((stream, peer, place)) => {
                    let stopping = Stopping(stopping.subscribe());
                    let connection = connection(stream, peer, router.clone(), stopping, place);
                    connections.spawn(connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "an admin or metrics connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    stopping.send_replace(true);
    while connections.join_next().await.is_some() {}
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    router: Router,
    mut stopping: Stopping,
    _place: OwnedSemaphorePermit,
) {
    let router = TowerToHyperService::new(router);
    let told = stopping.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(told.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopping.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin or metrics connection ended");
    }
}
