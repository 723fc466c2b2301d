//! Who is probed when: one task per generation.
//!
//! [`Checker::reconcile`] is given everything that is to be probed and starts, changes and stops
//! tasks until that is so; generations are told apart by number, and an unchanged one is not touched.
//! A task's life:
//!
//! ```text
//!  probing -> resting -> probing -> ...      until told to stop, from any step
//! ```
//!
//! The first probe is at once, the next an interval (10 % more or less) after the *start* of the one
//! before. A probe that is asked for ([`Backend::ask_probe`]) is at once too, but not sooner than
//! [`PROBE_GAP_MIN`] after the start of the last. Changed settings: another kind of probe is asked at
//! once, and ends one under way, as does another timeout; another interval counts from the start of
//! the last probe; `rise` and `fall` hold from the next result on. Health survives every change, the
//! streak all but another kind.
//!
//! What always holds:
//! - one generation has at most one probe at a time, even when it is stopped and wanted again;
//! - once a generation was told to stop, no result changes its health or its last probe any more;
//! - the task ends after its probe's connection is closed, so who waits for the one
//!   ([`Checker::stop`]) has waited for the other;
//! - a change of health is told in this order, once: the backend, the events, the callback;
//! - a panic in a probe is a failed probe, and one in the callback is logged; probing goes on.
//!
//! Any thread may call. `reconcile` takes the whole picture, so its callers must order their calls
//! as they order their publishes. The callback runs on the checker's runtime between two probes and
//! must not block; who awaits `stop` must not hold what the callback needs.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::judge::{Judge, Seen};
use super::probe::probe;
use crate::backend::{Backend, Generation, Health, ProbeReport};
use crate::events::{About, Events, Happening};
use crate::spec::HealthSpec;

/// Shortest time between the starts of two probes of one backend when they are asked for. A backend
/// whose connections fail a thousand times a second is probed ten times a second and not more.
pub const PROBE_GAP_MIN: Duration = Duration::from_millis(100);

/// Probes every wanted generation and says what follows from it. Dropping it ends all tasks.
pub struct Checker {
    runtime: Handle,
    shared: Arc<Shared>,
    /// Also those told to stop, until a later `reconcile` finds them ended: `stop` waits for them.
    tasks: Mutex<HashMap<Generation, Orders>>,
}

/// What all tasks use.
struct Shared {
    events: Arc<Events>,
    on_change: OnChange,
    prober: Prober,
}

type OnChange = Box<dyn Fn(&Arc<Backend>) + Send + Sync>;
type Prober = Box<dyn Fn(Arc<Backend>, Arc<HealthSpec>) -> Asking + Send + Sync>;
type Asking = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// What a task is to do. The task holds the read side of the channel while it applies a result, so
/// that an order to stop falls before or after that, never in between. `Stop` is the last order.
#[derive(Clone, PartialEq, Debug)]
enum Order {
    Probe(Arc<HealthSpec>),
    Stop,
}

/// The task's end of it is dropped last, when the probe and its connection are gone.
type Orders = watch::Sender<Order>;

impl Checker {
    /// Probes nothing yet. Tasks run on `runtime`; `on_change` is called after each change of health.
    pub fn new(
        runtime: Handle,
        events: Arc<Events>,
        on_change: impl Fn(&Arc<Backend>) + Send + Sync + 'static,
    ) -> Self {
        let prober: Prober = Box::new(|backend, spec| {
            Box::pin(async move {
                let identity = backend.identity();
                probe(&identity.target, &identity.address, &spec).await
            })
        });
        Self::with_prober(runtime, events, Box::new(on_change), prober)
    }

    fn with_prober(
        runtime: Handle,
        events: Arc<Events>,
        on_change: OnChange,
        prober: Prober,
    ) -> Self {
        Self {
            runtime,
            shared: Arc::new(Shared {
                events,
                on_change,
                prober,
            }),
            tasks: Mutex::default(),
        }
    }

    /// Has exactly these generations probed, each with its settings. Does not wait for the ends of
    /// those no longer wanted ([`Checker::stop`] does), but no result of theirs counts any more.
    pub fn reconcile(&self, wanted: Vec<(Arc<Backend>, HealthSpec)>) {
        let mut tasks = self.tasks();
        let kept: HashSet<_> = wanted.iter().map(|(b, _)| b.generation()).collect();
        tasks.retain(|generation, orders| {
            if !kept.contains(generation) {
                orders.send_replace(Order::Stop);
            }
            !orders.is_closed()
        });
        for (backend, spec) in wanted {
            let generation = backend.generation();
            let order = Order::Probe(Arc::new(spec));
            let previous = match tasks.remove(&generation) {
                Some(orders) if *orders.borrow() != Order::Stop => {
                    // The same once more is no news to the task: it compares.
                    orders.send_replace(order);
                    tasks.insert(generation, orders);
                    continue;
                }
                ending => ending,
            };
            tasks.insert(generation, self.start(backend, order, previous));
        }
    }

