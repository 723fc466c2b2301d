//! Claims, upgrades and releases are counted in one step each, and a gate that was set refuses.

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

fn held(word: &Word) -> u32 {
    let reading = word.read();
    reading.requests() + reading.tunnels()
}

#[test]
fn no_count_goes_below_zero_or_over() {
    loom::model(|| {
        let word = open();
        let request = beside(&word, |word| assert!(exchange(word)));
        let tunnel = beside(&word, |word| {
            word.claim().unwrap();
            word.upgrade();
            word.release_tunnel();
        });
        // Below zero it would run into the other count or the gates, and be huge.
        let reading = word.read();
        assert!(reading.requests() <= 2 && reading.tunnels() <= 1);
        assert!(!reading.is_standby() && !reading.is_draining() && !reading.is_sealed());
        request.join().unwrap();
        tunnel.join().unwrap();
        assert!(word.read().is_idle());
    });
}

#[test]
fn an_upgrade_is_one_step_and_never_counts_none_or_both() {
    loom::model(|| {
        let word = open();
        word.claim().unwrap();
        let upgrade = beside(&word, Word::upgrade);
        assert_eq!(held(&word), 1);
        assert_eq!(held(&word), 1);
        upgrade.join().unwrap();
        assert_eq!((word.read().requests(), word.read().tunnels()), (0, 1));
    });
}

#[test]
fn a_retry_is_counted_on_one_word_at_a_time() {
    loom::model(|| {
        let (first, second) = (open(), open());
        let retry = {
            let second = Arc::clone(&second);
            beside(&first, move |first| {
                assert!(exchange(first));
                assert!(exchange(&second));
            })
        };
        // Read the second first: a claim moves from first to second, so reading in this order
        // could see it on none, but never on both.
        let on_second = held(&second);
        let on_first = held(&first);
        assert!(on_first + on_second <= 1);
        retry.join().unwrap();
        assert!(first.read().is_idle() && second.read().is_idle());
    });
}

/// An exchange is marked as a tunnel before it is counted as one.
#[test]
fn who_counts_a_tunnel_finds_it_marked_as_one() {
    loom::model(|| {
        let word = open();
        word.claim().unwrap();
        let is_tunnel = Arc::new(AtomicUsize::new(0));
        let upgrade = {
            let is_tunnel = Arc::clone(&is_tunnel);
            beside(&word, move |word| {
                is_tunnel.store(1, Relaxed);
                word.upgrade();
            })
        };
        if word.read().tunnels() == 1 {
            assert_eq!(is_tunnel.load(Relaxed), 1);
        }
        upgrade.join().unwrap();
    });
}

/// Whoever has set the gate may count on it at once: who is in was counted before.
#[test]
fn a_gate_that_was_set_grants_nothing_more() {
    for gate in [Gate::Standby, Gate::Draining] {
        loom::model(move || {
            let word = open();
            let request = beside(&word, |word| word.claim().is_ok());
            word.set_gate(gate).unwrap();
            let counted = held(&word);
            let granted = request.join().unwrap();
            assert_eq!(
                counted,
                u32::from(granted),
                "counted after the gate was set"
            );
            assert!(word.claim().is_err());
        });
    }
}

/// Gates and counts share the word, so neither may write over the other.
#[test]
fn a_gate_that_is_set_loses_no_count_and_a_count_no_gate() {
    loom::model(|| {
        let word = open();
        word.claim().unwrap();
        let tunnel = beside(&word, Word::upgrade);
        word.set_gate(Gate::Standby).unwrap();
        word.set_gate(Gate::Draining).unwrap();
        tunnel.join().unwrap();
        let reading = word.read();
        assert!(reading.is_draining() && !reading.is_standby());
        assert_eq!((reading.requests(), reading.tunnels()), (0, 1));
    });
}
