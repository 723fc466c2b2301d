//! Forwarding: how bytes get from a client to a backend and back.
//!
//! Only this module knows that; the engine behind it can be replaced without any other noticing.
//! At present it is pingora-proxy, and this is the thin layer over its hooks:
//!
//! - [`Front`] takes a client connection and runs its exchanges one after another, each of which
//!   can be cut from outside;
//! - [`Forwarder`] is the hooks: route, claim or hold, retry, headers, errors;
//! - [`context::Context`] is one exchange; its drop gives the claim back and makes the one record;
//! - [`failure::Failure`] is the table of errors that the proxy makes itself.
//!
//! What always holds: an exchange holds at most one claim at a time, released before the next is
//! taken; the count goes back when the context is dropped, and nowhere else.
//!
//! What pingora-proxy cannot do, and what is therefore not kept here: closing the idle connections
//! of one backend, answering an exchange that is cut (its client sees a cut, a WebSocket no 1001),
//! trailers, an own clock for each phase, upgrades other than WebSocket, strictness on the raw bytes
//! of a head, an error word on what its parser or CONNECT rule refuses, a client that closes its
//! sending side and still reads (it counts as gone), the backend's own `Keep-Alive: timeout`.

mod access;
mod claim;
mod context;
mod failure;
mod front;
mod headers;
pub mod http1;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER, UPGRADE};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::date::get_cached_date;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use crate::backend::Backend;
use crate::metrics::Metrics;
use crate::pool::Pools;
use crate::shutdown::Running;
use crate::spec::{ClientSpec, Target, TimeoutSpec};

use context::{Context, Recorder, Request};
use failure::{ERROR_FIELD, Failure};

pub use failure::Failure as ErrorWord;
pub use front::Front;

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

/// The hooks.
pub(crate) struct Forwarder {
    pools: Arc<Pools>,
    metrics: Arc<Metrics>,
    client: Arc<ClientSpec>,
    running: Arc<Running>,
    recorder: Recorder,
    /// Set by the front when the proxy stops.
    stopping: Arc<AtomicBool>,
}

impl Forwarder {
    fn new(parts: Parts, stopping: Arc<AtomicBool>) -> Self {
        let recorder = access::recorder(Arc::clone(&parts.metrics), parts.access_log);
        Self {
            pools: parts.pools,
            metrics: parts.metrics,
            client: Arc::new(parts.client),
            running: parts.running,
            recorder,
            stopping,
        }
    }

    /// Names the exchange, checks the head and finds its pool.
    fn admit(&self, session: &Session, context: &mut Context) -> Result<(), headers::Refusal> {
        let head = session.req_header();
        let client = session.client_addr().and_then(|address| address.as_inet());
        let client = client.map(|address| address.ip());
        let path = head.uri.path();
        let exchange = front::present_exchange();
        exchange.begin(head.method.as_str(), path, client);
        context.exchange = Some(exchange);
        context.in_flight = Some(self.running.enter());
        context.request = Some(Request {
            method: head.method.to_string(),
            host: String::new(),
            path: path.to_owned(),
            client,
            is_idempotent: is_idempotent(&head.method),
            begun: Instant::now(),
        });
        let head_bytes = session
            .as_downstream()
            .as_http1()
            .map_or(0, |session| session.get_headers_raw_bytes().len());
        let host = headers::check_request(head, head_bytes, &self.client)?;
        let pool = self.pools.load().route(&host, path).cloned();
        if let Some(request) = &mut context.request {
            request.host = host;
        }
        context.pool = Some(pool.ok_or((Failure::NoRoute, "no route takes this host and path"))?);
        Ok(())
    }
}

/// RFC 9110, 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

/// An error that carries our own failure through pingora.
fn fail(context: &mut Context, failure: Failure) -> Box<Error> {
    context.failure = Some(failure);
    Error::new(ErrorType::HTTPStatus(failure.status()))
}

/// Which connection an exchange gets.
enum Connection {
    /// One that was kept, if there is one.
    Kept,
    /// A new one.
    Own,
}

/// Connections of their own so far.
static OWN: AtomicU64 = AtomicU64::new(0);

fn peer(
    backend: &Backend,
    clocks: &TimeoutSpec,
    is_upgrade: bool,
    connection: Connection,
) -> Result<HttpPeer> {
    let mut peer = match backend.target() {
        Target::Tcp(address) => HttpPeer::new(address, false, String::new()),
        Target::Unix(path) => HttpPeer::new_uds(&path.to_string_lossy(), false, String::new())?,
    };
    // A new process on the same address never inherits a connection of the old one. A number that
    // is never used for another asks for a new connection: a retry after a dead one must not meet
    // the next dead one, and an upgrade takes its connection for good. (pingora 0.9.1 ends a tunnel
    // at once when the 101 is there before it has noted that the request has no body, which on a
    // reused connection one upgrade in twenty meets.)
    peer.group_key = match connection {
        Connection::Kept => backend.generation(),
        Connection::Own => u64::MAX - OWN.fetch_add(1, Ordering::Relaxed),
    };
    let options = &mut peer.options;
    options.connection_timeout = Some(clocks.connect);
    options.total_connection_timeout = Some(clocks.connect);
    options.idle_timeout = Some(clocks.upstream_idle);
    options.write_timeout = Some(clocks.body_idle);
    // pingora has one clock for all reads of an exchange.
    options.read_timeout = Some(match is_upgrade {
        true => clocks.tunnel_idle,
        false => clocks.response_head.max(clocks.body_idle),
    });
    Ok(peer)
}

