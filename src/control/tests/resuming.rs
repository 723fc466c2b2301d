//! What ends a pause: somebody, its time, a wait in vain; and the next process goes on with it.

use super::pausing::{assert_paused, claim, ends, pause, resume, seconds};
use super::*;
use crate::pool::rollout::Pause;

/// As a process leaves it.
fn stored(until: UnixMillis) -> Pause {
    Pause {
        number: 0,
        actor: "before".to_owned(),
        since: 0,
        until,
    }
}

#[test]
fn a_pause_whose_requests_do_not_end_in_time_is_taken_back() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, held) = rig.hold("a");
        let begun = Instant::now();
        let answer = pause(&rig, "test", None, None).await.unwrap();
        assert_eq!(Instant::now(), begun + seconds(5));
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (
                Outcome::NotYet,
                "web: 1 request still in flight after 5s; it was resumed"
            )
        );
        assert_eq!(
            answer.hint.as_deref(),
            Some("`pause web --wait 30s` waits longer, `pause web --no-wait` does not wait")
        );
        assert_eq!(answer.in_flight.len(), 1);
        assert_eq!(answer.in_flight[0].path, "/slow");
        assert_paused(&rig, false);
        assert_eq!(ends(&rig), ["in_flight"]);
        drop(held);
    });
}

#[test]
fn a_pool_resumes_by_itself_when_the_time_of_its_last_pause_is_over() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        // Both in one millisecond of the wall: told apart all the same.
        pause(&rig, "test", Some(10), None).await.unwrap();
        tokio::time::sleep(seconds(8)).await;
        pause(&rig, "test", Some(10), None).await.unwrap();
        tokio::time::sleep(seconds(9)).await;
        assert_paused(&rig, true);
        tokio::time::sleep(seconds(2)).await;
        rig.settle().await;
        assert_paused(&rig, false);
        // Shorter than the one before, too.
        pause(&rig, "test", Some(100), None).await.unwrap();
        pause(&rig, "test", Some(1), None).await.unwrap();
        tokio::time::sleep(seconds(2)).await;
        rig.settle().await;
        assert_paused(&rig, false);
        // The clock of one that was resumed ends no later one.
        pause(&rig, "test", Some(10), None).await.unwrap();
        resume(&rig).await;
        pause(&rig, "test", Some(100), None).await.unwrap();
        tokio::time::sleep(seconds(50)).await;
        assert_paused(&rig, true);
        assert_eq!(ends(&rig), ["ttl", "ttl", "asked"]);
    });
}

#[test]
fn a_pause_ends_by_itself_also_if_that_cannot_be_stored() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        pause(&rig, "test", Some(10), None).await.unwrap();
        rig.store.1.store(true, Ordering::Relaxed);
        let refused = resume(&rig).await;
        assert_eq!(refused.outcome, Outcome::Error);
        assert_paused(&rig, true);
        tokio::time::sleep(seconds(11)).await;
        rig.settle().await;
        assert!(claim(&rig).is_ok());
        assert_eq!(ends(&rig), ["ttl"]);
    });
}

#[test]
fn a_pause_whose_time_is_over_before_its_wait_is_taken_back_too() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, held) = rig.hold("a");
        let answer = pause(&rig, "test", Some(2), Some(30)).await.unwrap();
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (
                Outcome::NotYet,
                "web: 1 request still in flight after 2s; it was resumed"
            )
        );
        assert_eq!(ends(&rig), ["ttl"]);
        drop(held);
    });
}

#[test]
fn who_waits_for_a_pause_that_somebody_ends_is_told_at_once() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, held) = rig.hold("a");
        let begun = Instant::now();
        let call = pause(&rig, "test", None, None);
        rig.settle().await;
        resume(&rig).await;
        let answer = call.await.unwrap();
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (
                Outcome::Restored,
                "web was resumed while requests were in flight"
            )
        );
        assert_eq!(
            answer.hint.as_deref(),
            Some("somebody else did that; its requests are not held")
        );
        assert_eq!(Instant::now(), begun);
        drop(held);
    });
}

#[test]
fn a_pause_in_vain_leaves_the_later_pause_of_another() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        let (_, held) = rig.hold("a");
        let first = pause(&rig, "one", None, Some(5));
        tokio::time::sleep(seconds(2)).await;
        let second = pause(&rig, "two", None, Some(30));
        let answer = first.await.unwrap();
        assert_eq!(
            (answer.outcome, answer.message.as_str()),
            (
                Outcome::NotYet,
                "web: 1 request still in flight after 5s; it stays paused by two"
            )
        );
        assert_paused(&rig, true);
        drop(held);
        assert_eq!(second.await.unwrap().outcome, Outcome::Done);
        assert_paused(&rig, true);
        assert_eq!(ends(&rig), Vec::<&str>::new());
    });
}

#[test]
fn a_resumed_pool_without_an_eligible_backend_says_so() {
    on_a_standing_clock(async {
        let rig = Rig::new().await;
        pause(&rig, "test", None, None).await.unwrap();
        for id in ["a", "b"] {
            rig.observe(&rig.backend(id), Health::Unhealthy);
        }
        let answer = resume(&rig).await;
        assert_eq!(answer.outcome, Outcome::Done);
        assert_eq!(
            answer.warnings,
            ["web has no eligible backend: its requests are held until there is one"]
        );
    });
}

#[test]
fn the_next_process_goes_on_with_a_pause_until_its_time_is_over() {
    on_a_standing_clock(async {
        let first = Rig::new().await;
        let mut left = first.store.0.lock().unwrap().clone();
        let pause = &mut left.pools.get_mut(&web()).unwrap().pause;
        *pause = Some(stored(now_millis() + 10_000));
        let rig = Rig::after(Some(left)).await;
        assert_paused(&rig, true);
        tokio::time::sleep(seconds(9)).await;
        assert_paused(&rig, true);
        tokio::time::sleep(seconds(2)).await;
        rig.settle().await;
        assert_paused(&rig, false);
        assert_eq!(ends(&rig), ["ttl"]);
    });
}

#[test]
fn a_pause_whose_time_was_over_while_no_process_ran_is_over_at_the_start() {
    on_a_standing_clock(async {
        let first = Rig::new().await;
        let mut left = first.store.0.lock().unwrap().clone();
        let pause = &mut left.pools.get_mut(&web()).unwrap().pause;
        *pause = Some(stored(now_millis()));
        let rig = Rig::after(Some(left)).await;
        assert_paused(&rig, false);
        assert_eq!(ends(&rig), ["ttl"]);
    });
}

/// The clock of the machine was set back by years.
#[test]
fn a_stored_pause_ends_within_a_day_whatever_the_clock_of_the_wall_says() {
    on_a_standing_clock(async {
        let first = Rig::new().await;
        let mut left = first.store.0.lock().unwrap().clone();
        left.pools.get_mut(&web()).unwrap().pause = Some(stored(UnixMillis::MAX));
        let rig = Rig::after(Some(left)).await;
        assert_paused(&rig, true);
        tokio::time::sleep(seconds(25 * 60 * 60)).await;
        rig.settle().await;
        assert_paused(&rig, false);
    });
}
