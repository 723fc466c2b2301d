//! The one atomic word of a generation, and those who wait for it to become idle, or quiet.
//!
//! The word holds three refusing bits and two counts:
//!
//! ```text
//!  63      62        61       60..56   55 ......... 28   27 .......... 0
//!  sealed  draining  standby  unused   tunnels           requests
//! ```
//!
//! A claim is granted by one compare-and-swap that sees no refusing bit and adds one request, so
//! "may I" and "count me" are a single step: there is no moment at which a claim is granted and not
//! counted, or counted and not granted. An upgrade moves one from requests to tunnels in one step,
//! so the sum never dips. A seal is one compare-and-swap from *draining, nothing counted* to
//! *sealed*; a restore is one from *not sealed* to *no refusing bit*: of a restore and a seal that
//! race exactly one succeeds.
//!
//! What always holds: a sealed word never changes again (no claim, no intent); counts never go
//! below zero, because only a granted claim may release and does so once.
//!
//! Who calls it: [`super::Backend`] alone. The tests include this file a second time over loom's
//! primitives (`tests/claim_model.rs`), which is why it names its atomics through `super::sync`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::sync::{AtomicU64, Mutex, Ordering};

const REQUEST: u64 = 1;
const TUNNEL: u64 = 1 << COUNT_BITS;
const COUNT_BITS: u32 = 28;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const STANDBY: u64 = 1 << 61;
const DRAINING: u64 = 1 << 62;
const SEALED: u64 = 1 << 63;
const REFUSING: u64 = STANDBY | DRAINING | SEALED;

/// What the word said at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reading(u64);

impl Reading {
    /// Exchanges that are requests.
    pub fn requests(self) -> u32 {
        (self.0 & COUNT_MASK) as u32
    }

    /// Exchanges that are tunnels.
    pub fn tunnels(self) -> u32 {
        (self.0 >> COUNT_BITS & COUNT_MASK) as u32
    }

    /// Neither requests nor tunnels.
    pub fn is_idle(self) -> bool {
        self.requests() == 0 && self.tunnels() == 0
    }

    /// No requests, and none can come: a refusing bit is set. Tunnels may be left.
    pub fn is_quiet(self) -> bool {
        self.requests() == 0 && self.0 & REFUSING != 0
    }

    /// Draining, and neither requests nor tunnels: it can be sealed.
    fn is_drained_dry(self) -> bool {
        self.is_draining() && self.is_idle()
    }

    /// Whether a drain is under way or over.
    pub fn is_draining(self) -> bool {
        self.0 & DRAINING != 0
    }

    /// Whether no claim would be granted because of standby.
    pub fn is_standby(self) -> bool {
        self.0 & STANDBY != 0
    }

    /// Whether *drained* has become final.
    pub fn is_sealed(self) -> bool {
        self.0 & SEALED != 0
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading")
            .field("requests", &self.requests())
            .field("tunnels", &self.tunnels())
            .field("standby", &self.is_standby())
            .field("draining", &self.is_draining())
            .field("sealed", &self.is_sealed())
            .finish()
    }
}

/// Why a claim was not granted: a refusing bit is set. The caller reloads the snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

/// Why an intent was not set: the generation is sealed, its drain is final.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed;

/// Which refusing bits the word shall have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// None: claims are granted.
    Open,
    /// Standby: refused, not on the way out.
    Standby,
    /// Draining: refused, and the last release wakes the waiters.
    Draining,
}

/// The word with its waiters.
pub struct Word {
    /// Written by claims, releases, upgrades (the data path) and by gates and seals (one drain or
    /// operation at a time), each by one read-modify-write. Counts and gates alone would be right
    /// with relaxed ordering, since all of it happens on this one location; the orderings carry what
    /// surrounds it, over four edges:
    ///
    /// - *closed -> refused*: the gate is set with Release after the publish that took the backend
    ///   out, a refused claim loads with Acquire: it sees that publish when it looks again;
    /// - *opened -> granted*: a granted claim acquires what came before the gate was opened;
    /// - *released -> drained*: a release is a Release, the seal and every reading an Acquire: all
    ///   that an exchange did happens before the answer *drained*. The steps of others in between
    ///   do not break it, because nobody stores: a read-modify-write of any ordering continues the
    ///   release sequence of those before it;
    /// - *sealed -> told*: the seal is a Release for readings, other seals and refused gates: who is
    ///   told *drained* also sees what the drain did first, such as closing idle connections.
    ///
    /// Each operation says which of them it carries. `AcqRel` stands where one half would do: the
    /// other half costs nothing beside the locked instruction.
    bits: AtomicU64,
    /// Locked by those who wait and by the step that makes the word draining and idle, or quiet, never
    /// by another claim or release. What its lock carries is said at [`When`]'s poll.
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    next_key: u64,
    list: Vec<(u64, Waker)>,
}

impl Word {
    /// A word with nothing counted.
    pub fn new(gate: Gate) -> Self {
        Self {
            bits: AtomicU64::new(gate_bits(gate)),
            waiters: Mutex::new(Waiters::default()),
        }
    }

    /// What it says now. Acquire, for *released -> drained* and *sealed -> told*: who reads *idle* or
    /// *sealed* here also sees what the exchanges, or the drain, did before.
    pub fn read(&self) -> Reading {
        Reading(self.bits.load(Ordering::Acquire))
    }

