//! One client connection: its exchanges one after another, each of which can be cut from outside.
//!
//! pingora's own connection loop cannot end an exchange on demand, nor count connections. This one
//! is the same loop with both: the exchange's future runs beside the wish to cut it, and is dropped
//! when that comes. The client then sees its connection end; dropping the context of the exchange
//! gives the claim back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// How long an upload that nobody reads any more is read on, so that the client sees the answer.
const UPLOAD_DRAIN: Duration = Duration::from_secs(5);

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

/// The client connections of this process.
#[derive(Default)]
pub struct Connections(AtomicUsize);

impl Connections {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

struct Connected<'a>(&'a AtomicUsize);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes client connections from pingora's listeners.
pub struct Front {
    proxy: Arc<HttpProxy<Forwarder>>,
    connections: Arc<Connections>,
    connections_max: usize,
    keep_alive: Duration,
    body_idle: Duration,
}

impl Front {
    /// A front over pingora-proxy; `workers` is how many threads run it.
    pub fn new(parts: Parts, workers: usize, connections: Arc<Connections>) -> Self {
        let conf = ServerConf {
            threads: workers,
            ..ServerConf::default()
        };
        let client = parts.client.clone();
        let mut proxy = HttpProxy::new(Forwarder::new(parts), Arc::new(conf));
        proxy.handle_init_modules();
        Self {
            proxy: Arc::new(proxy),
            connections,
            connections_max: client.connections_max,
            keep_alive: client.keep_alive,
            body_idle: client.body_idle,
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
        let before = self.connections.0.fetch_add(1, Ordering::Relaxed);
        let _connected = Connected(&self.connections.0);
        if before >= self.connections_max {
            tracing::debug!(
                max = self.connections_max,
                "closed a connection over the limit"
            );
            return None;
        }
        let mut session = ServerSession::new_http1(stream);
        // pingora counts in whole seconds; 0 would mean for ever.
        session.set_keepalive(Some(self.keep_alive.as_secs().max(1)));
        loop {
            self.prepare(&mut session);
            let exchange = Arc::new(Exchange::pending());
            let run = self.proxy.process_new_http(session, shutdown);
            let ended = EXCHANGE.scope(Arc::clone(&exchange), async {
                tokio::select! {
                    ended = run => ended,
                    reason = exchange.cut_asked() => {
                        tracing::debug!(?reason, "cut an exchange");
                        None
                    }
                }
            });
            let (stream, settings) = ended.await?.consume();
            if *shutdown.borrow() {
                return None;
            }
            session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
        }
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
