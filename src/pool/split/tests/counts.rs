//! The sum: exact over any window, evenly spread, by any number of threads.

use super::*;

/// Whether each of so many requests is the canary's, once the sum stands at `from`.
fn drawn(from: u64, share: Share, requests: usize) -> Vec<bool> {
    let turns = Turns(AtomicU64::new(from));
    (0..requests).map(|_| turns.next(share)).collect()
}

fn count(drawn: &[bool]) -> u64 {
    drawn.iter().filter(|is_canary| **is_canary).count() as u64
}

#[test]
fn none_and_all_are_exact_to_the_request() {
    for from in [0, 1, 9_999, 123_456] {
        assert_eq!(count(&drawn(from, Share::percent(0), 50_000)), 0);
        assert_eq!(count(&drawn(from, Share::percent(100), 50_000)), 50_000);
    }
    assert_eq!(count(&drawn(0, share(1), 10_000)), 1);
    assert_eq!(count(&drawn(0, share(9_999), 10_000)), 9_999);
}

#[test]
fn eight_threads_draw_the_exact_share() {
    for steps in [1, 50, 333, 1_000, 2_500, 9_999] {
        let turns = Turns::default();
        let draw = || (0..10_000).filter(|_| turns.next(share(steps))).count();
        let drawn: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(drawn, 8 * usize::from(steps));
    }
}

#[test]
fn eight_threads_get_the_exact_share_while_snapshots_follow_each_other() {
    let rig = Rig::with_canary("10%");
    let canaries: usize = std::thread::scope(|scope| {
        let send = || rig.canaries(1_000);
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
        while threads.iter().any(|one| !one.is_finished()) {
            rig.pools.refresh(&web());
            rig.reload();
        }
        threads.into_iter().map(|one| one.join().unwrap()).sum()
    });
    assert_eq!(canaries, 800);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_canary_gets_its_share_of_any_requests_in_a_row(
        from in 0..1_000_000_000_u64,
        steps in 0..=Share::WHOLE,
        window in 0..12_000_usize,
    ) {
        let got = count(&drawn(from, share(steps), window)) * WHOLE;
        prop_assert!(got.abs_diff(window as u64 * u64::from(steps)) < WHOLE);
    }

    #[test]
    fn the_canarys_requests_come_evenly(from in 0..WHOLE, steps in 1..=Share::WHOLE) {
        let drawn = drawn(from, share(steps), 30_000);
        let places = drawn.iter().enumerate().filter(|(_, is_canary)| **is_canary);
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        let gaps = places.windows(2).map(|pair| pair[1] - pair[0]);
        let (least, most) = (gaps.clone().min().unwrap(), gaps.max().unwrap());
        prop_assert!(most - least <= 1, "{} to {}", least, most);
        prop_assert!(places[0] <= most, "the first comes late");
    }

    #[test]
    fn a_changed_share_goes_on_from_the_same_sum(
        stretches in prop::collection::vec((0..=Share::WHOLE, 0..300_usize), 1..20),
    ) {
        let turns = Turns::default();
        // By how much the canary's requests are behind their share, in steps, and its extremes.
        let (mut behind, mut least, mut most) = (0_i64, 0, 0);
        for (steps, requests) in stretches {
            for _ in 0..requests {
                behind += i64::from(steps);
                behind -= i64::from(turns.next(share(steps))) * i64::from(Share::WHOLE);
                (least, most) = (behind.min(least), behind.max(most));
            }
        }
        // Less than one request between any two moments, so in any window.
        prop_assert!(most - least < i64::from(Share::WHOLE));
    }
}
