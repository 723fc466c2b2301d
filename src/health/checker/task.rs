//! When one generation is probed, and what follows from each result.
//!
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
//! - a result is applied only while the order to probe stands, and an order to stop waits for that;
//! - a probe is under way only within the generation's leave ([`Backend::probing`]); one that is held
//!   up is given up, and nothing follows from it;
//! - a change of health is told in this order, once: the backend, the events, the callback;
//! - a panic in a probe is a failed probe, and one in the callback is logged; probing goes on.
//!
//! [`super::Checker`] alone starts tasks and gives them orders. What a streak of results means is
//! the [`Judge`]'s to say.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::backend::{Backend, Health, ProbeReport};
use crate::events::{About, Events, Happening};
use crate::health::judge::{Judge, Seen};
use crate::spec::HealthSpec;

/// Shortest time between the starts of two probes of one backend when they are asked for. A backend
/// whose connections fail a thousand times a second is probed ten times a second and not more.
pub const PROBE_GAP_MIN: Duration = Duration::from_millis(100);

/// What all tasks use.
pub(super) struct Shared {
    pub(super) events: Arc<Events>,
    pub(super) on_change: OnChange,
    pub(super) prober: Prober,
}

pub(super) type OnChange = Box<dyn Fn(&Arc<Backend>) + Send + Sync>;
pub(super) type Prober = Box<dyn Fn(Arc<Backend>, Arc<HealthSpec>) -> Asking + Send + Sync>;
pub(super) type Asking = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// What a task is to do. The task holds the read side of the channel while it applies a result, so
/// that an order to stop falls before or after that, never in between. `Stop` is the last order.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Order {
    Probe(Arc<HealthSpec>),
    Stop,
}

/// The task's end of it is dropped last, when the probe and its connection are gone.
pub(super) type Orders = watch::Sender<Order>;

/// The whole life of a task. `orders` is a parameter and so is dropped after everything else.
pub(super) async fn live(
    mut task: Task,
    mut orders: watch::Receiver<Order>,
    previous: Option<Orders>,
) {
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
pub(super) struct Task {
    pub(super) backend: Arc<Backend>,
    pub(super) shared: Arc<Shared>,
    pub(super) judge: Judge,
}

impl Task {
    async fn keep_probing(&mut self, orders: &mut watch::Receiver<Order>) {
        loop {
            let under_way = self.backend.probing().begin().await;
            let Some(spec) = current(orders) else { return };
            let begun = Instant::now();
            let asking = (self.shared.prober)(Arc::clone(&self.backend), Arc::clone(&spec));
            let result = tokio::select! {
                biased;
                () = outdated(orders, &spec) => None,
                () = self.backend.probing().held() => None,
                result = caught(asking) => Some(result),
            };
            // The probe and its connection are gone: who holds probing waits for that.
            drop(under_way);
            if let Some(result) = result {
                self.learn(orders, &spec, begun.elapsed(), result);
                self.rest(orders, &spec, begun).await;
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
