//! The connections to one generation: dialled, busy, kept idle, closed.
//!
//! An [`Upstream`] sits in its generation's slot ([`Backend::connections_slot`]), so a new process
//! on the same address never inherits a connection of the old one. Each open connection carries a
//! guard that counts it ([`Open`]), so the count is exact however the connection ends.
//!
//! What always holds: a connection is kept only by an exchange that still holds its claim, and not
//! while the generation drains; so whoever sees the last claim given back and then closes the idle
//! ones ([`Connections::close_idle`]) leaves none. One that is taken is alive and silent, as far as
//! the reactor has seen, which has looked since it was kept but for requests of the same few
//! microseconds. Before a request that may not be sent twice the kernel is asked too: a system call,
//! 2 % of a small request.
//!
//! Idle ones are kept per worker, newest on top: a connection goes on in the thread whose reactor
//! knows it. [`sweep`] closes what has been idle for too long or was closed by the backend.
//!
//! pingora's own pool is not used because it is private: nothing in it can be closed or counted by
//! backend. Its connector is.

use std::any::Any;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use pingora::upstreams::peer::BasicPeer;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout};

use super::buffer::Input;
use super::failure::Failure;
use super::relay::Peer;
use super::socket;
use crate::backend::{Backend, ConnectionCount, Connections, thread_number};
use crate::pool::Pools;
use crate::spec::Target;

/// Locks that the idle connections of a generation are split over, one for each worker up to this.
const SHARDS: usize = 16;

/// Idle connections that one shard keeps; past it a connection is closed after its exchange.
const IDLE_MAX: usize = 256;

/// Connections to backends that this process has. Written by [`Open`]; relaxed, since it only bounds.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// How often idle connections are looked at.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// See the module's words.
pub(super) struct Upstream {
    peer: Result<BasicPeer, String>,
    shards: [Mutex<Vec<Idle>>; SHARDS],
    /// Connections that exist, busy and idle. Written by [`Open`] alone. Relaxed: it is read for
    /// status; that a drained generation has none follows from the order above.
    open: Arc<AtomicUsize>,
}

/// Counts one connection.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Idle {
    // In this order: the socket is closed before it is no longer counted.
    stream: Stream,
    open: Open,
    until: Instant,
}

/// A connection in use by one exchange.
pub(super) struct Link {
    pub(super) peer: Peer<Stream>,
    open: Open,
    /// It has served an exchange before.
    pub(super) is_reused: bool,
}

/// The upstream connections of a generation.
pub(super) fn of(backend: &Backend) -> &Upstream {
    let slot = backend
        .connections_slot()
        .get_or_init(|| Box::new(Upstream::new(backend.target())));
    let any: &dyn Any = &**slot;
    any.downcast_ref()
        .expect("nobody else fills the slot of connections")
}

impl Upstream {
    fn new(target: &Target) -> Self {
        let peer = match target {
            Target::Tcp(address) => Ok(BasicPeer::new(&address.to_string())),
            Target::Unix(path) => BasicPeer::new_uds(path).map_err(|error| error.to_string()),
        };
        Self {
            peer,
            shards: std::array::from_fn(|_| Mutex::default()),
            open: Arc::default(),
        }
    }

    /// An idle connection that can take a request now. `is_once`: the request may not be sent twice, so
    /// the kernel is asked too.
    pub(super) fn take(&self, now: Instant, is_once: bool) -> Option<Link> {
        let shard = &self.shards[thread_number() % SHARDS];
        loop {
            let mut idle = shard.lock().expect("idle connections lock").pop()?;
            let is_silent = is_quiet(&mut idle.stream);
            if idle.until > now && is_silent && (!is_once || socket::is_silent(&idle.stream)) {
                return Some(Link {
                    peer: Peer {
                        stream: idle.stream,
                        input: Input::default(),
                    },
                    open: idle.open,
                    is_reused: true,
                });
            }
        }
    }

    /// Makes a new connection.
    pub(super) async fn dial(
        &self,
        connector: &TransportConnector,
        within: Duration,
    ) -> Result<Link, Failure> {
        let peer = self.peer.as_ref().map_err(|error| {
            tracing::warn!(error, "an address that cannot be connected to");
            Failure::ConnectFailed
        })?;
        // Counted from here on: a connection that is being made is already a socket.
        let open = Open::new(&self.open);
        let stream = match timeout(within, connector.new_stream(peer)).await {
            Ok(Ok(stream)) if !is_own_end(&stream) => stream,
            Ok(Ok(_)) => return Err(Failure::ConnectFailed),
            Ok(Err(error)) => {
                tracing::debug!(%error, "not connected");
                return Err(Failure::ConnectFailed);
            }
            Err(_) => return Err(Failure::ConnectTimeout),
        };
        socket::bound_unsent_of(&stream);
        Ok(Link {
            peer: Peer {
                stream,
                input: Input::default(),
            },
            open,
            is_reused: false,
        })
    }

    /// Keeps a connection for the next request, or closes it if there are enough.
    pub(super) fn keep(&self, link: Link, until: Instant) {
        let mut shard = self.shards[thread_number() % SHARDS]
            .lock()
            .expect("idle connections lock");
        if shard.len() < IDLE_MAX {
            shard.push(Idle {
                stream: link.peer.stream,
                open: link.open,
                until,
            });
        }
    }

