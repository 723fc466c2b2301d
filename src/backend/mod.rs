//! One generation of a backend: its word, its health, its exchanges.
//!
//! A [`Backend`] is one app instance from the moment it was added until it is forgotten. Adding the
//! same id or address again makes another one with a higher generation number; nothing is shared
//! between the two. What the operator wants of it (its intent, weight, origin) is not kept here but
//! in the snapshot ([`crate::pool`]): here lives what exchanges and probes write.
//!
//! What always holds:
//! - [`Backend::claim`] decides and counts in one step ([`Word`]); dropping the [`Claim`] gives the
//!   count back, whichever way the exchange ended. Nobody else counts.
//! - A claim holds the very generation it counted and is never looked up again.
//! - Health is written by the prober only, gates by the pool only ([`crate::pool::Pools`]), the
//!   seal by the drain only ([`crate::drain`]).
//!
//! Three slots are carried without knowledge of what is in them: the metric handles that `metrics`
//! prepared, the connections that the proxy keeps, and the signal by which the proxy asks the prober
//! to probe now.

mod cuts;
mod exchange;
mod probing;
mod sync;
mod tally;
mod word;

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use crate::spec::{Address, BackendId, PoolName, Target};

pub use cuts::{Asked, CUTS_LISTED_MAX, Cuts};
pub use exchange::{CutReason, Exchange, ExchangeReport, PATH_BYTES_MAX, thread_number};
pub use probing::{Hold, Probing, UnderWay};
pub use tally::{Counts, Tally};
pub use word::{Gate, Reading, Refused, Sealed, When, Word};

use exchange::{Exchanges, Place};

/// A number that never repeats, given to a backend each time one is added.
pub type Generation = u64;

/// What the probes saw. [`crate::spec::Intent`] is what the operator wants; neither touches the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Health {
    /// No verdict yet; not eligible.
    #[default]
    Unknown = 0,
    /// `rise` good probes in a row.
    Healthy = 1,
    /// `fall` failed probes in a row.
    Unhealthy = 2,
}

impl Health {
    /// All of them, for one-hot metrics.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Healthy, Self::Unhealthy];

    /// The word used in answers, logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Healthy,
            2 => Self::Unhealthy,
            _ => Self::Unknown,
        }
    }
}

/// The upstream connections of a generation; what they are is the proxy's business.
pub trait Connections: Any + Send + Sync {
    /// How many there are.
    fn count(&self) -> ConnectionCount;
    /// Closes those that serve no exchange.
    fn close_idle(&self);
}

/// Upstream connections at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ConnectionCount {
    /// Those that serve an exchange, or are being made for one.
    pub busy: usize,
    /// Those kept for the next one.
    pub idle: usize,
    /// Probes under way; each has one of its own.
    pub probing: usize,
}

impl ConnectionCount {
    /// All of them.
    pub fn total(self) -> usize {
        self.busy + self.idle + self.probing
    }
}

/// How a generation came to be, which decides how many good probes make it healthy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It was in the configuration or state when the proxy started: one good probe is enough, since
    /// the app did not start just now and traffic waits for it.
    AtStart,
    /// It was added while running: the full `rise`.
    Added,
}

/// How the last probe went.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// `Ok` with what was seen ("status 200"), or `Err` with the cause ("connect: connection refused").
    pub result: Result<String, String>,
}

/// What identifies a generation and never changes.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The pool it belongs to.
    pub pool: PoolName,
    /// Its id.
    pub id: BackendId,
    /// Its number.
    pub generation: Generation,
    /// As the operator wrote it.
    pub address: Address,
    /// Where connections go.
    pub target: Target,
}

/// One generation.
pub struct Backend {
    identity: Identity,
    admission: Admission,
    word: Word,
    /// Whether a claim was ever granted. Set before the claim is handed out.
    used: AtomicBool,
    /// A [`Health`]. Written by the prober, read by selection and status. Relaxed is enough: the
    /// prober publishes a snapshot afterwards, and that carries the change to the request path.
    health: AtomicU8,
    last_probe: Mutex<Option<ProbeReport>>,
    probes_good: AtomicU64,
    probes_failed: AtomicU64,
    exchanges: Exchanges,
    probe_now: Notify,
    probing: Probing,
    cuts: Mutex<Cuts>,
    metrics: OnceLock<Box<dyn Counts>>,
    connections: OnceLock<Box<dyn Connections>>,
}

impl Backend {
    /// A generation with nothing in flight and health unknown.
    pub fn new(identity: Identity, admission: Admission, gate: Gate) -> Self {
        Self {
            identity,
            admission,
            word: Word::new(gate),
            used: AtomicBool::new(false),
            health: AtomicU8::new(Health::Unknown as u8),
            last_probe: Mutex::new(None),
            probes_good: AtomicU64::new(0),
            probes_failed: AtomicU64::new(0),
            exchanges: Exchanges::new(),
            probe_now: Notify::new(),
            probing: Probing::new(),
            cuts: Mutex::default(),
            metrics: OnceLock::new(),
            connections: OnceLock::new(),
        }
    }

    /// Which generation this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its id.
    pub fn id(&self) -> &BackendId {
        &self.identity.id
    }

    /// Its number.
    pub fn generation(&self) -> Generation {
        self.identity.generation
    }

    /// Where connections go.
    pub fn target(&self) -> &Target {
        &self.identity.target
    }

    /// How it came to be.
    pub fn admission(&self) -> Admission {
        self.admission
    }

