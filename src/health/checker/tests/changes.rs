//! Other settings, or the same ones, while a generation is probed.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_unchanged_generation_is_not_touched_by_reconcile() {
    let mut bench = Bench::new();
    let backend = backend(1);
    let wanted = || vec![(Arc::clone(&backend), spec())];
    bench.checker.reconcile(wanted());
    let probe = bench.entered().await;
    bench.checker.reconcile(wanted());
    tokio::task::yield_now().await;
    assert!(!probe.is_over());
    let start = probe.begun;
    probe.good();
    for _ in 0..10 {
        assert!(bench.is_quiet_for(SECOND / 10).await);
        bench.checker.reconcile(wanted());
    }
    assert!(bench.entered().await.begun - start >= SECOND * 18 / 10);
}

#[tokio::test(start_paused = true)]
async fn changed_interval_and_thresholds_hold_from_now_on_and_keep_the_streak() {
    let mut bench = Bench::new();
    let backend = backend(1);
    let slow = HealthSpec {
        interval: 1000 * SECOND,
        rise: 5,
        ..spec()
    };
    let fast = HealthSpec {
        interval: 10 * SECOND,
        rise: 2,
        ..spec()
    };
    bench.checker.reconcile(vec![(Arc::clone(&backend), slow)]);
    let first = bench.entered().await;
    let start = first.begun;
    first.good();
    assert!(bench.is_quiet_for(5 * SECOND).await);
    bench.checker.reconcile(vec![(Arc::clone(&backend), fast)]);
    let second = bench.entered().await;
    let pause = second.begun - start;
    assert!(
        pause >= 9 * SECOND && pause <= 11 * SECOND + SECOND / 100,
        "{pause:?}"
    );
    second.good();
    assert_eq!(bench.changes.recv().await, Some((1, Health::Healthy, 1)));
}

#[tokio::test(start_paused = true)]
async fn another_question_is_asked_at_once_keeps_health_and_begins_the_streak_anew() {
    let mut bench = Bench::new();
    let backend = backend(1);
    backend.set_health(Health::Unhealthy);
    bench
        .checker
        .reconcile(vec![(Arc::clone(&backend), spec())]);
    let first = bench.entered().await;
    first.good();
    tokio::task::yield_now().await;
    // While it rests.
    let before = Instant::now();
    bench
        .checker
        .reconcile(vec![(Arc::clone(&backend), http("/b"))]);
    let second = bench.entered().await;
    assert_eq!(second.begun, before);
    assert_eq!(second.spec.kind, http("/b").kind);
    // While one is under way: that one is ended.
    bench
        .checker
        .reconcile(vec![(Arc::clone(&backend), http("/c"))]);
    let third = bench.entered().await;
    assert!(second.is_over());
    assert_eq!(third.begun, before);
    third.good();
    let fourth = bench.entered().await;
    assert_eq!(
        backend.health(),
        Health::Unhealthy,
        "the streak was another question's"
    );
    fourth.good();
    assert_eq!(bench.changes.recv().await, Some((1, Health::Healthy, 1)));
    assert_eq!(backend.probe_counts(), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn another_timeout_ends_the_probe_under_way_and_keeps_the_streak() {
    let mut bench = Bench::new();
    let backend = backend(1);
    bench
        .checker
        .reconcile(vec![(Arc::clone(&backend), spec())]);
    bench.entered().await.good();
    let second = bench.entered().await;
    let shorter = HealthSpec {
        timeout: SECOND,
        ..spec()
    };
    bench
        .checker
        .reconcile(vec![(Arc::clone(&backend), shorter)]);
    let third = bench.entered().await;
    assert!(second.is_over());
    assert_eq!(third.begun, second.begun);
    third.good();
    assert_eq!(bench.changes.recv().await, Some((1, Health::Healthy, 1)));
}
