//! One exchange in flight, as far as its backend needs to know it, and the list of them.
//!
//! An [`Exchange`] is made by the proxy when a request arrives and lives until the exchange has
//! ended; a claim puts it on the list of the generation it counted and takes it off when it is
//! dropped. The list answers two questions, both off the request path: *what blocks this drain*,
//! and *which exchanges shall be cut*.
//!
//! What always holds: an exchange is on the list of at most one generation, and on it exactly while
//! that generation counts it. A cut is asked of an exchange at one generation: one that has gone on to
//! another (a retry), or has ended, is not touched. The first reason stays, but for that of a tunnel
//! that was asked to close politely and is then to be cut.
//!
//! Who writes: the exchange's own task writes bytes and times; a drain or an operator asks for the
//! cut. The list is split over a few shards so that two workers seldom meet on one lock.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use super::Generation;

/// Locks that the list of a generation is split over.
const SHARDS: usize = 8;

/// Longest path kept for the list of what blocks a drain, in bytes; a longer one is cut short.
pub const PATH_BYTES_MAX: usize = 256;

/// Why an exchange was cut from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CutReason {
    /// The drain's `timeout` with `on_timeout: close`.
    DrainTimeout = 1,
    /// No byte moved for the drain's `idle_timeout`, with `on_timeout: close`.
    DrainIdle = 2,
    /// `tunnels.close_after` of the drain: a WebSocket is closed with its own words, if it agrees.
    TunnelClose = 3,
    /// The operator's `close` or `remove --force`.
    Closed = 4,
}

/// Enough for a billion nanoseconds; the rest holds five centuries of seconds.
const NANOS_BITS: u32 = 30;
const NANOS_MASK: u64 = (1 << NANOS_BITS) - 1;

/// Low bits of [`Exchange::asked`]. Generations count from 1 and never come near the rest.
const REASON_BITS: u32 = 8;
const REASON_MASK: u64 = (1 << REASON_BITS) - 1;

impl CutReason {
    fn of(asked: u64) -> Option<Self> {
        [
            Self::DrainTimeout,
            Self::DrainIdle,
            Self::TunnelClose,
            Self::Closed,
        ]
        .into_iter()
        .find(|reason| *reason as u64 == asked & REASON_MASK)
    }
}

/// One request and its response, or a tunnel.
pub struct Exchange {
    /// The method, then the path: one allocation for both.
    name: Box<str>,
    /// Where the path begins.
    path_at: usize,
    client: Option<IpAddr>,
    begun: Instant,
    tunnel: AtomicBool,
    /// These three are written by the exchange's task alone, so that no read-modify-write is needed.
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
    /// From the begin to the last byte moved either way: seconds above [`NANOS_BITS`] bits of
    /// nanoseconds, which needs no division on the way of each byte.
    last_byte: AtomicU64,
    /// The generation that counts it, or 0, above the [`CutReason`], or 0, in the low byte. The claim
    /// writes the generation, with no reason, when it is granted and 0 when it is dropped; whoever asks
    /// for a cut adds the reason by compare-and-swap and wakes `cut` then. AcqRel: the exchange's task
    /// sees what the asker did before.
    asked: AtomicU64,
    /// The exchange's task. It registers before it reads the reason, so no cut is missed.
    cut: AtomicWaker,
}

impl Exchange {
    /// An exchange that begins now. `path` is the target without its query.
    pub fn new(method: &str, path: &str, client: Option<IpAddr>) -> Self {
        Self::begun_at(Instant::now(), method, path, client)
    }

    /// The same, begun at a time that the caller has looked up already.
    pub fn begun_at(begun: Instant, method: &str, path: &str, client: Option<IpAddr>) -> Self {
        let mut end = path.len().min(PATH_BYTES_MAX);
        while !path.is_char_boundary(end) {
            end -= 1;
        }
        let mut name = String::with_capacity(method.len() + end);
        name.push_str(method);
        name.push_str(&path[..end]);
        Self {
            name: name.into_boxed_str(),
            path_at: method.len(),
            client,
            begun,
            tunnel: AtomicBool::new(false),
            bytes_up: AtomicU64::new(0),
            bytes_down: AtomicU64::new(0),
            last_byte: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            cut: AtomicWaker::new(),
        }
    }

    /// When it began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// Counts bytes from the client to the backend, at `now`.
    pub fn moved_up(&self, bytes: usize, now: Instant) {
        self.moved(&self.bytes_up, bytes, now);
    }

    /// Counts bytes from the backend to the client, at `now`.
    pub fn moved_down(&self, bytes: usize, now: Instant) {
        self.moved(&self.bytes_down, bytes, now);
    }

    fn moved(&self, counter: &AtomicU64, bytes: usize, now: Instant) {
        let so_far = counter.load(Ordering::Relaxed);
        counter.store(so_far + bytes as u64, Ordering::Relaxed);
        let since = now.saturating_duration_since(self.begun);
        let packed = since.as_secs() << NANOS_BITS | u64::from(since.subsec_nanos());
        self.last_byte.store(packed, Ordering::Relaxed);
    }

    /// Time since a byte moved either way.
    pub fn idle_for(&self) -> Duration {
        let packed = self.last_byte.load(Ordering::Relaxed);
        let nanos = (packed & NANOS_MASK) as u32;
        let last = Duration::new(packed >> NANOS_BITS, nanos);
        self.begun.elapsed().saturating_sub(last)
    }

    /// Bytes so far: from the client, from the backend.
    pub fn bytes(&self) -> (u64, u64) {
        (
            self.bytes_up.load(Ordering::Relaxed),
            self.bytes_down.load(Ordering::Relaxed),
        )
    }

