//! The two sides of a pool while a canary is open, and which of them a request goes to.
//!
//! A [`Split`] is built with each snapshot. Without a canary it is one [`Selector`], and the request
//! path pays one branch for it. While the pool's rollout is in [`Phase::Canary`], the eligible
//! backends that it brings are the *canary* side, the other eligible ones the *main* side. A request
//! draws its side once ([`Draw`]):
//!
//! - by its client, if it says which one it is from ([`Draw::of_client`]). A hash puts each client
//!   into one of 10,000 buckets for ever; those below the share are the canary's. So a larger share
//!   only adds clients, and whoever was on the canary stays there.
//! - else by count. Each request adds the share to a running sum, and is the canary's if the sum
//!   passes a multiple of the whole by it (`Turns`).
//!
//! What always holds:
//! - a canary never costs a request: if the drawn side has no backend for it, the other takes it;
//! - a request is counted once. It keeps its side over refused claims, a hold, and a kept connection
//!   that was dead, none of which says anything of the backend;
//! - a retry after a failure prefers the main side, wherever the request was drawn to, and also if its
//!   client is known: those backends are known good, while a second new one is likely to fail as the
//!   first did, and a request has three tries;
//! - among requests without a known client, of any N in a row the canary's are within one of N times
//!   the share, and the gaps between them differ by at most one. A change of the share goes on from
//!   the same sum, which each snapshot takes over from the one before: no burst, no gap.
//!
//! That holds for any number of threads: each request makes one addition, the additions to one atomic
//! have one order, and a request depends on nothing but the sum that it met. Those of any N that stand
//! together in that order are as many as the multiples that the sum passed.
//!
//! [`super::Pools`] alone calls it. Requests that were admitted before the canary opened, and held,
//! have no known client and go by count: what their heads said is not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Entry;
use super::model::PoolModel;
use super::rollout::Phase;
use super::select::Selector;
use crate::backend::{Backend, Generation};
use crate::spec::{Balance, Share, Sticky};

#[cfg(test)]
pub(crate) mod tests;

/// Steps of the whole, wide enough for the sum.
const WHOLE: u64 = Share::WHOLE as u64;

/// An open canary: what the model says of it, and the sum that is carried from snapshot to snapshot.
pub(super) struct Canary {
    new: Vec<Generation>,
    share: Share,
    sticky: Option<Sticky>,
    turns: Arc<Turns>,
}

impl Canary {
    /// The canary of a pool, if one is open; `before` is that of the snapshot before.
    pub(super) fn of(pool: &PoolModel, before: Option<&Self>) -> Option<Arc<Self>> {
        let rollout = pool.rollout.as_ref()?;
        let Phase::Canary(share) = rollout.phase else {
            return None;
        };
        Some(Arc::new(Self {
            new: rollout.new.iter().map(|new| new.generation).collect(),
            share,
            sticky: rollout.spec.sticky.clone(),
            turns: before.map_or_else(Arc::default, |before| Arc::clone(&before.turns)),
        }))
    }

    /// Whether the request that draws is the canary's.
    fn draws(&self, bucket: Option<u16>) -> bool {
        match bucket {
            Some(bucket) => bucket < self.share.steps(),
            None => self.turns.next(self.share),
        }
    }
}

/// The sum of the shares of all requests that were counted, in steps.
///
/// Written by each request that draws by count. Relaxed: nothing is concluded from it about any
/// other memory. At a million requests a second it wraps after 58 years, and one request is off then.
#[derive(Default)]
struct Turns(AtomicU64);

impl Turns {
    /// Whether the next request is the canary's.
    fn next(&self, share: Share) -> bool {
        let steps = u64::from(share.steps());
        let before = self.0.fetch_add(steps, Ordering::Relaxed);
        before % WHOLE + steps >= WHOLE
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Main,
    Canary,
}

/// Which side of its pool a request is drawn to, kept from its first claim to its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Draw {
    /// Of its client, if that is known: 0 to 9,999.
    bucket: Option<u16>,
    side: Option<Side>,
}

impl Draw {
    /// For a request whose client is known by this value.
    pub fn of_client(value: &[u8]) -> Self {
        let bucket = u16::try_from(hash(value) % WHOLE);
        Self {
            bucket: bucket.ok(),
            side: None,
        }
    }

    fn side(&mut self, canary: &Canary) -> Side {
        *self
            .side
            .get_or_insert_with(|| match canary.draws(self.bucket) {
                true => Side::Canary,
                false => Side::Main,
            })
    }
}

/// FNV-1a with 64 bits (draft-eastlake-fnv) and the finalizer of MurmurHash3 (`fmix64`, A. Appleby)
/// behind it, which spreads what short values that differ in their last byte leave close together.
/// Ours, because it must give the same over restarts and releases of the compiler, which the hash of
/// the standard library does not promise. A client may choose its value and so its side; that is
/// no secret.
fn hash(value: &[u8]) -> u64 {
    let fnv = value.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// The eligible backends of one pool in one snapshot, by side.
pub(super) struct Split {
    /// All of them while no canary is open.
    main: Selector,
    canary: Option<(Arc<Canary>, Selector)>,
}

impl Split {
    pub(super) fn new(balance: Balance, entries: &[Entry], canary: Option<Arc<Canary>>) -> Self {
        let side = |is_new: bool| {
            let is_here = |entry: &&Entry| {
                let generation = entry.member.generation;
                let canary = canary.as_ref();
                is_new == canary.is_some_and(|canary| canary.new.contains(&generation))
            };
            let eligible = entries.iter().filter(|entry| entry.is_eligible());
            let weighted = |entry: &Entry| (Arc::clone(&entry.backend), entry.member.weight);
            Selector::new(balance, eligible.filter(is_here).map(weighted).collect())
        };
        let (main, new) = (side(false), canary.is_some().then(|| side(true)));
        Self {
            main,
            canary: canary.zip(new),
        }
    }

    /// The canary, for the next snapshot.
    pub(super) fn canary(&self) -> Option<&Arc<Canary>> {
        self.canary.as_ref().map(|(canary, _)| canary)
    }

    /// By what a client is known, if a canary asks for it.
    pub(super) fn sticky(&self) -> Option<&Sticky> {
        self.canary.as_ref()?.0.sticky.as_ref()
    }

    /// How many there are, of both sides.
    pub(super) fn len(&self) -> usize {
        let new = self.canary.as_ref().map(|(_, new)| new.len());
        self.main.len() + new.unwrap_or(0)
    }

    /// A backend that is not in `avoid`, if there is one. `is_retry`: the request failed elsewhere.
    pub(super) fn pick(
        &self,
        avoid: &[Generation],
        is_retry: bool,
        draw: &mut Draw,
    ) -> Option<&Arc<Backend>> {
        let Some((canary, new)) = &self.canary else {
            return self.main.pick(avoid);
        };
        // A request that will be held is counted when it goes on.
        if self.main.is_empty() && new.is_empty() {
            return None;
        }
        let side = match is_retry {
            true => Side::Main,
            false => draw.side(canary),
        };
        let (drawn, other) = match side {
            Side::Main => (&self.main, new),
            Side::Canary => (new, &self.main),
        };
        drawn.pick(avoid).or_else(|| other.pick(avoid))
    }
}
