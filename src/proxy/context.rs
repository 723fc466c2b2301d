//! One exchange on its way through the proxy, and the one record that is made of it.
//!
//! A [`Context`] is made for each request and dropped with it, however it ended: answered, failed,
//! abandoned by the client or cut from outside. Its drop is the one place that makes the record. The
//! claim inside gives its count back before that.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::failure::Failure;
use crate::backend::{Backend, Claim, Exchange, Generation};
use crate::pool::Pool;
use crate::pool::split::Draw;
use crate::shutdown::InFlight;

/// Tries of one request at most: the first and two retries.
pub(super) const TRIES_MAX: usize = 3;

/// Makes the record of an exchange; given by the forwarder.
pub(super) type Recorder = Arc<dyn Fn(&Record<'_>) + Send + Sync>;

/// One exchange that has ended.
pub(super) struct Record<'a> {
    pub(super) logged: Option<&'a Logged>,
    pub(super) pool: Option<&'a Pool>,
    /// The generation that answered, or was tried last.
    pub(super) backend: Option<&'a Arc<Backend>>,
    /// Status of the answer; 499 when the client went away before one.
    pub(super) status: u16,
    pub(super) failure: Option<Failure>,
    pub(super) tries: usize,
    pub(super) took: Duration,
    /// The failure was counted with the backend when the try ended.
    pub(super) is_told: bool,
    pub(super) is_tunnel: bool,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
}

/// What the access log says of a request, kept only if that is on.
pub(super) struct Logged {
    pub(super) method: Box<str>,
    pub(super) host: Box<str>,
    pub(super) path: Box<str>,
    pub(super) client: Option<IpAddr>,
}

/// See the module's words.
pub(crate) struct Context {
    recorder: Recorder,
    pub(super) begun: Instant,
    /// When its last byte was written, if it came to that.
    pub(super) ended: Option<Instant>,
    pub(super) logged: Option<Logged>,
    /// `None` until the head was read and found good enough to name.
    pub(super) exchange: Option<Arc<Exchange>>,
    pub(super) pool: Option<Arc<Pool>>,
    pub(super) claim: Option<Claim>,
    /// The generations that are not to be tried again.
    pub(super) tried: Vec<Generation>,
    /// Which side of its pool it is drawn to.
    pub(super) draw: Draw,
    /// Claims so far.
    pub(super) tries: usize,
    /// The last try met a connection that had been kept and was dead: the next one is made new.
    pub(super) wants_new_connection: bool,
    /// How the last try failed was counted with its backend.
    pub(super) is_told: bool,
    /// A retry met the bake of a rollout, whose new version may be taken back.
    pub(super) was_in_bake: bool,
    last: Option<Arc<Backend>>,
    pub(super) failure: Option<Failure>,
    /// Of the head that went to the client.
    pub(super) status: Option<u16>,
    /// The exchange came to its end, rather than being dropped on the way.
    pub(super) is_complete: bool,
    _in_flight: InFlight,
}

impl Context {
    pub(super) fn new(recorder: Recorder, in_flight: InFlight, begun: Instant) -> Self {
        Self {
            recorder,
            begun,
            ended: None,
            logged: None,
            exchange: None,
            pool: None,
            claim: None,
            tried: Vec::new(),
            draw: Draw::default(),
            tries: 0,
            wants_new_connection: false,
            is_told: false,
            was_in_bake: false,
            last: None,
            failure: None,
            status: None,
            is_complete: false,
            _in_flight: in_flight,
        }
    }

    /// Takes the claim of the next try; the one before was released already.
    pub(super) fn hold_claim(&mut self, claim: Claim) {
        self.tries += 1;
        self.is_told = false;
        self.tried.push(claim.backend().generation());
        self.last = Some(Arc::clone(claim.backend()));
        self.claim = Some(claim);
    }

    /// The exchange was cut on the backend of its claim.
    pub(super) fn note_cut(&self) {
        if let Some(claim) = &self.claim {
            claim.was_cut();
        }
    }

    /// The last try died on a kept connection, which says nothing of the backend: it may be tried
    /// again, on a connection of its own.
    pub(super) fn blame_connection(&mut self) {
        self.tried.pop();
        self.wants_new_connection = true;
    }

    /// One that was dropped on the way was cut short by a panic or the end of the process.
    fn end_failure(&self) -> Option<Failure> {
        match self.is_complete {
            true => self.failure,
            false => Some(self.failure.unwrap_or(Failure::Internal)),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let is_tunnel = self.exchange.as_ref().is_some_and(|one| one.is_tunnel());
        let failure = self.end_failure();
        // The count goes back before the record is made: a record may be slow, a drain waits.
        drop(self.claim.take());
        let (bytes_up, bytes_down) = self
            .exchange
            .as_ref()
            .map_or((0, 0), |exchange| exchange.bytes());
        let status = self
            .status
            .unwrap_or_else(|| failure.map_or(0, Failure::status));
        (self.recorder)(&Record {
            logged: self.logged.as_ref(),
            pool: self.pool.as_deref(),
            backend: self.last.as_ref(),
            status,
            failure,
            tries: self.tries,
            is_told: self.is_told,
            took: self.ended.unwrap_or_else(Instant::now) - self.begun,
            is_tunnel,
            bytes_up,
            bytes_down,
        });
    }
}