    /// Whether it became a tunnel.
    pub fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    pub(super) fn become_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    pub(super) fn come_to(&self, generation: Generation) {
        self.asked
            .store(generation << REASON_BITS, Ordering::Release);
    }

    pub(super) fn go_from(&self) {
        self.asked.store(0, Ordering::Release);
    }

    /// Asks the exchange's task to end it, if `generation` still counts it. Says whether that was news
    /// to it.
    pub fn ask_cut(&self, generation: Generation, reason: CutReason) -> bool {
        let update = |now: u64| {
            let is_here = now >> REASON_BITS == generation;
            let is_news = match CutReason::of(now) {
                None => true,
                Some(CutReason::TunnelClose) => reason != CutReason::TunnelClose,
                Some(_) => false,
            };
            (is_here && is_news).then_some(generation << REASON_BITS | reason as u64)
        };
        let asked = self
            .asked
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, update);
        if asked.is_ok() {
            self.cut.wake();
        }
        asked.is_ok()
    }

    /// Why it is to be cut, if somebody asked.
    pub fn cut_reason(&self) -> Option<CutReason> {
        CutReason::of(self.asked.load(Ordering::Acquire))
    }

    /// Ready when somebody asked for the cut; with another reason later, perhaps. One task asks.
    pub fn poll_cut(&self, context: &mut Context<'_>) -> Poll<CutReason> {
        self.cut.register(context.waker());
        match self.cut_reason() {
            Some(reason) => Poll::Ready(reason),
            None => Poll::Pending,
        }
    }

    /// Resolves when somebody asked for the cut. One task waits.
    pub async fn cut_asked(&self) -> CutReason {
        poll_fn(|context| self.poll_cut(context)).await
    }

    /// What an operator is told of it.
    pub fn report(&self) -> ExchangeReport {
        ExchangeReport {
            is_tunnel: self.is_tunnel(),
            method: self.name[..self.path_at].to_owned(),
            path: self.name[self.path_at..].to_owned(),
            client: self.client,
            age: self.begun().elapsed(),
            bytes_up: self.bytes_up.load(Ordering::Relaxed),
            bytes_down: self.bytes_down.load(Ordering::Relaxed),
            idle: self.idle_for(),
        }
    }
}

/// An exchange as it stood when somebody asked.
#[derive(Clone, Debug)]
pub struct ExchangeReport {
    /// A tunnel rather than a request.
    pub is_tunnel: bool,
    /// The request's method.
    pub method: String,
    /// The request's path without query, at most [`PATH_BYTES_MAX`] bytes.
    pub path: String,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Since it began.
    pub age: Duration,
    /// Body or tunnel bytes from the client.
    pub bytes_up: u64,
    /// Body or tunnel bytes from the backend.
    pub bytes_down: u64,
    /// Since a byte moved.
    pub idle: Duration,
}

/// The exchanges that one generation counts.
pub(super) struct Exchanges {
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Default)]
struct Shard {
    slots: Vec<Option<Arc<Exchange>>>,
    free: Vec<u32>,
}

/// A place on the list; given back by [`Exchanges::leave`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    shard: u8,
    slot: u32,
}

impl Exchanges {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    pub(super) fn enter(&self, exchange: Arc<Exchange>) -> Place {
        let index = thread_number() % SHARDS;
        let mut shard = self.shards[index].lock().expect("exchanges lock");
        let slot = match shard.free.pop() {
            Some(slot) => {
                shard.slots[slot as usize] = Some(exchange);
                slot
            }
            None => {
                shard.slots.push(Some(exchange));
                (shard.slots.len() - 1) as u32
            }
        };
        Place {
            shard: index as u8,
            slot,
        }
    }

    pub(super) fn leave(&self, place: Place) {
        let mut shard = self.shards[usize::from(place.shard)]
            .lock()
            .expect("exchanges lock");
        shard.slots[place.slot as usize] = None;
        shard.free.push(place.slot);
    }

    /// All exchanges on the list now, oldest first.
    pub(super) fn list(&self) -> Vec<Arc<Exchange>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().expect("exchanges lock");
            all.extend(shard.slots.iter().flatten().cloned());
        }
        all.sort_by_key(|exchange| exchange.begun());
        all
    }
}

/// The number of this thread among those that asked, from 0: which part of something that is split over
/// threads is its own.
pub fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.with(Cell::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_asked_at_one_generation_and_does_not_follow_to_the_next() {
        let exchange = Exchange::new("GET", "/", None);
        exchange.come_to(1);
        assert!(!exchange.ask_cut(2, CutReason::Closed), "it is not there");
        assert!(exchange.ask_cut(1, CutReason::DrainTimeout));
        assert!(!exchange.ask_cut(1, CutReason::Closed), "asked already");
        exchange.go_from();
        exchange.come_to(2);
        assert_eq!(exchange.cut_reason(), None);
        // Whoever still has the list of the first asks in vain.
        assert!(!exchange.ask_cut(1, CutReason::Closed));
        assert_eq!(exchange.cut_reason(), None);
    }

    #[test]
    fn a_polite_ask_can_be_followed_by_a_cut_and_not_the_other_way_round() {
        let exchange = Exchange::new("GET", "/", None);
        exchange.come_to(1);
        assert!(exchange.ask_cut(1, CutReason::TunnelClose));
        assert!(!exchange.ask_cut(1, CutReason::TunnelClose));
        assert!(exchange.ask_cut(1, CutReason::DrainTimeout));
        assert!(!exchange.ask_cut(1, CutReason::TunnelClose));
        assert_eq!(exchange.cut_reason(), Some(CutReason::DrainTimeout));
    }
}