    fn retain(&self, keep: impl Fn(&Idle) -> bool) {
        for shard in &self.shards {
            // Closed inside the lock, although that is a system call each: whoever finds none here must
            // find none open either, or a generation is called drained a moment before it is.
            let mut kept = shard.lock().expect("idle connections lock");
            kept.retain(&keep);
        }
    }
}

impl Connections for Upstream {
    fn count(&self) -> ConnectionCount {
        let idle: usize = self
            .shards
            .iter()
            .map(|shard| shard.lock().expect("idle connections lock").len())
            .sum();
        ConnectionCount {
            busy: self.open.load(Ordering::Relaxed).saturating_sub(idle),
            idle,
            probing: 0,
        }
    }

    fn close_idle(&self) {
        self.retain(|_| false);
    }
}

/// Makes room for one more connection: past `max`, all idle ones of all backends are closed. There are
/// never more busy ones than client connections, so descriptors suffice if they do for twice that
/// many.
pub(super) fn make_room(pools: &Pools, max: usize) {
    if OPEN.load(Ordering::Relaxed) < max {
        return;
    }
    for (_, entry) in pools.load().entries() {
        entry.backend.close_idle_connections();
    }
}

/// Closes idle connections whose time is over or whose backend has closed them, for ever.
pub(super) async fn sweep(pools: Arc<Pools>) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let now = Instant::now();
        let snapshot = pools.load_full();
        for (_, entry) in snapshot.entries() {
            if entry.backend.connections_slot().get().is_some() {
                of(&entry.backend)
                    .retain(|idle| idle.until > now && socket::is_silent(&idle.stream));
            }
        }
    }
}

/// Whether the reactor has seen nothing come on an idle connection: neither bytes nor its end.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut byte = [0; 1];
    let mut unread = ReadBuf::new(&mut byte);
    let mut context = Context::from_waker(Waker::noop());
    Pin::new(stream)
        .poll_read(&mut context, &mut unread)
        .is_pending()
}

/// A connect to a port of the ephemeral range on which nobody listens may be given that very port as
/// its own, and then reaches itself (TCP's simultaneous open).
fn is_own_end(stream: &Stream) -> bool {
    stream.get_socket_digest().is_some_and(|digest| {
        let ends = (digest.local_addr(), digest.peer_addr());
        matches!(ends, (Some(own), Some(peer)) if own.as_inet().is_some() && own == peer)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    use pingora::connectors::l4::BindTo;
    use pingora::protocols::l4::stream::Stream as Socket;
    use tokio::net::UnixStream;

    const LONG: Duration = Duration::from_secs(3600);

    fn upstream() -> Upstream {
        Upstream::new(&Target::Tcp("127.0.0.1:1".parse().unwrap()))
    }

    fn link(upstream: &Upstream, stream: UnixStream) -> Link {
        Link {
            peer: Peer {
                stream: Box::new(Socket::from(stream)),
                input: Input::default(),
            },
            open: Open::new(&upstream.open),
            is_reused: false,
        }
    }

    #[tokio::test]
    async fn a_worker_keeps_so_many_connections_and_closes_the_next() {
        let upstream = upstream();
        let pairs = (0..=IDLE_MAX).map(|_| UnixStream::pair().unwrap());
        let (near, far): (Vec<_>, Vec<_>) = pairs.unzip();
        let links: Vec<_> = near.into_iter().map(|near| link(&upstream, near)).collect();
        assert_eq!(upstream.count().busy, IDLE_MAX + 1);
        for link in links {
            upstream.keep(link, Instant::now() + LONG);
        }
        let kept = ConnectionCount {
            busy: 0,
            idle: IDLE_MAX,
            probing: 0,
        };
        assert_eq!(upstream.count(), kept);
        let closed = |far: &UnixStream| matches!(far.try_read(&mut [0]), Ok(0));
        far[IDLE_MAX].readable().await.unwrap();
        assert!(closed(&far[IDLE_MAX]));
        assert!(!far[..IDLE_MAX].iter().any(closed));
    }

    #[tokio::test]
    async fn what_is_busy_and_what_is_kept_are_counted_apart() {
        let upstream = upstream();
        let count = |busy, idle| ConnectionCount {
            busy,
            idle,
            probing: 0,
        };
        let (near, _far) = UnixStream::pair().unwrap();
        let first = link(&upstream, near);
        assert_eq!(upstream.count(), count(1, 0));
        upstream.keep(first, Instant::now() + LONG);
        assert_eq!(upstream.count(), count(0, 1));
        let again = upstream.take(Instant::now(), true).unwrap();
        assert!(again.is_reused);
        assert_eq!(upstream.count(), count(1, 0));
        drop(again);
        assert_eq!(upstream.count(), count(0, 0));
    }

    /// The answers to such a connection would be the proxy's own requests.
    #[tokio::test]
    async fn a_connection_that_reaches_itself_is_none() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = free.local_addr().unwrap();
        drop(free);
        let mut upstream = Upstream::new(&Target::Tcp(own));
        // What the kernel does by chance, done on purpose.
        let mut bound = BindTo::default();
        bound.addr = Some(own);
        upstream.peer.as_mut().unwrap().options.bind_to = Some(bound);
        let dialled = upstream.dial(&TransportConnector::new(None), LONG).await;
        assert_eq!(dialled.map(|_| ()), Err(Failure::ConnectFailed));
        assert_eq!(upstream.count().busy, 0);
    }
}
