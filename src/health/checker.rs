//! Who is probed: one task per generation.
//!
//! [`Checker::reconcile`] is given everything that is to be probed and starts, changes and stops
//! tasks until that is so; generations are told apart by number, and an unchanged one is not touched.
//! What a task does with its orders, and when it probes, is in [`task`].
//!
//! What always holds:
//! - one generation has at most one probe at a time, even when it is stopped and wanted again: a
//!   task waits for the end of its predecessor;
//! - once a generation was told to stop, no result changes its health or its last probe any more;
//! - a task ends after its probe's connection is closed, so who waits for the one
//!   ([`Checker::stop`]) has waited for the other.
//!
//! Any thread may call. `reconcile` takes the whole picture, so its callers must order their calls
//! as they order their publishes. The callback runs on the checker's runtime between two probes and
//! must not block; who awaits `stop` must not hold what the callback needs.

mod task;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

use self::task::{OnChange, Order, Orders, Prober, Shared, Task, live};
use super::judge::Judge;
use super::probe::probe;
use crate::backend::{Backend, Generation};
use crate::events::Events;
use crate::spec::HealthSpec;

pub use task::PROBE_GAP_MIN;

/// Probes every wanted generation and says what follows from it. Dropping it ends all tasks.
pub struct Checker {
    runtime: Handle,
    shared: Arc<Shared>,
    /// Also those told to stop, until a later `reconcile` finds them ended: `stop` waits for them.
    tasks: Mutex<HashMap<Generation, Orders>>,
}

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

#[cfg(test)]
mod tests;