    /// Grants a claim and counts one request, in one step, unless a refusing bit is set.
    ///
    /// Acquire throughout: of the swap for *opened -> granted*, of both loads for *closed -> refused*.
    /// A load may be stale. With a stale open gate the swap fails. A stale closed one cannot be met
    /// by who saw the publish that made the backend selectable: the gate was opened before.
    pub fn claim(&self) -> Result<(), Refused> {
        let mut seen = self.bits.load(Ordering::Acquire);
        loop {
            if seen & REFUSING != 0 {
                return Err(Refused);
            }
            // 2^28 exchanges of one generation would need as many sockets; the listeners' limit on
            // client connections keeps the count far below, so the fields cannot run into another.
            match self.bits.compare_exchange_weak(
                seen,
                seen + REQUEST,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }

    /// Moves one granted claim from requests to tunnels, in one addition, so that the sum stays. A
    /// Release: who reads the tunnel here finds its exchange marked as one.
    pub fn upgrade(&self) {
        let before = self.bits.fetch_add(TUNNEL - REQUEST, Ordering::AcqRel);
        self.made(before, before + TUNNEL - REQUEST);
    }

    /// Gives one request back.
    pub fn release_request(&self) {
        self.release(REQUEST);
    }

    /// Gives one tunnel back.
    pub fn release_tunnel(&self) {
        self.release(TUNNEL);
    }

    /// A Release, for *released -> drained*. One of the releases is last in the order of this
    /// location, and sees so in what it made of the word: exactly that one wakes.
    fn release(&self, one: u64) {
        let before = self.bits.fetch_sub(one, Ordering::AcqRel);
        self.made(before, before - one);
    }

    /// Sets the refusing bits to `gate` in one step; a sealed word refuses.
    ///
    /// A Release, for *closed -> refused* and *opened -> granted*; Acquire where it is refused, for
    /// *sealed -> told*.
    pub fn set_gate(&self, gate: Gate) -> Result<(), Sealed> {
        let mut seen = self.bits.load(Ordering::Acquire);
        loop {
            if seen & SEALED != 0 {
                return Err(Sealed);
            }
            let next = seen & !REFUSING | gate_bits(gate);
            match self
                .bits
                .compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => {
                    self.made(seen, next);
                    return Ok(());
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Makes *drained* final if the word is draining and idle. Says whether it is sealed now, by
    /// this call or another: all who seal may tell it.
    ///
    /// Acquire, also where it meets the seal of another, for *released -> drained*; Release for
    /// *sealed -> told*.
    pub fn seal(&self) -> bool {
        let idle = DRAINING;
        match self
            .bits
            .compare_exchange(idle, idle | SEALED, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => true,
            Err(now) => now & SEALED != 0,
        }
    }

    /// Resolves when the word was seen draining and idle, whichever it became last. It may change
    /// again before a seal: a restore and new claims are possible until then, so callers seal and
    /// look at the answer.
    pub fn when_idle(&self) -> When<'_> {
        self.when(Reading::is_drained_dry)
    }

    /// Resolves when the word was seen quiet ([`Reading::is_quiet`]). It may change again before the
    /// caller looks, if a gate is opened.
    pub fn when_quiet(&self) -> When<'_> {
        self.when(Reading::is_quiet)
    }

    fn when(&self, is_so: fn(Reading) -> bool) -> When<'_> {
        When {
            word: self,
            is_so,
            key: None,
        }
    }

    /// Wakes the waiters if the step just taken made the word what some of them wait for; the others
    /// put themselves on the list again.
    fn made(&self, before: u64, now: u64) {
        let became = |is_so: fn(Reading) -> bool| is_so(Reading(now)) && !is_so(Reading(before));
        if !(became(Reading::is_drained_dry) || became(Reading::is_quiet)) {
            return;
        }
        let woken = std::mem::take(&mut self.waiters.lock().expect("waiters lock").list);
        for (_, waker) in woken {
            waker.wake();
        }
    }
}

fn gate_bits(gate: Gate) -> u64 {
    match gate {
        Gate::Open => 0,
        Gate::Standby => STANDBY,
        Gate::Draining => DRAINING,
    }
}

/// See [`Word::when_idle`] and [`Word::when_quiet`].
pub struct When<'a> {
    word: &'a Word,
    is_so: fn(Reading) -> bool,
    key: Option<u64>,
}

impl Future for When<'_> {
    type Output = ();

    /// No wake-up is lost: the waker is on the list before the word is read. The step that makes the
    /// word what we wait for (a release, an upgrade, a gate) takes the list after it changed the word.
    /// Either it takes the list after we joined it, and wakes us, or before, and then the list's lock
    /// makes its change visible to the read below.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let word = self.word;
        let mut waiters = word.waiters.lock().expect("waiters lock");
        let key = *self.key.get_or_insert_with(|| {
            waiters.next_key += 1;
            waiters.next_key
        });
        match waiters.list.iter_mut().find(|(of, _)| *of == key) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => waiters.list.push((key, context.waker().clone())),
        }
        drop(waiters);
        match (self.is_so)(word.read()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for When<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut waiters = self.word.waiters.lock().expect("waiters lock");
            waiters.list.retain(|(of, _)| *of != key);
        }
    }
}
