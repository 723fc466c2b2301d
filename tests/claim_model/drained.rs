//! What the seal decides, and what is seen by whoever is told of it.

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

#[test]
fn no_claim_is_granted_after_drained_was_told() {
    loom::model(|| {
        let word = open();
        let told = Arc::new(AtomicUsize::new(0));
        let claimer = {
            let told = Arc::clone(&told);
            beside(&word, move |word| {
                let was_told = told.load(Relaxed) == 1;
                let granted = word.claim().is_ok();
                assert!(!(was_told && granted), "a claim after the answer");
                if granted {
                    assert!(!word.read().is_sealed(), "sealed while claimed");
                    word.release_request();
                }
            })
        };
        word.set_gate(Gate::Draining).unwrap();
        if word.seal() {
            told.store(1, Relaxed);
            assert!(word.read().is_idle());
        }
        claimer.join().unwrap();
        // Whoever was in, is out: now the seal succeeds in any case, and stays.
        assert!(word.seal());
        assert!(word.claim().is_err());
        for gate in [Gate::Open, Gate::Standby, Gate::Draining] {
            assert!(word.set_gate(gate).is_err());
        }
        assert!(word.read().is_sealed() && word.read().is_idle());
    });
}

/// What exchanges left behind: what they wrote, and that they are off the list of the generation.
struct Left(Arc<[AtomicUsize; 2]>);

impl Left {
    /// Two exchanges in flight on a word that drains; each writes, then releases.
    fn by_two_exchanges() -> (Arc<Word>, Self, [JoinHandle<()>; 2]) {
        let word = open();
        let written = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        word.claim().unwrap();
        word.claim().unwrap();
        word.upgrade();
        word.set_gate(Gate::Draining).unwrap();
        let ends = [0, 1].map(|index| {
            let written = Arc::clone(&written);
            beside(&word, move |word| {
                written[index].store(1, Relaxed);
                match index {
                    0 => word.release_request(),
                    _ => word.release_tunnel(),
                }
            })
        });
        (word, Self(written), ends)
    }

    fn is_all_seen(&self) -> bool {
        self.0.iter().all(|written| written.load(Relaxed) == 1)
    }
}

#[test]
fn who_seals_sees_all_that_the_exchanges_did() {
    loom::model(|| {
        let (word, left, ends) = Left::by_two_exchanges();
        if word.seal() {
            assert!(left.is_all_seen());
        }
        for end in ends {
            end.join().unwrap();
        }
    });
}

/// The list of exchanges is left before the count goes down: a status that says *idle* lists none.
#[test]
fn who_reads_idle_sees_all_that_the_exchanges_did() {
    loom::model(|| {
        let (word, left, ends) = Left::by_two_exchanges();
        if word.read().is_idle() {
            assert!(left.is_all_seen());
        }
        for end in ends {
            end.join().unwrap();
        }
    });
}

#[test]
fn two_drainers_that_seal_at_once_are_both_told_and_see_what_the_exchange_did() {
    loom::model(|| {
        let word = draining_with_a_request();
        let written = Arc::new(AtomicUsize::new(0));
        let drainers = [0, 1].map(|_| {
            let written = Arc::clone(&written);
            beside(&word, move |word| {
                let is_sealed = word.seal();
                assert!(!is_sealed || written.load(Relaxed) == 1);
                is_sealed
            })
        });
        written.store(1, Relaxed);
        word.release_request();
        // It is drained from here on; whoever asks from now on, even while another seals, is told so.
        assert!(word.seal());
        for drainer in drainers {
            drainer.join().unwrap();
        }
        assert!(word.seal() && word.read().is_idle());
    });
}

/// A status that says *drained*, and a gate that is refused because of it, know as much as the drain
/// that sealed: what the exchange did, and that idle connections were closed.
#[test]
fn who_meets_the_seal_sees_what_the_exchange_and_the_drain_did() {
    for meets in [
        |word: &Word| word.read().is_sealed(),
        |word: &Word| word.set_gate(Gate::Draining).is_err(),
    ] {
        loom::model(move || {
            let word = draining_with_a_request();
            let done = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
            let drain = {
                let done = Arc::clone(&done);
                beside(&word, move |word| {
                    done[0].store(1, Relaxed);
                    word.release_request();
                    done[1].store(1, Relaxed);
                    assert!(word.seal());
                })
            };
            if meets(&word) {
                assert!(done.iter().all(|done| done.load(Relaxed) == 1));
            }
            drain.join().unwrap();
        });
    }
}

/// A restore beside the last release and the seal ends in one of two ways, and both are whole.
#[test]
fn of_a_restore_and_a_seal_exactly_one_succeeds() {
    for gate in [Gate::Open, Gate::Standby] {
        loom::model(move || {
            let word = draining_with_a_request();
            let release = beside(&word, Word::release_request);
            let drainer = beside(&word, Word::seal);
            let restored = word.set_gate(gate).is_ok();
            release.join().unwrap();
            let sealed = drainer.join().unwrap();
            assert!(!(restored && sealed), "both were told");
            assert_eq!(word.read().is_sealed(), !restored);
            assert!(word.read().is_idle());
            if !restored {
                assert!(sealed && word.claim().is_err());
                return;
            }
            // It serves again, as far as it shall, and a later drain ends.
            assert!(!word.seal());
            assert_eq!(exchange(&word), gate == Gate::Open);
            word.set_gate(Gate::Draining).unwrap();
            assert!(word.seal());
        });
    }
}

/// A drain beside a claim that is on its way to be a tunnel: refused, or held to the tunnel's end.
#[test]
fn a_tunnel_that_is_made_while_the_drain_begins_holds_the_seal() {
    loom::model(|| {
        let word = open();
        let ended = Arc::new(AtomicUsize::new(0));
        let tunnel = {
            let ended = Arc::clone(&ended);
            beside(&word, move |word| {
                let granted = word.claim().is_ok();
                if granted {
                    word.upgrade();
                    ended.store(1, Relaxed);
                    word.release_tunnel();
                }
                granted
            })
        };
        word.set_gate(Gate::Draining).unwrap();
        let sealed = word.seal();
        let had_ended = ended.load(Relaxed) == 1;
        let granted = tunnel.join().unwrap();
        assert!(!sealed || had_ended || !granted, "sealed under a tunnel");
        assert!(word.seal());
    });
}

#[test]
fn standby_then_drain_then_seal_lets_an_exchange_end_first() {
    loom::model(|| {
        let word = open();
        let ended = Arc::new(AtomicUsize::new(0));
        let request = {
            let ended = Arc::clone(&ended);
            beside(&word, move |word| {
                let granted = word.claim().is_ok();
                if granted {
                    ended.store(1, Relaxed);
                    word.release_request();
                }
                granted
            })
        };
        word.set_gate(Gate::Standby).unwrap();
        assert!(!word.seal(), "standby is no drain");
        word.set_gate(Gate::Draining).unwrap();
        let sealed = word.seal();
        let had_ended = ended.load(Relaxed) == 1;
        let granted = request.join().unwrap();
        assert!(!sealed || had_ended || !granted, "sealed under a request");
        assert!(word.seal());
    });
}
