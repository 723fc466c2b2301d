//! Rollouts on a clock that stands: every phase, every way out, and what a restart makes of each.

mod corners;
mod trouble;

use super::*;
use crate::pool::rollout::{Decided, Past, TakenOut};
use crate::spec::{Intent, Share};

fn incoming(id: &str, port: u16) -> Incoming {
    Incoming {
        id: BackendId::parse(id).unwrap(),
        address: address(port),
        weight: Weight::default(),
    }
}

/// `c` at port 3 for `a` and `b`.
pub(super) fn c_for_all() -> RolloutCall {
    RolloutCall {
        add: vec![incoming("c", 3)],
        replace: Replace::All,
        canary: None,
        keep_standby: false,
        min_eligible: None,
        force: false,
        dry_run: false,
        key: None,
        lock_wait: Duration::ZERO,
        clocks: RolloutClocks::default(),
        drain: DrainCall::default(),
    }
}

impl Rig {
    fn begin(&self, call: RolloutCall) -> tokio::task::JoinHandle<Answer> {
        let control = Arc::clone(&self.control);
        tokio::spawn(async move { control.rollout(actor(), web(), call).await })
    }

    /// Begins it, and waits until it is under way.
    async fn under_way(&self, call: RolloutCall) -> tokio::task::JoinHandle<Answer> {
        let begun = self.begin(call);
        self.settle().await;
        assert!(self.phase().is_some(), "it has not begun");
        begun
    }

    fn phase(&self) -> Option<String> {
        let status = self.control.pool_status(&web()).unwrap();
        status.rollout.map(|rollout| rollout.phase)
    }

    /// Passes the gate.
    async fn open(&self) {
        self.observe(&self.backend("c"), Health::Healthy);
        tokio::time::sleep(Duration::from_millis(5001)).await;
        self.settle().await;
    }

    /// Ids of `web` with this intent.
    fn with(&self, intent: Intent) -> Vec<String> {
        let snapshot = self.control.pools.load();
        let pool = snapshot.pool(&web()).unwrap();
        let of = pool.entries.iter().filter(|e| e.member.intent == intent);
        of.map(|entry| entry.member.id.to_string()).collect()
    }

    /// Whether the disk is full.
    fn is_full(&self, is_full: bool) {
        self.store.1.store(is_full, Ordering::Relaxed);
    }

    async fn last(&self) -> Past {
        let model = self.control.model.lock().await;
        model.pools[&web()].history.last().cloned().unwrap()
    }

    /// What the next process makes of what is stored; its probes have seen nothing yet.
    async fn restarted(self) -> Self {
        let model = self.store.0.lock().unwrap().clone();
        let store = Arc::new(InMemory(Mutex::new(model.clone()), AtomicBool::default()));
        let control = Control::new(Parts {
            pools: Arc::new(Pools::new()),
            events: Arc::new(Events::new()),
            store: Arc::clone(&store) as Arc<dyn Store>,
            source: Box::new(NoFile),
            resolver: Box::new(Literals),
        });
        control.start(Some(model), &topology()).await.unwrap();
        Self { control, store }
    }
}

fn ids(answer: &Answer) -> Vec<&str> {
    answer.serving.iter().map(|one| one.id.as_str()).collect()
}

