//! All pools as requests see them: one immutable snapshot, replaced whole.
//!
//! A [`Snapshot`] is made from a [`Model`] and what the file says of settings and routes. Backends
//! that were in the one before are carried over by identity, with their counts, health and holds.
//! [`Pools`] publishes it and keeps the order on which *drained* stands:
//!
//! 1. gates that open are opened (the refusing bit cleared);
//! 2. the snapshot is published;
//! 3. gates that close are closed (the refusing bit set).
//!
//! So a backend that a request can select always has its gate open or just closing, and a request
//! whose claim was refused finds, when it loads the snapshot again, the one that took the backend
//! out ([`crate::backend::Word`]). A refused claim is therefore never an error: [`Pools::claim`]
//! selects again, a bounded number of times.
//!
//! A paused pool goes the same way: the gates of its active backends are closed as if they were on
//! standby ([`gate_of`]). A request that loaded the snapshot before, and claims after, however much
//! later, is refused by the word itself, finds the paused snapshot and is held. So once
//! [`Pools::commit`] has returned, the requests in flight in the pool are all there are: their number
//! only falls until the gates are opened again.
//!
//! Who writes: [`crate::control`] commits models, one at a time; the prober's verdicts refresh one
//! pool ([`Pools::refresh`]). Both go through one lock, so the last published snapshot always has
//! every change. Who reads: every request, without a lock.

pub mod hold;
pub mod merge;
pub mod model;
mod pause;
pub mod rollout;
pub mod route;
pub mod select;
pub mod split;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::backend::{Admission, Backend, Claim, Exchange, Gate, Generation, Health, Identity};
use crate::spec::{Intent, PoolName, PoolSettings, Sticky, Topology};

use hold::Hold;
use model::{Member, Model};
use rollout::{Pause, Rollout};
use route::Routes;
use split::{Canary, Draw, Split};

/// Snapshots that one claim looks at before it gives up and is held. Each refusal needs a publish
/// between our load and our claim; sixteen in a row do not happen by deploys.
const CLAIM_TRIES_MAX: usize = 16;

/// One backend of a pool in one snapshot.
pub struct Entry {
    /// What exchanges and probes write.
    pub backend: Arc<Backend>,
    /// What the operator wants.
    pub member: Member,
}

impl Entry {
    /// Active and healthy.
    pub fn is_eligible(&self) -> bool {
        self.member.intent == Intent::Active && self.backend.health() == Health::Healthy
    }
}

/// One pool in one snapshot.
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Everything but its backends.
    pub settings: Arc<PoolSettings>,
    /// In the order they were added, draining and drained ones included.
    pub entries: Arc<[Entry]>,
    /// The requests that wait for a backend, or for the end of a pause.
    pub hold: Arc<Hold>,
    /// The file no longer names it.
    pub leaving: bool,
    /// The rollout under way.
    pub rollout: Option<Arc<Rollout>>,
    /// Its requests are held, whoever is eligible.
    pub pause: Option<Pause>,
    split: Split,
}

impl Pool {
    /// How many backends are eligible.
    pub fn eligible(&self) -> usize {
        self.split.len()
    }

    /// What says which client a request is from, while a canary is open that goes by it.
    pub fn sticky(&self) -> Option<&Sticky> {
        self.split.sticky()
    }

    /// Whether requests are let through: it is not paused, and a backend is eligible.
    pub fn is_served(&self) -> bool {
        self.pause.is_none() && self.split.len() > 0
    }

    /// An entry by its generation.
    pub fn entry(&self, generation: Generation) -> Option<&Entry> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.member.generation == generation)
    }

    fn refreshed(&self) -> Self {
        let canary = self.split.canary().cloned();
        Self {
            name: self.name.clone(),
            settings: Arc::clone(&self.settings),
            entries: Arc::clone(&self.entries),
            hold: Arc::clone(&self.hold),
            leaving: self.leaving,
            pause: self.pause.clone(),
            rollout: self.rollout.clone(),
            split: Split::new(self.settings.balance, &self.entries, canary),
        }
    }
}

/// The immutable picture of all pools that requests are routed by.
#[derive(Default)]
pub struct Snapshot {
    pools: BTreeMap<PoolName, Arc<Pool>>,
    routes: Arc<Routes>,
}

impl Snapshot {
    /// The pool that a request is for. `path` is the target without query.
    pub fn route(&self, host: &str, path: &str) -> Option<&Arc<Pool>> {
        self.pools.get(self.routes.find(host, path)?)
    }

