//! What operations answer: one stable shape that `control` makes, `admin` writes as JSON and `cli`
//! reads back and renders. Plain data; the schema derive is for the OpenAPI document only.
//!
//! Fields are added, never renamed or removed: scripts read them.

mod event;
mod rollout;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::outcome::Outcome;

pub use event::{EventRecord, GapCause, Particulars};
pub use rollout::{ErrorShares, PauseStatus, PhaseTimes, RolloutBackend, RolloutStatus};

/// The answer of every operation on a backend, problem documents included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// What it ended in; the exit code follows from it.
    pub outcome: Outcome,
    /// One line for people.
    pub message: String,
    /// What to do next, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The generation that the operation was about.
    pub generation: Option<u64>,
    /// That backend as it stands now.
    pub backend: Option<BackendStatus>,
    /// Who serves the pool now.
    pub serving: Vec<Serving>,
    /// Whether the process of that generation may be killed without a client noticing; of a rollout, the
    /// processes of all that it was to take out.
    pub safe_to_kill: bool,
    /// The drain, if there is or was one.
    pub drain: Option<DrainStatus>,
    /// What a pause found in flight when its wait was over, oldest first, bounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<ExchangeStatus>,
    /// The rollout that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// What was done but deserves a look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Answer {
    /// An answer about no backend.
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            message: message.into(),
            hint: None,
            generation: None,
            backend: None,
            serving: Vec::new(),
            safe_to_kill: false,
            drain: None,
            in_flight: Vec::new(),
            rollout: None,
            warnings: Vec::new(),
        }
    }

    /// With a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// An eligible backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Serving {
    /// Its id.
    pub id: String,
    /// Its generation.
    pub generation: u64,
    /// As the operator wrote it.
    pub address: String,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackendStatus {
    /// Its pool.
    pub pool: String,
    /// Its id.
    pub id: String,
    /// Its generation.
    pub generation: u64,
    /// As the operator wrote it.
    pub address: String,
    /// `file` or `api`.
    pub origin: String,
    /// Its share.
    pub weight: u32,
    /// `active`, `standby` or `draining`.
    pub intent: String,
    /// `unknown`, `healthy` or `unhealthy`.
    pub health: String,
    /// Whether it gets new requests.
    pub eligible: bool,
    /// Whether *drained* is final.
    pub drained: bool,
    /// Requests in flight.
    pub requests: u32,
    /// Tunnels in flight.
    pub tunnels: u32,
    /// Connections that the proxy holds to it: busy, idle, and a probe's. Null if a proxy of an older
    /// version answers, which cannot tell.
    pub connections: Option<u32>,
    /// Since when it has its intent, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The last probe.
    pub last_probe: Option<ProbeStatus>,
}

/// How the last probe went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbeStatus {
    /// Whether it was good.
    pub good: bool,
    /// What was seen, or the cause.
    pub detail: String,
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
}

/// A drain under way or over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainStatus {
    /// When it began, in milliseconds since the Unix epoch.
    pub begun_ms: u64,
    /// How long it took, or has taken so far, in milliseconds.
    pub took_ms: f64,
    /// Requests that were cut.
    pub cut_requests: u32,
    /// Tunnels that were cut.
    pub cut_tunnels: u32,
    /// The first of those that were cut.
    pub cut: Vec<ExchangeStatus>,
    /// What blocks it now, oldest first, bounded.
    pub blocked_by: Vec<ExchangeStatus>,
}

/// One exchange in flight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExchangeStatus {
    /// `request` or `tunnel`.
    pub kind: String,
    /// The request's method.
    pub method: String,
    /// Its path without query.
    pub path: String,
    /// The client's address.
    pub client: Option<String>,
    /// Since it began, in milliseconds.
    pub age_ms: u64,
    /// Body or tunnel bytes from the client.
    pub bytes_up: u64,
    /// Body or tunnel bytes from the backend.
    pub bytes_down: u64,
    /// Since a byte moved, in milliseconds.
    pub idle_ms: u64,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// `least_requests` or `round_robin`.
    pub balance: String,
    /// How many backends are eligible.
    pub eligible: usize,
    /// Requests that wait for one.
    pub held: usize,
    /// The file no longer names it.
    pub leaving: bool,
    /// Its requests are held until somebody resumes it.
    #[serde(default)]
    pub paused: Option<PauseStatus>,
    /// The rollout under way.
    #[serde(default)]
    pub rollout: Option<RolloutStatus>,
    /// In the order they were added.
    pub backends: Vec<BackendStatus>,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListenerStatus {
    /// The address it is bound to, with the real port.
    pub address: String,
}

/// The whole proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Always `done`: every answer carries an outcome.
    pub outcome: Outcome,
    /// Of this program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When it started, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Where clients connect.
    pub listeners: Vec<ListenerStatus>,
    /// The admin API on TCP, if configured.
    pub admin: Option<ListenerStatus>,
    /// The metrics listener, if configured.
    pub metrics: Option<ListenerStatus>,
    /// By name.
    pub pools: Vec<PoolStatus>,
}
