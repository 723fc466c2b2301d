//! What a waiting drain is answered by: the release of the last claim, and no timer.
//!
//! Time stands unless everything waits for it; then it jumps to the next timer. So a test that sees
//! the same time before and after has seen that no timer was needed, of the drain's or of anybody.

use tokio::task::JoinHandle;

use super::*;

fn drain(rig: &Rig, call: DrainCall) -> JoinHandle<Answer> {
    let control = Arc::clone(&rig.control);
    tokio::spawn(async move {
        let a = reference_to("a");
        control.drain(actor(), web(), a, call).await
    })
}

fn wait(rig: &Rig) -> JoinHandle<Answer> {
    let control = Arc::clone(&rig.control);
    tokio::spawn(async move {
        let (a, hour) = (reference_to("a"), Duration::from_secs(3600));
        control.wait(web(), a, Wait::Drained, hour).await
    })
}

/// Every clock of the drain is set, and a long way off.
fn patient() -> DrainCall {
    DrainCall {
        wait: Some(Duration::from_secs(3600)),
        timeout: Some(Duration::from_secs(1800)),
        on_timeout: Some(crate::spec::OnTimeout::Close),
        close_after: Some(Some(Duration::from_secs(900))),
        ..DrainCall::default()
    }
}

/// Released behind the begin of the drain: the answer is there before any time has passed.
async fn assert_pushed(rig: &Rig, claim: Claim, calls: Vec<JoinHandle<Answer>>) {
    let begun = Instant::now();
    rig.settle().await;
    assert!(calls.iter().all(|call| !call.is_finished()), "too early");
    drop(claim);
    for call in calls {
        let answer = call.await.unwrap();
        assert_eq!(answer.outcome, Outcome::Clean, "{}", answer.message);
        assert!(answer.safe_to_kill);
        assert_eq!(Instant::now(), begun, "answered by a timer");
    }
}

#[test]
fn the_release_of_the_last_request_answers_a_waiting_drain_with_no_timer() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, claim) = rig.hold("a");
        let calls = vec![drain(&rig, patient())];
        assert_pushed(&rig, claim, calls).await;
    });
}

#[test]
fn the_end_of_the_last_tunnel_answers_a_waiting_drain_with_no_timer() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, mut claim) = rig.hold("a");
        claim.upgrade();
        let calls = vec![drain(&rig, patient())];
        assert_pushed(&rig, claim, calls).await;
    });
}

#[test]
fn a_request_that_became_a_tunnel_during_the_drain_answers_it_with_no_timer() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, mut claim) = rig.hold("a");
        let calls = vec![drain(&rig, patient())];
        rig.settle().await;
        claim.upgrade();
        assert_pushed(&rig, claim, calls).await;
    });
}

#[test]
fn of_several_exchanges_the_last_one_answers_and_none_before() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, first) = rig.hold("a");
        let (_, mut tunnel) = rig.hold("a");
        tunnel.upgrade();
        let (_, last) = rig.hold("a");
        let calls = vec![drain(&rig, patient())];
        rig.settle().await;
        drop(tunnel);
        rig.settle().await;
        drop(first);
        assert_pushed(&rig, last, calls).await;
    });
}

#[test]
fn everybody_who_waits_for_drained_is_answered_by_the_release() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, claim) = rig.hold("a");
        // One waits before there is a drain.
        let mut calls = vec![wait(&rig)];
        rig.settle().await;
        calls.push(drain(&rig, DrainCall::default()));
        calls.push(drain(&rig, patient()));
        rig.settle().await;
        calls.push(wait(&rig));
        assert_pushed(&rig, claim, calls).await;
    });
}

#[test]
fn a_drain_with_nothing_in_flight_is_answered_with_no_timer() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let begun = Instant::now();
        let waiting = wait(&rig);
        rig.settle().await;
        let answer = drain(&rig, patient()).await.unwrap();
        assert_eq!(answer.outcome, Outcome::Clean);
        assert_eq!(waiting.await.unwrap().outcome, Outcome::Clean);
        assert_eq!(Instant::now(), begun, "answered by a timer");
    });
}

#[test]
fn a_restore_answers_a_waiting_drain_with_no_timer() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, _claim) = rig.hold("a");
        let begun = Instant::now();
        let call = drain(&rig, patient());
        rig.settle().await;
        let a = reference_to("a");
        let ready = rig.control.ready(actor(), web(), a, None).await;
        assert_eq!(ready.outcome, Outcome::Done);
        assert_eq!(call.await.unwrap().outcome, Outcome::Restored);
        assert_eq!(Instant::now(), begun, "answered by a timer");
    });
}

/// The drain left over from before the restore must not end the one that came after it, nor keep it
/// from its end.
#[test]
fn a_drain_after_a_restore_is_answered_by_its_own_release() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, claim) = rig.hold("a");
        let first = drain(&rig, patient());
        rig.settle().await;
        let a = reference_to("a");
        rig.control.ready(actor(), web(), a, None).await;
        let calls = vec![drain(&rig, patient())];
        assert_eq!(first.await.unwrap().outcome, Outcome::Restored);
        assert_pushed(&rig, claim, calls).await;
    });
}
