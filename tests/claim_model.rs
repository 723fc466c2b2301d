//! A loom model of the word and its waiters: every interleaving of a few threads.
//!
//! The word's source is included over loom's primitives; it names its atomics through
//! `super::sync` for this purpose.

#![allow(dead_code, unreachable_pub, missing_docs)]

mod sync {
    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/backend/word.rs"]
mod word;

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use word::{Gate, Word};

#[test]
fn no_claim_is_granted_after_the_seal() {
    loom::model(|| {
        let word = Arc::new(Word::new(Gate::Open));
        let sealed = Arc::new(AtomicBool::new(false));
        let claimer = {
            let (word, sealed) = (Arc::clone(&word), Arc::clone(&sealed));
            thread::spawn(move || {
                let was_sealed = sealed.load(Ordering::SeqCst);
                let granted = word.claim().is_ok();
                assert!(!(was_sealed && granted), "a claim after the seal");
                if granted {
                    assert!(!word.read().is_sealed(), "sealed while claimed");
                    word.release_request();
                }
            })
        };
        word.set_gate(Gate::Draining).unwrap();
        if word.seal() {
            sealed.store(true, Ordering::SeqCst);
            assert!(word.read().is_idle());
        }
        claimer.join().unwrap();
        // Whoever was in, is out: now the seal succeeds in any case.
        assert!(word.seal());
        assert!(word.claim().is_err());
    });
}

#[test]
fn the_last_release_wakes_the_waiter() {
    loom::model(|| {
        let word = Arc::new(Word::new(Gate::Open));
        word.claim().unwrap();
        word.claim().unwrap();
        word.set_gate(Gate::Draining).unwrap();
        let releasers: Vec<_> = (0..2)
            .map(|_| {
                let word = Arc::clone(&word);
                thread::spawn(move || word.release_request())
            })
            .collect();
        // Loom fails the model if this waits for ever in any interleaving.
        block_on(word.when_idle());
        assert!(word.seal());
        for releaser in releasers {
            releaser.join().unwrap();
        }
    });
}

#[test]
fn an_upgrade_never_looks_idle() {
    loom::model(|| {
        let word = Arc::new(Word::new(Gate::Open));
        word.claim().unwrap();
        let tunnel = {
            let word = Arc::clone(&word);
            thread::spawn(move || {
                word.upgrade();
                word.release_tunnel();
            })
        };
        word.set_gate(Gate::Draining).unwrap();
        let reading = word.read();
        let total = reading.requests() + reading.tunnels();
        assert!(total <= 1);
        if word.seal() {
            assert!(word.read().is_idle());
        }
        block_on(word.when_idle());
        tunnel.join().unwrap();
        assert!(word.seal());
    });
}

#[test]
fn of_a_restore_and_a_seal_exactly_one_succeeds() {
    loom::model(|| {
        let word = Arc::new(Word::new(Gate::Open));
        word.claim().unwrap();
        word.set_gate(Gate::Draining).unwrap();
        let wins = Arc::new(AtomicUsize::new(0));
        let drainer = {
            let (word, wins) = (Arc::clone(&word), Arc::clone(&wins));
            thread::spawn(move || {
                word.release_request();
                if word.seal() {
                    wins.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let restored = word.set_gate(Gate::Open).is_ok();
        if restored {
            wins.fetch_add(1, Ordering::SeqCst);
        }
        drainer.join().unwrap();
        assert_eq!(wins.load(Ordering::SeqCst), 1);
        assert_eq!(word.read().is_sealed(), !restored);
        assert_eq!(word.claim().is_ok(), restored);
    });
}

#[test]
fn a_retry_is_counted_on_one_word_at_a_time() {
    loom::model(|| {
        let (first, second) = (
            Arc::new(Word::new(Gate::Open)),
            Arc::new(Word::new(Gate::Open)),
        );
        let exchange = {
            let (first, second) = (Arc::clone(&first), Arc::clone(&second));
            thread::spawn(move || {
                first.claim().unwrap();
                first.release_request();
                second.claim().unwrap();
                second.release_request();
            })
        };
        // Read the second first: a claim moves from first to second, so reading in this order
        // could see it on none, but never on both.
        let on_second = second.read().requests();
        let on_first = first.read().requests();
        assert!(on_first + on_second <= 1);
        exchange.join().unwrap();
        assert!(first.read().is_idle() && second.read().is_idle());
    });
}

#[test]
fn a_waiter_that_goes_away_leaves_nothing_behind() {
    loom::model(|| {
        let word = Arc::new(Word::new(Gate::Open));
        word.claim().unwrap();
        word.set_gate(Gate::Draining).unwrap();
        let releaser = {
            let word = Arc::clone(&word);
            thread::spawn(move || word.release_request())
        };
        {
            let waiting = word.when_idle();
            drop(waiting);
        }
        block_on(word.when_idle());
        releaser.join().unwrap();
    });
}
