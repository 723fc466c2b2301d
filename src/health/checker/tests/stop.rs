//! The end of a task: no result counts after it, and no connection is left.

use std::sync::OnceLock;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

#[tokio::test(start_paused = true)]
async fn stop_resolves_when_the_probe_is_over() {
    let mut bench = Bench::new();
    let (gone, stays) = (backend(1), backend(2));
    let both = vec![(Arc::clone(&gone), spec()), (Arc::clone(&stays), spec())];
    bench.checker.reconcile(both);
    let (first, second) = (bench.entered().await, bench.entered().await);
    bench.checker.reconcile(vec![(stays, spec())]);
    assert!(!first.is_over(), "reconcile does not wait");
    bench.checker.stop(first.generation).await;
    assert!(first.is_over());
    assert!(!second.is_over(), "the other one is not touched");
    assert!(gone.last_probe().is_none());
    // Also without a reconcile, for one that rests, a second time, and for one never known.
    second.good();
    bench.checker.stop(2).await;
    bench.checker.stop(2).await;
    bench.checker.stop(99).await;
    assert!(bench.is_quiet_for(3600 * SECOND).await);
}

#[tokio::test(start_paused = true)]
async fn a_result_after_the_order_to_stop_changes_nothing() {
    // The probe itself stops the task, in the very poll in which it answers.
    let checker: Arc<OnceLock<Arc<Checker>>> = Arc::default();
    let within = Arc::clone(&checker);
    let prober: Prober = Box::new(move |_, _| {
        let within = Arc::clone(&within);
        Box::pin(async move {
            within.get().unwrap().reconcile(Vec::new());
            Ok("too late".into())
        })
    });
    let events = Arc::new(Events::new());
    let unheard: OnChange = Box::new(|_| panic!("told of a change"));
    let built = Checker::with_prober(Handle::current(), Arc::clone(&events), unheard, prober);
    let built = checker.get_or_init(|| Arc::new(built));
    let backend = backend_at(1, Admission::AtStart, "127.0.0.1:9".parse().unwrap());
    built.reconcile(vec![(Arc::clone(&backend), spec())]);
    tokio::task::yield_now().await;
    built.stop(1).await;
    assert_eq!(backend.health(), Health::Unknown);
    assert!(backend.last_probe().is_none());
    assert!(events.since(0, 1).is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_stopped_and_wanted_again_is_probed_by_one_task_with_its_health_kept() {
    let mut bench = Bench::new();
    let backend = backend(1);
    backend.set_health(Health::Healthy);
    let wanted = || vec![(Arc::clone(&backend), spec())];
    bench.checker.reconcile(wanted());
    let first = bench.entered().await;
    bench.checker.reconcile(Vec::new());
    bench.checker.reconcile(wanted());
    bench.checker.reconcile(Vec::new());
    bench.checker.reconcile(wanted());
    let second = bench.entered().await;
    assert!(first.is_over(), "two probes at once");
    assert_eq!(backend.health(), Health::Healthy);
    second.good();
    let third = bench.entered().await;
    bench.checker.reconcile(Vec::new());
    bench.checker.stop(1).await;
    assert!(third.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_task_waits_for_the_end_of_its_predecessor() {
    let mut bench = Bench::new();
    let (ending, held) = watch::channel(Order::Stop);
    let order = Order::Probe(Arc::new(spec()));
    let _orders = bench.checker.start(backend(1), order, Some(ending));
    assert!(bench.is_quiet_for(3600 * SECOND).await);
    drop(held);
    bench.entered().await.good();
}

#[tokio::test(start_paused = true)]
async fn dropping_the_checker_ends_all_probes() {
    let mut bench = Bench::new();
    bench
        .checker
        .reconcile(vec![(backend(1), spec()), (backend(2), spec())]);
    let (mut first, mut second) = (bench.entered().await, bench.entered().await);
    drop(bench.checker);
    first.door.closed().await;
    second.door.closed().await;
    // The prober, which every task holds, goes with the last of them.
    assert!(bench.probes.recv().await.is_none());
}

#[tokio::test]
async fn no_connection_is_left_between_probes_or_after_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (changed, mut changes) = mpsc::unbounded_channel();
    let checker = Checker::new(Handle::current(), Arc::default(), move |backend| {
        let _ = changed.send(backend.health());
    });
    let backend = backend_at(1, Admission::AtStart, at);
    let patient = HealthSpec {
        timeout: 3600 * SECOND,
        interval: 3600 * SECOND,
        ..spec()
    };
    checker.reconcile(vec![(Arc::clone(&backend), patient)]);
    let (mut app, _) = listener.accept().await.unwrap();
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
    app.write_all(answer).await.unwrap();
    assert_eq!(changes.recv().await, Some(Health::Healthy));
    // The end of the stream, though this side never closed and the next probe is an hour away.
    app.read_to_end(&mut Vec::new()).await.unwrap();
    backend.ask_probe();
    let (mut app, _) = listener.accept().await.unwrap();
    checker.stop(1).await;
    let mut request = Vec::new();
    app.read_to_end(&mut request).await.unwrap();
    assert!(
        backend
            .last_probe()
            .is_some_and(|probe| probe.result.is_ok())
    );
    assert_eq!(
        backend.probe_counts(),
        (1, 0),
        "a probe that was stopped says nothing"
    );
}
