//! What a pause keeps out and what it waits for; what ends it is in `resuming`. Time stands unless
//! everything waits for it, so an answer at the same time was not a timer's.

use tokio::task::JoinHandle;

use super::*;
use crate::pool::NoClaim;
use crate::pool::split::Draw;
use crate::spec::Intent;

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn pause(
    rig: &Rig,
    by: &str,
    ttl: Option<u64>,
    wait: Option<u64>,
) -> JoinHandle<Answer> {
    let (control, by) = (Arc::clone(&rig.control), Actor(by.to_owned()));
    let call = PauseCall {
        ttl: ttl.map(seconds),
        wait: wait.map(seconds),
    };
    tokio::spawn(async move { control.pause(by, web(), call).await })
}

pub(super) async fn resume(rig: &Rig) -> Answer {
    rig.control.resume(actor(), web()).await
}

pub(super) fn claim(rig: &Rig) -> Result<Claim, NoClaim> {
    let exchange = Arc::new(Exchange::new("GET", "/", None));
    rig.control
        .pools
        .claim(&web(), &exchange, &[], &mut Draw::default())
}

pub(super) fn assert_paused(rig: &Rig, is_paused: bool) {
    match claim(rig) {
        Ok(_) => assert!(!is_paused, "a claim was granted"),
        Err(why) => assert_eq!((is_paused, why), (true, NoClaim::Paused)),
    }
    let status = rig.control.pool_status(&web()).unwrap();
    assert_eq!(status.paused.is_some(), is_paused);
    let stored = rig.store.0.lock().unwrap().pools[&web()].pause.is_some();
    assert_eq!(stored, is_paused, "stored");
}

/// Causes of the pauses that ended, in order.
pub(super) fn ends(rig: &Rig) -> Vec<&'static str> {
    let events = rig.control.events.since(0, usize::MAX);
    let causes = events.iter().filter_map(|event| match event.happening {
        Happening::Resumed { cause, .. } => Some(cause),
        _ => None,
    });
    causes.collect()
}

#[test]
fn while_a_pool_is_paused_no_claim_is_granted_and_its_backends_stay_active_and_eligible() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let answer = pause(&rig, "test", None, None).await.unwrap();
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (
                Outcome::Done,
                "web is paused, no request is in flight; it resumes by itself in 60s"
            )
        );
        assert_eq!(
            answer.hint.as_deref(),
            Some(
                "a request is held for 10s at most (hold.timeout), then answered 503; `resume web` lets all go on"
            )
        );
        assert_paused(&rig, true);
        let status = rig.control.pool_status(&web()).unwrap();
        assert_eq!(status.eligible, 2);
        for backend in &status.backends {
            assert_eq!(
                (backend.intent.as_str(), backend.eligible),
                ("active", true)
            );
        }
        let paused = status.paused.unwrap();
        assert_eq!(paused.actor, "test");
        assert_eq!(paused.until_ms - paused.since_ms, 60_000);
        let other = Arc::new(Exchange::new("GET", "/", None));
        let of_other = rig
            .control
            .pools
            .claim(&pool(1), &other, &[], &mut Draw::default());
        assert!(of_other.is_ok(), "the other pool goes on");
        let answer = resume(&rig).await;
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (Outcome::Done, "web is resumed, nothing was held")
        );
        assert_paused(&rig, false);
        let answer = resume(&rig).await;
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (Outcome::Done, "web is not paused")
        );
        assert_eq!(ends(&rig), ["asked"]);
    });
}

/// It looked eligible, and the word of its backend would have granted the claim: the request was in the
/// pause's back when that said that nothing is in flight.
#[test]
fn a_request_that_chose_its_backend_before_the_pause_is_refused_by_the_word() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let chosen = rig.backend("a");
        pause(&rig, "test", None, None).await.unwrap();
        let exchange = Arc::new(Exchange::new("GET", "/", None));
        assert!(chosen.claim(&exchange).is_err());
        resume(&rig).await;
        assert!(chosen.claim(&exchange).is_ok());
    });
}