    /// A pool by name.
    pub fn pool(&self, name: &PoolName) -> Option<&Arc<Pool>> {
        self.pools.get(name)
    }

    /// All pools, by name.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }

    /// All backends of all pools.
    pub fn entries(&self) -> impl Iterator<Item = (&Arc<Pool>, &Entry)> {
        self.pools()
            .flat_map(|pool| pool.entries.iter().map(move |entry| (pool, entry)))
    }
}

/// Why no claim was granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoClaim {
    /// No backend is eligible, or every eligible one was tried.
    NoBackend,
    /// The pool is paused, whoever is eligible.
    Paused,
    /// The pool is gone from the configuration.
    NoPool,
}

/// A commit met a generation that was sealed in the meantime; nothing was published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedMeanwhile(pub Generation);

/// What the file says beside the backends; given with a commit when it was read again.
pub struct FileSettings<'a> {
    /// Pools and routes.
    pub topology: &'a Topology,
    /// How the generations that are new in this commit came to be.
    pub admission: Admission,
}

/// The published snapshot.
pub struct Pools {
    current: ArcSwap<Snapshot>,
    /// Serialises commits and refreshes; never held across an await or a wait.
    writer: Mutex<()>,
    published: watch::Sender<u64>,
}

impl Default for Pools {
    fn default() -> Self {
        Self::new()
    }
}

impl Pools {
    /// Without pools.
    pub fn new() -> Self {
        Self {
            current: ArcSwap::from_pointee(Snapshot::default()),
            writer: Mutex::new(()),
            published: watch::Sender::new(0),
        }
    }

    /// The snapshot now, cheaply, for the length of a request's selection.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot now, to keep.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Follows publishes: the value changes after each.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Claims an eligible backend of a pool for an exchange, none of `tried`, which it failed on.
    /// `draw` is the exchange's own for all its claims.
    pub fn claim(
        &self,
        pool: &PoolName,
        exchange: &Arc<Exchange>,
        tried: &[Generation],
        draw: &mut Draw,
    ) -> Result<Claim, NoClaim> {
        // Those that refused are not drawn again, so that one of them cannot take all the tries.
        let mut avoided = Vec::new();
        for _ in 0..CLAIM_TRIES_MAX {
            let snapshot = self.load();
            let pool = snapshot.pool(pool).ok_or(NoClaim::NoPool)?;
            if pool.pause.is_some() {
                return Err(NoClaim::Paused);
            }
            let avoid = if avoided.is_empty() { tried } else { &avoided };
            let backend = pool.split.pick(avoid, !tried.is_empty(), draw);
            let backend = backend.ok_or(NoClaim::NoBackend)?;
            match backend.claim(exchange) {
                Ok(claim) => return Ok(claim),
                Err(_) => {
                    if avoided.is_empty() {
                        avoided.extend_from_slice(tried);
                    }
                    avoided.push(backend.generation());
                }
            }
        }
        Err(NoClaim::NoBackend)
    }

    /// Publishes a model. With `file` given its settings and routes are taken from there, else they
    /// stay. Gates open before, and close after, the publish.
    pub fn commit(
        &self,
        model: &Model,
        file: Option<FileSettings<'_>>,
    ) -> Result<(), SealedMeanwhile> {
        let _writer = self.writer.lock().expect("pools writer lock");
        let before = self.load_full();
        let known: Known<'_> = before
            .entries()
            .map(|(pool, entry)| (entry.member.generation, (pool, entry)))
            .collect();
        let next = build(&before, &known, model, file);
        let (mut closing, mut reopened) = (Vec::new(), Vec::new());
        for (pool, entry) in next.entries() {
            let gate = gate_of(entry.member.intent, pool.pause.is_some());
            let was = known
                .get(&entry.member.generation)
                .map(|(pool, entry)| gate_of(entry.member.intent, pool.pause.is_some()));
            match was {
                Some(was) if was == gate => {}
                Some(Gate::Draining) => match entry.backend.word().set_gate(gate) {
                    Ok(()) => reopened.push(Arc::clone(&entry.backend)),
                    Err(_) => {
                        // All or none: those that came back before this one drain on.
                        close_again(&reopened);
                        return Err(SealedMeanwhile(entry.member.generation));
                    }
                },
                // One that was live is never sealed.
                _ if gate == Gate::Open => {
                    let opened = entry.backend.word().set_gate(gate);
                    opened.map_err(|_| SealedMeanwhile(entry.member.generation))?;
                }
                _ => closing.push((Arc::clone(&entry.backend), gate)),
            }
        }
        self.publish(next);
        for (backend, gate) in closing {
            // A sealed one refuses already.
            let _ = backend.word().set_gate(gate);
        }
        Ok(())
    }

