//! One client connection: its requests one after another.
//!
//! States: *waiting* for a request, *reading* its head, *in an exchange* ([`super::exchange`]). A
//! waiting connection holds no buffer and no future of an exchange: what it costs is its socket, its
//! task and a timer.
//!
//! pingora listens, accepts and runs this as a `ServerApp`. When the proxy stops, a connection that
//! waits is closed after [`STOP_LINGER`], one in an exchange after it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::time::Instant;

use super::admit::Origin;
use super::answer::linger;
use super::buffer::{Filled, Input};
use super::clock::Timer;
use super::exchange::{After, Downstream, refuse, run};
use super::failure::Failure;
use super::http1::HeadEnd;
use super::relay::Peer;
use super::{Engine, Parts, upstream};
use crate::shutdown::Running;

/// How long connections that wait for a request stay after the listeners are closed: a request
/// that was sent before then is on its way to its worker for milliseconds at most.
const STOP_LINGER: Duration = Duration::from_millis(100);

/// Takes client connections from pingora's listeners. Clones are one front.
#[derive(Clone)]
pub struct Front {
    engine: Arc<Engine>,
    connections: Arc<Running>,
}

/// What a waiting connection has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// A head of so many bytes is in the input; since when its first one is.
    Head(usize, Instant),
    /// What came cannot be a head; since when.
    Refused(Failure, Instant),
    /// Nothing more will come, or it took too long.
    Nothing,
}

impl Front {
    /// A front over the relay.
    pub fn new(parts: Parts, connections: Arc<Running>) -> Self {
        Self {
            engine: Arc::new(Engine::new(parts)),
            connections,
        }
    }

    /// Closes idle upstream connections when their time is over; runs for ever beside the front.
    pub fn sweep(&self) -> impl Future<Output = ()> + Send + use<> {
        upstream::sweep(Arc::clone(&self.engine.pools))
    }

    async fn next(
        &self,
        client: &mut Peer<Stream>,
        timer: &mut Timer,
        stop: &mut Stop<'_>,
        wait: Duration,
    ) -> Next {
        let mut scan = HeadEnd::request();
        let mut begun = None;
        // Only a request that is not there at once is waited for, and only then the time matters.
        let mut asked = None;
        poll_fn(|context| {
            // First, so that a request whose bytes are there is read before anything ends it.
            loop {
                if !client.input.is_empty() {
                    let begun = *begun.get_or_insert_with(Instant::now);
                    match self.look(&mut scan, &client.input) {
                        Ok(None) => {}
                        Ok(Some(length)) => return Poll::Ready(Next::Head(length, begun)),
                        Err(failure) => return Poll::Ready(Next::Refused(failure, begun)),
                    }
                }
                let max = self.engine.client.head_bytes_max;
                match client.input.poll_fill(context, &mut client.stream, max) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(Filled::Bytes)) => {}
                    Poll::Ready(Ok(Filled::Full)) => {
                        let begun = begun.unwrap_or_else(Instant::now);
                        return Poll::Ready(Next::Refused(Failure::TooLarge, begun));
                    }
                    Poll::Ready(Ok(Filled::End) | Err(_)) => return Poll::Ready(Next::Nothing),
                }
            }
            if stop.poll(context) {
                return Poll::Ready(Next::Nothing);
            }
            let deadline = match begun {
                Some(begun) => begun + self.engine.client.head_timeout,
                None => *asked.get_or_insert_with(Instant::now) + wait,
            };
            match (timer.poll_past(context, deadline), begun) {
                (false, _) => Poll::Pending,
                (true, None) => Poll::Ready(Next::Nothing),
                (true, Some(begun)) => Poll::Ready(Next::Refused(Failure::ClientTimeout, begun)),
            }
        })
        .await
    }

    fn look(&self, scan: &mut HeadEnd, input: &Input) -> Result<Option<usize>, Failure> {
        match scan.find(input.bytes()) {
            Ok(Some(length)) if length > self.engine.client.head_bytes_max => {
                Err(Failure::TooLarge)
            }
            Ok(found) => Ok(found),
            Err(bad) => {
                tracing::debug!(why = bad.0, "refused a request");
                Err(Failure::BadRequest)
            }
        }
    }
}

/// The stop of the proxy, as one connection waits for it. It is listened for from the first wait on, and
/// can be polled again when it has come.
struct Stop<'a> {
    shutdown: &'a ShutdownWatch,
    coming: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    has_come: bool,
}

impl Stop<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        let shutdown = self.shutdown;
        let coming = self
            .coming
            .get_or_insert_with(|| Box::pin(stopped(shutdown.clone())));
        self.has_come = self.has_come || coming.as_mut().poll(context).is_ready();
        self.has_come
    }
}

/// Resolves [`STOP_LINGER`] after the proxy stops. The pause is spent on the connection's own worker:
/// whatever had arrived before it ends is known there by then, however busy the machine is.
async fn stopped(mut shutdown: ShutdownWatch) {
    // An error means that the sender is gone, which is the end too.
    let _ = shutdown.wait_for(|stops| *stops).await;
    tokio::time::sleep(STOP_LINGER).await;
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let engine = &self.engine;
        if self.connections.count() >= engine.client.connections_max {
            tracing::debug!(
                max = engine.client.connections_max,
                "closed a connection over the limit"
            );
            return None;
        }
        let _connected = self.connections.enter();
        let digest = stream.get_socket_digest();
        let address = digest
            .as_ref()
            .and_then(|digest| digest.peer_addr()?.as_inet())
            .map(|address| address.ip());
        let origin = Origin::new(address, &engine.client.trusted_proxies);
        drop(digest);
        let mut client = Peer {
            stream,
            input: Input::default(),
        };
        let mut timer = Timer::new();
        let mut stop = Stop {
            shutdown,
            coming: None,
            has_come: false,
        };
        let mut wait = engine.client.head_timeout;
        loop {
            let next = self.next(&mut client, &mut timer, &mut stop, wait).await;
            let begun = match next {
                Next::Nothing => return None,
                Next::Head(_, begun) | Next::Refused(_, begun) => begun,
            };
            let downstream = Downstream {
                client: &mut client,
                origin: &origin,
                timer: &mut timer,
                begun,
            };
            // Boxed, so that a waiting connection does not carry room for an exchange.
            let after = match next {
                Next::Nothing => return None,
                Next::Refused(failure, _) => Box::pin(refuse(engine, downstream, failure)).await,
                Next::Head(length, _) => Box::pin(run(engine, downstream, length)).await,
            };
            match after {
                After::Keep => {}
                After::Close => return None,
                After::Linger => {
                    Box::pin(linger(&mut client)).await;
                    return None;
                }
            }
            wait = engine.client.keep_alive;
        }
    }

    /// The listeners are closed: clients are asked to close from now on.
    async fn cleanup(&self) {
        self.engine.stop();
    }
}
