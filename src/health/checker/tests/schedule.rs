//! When probes begin.

use super::*;

#[tokio::test(start_paused = true)]
async fn probes_start_at_once_and_then_an_interval_apart_within_the_jitter() {
    let mut bench = Bench::new();
    let begun = Instant::now();
    bench.checker.reconcile(vec![(backend(1), spec())]);
    let first = bench.entered().await;
    assert_eq!(first.begun, begun);
    let (mut last, mut pauses) = (first.begun, Vec::new());
    first.good();
    for _ in 0..300 {
        let probe = bench.entered().await;
        pauses.push(probe.begun - last);
        last = probe.begun;
        // Start to start: how long the probe takes does not matter.
        tokio::time::advance(SECOND).await;
        probe.good();
    }
    let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
    // A timer of tokio is up to a millisecond late.
    assert!(*least >= Duration::from_millis(1800), "{least:?}");
    assert!(*most <= Duration::from_millis(2202), "{most:?}");
    assert!(
        *most - *least > Duration::from_millis(200),
        "hardly any jitter"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_is_followed_at_once_and_never_overlapped() {
    let mut bench = Bench::new();
    bench.checker.reconcile(vec![(backend(1), spec())]);
    let slow = bench.entered().await;
    assert!(bench.is_quiet_for(60 * SECOND).await);
    slow.good();
    let released = Instant::now();
    assert!(bench.entered().await.begun - released <= Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn an_asked_probe_is_at_once_but_keeps_the_gap_and_moves_the_schedule() {
    let mut bench = Bench::new();
    let backend = backend(1);
    bench
        .checker
        .reconcile(vec![(Arc::clone(&backend), spec())]);
    let first = bench.entered().await;
    let start = first.begun;
    first.good();
    assert!(bench.is_quiet_for(SECOND).await);
    backend.ask_probe();
    let asked = bench.entered().await;
    assert_eq!(asked.begun - start, SECOND);
    let last = asked.begun;
    asked.good();
    // Asked over and over: one probe each gap and not more.
    for ask in 0..50 {
        tokio::time::advance(Duration::from_millis(1)).await;
        backend.ask_probe();
        assert!(bench.probes.try_recv().is_err(), "probed at ask {ask}");
        tokio::task::yield_now().await;
    }
    let next = bench.entered().await;
    let gap = next.begun - last;
    assert!(
        gap >= PROBE_GAP_MIN && gap <= PROBE_GAP_MIN * 102 / 100,
        "{gap:?}"
    );
    next.good();
    // All those asks are answered by it; the next one is an interval after it.
    assert!(bench.is_quiet_for(1799 * SECOND / 1000).await);
    bench.entered().await.good();
}

#[tokio::test(start_paused = true)]
async fn an_ask_during_a_probe_is_answered_by_another_one() {
    let mut bench = Bench::new();
    let backend = backend(1);
    bench
        .checker
        .reconcile(vec![(Arc::clone(&backend), spec())]);
    let first = bench.entered().await;
    let start = first.begun;
    backend.ask_probe();
    first.good();
    let gap = bench.entered().await.begun - start;
    assert!(
        gap >= PROBE_GAP_MIN && gap <= PROBE_GAP_MIN * 102 / 100,
        "{gap:?}"
    );
}
