//! The request on its way to the backend.
//!
//! States: *sending* (head, then body as the client sends it) -> *sent*; or *refused*, when the
//! backend takes no more: it may have answered all the same, so that is not yet a failure.
//!
//! For a second try on another connection the head stays, and of an idempotent request's body what
//! was written, up to [`HELD_BYTES_MAX`].

use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{BODY_READ_MAX, Failure, Peer, Waits};
use crate::backend::Exchange;
use crate::proxy::buffer::{Filled, SMALL};
use crate::proxy::http1::{Body, Chunks, Framing};
use crate::proxy::outgoing::Outgoing;

/// Bytes of a body that are kept for another try (design, section 5).
const HELD_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Sending,
    Sent,
    Refused,
}

/// What is kept of the body for another try.
enum Held {
    /// The request may not be sent twice.
    Never,
    /// The bytes of the body that were written, without those that the head carries.
    Bytes(Vec<u8>),
    /// More than is kept.
    TooMuch,
}

/// See the module's words.
pub(in crate::proxy) struct Up {
    state: State,
    out: Outgoing,
    body: Body,
    /// The client has begun to send it.
    is_body_begun: bool,
    /// The body's framing needs more bytes than the input has.
    is_starved: bool,
    held: Held,
    /// Bytes written to the present connection.
    sent: u64,
    waits: Waits,
    since: Instant,
}

impl Up {
    /// A request with the head that the backend gets.
    pub(in crate::proxy) fn new(
        head: Vec<u8>,
        framing: Framing,
        is_idempotent: bool,
        begun: Instant,
    ) -> Self {
        Self {
            state: State::Sending,
            out: Outgoing::new(head),
            body: Body::new(framing),
            is_body_begun: false,
            is_starved: false,
            held: match is_idempotent {
                true => Held::Bytes(Vec::new()),
                false => Held::Never,
            },
            sent: 0,
            waits: Waits::Nobody,
            since: begun,
        }
    }

    /// The client has sent all of it.
    pub(in crate::proxy) fn is_received(&self) -> bool {
        self.body.is_done()
    }

    /// The backend has taken all of it.
    pub(in crate::proxy) fn is_sent(&self) -> bool {
        self.state == State::Sent
    }

    /// Whether it may go out a second time, after the connection died without an answer.
    pub(in crate::proxy) fn may_be_sent_again(&self) -> bool {
        self.sent == 0 || matches!(self.held, Held::Bytes(_))
    }

    /// Begins again, for another connection. [`Up::may_be_sent_again`] said yes.
    pub(in crate::proxy) fn rewind(&mut self) {
        if let Held::Bytes(held) = &mut self.held {
            self.out.rewind(held);
            held.clear();
        } else {
            self.out.rewind(&[]);
        }
        self.state = State::Sending;
        self.sent = 0;
    }

    /// Takes what the client has sent and nobody will get out of its input.
    pub(in crate::proxy) fn discard<C>(&mut self, client: &mut Peer<C>) {
        self.out.discard(&mut client.input);
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.state == State::Sending
    }

    pub(super) fn is_body_begun(&self) -> bool {
        self.is_body_begun
    }

