//! Which side takes a request: the drawn one, or the other if need be; once, whatever comes between.

use super::*;

#[test]
fn the_canary_gets_exactly_its_share_of_the_requests() {
    for (share, expected) in [
        ("0%", 0),
        ("0.1%", 1),
        ("10%", 100),
        ("33.3%", 333),
        ("100%", 1000),
    ] {
        let rig = Rig::with_canary(share);
        assert_eq!(rig.canaries(1000), expected, "{share}");
    }
}

#[test]
fn within_a_side_the_balance_of_the_pool_holds() {
    let mut rig = Rig::with_canary("50%");
    let heavy = crate::spec::Weight::new(3).unwrap();
    rig.change(|pool| pool.members[3].weight = heavy);
    let counts = rig.counts(8_000);
    assert_eq!(counts[&11] + counts[&12], 4_000);
    for (generation, expected) in [(1, 2_000), (2, 2_000), (11, 1_000), (12, 3_000)] {
        let count: usize = counts[&generation];
        assert!(count.abs_diff(expected) < 300, "{generation}: {count}");
    }
}

#[test]
fn before_and_after_the_canary_all_take_part() {
    let mut rig = Rig::with_canary("0%");
    for phase in [Phase::Gate, Phase::Bake] {
        assert_eq!(rig.canaries(100), 0);
        rig.phase(phase, None);
        assert_eq!(rig.counts(1000).len(), 4, "{phase:?}");
        rig.canary("0%");
    }
    rig.change(|pool| pool.rollout = None);
    assert_eq!(rig.counts(1000).len(), 4);
}

#[test]
fn standbys_and_draining_ones_get_nothing_on_either_side() {
    let (active, standby, draining) = (Intent::Active, Intent::Standby, Intent::Draining);
    let mut rig = Rig::new(&[
        (1, active),
        (2, standby),
        (3, draining),
        (11, active),
        (12, standby),
        (13, draining),
    ]);
    rig.canary("25%");
    assert_eq!(rig.counts(1000), BTreeMap::from([(1, 750), (11, 250)]));
    let snapshot = rig.pools.load();
    assert_eq!(snapshot.pool(&web()).unwrap().eligible(), 2);
}

#[test]
fn a_changed_share_a_probe_and_a_reload_neither_burst_nor_leave_a_gap() {
    let mut rig = Rig::with_canary("1%");
    assert_eq!(rig.canaries(99), 0);
    rig.set_health(2, Health::Unhealthy);
    rig.reload();
    assert_eq!(rig.canaries(1), 1);
    assert_eq!(rig.canaries(99), 0);
    rig.canary("50%");
    assert_eq!(rig.canaries(1), 1);
    assert_eq!(rig.canaries(1000), 500);
    rig.canary("0.01%");
    assert_eq!(rig.canaries(1), 0);
    rig.canary("100%");
    assert_eq!(rig.canaries(10), 10);
}

#[test]
fn a_side_without_an_eligible_backend_costs_no_request() {
    let rig = Rig::with_canary("50%");
    for generation in [11, 12] {
        rig.set_health(generation, Health::Unhealthy);
    }
    assert_eq!(rig.canaries(100), 0);
    for (old, new) in [(1, 11), (2, 12)] {
        rig.set_health(old, Health::Unhealthy);
        rig.set_health(new, Health::Healthy);
    }
    assert_eq!(rig.canaries(100), 100);
}

/// What a hold does: it claims in vain, and again once a backend is eligible.
#[test]
fn a_held_request_is_counted_once_and_when_it_goes_on() {
    let rig = Rig::with_canary("50%");
    for generation in [1, 2, 11, 12] {
        rig.set_health(generation, Health::Unhealthy);
    }
    let mut held = [Draw::default(); 5];
    for _ in 0..3 {
        for draw in &mut held {
            assert_eq!(rig.claim(&[], draw), Err(NoClaim::NoBackend));
        }
    }
    for generation in [1, 11] {
        rig.set_health(generation, Health::Healthy);
    }
    let went: Vec<_> = held.iter_mut().map(|draw| rig.claim(&[], draw)).collect();
    assert_eq!(went, [1, 11, 1, 11, 1].map(Ok));
    assert_eq!(rig.send(), 11);
}