#[test]
fn a_rollout_moves_the_pool_once_the_new_ones_were_healthy_long_enough() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (exchange, claim) = rig.hold("a");
        let rollout = rig.under_way(c_for_all()).await;
        assert_eq!(rig.with(Intent::Active), ["a", "b"]);
        assert_eq!(rig.with(Intent::Standby), ["c"]);
        rig.observe(&rig.backend("c"), Health::Healthy);
        tokio::time::sleep(Duration::from_millis(4900)).await;
        assert_eq!(rig.phase().as_deref(), Some("gate"));
        tokio::time::sleep(Duration::from_millis(200)).await;
        rig.settle().await;
        assert_eq!(rig.phase().as_deref(), Some("bake"));
        assert_eq!(rig.with(Intent::Active), ["c"]);
        assert_eq!(rig.with(Intent::Standby), ["a", "b"]);
        tokio::time::sleep(Duration::from_millis(10_001)).await;
        rig.settle().await;
        assert_eq!(rig.with(Intent::Draining), ["a", "b"]);
        assert!(!rollout.is_finished(), "a still holds a request");
        drop((exchange, claim));
        let answer = rollout.await.unwrap();
        assert_eq!(answer.outcome, Outcome::Clean, "{}", answer.message);
        assert_eq!(
            answer.message,
            "web: c in service; a, b drained: clean; safe to kill"
        );
        assert!(answer.safe_to_kill);
        assert_eq!(ids(&answer), ["c"]);
        let status = answer.rollout.unwrap();
        assert_eq!(status.phase, "moved");
        assert!(status.replaced.iter().all(|one| one.safe_to_kill));
        assert!(status.added.iter().all(|one| !one.safe_to_kill));
        rig.settle().await;
        assert_eq!(rig.last().await.taken_out, TakenOut::Clean);
    });
}

#[test]
fn new_ones_that_never_get_healthy_leave_nothing() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let answer = rig.begin(c_for_all()).await.unwrap();
        assert_eq!(answer.outcome, Outcome::Failed);
        assert_eq!(
            answer.message,
            "rollout 1 of web failed: not healthy within 60s: c (no probe has ended)"
        );
        assert_eq!(
            answer.hint.as_deref(),
            Some("nothing of it is left; who served before serves: a, b")
        );
        assert_eq!(ids(&answer), ["a", "b"]);
        assert!(!answer.safe_to_kill, "the old ones serve");
        let added = &answer.rollout.as_ref().unwrap().added[0];
        assert_eq!(
            (added.state.as_str(), added.safe_to_kill),
            ("removed", true)
        );
        assert_eq!(rig.control.pool_status(&web()).unwrap().backends.len(), 2);
        assert_eq!(rig.last().await.decided, Decided::Failed);
    });
}

#[test]
fn a_failed_verdict_in_the_bake_brings_the_old_ones_back_in_one_snapshot() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let rollout = rig.under_way(c_for_all()).await;
        rig.open().await;
        let held = rig.hold("c");
        rig.observe(&rig.backend("c"), Health::Unhealthy);
        rig.settle().await;
        assert_eq!(rig.with(Intent::Active), ["a", "b"]);
        assert_eq!(rig.with(Intent::Draining), ["c"]);
        drop(held);
        let answer = rollout.await.unwrap();
        assert_eq!(answer.outcome, Outcome::Failed);
        assert_eq!(
            answer.message,
            "rollout 1 of web reverted: failed its probes: c (no probe has ended)"
        );
        assert_eq!(rig.with(Intent::Draining), [""; 0], "it is forgotten");
        assert_eq!(rig.last().await.decided, Decided::Reverted);
    });
}

#[test]
fn a_share_of_errors_in_the_bake_brings_the_old_ones_back() {
    struct Fixed(AtomicU64);
    impl crate::backend::Counts for Fixed {
        fn tally(&self) -> crate::backend::Tally {
            let errors = self.0.load(Ordering::Relaxed);
            crate::backend::Tally {
                answers: errors * 20,
                errors,
            }
        }
    }
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let rollout = rig.under_way(c_for_all()).await;
        rig.open().await;
        let counts = Fixed(5.into());
        assert!(
            rig.backend("c")
                .metrics_slot()
                .set(Box::new(counts))
                .is_ok()
        );
        let answer = rollout.await.unwrap();
        assert_eq!(
            answer.message,
            "rollout 1 of web reverted: too many errors: c 5 of 100 (5.0%), a+b 0 of 0 (0.0%)"
        );
        let errors = answer.rollout.unwrap().errors.unwrap();
        assert_eq!((errors.new_answers, errors.new_errors), (100, 5));
        assert!(errors.judged);
        assert_eq!(rig.with(Intent::Active), ["a", "b"]);
    });
}