#[async_trait]
impl ProxyHttp for Forwarder {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(Arc::clone(&self.recorder))
    }

    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        match self.admit(session, context) {
            Ok(()) => Ok(false),
            Err((failure, why)) => {
                tracing::debug!(word = failure.word(), why, "refused a request");
                Err(fail(context, failure))
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        context: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        // A retry releases one claim before it takes the next.
        context.claim = None;
        let claim = match claim::claim_or_hold(&self.pools, session, context).await {
            Ok(claim) => claim,
            Err(failure) => return Err(fail(context, failure)),
        };
        let is_upgrade = session.req_header().headers.contains_key(UPGRADE);
        let clocks = context.pool.as_ref().map(|pool| pool.settings.timeouts);
        let wants_own = is_upgrade || context.wants_new_connection;
        let connection = if wants_own {
            Connection::Own
        } else {
            Connection::Kept
        };
        let clocks = clocks.unwrap_or_default();
        let peer = peer(claim.backend(), &clocks, is_upgrade, connection)?;
        if context.tries > 0 {
            self.metrics.of(claim.backend()).retry();
        }
        context.hold_claim(claim);
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let client = context.request.as_ref().and_then(|request| request.client);
        headers::prepare_request(request, client, &self.client.trusted_proxies);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        context: &mut Context,
    ) -> Result<()> {
        if let (Some(exchange), Some(body)) = (&context.exchange, body) {
            exchange.moved_up(body.len());
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            if let Some(claim) = &mut context.claim {
                claim.upgrade();
            }
        } else if response.status.is_informational() {
            return Ok(());
        }
        context.has_response = true;
        if self.stopping.load(Ordering::Acquire) {
            session.set_keepalive(None);
        }
        headers::clean_response(response);
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        if let (Some(exchange), Some(body)) = (&context.exchange, body) {
            exchange.moved_down(body.len());
        }
        Ok(None)
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        context: &mut Context,
    ) -> Result<()> {
        context.failure = None;
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        context.failure = Some(Failure::ConnectFailed);
        if let Some(claim) = &context.claim {
            self.metrics.of(claim.backend()).connect_failure();
            claim.backend().ask_probe();
        }
        // Not a byte of the request was sent, so any method may be tried elsewhere.
        error.set_retry(context.may_try_again());
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        is_reused: bool,
    ) -> Box<Error> {
        let failure = Failure::of(&error);
        context.failure = Some(failure);
        let is_idempotent = context
            .request
            .as_ref()
            .is_some_and(|request| request.is_idempotent);
        if failure == Failure::UpstreamReset
            && let Some(claim) = &context.claim
        {
            claim.backend().ask_probe();
        }
        let retries = failure == Failure::UpstreamReset
            && is_idempotent
            && context.may_try_again()
            && !session.as_ref().retry_buffer_truncated();
        if retries && is_reused {
            context.blame_connection();
        }
        error.set_retry(retries);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        let failure = *context.failure.get_or_insert_with(|| Failure::of(error));
        let is_answerable = failure != Failure::ClientGone && session.response_written().is_none();
        if is_answerable {
            match answer(session, failure).await {
                Ok(()) => context.status = Some(failure.status()),
                Err(_) => context.failure = Some(Failure::ClientGone),
            }
        }
        FailToProxy {
            error_code: failure.status(),
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, context: &mut Context) {
        context.is_complete = true;
        if context.status.is_none() {
            let written = session.response_written();
            context.status = written.map(|response| response.status.as_u16());
        }
        // The last byte was written; what is left is pingora's own tidying of the client side.
        context.claim = None;
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Context,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// Answers an error of our own.
async fn answer(session: &mut Session, failure: Failure) -> Result<()> {
    let body = format!("{} {}\n", failure.status(), failure.word());
    let mut head = ResponseHeader::build(failure.status(), Some(7))?;
    head.insert_header(DATE, get_cached_date())?;
    head.insert_header(CONTENT_TYPE, "text/plain")?;
    head.insert_header(CONTENT_LENGTH, body.len().to_string())?;
    head.insert_header(CACHE_CONTROL, "no-store")?;
    head.insert_header(ERROR_FIELD, failure.word())?;
    if let Some(seconds) = failure.retry_after() {
        head.insert_header(RETRY_AFTER, seconds.to_string())?;
    }
    if failure == Failure::MethodNotAllowed {
        head.insert_header(
            http::header::ALLOW,
            "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        )?;
    }
    let body = match session.req_header().method {
        Method::HEAD => Bytes::new(),
        _ => Bytes::from(body),
    };
    session
        .as_downstream_mut()
        .write_error_response(head, body)
        .await
}
