//! No wake-up is lost: whoever waits when the word becomes draining and idle, or quiet, whichever step
//! made it so, is woken, or has seen it itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};

use loom::future::block_on;

use super::word::When;
use super::*;

/// A waker that keeps whether it was woken. Not one of loom's atomics: it is asked at the end, when
/// all threads are joined, and must not add interleavings.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A task that waits: it is polled once, and again only if it was woken.
struct Waiter<'a> {
    waiting: Pin<Box<When<'a>>>,
    bell: std::sync::Arc<Bell>,
    is_told: bool,
}

impl<'a> Waiter<'a> {
    fn polled(word: &'a Word) -> Self {
        Self::waiting(word.when_idle())
    }

    fn waiting(waiting: When<'a>) -> Self {
        let mut waiter = Self {
            waiting: Box::pin(waiting),
            bell: std::sync::Arc::default(),
            is_told: false,
        };
        waiter.poll();
        waiter
    }

    /// With a waker of its own each time, as a task that moved has.
    fn poll(&mut self) {
        self.bell = std::sync::Arc::default();
        let waker = std::sync::Arc::clone(&self.bell).into();
        let polled = self.waiting.as_mut().poll(&mut Context::from_waker(&waker));
        self.is_told = polled == Poll::Ready(());
    }

    /// The word is what it waits for, and nobody does anything any more.
    fn assert_told(mut self) {
        if !self.is_told {
            assert!(self.bell.0.load(Ordering::SeqCst), "asleep for ever");
            self.poll();
        }
        assert!(self.is_told);
    }
}

#[test]
fn the_last_release_wakes_the_waiter() {
    loom::model(|| {
        let word = draining_with_a_request();
        let release = beside(&word, Word::release_request);
        // Loom fails the model if this waits for ever in any interleaving.
        block_on(word.when_idle());
        assert!(word.seal());
        release.join().unwrap();
    });
}

#[test]
fn of_two_releases_at_once_the_last_wakes_the_waiter() {
    loom::model(|| {
        let word = open();
        word.claim().unwrap();
        word.claim().unwrap();
        word.upgrade();
        word.set_gate(Gate::Draining).unwrap();
        let request = beside(&word, Word::release_request);
        let tunnel = beside(&word, Word::release_tunnel);
        let waiter = Waiter::polled(&word);
        request.join().unwrap();
        tunnel.join().unwrap();
        waiter.assert_told();
    });
}

#[test]
fn a_tunnel_that_was_a_request_when_the_drain_began_wakes_at_its_end() {
    loom::model(|| {
        let word = draining_with_a_request();
        let tunnel = beside(&word, |word| {
            word.upgrade();
            word.release_tunnel();
        });
        let waiter = Waiter::polled(&word);
        tunnel.join().unwrap();
        waiter.assert_told();
    });
}

/// A release that comes before the gate does not wake; then the waiter sees it itself.
#[test]
fn a_release_beside_the_begin_of_the_drain_leaves_no_waiter_asleep() {
    loom::model(|| {
        let word = open();
        word.claim().unwrap();
        let release = beside(&word, Word::release_request);
        word.set_gate(Gate::Draining).unwrap();
        let waiter = Waiter::polled(&word);
        release.join().unwrap();
        waiter.assert_told();
    });
}

/// Neither the release nor the gate alone makes it draining and idle: whichever is second wakes.
#[test]
fn who_waits_before_the_drain_begins_is_woken_by_the_gate_or_the_release() {
    loom::model(|| {
        let word = open();
        word.claim().unwrap();
        let release = beside(&word, Word::release_request);
        let drain = beside(&word, |word| word.set_gate(Gate::Draining).unwrap());
        let waiter = Waiter::polled(&word);
        release.join().unwrap();
        drain.join().unwrap();
        waiter.assert_told();
    });
}

#[test]
fn a_claim_that_is_granted_before_the_gate_wakes_whoever_waits_behind_it() {
    loom::model(|| {
        let word = open();
        let request = beside(&word, exchange);
        word.set_gate(Gate::Draining).unwrap();
        let waiter = Waiter::polled(&word);
        request.join().unwrap();
        waiter.assert_told();
    });
}

#[test]
fn of_two_waiters_both_are_woken() {
    loom::model(|| {
        let word = draining_with_a_request();
        let other = beside(&word, |word| {
            block_on(word.when_idle());
            assert!(word.seal());
        });
        let waiter = Waiter::polled(&word);
        word.release_request();
        waiter.assert_told();
        other.join().unwrap();
        assert!(word.seal());
    });
}

#[test]
fn of_two_waiters_one_that_goes_away_takes_no_wake_up_with_it() {
    loom::model(|| {
        let word = draining_with_a_request();
        let stays = Waiter::polled(&word);
        let goes = Waiter::polled(&word);
        let release = beside(&word, Word::release_request);
        drop(goes);
        release.join().unwrap();
        stays.assert_told();
    });
}

/// Also when it was taken off the list by a wake-up, and put itself there again.
#[test]
fn a_waiter_that_goes_away_leaves_nothing_behind() {
    loom::model(|| {
        let word = draining_with_a_request();
        let mut goes = Waiter::polled(&word);
        let release = beside(&word, Word::release_request);
        goes.poll();
        let bell = std::sync::Arc::clone(&goes.bell);
        drop(goes);
        release.join().unwrap();
        // The word holds no waker of it, whether it was woken or not.
        assert_eq!(std::sync::Arc::strong_count(&bell), 1);
    });
}