#[test]
fn at_every_snapshot_the_pool_is_served_by_the_old_set_or_the_new() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (pools, all) = (Arc::clone(rig.control.pools()), Arc::clone(&seen));
        let mut published = pools.follow();
        tokio::spawn(async move {
            while published.changed().await.is_ok() {
                let snapshot = pools.load();
                let pool = snapshot.pool(&web()).unwrap();
                let active = pool.entries.iter();
                let active = active.filter(|e| e.member.intent == Intent::Active);
                let ids: Vec<String> = active.map(|e| e.member.id.to_string()).collect();
                all.lock().unwrap().push(ids.join(","));
            }
        });
        for way_out in ["finish", "abort"] {
            let rollout = rig.under_way(c_for_all()).await;
            rig.open().await;
            match way_out {
                "abort" => drop(rig.control.abort(actor(), web(), None).await),
                _ => drop(rollout.await.unwrap()),
            }
            if way_out == "finish" {
                let back = rig.control.ready(actor(), web(), reference_to("a"), None);
                back.await;
                rig.observe(&rig.backend("a"), Health::Healthy);
                let mut call = c_for_all();
                call.add = vec![incoming("b", 2)];
                call.replace = Replace::These(vec![BackendId::parse("c").unwrap()]);
                let next = rig.under_way(call).await;
                rig.observe(&rig.backend("b"), Health::Healthy);
                next.await.unwrap();
            }
        }
        let mut seen = seen.lock().unwrap().clone();
        seen.dedup();
        assert_eq!(seen, ["a,b", "c", "c,a", "a,b", "c", "a,b"]);
    });
}

#[test]
fn an_abort_leaves_the_old_ones_whatever_the_phase() {
    on_a_standing_clock(async {
        for phase in ["gate", "canary", "bake"] {
            let rig = Rig::new().await;
            let mut call = c_for_all();
            call.canary = (phase == "canary").then(|| Share::percent(10));
            let rollout = rig.under_way(call).await;
            if phase != "gate" {
                rig.open().await;
            }
            assert_eq!(rig.phase().as_deref(), Some(phase));
            let answer = rig.control.abort(actor(), web(), None).await;
            assert_eq!(
                answer.outcome,
                Outcome::Clean,
                "{phase}: {}",
                answer.message
            );
            assert_eq!(
                answer.message,
                "web: rollout 1 was taken back; a, b in service; c drained: clean; safe to kill"
            );
            assert!(answer.safe_to_kill);
            let told = rollout.await.unwrap();
            match phase {
                "canary" => assert_eq!(told.outcome, Outcome::Done),
                _ => assert_eq!(told.message, "rollout 1 of web aborted by test"),
            }
            assert_eq!(rig.with(Intent::Active), ["a", "b"]);
            assert_eq!(rig.control.pool_status(&web()).unwrap().backends.len(), 2);
            let again = rig.control.abort(actor(), web(), None).await;
            assert_eq!(again.message, "no rollout is under way in web");
        }
    });
}

#[test]
fn a_canary_is_open_until_it_is_promoted() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let mut call = c_for_all();
        call.canary = Some(Share::percent(10));
        let rollout = rig.under_way(call).await;
        rig.open().await;
        let answer = rollout.await.unwrap();
        assert_eq!(answer.outcome, Outcome::Done);
        assert_eq!(
            answer.message,
            "web: the canary of rollout 1 is open: 10% of new requests to c"
        );
        assert!(!answer.safe_to_kill);
        assert_eq!(rig.with(Intent::Active), ["a", "b", "c"]);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let share = Share::parse("25.5%").unwrap();
        let answer = rig.control.canary(actor(), web(), share).await;
        assert_eq!(
            answer.message,
            "web: the canary of rollout 1 is open: 25.5% of new requests to c"
        );
        for held in ["a", "c"] {
            let call = DrainCall::default();
            let drain = rig.control.drain(actor(), web(), reference_to(held), call);
            let refused = drain.await;
            assert_eq!(refused.outcome, Outcome::Refused);
            assert_eq!(
                refused.message,
                format!(
                    "web/{held} is part of rollout 1 of web, which is under way: canary, by test"
                )
            );
        }
        let answer = rig.control.promote(actor(), web(), None).await;
        assert_eq!(answer.outcome, Outcome::Clean, "{}", answer.message);
        assert_eq!(rig.with(Intent::Active), ["c"]);
        let timings = answer.rollout.unwrap().timings;
        // They are of the wall clock, which does not stand.
        assert!(timings.gate_ms.is_some() && timings.canary_ms.is_some());
        assert!(timings.bake_ms.is_some() && timings.drain_ms.is_some());
        let again = rig.control.promote(actor(), web(), None).await;
        assert_eq!(again.message, "no canary is open in web");
    });
}

