//! The same random operations at once: each begins while those before it are still at it, a few polls
//! apart, so that changes queue, drains end in the middle of restores, and answers come late. Who wins
//! is not foretold; what must hold whoever wins is asked after every step.

use std::collections::HashSet;

use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::steps::{Held, Step, Who, any_step, any_step_or_deploy, cases, perform, perform_deploy};
use super::*;
use crate::pool::rollout::Phase;
use crate::spec::Intent;

/// What is in flight, and what was promised.
struct Race {
    rig: Rig,
    held: Vec<Held>,
    calls: Vec<(Step, JoinHandle<Answer>)>,
    /// All that were ever published.
    seen: HashMap<Generation, Arc<Backend>>,
    /// Those that somebody may have killed by now.
    told: HashSet<Generation>,
}

impl Race {
    async fn new() -> Self {
        Self {
            rig: Rig::new().await,
            held: Vec::new(),
            calls: Vec::new(),
            seen: HashMap::new(),
            told: HashSet::new(),
        }
    }

    async fn take(&mut self, step: &Step, polls: usize) {
        match *step {
            Step::Claim { pool, obeys } => self.claim(pool, &[], obeys),
            Step::Retry(nth) => {
                if let Some(left) = self.give_up(nth) {
                    let of = left.claim.backend().identity().clone();
                    drop(left);
                    let pool = POOLS.iter().position(|name| *name == of.pool.as_str());
                    self.claim(pool.unwrap(), &[of.generation], true);
                }
            }
            Step::Upgrade(nth) => {
                let count = self.held.len().max(1);
                if let Some(held) = self.held.get_mut(nth % count) {
                    held.claim.upgrade();
                }
            }
            Step::Release(nth) => drop(self.give_up(nth)),
            Step::Observe(_, who, health) => {
                let (Who::Id(nth) | Who::Nth(nth)) = who;
                let all = self.rig.backends();
                if let Some(backend) = all.get(nth % all.len().max(1)) {
                    self.rig.observe(backend, health);
                }
            }
            Step::Pass(time) => tokio::time::advance(time).await,
            ref call => self.call(call),
        }
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
        self.cut();
        self.hear().await;
        self.check();
        self.check_rollout();
    }

    fn call(&mut self, step: &Step) {
        let control = Arc::clone(&self.rig.control);
        if let Step::Deploy(deploy) = *step {
            let answer = tokio::spawn(perform_deploy(control, deploy));
            self.calls.push((step.clone(), answer));
            return;
        }
        let numbered = match step.about() {
            None | Some((_, Who::Id(_))) => None,
            Some((of, Who::Nth(nth))) => {
                let mut all = self.rig.backends();
                all.retain(|backend| backend.identity().pool == pool(of));
                let Some(index) = nth.checked_rem(all.len()) else {
                    return;
                };
                let id = IDS.iter().position(|id| *id == all[index].id().as_str());
                Some((id.unwrap(), all[index].generation()))
            }
        };
        let answer = tokio::spawn(perform(control, step.clone(), numbered));
        self.calls.push((step.clone(), answer));
    }

    fn give_up(&mut self, nth: usize) -> Option<Held> {
        let index = nth.checked_rem(self.held.len())?;
        Some(self.held.swap_remove(index))
    }

    fn claim(&mut self, pool: usize, tried: &[Generation], obeys: bool) {
        let Some(held) = Held::take(&self.rig, pool, tried, obeys) else {
            return;
        };
        let of = held.generation();
        assert!(!self.told.contains(&of), "{of} was told to be drained");
        assert!(!tried.contains(&of));
        self.seen.insert(of, Arc::clone(held.claim.backend()));
        self.held.push(held);
    }

    fn cut(&mut self) {
        let held = std::mem::take(&mut self.held).into_iter();
        let (ended, held): (Vec<_>, Vec<_>) = held.partition(Held::is_cut);
        self.held = held;
        for held in ended {
            held.claim.was_cut();
        }
    }

    /// Takes the answers that have come.
    async fn hear(&mut self) {
        let mut waiting = Vec::new();
        for (step, answer) in std::mem::take(&mut self.calls) {
            if !answer.is_finished() {
                waiting.push((step, answer));
                continue;
            }
            let answer = answer.await.unwrap();
            assert_ne!(answer.outcome, Outcome::Error, "{step:?}: {answer:?}");
            assert!(
                answer.safe_to_kill || !answer.outcome.is_drained(),
                "{step:?}: {answer:?}"
            );
            if answer.safe_to_kill && !matches!(step, Step::Deploy(_)) {
                self.told.insert(answer.generation.unwrap());
            }
            let rollout = answer.rollout.iter();
            let all = rollout.flat_map(|rollout| rollout.added.iter().chain(&rollout.replaced));
            let safe = all.filter(|one| one.safe_to_kill);
            self.told.extend(safe.map(|one| one.generation));
        }
        self.calls = waiting;
    }