/// Woken, but a restore and a new claim came first: it goes on waiting, and is woken again.
#[test]
fn a_waiter_that_was_woken_in_vain_is_woken_again() {
    loom::model(|| {
        let word = draining_with_a_request();
        let mut waiter = Waiter::polled(&word);
        let release = beside(&word, Word::release_request);
        word.set_gate(Gate::Open).unwrap();
        word.claim().unwrap();
        word.set_gate(Gate::Draining).unwrap();
        waiter.poll();
        word.release_request();
        release.join().unwrap();
        waiter.assert_told();
    });
}

/// A task that moves is polled with another waker; the last one counts.
#[test]
fn a_waiter_that_is_polled_with_another_waker_is_woken_by_that() {
    loom::model(|| {
        let word = draining_with_a_request();
        let mut waiter = Waiter::polled(&word);
        let release = beside(&word, Word::release_request);
        waiter.poll();
        release.join().unwrap();
        waiter.assert_told();
    });
}

/// A drain, a restore, a drain: the waiter of the first is still there when the second ends.
#[test]
fn a_drain_after_a_restore_wakes_its_waiter_and_the_one_left_from_the_first() {
    loom::model(|| {
        let word = draining_with_a_request();
        let first = Waiter::polled(&word);
        let release = beside(&word, Word::release_request);
        word.set_gate(Gate::Open).unwrap();
        word.set_gate(Gate::Draining).unwrap();
        let second = Waiter::polled(&word);
        release.join().unwrap();
        first.assert_told();
        second.assert_told();
    });
}

/// A waiter that was told *idle* just before a restore is told nothing that is not so: it asks for
/// the seal, and is refused.
#[test]
fn a_wake_up_that_a_restore_overtakes_seals_nothing() {
    loom::model(|| {
        let word = draining_with_a_request();
        let drainer = beside(&word, |word| {
            let waiter = Waiter::polled(word);
            waiter.is_told && word.seal()
        });
        word.release_request();
        let restored = word.set_gate(Gate::Open).is_ok();
        let granted = word.claim().is_ok();
        assert_eq!(granted, restored);
        assert_eq!(drainer.join().unwrap(), !restored);
        assert_eq!(word.read().requests(), u32::from(granted));
    });
}

/// Whatever the gate is, and with a tunnel that stays.
#[test]
fn the_last_request_wakes_who_waits_for_quiet() {
    for gate in [Gate::Standby, Gate::Draining] {
        loom::model(move || {
            let word = open();
            word.claim().unwrap();
            word.upgrade();
            word.claim().unwrap();
            word.set_gate(gate).unwrap();
            let release = beside(&word, Word::release_request);
            let waiter = Waiter::waiting(word.when_quiet());
            release.join().unwrap();
            waiter.assert_told();
        });
    }
}

#[test]
fn a_last_request_that_becomes_a_tunnel_wakes_who_waits_for_quiet() {
    loom::model(|| {
        let word = open();
        word.claim().unwrap();
        word.set_gate(Gate::Standby).unwrap();
        let upgrade = beside(&word, Word::upgrade);
        let waiter = Waiter::waiting(word.when_quiet());
        upgrade.join().unwrap();
        waiter.assert_told();
    });
}

/// Neither the release nor the gate alone makes it quiet: whichever is second wakes.
#[test]
fn who_waits_for_quiet_before_the_gate_closes_is_woken_by_the_gate_or_the_release() {
    loom::model(|| {
        let word = open();
        word.claim().unwrap();
        let release = beside(&word, Word::release_request);
        let gate = beside(&word, |word| word.set_gate(Gate::Standby).unwrap());
        let waiter = Waiter::waiting(word.when_quiet());
        release.join().unwrap();
        gate.join().unwrap();
        waiter.assert_told();
    });
}

/// Quiet comes first and wakes both; who waits for idle goes on waiting, and is woken again.
#[test]
fn who_waits_for_idle_beside_one_who_waits_for_quiet_is_woken_at_its_own_end() {
    loom::model(|| {
        let word = open();
        word.claim().unwrap();
        word.upgrade();
        word.claim().unwrap();
        word.set_gate(Gate::Draining).unwrap();
        let mut idle = Waiter::polled(&word);
        let quiet = Waiter::waiting(word.when_quiet());
        let request = beside(&word, Word::release_request);
        idle.poll();
        request.join().unwrap();
        quiet.assert_told();
        if idle.bell.0.load(Ordering::SeqCst) {
            idle.poll();
        }
        assert!(!idle.is_told);
        word.release_tunnel();
        idle.assert_told();
    });
}

/// What a pause stands on: once the gate is closed and no request is counted, none is granted.
#[test]
fn what_is_quiet_stays_quiet_until_the_gate_opens() {
    loom::model(|| {
        let word = open();
        let request = beside(&word, exchange);
        word.set_gate(Gate::Standby).unwrap();
        block_on(word.when_quiet());
        assert_eq!(word.read().requests(), 0);
        assert!(word.claim().is_err());
        request.join().unwrap();
        assert_eq!(word.read().requests(), 0);
    });
}
