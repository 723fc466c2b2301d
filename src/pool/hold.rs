//! Requests that wait because their pool has no eligible backend.
//!
//! A [`Hold`] belongs to a pool and is carried from snapshot to snapshot. A request joins it with a
//! [`Ticket`] or is refused at the bound. When a backend becomes eligible the held requests go on
//! in the order they came, each after a pause that depends on its place in the queue: all of them
//! within [`RELEASE_WINDOW`], so that a backend that just came up is not hit by one burst.
//!
//! What always holds: the number of tickets out is the number of held requests; a ticket that is
//! dropped, for whatever reason, gives its place back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Over how long a full queue is let go once a backend is eligible.
pub const RELEASE_WINDOW: Duration = Duration::from_millis(250);

/// The most that lies between two requests that are let go.
const RELEASE_GAP_MAX: Duration = Duration::from_millis(2);

/// The held requests of one pool.
#[derive(Default)]
pub struct Hold {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: BTreeSet<u64>,
}

/// The place of one held request.
pub struct Ticket {
    hold: Arc<Hold>,
    number: u64,
}

impl Hold {
    /// Takes a place, unless `max` are taken.
    pub fn join(self: &Arc<Self>, max: u32) -> Option<Ticket> {
        let mut queue = self.queue.lock().expect("hold lock");
        if queue.waiting.len() >= max as usize {
            return None;
        }
        let number = queue.next;
        queue.next += 1;
        queue.waiting.insert(number);
        Some(Ticket {
            hold: Arc::clone(self),
            number,
        })
    }

    /// How many requests are held.
    pub fn len(&self) -> usize {
        self.queue.lock().expect("hold lock").waiting.len()
    }

    /// Whether no request is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Ticket {
    /// How long this request waits once a backend is eligible, by its place now.
    pub fn release_delay(&self) -> Duration {
        let queue = self.hold.queue.lock().expect("hold lock");
        let place = queue.waiting.range(..self.number).count();
        let held = queue.waiting.len().max(1);
        let gap = (RELEASE_WINDOW / held as u32).min(RELEASE_GAP_MAX);
        gap * place as u32
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queue = self.hold.queue.lock().expect("hold lock");
        queue.waiting.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_holds_and_a_dropped_ticket_frees_its_place() {
        let hold = Arc::new(Hold::default());
        let first = hold.join(2).unwrap();
        let _second = hold.join(2).unwrap();
        assert!(hold.join(2).is_none());
        drop(first);
        assert!(hold.join(2).is_some());
        assert!(hold.join(0).is_none());
    }

    #[test]
    fn held_requests_go_in_order_and_within_the_window() {
        let hold = Arc::new(Hold::default());
        let tickets: Vec<Ticket> = (0..1000).map(|_| hold.join(1000).unwrap()).collect();
        let delays: Vec<Duration> = tickets.iter().map(Ticket::release_delay).collect();
        assert_eq!(delays[0], Duration::ZERO);
        assert!(delays.is_sorted());
        assert!(*delays.last().unwrap() <= RELEASE_WINDOW);
        drop(tickets);
        let pair = [hold.join(2).unwrap(), hold.join(2).unwrap()];
        assert_eq!(pair[1].release_delay(), RELEASE_GAP_MAX);
    }
}
