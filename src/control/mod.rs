//! The façade: every operation that changes or shows the pools, as one method each.
//!
//! An operation that changes something goes the same way, under one lock that is held for the
//! change and never for a wait:
//!
//! 1. decide on the [`Model`] (refusals end here, nothing has changed);
//! 2. store the next model ([`Store`]); a store that fails ends here, nothing has changed;
//! 3. publish it ([`Pools::commit`], which keeps the order of gates and snapshot);
//! 4. tell it ([`Events`]) and begin the drains that follow from it.
//!
//! The lock is one for all pools and not one per pool, because the state file is one file: two
//! changes would queue behind each other at step 2 anyway.
//!
//! What always holds: what was stored is what is published, or, after a crash between the two, what
//! will be at the next start; nobody was told otherwise. Operations are idempotent, and go on when
//! their caller goes away: each runs in a task of its own ([`Control::run`]).
//!
//! Who calls it: `admin` for people and scripts, `server` at start, on SIGHUP and at the end. It
//! knows neither HTTP nor YAML: the file is read through [`Source`], names through [`Resolve`].

mod adding;
mod drains;
mod ended;
mod file;
mod live;
mod pause;
mod removal;
mod rollouts;
mod view;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::backend::{Backend, Generation};
use crate::drain::Drain;
use crate::events::{About, Events, Happening};
use crate::outcome::Outcome;
use crate::pool::model::{BackendRef, Member, Model, Refusal, UnixMillis};
use crate::pool::{Entry, FileSettings, Pools};
use crate::report::Answer;
use crate::spec::{Address, Intent, PoolName, Target, Topology};

pub use adding::AddCall;
pub use drains::{DrainCall, Wait};
pub use live::StandbyCall;
pub use pause::{PAUSE_TTL, PAUSE_TTL_MAX, PAUSE_WAIT, PauseCall};
use rollouts::Course;
pub use rollouts::{Incoming, Replace, RollbackCall, RolloutCall, RolloutClocks};

/// The longest that any caller may wait for an answer.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long `add` waits for healthy unless told otherwise.
pub const ADD_WAIT: Duration = Duration::from_secs(60);

/// Keeps the model across restarts. Called with the change lock held, off the async threads.
pub trait Store: Send + Sync {
    /// Writes the model so that it survives a crash once this returns.
    fn save(&self, model: &Model) -> io::Result<()>;
}

/// A store that forgets, for a configuration without a state file.
pub struct Forgetful;

impl Store for Forgetful {
    fn save(&self, _: &Model) -> io::Result<()> {
        Ok(())
    }
}

/// Why the file was not taken.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// How many problems.
    pub problems: usize,
    /// All of them, for people.
    pub text: String,
}

/// Reads the configuration file again.
pub trait Source: Send + Sync {
    /// Pools and routes of the file now, with warnings.
    fn read(&self) -> Result<(Topology, Vec<String>), Rejected>;

    /// What was read last has been applied: what else depends on the file may follow now.
    fn applied(&self) {}
}

/// The future of [`Resolve::resolve`].
pub type Resolving<'a> = Pin<Box<dyn Future<Output = Result<Target, String>> + Send + 'a>>;

/// Turns a name into an address.
pub trait Resolve: Send + Sync {
    /// The target of an address, or why there is none.
    fn resolve<'a>(&'a self, address: &'a Address) -> Resolving<'a>;
}

/// Who asks: a peer uid, a token's name, a signal.
#[derive(Clone, Debug)]
pub struct Actor(pub String);

/// See the module's words.
pub struct Control {
    pools: Arc<Pools>,
    events: Arc<Events>,
    store: Arc<dyn Store>,
    source: Box<dyn Source>,
    resolver: Box<dyn Resolve>,
    /// The model that is published. Its lock is the change lock.
    model: tokio::sync::Mutex<Model>,
    /// Held by a reload, before and together with the change lock.
    reloading: tokio::sync::Mutex<()>,
    /// The drain of each generation that is draining or drained.
    drains: Mutex<HashMap<Generation, Arc<Drain>>>,
    /// The course of each pool's rollout, while one is under way.
    courses: Mutex<HashMap<PoolName, Arc<Course>>>,
    /// How many pauses there were in this process: the number of the last.
    pauses: AtomicU64,
}

