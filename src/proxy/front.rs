//! One client connection: its exchanges one after another, each of which can be cut from outside.
//!
//! pingora's own connection loop cannot end an exchange on demand, nor count connections. This one
//! is the same loop with both: the exchange's future runs beside the wish to cut it, the clock of a
//! head that does not come, and the stop of the proxy; it is polled first and dropped when one of
//! them comes. The client then sees its connection end; dropping the context of the exchange gives
//! the claim back. At the stop a connection that has no request closes after [`STOP_LINGER`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;

use super::{Forwarder, Parts};
use crate::backend::Exchange;
use crate::shutdown::Running;

/// How long an upload that nobody reads any more is read on, so that the client sees the answer.
const UPLOAD_DRAIN: Duration = Duration::from_secs(5);

/// How long connections that wait for a request stay after the listeners are closed: a request
/// that was sent before then is on its way to its worker for milliseconds at most.
const STOP_LINGER: Duration = Duration::from_millis(100);

tokio::task_local! {
    /// The exchange that the current task is about to read or runs.
    static EXCHANGE: Arc<Exchange>;
}

/// The exchange of the current task.
pub(super) fn present_exchange() -> Arc<Exchange> {
    EXCHANGE
        .try_with(Arc::clone)
        .unwrap_or_else(|_| Arc::new(Exchange::pending()))
}

/// Takes client connections from pingora's listeners.
pub struct Front {
    proxy: Arc<HttpProxy<Forwarder>>,
    connections: Arc<Running>,
    /// Set once the listeners are closed; the forwarder then asks clients to close.
    stopping: Arc<AtomicBool>,
    connections_max: usize,
    keep_alive: Duration,
    head_timeout: Duration,
    body_idle: Duration,
}

impl Front {
    /// A front over pingora-proxy; `workers` is how many threads run it.
    pub fn new(parts: Parts, workers: usize, connections: Arc<Running>) -> Self {
        let conf = ServerConf {
            threads: workers,
            ..ServerConf::default()
        };
        let client = parts.client.clone();
        let stopping = Arc::new(AtomicBool::new(false));
        let forwarder = Forwarder::new(parts, Arc::clone(&stopping));
        let mut proxy = HttpProxy::new(forwarder, Arc::new(conf));
        proxy.handle_init_modules();
        Self {
            proxy: Arc::new(proxy),
            connections,
            stopping,
            connections_max: client.connections_max,
            keep_alive: client.keep_alive,
            head_timeout: client.head_timeout,
            body_idle: client.body_idle,
        }
    }

    /// Resolves when the head of the next request is not there in time. pingora's own clock starts
    /// anew with each byte, so a slow sender would hold its connection for ever; this one runs from
    /// the end of the last exchange, and so allows for the wait between two requests as well.
    async fn head_overdue(&self, exchange: &Exchange) {
        tokio::time::sleep(self.keep_alive + self.head_timeout).await;
        if exchange.has_begun() {
            std::future::pending::<()>().await;
        }
    }

    fn prepare(&self, session: &mut ServerSession) {
        session.set_read_timeout(Some(self.body_idle));
        session.set_total_drain_timeout(Some(UPLOAD_DRAIN));
        session.set_pipelining_enabled(true);
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        if self.connections.count() >= self.connections_max {
            tracing::debug!(
                max = self.connections_max,
                "closed a connection over the limit"
            );
            return None;
        }
        let _connected = self.connections.enter();
        let mut session = ServerSession::new_http1(stream);
        // pingora counts in whole seconds; 0 would mean for ever.
        session.set_keepalive(Some(self.keep_alive.as_secs().max(1)));
        loop {
            self.prepare(&mut session);
            let exchange = Arc::new(Exchange::pending());
            let run = self.proxy.process_new_http(session, shutdown);
            let ended = EXCHANGE.scope(Arc::clone(&exchange), async {
                tokio::select! {
                    // First, so that a request whose bytes are there is read before anything ends it.
                    biased;
                    ended = run => ended,
                    reason = exchange.cut_asked() => {
                        tracing::debug!(?reason, "cut an exchange");
                        None
                    }
                    () = self.head_overdue(&exchange) => None,
                    () = stop_waiting(shutdown.clone(), &exchange) => None,
                }
            });
            let (stream, settings) = ended.await?.consume();
            // Also when the proxy stops: the next request may have been sent already. Its answer asks
            // the client to close.
            session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
        }
    }

    /// pingora's own cleanup would drop every connection that waits for a request, also one whose
    /// request has come but was not read yet; [`stop_waiting`] does that with more care.
    async fn cleanup(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// Resolves when the proxy stops and no request has come. The pause is spent on the connection's own
/// worker: whatever had arrived before it ends is known there by then, however busy the machine is.
async fn stop_waiting(mut shutdown: ShutdownWatch, exchange: &Exchange) {
    // An error means that the sender is gone, which is the end too.
    let _ = shutdown.wait_for(|stops| *stops).await;
    tokio::time::sleep(STOP_LINGER).await;
    if exchange.has_begun() {
        std::future::pending::<()>().await;
    }
}
