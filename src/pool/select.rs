//! Picking one of the eligible backends of a pool, or of one side of it ([`super::split`]).
//!
//! A [`Selector`] is built with each snapshot from the backends that are eligible then, and never
//! changes except for the round-robin cursor. Picking takes no lock, allocates nothing, and its
//! cost does not grow with the pool: two random draws with a binary search each, or one counter.
//!
//! *Least requests* draws two different backends, each in proportion to its weight, and takes the
//! one with fewer exchanges in flight per weight; with nothing in flight the shares are those of
//! the weights. The power of two choices: Mitzenmacher, "The Power of Two Choices in Randomized
//! Load Balancing" (2001).
//!
//! *Round robin* walks a schedule in which each backend stands as often as its weight says, spread
//! evenly: the slot goes to the backend whose next turn is due first (earliest deadline first, as
//! in Envoy's and Linux' schedulers). The schedule has at most [`SCHEDULE_SLOTS_MAX`] slots.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::backend::{Backend, Generation};
use crate::spec::{Balance, Weight};

/// Slots of a round-robin schedule. Weights of pools beyond it are rounded, never below one slot:
/// 500 backends of weight 131 still fit exactly.
pub const SCHEDULE_SLOTS_MAX: usize = 65_536;

/// The fraction of the golden ratio in units of 2^-32 (Knuth, TAOCP 3, 6.4).
const GOLDEN_RATIO: u32 = 0x9E37_79B9;

/// Draws before a pick that must avoid tried backends goes through the list instead.
const DRAWS_MAX: usize = 4;

/// The eligible backends of one pool in one snapshot.
pub struct Selector {
    entries: Box<[Entry]>,
    total: u32,
    order: Order,
}

struct Entry {
    backend: Arc<Backend>,
    weight: u32,
    /// Sum of the weights of the entries before this one.
    starts: u32,
}

enum Order {
    LeastRequests,
    RoundRobin {
        schedule: Box<[u16]>,
        /// Relaxed: only the distribution depends on it.
        cursor: AtomicUsize,
    },
}

impl Selector {
    /// A selector over `eligible`, which may be empty.
    pub fn new(balance: Balance, eligible: Vec<(Arc<Backend>, Weight)>) -> Self {
        let mut total = 0;
        let entries: Box<[Entry]> = eligible
            .into_iter()
            .map(|(backend, weight)| {
                let starts = total;
                total += weight.as_u32();
                Entry {
                    backend,
                    weight: weight.as_u32(),
                    starts,
                }
            })
            .collect();
        let order = match balance {
            Balance::LeastRequests => Order::LeastRequests,
            Balance::RoundRobin => {
                let schedule = schedule(&entries);
                // A random start: snapshots follow each other fast during a deploy, and each would
                // otherwise favour the first backend.
                let cursor = AtomicUsize::new(fastrand::usize(..schedule.len().max(1)));
                Order::RoundRobin { schedule, cursor }
            }
        };
        Self {
            entries,
            total,
            order,
        }
    }

    /// Whether there is nothing to pick from.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// A backend that is not in `tried`, if there is one.
    pub fn pick(&self, tried: &[Generation]) -> Option<&Arc<Backend>> {
        if self.entries.is_empty() {
            return None;
        }
        let is_new = |backend: &Arc<Backend>| !tried.contains(&backend.generation());
        for _ in 0..DRAWS_MAX {
            let drawn = self.draw();
            if is_new(drawn) {
                return Some(drawn);
            }
        }
        let from = fastrand::usize(..self.entries.len());
        let (before, behind) = self.entries.split_at(from);
        behind
            .iter()
            .chain(before)
            .map(|entry| &entry.backend)
            .find(|backend| is_new(backend))
    }

    fn draw(&self) -> &Arc<Backend> {
        match &self.order {
            Order::RoundRobin { schedule, cursor } => {
                let slot = cursor.fetch_add(1, Ordering::Relaxed) % schedule.len();
                &self.entries[usize::from(schedule[slot])].backend
            }
            Order::LeastRequests => self.draw_less_busy_of_two(),
        }
    }

    fn draw_less_busy_of_two(&self) -> &Arc<Backend> {
        let first = self.entry_at(fastrand::u32(..self.total));
        let rest = self.total - first.weight;
        if rest == 0 {
            return &first.backend;
        }
        // The second draw is from what is left when the first one's stretch is taken out.
        let mut point = fastrand::u32(..rest);
        if point >= first.starts {
            point += first.weight;
        }
        let second = self.entry_at(point);
        // first / first.weight > second / second.weight, without division.
        let load = |entry: &Entry| {
            let reading = entry.backend.reading();
            u64::from(reading.requests()) + u64::from(reading.tunnels())
        };
        let first_is_busier =
            load(first) * u64::from(second.weight) > load(second) * u64::from(first.weight);
        if first_is_busier {
            &second.backend
        } else {
            &first.backend
        }
    }

    fn entry_at(&self, point: u32) -> &Entry {
        let behind = self.entries.partition_point(|entry| entry.starts <= point);
        &self.entries[behind - 1]
    }
}

