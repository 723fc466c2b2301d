//! One event as it is streamed: who, when, what. [`Particulars`] has the fields of each kind.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One event of the stream, as the `data` of a server-sent event and as a line of `events --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventRecord {
    /// Counts from 1 without gaps, anew with each process. Of a `gap` it is the last that is missing,
    /// so that `since` this number goes on behind it.
    pub number: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: Particulars,
    /// The pool it is about.
    pub pool: Option<String>,
    /// The backend's id.
    pub backend: Option<String>,
    /// The backend's generation.
    pub generation: Option<u64>,
    /// Who asked for it: a peer uid or token name; null when the proxy acted by itself.
    pub actor: Option<String>,
    /// When the numbering began, in milliseconds since the Unix epoch: `NUMBER@BEGAN_MS` is never
    /// given twice.
    pub began_ms: u64,
}

/// What happened, by its name in `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Particulars {
    /// A backend came into a pool.
    Added {
        /// As the operator wrote it.
        address: String,
        /// Its first intent.
        intent: String,
    },
    /// A backend was forgotten.
    Removed,
    /// The operator's intent changed.
    IntentChanged {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// The probes' verdict changed.
    HealthChanged {
        /// Before.
        from: String,
        /// After.
        to: String,
        /// What the deciding probe saw.
        cause: String,
    },
    /// A share changed.
    WeightChanged {
        /// Before.
        from: u32,
        /// After.
        to: u32,
    },
    /// A drain began.
    DrainBegun {
        /// Requests in flight at that moment.
        requests: u32,
        /// Tunnels in flight at that moment.
        tunnels: u32,
    },
    /// A drain goes on.
    DrainProgress {
        /// Requests in flight now.
        requests: u32,
        /// Tunnels in flight now.
        tunnels: u32,
        /// From its begin, in milliseconds.
        took_ms: f64,
    },
    /// A drain ended.
    DrainEnded {
        /// `clean`, `forced` or `restored`.
        outcome: String,
        /// From its begin, in milliseconds.
        took_ms: f64,
        /// Requests that were cut.
        cut_requests: u32,
        /// Tunnels that were cut.
        cut_tunnels: u32,
    },
    /// The operator cut what was in flight.
    Closed {
        /// Requests that were cut.
        requests: u32,
        /// Tunnels that were cut.
        tunnels: u32,
    },
    /// A rollout began.
    RolloutBegun {
        /// Its number in the pool.
        rollout: u64,
        /// `rollout` or `rollback`.
        kind: String,
        /// The ids of those that come.
        added: Vec<String>,
        /// The ids of those that go.
        replaced: Vec<String>,
    },
    /// A rollout went on to its next phase, or its canary got another share.
    RolloutPhase {
        /// Its number in the pool.
        rollout: u64,
        /// `canary` or `bake`.
        phase: String,
        /// Of a canary, such as `10%`.
        share: Option<String>,
    },
    /// A rollout was decided: who serves now will go on to serve.
    RolloutDecided {
        /// Its number in the pool.
        rollout: u64,
        /// `moved`, `failed`, `reverted` or `aborted`.
        decided: String,
        /// In words.
        cause: String,
        /// From its begin, in milliseconds.
        took_ms: f64,
    },
    /// Those that a rollout took out have all ended.
    RolloutEnded {
        /// Its number in the pool.
        rollout: u64,
        /// `clean`, `forced`, `restored`, `standby` or `none`.
        taken_out: String,
    },
    /// A pool holds its requests from now on.
    Paused {
        /// After so long it resumes by itself, in milliseconds.
        ttl_ms: f64,
    },
    /// A pool lets its requests go.
    Resumed {
        /// `asked`, `ttl` (its time was over), `in_flight` (requests did not end in time) or `leaving`
        /// (the file no longer names it).
        cause: String,
        /// Requests that were held then.
        held: usize,
    },
    /// The configuration was read again and applied.
    Reloaded {
        /// What it changed, in words.
        summary: String,
    },
    /// The configuration was read again and refused; nothing changed.
    ReloadRejected {
        /// How many problems it had.
        problems: usize,
    },
    /// Some of what was asked for is missing from this stream; it did not happen to the proxy.
    Gap {
        /// Why.
        cause: GapCause,
        /// The first number that is missing.
        from: u64,
        /// The last number that is missing; null if nobody knows.
        to: Option<u64>,
    },
}

/// Why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The ring keeps the newest only.
    NoLongerKept,
    /// The number is of an earlier process. Everything kept of this one follows.
    NumberedAnew,
}

impl Particulars {
    /// The word that stands in `event`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Added { .. } => "added",
            Self::Removed => "removed",
            Self::IntentChanged { .. } => "intent_changed",
            Self::HealthChanged { .. } => "health_changed",
            Self::WeightChanged { .. } => "weight_changed",
            Self::DrainBegun { .. } => "drain_begun",
            Self::DrainProgress { .. } => "drain_progress",
            Self::DrainEnded { .. } => "drain_ended",
            Self::Closed { .. } => "closed",
            Self::RolloutBegun { .. } => "rollout_begun",
            Self::RolloutPhase { .. } => "rollout_phase",
            Self::RolloutDecided { .. } => "rollout_decided",
            Self::RolloutEnded { .. } => "rollout_ended",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Reloaded { .. } => "reloaded",
            Self::ReloadRejected { .. } => "reload_rejected",
            Self::Gap { .. } => "gap",
        }
    }
}
