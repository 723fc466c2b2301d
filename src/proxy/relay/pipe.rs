//! One direction of a tunnel.
//!
//! It has one aim at a time, given with each poll ([`Aim`]): *pass* bytes on until the sender ends;
//! the closing *handshake* of a WebSocket: what was begun of a frame goes on to its end, then the
//! receiver gets a Close, then the sender's own is awaited; or the *end*: what was read goes on, then
//! the receiver is told that no more comes, then the sender's end is awaited.
//!
//! What always holds: nothing is read before what was read is written; no Close goes out inside a
//! frame, and no second one; behind a Close of ours nothing goes out. A poll that is not ready has
//! left a waker where the next step comes from, and nothing undone that could be done without it.
//!
//! Who calls it: [`super::tunnel()`], which holds both directions and sets the aim.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::websocket::{Frames, Sender, write_going_away};
use super::{BODY_READ_MAX, Failure, Peer};
use crate::proxy::buffer::Filled;
use crate::proxy::outgoing::Outgoing;

/// What a direction is to come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Aim {
    /// The sender's end, passed on.
    Pass,
    /// A Close in this direction, and the sender's own.
    Handshake,
    /// Both ends of the connection closed for this direction.
    End,
}

/// What has become of the aim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reached {
    Yes,
    /// The handshake cannot be completed any more.
    Never,
}

/// One side of the tunnel, and what its breaking is called.
pub(super) type Side<'a, S> = (&'a mut Peer<S>, Failure);

/// See the module's words.
pub(super) struct Pipe {
    sender: Sender,
    out: Outgoing,
    /// `None` for other protocols, and where the frames can no longer be followed.
    frames: Option<Frames>,
    /// A Close of ours is in `out`, or has gone out.
    has_our_close: bool,
    /// The sender has closed its sending half.
    is_ended: bool,
    /// The receiver knows that no more comes.
    is_told: bool,
}

impl Pipe {
    /// A direction in which `out` is to go first, without being part of it.
    pub(super) fn new(sender: Sender, out: Outgoing, has_frames: bool) -> Self {
        Self {
            sender,
            out,
            frames: has_frames.then(|| Frames::of(sender)),
            has_our_close: false,
            is_ended: false,
            is_told: false,
        }
    }

    /// Whether there are frames to be followed.
    pub(super) fn has_frames(&self) -> bool {
        self.frames.as_ref().is_some_and(|one| !one.is_broken())
    }

    /// No Close is to go out, and none is known.
    pub(super) fn forget_frames(&mut self) {
        self.frames = None;
    }

    /// Moves what can be moved now, `moved` is told how much. Ready when there is nothing more to do.
    pub(super) fn poll<F, T>(
        &mut self,
        context: &mut Context<'_>,
        from: Side<'_, F>,
        to: Side<'_, T>,
        aim: Aim,
        moved: impl FnMut(usize),
    ) -> Poll<Result<Reached, Failure>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        let mut run = Run {
            pipe: self,
            from,
            to,
            moved,
        };
        match aim {
            Aim::Pass => run.poll_pass(context),
            Aim::Handshake => run.poll_handshake(context),
            Aim::End => run.poll_end(context),
        }
    }

    fn has_close(&self) -> bool {
        self.has_our_close || self.frames.as_ref().is_some_and(Frames::has_closed)
    }

    /// A Close can go out next.
    fn takes_close(&self) -> bool {
        let is_between = self.frames.as_ref().is_some_and(Frames::is_at_boundary);
        is_between && !self.has_our_close && !self.is_told
    }

    fn add_close(&mut self) {
        write_going_away(self.sender, self.out.head_mut());
        self.has_our_close = true;
    }
}

/// A direction with both its sides, for one poll.
struct Run<'a, F, T, M> {
    pipe: &'a mut Pipe,
    from: Side<'a, F>,
    to: Side<'a, T>,
    moved: M,
}

impl<F, T, M> Run<'_, F, T, M>
where
    F: AsyncRead + Unpin,
    T: AsyncWrite + Unpin,
    M: FnMut(usize),
{
    fn poll_pass(&mut self, context: &mut Context<'_>) -> Poll<Result<Reached, Failure>> {
        loop {
            self.load();
            if !self.pipe.out.is_empty() {
                ready!(self.poll_write(context))?;
                continue;
            }
            if self.pipe.is_ended {
                ready!(self.poll_tell(context))?;
                return Poll::Ready(Ok(Reached::Yes));
            }
            ready!(self.poll_read(context))?;
        }
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<Result<Reached, Failure>> {
        loop {
            ready!(self.poll_write(context))?;
            if self.pipe.takes_close() {
                self.pipe.add_close();
                continue;
            }
            if self.pipe.has_close() {
                self.discard();
            } else if self.load_frame() {
                continue;
            }
            match &self.pipe.frames {
                Some(frames) if frames.has_closed() => return Poll::Ready(Ok(Reached::Yes)),
                Some(frames) if !frames.is_broken() && !self.pipe.is_ended => {}
                _ => return Poll::Ready(Ok(Reached::Never)),
            }
            ready!(self.poll_read(context))?;
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<Reached, Failure>> {
        loop {
            ready!(self.poll_write(context))?;
            if self.pipe.takes_close() {
                self.pipe.add_close();
                continue;
            }
            ready!(self.poll_tell(context))?;
            // What still comes is read, so that the end is not a reset, which may overtake the last bytes.
            self.discard();
            if self.pipe.is_ended {
                return Poll::Ready(Ok(Reached::Yes));
            }
            ready!(self.poll_read(context))?;
        }
    }

    /// Makes all that was read ready to go out.
    fn load(&mut self) {
        let input = &mut self.from.0.input;
        if input.is_empty() || !self.pipe.out.takes_data() {
            return;
        }
        if let Some(frames) = &mut self.pipe.frames {
            frames.pass(input.bytes());
        }
        let bytes = input.len();
        (self.moved)(bytes);
        self.pipe.out.add_data(input, bytes, bytes);
    }

    /// Makes what was read ready to go out up to the next boundary. Says whether that was anything.
    fn load_frame(&mut self) -> bool {
        let input = &mut self.from.0.input;
        let Some(frames) = &mut self.pipe.frames else {
            return false;
        };
        let bytes = frames.pass_frame(input.bytes());
        if bytes == 0 {
            return false;
        }
        (self.moved)(bytes);
        self.pipe.out.add_data(input, bytes, bytes);
        true
    }

    /// Drops what was read, but looks for a Close in it.
    fn discard(&mut self) {
        let input = &mut self.from.0.input;
        if let Some(frames) = &mut self.pipe.frames {
            frames.pass(input.bytes());
        }
        let bytes = input.len();
        input.consume(bytes);
    }

    /// Writes all that is ready to go out.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let (from, (to, failure)) = (&mut self.from.0, &mut self.to);
        let out = &mut self.pipe.out;
        while !out.is_empty() {
            let wrote = out.poll_write(context, &mut to.stream, &mut from.input);
            let wrote = ready!(wrote).map_err(|_| *failure)?;
            (self.moved)(0);
            out.settle(&mut from.input, wrote);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_tell(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let (to, failure) = &mut self.to;
        if !self.pipe.is_told {
            ready!(Pin::new(&mut to.stream).poll_shutdown(context)).map_err(|_| *failure)?;
            self.pipe.is_told = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let (from, failure) = &mut self.from;
        let filled = from
            .input
            .poll_fill(context, &mut from.stream, BODY_READ_MAX);
        self.pipe.is_ended |= ready!(filled).map_err(|_| *failure)? == Filled::End;
        Poll::Ready(Ok(()))
    }
}