#[test]
fn the_end_of_the_last_request_answers_a_waiting_pause_with_no_timer() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, on_a) = rig.hold("a");
        let (_, on_b) = rig.hold("b");
        let (_, mut tunnel) = rig.hold("b");
        tunnel.upgrade();
        let begun = Instant::now();
        let call = pause(&rig, "test", None, None);
        rig.settle().await;
        drop(on_a);
        rig.settle().await;
        assert!(!call.is_finished(), "one is still in flight");
        drop(on_b);
        assert_eq!(call.await.unwrap().outcome, Outcome::Done);
        assert_eq!(Instant::now(), begun, "answered by a timer");
        assert_paused(&rig, true);
        drop(tunnel);
    });
}

#[test]
fn a_last_request_that_becomes_a_tunnel_answers_a_waiting_pause() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, mut request) = rig.hold("a");
        let begun = Instant::now();
        let call = pause(&rig, "test", None, None);
        rig.settle().await;
        request.upgrade();
        assert_eq!(call.await.unwrap().outcome, Outcome::Done);
        assert_eq!(Instant::now(), begun, "answered by a timer");
    });
}

#[test]
fn a_pause_that_does_not_wait_stays_whatever_is_in_flight() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, held) = rig.hold("a");
        let answer = pause(&rig, "test", None, Some(0)).await.unwrap();
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (
                Outcome::Begun,
                "web is paused, 1 request in flight; it resumes by itself in 60s"
            )
        );
        tokio::time::sleep(seconds(30)).await;
        assert_paused(&rig, true);
        drop(held);
    });
}

/// The change lock goes to the second pause before the first learns of the resume.
#[test]
fn a_pause_of_another_in_the_middle_of_the_wait_is_waited_for_too() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, held) = rig.hold("a");
        let first = pause(&rig, "one", None, None);
        rig.settle().await;
        let control = Arc::clone(&rig.control);
        let resumed = tokio::spawn(async move { control.resume(actor(), web()).await });
        let second = pause(&rig, "two", None, None);
        rig.settle().await;
        assert!(resumed.is_finished());
        assert!(!first.is_finished() && !second.is_finished());
        drop(held);
        for call in [first, second] {
            assert_eq!(call.await.unwrap().outcome, Outcome::Done);
        }
    });
}

#[test]
fn a_request_let_in_between_two_pauses_is_waited_for_by_both() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, on_a) = rig.hold("a");
        let (_, on_b) = rig.hold("b");
        let first = pause(&rig, "one", None, None);
        rig.settle().await;
        // Quiet, as far as the first has looked: `a`.
        drop(on_a);
        resume(&rig).await;
        let (_, again) = rig.hold("a");
        let second = pause(&rig, "two", None, None);
        rig.settle().await;
        drop(on_b);
        rig.settle().await;
        assert!(!second.is_finished());
        if first.is_finished() {
            assert_eq!(first.await.unwrap().outcome, Outcome::Restored);
        }
        drop(again);
        assert_eq!(second.await.unwrap().outcome, Outcome::Done);
    });
}

