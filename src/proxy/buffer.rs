//! Bytes that were read and not yet passed on, in buffers that only those hold who have bytes.
//!
//! An [`Input`] is what was read from one socket. It takes a buffer from its thread's store for the
//! length of a read and gives it back at once if nothing came, or when the last byte was consumed: a
//! connection that waits, for a request or for the next bytes of a body, holds none. Buffers are
//! small at first and larger once a read has filled one; of the large ones a thread has only
//! [`LARGE_OUT_MAX`] out at a time, so that many slow readers cannot tie up much.
//!
//! What always holds: `start <= end <= capacity`; no buffer is held without bytes in it.
//!
//! Who uses it: the relay and the front, on the worker that the connection lives on.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes of a small buffer: heads and small bodies; HAProxy's and nginx's order of size.
pub(super) const SMALL: usize = 16 * 1024;

/// Bytes of a large buffer: fewer system calls for large bodies.
const LARGE: usize = 64 * 1024;

/// Large buffers that one thread may have out; past it large bodies go through small ones.
const LARGE_OUT_MAX: usize = 128;

/// Buffers that a thread keeps for the next taker; what is more goes back to the allocator.
const SMALL_KEPT_MAX: usize = 64;
const LARGE_KEPT_MAX: usize = 16;

#[derive(Default)]
struct Store {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
    large_out: usize,
}

thread_local! {
    static STORE: RefCell<Store> = RefCell::default();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Small,
    Large,
    /// Made for a head that is larger than a small one; not kept.
    Odd,
}

struct Buffer {
    bytes: Box<[u8]>,
    kind: Kind,
}

impl Buffer {
    fn new(bytes: usize, kind: Kind) -> Self {
        Self {
            bytes: vec![0; bytes].into_boxed_slice(),
            kind,
        }
    }
}

fn take(wants_large: bool) -> Buffer {
    STORE.with_borrow_mut(|store| {
        let (kept, bytes, kind) = if wants_large && store.large_out < LARGE_OUT_MAX {
            store.large_out += 1;
            (&mut store.large, LARGE, Kind::Large)
        } else {
            (&mut store.small, SMALL, Kind::Small)
        };
        match kept.pop() {
            Some(bytes) => Buffer { bytes, kind },
            None => Buffer::new(bytes, kind),
        }
    })
}

fn give_back(buffer: Buffer) {
    // Fails only while the thread ends, and then there is no next taker.
    let _ = STORE.try_with(|store| {
        let mut store = store.borrow_mut();
        let (kept, max) = match buffer.kind {
            Kind::Small => (&mut store.small, SMALL_KEPT_MAX),
            Kind::Large => {
                // A buffer that was taken on another thread may come back here.
                store.large_out = store.large_out.saturating_sub(1);
                (&mut store.large, LARGE_KEPT_MAX)
            }
            Kind::Odd => return,
        };
        if kept.len() < max {
            kept.push(buffer.bytes);
        }
    });
}

/// What a read brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Filled {
    /// More bytes.
    Bytes,
    /// The other side has closed its sending half.
    End,
    /// Nothing was read: there is no room within the bound.
    Full,
}

/// See the module's words.
#[derive(Default)]
pub(super) struct Input {
    /// Empty, or a buffer.
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
    /// The last read filled all the room there was: the next one gets a large buffer.
    is_hungry: bool,
}

impl Input {
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.buffer {
            Some(buffer) => &buffer.bytes[self.start..self.end],
            None => &[],
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.buffer {
            Some(buffer) => &mut buffer.bytes[self.start..self.end],
            None => &mut [],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `bytes` were dealt with.
    pub(super) fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.len());
        self.start += bytes;
        if self.is_empty() {
            self.release();
        }
    }

    fn release(&mut self) {
        (self.start, self.end) = (0, 0);
        if let Some(buffer) = self.buffer.take() {
            give_back(buffer);
        }
    }