#[test]
fn a_set_that_was_kept_comes_back_at_once() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let mut call = c_for_all();
        call.keep_standby = true;
        let rollout = rig.under_way(call).await;
        rig.open().await;
        let answer = rollout.await.unwrap();
        assert_eq!(answer.outcome, Outcome::Done);
        assert_eq!(answer.message, "web: c in service; a, b on standby");
        assert!(!answer.safe_to_kill);
        rig.observe(&rig.backend("b"), Health::Unhealthy);
        let call = RollbackCall::default();
        let refused = rig.control.rollback(actor(), web(), call.clone()).await;
        assert_eq!(
            refused.message,
            "web: not healthy now: b (no probe has ended)"
        );
        assert_eq!(rig.with(Intent::Active), ["c"]);
        rig.observe(&rig.backend("b"), Health::Healthy);
        let answer = rig.control.rollback(actor(), web(), call.clone()).await;
        assert_eq!(answer.outcome, Outcome::Clean, "{}", answer.message);
        assert_eq!(
            answer.message,
            "web: a, b in service; c drained: clean; safe to kill"
        );
        assert_eq!(rig.with(Intent::Active), ["a", "b"]);
        let again = rig.control.rollback(actor(), web(), call).await;
        assert_eq!(
            (again.outcome, again.message),
            (answer.outcome, answer.message)
        );
        assert_eq!(rig.with(Intent::Active), ["a", "b"]);
        assert_eq!(rig.control.history(&web()).await.unwrap().len(), 2);
    });
}

#[test]
fn a_set_that_is_drained_does_not_come_back_by_itself() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let rollout = rig.under_way(c_for_all()).await;
        rig.open().await;
        assert_eq!(rollout.await.unwrap().outcome, Outcome::Clean);
        let call = RollbackCall::default();
        let gone = rig.control.rollback(actor(), web(), call).await;
        assert_eq!(
            gone.message,
            "web/a is drained: the set before rollout 1 is not there any more"
        );
        assert_eq!(
            gone.hint.as_deref(),
            Some(
                "start what is gone and roll it out: `tidegate rollout web --add a=127.0.0.1:1 --add b=127.0.0.1:2 --replace c`"
            )
        );
    });
}

#[test]
fn a_set_that_still_drains_comes_back_whole_or_not_at_all() {
    on_a_standing_clock(async {
        for (holding, comes_back) in [(["a", "b"].as_slice(), true), (&["a"], false)] {
            let rig = Rig::new().await;
            let held: Vec<_> = holding.iter().map(|id| rig.hold(id)).collect();
            let mut call = c_for_all();
            call.drain.wait = Some(Duration::from_secs(1));
            let rollout = rig.under_way(call).await;
            rig.open().await;
            assert_eq!(rollout.await.unwrap().outcome, Outcome::NotYet);
            let rollback = RollbackCall::default();
            let answer = rig.control.rollback(actor(), web(), rollback).await;
            rig.settle().await;
            if comes_back {
                assert_eq!(answer.outcome, Outcome::Clean, "{}", answer.message);
                assert_eq!(rig.with(Intent::Active), ["a", "b"]);
                let history = rig.control.history(&web()).await.unwrap();
                assert_eq!(history[1].taken_out.as_deref(), Some("restored"));
            } else {
                assert_eq!(answer.outcome, Outcome::Refused, "{}", answer.message);
                assert_eq!(rig.with(Intent::Active), ["c"]);
            }
            drop(held);
            rig.settle().await;
            for backend in rig.backends() {
                let reading = backend.reading();
                assert!(reading.is_sealed() || !reading.is_draining(), "{backend:?}");
            }
        }
    });
}