    pub(super) fn waits(&self) -> Waits {
        self.waits
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Moves what can be moved now.
    pub(super) fn poll<C, S>(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Peer<C>,
        server: &mut Peer<S>,
        exchange: &Exchange,
        now: Instant,
    ) -> Result<(), Failure>
    where
        C: AsyncRead + Unpin,
        S: AsyncWrite + Unpin,
    {
        loop {
            let mut is_blocked = false;
            while self.state == State::Sending && !is_blocked {
                self.load(client, exchange, now)?;
                if self.out.is_empty() && !self.body.is_done() {
                    break;
                }
                // Behind what was written may lie what came while the backend took nothing.
                is_blocked = !self.write(context, client, server, now);
            }
            let is_reading = self.state == State::Sending && !is_blocked;
            // While the backend takes nothing, or all is there, the client is only watched.
            let max = if is_reading { BODY_READ_MAX } else { SMALL };
            match client.input.poll_fill(context, &mut client.stream, max) {
                Poll::Pending | Poll::Ready(Ok(Filled::Full)) if !is_reading => {
                    self.waits = match is_blocked {
                        true => Waits::Server,
                        false => Waits::Nobody,
                    };
                    return Ok(());
                }
                Poll::Pending => {
                    self.waits = Waits::Client;
                    return Ok(());
                }
                // The codec bounds what it leaves unread, so it cannot fill a buffer.
                Poll::Ready(Ok(Filled::Full)) => return Err(Failure::BadRequest),
                Poll::Ready(Ok(Filled::Bytes)) => {
                    self.is_starved = false;
                    if is_reading {
                        self.since = now;
                    }
                }
                Poll::Ready(Ok(Filled::End) | Err(_)) => return Err(Failure::ClientGone),
            }
        }
    }

    /// Makes what was read of the body ready to go out.
    fn load<C>(
        &mut self,
        client: &mut Peer<C>,
        exchange: &Exchange,
        now: Instant,
    ) -> Result<(), Failure> {
        while self.out.takes_data()
            && !self.is_starved
            && !self.body.is_done()
            && !client.input.is_empty()
        {
            let passed = self
                .body
                .pass(client.input.bytes_mut(), Chunks::Keep)
                .map_err(|bad| {
                    tracing::debug!(why = bad.0, "a request's body is malformed");
                    Failure::BadRequest
                })?;
            exchange.moved_up(passed.data, now.into_std());
            self.is_body_begun = true;
            self.is_starved = passed.consumed == 0;
            self.out
                .add_data(&mut client.input, passed.kept, passed.consumed);
        }
        Ok(())
    }

    /// Writes what is ready. Says whether the backend took all of it, or takes no more at all.
    fn write<C, S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Peer<C>,
        server: &mut Peer<S>,
        now: Instant,
    ) -> bool {
        while !self.out.is_empty() {
            let wrote = self
                .out
                .poll_write(context, &mut server.stream, &mut client.input);
            match wrote {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => {
                    self.state = State::Refused;
                    return true;
                }
                Poll::Ready(Ok(wrote)) => {
                    self.sent += wrote.bytes as u64;
                    self.since = now;
                    self.hold(&client.input.bytes()[..wrote.data]);
                    self.out.settle(&mut client.input, wrote);
                }
            }
        }
        if self.body.is_done() {
            self.state = State::Sent;
        }
        true
    }

    fn hold(&mut self, written: &[u8]) {
        if let Held::Bytes(held) = &mut self.held {
            if held.len() + written.len() > HELD_BYTES_MAX {
                self.held = Held::TooMuch;
            } else {
                held.extend_from_slice(written);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::buffer::Input;
    use std::io;
    use std::pin::Pin;
    use std::task::Waker;

    /// A connection that takes so many bytes and is dead then.
    struct Dying(usize);

    impl AsyncWrite for Dying {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Poll::Ready(match taken {
                0 => Err(io::ErrorKind::BrokenPipe.into()),
                _ => Ok(taken),
            })
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Whether a request without a body may go out again after its connection took `taken` bytes.
    fn may_go_again(is_idempotent: bool, taken: usize) -> bool {
        let mut up = Up::new(
            b"a head".to_vec(),
            Framing::None,
            is_idempotent,
            Instant::now(),
        );
        let (mut client, _open) = tokio::io::duplex(1);
        let mut client = Peer {
            stream: &mut client,
            input: Input::default(),
        };
        let mut server = Peer {
            stream: Dying(taken),
            input: Input::default(),
        };
        let mut context = Context::from_waker(Waker::noop());
        let exchange = Exchange::new("POST", "/", None);
        let now = Instant::now();
        let polled = up.poll(&mut context, &mut client, &mut server, &exchange, now);
        // It may have been answered all the same, so this is no failure yet.
        assert_eq!(polled, Ok(()));
        assert!(!up.is_sent());
        up.may_be_sent_again()
    }

    #[test]
    fn any_request_may_go_again_of_which_no_byte_went_out() {
        assert!(may_go_again(false, 0));
        assert!(!may_go_again(false, 1));
        assert!(may_go_again(true, 0));
        assert!(may_go_again(true, 1));
    }
}
