//! Rollouts on a clock that stands: every phase, every way out, and what a restart makes of each.

mod callers;
mod corners;
mod stepping_in;
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
        self.restarted_with(&topology()).await
    }

    /// The same, where the file was changed meanwhile.
    async fn restarted_with(self, file: &Topology) -> Self {
        let model = self.store.0.lock().unwrap().clone();
        let store = Arc::new(InMemory(Mutex::new(model.clone()), AtomicBool::default()));
        let control = control(&store);
        control.start(Some(model), file).await.unwrap();
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
