//! Bytes on their way out: a head of our own making, data that was read, and an end.
//!
//! They go out in this order and in as few writes as the socket takes, with the data straight from
//! the buffer it was read into. The head stays after it was written, so that a request can be sent
//! again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::buffer::Input;

/// Data up to this length is copied behind the head, which is cheaper than a write of two pieces.
const COPIED_MAX: usize = 2048;

/// Past this length nothing more is copied behind a head: a receiver that takes none of it would
/// otherwise make it grow for as long as data comes in small pieces.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// See the module's words.
#[derive(Default)]
pub(super) struct Outgoing {
    head: Vec<u8>,
    head_sent: usize,
    /// So many bytes from the front of the input are to go out, ...
    data: usize,
    /// ... and so many behind them are to be dropped then.
    skip: usize,
    tail: &'static [u8],
}

impl Outgoing {
    pub(super) fn new(head: Vec<u8>) -> Self {
        Self {
            head,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head_sent == self.head.len() && self.data == 0 && self.tail.is_empty()
    }

    /// A part of the head was written, and not all of it.
    pub(super) fn is_in_head(&self) -> bool {
        0 < self.head_sent && self.head_sent < self.head.len()
    }

    /// Whether data may be added: there is none yet.
    pub(super) fn takes_data(&self) -> bool {
        self.data == 0 && self.tail.is_empty()
    }

    /// The head, to add to it; what was written of it before is dropped.
    pub(super) fn head_mut(&mut self) -> &mut Vec<u8> {
        if self.head_sent == self.head.len() {
            self.head.clear();
            self.head_sent = 0;
        }
        &mut self.head
    }

    /// Adds `kept` bytes from the front of the input; `consumed` is how many of it are used up then.
    pub(super) fn add_data(&mut self, input: &mut Input, kept: usize, consumed: usize) {
        debug_assert!(self.takes_data() && kept <= consumed);
        let takes_copy = self.head_sent < self.head.len() && self.head.len() < HEAD_BYTES_MAX;
        if takes_copy && kept <= COPIED_MAX {
            self.head.extend_from_slice(&input.bytes()[..kept]);
            input.consume(consumed);
        } else if kept == 0 {
            input.consume(consumed);
        } else {
            self.data = kept;
            self.skip = consumed - kept;
        }
    }

    /// Adds what closes the data.
    pub(super) fn add_tail(&mut self, tail: &'static [u8]) {
        if self.data == 0 {
            self.head_mut().extend_from_slice(tail);
        } else {
            self.tail = tail;
        }
    }

    /// Drops what is left.
    pub(super) fn discard(&mut self, input: &mut Input) {
        input.consume(self.data + self.skip);
        self.head_sent = self.head.len();
        (self.data, self.skip, self.tail) = (0, 0, &[]);
    }

    /// Makes the head go out again, with `behind` at its end, before whatever is left.
    pub(super) fn rewind(&mut self, behind: &[u8]) {
        self.head.extend_from_slice(behind);
        self.head_sent = 0;
    }

    /// Writes once. Says how many bytes went out and how many of them were data.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        input: &mut Input,
    ) -> Poll<io::Result<Wrote>> {
        let head = &self.head[self.head_sent..];
        let data = &input.bytes()[..self.data];
        let stream = Pin::new(stream);
        let pieces: [&[u8]; 3] = [head, data, self.tail];
        let mut filled = pieces.iter().filter(|piece| !piece.is_empty());
        let written = match (filled.next(), filled.next()) {
            (Some(only), None) => ready!(stream.poll_write(context, only)),
            _ => {
                let slices = pieces.map(IoSlice::new);
                ready!(stream.poll_write_vectored(context, &slices))
            }
        }?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let of_head = written.min(head.len());
        let of_data = (written - of_head).min(data.len());
        self.head_sent += of_head;
        self.tail = &self.tail[written - of_head - of_data..];
        self.data -= of_data;
        Poll::Ready(Ok(Wrote {
            bytes: written,
            data: of_data,
        }))
    }

    /// Takes the data that was written out of the input. Apart from the write, so that a caller can
    /// look at it once more.
    pub(super) fn settle(&mut self, input: &mut Input, wrote: Wrote) {
        let skipped = if self.data == 0 { self.skip } else { 0 };
        if wrote.data + skipped > 0 {
            input.consume(wrote.data + skipped);
            self.skip -= skipped;
        }
    }
}

/// What one write took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wrote {
    pub(super) bytes: usize,
    pub(super) data: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::AsyncRead;

    /// Takes a few bytes at a time.
    struct Slow(Vec<u8>, usize);

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.1);
            self.0.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = all.len().min(self.1);
            self.0.extend_from_slice(&all[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn input(mut bytes: &[u8]) -> Input {
        let mut input = Input::default();
        let mut context = Context::from_waker(Waker::noop());
        let stream: &mut (dyn AsyncRead + Unpin) = &mut bytes;
        let mut stream = stream;
        let _ = input.poll_fill(&mut context, &mut stream, usize::MAX >> 1);
        input
    }

    fn write(out: &mut Outgoing, input: &mut Input, step: usize) -> Vec<u8> {
        let mut slow = Slow(Vec::new(), step);
        let mut context = Context::from_waker(Waker::noop());
        while !out.is_empty() {
            let Poll::Ready(wrote) = out.poll_write(&mut context, &mut slow, input) else {
                panic!("always ready");
            };
            out.settle(input, wrote.unwrap());
        }
        slow.0
    }

    #[test]
    fn pieces_go_out_in_order_however_little_the_socket_takes() {
        let data = vec![b'd'; COPIED_MAX + 3];
        for step in [1, 2, 3, 7, 5000] {
            for kept in [0, 5, data.len()] {
                let mut input = input(&data);
                let mut out = Outgoing::new(b"head".to_vec());
                out.add_data(&mut input, kept, data.len());
                out.add_tail(b"end");
                let expected = [b"head", &data[..kept], b"end"].concat();
                assert_eq!(write(&mut out, &mut input, step), expected, "{step} {kept}");
                assert!(input.is_empty());
            }
        }
    }

    /// Each small piece was copied behind the head, without a bound, while a backend took nothing.
    #[test]
    fn small_pieces_behind_a_head_that_nobody_takes_are_bounded() {
        let mut out = Outgoing::new(b"head".to_vec());
        let mut copied = 0;
        while out.takes_data() {
            out.add_data(&mut input(&[b'd'; 1000]), 1000, 1000);
            copied += 1000;
            assert!(copied <= HEAD_BYTES_MAX + COPIED_MAX, "{copied} and on");
        }
    }

    #[test]
    fn a_head_goes_out_again_before_what_is_left() {
        let mut input = input(&[b'd'; 4000]);
        let mut out = Outgoing::new(b"head".to_vec());
        out.add_data(&mut input, 3000, 3000);
        let mut context = Context::from_waker(Waker::noop());
        let mut slow = Slow(Vec::new(), 10);
        let Poll::Ready(Ok(wrote)) = out.poll_write(&mut context, &mut slow, &mut input) else {
            panic!("always ready");
        };
        let held = input.bytes()[..wrote.data].to_vec();
        out.settle(&mut input, wrote);
        out.rewind(&held);
        let again = write(&mut out, &mut input, 5000);
        assert_eq!(again.len(), 3004);
        assert_eq!(input.len(), 1000);
    }
}