    /// Stops probing a generation, wanted or not, and resolves when its probe is over and the
    /// connection closed. At once, if there is none. A later `reconcile` may want it again.
    pub async fn stop(&self, generation: Generation) {
        let orders = self.tasks().get(&generation).cloned();
        if let Some(orders) = orders {
            orders.send_replace(Order::Stop);
            orders.closed().await;
        }
    }

    fn start(&self, backend: Arc<Backend>, order: Order, previous: Option<Orders>) -> Orders {
        let (orders, taken) = watch::channel(order);
        let task = Task {
            judge: Judge::new(backend.admission()),
            shared: Arc::clone(&self.shared),
            backend,
        };
        self.runtime.spawn(live(task, taken, previous));
        orders
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<Generation, Orders>> {
        // Nothing is half done in the map when a holder panics.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        for orders in self.tasks().values() {
            orders.send_replace(Order::Stop);
        }
    }
}

/// The whole life of a task. `orders` is a parameter and so is dropped after everything else.
async fn live(mut task: Task, mut orders: watch::Receiver<Order>, previous: Option<Orders>) {
    if let Some(previous) = previous {
        previous.closed().await;
    }
    let stop = orders.clone();
    tokio::select! {
        biased;
        () = told_to_stop(stop) => {}
        () = task.keep_probing(&mut orders) => {}
    }
}

async fn told_to_stop(mut orders: watch::Receiver<Order>) {
    // An error is a checker that is gone: the same.
    let _ = orders.wait_for(|order| *order == Order::Stop).await;
}

/// One generation being probed.
struct Task {
    backend: Arc<Backend>,
    shared: Arc<Shared>,
    judge: Judge,
}

impl Task {
    async fn keep_probing(&mut self, orders: &mut watch::Receiver<Order>) {
        while let Some(spec) = current(orders) {
            let begun = Instant::now();
            let asking = (self.shared.prober)(Arc::clone(&self.backend), Arc::clone(&spec));
            tokio::select! {
                biased;
                () = outdated(orders, &spec) => {}
                result = caught(asking) => {
                    self.learn(orders, &spec, begun.elapsed(), result);
                    self.rest(orders, &spec, begun).await;
                }
            }
            if current(orders).is_some_and(|now| now.kind != spec.kind) {
                self.judge.forget_streak();
            }
        }
    }

    /// Takes a result, unless the task was told to stop or to ask something else meanwhile.
    fn learn(
        &mut self,
        orders: &watch::Receiver<Order>,
        asked: &HealthSpec,
        took: Duration,
        result: Result<String, String>,
    ) {
        let (seen, cause) = match &result {
            Ok(text) => (Seen::Good, text.clone()),
            Err(text) => (Seen::Failed, text.clone()),
        };
        let report = ProbeReport {
            at: SystemTime::now(),
            took,
            result,
        };
        let (from, to) = {
            let order = orders.borrow();
            let spec = match &*order {
                Order::Probe(spec) if spec.kind == asked.kind => spec,
                _ => return,
            };
            self.backend.record_probe(report);
            let from = self.backend.health();
            let Some(to) = self.judge.observe(from, seen, spec) else {
                return;
            };
            self.backend.set_health(to);
            (from, to)
        };
        self.tell(from, to, cause);
    }

    fn tell(&self, from: Health, to: Health, cause: String) {
        let identity = self.backend.identity();
        let about = About {
            pool: Some(identity.pool.to_string()),
            backend: Some(identity.id.to_string()),
            generation: Some(identity.generation),
            actor: None,
        };
        let happening = Happening::HealthChanged {
            from: from.as_str(),
            to: to.as_str(),
            cause,
        };
        let told = catch_unwind(AssertUnwindSafe(|| {
            self.shared.events.emit(about, happening);
            (self.shared.on_change)(&self.backend);
        }));
        if let Err(panic) = told {
            tracing::error!(
                backend = %format_args!("{}/{}@{}", identity.pool, identity.id, identity.generation),
                health = to.as_str(),
                panic = message(&*panic),
                "a change of health was not passed on: this is a bug in tidegate",
            );
        }
    }

    /// Until the next probe is due.
    async fn rest(&self, orders: &mut watch::Receiver<Order>, asked: &HealthSpec, begun: Instant) {
        // Drawn once, so that a change of the interval moves the due time and nothing else does.
        let permille = fastrand::u32(JITTER_PERMILLE);
        let mut is_asked = false;
        loop {
            let spec = match &*orders.borrow_and_update() {
                Order::Probe(spec) if spec.kind == asked.kind => Arc::clone(spec),
                _ => return,
            };
            let regular = pause(spec.interval, permille);
            let pause = match is_asked {
                true => regular.min(PROBE_GAP_MIN),
                false => regular,
            };
            tokio::select! {
                biased;
                changed = orders.changed() => if changed.is_err() { return },
                // Before the asks: a storm of them must not keep the probe from its time.
                () = sleep_until(begun + pause) => return,
                () = self.backend.probe_asked() => is_asked = true,
            }
        }
    }
}

