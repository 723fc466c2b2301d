//! The order of gates and snapshots (`pool::Pools::commit`): gates open before the publish that makes a
//! backend selectable, and close after the one that takes it out.
//!
//! A number stands for the snapshot: which of the words is selectable. It is written with Release and
//! read with Acquire where the real one (`arc-swap`) is too, and relaxed where the gate alone is to be
//! what makes a publish seen.

use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::*;

/// The claim was refused by the bit: the snapshot that took the backend out is there to be found,
/// whatever the claim had read before.
#[test]
fn a_refused_claim_that_looks_again_sees_the_publish_that_took_the_backend_out() {
    for gate in [Gate::Standby, Gate::Draining] {
        loom::model(move || {
            let word = open();
            let is_out = Arc::new(AtomicUsize::new(0));
            let request = {
                let is_out = Arc::clone(&is_out);
                beside(&word, move |word| {
                    if is_out.load(Relaxed) == 0 && !exchange(word) {
                        assert_eq!(is_out.load(Relaxed), 1, "the same one again");
                    }
                })
            };
            is_out.store(1, Relaxed);
            word.set_gate(gate).unwrap();
            request.join().unwrap();
        });
    }
}

/// The same when the refusal comes from the seal that followed.
#[test]
fn a_claim_that_the_seal_refuses_sees_the_publish_too() {
    loom::model(|| {
        let word = open();
        let is_out = Arc::new(AtomicUsize::new(0));
        let request = {
            let is_out = Arc::clone(&is_out);
            beside(&word, move |word| {
                if !exchange(word) {
                    assert_eq!(is_out.load(Relaxed), 1);
                }
            })
        };
        is_out.store(1, Relaxed);
        word.set_gate(Gate::Draining).unwrap();
        word.seal();
        request.join().unwrap();
    });
}

/// What the operation did before it opened the gate (a health, settings) is there for the exchange.
#[test]
fn a_granted_claim_sees_what_came_before_the_gate_was_opened() {
    loom::model(|| {
        let word = Arc::new(Word::new(Gate::Standby));
        let done = Arc::new(AtomicUsize::new(0));
        let request = {
            let done = Arc::clone(&done);
            beside(&word, move |word| {
                if exchange(word) {
                    assert_eq!(done.load(Relaxed), 1);
                }
            })
        };
        done.store(1, Relaxed);
        word.set_gate(Gate::Open).unwrap();
        request.join().unwrap();
    });
}

/// The same of a gate that was shut and opened again: a claim that was not in while it was shut has
/// come in by the second opening, though the word looks as it did before.
#[test]
fn a_granted_claim_sees_what_came_before_the_gate_was_opened_again() {
    loom::model(|| {
        let word = open();
        let done = Arc::new(AtomicUsize::new(0));
        let request = {
            let done = Arc::clone(&done);
            beside(&word, move |word| {
                let granted = word.claim().is_ok();
                granted && done.load(Relaxed) == 0
            })
        };
        word.set_gate(Gate::Standby).unwrap();
        let was_in = word.read().requests() == 1;
        done.store(1, Relaxed);
        word.set_gate(Gate::Open).unwrap();
        let missed = request.join().unwrap();
        assert!(was_in || !missed);
    });
}

#[test]
fn a_backend_that_is_selectable_for_the_first_time_refuses_nobody() {
    loom::model(|| {
        let word = Arc::new(Word::new(Gate::Standby));
        let is_in = Arc::new(AtomicUsize::new(0));
        let request = {
            let is_in = Arc::clone(&is_in);
            beside(&word, move |word| {
                if is_in.load(Acquire) == 1 {
                    assert!(exchange(word), "published with its gate shut");
                }
            })
        };
        word.set_gate(Gate::Open).unwrap();
        is_in.store(1, Release);
        request.join().unwrap();
    });
}

/// A deploy in one snapshot: the new one in, the old one out and drained. A request gets one of
/// them, at the second look at the latest, and the one it holds is not sealed.
#[test]
fn a_request_beside_a_deploy_is_granted_at_the_second_look_at_the_latest() {
    loom::model(|| {
        let old = open();
        let new = Arc::new(Word::new(Gate::Standby));
        let selectable = Arc::new(AtomicUsize::new(0));
        let request = {
            let (selectable, new) = (Arc::clone(&selectable), Arc::clone(&new));
            beside(&old, move |old| {
                let look = || match selectable.load(Acquire) {
                    0 => old,
                    _ => &*new,
                };
                let mut looks = (0..2).map(|_| look());
                let claimed = looks.find(|word| word.claim().is_ok());
                let claimed = claimed.expect("refused twice");
                assert!(!claimed.read().is_sealed());
                claimed.release_request();
            })
        };
        new.set_gate(Gate::Open).unwrap();
        selectable.store(1, Release);
        old.set_gate(Gate::Draining).unwrap();
        old.seal();
        request.join().unwrap();
        assert!(old.seal());
    });
}