    /// Reads once, behind the bytes that are there. At most `max` bytes are held together; a buffer
    /// that is too small for them grows.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        max: usize,
    ) -> Poll<io::Result<Filled>> {
        if self.len() >= max {
            return Poll::Ready(Ok(Filled::Full));
        }
        let wants_large = self.is_hungry && max > SMALL;
        let mut buffer = match self.buffer.take() {
            Some(buffer) => self.with_room(buffer, max),
            None => take(wants_large),
        };
        let room = buffer.bytes.len().min(self.start + max);
        let mut unread = ReadBuf::new(&mut buffer.bytes[self.end..room]);
        let read = Pin::new(stream).poll_read(context, &mut unread);
        let (filled, left) = (unread.filled().len(), unread.remaining());
        self.end += filled;
        self.buffer = Some(buffer);
        if filled > 0 {
            self.is_hungry = left == 0;
        }
        if self.is_empty() {
            self.release();
        }
        ready!(read)?;
        Poll::Ready(Ok(match filled {
            0 => Filled::End,
            _ => Filled::Bytes,
        }))
    }

    /// The buffer with room behind its bytes: they move to its front, or to a larger one.
    fn with_room(&mut self, mut buffer: Buffer, max: usize) -> Buffer {
        let capacity = buffer.bytes.len();
        if self.end < capacity && (self.start == 0 || self.end < capacity / 2) {
            return buffer;
        }
        let held = self.start..self.end;
        (self.start, self.end) = (0, held.len());
        if held.len() < capacity {
            buffer.bytes.copy_within(held, 0);
            return buffer;
        }
        let mut larger = Buffer::new(max.min(capacity * 4), Kind::Odd);
        larger.bytes[..held.len()].copy_from_slice(&buffer.bytes[held]);
        give_back(buffer);
        larger
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn fill(input: &mut Input, mut from: &[u8], max: usize) -> Filled {
        let mut context = Context::from_waker(Waker::noop());
        match input.poll_fill(&mut context, &mut from, max) {
            Poll::Ready(filled) => filled.unwrap(),
            Poll::Pending => panic!("a slice is always ready"),
        }
    }

    #[test]
    fn a_buffer_is_held_only_while_there_are_bytes() {
        let mut input = Input::default();
        assert_eq!(fill(&mut input, b"", SMALL), Filled::End);
        assert!(input.buffer.is_none());
        assert_eq!(fill(&mut input, b"abc", SMALL), Filled::Bytes);
        assert_eq!(fill(&mut input, b"def", SMALL), Filled::Bytes);
        assert_eq!(input.bytes(), b"abcdef");
        input.consume(4);
        assert_eq!(input.bytes(), b"ef");
        input.consume(2);
        assert!(input.buffer.is_none());
    }

    #[test]
    fn bytes_are_kept_when_the_buffer_grows_or_moves_and_the_bound_holds() {
        let all: Vec<u8> = (0..3 * SMALL).map(|at| (at % 251) as u8).collect();
        let max = 2 * SMALL + 7;
        let mut input = Input::default();
        let mut read = 0;
        while fill(&mut input, &all[read..], max) == Filled::Bytes {
            read = input.len();
        }
        assert_eq!(input.bytes(), &all[..max]);
        input.consume(SMALL);
        assert_eq!(fill(&mut input, &all[max..], max), Filled::Bytes);
        assert_eq!(input.bytes(), &all[SMALL..SMALL + input.len()]);
    }

    #[test]
    fn a_full_read_asks_for_a_large_buffer_and_those_are_counted() {
        let all = vec![1; 2 * LARGE];
        let mut inputs: Vec<Input> = (0..LARGE_OUT_MAX + 1).map(|_| Input::default()).collect();
        for input in &mut inputs {
            fill(input, &all, usize::MAX >> 1);
            assert_eq!(input.len(), SMALL);
            input.consume(SMALL);
            fill(input, &all, usize::MAX >> 1);
        }
        assert_eq!(inputs[0].len(), LARGE);
        assert_eq!(inputs[LARGE_OUT_MAX].len(), SMALL);
        inputs.clear();
        assert_eq!(STORE.with_borrow(|store| store.large_out), 0);
    }
}