/// Entry indexes, each as often as its weight says, evenly spread.
fn schedule(entries: &[Entry]) -> Box<[u16]> {
    let shares = shares(entries);
    let slots: usize = shares.iter().map(|&share| share as usize).sum();
    // Turn k (from 0) of entry i with share s is due at (k + offset of i) / s, in units of 2^-32. The
    // offsets are multiples of the golden ratio, so that light entries do not come side by side.
    let due = |index: usize, turn: u32, share: u32| {
        let offset = (index as u32).wrapping_mul(GOLDEN_RATIO);
        ((u64::from(turn) << 32) + u64::from(offset)) / u64::from(share)
    };
    let mut heap: BinaryHeap<_> = shares
        .iter()
        .enumerate()
        .map(|(index, &share)| Reverse((due(index, 0, share), index, 0)))
        .collect();
    let mut schedule = Vec::with_capacity(slots);
    while let Some(Reverse((_, index, turn))) = heap.pop() {
        schedule.push(u16::try_from(index).expect("a pool has at most 1000 backends"));
        let next = turn + 1;
        if next < shares[index] {
            heap.push(Reverse((due(index, next, shares[index]), index, next)));
        }
    }
    schedule.into_boxed_slice()
}

/// Weights divided by their greatest common divisor, and scaled down if they would not fit.
fn shares(entries: &[Entry]) -> Vec<u32> {
    let divisor = entries.iter().fold(0, |a, entry| gcd(a, entry.weight));
    let mut shares: Vec<u32> = entries.iter().map(|entry| entry.weight / divisor).collect();
    let slots: usize = shares.iter().map(|&share| share as usize).sum();
    if slots > SCHEDULE_SLOTS_MAX {
        for share in &mut shares {
            let scaled = u64::from(*share) * SCHEDULE_SLOTS_MAX as u64 / slots as u64;
            *share = (scaled as u32).max(1);
        }
    }
    shares
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::backend;
    use super::*;
    use crate::backend::Exchange;

    fn selector(balance: Balance, weights: &[u64]) -> Selector {
        let eligible = weights
            .iter()
            .enumerate()
            .map(|(index, &weight)| (backend(index as u64 + 1), Weight::new(weight).unwrap()))
            .collect();
        Selector::new(balance, eligible)
    }

    fn counts(selector: &Selector, picks: usize) -> Vec<usize> {
        let mut counts = vec![0; selector.len()];
        for _ in 0..picks {
            counts[selector.pick(&[]).unwrap().generation() as usize - 1] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_gives_each_its_share_and_spreads_it() {
        let selector = selector(Balance::RoundRobin, &[5, 1, 1]);
        assert_eq!(counts(&selector, 7 * 3), [15, 3, 3]);
        let mut run = 0;
        for _ in 0..70 {
            let is_heavy = selector.pick(&[]).unwrap().generation() == 1;
            run = if is_heavy { run + 1 } else { 0 };
            assert!(run <= 4, "the heavy one comes in a burst");
        }
    }

    #[test]
    fn round_robin_of_many_odd_weights_stays_within_its_slots() {
        let weights: Vec<u64> = (0..1000).map(|n| 1 + n % 256).collect();
        let selector = selector(Balance::RoundRobin, &weights);
        let Order::RoundRobin { schedule, .. } = &selector.order else {
            panic!("round robin expected");
        };
        assert!(schedule.len() <= SCHEDULE_SLOTS_MAX);
        let mut seen = vec![false; 1000];
        for &index in schedule {
            seen[usize::from(index)] = true;
        }
        assert!(seen.iter().all(|&s| s), "a backend has no slot");
    }

    #[test]
    fn least_requests_follows_the_weights_when_idle() {
        let selector = selector(Balance::LeastRequests, &[3, 1]);
        let counts = counts(&selector, 40_000);
        let share = counts[0] as f64 / 40_000.0;
        assert!((0.73..0.77).contains(&share), "{share}");
    }

    #[test]
    fn least_requests_avoids_the_busy_one() {
        let selector = selector(Balance::LeastRequests, &[1, 1]);
        let busy = Arc::clone(&selector.entries[0].backend);
        let exchange = Arc::new(Exchange::new("GET", "/", None));
        let _claim = busy.claim(&exchange).unwrap();
        assert_eq!(counts(&selector, 1000), [0, 1000]);
    }

    #[test]
    fn tried_backends_are_not_picked_again() {
        for balance in [Balance::LeastRequests, Balance::RoundRobin] {
            let selector = selector(balance, &[256, 1, 1]);
            for _ in 0..200 {
                assert_eq!(selector.pick(&[1, 2]).unwrap().generation(), 3);
            }
            assert!(selector.pick(&[1, 2, 3]).is_none());
        }
    }

    #[test]
    fn an_empty_selector_picks_nothing() {
        assert!(
            Selector::new(Balance::RoundRobin, vec![])
                .pick(&[])
                .is_none()
        );
        assert!(
            Selector::new(Balance::LeastRequests, vec![])
                .pick(&[])
                .is_none()
        );
    }
}