#[test]
fn a_second_rollout_is_told_who_is_before_it_or_waits() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let first = rig.under_way(c_for_all()).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut second = c_for_all();
        second.add = vec![incoming("d", 9)];
        let refused = rig.begin(second.clone()).await.unwrap();
        assert_eq!(refused.outcome, Outcome::Refused);
        let message = "rollout 1 of web is under way: gate, by test, begun";
        assert!(refused.message.starts_with(message), "{}", refused.message);
        second.lock_wait = Duration::from_secs(3600);
        let waits = rig.begin(second);
        rig.open().await;
        assert_eq!(first.await.unwrap().outcome, Outcome::Clean);
        rig.settle().await;
        rig.observe(&rig.backend("d"), Health::Healthy);
        assert_eq!(waits.await.unwrap().outcome, Outcome::Clean);
        assert_eq!(rig.with(Intent::Active), ["d"]);
    });
}

#[test]
fn a_retried_call_joins_the_first_by_its_key() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let mut call = c_for_all();
        call.key = Some("deploy-7".to_owned());
        let first = rig.under_way(call.clone()).await;
        let second = rig.begin(call.clone());
        rig.open().await;
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert_eq!(first.message, second.message);
        assert_eq!(second.outcome, Outcome::Clean);
        let third = rig.begin(call.clone()).await.unwrap();
        assert_eq!(third.outcome, Outcome::Clean);
        assert_eq!(third.rollout.unwrap().number, 1);
        call.add = vec![incoming("d", 9)];
        let other = rig.begin(call).await.unwrap();
        assert_eq!(
            other.message,
            "the key \"deploy-7\" is that of rollout 1 of web, which brought in c"
        );
    });
}

#[test]
fn the_same_set_again_is_already_serving() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let held = rig.hold("a");
        let mut call = c_for_all();
        call.replace = Replace::These(vec![id(0), id(1)]);
        call.drain.wait = Some(Duration::from_secs(1));
        let rollout = rig.under_way(call.clone()).await;
        rig.open().await;
        assert_eq!(rollout.await.unwrap().outcome, Outcome::NotYet);
        // Without a key: what it took out still drains, and that is what is to be known.
        let again = rig.begin(call.clone()).await.unwrap();
        assert_eq!(again.outcome, Outcome::NotYet);
        drop(held);
        rig.settle().await;
        let again = rig.begin(call.clone()).await.unwrap();
        assert_eq!(again.outcome, Outcome::Done);
        assert_eq!(again.message, "web: already serving: c");
        assert!(again.safe_to_kill);
        assert_eq!(rig.control.history(&web()).await.unwrap().len(), 1);
    });
}

#[test]
fn a_restart_leaves_the_old_set_before_the_publish_and_the_new_one_after_it() {
    on_a_standing_clock(async {
        for phase in ["gate", "canary", "bake"] {
            let rig = Rig::new().await;
            let mut call = c_for_all();
            call.canary = (phase == "canary").then(|| Share::percent(10));
            drop(rig.under_way(call).await);
            if phase != "gate" {
                rig.open().await;
            }
            assert_eq!(rig.phase().as_deref(), Some(phase));
            let rig = rig.restarted().await;
            for backend in rig.backends() {
                rig.observe(&backend, Health::Healthy);
            }
            rig.settle().await;
            if phase == "gate" {
                assert_eq!(rig.phase(), None);
                assert_eq!(rig.control.pool_status(&web()).unwrap().backends.len(), 2);
                let past = rig.last().await;
                assert_eq!(past.decided, Decided::Failed);
                assert_eq!(past.taken_out, TakenOut::Clean);
                assert_eq!(
                    past.cause,
                    "the proxy was stopped before the new ones served"
                );
                continue;
            }
            assert_eq!(rig.phase().as_deref(), Some(phase));
            let answer = match phase {
                "canary" => rig.control.promote(actor(), web(), None).await,
                _ => {
                    tokio::time::sleep(Duration::from_secs(11)).await;
                    rig.settle().await;
                    let mut call = c_for_all();
                    call.drain.wait = Some(Duration::from_secs(1));
                    rig.begin(call).await.unwrap()
                }
            };
            assert!(answer.safe_to_kill, "{phase}: {}", answer.message);
            assert_eq!(rig.with(Intent::Active), ["c"]);
            assert_eq!(rig.last().await.decided, Decided::Moved);
        }
    });
}

