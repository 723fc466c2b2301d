//! Rollouts while nothing can be stored, and while nobody is healthy: they go on, end when they can,
//! and whoever waits is answered.

use super::*;

impl Rig {
    async fn pass(&self, secs: u64) {
        tokio::time::sleep(Duration::from_secs(secs)).await;
        self.settle().await;
    }
}

#[test]
fn each_step_that_cannot_be_stored_is_taken_when_it_can() {
    on_a_standing_clock(async {
        for (from, by, active) in [
            ("gate", "open", "c"),
            ("gate", "late", "a,b"),
            ("canary", "reverted", "a,b"),
            ("bake", "finish", "c"),
            ("bake", "reverted", "a,b"),
        ] {
            let rig = Rig::new().await;
            let mut call = c_for_all();
            call.canary = (from == "canary").then(|| Share::percent(10));
            let rollout = rig.under_way(call).await;
            if from != "gate" {
                rig.open().await;
            }
            let model = rig.store.0.lock().unwrap().clone();
            rig.is_full(true);
            match by {
                "open" => rig.observe(&rig.backend("c"), Health::Healthy),
                "reverted" => rig.observe(&rig.backend("c"), Health::Unhealthy),
                _ => {}
            }
            rig.pass(100).await;
            assert_eq!(rig.phase().as_deref(), Some(from), "{by}");
            assert_eq!(*rig.store.0.lock().unwrap(), model);
            rig.is_full(false);
            rig.pass(100).await;
            assert_eq!(rig.phase(), None, "{from} {by}");
            assert_eq!(rig.with(Intent::Active).join(","), active, "{from} {by}");
            let answer = rollout.await.unwrap();
            let outcome = match (from, active) {
                ("canary", _) => Outcome::Done,
                (_, "c") => Outcome::Clean,
                _ => Outcome::Failed,
            };
            assert_eq!(answer.outcome, outcome, "{}", answer.message);
        }
    });
}

#[test]
fn an_operation_that_cannot_be_stored_changes_nothing_and_says_so() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let message = "the state file could not be written, nothing was changed: no space left";
        rig.is_full(true);
        let begin = rig.begin(c_for_all()).await.unwrap();
        assert_eq!(
            (begin.outcome, begin.message.as_str()),
            (Outcome::Error, message)
        );
        rig.is_full(false);
        let mut call = c_for_all();
        call.canary = Some(Share::percent(10));
        drop(rig.under_way(call).await);
        rig.open().await;
        rig.is_full(true);
        let (control, web) = (&rig.control, web());
        let rollback = RollbackCall::default();
        for answer in [
            control
                .canary(actor(), web.clone(), Share::percent(20))
                .await,
            control.promote(actor(), web.clone(), None).await,
            control.abort(actor(), web.clone(), None).await,
            control.rollback(actor(), web.clone(), rollback).await,
        ] {
            assert_eq!(
                (answer.outcome, answer.message.as_str()),
                (Outcome::Error, message)
            );
            assert_eq!(rig.phase().as_deref(), Some("canary"));
        }
        rig.is_full(false);
        let answer = control.promote(actor(), web, None).await;
        assert_eq!(answer.outcome, Outcome::Clean, "{}", answer.message);
    });
}

/// With nobody to go back to it stays for a while, until one of the sets is healthy or somebody aborts
/// it; then things are as they were.
#[test]
fn a_bake_in_which_nobody_is_healthy_ends_by_whoever_gets_healthy_first_an_abort_or_its_time() {
    on_a_standing_clock(async {
        for way_out in ["new", "old", "abort", "time"] {
            let rig = Rig::new().await;
            let rollout = rig.under_way(c_for_all()).await;
            rig.open().await;
            for backend in rig.backends() {
                rig.observe(&backend, Health::Unknown);
            }
            rig.observe(&rig.backend("c"), Health::Unhealthy);
            rig.pass(60).await;
            assert_eq!(rig.phase().as_deref(), Some("bake"));
            let active = match way_out {
                "new" => {
                    rig.observe(&rig.backend("c"), Health::Healthy);
                    "c"
                }
                "old" => {
                    rig.observe(&rig.backend("a"), Health::Healthy);
                    "a,b"
                }
                "abort" => {
                    rig.control.abort(actor(), web(), None).await;
                    "a,b"
                }
                _ => "a,b",
            };
            rig.pass(11).await;
            assert_eq!(rig.phase(), None, "{way_out}");
            assert_eq!(rig.with(Intent::Active).join(","), active);
            let outcome = match way_out {
                "new" => Outcome::Clean,
                _ => Outcome::Failed,
            };
            assert_eq!(rollout.await.unwrap().outcome, outcome);
        }
    });
}

/// The history keeps the newest hundred: who waits for an older one is answered all the same.
#[test]
fn who_waits_for_a_rollout_that_left_the_history_is_answered() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let held = rig.hold("a");
        let mut call = c_for_all();
        call.drain.wait = Some(Duration::from_secs(24 * 60 * 60));
        call.key = Some("deploy-7".to_owned());
        let first = rig.under_way(call.clone()).await;
        rig.open().await;
        rig.pass(11).await;
        let joined = rig.begin(call);
        rig.settle().await;
        for number in 0..crate::pool::rollout::HISTORY_MAX as u64 {
            let mut call = c_for_all();
            call.add = vec![incoming("d", 9)];
            drop(rig.under_way(call).await);
            rig.control.abort(actor(), web(), None).await;
            assert_eq!(rig.last().await.number, number + 2);
        }
        drop(held);
        for waiter in [first, joined] {
            let answer = waiter.await.unwrap();
            assert_eq!(
                (answer.outcome, answer.message.as_str()),
                (
                    Outcome::Clean,
                    "web: c in service; a, b drained: clean; safe to kill"
                )
            );
            assert!(answer.safe_to_kill);
            assert_eq!(answer.rollout.unwrap().number, 1);
        }
    });
}

#[test]
fn a_key_is_of_its_pool_and_is_known_after_a_restart() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let mut call = c_for_all();
        call.key = Some("deploy-7".to_owned());
        drop(rig.under_way(call.clone()).await);
        let control = Arc::clone(&rig.control);
        let mut other = call.clone();
        other.add = vec![incoming("c", 5)];
        other.drain.wait = Some(Duration::ZERO);
        let elsewhere = control.rollout(actor(), pool(1), other).await;
        assert_eq!(elsewhere.outcome, Outcome::Begun, "{}", elsewhere.message);
        rig.open().await;
        let rig = rig.restarted().await;
        for backend in rig.backends() {
            rig.observe(&backend, Health::Healthy);
        }
        let joined = rig.begin(call.clone());
        rig.pass(11).await;
        let answer = joined.await.unwrap();
        assert_eq!(answer.outcome, Outcome::Clean, "{}", answer.message);
        assert_eq!(answer.rollout.unwrap().number, 1);
        let rig = rig.restarted().await;
        let again = rig.begin(call).await.unwrap();
        assert_eq!(again.outcome, Outcome::Clean, "{}", again.message);
        assert!(again.safe_to_kill);
    });
}
