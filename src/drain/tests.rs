use super::*;

/// Simulates the window: the most that close in one look, and how long it takes.
fn close_all(mut open: usize, spread: Duration) -> (usize, Duration) {
    let (mut most, mut at) = (0, Duration::ZERO);
    while open > 0 {
        let (due, gap) = share(open, spread.saturating_sub(at));
        assert!(gap >= LOOK_GAP_MIN);
        open -= due;
        most = most.max(due);
        if open > 0 {
            at += gap;
        }
    }
    (most, at)
}

/// At one look each ten milliseconds what was over two thousand was closed in one burst at the end.
#[test]
fn however_many_tunnels_there_are_they_close_evenly_over_the_window() {
    let spread = Duration::from_secs(20);
    for (open, most_max) in [(1, 1), (2, 1), (7, 1), (1000, 1), (2001, 2), (50_000, 26)] {
        let (most, took) = close_all(open, spread);
        assert!(most <= most_max, "{open}: {most} at once");
        let is_spread = open == 1 || took >= spread / 2;
        assert!(is_spread && took <= spread, "{open}: in {took:?}");
    }
    assert_eq!(close_all(9, Duration::ZERO).0, 9);
}

fn backend() -> Arc<Backend> {
    use crate::backend::{Admission, Gate, Identity};
    let identity = Identity {
        pool: crate::spec::PoolName::parse("web").unwrap(),
        id: crate::spec::BackendId::parse("a").unwrap(),
        generation: 1,
        address: crate::spec::Address::parse("127.0.0.1:1").unwrap(),
        target: crate::spec::Target::Tcp("127.0.0.1:1".parse().unwrap()),
    };
    Arc::new(Backend::new(identity, Admission::Added, Gate::Open))
}

/// An upstream connection that an exchange keeps just when the idle ones were closed, before it
/// gives its claim back: it had seen the gate open.
struct KeptLate {
    claim: Mutex<Option<crate::backend::Claim>>,
    kept: std::sync::atomic::AtomicUsize,
}

impl crate::backend::Connections for Arc<KeptLate> {
    fn count(&self) -> crate::backend::ConnectionCount {
        crate::backend::ConnectionCount {
            idle: self.kept.load(Ordering::Relaxed),
            ..Default::default()
        }
    }

    fn close_idle(&self) {
        self.kept.store(0, Ordering::Relaxed);
        if let Some(claim) = self.claim.lock().unwrap().take() {
            self.kept.store(1, Ordering::Relaxed);
            drop(claim);
        }
    }
}

#[tokio::test]
async fn what_is_sealed_has_no_connection_that_an_exchange_kept_meanwhile() {
    let backend = backend();
    let claim = backend.claim(&Arc::new(Exchange::new("GET", "/", None)));
    let kept = Arc::new(KeptLate {
        claim: Mutex::new(Some(claim.unwrap())),
        kept: Default::default(),
    });
    assert!(backend.connections_slot().set(Box::new(kept)).is_ok());
    let draining = crate::backend::Gate::Draining;
    backend.word().set_gate(draining).unwrap();
    let is_sealed = seal(&backend).await;
    let left = backend.connections().total();
    assert!(!is_sealed || left == 0, "sealed with {left}");
}

#[tokio::test]
async fn what_is_cut_while_a_drain_is_being_published_is_counted() {
    let backend = backend();
    let claim = backend.claim(&Arc::new(Exchange::new("GET", "/", None)));
    let claim = claim.unwrap();
    let drain = Drain::prepare(Arc::clone(&backend), DrainSpec::default());
    assert_eq!(drain.close().requests, 1);
    claim.was_cut();
    let draining = crate::backend::Gate::Draining;
    backend.word().set_gate(draining).unwrap();
    drain.start(|_| {}, |_| {});
    drop(claim);
    assert_eq!(drain.ended().await, End::Forced);
    assert_eq!(drain.cuts().requests, 1);
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_less_and_less_often_and_only_what_changed() {
    let backend = backend();
    let claim = || backend.claim(&Arc::new(Exchange::new("GET", "/", None)));
    let mut claims: Vec<_> = (0..4).map(|_| claim().unwrap()).collect();
    backend
        .word()
        .set_gate(crate::backend::Gate::Draining)
        .unwrap();
    let drain = Drain::prepare(Arc::clone(&backend), DrainSpec::default());
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let progress = move |drain: &Drain| {
        let left = drain.backend().reading().requests();
        tell.send((drain.took().as_secs(), left)).unwrap();
    };
    drain.start(progress, |_| {});
    // Seen by nobody: no time passes.
    tokio::task::yield_now().await;
    claims.pop();
    assert_eq!(told.recv().await, Some((1, 3)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    claims.pop();
    // After 1, 3 and 7 seconds, and nothing was new at 3.
    assert_eq!(told.recv().await, Some((7, 2)));
    tokio::time::sleep(Duration::from_secs(600)).await;
    claims.pop();
    let (at, left) = told.recv().await.unwrap();
    assert!((607..=637).contains(&at) && left == 1, "{at} {left}");
    drop(claims);
    assert_eq!(drain.ended().await, End::Clean);
    assert_eq!(told.recv().await, None, "told after the end");
}

/// From outside it is hardly seen: a probe that is given up is gone in the same millisecond.
#[tokio::test(start_paused = true)]
async fn the_end_waits_for_the_probe_under_way() {
    let backend = backend();
    let draining = crate::backend::Gate::Draining;
    backend.word().set_gate(draining).unwrap();
    let under_way = backend.probing().begin().await;
    let drain = Drain::prepare(Arc::clone(&backend), DrainSpec::default());
    drain.start(|_| {}, |_| {});
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(drain.end(), None);
    assert!(!backend.reading().is_sealed());
    drop(under_way);
    assert_eq!(drain.ended().await, End::Clean);
}
