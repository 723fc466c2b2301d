//! What Prometheus sees: counts kept for it, and gauges read at the scrape.
//!
//! Two kinds of numbers, kept apart:
//! - *Counts* live in handles: [`BackendMetrics`] in the slot that a generation carries,
//!   [`PoolMetrics`] here by pool name. A request touches ready handles only, three relaxed
//!   additions for an answer, and no label is looked up.
//! - *Gauges* are never kept: [`Metrics::render`] reads in flight, intent, health, weight and
//!   eligibility from the snapshot and the words at that moment.
//!
//! Series of a backend are labelled `pool`, `backend` (its id) and `generation`. The generation is
//! needed: after a deploy the draining and the new generation of one id are there at once, and one
//! series for both would go backwards when the old one is forgotten. `sum without (generation)`
//! joins them.
//!
//! What always holds:
//! - a series exists exactly as long as its pool or generation is in the snapshot;
//! - while it exists, a counter never goes backwards;
//! - labels are names of pools and backends, generations, and words of closed sets; nothing that a
//!   client sent.
//!
//! Who calls it: `proxy` takes handles and counts; `events` tells of drains, rollouts and
//! reloads ([`Metrics::watch`]); `server` joins them and serves [`Metrics::render`], off the async threads,
//! since a scrape of hundreds of backends takes milliseconds. This module alone names `prometheus`;
//! the words of errors are the proxy's and are given to [`Metrics::new`].

mod counts;
mod families;
mod samples;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use prometheus::process_collector::ProcessCollector;

use crate::backend::Backend;
use crate::events::{Event, Events, Happening};
use crate::pool::Pools;
use crate::spec::PoolName;

pub use counts::{BackendMetrics, OwnAnswers, PoolMetrics};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Which program this is.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The package's version.
    pub version: &'static str,
    /// The revision it was built from, if known.
    pub revision: Option<&'static str>,
}

type ReadGauge = Box<dyn Fn() -> u64 + Send + Sync>;

/// All that is counted.
pub struct Metrics {
    pools: Arc<Pools>,
    build: Build,
    /// What an error can be called; handles count by the index into it.
    error_words: &'static [&'static str],
    /// Written by [`Metrics::prepare`] when the set of pools changed, read by whoever counts.
    of_pools: ArcSwap<HashMap<PoolName, Arc<PoolMetrics>>>,
    unrouted: OwnAnswers,
    route_misses: AtomicU64,
    reloads_applied: AtomicU64,
    reloads_rejected: AtomicU64,
    client_connections: OnceLock<ReadGauge>,
    process: ProcessCollector,
    /// Stands in for handles in a slot that somebody else filled. Nobody does; it keeps
    /// [`Metrics::of`] free of a panic.
    stray: BackendMetrics,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new(pools: Arc<Pools>, build: Build, error_words: &'static [&'static str]) -> Arc<Self> {
        Arc::new(Self {
            pools,
            build,
            error_words,
            of_pools: ArcSwap::default(),
            unrouted: OwnAnswers::new(error_words.len()),
            route_misses: AtomicU64::new(0),
            reloads_applied: AtomicU64::new(0),
            reloads_rejected: AtomicU64::new(0),
            client_connections: OnceLock::new(),
            process: ProcessCollector::for_self(),
            stray: BackendMetrics::new(error_words.len()),
        })
    }

    /// Counts drains, rollouts and reloads from now on, as they are told. Once per ring.
    pub fn watch(self: &Arc<Self>, events: &Events) {
        let metrics = Arc::clone(self);
        events.observe(move |event| metrics.told(event));
    }

    /// How the number of client connections is read at a scrape; only the first call counts.
    pub fn client_connections_from(&self, read: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.client_connections.set(Box::new(read));
    }

    /// The handles of a generation; made when they are first asked for.
    pub fn of<'a>(&'a self, backend: &'a Backend) -> &'a BackendMetrics {
        let slot = backend.metrics_slot();
        let handles = slot.get_or_init(|| Box::new(BackendMetrics::new(self.error_words.len())));
        let handles: &dyn Any = &**handles;
        handles.downcast_ref().unwrap_or(&self.stray)
    }

    /// The handles of a pool; `None` if there is no such pool now.
    pub fn pool(&self, name: &PoolName) -> Option<Arc<PoolMetrics>> {
        if let Some(pool) = self.of_pools.load().get(name) {
            return Some(Arc::clone(pool));
        }
        self.prepare();
        self.of_pools.load().get(name).cloned()
    }

    /// Answers to requests that belong to no pool: bad ones, and those that no route takes.
    pub fn unrouted(&self) -> &OwnAnswers {
        &self.unrouted
    }

    /// Counts a request that no route takes.
    pub fn route_missed(&self) {
        self.route_misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes the handles of everything in the snapshot, and drops those of pools that are gone.
    /// Nothing depends on its being called: handles are made on first use, and a scrape calls it.
    /// Called after a publish it spares the first request that work.
    pub fn prepare(&self) {
        for (_, entry) in self.pools.load().entries() {
            self.of(&entry.backend);
        }
        // The snapshot is loaded inside: when another prepare was faster, this one looks again, so
        // that an older snapshot never drops the counts of a newer pool.
        self.of_pools.rcu(|known| {
            let snapshot = self.pools.load();
            let of_pool = |name: &PoolName| match known.get(name) {
                Some(pool) => Arc::clone(pool),
                None => Arc::new(PoolMetrics::new(self.error_words.len())),
            };
            snapshot
                .pools()
                .map(|pool| (pool.name.clone(), of_pool(&pool.name)))
                .collect::<HashMap<_, _>>()
        });
    }

    /// The text of a scrape, format 0.0.4.
    pub fn render(&self) -> String {
        self.prepare();
        families::render(self, &self.pools.load_full())
    }

    fn told(&self, event: &Event) {
        match &event.happening {
            Happening::DrainEnded {
                outcome,
                took,
                cut_requests,
                cut_tunnels,
            } => {
                if let Some(pool) = self.pool_of(event) {
                    pool.drain_ended(outcome, *took, *cut_requests, *cut_tunnels);
                }
            }
            Happening::RolloutDecided { decided, .. } => {
                if let Some(pool) = self.pool_of(event) {
                    pool.rollout_decided(decided);
                }
            }
            Happening::Reloaded { .. } => {
                self.reloads_applied.fetch_add(1, Ordering::Relaxed);
            }
            Happening::ReloadRejected { .. } => {
                self.reloads_rejected.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn pool_of(&self, event: &Event) -> Option<Arc<PoolMetrics>> {
        let name = PoolName::parse(event.about.pool.as_deref()?).ok()?;
        self.pool(&name)
    }
}
