//! Operations against a real `Control`, with claims taken the way the proxy takes them.
//!
//! By subject: `waiting`, what a waiting drain is answered by, and `pausing` and `resuming`, what
//! a pause is and ends by, on a clock that stands; `histories`, random
//! operations (`steps`) one after another beside a plain reference (`reference`); `racing`, the same
//! at once; `threads`, many requests beside a deploy, on real threads.
//!
//! [`Rig`] is a control with two pools and a store in memory. Time is tokio's and stands still unless a
//! test moves it: an answer that would need a timer does not come.

mod histories;
mod operations;
mod pausing;
mod racing;
mod reference;
mod resuming;
mod rollouts;
mod steps;
mod threads;
mod waiting;

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::backend::{Claim, Exchange, Health};
use crate::pool::testing::settings;
use crate::spec::{BackendId, BackendSpec, PoolSpec, Weight};

/// What was stored last, and whether the disk is full.
#[derive(Default)]
struct InMemory(Mutex<Model>, AtomicBool);

impl Store for InMemory {
    fn save(&self, model: &Model) -> io::Result<()> {
        if self.1.load(Ordering::Relaxed) {
            return Err(io::Error::other("no space left"));
        }
        *self.0.lock().unwrap() = model.clone();
        Ok(())
    }
}

/// A file that is never read again.
struct NoFile;

impl Source for NoFile {
    fn read(&self) -> Result<(Topology, Vec<String>), Rejected> {
        unreachable!("no test reloads")
    }
}

/// Addresses are IP literals here.
struct Literals;

impl Resolve for Literals {
    fn resolve<'a>(&'a self, address: &'a Address) -> Resolving<'a> {
        Box::pin(async move { Ok(Target::Tcp(address.to_string().parse().unwrap())) })
    }
}

const POOLS: [&str; 2] = ["web", "api"];
const IDS: [&str; 3] = ["a", "b", "c"];

fn pool(index: usize) -> PoolName {
    PoolName::parse(POOLS[index]).unwrap()
}

fn web() -> PoolName {
    pool(0)
}

fn id(index: usize) -> BackendId {
    BackendId::parse(IDS[index]).unwrap()
}

/// An instance is known by its port.
fn address(port: u16) -> Address {
    Address::parse(&format!("127.0.0.1:{port}")).unwrap()
}

fn reference_to(text: &str) -> BackendRef {
    BackendRef::parse(text).unwrap()
}

fn actor() -> Actor {
    Actor("test".to_owned())
}

/// `web` has `a` at port 1 and `b` at port 2, `api` has `a` at port 4.
fn topology() -> Topology {
    let backend = |index, port| BackendSpec {
        id: id(index),
        address: address(port),
        weight: Weight::default(),
    };
    let backends = [vec![backend(0, 1), backend(1, 2)], vec![backend(0, 4)]];
    let pools = backends.into_iter().enumerate();
    let pools = pools.map(|(index, backends)| PoolSpec {
        name: pool(index),
        settings: settings(),
        backends,
    });
    Topology {
        pools: pools.collect(),
        routes: Vec::new(),
    }
}

/// Without pools yet.
fn control(store: &Arc<InMemory>) -> Arc<Control> {
    Control::new(Parts {
        pools: Arc::new(Pools::new()),
        events: Arc::new(Events::new()),
        store: Arc::clone(store) as Arc<dyn Store>,
        source: Box::new(NoFile),
        resolver: Box::new(Literals),
    })
}

struct Rig {
    control: Arc<Control>,
    store: Arc<InMemory>,
}

impl Rig {
    /// With every backend healthy: `web` generations 1 and 2, `api` 3, in no set order.
    async fn new() -> Self {
        Self::after(None).await
    }

    /// The next process after one that has stored this.
    async fn after(stored: Option<Model>) -> Self {
        let store = Arc::new(InMemory::default());
        let control = control(&store);
        control.start(stored, &topology()).await.unwrap();
        let rig = Self { control, store };
        for backend in rig.backends() {
            rig.observe(&backend, Health::Healthy);
        }
        rig
    }

    /// All that are published.
    fn backends(&self) -> Vec<Arc<Backend>> {
        let snapshot = self.control.pools.load();
        let entries = snapshot.entries();
        entries.map(|(_, e)| Arc::clone(&e.backend)).collect()
    }

    /// The newest of an id of `web`.
    fn backend(&self, id: &str) -> Arc<Backend> {
        let mut backends = self.backends().into_iter().rev();
        let found = backends.find(|b| b.id().as_str() == id && b.identity().pool == web());
        found.unwrap()
    }

    /// What a probe found.
    fn observe(&self, backend: &Backend, health: Health) {
        backend.set_health(health);
        self.control.pools.refresh(&backend.identity().pool);
    }

    /// A request in flight on a backend of `web`.
    fn hold(&self, id: &str) -> (Arc<Exchange>, Claim) {
        let exchange = Arc::new(Exchange::new("GET", "/slow", None));
        let claim = self.backend(id).claim(&exchange).unwrap();
        (exchange, claim)
    }

    /// Lets every task go on until all of them wait: for each other's turn at the change lock, and for
    /// what follows. Does not let time pass.
    async fn settle(&self) {
        for _ in 0..4 {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            // Whoever is changing something, or queues to, is done when it is our turn.
            drop(self.control.model.lock().await);
        }
    }
}

/// Runs a test on a clock that stands.
fn on_a_standing_clock<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(test)
}
