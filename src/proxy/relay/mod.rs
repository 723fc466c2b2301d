//! One exchange on the wire: a client's request to a backend's connection, and its answer back.
//!
//! Both directions run at once in one task, each a small state machine over the codec
//! ([`super::http1`]):
//!
//! - [`Up`]: the head of the request, then its body as it comes; afterwards it watches the client,
//!   so that its leaving is noticed and a pipelined request waits in the input;
//! - [`Down`]: interim answers, the head of the answer, its body;
//! - [`tunnel()`] takes over from both after a 101.
//!
//! What always holds: a direction reads only when what it read before was written (back-pressure:
//! at most one buffer is under way); nothing goes out that the codec has not understood; the answer
//! is complete for the client only if it was for us; the exchange can be cut at each poll, and each
//! wait has a clock ([`Clocks`]) with a word of its own.
//!
//! It knows neither claims nor pools nor retries: [`super::exchange`] does, and drives it. Streams
//! are anything that reads and writes, so that tests and fuzzing run it over scripted ones.

mod down;
mod pipe;
#[cfg(test)]
mod tests;
mod tunnel;
mod up;
mod websocket;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::buffer::Input;
use super::clock::Timer;
use super::failure::Failure;
use crate::backend::Exchange;

pub(super) use down::{Down, Reply, Terms};
pub(super) use tunnel::tunnel;
pub(super) use up::Up;

/// Bytes of a body that are read before they are written.
pub(super) const BODY_READ_MAX: usize = 64 * 1024;

/// A socket and what was read from it.
pub(super) struct Peer<S> {
    pub(super) stream: S,
    pub(super) input: Input,
}

/// How long each wait of an exchange may last. Those for a byte of a body run from the last byte that
/// moved in either direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    /// For the head of the answer, since the last byte of the request went out, or since the interim
    /// answer before it.
    pub(super) response_head: Duration,
    /// For the backend to send or take bytes of a body.
    pub(super) body_idle: Duration,
    /// For the client to send or take bytes.
    pub(super) client_idle: Duration,
    /// For any byte of a tunnel.
    pub(super) tunnel_idle: Duration,
}

/// Whom a direction waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Waits {
    Nobody,
    Client,
    Server,
}

/// What an exchange has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The last byte of the answer was written.
    Answered,
    /// The backend agreed to an upgrade; its 101 is still to be written.
    Switching(Protocol),
}

/// What a tunnel carries, as far as closing it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    /// RFC 6455: there are frames, and one that closes.
    WebSocket,
    /// Bytes that only its ends understand.
    Other,
}

/// Both directions of one try.
pub(super) struct Talk<'a, C, S> {
    pub(super) client: &'a mut Peer<C>,
    pub(super) server: &'a mut Peer<S>,
    pub(super) up: &'a mut Up,
    pub(super) down: &'a mut Down,
    pub(super) exchange: &'a Exchange,
    pub(super) clocks: &'a Clocks,
    pub(super) timer: &'a mut Timer,
    /// The proxy takes no more requests. Relaxed: a moment later is as good.
    pub(super) stopping: &'a AtomicBool,
    /// Which direction was polled first last time; begins with the request.
    pub(super) is_downs_turn: bool,
}

impl<C, S> Talk<'_, C, S>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Runs until the answer is written or something breaks.
    pub(super) async fn run(mut self) -> Result<Step, Failure> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Step, Failure>> {
        if self.exchange.poll_cut(context).is_ready() {
            return Poll::Ready(Err(Failure::DrainClosed));
        }
        let now = Instant::now();
        // In turns: a direction that always has something to do uses up what tokio grants a task in
        // one go, and the other would never move.
        self.is_downs_turn = !self.is_downs_turn;
        for is_down in [!self.is_downs_turn, self.is_downs_turn] {
            if !is_down {
                self.up
                    .poll(context, self.client, self.server, self.exchange, now)?;
            } else if let Poll::Ready(step) = self.poll_down(context, now) {
                return Poll::Ready(self.checked(step?));
            }
        }
        let (deadline, failure) = self.deadline();
        match self.timer.poll_past(context, deadline) {
            true => Poll::Ready(Err(failure)),
            false => Poll::Pending,
        }
    }

    fn poll_down(
        &mut self,
        context: &mut Context<'_>,
        now: Instant,
    ) -> Poll<Result<Step, Failure>> {
        // Whoever still sends is told not to send another: its bytes may never be read.
        let may_keep_client = self.up.is_received() && !self.stopping.load(Ordering::Relaxed);
        let ends = (&mut *self.client, &mut *self.server);
        self.down
            .poll(context, ends, may_keep_client, self.exchange, now)
    }

    /// A protocol can be switched only behind a whole request (RFC 9110, 7.8): its rest would be taken
    /// for bytes of the tunnel.
    fn checked(&self, step: Step) -> Result<Step, Failure> {
        if matches!(step, Step::Switching(_)) && !self.up.is_sent() {
            tracing::debug!("a backend switched in the middle of a request");
            return Err(Failure::BadResponse);
        }
        Ok(step)
    }

    /// The first clock to run out, and what it means.
    fn deadline(&self) -> (Instant, Failure) {
        // A direction may rest while the other moves.
        let last = self.down.since().max(self.up.since());
        let up = match self.up.waits() {
            // The client waits for the backend's 100.
            Waits::Client if self.down.is_expected() && !self.up.is_body_begun() => {
                (self.clocks.response_head, Failure::UpstreamTimeout)
            }
            Waits::Client => (self.clocks.client_idle, Failure::ClientBodyTimeout),
            Waits::Server => (self.clocks.body_idle, Failure::BodyTimeout),
            Waits::Nobody => (super::clock::FAR, Failure::Internal),
        };
        let up = (last + up.0, up.1);
        let down = match self.down.waits() {
            Waits::Client => (last + self.clocks.client_idle, Failure::ClientBodyTimeout),
            Waits::Server if self.down.is_in_body() => {
                (last + self.clocks.body_idle, Failure::BodyTimeout)
            }
            // As long as the request moves, or waits for its client, no answer is due.
            Waits::Server if self.up.is_under_way() => return up,
            _ => (last + self.clocks.response_head, Failure::UpstreamTimeout),
        };
        if up.0 < down.0 { up } else { down }
    }
}

/// Reads from the client behind a request that is complete, for its leaving and for what it sends
/// next, up to one small buffer.
pub(super) fn poll_watch<C: AsyncRead + Unpin>(
    context: &mut Context<'_>,
    client: &mut Peer<C>,
) -> Poll<Failure> {
    use super::buffer::{Filled, SMALL};
    loop {
        match ready!(client.input.poll_fill(context, &mut client.stream, SMALL)) {
            Ok(Filled::Bytes) => {}
            // No waker is kept then: the next byte that is consumed comes with a poll anyway.
            Ok(Filled::Full) => return Poll::Pending,
            Ok(Filled::End) | Err(_) => return Poll::Ready(Failure::ClientGone),
        }
    }
}
