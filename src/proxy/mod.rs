//! Forwarding: how bytes get from a client to a backend and back.
//!
//! Only this module knows that; the engine behind it can be replaced without any other noticing. It
//! is a relay of our own on pingora's ground: pingora listens, accepts, runs the threads and dials
//! ([`Front`] is a `ServerApp`, [`upstream`] uses its connector); from the first byte of a connection
//! on it is ours:
//!
//! ```text
//! front      one client connection: waits, reads a head, runs an exchange, again
//! exchange   one exchange: admit, claim or hold, connect, relay, try again, answer errors
//! admit      a head: checked, routed, written for the backend        http1   the codec
//! relay      both directions of one try, tunnels                    buffer, outgoing, clock
//! upstream   the connections to one generation
//! context    what an exchange holds and the one record of it        access, failure, answer
//! ```
//!
//! What always holds: an exchange holds at most one claim at a time, released before the next is
//! taken; the count goes back when the exchange ends, and nowhere else; a connection to a backend is
//! closed or kept before that.
//!
//! pingora-proxy is not used. It cannot close or count the connections of one backend, answer an
//! exchange that is cut, pass trailers, tell one phase of an exchange from another by its clock, or
//! see the raw bytes of a head; and it costs about twice as much per request (`benches/README.md`).
//!
//! A client that closes its sending side before its answer is complete counts as gone: that cannot
//! be told from leaving, and what leaves must not keep a backend busy. (nginx and Envoy do the same.)

mod access;
mod admit;
mod answer;
mod buffer;
mod claim;
mod clock;
mod context;
mod date;
mod exchange;
mod failure;
mod front;
pub mod http1;
mod outgoing;
mod relay;
#[doc(hidden)]
pub mod scripted;
mod socket;
mod sticky;
#[cfg(test)]
mod tests;
mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pingora::connectors::TransportConnector;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::pool::Pools;
use crate::shutdown::Running;
use crate::spec::ClientSpec;

use context::{Context, Recorder};

pub use failure::Failure as ErrorWord;
pub use front::Front;
pub use socket::bound_unsent;

/// What forwarding is made of.
pub struct Parts {
    /// Where requests are routed and claims are taken.
    pub pools: Arc<Pools>,
    /// Where each exchange is counted.
    pub metrics: Arc<Metrics>,
    /// What clients may do.
    pub client: ClientSpec,
    /// The exchanges of this process.
    pub running: Arc<Running>,
    /// Whether the access log is written.
    pub access_log: bool,
}

/// What all exchanges share.
pub(crate) struct Engine {
    pools: Arc<Pools>,
    metrics: Arc<Metrics>,
    client: ClientSpec,
    running: Arc<Running>,
    recorder: Recorder,
    logs_access: bool,
    connector: TransportConnector,
    /// Set once, when the listeners are closed; read for each answer, to ask its client to close.
    /// Relaxed: a moment later is as good.
    stopping: AtomicBool,
}

impl Engine {
    fn new(parts: Parts) -> Self {
        Self {
            recorder: access::recorder(Arc::clone(&parts.metrics), parts.access_log),
            pools: parts.pools,
            metrics: parts.metrics,
            client: parts.client,
            running: parts.running,
            logs_access: parts.access_log,
            connector: TransportConnector::new(None),
            stopping: AtomicBool::new(false),
        }
    }

    /// An exchange begins: its head is complete.
    fn context(&self, begun: Instant) -> Context {
        Context::new(Arc::clone(&self.recorder), self.running.enter(), begun)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
