//! Stepping in: canary, promote, abort, rollback.

use super::*;

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