#[test]
fn operations_in_a_paused_pool_go_on_and_open_no_gate() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        pause(&rig, "test", None, None).await.unwrap();
        let (a, b) = (reference_to("a"), reference_to("b"));
        let control = &rig.control;
        let standby = StandbyCall::default();
        let answer = control.standby(actor(), web(), b.clone(), standby).await;
        assert_eq!(answer.outcome, Outcome::Done);
        let answer = control.ready(actor(), web(), b.clone(), None).await;
        assert_eq!(answer.outcome, Outcome::Done);
        let drained = control.drain(actor(), web(), a.clone(), DrainCall::default());
        let drained = drained.await;
        assert_eq!(drained.outcome, Outcome::Clean);
        assert!(drained.safe_to_kill);
        let refused = control.drain(actor(), web(), b.clone(), DrainCall::default());
        assert_eq!(refused.await.outcome, Outcome::Refused, "the last one");
        let forced = DrainCall {
            force: true,
            ..DrainCall::default()
        };
        let answer = control.drain(actor(), web(), b.clone(), forced).await;
        assert_eq!(answer.outcome, Outcome::Clean);
        let call = AddCall {
            id: id(0),
            address: address(1),
            weight: Weight::default(),
            intent: Intent::Active,
            wait: None,
        };
        let adding = {
            let control = Arc::clone(control);
            tokio::spawn(async move { control.add(actor(), web(), call).await })
        };
        rig.settle().await;
        let new = rig.backend("a");
        rig.observe(&new, Health::Healthy);
        assert_eq!(adding.await.unwrap().message, "web/a is healthy and active");
        let exchange = Arc::new(Exchange::new("GET", "/", None));
        assert!(new.claim(&exchange).is_err(), "the gate of the new one");
        assert_paused(&rig, true);
        resume(&rig).await;
        let granted = claim(&rig).unwrap();
        assert_eq!(granted.backend().generation(), new.generation());
    });
}

/// Its gate goes from draining to closed: it was open for a moment once.
#[test]
fn a_draining_backend_that_is_brought_back_in_a_paused_pool_gets_its_traffic_at_the_resume() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, tunnel) = rig.hold("a");
        let mut tunnel = tunnel;
        tunnel.upgrade();
        pause(&rig, "test", None, None).await.unwrap();
        let begin = DrainCall {
            wait: Some(Duration::ZERO),
            close_after: Some(None),
            ..DrainCall::default()
        };
        let a = reference_to("a");
        let begun = rig.control.drain(actor(), web(), a.clone(), begin).await;
        assert_eq!(begun.outcome, Outcome::Begun);
        let back = rig.control.ready(actor(), web(), a, None).await;
        assert_eq!(back.outcome, Outcome::Done);
        let exchange = Arc::new(Exchange::new("GET", "/", None));
        assert!(rig.backend("a").claim(&exchange).is_err());
        resume(&rig).await;
        assert!(rig.backend("a").claim(&exchange).is_ok());
    });
}

#[test]
fn a_pool_that_is_not_there_is_neither_paused_nor_resumed() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let none = PoolName::parse("none").unwrap();
        let call = PauseCall::default();
        let paused = rig.control.pause(actor(), none.clone(), call).await;
        let resumed = rig.control.resume(actor(), none).await;
        for answer in [paused, resumed] {
            assert_eq!(
                (answer.outcome, answer.message.as_str()),
                (Outcome::Unknown, "there is no pool \"none\"")
            );
        }
    });
}

#[test]
fn no_take_out_leaves_fewer_than_the_caller_wants_eligible() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let control = &rig.control;
        let drain = |min_eligible, force| {
            let call = DrainCall {
                min_eligible,
                force,
                ..DrainCall::default()
            };
            control.drain(actor(), web(), reference_to("a"), call)
        };
        let refused = drain(Some(2), false).await;
        assert_eq!(
            (refused.outcome, refused.message.as_str()),
            (
                Outcome::Refused,
                "web/a: 1 of 2 eligible backends would be left, fewer than the minimum of 2"
            )
        );
        assert_eq!(
            refused.hint.as_deref(),
            Some("add another one first, or use --force, or a smaller --min-eligible")
        );
        let call = StandbyCall {
            force: false,
            min_eligible: Some(2),
        };
        let refused = control
            .standby(actor(), web(), reference_to("a"), call)
            .await;
        assert_eq!(refused.outcome, Outcome::Refused);
        // One that is not eligible leaves as many as there were.
        rig.observe(&rig.backend("a"), Health::Unhealthy);
        assert_eq!(drain(Some(2), false).await.outcome, Outcome::Clean);
        let call = DrainCall {
            min_eligible: Some(2),
            force: true,
            ..DrainCall::default()
        };
        let forced = control.drain(actor(), web(), reference_to("b"), call).await;
        assert_eq!(forced.outcome, Outcome::Clean);
    });
}
