//! A tunnel: bytes both ways, whatever they mean.
//!
//! Each direction ends for itself: when one side closes its sending half, the other is told so after
//! the last byte, and may go on sending (WebSockets over half-closed connections are rare, other
//! protocols live on it). The tunnel is over when both directions are, when a side breaks, when it
//! is cut, or when no byte moved for `tunnel_idle`.
//!
//! When a drain asks for its close (`CutReason::TunnelClose`), a WebSocket is closed as RFC 6455, 7
//! says: each side gets a Close with code 1001 between two frames, unless one has come its way
//! already, and its own is awaited. That takes [`CLOSE_HANDSHAKE_MAX`] at most. Where it cannot be
//! (another protocol, no frames after all, a side that ends without a Close), what was read goes out,
//! both sides are told the end, and theirs is awaited for what is left of the time. Any other reason
//! cuts at once, also in the middle of that.
//!
//! What always holds: a tunnel that was asked to close ends well only if a Close has come from each
//! side and gone to each; the caller closes both connections then.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::pipe::{Aim, Pipe, Reached};
use super::websocket::Sender;
use super::{Failure, Peer, Protocol};
use crate::backend::{CutReason, Exchange};
use crate::proxy::clock::Timer;
use crate::proxy::outgoing::Outgoing;

/// From the ask to the last Close, and to the end of both connections where there are no Closes. A
/// peer that is there answers within a round trip and the rest of a frame; as long as coder/websocket
/// and SignalR wait for it, and less than any drain waits by default. Past it the tunnel is cut.
const CLOSE_HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Both directions.
struct Tunnel<'a> {
    down: Pipe,
    up: Pipe,
    exchange: &'a Exchange,
    idle: Duration,
    /// When a byte moved last.
    last: Instant,
    aim: Aim,
    /// When closing must be over; set as soon as the aim is that.
    until: Option<Instant>,
    /// Which direction was polled first last time.
    is_downs_turn: bool,
}

/// Runs a tunnel to its end; `greeting` goes to the client first.
pub(in crate::proxy) async fn tunnel<C, S>(
    (client, server): (&mut Peer<C>, &mut Peer<S>),
    greeting: Outgoing,
    protocol: Protocol,
    exchange: &Exchange,
    idle: Duration,
    timer: &mut Timer,
) -> Result<(), Failure>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let has_frames = protocol == Protocol::WebSocket;
    let mut tunnel = Tunnel {
        down: Pipe::new(Sender::Server, greeting, has_frames),
        up: Pipe::new(Sender::Client, Outgoing::default(), has_frames),
        exchange,
        idle,
        last: Instant::now(),
        aim: Aim::Pass,
        until: None,
        is_downs_turn: false,
    };
    poll_fn(|context| tunnel.poll(context, client, server, timer)).await
}

impl Tunnel<'_> {
    fn poll<C, S>(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Peer<C>,
        server: &mut Peer<S>,
        timer: &mut Timer,
    ) -> Poll<Result<(), Failure>>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let is_asked = match self.exchange.poll_cut(context) {
            Poll::Ready(CutReason::TunnelClose) => true,
            Poll::Ready(_) => return Poll::Ready(Err(Failure::DrainClosed)),
            Poll::Pending => false,
        };
        let now = Instant::now();
        loop {
            let reached = self.poll_both(context, client, server, now)?;
            if reached == Poll::Ready(Reached::Yes) {
                return Poll::Ready(self.ended());
            }
            if !self.has_frames() {
                self.up.forget_frames();
                self.down.forget_frames();
            }
            // Another aim is another step for a direction that waits for nothing: once more then.
            match self.next_aim(is_asked, reached.is_ready()) {
                aim if aim == self.aim => break,
                aim => self.aim = aim,
            }
            self.until.get_or_insert(now + CLOSE_HANDSHAKE_MAX);
        }
        let (deadline, failure) = self.deadline();
        match timer.poll_past(context, deadline) {
            true => Poll::Ready(Err(failure)),
            false => Poll::Pending,
        }
    }

    /// Moves what can be moved now. Ready when both directions have come to their aim, or one never
    /// will.
    fn poll_both<C, S>(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Peer<C>,
        server: &mut Peer<S>,
        now: Instant,
    ) -> Result<Poll<Reached>, Failure>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // In turns, as in `Talk`.
        self.is_downs_turn = !self.is_downs_turn;
        let mut both = Poll::Ready(Reached::Yes);
        for is_down in [self.is_downs_turn, !self.is_downs_turn] {
            let client = (&mut *client, Failure::ClientGone);
            let server = (&mut *server, Failure::UpstreamReset);
            let one = match is_down {
                true => self.down.poll(context, server, client, self.aim, |bytes| {
                    self.last = now;
                    self.exchange.moved_down(bytes, now.into_std());
                }),
                false => self.up.poll(context, client, server, self.aim, |bytes| {
                    self.last = now;
                    self.exchange.moved_up(bytes, now.into_std());
                }),
            };
            both = match (self.checked(one)?, both) {
                (Poll::Ready(Reached::Yes), both) => both,
                (_, Poll::Ready(Reached::Never)) => both,
                (one, _) => one,
            };
        }
        Ok(both)
    }

    /// A side that breaks ends the tunnel, but not its closing: the other side is still to be told.
    fn checked(&self, one: Poll<Result<Reached, Failure>>) -> Result<Poll<Reached>, Failure> {
        match (one, self.aim) {
            (Poll::Pending, _) => Ok(Poll::Pending),
            (Poll::Ready(Ok(reached)), _) => Ok(Poll::Ready(reached)),
            (Poll::Ready(Err(failure)), Aim::Pass) => Err(failure),
            (Poll::Ready(Err(_)), Aim::Handshake) => Ok(Poll::Ready(Reached::Never)),
            (Poll::Ready(Err(_)), Aim::End) => Ok(Poll::Ready(Reached::Yes)),
        }
    }

    /// A Close in one direction means nothing without one in the other.
    fn has_frames(&self) -> bool {
        self.up.has_frames() && self.down.has_frames()
    }

    fn next_aim(&self, is_asked: bool, is_hopeless: bool) -> Aim {
        match self.aim {
            Aim::Pass if is_asked && self.has_frames() => Aim::Handshake,
            Aim::Pass if is_asked => Aim::End,
            Aim::Handshake if is_hopeless => Aim::End,
            aim => aim,
        }
    }

    fn ended(&self) -> Result<(), Failure> {
        match self.aim {
            Aim::Pass | Aim::Handshake => Ok(()),
            Aim::End => Err(Failure::DrainClosed),
        }
    }

    /// The first clock to run out, and what it means.
    fn deadline(&self) -> (Instant, Failure) {
        let idle = self.last + self.idle;
        match self.until {
            Some(until) => (until.min(idle), Failure::DrainClosed),
            None => (idle, Failure::TunnelTimeout),
        }
    }
}