/// What a control is made of.
pub struct Parts {
    /// Where snapshots are published.
    pub pools: Arc<Pools>,
    /// Where changes are told.
    pub events: Arc<Events>,
    /// Where the model is kept.
    pub store: Arc<dyn Store>,
    /// Where the file is read again.
    pub source: Box<dyn Source>,
    /// How names are resolved.
    pub resolver: Box<dyn Resolve>,
}

/// Why an operation stopped before it changed anything.
enum Stop {
    Refused(Refusal),
    NotStored(io::Error),
    /// The generation was sealed between the decision and the publish.
    Sealed,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Stop {
    fn into_answer(self, pool: Option<&PoolName>) -> Answer {
        match self {
            Self::Refused(refusal) => {
                let (outcome, hint) = match (&refusal, pool) {
                    (Refusal::UnknownBackend { .. }, Some(pool)) => (
                        Outcome::Unknown,
                        Some(format!("`tidegate status {pool}` lists its backends")),
                    ),
                    (Refusal::UnknownPool(_) | Refusal::UnknownBackend { .. }, _) => (
                        Outcome::Unknown,
                        Some("`tidegate status` lists the pools".to_owned()),
                    ),
                    (
                        Refusal::InRollout {
                            pool, backend: _, ..
                        },
                        _,
                    ) => (
                        Outcome::Refused,
                        Some(format!(
                            "`tidegate abort {pool}` takes the rollout back, `tidegate status {pool}` shows it"
                        )),
                    ),
                    _ => (Outcome::Refused, None),
                };
                let mut answer = Answer::new(outcome, refusal.to_string());
                answer.hint = hint;
                answer
            }
            Self::NotStored(error) => Answer::new(
                Outcome::Error,
                format!("the state file could not be written, nothing was changed: {error}"),
            )
            .hint("check the disk and the owner of the state file's folder"),
            Self::Sealed => Answer::new(
                Outcome::Error,
                "the backend was drained at this very moment; ask again",
            ),
        }
    }
}

impl Control {
    /// A control without pools; [`Control::start`] gives it those of the file and the state.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            pools: parts.pools,
            events: parts.events,
            store: parts.store,
            source: parts.source,
            resolver: parts.resolver,
            model: tokio::sync::Mutex::default(),
            reloading: tokio::sync::Mutex::default(),
            drains: Mutex::default(),
            courses: Mutex::default(),
            pauses: AtomicU64::default(),
        })
    }

    /// The ring of events.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// The published pools.
    pub fn pools(&self) -> &Arc<Pools> {
        &self.pools
    }

    /// Runs an operation to its end even if the caller goes away.
    async fn run<F>(self: &Arc<Self>, operation: F) -> Answer
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        match tokio::spawn(operation).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(%error, "an operation ended abnormally");
                Answer::new(
                    Outcome::Error,
                    "the operation ended abnormally; the log says more",
                )
            }
        }
    }

    /// Stores and publishes `next`, then makes it the model. The caller holds the change lock.
    async fn commit(
        &self,
        model: &mut Model,
        next: Model,
        file: Option<FileSettings<'_>>,
    ) -> Result<(), Stop> {
        self.save(&next).await?;
        if self.pools.commit(&next, file).is_err() {
            // Nothing was published: what is stored goes back to what is published.
            self.save(model).await?;
            return Err(Stop::Sealed);
        }
        *model = next;
        Ok(())
    }

    /// [`Control::commit`] for a model in which intents of one pool's members changed, with what follows:
    /// drains begin, those that were taken back end, and all of it is told. The caller holds the change
    /// lock.
    async fn commit_intents(
        self: &Arc<Self>,
        actor: Option<&Actor>,
        model: &mut Model,
        next: Model,
        pool: &PoolName,
    ) -> Result<(), Stop> {
        let before = model.clone();
        let changed: Vec<(Option<Member>, Member)> = next
            .pools
            .get(pool)
            .iter()
            .flat_map(|of| &of.members)
            .map(|is| (before.member(pool, is.generation).cloned(), is.clone()))
            .filter(|(was, is)| was.as_ref().is_none_or(|was| was.intent != is.intent))
            .collect();
        let draining = |(_, is): &&(Option<Member>, Member)| is.intent == Intent::Draining;
        for (_, is) in changed.iter().filter(draining) {
            self.prepare_drain(pool, is, is.drain.unwrap_or_default());
        }
        if let Err(stop) = self.commit(model, next, None).await {
            let mut drains = self.drains.lock().expect("drains lock");
            for (_, is) in changed.iter().filter(draining) {
                drains.remove(&is.generation);
            }
            return Err(stop);
        }
        self.tell_forgotten(actor, &before, model);
        for (was, is) in &changed {
            let Some(was) = was else {
                let happening = Happening::Added {
                    address: is.address.to_string(),
                    intent: is.intent.as_str(),
                };
                self.emit(actor, is, pool, happening);
                continue;
            };
            self.emit_intent(actor, pool, was, is.intent);
            match (was.intent, is.intent) {
                (_, Intent::Draining) => drop(self.start_drain(pool, is)),
                (Intent::Draining, _) => self.end_restored(is.generation),
                _ => {}
            }
        }
        Ok(())
    }

    async fn save(&self, model: &Model) -> Result<(), Stop> {
        let store = Arc::clone(&self.store);
        let copy = model.clone();
        let saved = tokio::task::spawn_blocking(move || store.save(&copy)).await;
        saved
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .map_err(Stop::NotStored)
    }

    fn emit(&self, actor: Option<&Actor>, member: &Member, pool: &PoolName, happening: Happening) {
        let about = About {
            pool: Some(pool.to_string()),
            backend: Some(member.id.to_string()),
            generation: Some(member.generation),
            actor: actor.map(|actor| actor.0.clone()),
        };
        self.events.emit(about, happening);
    }

    fn emit_of_pool(&self, actor: Option<&Actor>, pool: &PoolName, happening: Happening) {
        let about = About {
            pool: Some(pool.to_string()),
            actor: actor.map(|actor| actor.0.clone()),
            ..About::default()
        };
        self.events.emit(about, happening);
    }

    fn drain_of(&self, generation: Generation) -> Option<Arc<Drain>> {
        let drains = self.drains.lock().expect("drains lock");
        drains.get(&generation).cloned()
    }

    fn is_drained(&self, generation: Generation) -> bool {
        let snapshot = self.pools.load();
        let mut entries = snapshot.entries();
        let entry = entries.find(|(_, entry)| entry.member.generation == generation);
        entry.is_none_or(|(_, entry)| entry.backend.reading().is_sealed())
    }

    fn backend(&self, pool: &PoolName, generation: Generation) -> Option<Arc<Backend>> {
        let snapshot = self.pools.load();
        let entry = snapshot.pool(pool)?.entry(generation)?;
        Some(Arc::clone(&entry.backend))
    }

    /// Waits until `is_so` says yes of a published snapshot's entry, at most until `deadline`.
    /// `None` when the entry is gone, else whether it came to be.
    async fn wait_for(
        &self,
        pool: &PoolName,
        generation: Generation,
        deadline: Instant,
        is_so: impl Fn(&Entry) -> bool,
    ) -> Option<bool> {
        let mut published = self.pools.follow();
        loop {
            published.borrow_and_update();
            {
                let snapshot = self.pools.load();
                let entry = snapshot.pool(pool)?.entry(generation)?;
                if is_so(entry) {
                    return Some(true);
                }
            }
            // The sender lives as long as the pools do, so an error is a timeout.
            let changed = tokio::time::timeout_at(deadline, published.changed()).await;
            if changed.is_err() {
                return Some(false);
            }
        }
    }

    /// The answer for an operation that stopped before it changed anything.
    fn stopped(&self, stop: Stop, pool: &PoolName, backend: Option<&BackendRef>) -> Answer {
        let mut answer = stop.into_answer(Some(pool));
        self.describe(&mut answer, pool, backend);
        answer
    }
}

fn unix_millis(at: SystemTime) -> UnixMillis {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
}

fn now_millis() -> UnixMillis {
    unix_millis(SystemTime::now())
}

fn deadline_in(wait: Duration) -> Instant {
    Instant::now() + wait.min(WAIT_MAX)
}