/// A gate that closes before its snapshot is seen.
#[test]
fn a_refused_claim_keeps_its_side_and_is_not_counted_again() {
    let rig = Rig::with_canary("50%");
    for generation in [2, 12] {
        let backend = rig.backend(generation);
        backend.word().set_gate(Gate::Draining).unwrap();
    }
    for _ in 0..100 {
        assert_eq!([rig.send(), rig.send()], [1, 11]);
    }
    let last = rig.backend(11);
    last.word().set_gate(Gate::Draining).unwrap();
    assert_eq!(rig.counts(100), BTreeMap::from([(1, 100)]));
}

#[test]
fn a_retry_prefers_the_main_side_and_is_not_counted() {
    let rig = Rig::with_canary("50%");
    for _ in 0..100 {
        assert!(!is_new(rig.claim(&[11], &mut Draw::default()).unwrap()));
        assert_eq!(rig.claim(&[1], &mut Draw::default()), Ok(2));
        assert!(is_new(rig.claim(&[1, 2], &mut Draw::default()).unwrap()));
        assert_eq!(rig.claim(&[1, 2, 11], &mut Draw::default()), Ok(12));
    }
    let none = rig.claim(&[1, 2, 11, 12], &mut Draw::default());
    assert_eq!(none, Err(NoClaim::NoBackend));
    assert_eq!([rig.canaries(1), rig.canaries(1)], [0, 1]);
}

/// A kept connection that was dead: its backend is not among the tried.
#[test]
fn a_request_that_goes_on_with_nothing_tried_keeps_its_side() {
    let rig = Rig::with_canary("50%");
    for _ in 0..50 {
        let mut draw = Draw::default();
        let side = is_new(rig.claim(&[], &mut draw).unwrap());
        for _ in 0..3 {
            assert_eq!(is_new(rig.claim(&[], &mut draw).unwrap()), side);
        }
    }
    assert_eq!(rig.canaries(100), 50);
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Retry(Generation),
    Health(Generation, Health),
    Share(u16),
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let generation = || prop::sample::select(vec![1, 2, 11, 12]);
    let health = prop::sample::select(vec![Health::Healthy, Health::Unhealthy]);
    prop_oneof![
        6 => (1..40_usize).prop_map(Step::Send),
        1 => generation().prop_map(Step::Retry),
        3 => (generation(), health).prop_map(|(of, health)| Step::Health(of, health)),
        2 => (0..=Share::WHOLE).prop_map(Step::Share),
        1 => Just(Step::Reload),
    ]
}

/// What is expected: one sum, and who is healthy.
struct Reference {
    sum: u64,
    share: Share,
    healthy: BTreeMap<Generation, Health>,
}

impl Reference {
    fn has(&self, side: bool, avoid: Option<Generation>) -> bool {
        let may = |of: &Generation| is_new(*of) == side && avoid != Some(*of);
        let mut all = self.healthy.iter();
        all.any(|(of, health)| *health == Health::Healthy && may(of))
    }

    /// The side that takes the next request.
    fn send(&mut self) -> Option<bool> {
        if !self.has(true, None) && !self.has(false, None) {
            return None;
        }
        let before = self.sum;
        self.sum += u64::from(self.share.steps());
        let drawn = self.sum / WHOLE > before / WHOLE;
        Some(if self.has(drawn, None) { drawn } else { !drawn })
    }

    fn retry(&self, avoid: Generation) -> Option<bool> {
        let sides = [false, true].into_iter();
        sides.into_iter().find(|side| self.has(*side, Some(avoid)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_request_goes_where_the_sum_says_or_to_the_other_side(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut rig = Rig::with_canary("10%");
        let mut reference = Reference {
            sum: 0,
            share: Share::percent(10),
            healthy: [1, 2, 11, 12].map(|of| (of, Health::Healthy)).into(),
        };
        for step in steps {
            match step {
                Step::Send(requests) => for _ in 0..requests {
                    let went = rig.claim(&[], &mut Draw::default()).ok();
                    prop_assert_eq!(went.map(is_new), reference.send());
                    let is_eligible = |of| reference.healthy[of] == Health::Healthy;
                    prop_assert!(went.as_ref().is_none_or(is_eligible));
                },
                Step::Retry(of) => {
                    let went = rig.claim(&[of], &mut Draw::default()).ok();
                    prop_assert_eq!(went.map(is_new), reference.retry(of));
                    prop_assert_ne!(went, Some(of));
                }
                Step::Health(of, health) => {
                    reference.healthy.insert(of, health);
                    rig.set_health(of, health);
                }
                Step::Share(steps) => {
                    reference.share = share(steps);
                    rig.canary(&reference.share.to_string());
                }
                Step::Reload => rig.reload(),
            }
        }
    }
}