    /// Takes a claim for `exchange`, unless a refusing bit is set.
    pub fn claim(self: &Arc<Self>, exchange: &Arc<Exchange>) -> Result<Claim, Refused> {
        self.word.claim()?;
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        exchange.come_to(self.generation());
        Ok(Claim {
            place: self.exchanges.enter(Arc::clone(exchange)),
            exchange: Arc::clone(exchange),
            backend: Arc::clone(self),
            kind: ClaimKind::Request,
        })
    }

    /// The word.
    pub fn word(&self) -> &Word {
        &self.word
    }

    /// Counts and gates now.
    pub fn reading(&self) -> Reading {
        self.word.read()
    }

    /// Whether a claim was ever granted.
    pub fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// What the probes saw.
    pub fn health(&self) -> Health {
        Health::from_u8(self.health.load(Ordering::Relaxed))
    }

    /// Sets what the probes saw; the prober calls it, and then has the pool refreshed.
    pub fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Relaxed);
    }

    /// How the last probe went.
    pub fn last_probe(&self) -> Option<ProbeReport> {
        self.last_probe.lock().expect("last probe lock").clone()
    }

    /// Keeps how the last probe went, and counts it.
    pub fn record_probe(&self, report: ProbeReport) {
        let count = match report.result {
            Ok(_) => &self.probes_good,
            Err(_) => &self.probes_failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        *self.last_probe.lock().expect("last probe lock") = Some(report);
    }

    /// Probes so far: good ones, failed ones.
    pub fn probe_counts(&self) -> (u64, u64) {
        (
            self.probes_good.load(Ordering::Relaxed),
            self.probes_failed.load(Ordering::Relaxed),
        )
    }

    /// Asks the prober to probe at once; the proxy calls it when a connection failed.
    pub fn ask_probe(&self) {
        self.probe_now.notify_one();
    }

    /// Resolves when somebody asked for a probe. The prober of this generation alone waits.
    pub async fn probe_asked(&self) {
        self.probe_now.notified().await;
    }

    /// The exchanges in flight, oldest first.
    pub fn exchanges(&self) -> Vec<Arc<Exchange>> {
        self.exchanges.list()
    }

    /// Asks those exchanges in flight that `which` chooses to end.
    pub fn ask_cuts(&self, reason: CutReason, which: impl Fn(&Exchange) -> bool) -> Asked {
        let mut asked = Asked::default();
        for exchange in self.exchanges().iter().filter(|exchange| which(exchange)) {
            if exchange.ask_cut(self.generation(), reason) {
                match exchange.is_tunnel() {
                    true => asked.tunnels += 1,
                    false => asked.requests += 1,
                }
            }
        }
        asked
    }

    /// What was cut since [`Backend::set_cuts`].
    pub fn cuts(&self) -> Cuts {
        self.cuts.lock().expect("cuts lock").clone()
    }

    /// Counts cuts from here on; a drain does so when it begins.
    pub fn set_cuts(&self, cuts: Cuts) {
        *self.cuts.lock().expect("cuts lock") = cuts;
    }

    /// Whether it may be probed, and is.
    pub fn probing(&self) -> &Probing {
        &self.probing
    }

    /// The upstream connections that the proxy keeps here.
    pub fn connections_slot(&self) -> &OnceLock<Box<dyn Connections>> {
        &self.connections
    }

    /// How many upstream connections there are, probes' included.
    pub fn connections(&self) -> ConnectionCount {
        let held = self.connections.get().map(|held| held.count());
        ConnectionCount {
            probing: self.probing.under_way(),
            ..held.unwrap_or_default()
        }
    }

    /// Closes the upstream connections that serve no exchange. Once the word is draining and idle
    /// none is left after this call.
    pub fn close_idle_connections(&self) {
        if let Some(held) = self.connections.get() {
            held.close_idle();
        }
    }

    /// The handles that `metrics` put here for the request path.
    pub fn metrics_slot(&self) -> &OnceLock<Box<dyn Counts>> {
        &self.metrics
    }

    /// Answers so far, and the errors among them.
    pub fn tally(&self) -> Tally {
        let counts = self.metrics.get().map(|counts| counts.tally());
        counts.unwrap_or_default()
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("identity", &self.identity)
            .field("word", &self.reading())
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ClaimKind {
    Request,
    Tunnel,
}

/// The guard that one exchange holds on one generation. Dropping it gives the count back.
#[derive(Debug)]
pub struct Claim {
    backend: Arc<Backend>,
    exchange: Arc<Exchange>,
    place: Place,
    kind: ClaimKind,
}

impl Claim {
    /// The generation that was counted.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Moves the count from requests to tunnels; a second call changes nothing.
    pub fn upgrade(&mut self) {
        if self.kind == ClaimKind::Request {
            self.exchange.become_tunnel();
            self.backend.word.upgrade();
            self.kind = ClaimKind::Tunnel;
        }
    }

    /// The exchange did not end by itself: somebody asked, and it was cut.
    pub fn was_cut(&self) {
        let mut cuts = self.backend.cuts.lock().expect("cuts lock");
        cuts.add(&self.exchange);
    }
}

impl Drop for Claim {
    /// Off the list first: who sees the count at zero finds the list empty.
    fn drop(&mut self) {
        self.exchange.go_from();
        self.backend.exchanges.leave(self.place);
        match self.kind {
            ClaimKind::Request => self.backend.word.release_request(),
            ClaimKind::Tunnel => self.backend.word.release_tunnel(),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report().fmt(f)
    }
}
