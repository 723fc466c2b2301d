//! A rollout as it is told, under way or over, and a pause.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A rollout, under way or a record of the history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutStatus {
    /// Counts up in its pool and never repeats.
    pub number: u64,
    /// What a retried call is known by.
    pub key: Option<String>,
    /// `rollout` or `rollback`.
    pub kind: String,
    /// `gate`, `canary` or `bake` while it is under way; then how it was decided: `moved`, `failed`,
    /// `reverted` or `aborted`.
    pub phase: String,
    /// Who asked for it: a peer uid or token name.
    pub actor: String,
    /// The share of new requests that the new ones get, while the phase is `canary`.
    pub share: Option<String>,
    /// Why it was decided so, in words.
    pub cause: Option<String>,
    /// When it began, in milliseconds since the Unix epoch.
    pub begun_ms: u64,
    /// When it was decided.
    pub decided_ms: Option<u64>,
    /// Those that come.
    pub added: Vec<RolloutBackend>,
    /// Those that go.
    pub replaced: Vec<RolloutBackend>,
    /// How those that were taken out ended (the replaced, or if the rollout was taken back, the
    /// added): `draining`, `clean`, `forced`, `restored`, `standby` or `none`. Null while it is
    /// under way.
    pub taken_out: Option<String>,
    /// How long each phase took.
    pub timings: PhaseTimes,
    /// What the judgement of errors stands on, once the new ones serve.
    pub errors: Option<ErrorShares>,
}

/// One backend of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutBackend {
    /// Its id.
    pub id: String,
    /// Its generation.
    pub generation: u64,
    /// As the operator wrote it.
    pub address: String,
    /// `active`, `standby`, `draining`, `drained`, or `removed`.
    pub state: String,
    /// Whether its process may be killed without a client noticing.
    pub safe_to_kill: bool,
}

/// How long each phase took, in milliseconds; null where there was none, or it goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PhaseTimes {
    /// Until the new ones were healthy long enough.
    pub gate_ms: Option<u64>,
    /// With a share.
    pub canary_ms: Option<u64>,
    /// Watched while they served.
    pub bake_ms: Option<u64>,
    /// Until the last of those taken out was drained.
    pub drain_ms: Option<u64>,
}

/// Errors beside answers: statuses of 500 and above, and connections that were not taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorShares {
    /// Answers of the new ones since they serve.
    pub new_answers: u64,
    /// Errors among them.
    pub new_errors: u64,
    /// Answers of the old ones that the new ones are compared with.
    pub old_answers: u64,
    /// Errors among them.
    pub old_errors: u64,
    /// Whether there were enough answers to judge.
    pub judged: bool,
}

/// A pool whose requests are held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PauseStatus {
    /// Who paused it.
    pub actor: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// When it resumes by itself, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}
