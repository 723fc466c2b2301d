//! A tunnel: bytes both ways, whatever they mean.
//!
//! Each direction ends for itself: when one side closes its sending half, the other is told so after
//! the last byte, and may go on sending (WebSockets over half-closed connections are rare, other
//! protocols live on it). The tunnel is over when both directions are, when a side breaks, when it
//! is cut, or when no byte moved for `tunnel_idle`.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{BODY_READ_MAX, Failure, Peer};
use crate::backend::Exchange;
use crate::proxy::buffer::Filled;
use crate::proxy::clock::Timer;
use crate::proxy::outgoing::Outgoing;

/// One direction.
struct Pipe {
    out: Outgoing,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// The sender has closed; the receiver is still to be told.
    Ended,
    Closed,
}

impl Pipe {
    fn new(out: Outgoing) -> Self {
        Self {
            out,
            state: State::Open,
        }
    }

    /// Moves what can be moved now, `moved` is told how much. Ready when the direction has ended.
    fn poll<F, T>(
        &mut self,
        context: &mut Context<'_>,
        (from, from_failure): (&mut Peer<F>, Failure),
        (to, to_failure): (&mut Peer<T>, Failure),
        mut moved: impl FnMut(usize),
    ) -> Poll<Result<(), Failure>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            if !from.input.is_empty() && self.out.takes_data() {
                let bytes = from.input.len();
                moved(bytes);
                self.out.add_data(&mut from.input, bytes, bytes);
            }
            if !self.out.is_empty() {
                let wrote = self
                    .out
                    .poll_write(context, &mut to.stream, &mut from.input);
                let wrote = ready!(wrote).map_err(|_| to_failure)?;
                moved(0);
                self.out.settle(&mut from.input, wrote);
                continue;
            }
            match self.state {
                State::Open => {
                    let filled = from
                        .input
                        .poll_fill(context, &mut from.stream, BODY_READ_MAX);
                    if ready!(filled).map_err(|_| from_failure)? == Filled::End {
                        self.state = State::Ended;
                    }
                }
                State::Ended => {
                    ready!(Pin::new(&mut to.stream).poll_shutdown(context))
                        .map_err(|_| to_failure)?;
                    self.state = State::Closed;
                }
                State::Closed => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Runs a tunnel to its end; `greeting` goes to the client first.
pub(in crate::proxy) async fn tunnel<C, S>(
    (client, server): (&mut Peer<C>, &mut Peer<S>),
    greeting: Outgoing,
    exchange: &Exchange,
    idle: Duration,
    timer: &mut Timer,
) -> Result<(), Failure>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut down, mut up) = (Pipe::new(greeting), Pipe::new(Outgoing::default()));
    let mut last = Instant::now();
    let of_client = Failure::ClientGone;
    let of_server = Failure::UpstreamReset;
    let mut is_downs_turn = false;
    poll_fn(|context| {
        if exchange.poll_cut(context).is_ready() {
            return Poll::Ready(Err(Failure::DrainClosed));
        }
        let now = Instant::now();
        // In turns, as in `Talk`.
        is_downs_turn = !is_downs_turn;
        let mut is_over = true;
        for is_down in [is_downs_turn, !is_downs_turn] {
            let (client, server) = ((&mut *client, of_client), (&mut *server, of_server));
            let ended = match is_down {
                true => down.poll(context, server, client, |bytes| {
                    last = now;
                    exchange.moved_down(bytes, now.into_std());
                }),
                false => up.poll(context, client, server, |bytes| {
                    last = now;
                    exchange.moved_up(bytes, now.into_std());
                }),
            };
            is_over &= ended?.is_ready();
        }
        if is_over {
            return Poll::Ready(Ok(()));
        }
        match timer.poll_past(context, last + idle) {
            true => Poll::Ready(Err(Failure::TunnelTimeout)),
            false => Poll::Pending,
        }
    })
    .await
}
