//! Requests that wait because their pool has no eligible backend, or is paused.
//!
//! A [`Hold`] belongs to a pool and is carried from snapshot to snapshot. A request joins it with a
//! [`Ticket`] or is refused at the bound. When the pool is served again the held requests go on in the
//! order they came: each waits for its [`Ticket::turn`], which comes when those before it have gone, and
//! then for its [`Ticket::slot`], so that a backend that just came up is not hit by one burst. The slots
//! of one release lie evenly within [`RELEASE_WINDOW`]; one that is past goes at once, so a machine that
//! is behind catches up.
//!
//! A request that comes while others are being let go is not held: it goes at once. It passes those that
//! are left of the window, which no client can tell, since none of them has an answer yet; behind them
//! every release would hold up all traffic of the pool for as long as it takes.
//!
//! What always holds: the number of tickets out is the number of held requests; a ticket that is
//! dropped, for whatever reason, gives its place back, and if it was the first the next one its turn.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Over how long a full queue is let go once the pool is served.
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
    /// By the order they came, with what tells each of its turn.
    waiting: BTreeMap<u64, Arc<Notify>>,
    /// Those that wait for something else, and so not in the line.
    aside: usize,
    release: Option<Release>,
}

/// A queue that is being let go.
#[derive(Clone, Copy)]
struct Release {
    gap: Duration,
    next: Instant,
}

/// The place of one held request.
pub struct Ticket {
    hold: Arc<Hold>,
    number: u64,
    turn: Arc<Notify>,
}

/// The place of one that is held, but not in the line.
pub struct Aside {
    hold: Arc<Hold>,
}

impl Hold {
    /// Takes a place, unless `max` are taken.
    pub fn join(self: &Arc<Self>, max: u32) -> Option<Ticket> {
        let mut queue = self.queue.lock().expect("hold lock");
        if queue.len() >= max as usize {
            return None;
        }
        let number = queue.next;
        queue.next += 1;
        let turn = Arc::new(Notify::new());
        queue.waiting.insert(number, Arc::clone(&turn));
        queue.tell_first(number);
        Some(Ticket {
            hold: Arc::clone(self),
            number,
            turn,
        })
    }

    /// Takes a place that is not in the line, unless `max` are taken: for a request that waits for a
    /// certain backend, behind which nobody else should.
    pub fn aside(self: &Arc<Self>, max: u32) -> Option<Aside> {
        let mut queue = self.queue.lock().expect("hold lock");
        if queue.len() >= max as usize {
            return None;
        }
        queue.aside += 1;
        Some(Aside {
            hold: Arc::clone(self),
        })
    }

    /// How many requests are held.
    pub fn len(&self) -> usize {
        self.queue.lock().expect("hold lock").len()
    }

    /// Whether no request is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.waiting.len() + self.aside
    }

    /// When the next one goes on; those before it have theirs.
    fn slot(&mut self) -> Instant {
        let held = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let release = self.release.get_or_insert_with(|| Release {
            gap: (RELEASE_WINDOW / held.max(1)).min(RELEASE_GAP_MAX),
            next: Instant::now(),
        });
        let slot = release.next;
        release.next += release.gap;
        slot
    }

    fn end_release(&mut self) {
        if self.len() == 0 {
            self.release = None;
        }
    }

    /// Tells the first of its turn if it is `number` or later: all before have gone just now.
    fn tell_first(&self, number: u64) {
        if let Some((&first, turn)) = self.waiting.first_key_value()
            && first >= number
        {
            turn.notify_one();
        }
    }
}

impl Ticket {
    /// Resolves, once, when all that came before have gone.
    pub async fn turn(&self) {
        self.turn.notified().await;
    }

    /// When this one, being the first, goes on: the pool is served now.
    pub fn slot(&self) -> Instant {
        self.hold.queue.lock().expect("hold lock").slot()
    }

    /// The pool is not served after all: what is left is let go anew when it is.
    pub fn stay(&self) {
        self.hold.queue.lock().expect("hold lock").release = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut queue = self.hold.queue.lock().expect("hold lock");
        queue.waiting.remove(&self.number);
        queue.tell_first(self.number);
        queue.end_release();
    }
}

impl Aside {
    /// When this one goes on: what it waited for is there.
    pub fn slot(&self) -> Instant {
        self.hold.queue.lock().expect("hold lock").slot()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let mut queue = self.hold.queue.lock().expect("hold lock");
        queue.aside -= 1;
        queue.end_release();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn has_turn(ticket: &Ticket) -> bool {
        ticket.turn().now_or_never().is_some()
    }

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
    fn one_aside_takes_a_place_and_is_in_nobodys_way() {
        let hold = Arc::new(Hold::default());
        let aside = hold.aside(2).unwrap();
        let first = hold.join(2).unwrap();
        assert_eq!(hold.len(), 2);
        assert!(hold.join(2).is_none() && hold.aside(2).is_none());
        assert!(has_turn(&first));
        drop(aside);
        assert!(hold.aside(2).is_some());
    }

    #[test]
    fn each_has_its_turn_when_all_before_it_have_gone() {
        let hold = Arc::new(Hold::default());
        let [first, second, third, fourth] = [(); 4].map(|()| hold.join(10).unwrap());
        assert!(has_turn(&first) && !has_turn(&second));
        drop(third);
        assert!(!has_turn(&second) && !has_turn(&fourth));
        drop(first);
        assert!(has_turn(&second) && !has_turn(&fourth));
        drop(second);
        assert!(has_turn(&fourth));
        drop(fourth);
        assert!(has_turn(&hold.join(10).unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_let_go_in_order_evenly_and_within_the_window() {
        let hold = Arc::new(Hold::default());
        let begun = Instant::now();
        let tickets: Vec<Ticket> = (0..1000).map(|_| hold.join(1000).unwrap()).collect();
        let mut slots = Vec::new();
        for ticket in tickets {
            ticket.turn().await;
            slots.push(ticket.slot() - begun);
        }
        assert_eq!(slots[0], Duration::ZERO);
        assert!(slots.is_sorted());
        let gaps = slots.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.max() <= Some(RELEASE_WINDOW / 1000));
        assert!(*slots.last().unwrap() <= RELEASE_WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_not_stretched_over_the_window_and_a_release_anew_begins_at_once() {
        let hold = Arc::new(Hold::default());
        let tickets = [(); 3].map(|()| hold.join(3).unwrap());
        let begun = Instant::now();
        assert_eq!(tickets[0].slot(), begun);
        assert_eq!(tickets[0].slot(), begun + RELEASE_GAP_MAX);
        tickets[0].stay();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(tickets[0].slot(), Instant::now());
        assert_eq!(tickets[0].slot(), Instant::now() + RELEASE_GAP_MAX);
        // All have gone: the next to be held has nobody to keep a gap to.
        drop(tickets);
        assert_eq!(hold.join(3).unwrap().slot(), Instant::now());
    }
}