#[test]
fn a_process_that_serves_another_pool_too_is_not_called_safe_to_kill() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let mut call = c_for_all();
        call.add = vec![incoming("c", 4)]; // where api/a lives
        let rollout = rig.under_way(call).await;
        let answer = rig.control.abort(actor(), web(), None).await;
        assert_eq!(answer.outcome, Outcome::Restored);
        assert_eq!(
            answer.hint.as_deref(),
            Some("do not kill what is in use elsewhere")
        );
        assert_eq!(
            answer.message,
            "web: rollout 1 was taken back; a, b in service; c drained: clean; not safe to kill: the address is live elsewhere"
        );
        assert!(!answer.safe_to_kill);
        assert!(!answer.rollout.unwrap().added[0].safe_to_kill);
        assert_eq!(rollout.await.unwrap().outcome, Outcome::Failed);
        let mut call = c_for_all();
        call.replace = Replace::These(vec![id(0)]);
        let api = PoolName::parse("api").unwrap();
        let add = AddCall {
            id: id(1),
            address: address(1),
            weight: Weight::default(),
            intent: Intent::Active,
            wait: Some(Duration::ZERO),
        };
        assert_eq!(
            rig.control.add(actor(), api, add).await.outcome,
            Outcome::Begun
        );
        let refused = rig.begin(call).await.unwrap();
        assert_eq!(
            refused.message,
            "web: a would not be safe to kill: 127.0.0.1:1 is live in api/b too"
        );
    });
}

#[test]
fn refusals_say_what_is_in_the_way_and_change_nothing() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let these = |ids: &[&str]| {
            let parsed = ids.iter().map(|id| BackendId::parse(id).unwrap());
            Replace::These(parsed.collect())
        };
        let call = |add: Vec<Incoming>, replace: Replace| RolloutCall {
            add,
            replace,
            ..c_for_all()
        };
        let table = [
            (
                call(vec![incoming("c", 3)], these(&["x"])),
                "pool \"web\" has no backend \"x\"",
                Outcome::Unknown,
            ),
            (
                call(vec![incoming("a", 3)], these(&["b"])),
                "a is live at 127.0.0.1:1; drain it first, or use another id",
                Outcome::Refused,
            ),
            (
                call(vec![incoming("c", 1)], these(&["b"])),
                "127.0.0.1:1 is live as a",
                Outcome::Refused,
            ),
            (
                call(vec![incoming("c", 3)], these(&["c"])),
                "web: c is both to come and to go",
                Outcome::Refused,
            ),
            (
                call(vec![incoming("a", 1), incoming("c", 3)], these(&["b"])),
                "web: a is active already; leave it out of those that come",
                Outcome::Refused,
            ),
            (
                RolloutCall {
                    min_eligible: Some(3),
                    ..call(vec![incoming("c", 3)], these(&["a"]))
                },
                "web: 2 would be eligible afterwards, fewer than the minimum of 3",
                Outcome::Refused,
            ),
            (
                RolloutCall {
                    dry_run: true,
                    ..call(vec![incoming("c", 3)], these(&["a"]))
                },
                "web: would bring in c (127.0.0.1:3) for a, which would drain; nothing was changed",
                Outcome::Done,
            ),
        ];
        let before = rig.store.0.lock().unwrap().clone();
        for (call, message, outcome) in table {
            let answer = rig.begin(call).await.unwrap();
            assert_eq!(
                (answer.message.as_str(), answer.outcome),
                (message, outcome)
            );
        }
        assert_eq!(*rig.store.0.lock().unwrap(), before);
    });
}