    /// Rebuilds what depends on health in one pool; the prober's verdicts end here.
    pub fn refresh(&self, pool: &PoolName) {
        let _writer = self.writer.lock().expect("pools writer lock");
        let before = self.load_full();
        let Some(pool) = before.pool(pool) else {
            return;
        };
        let mut pools = before.pools.clone();
        pools.insert(pool.name.clone(), Arc::new(pool.refreshed()));
        self.publish(Snapshot {
            pools,
            routes: Arc::clone(&before.routes),
        });
    }

    fn publish(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
        self.published.send_modify(|version| *version += 1);
    }
}

/// What was to come back in a commit that was not published drains on. A request that chose it by a
/// snapshot from before its drain may have claimed it in between; the drain then waits for that too.
fn close_again(reopened: &[Arc<Backend>]) {
    for backend in reopened {
        // Nobody seals a word that was not draining.
        let _ = backend.word().set_gate(Gate::Draining);
    }
}

/// An active backend of a paused pool refuses as one on standby does: it is not on its way out.
fn gate_of(intent: Intent, is_paused: bool) -> Gate {
    match (intent, is_paused) {
        (Intent::Active, false) => Gate::Open,
        (Intent::Active, true) | (Intent::Standby, _) => Gate::Standby,
        (Intent::Draining, _) => Gate::Draining,
    }
}

/// The entries of the snapshot before, each with its pool. A generation is in one pool for ever.
type Known<'a> = HashMap<Generation, (&'a Arc<Pool>, &'a Entry)>;

fn build(
    before: &Snapshot,
    known: &Known<'_>,
    model: &Model,
    file: Option<FileSettings<'_>>,
) -> Snapshot {
    let admission = file
        .as_ref()
        .map_or(Admission::Added, |file| file.admission);
    let settings: HashMap<&PoolName, Arc<PoolSettings>> = match &file {
        Some(file) => file
            .topology
            .pools
            .iter()
            .map(|spec| (&spec.name, Arc::new(spec.settings.clone())))
            .collect(),
        None => HashMap::new(),
    };
    let mut pools = BTreeMap::new();
    for (name, pool) in &model.pools {
        let earlier = before.pool(name);
        let settings = match (settings.get(name), earlier) {
            (Some(settings), _) => Arc::clone(settings),
            (None, Some(earlier)) => Arc::clone(&earlier.settings),
            // A pool that only an old state file knows: control drops those before it commits.
            (None, None) => continue,
        };
        let entries: Arc<[Entry]> = pool
            .members
            .iter()
            .map(|member| Entry {
                backend: match known.get(&member.generation) {
                    Some((_, before)) => Arc::clone(&before.backend),
                    None => {
                        let gate = gate_of(member.intent, pool.pause.is_some());
                        Arc::new(new_backend(name, member, admission, gate))
                    }
                },
                member: member.clone(),
            })
            .collect();
        let hold = earlier.map_or_else(Arc::default, |earlier| Arc::clone(&earlier.hold));
        let rollout = pool.rollout.clone().map(Arc::new);
        let canary = earlier.and_then(|earlier| earlier.split.canary());
        let canary = Canary::of(pool, canary.map(|canary| &**canary));
        let next = Pool {
            name: name.clone(),
            split: Split::new(settings.balance, &entries, canary),
            settings,
            entries,
            hold,
            leaving: pool.leaving,
            rollout,
            pause: pool.pause.clone(),
        };
        pools.insert(name.clone(), Arc::new(next));
    }
    let routes = match &file {
        Some(file) => Arc::new(Routes::new(&file.topology.routes)),
        None => Arc::clone(&before.routes),
    };
    Snapshot { pools, routes }
}

/// A generation that nobody can select yet starts with the gate that it is to have.
fn new_backend(pool: &PoolName, member: &Member, admission: Admission, gate: Gate) -> Backend {
    let identity = Identity {
        pool: pool.clone(),
        id: member.id.clone(),
        generation: member.generation,
        address: member.address.clone(),
        target: member.target.clone(),
    };
    Backend::new(identity, admission, gate)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) mod testing;
