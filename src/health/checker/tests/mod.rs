//! Probing on paused time: the test sees each probe enter, and answers it.
//!
//! By subject: `schedule`, when probes begin; `told`, who hears of a result; `changes`, other
//! settings while it runs; `stop`, the end of a task and of its connection.

mod changes;
mod schedule;
mod stop;
mod told;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::*;
use crate::backend::{Admission, Gate, Health, Identity};
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