    fn check(&mut self) {
        for backend in self.rig.backends() {
            self.seen.insert(backend.generation(), backend);
        }
        for (of, backend) in &self.seen {
            let reading = backend.reading();
            let held = self.held.iter().filter(|held| held.generation() == *of);
            let (tunnels, requests): (Vec<_>, Vec<_>) = held.partition(|h| h.exchange.is_tunnel());
            let counts = (reading.requests() as usize, reading.tunnels() as usize);
            assert_eq!(counts, (requests.len(), tunnels.len()), "counts of {of}");
            assert_eq!(backend.exchanges().len(), counts.0 + counts.1);
            assert!(
                !reading.is_sealed() || reading.is_idle(),
                "{of}: {reading:?}"
            );
            assert!(
                !self.told.contains(of) || reading.is_sealed(),
                "{of}: {reading:?}"
            );
        }
    }

    /// The pool is served by the old set of its rollout, by the new one, or in a canary by both.
    fn check_rollout(&self) {
        let snapshot = self.rig.control.pools.load();
        let web = snapshot.pool(&web()).unwrap();
        let Some(rollout) = &web.rollout else {
            return;
        };
        let (new, old) = match rollout.phase {
            Phase::Gate => (Intent::Standby, Intent::Active),
            Phase::Canary(_) => (Intent::Active, Intent::Active),
            Phase::Bake => (Intent::Active, Intent::Standby),
        };
        for (named, intent) in [(&rollout.new, new), (&rollout.old, old)] {
            for one in named {
                let entry = web.entry(one.generation).unwrap();
                assert_eq!(entry.member.intent, intent, "{one:?} in {rollout:?}");
            }
        }
    }

    /// Lets every gate and bake come to its end.
    async fn pass_rollouts(&mut self) {
        self.held.clear();
        tokio::time::sleep(Duration::from_secs(300)).await;
        self.hear().await;
    }

    /// Once everything in flight has ended and nothing moves any more.
    async fn end(mut self) {
        self.held.clear();
        let now = Instant::now();
        for _ in 0..1 + self.calls.len() {
            self.rig.settle().await;
        }
        assert_eq!(Instant::now(), now, "an end waited for a timer");
        self.hear().await;
        self.check();
        for (step, _) in &self.calls {
            assert!(matches!(step, Step::Wait(..)), "not answered: {step:?}");
        }
        let snapshot = self.rig.control.pools.load_full();
        let entries = snapshot.entries().map(|(_, entry)| entry);
        let mut draining = HashSet::new();
        for entry in entries.filter(|entry| entry.member.intent == Intent::Draining) {
            assert!(entry.backend.reading().is_sealed(), "{:?}", entry.backend);
            draining.insert(entry.member.generation);
        }
        let drains = self.rig.control.drains.lock().unwrap();
        assert_eq!(
            drains.keys().copied().collect::<HashSet<_>>(),
            draining,
            "drains kept"
        );
        let stored = self.rig.store.0.lock().unwrap();
        for (pool, entry) in snapshot.entries() {
            let kept = stored.member(&pool.name, entry.member.generation);
            assert_eq!(
                kept,
                Some(&entry.member),
                "what is stored is what is published"
            );
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whoever_wins_a_race_of_operations_nothing_told_drained_is_claimed_and_every_drain_ends(
        steps in prop::collection::vec((any_step(), 0..6usize), 30..60),
    ) {
        on_a_standing_clock(async {
            let mut race = Race::new().await;
            for (step, polls) in &steps {
                race.take(step, *polls).await;
            }
            race.end().await;
        });
    }

    #[test]
    fn whoever_wins_a_race_of_rollouts_the_pool_is_served_by_one_whole_set(
        steps in prop::collection::vec((any_step_or_deploy(), 0..6usize), 30..60),
    ) {
        on_a_standing_clock(async {
            let mut race = Race::new().await;
            for (step, polls) in &steps {
                race.take(step, *polls).await;
            }
            race.pass_rollouts().await;
            race.end().await;
        });
    }
}
