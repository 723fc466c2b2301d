//! Who hears of a result, and that a panic of theirs ends nothing.

use super::*;
use crate::events::{About, Happening};

#[tokio::test(start_paused = true)]
async fn a_change_is_told_once_to_the_backend_the_events_and_the_callback_in_this_order() {
    let mut bench = Bench::new();
    let backend = backend(7);
    bench
        .checker
        .reconcile(vec![(Arc::clone(&backend), spec())]);
    bench.entered().await.good();
    bench.entered().await.good();
    assert_eq!(bench.changes.recv().await, Some((7, Health::Healthy, 1)));
    for _ in 0..3 {
        bench.entered().await.fail();
    }
    assert_eq!(bench.changes.recv().await, Some((7, Health::Unhealthy, 2)));
    let _sixth = bench.entered().await;
    assert!(bench.changes.try_recv().is_err());
    assert_eq!(backend.probe_counts(), (2, 3));
    let last = backend.last_probe().unwrap();
    assert_eq!(last.result, Err("status 503".into()));
    let told = bench.events.since(0, 10);
    let told: Vec<_> = told.iter().map(|e| (&e.about, &e.happening)).collect();
    let about = About {
        pool: Some("web".into()),
        backend: Some("a".into()),
        generation: Some(7),
        actor: None,
    };
    let change = |from, to, cause: &str| Happening::HealthChanged {
        from,
        to,
        cause: cause.into(),
    };
    assert_eq!(
        told,
        [
            (&about, &change("unknown", "healthy", "status 200")),
            (&about, &change("healthy", "unhealthy", "status 503")),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_probe_is_a_failed_probe_and_one_in_the_callback_ends_nothing() {
    let (entered, mut probes) = mpsc::unbounded_channel();
    let prober: Prober = Box::new(move |_, _| {
        let entered = entered.clone();
        Box::pin(async move {
            let _ = entered.send(());
            panic!("no {}", "good")
        })
    });
    let events = Arc::new(Events::new());
    let broken: OnChange = Box::new(|_| panic!("callback"));
    let checker = Checker::with_prober(Handle::current(), Arc::clone(&events), broken, prober);
    let backend = backend(1);
    checker.reconcile(vec![(Arc::clone(&backend), spec())]);
    for _ in 0..6 {
        probes.recv().await.unwrap();
    }
    assert_eq!(backend.health(), Health::Unhealthy);
    assert_eq!(events.since(0, 9).len(), 1);
    assert_eq!(
        backend.last_probe().unwrap().result,
        Err("the probe panicked, a bug in tidegate: no good".into())
    );
}