/// What to probe for; `None` is to stop.
fn current(orders: &watch::Receiver<Order>) -> Option<Arc<HealthSpec>> {
    match &*orders.borrow() {
        Order::Probe(spec) => Some(Arc::clone(spec)),
        Order::Stop => None,
    }
}

/// Resolves when the probe under way is not the one that is wanted any more.
async fn outdated(orders: &mut watch::Receiver<Order>, asked: &HealthSpec) {
    let is_other = |order: &Order| match order {
        Order::Probe(spec) => spec.kind != asked.kind || spec.timeout != asked.timeout,
        Order::Stop => true,
    };
    let _ = orders.wait_for(is_other).await;
}

/// Ten per cent more or less: enough that the probes of many proxies and backends drift apart.
const JITTER_PERMILLE: std::ops::RangeInclusive<u32> = 900..=1100;

/// Longer pauses are cut to this, so that no sum of times can overflow.
const PAUSE_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn pause(interval: Duration, permille: u32) -> Duration {
    (interval / 1000).saturating_mul(permille).min(PAUSE_MAX)
}

/// The future's result, or a panic of it in words.
async fn caught<T>(future: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => {
                let text = message(&*panic);
                Poll::Ready(Err(format!(
                    "the probe panicked, a bug in tidegate: {text}"
                )))
            }
        }
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::backend::{Admission, Gate, Identity};
    use crate::spec::{Address, BackendId, PoolName, ProbeKind, Target};

    const SECOND: Duration = Duration::from_secs(1);

    /// A probe that is under way: the test sees it enter and lets it answer.
    struct Probe {
        generation: Generation,
        spec: Arc<HealthSpec>,
        begun: Instant,
        door: oneshot::Sender<Result<String, String>>,
    }

    impl Probe {
        fn good(self) {
            self.answer(Ok("status 200".into()));
        }

        fn fail(self) {
            self.answer(Err("status 503".into()));
        }

        fn answer(self, result: Result<String, String>) {
            self.door.send(result).expect("the probe was dropped");
        }

        /// Its future, and with it the connection, is gone.
        fn is_over(&self) -> bool {
            self.door.is_closed()
        }
    }

    struct Bench {
        checker: Checker,
        probes: mpsc::UnboundedReceiver<Probe>,
        events: Arc<Events>,
        /// Health as the callback found it, and how many events there were then.
        changes: mpsc::UnboundedReceiver<(Generation, Health, u64)>,
    }

    impl Bench {
        fn new() -> Self {
            let (entered, probes) = mpsc::unbounded_channel();
            let prober: Prober = Box::new(move |backend, spec| {
                let (door, answer) = oneshot::channel();
                let probe = Probe {
                    generation: backend.generation(),
                    spec,
                    begun: Instant::now(),
                    door,
                };
                let _ = entered.send(probe);
                Box::pin(async move { answer.await.expect("the test dropped a probe") })
            });
            let events = Arc::new(Events::new());
            let (changed, changes) = mpsc::unbounded_channel();
            let seen = Arc::clone(&events);
            let on_change: OnChange = Box::new(move |backend| {
                let number = *seen.follow().borrow();
                let _ = changed.send((backend.generation(), backend.health(), number));
            });
            let runtime = Handle::current();
            Self {
                checker: Checker::with_prober(runtime, Arc::clone(&events), on_change, prober),
                probes,
                events,
                changes,
            }
        }

        /// Waits for the next probe; paused time jumps to it.
        async fn entered(&mut self) -> Probe {
            self.probes.recv().await.expect("the checker is gone")
        }

        /// Nothing begins within `time`.
        async fn is_quiet_for(&mut self, time: Duration) -> bool {
            tokio::time::timeout(time, self.probes.recv())
                .await
                .is_err()
        }
    }

    fn backend(generation: Generation) -> Arc<Backend> {
        let nobody = "127.0.0.1:9".parse().unwrap();
        backend_at(generation, Admission::Added, nobody)
    }

    fn backend_at(
        generation: Generation,
        admission: Admission,
        at: std::net::SocketAddr,
    ) -> Arc<Backend> {
        let identity = Identity {
            pool: PoolName::parse("web").unwrap(),
            id: BackendId::parse("a").unwrap(),
            generation,
            address: Address::parse(&at.to_string()).unwrap(),
            target: Target::Tcp(at),
        };
        Arc::new(Backend::new(identity, admission, Gate::Open))
    }

    fn http(path: &str) -> HealthSpec {
        HealthSpec::new(ProbeKind::Http {
            path: path.into(),
            host: None,
            statuses: crate::spec::Statuses::default(),
        })
    }

    fn spec() -> HealthSpec {
        http("/up")
    }

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
}
