//! What the model keeps of rollouts and pauses: plain data that survives a restart.
//!
//! A pool has at most one [`Rollout`] under way, from the moment its new backends come in until the
//! move is decided: done, or taken back. What follows (the drain of those it took out) is no longer
//! in the way of the next; it is noted in the pool's [`Past`], which is its history.
//!
//! | phase | who is active | ends by |
//! | --- | --- | --- |
//! | [`Phase::Gate`] | the old; the new are on standby | all new healthy long enough; or given up |
//! | [`Phase::Canary`] | both, the new with a share | promote; rollback |
//! | [`Phase::Bake`] | the new; the old are on standby | the time is over; or taken back |
//!
//! What always holds: each step from one phase to the next, and each way out, is one model and so
//! one snapshot. Those a rollout is about are its own: [`PoolModel::held_by`] names it, and every
//! other operation on them is refused. The steps themselves are in [`crate::rollout`].

use serde::{Deserialize, Serialize};

use super::model::{PoolModel, UnixMillis};
use crate::backend::Generation;
use crate::spec::{Address, BackendId, DrainSpec, RolloutSpec, Share, Target};

/// Records kept of a pool; the oldest goes first. At ten deploys a day it is ten days.
pub const HISTORY_MAX: usize = 100;

/// Backends that one rollout brings in, or takes out, at most. A pool holds some 1,000 of all ages.
pub const ROLLOUT_BACKENDS_MAX: usize = 100;

/// Bytes of an idempotency key at most.
pub const KEY_BYTES_MAX: usize = 128;

/// Where a rollout stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The new ones are to get healthy; they get no traffic.
    Gate,
    /// The new ones get a share of the traffic.
    Canary(Share),
    /// The new ones serve and are watched.
    Bake,
}

impl Phase {
    /// The word used in answers, events and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Canary(_) => "canary",
            Self::Bake => "bake",
        }
    }
}

/// How long each phase took, in milliseconds; `None` where there was none, or it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Until the new ones were healthy long enough.
    pub gate_ms: Option<u64>,
    /// With a share.
    pub canary_ms: Option<u64>,
    /// Watched.
    pub bake_ms: Option<u64>,
    /// From the begin of the drain until the last of those taken out was drained.
    pub drain_ms: Option<u64>,
}

/// What a rollout is called by: what came of an operator's wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// New backends for old ones.
    Rollout,
    /// The set before, back again.
    Rollback,
}

impl Kind {
    /// The word used in answers and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::Rollback => "rollback",
        }
    }
}

/// One backend that a rollout is or was about; its generation may be forgotten by now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Named {
    /// Its id.
    pub id: BackendId,
    /// Its number.
    pub generation: Generation,
    /// As the operator wrote it.
    pub address: Address,
    /// What that was resolved to: two spellings may be one process.
    #[serde(with = "super::model::target_text")]
    pub target: Target,
    /// It was in the pool, on standby, before the rollout: it goes back there and is not removed.
    #[serde(default)]
    pub was_here: bool,
    /// How it ended, once it was taken out and has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<TakenOut>,
}

/// A rollout under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rollout {
    /// Counts up in its pool and never repeats.
    pub number: u64,
    /// What a retried call is known by.
    #[serde(default)]
    pub key: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// What it is.
    pub kind: Kind,
    /// When it began.
    pub begun: UnixMillis,
    /// Those that come.
    pub new: Vec<Named>,
    /// Those that go.
    pub old: Vec<Named>,
    /// Its clocks and thresholds.
    pub spec: RolloutSpec,
    /// The share it goes through first, if any.
    pub canary: Option<Share>,
    /// The old ones stay on standby instead of being drained.
    pub keep_standby: bool,
    /// The clocks by which the old ones drain.
    pub drain: DrainSpec,
    /// So many backends are eligible after the move, or it is not done.
    pub min_eligible: u32,
    /// Where it stands.
    pub phase: Phase,
    /// Since when.
    pub phase_since: UnixMillis,
    /// How long the phases before took.
    pub timings: Timings,
}

impl Rollout {
    /// Whether it is about this generation.
    pub fn is_about(&self, generation: Generation) -> bool {
        let mut all = self.new.iter().chain(&self.old);
        all.any(|named| named.generation == generation)
    }

    /// Writes down how long the phase that ends now took.
    pub fn clock(&mut self, now: UnixMillis) {
        let took = Some(now.saturating_sub(self.phase_since));
        match self.phase {
            Phase::Gate => self.timings.gate_ms = took,
            Phase::Canary(_) => self.timings.canary_ms = took,
            Phase::Bake => self.timings.bake_ms = took,
        }
    }
}

/// How a rollout was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// The new ones serve.
    Moved,
    /// The new ones did not get healthy, or not enough would have been eligible; the old ones serve.
    Failed,
    /// The new ones did badly while they served, and the old ones are back.
    Reverted,
    /// Somebody took it back; the old ones serve.
    Aborted,
}

impl Decided {
    /// The word used in answers, events and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Failed => "failed",
            Self::Reverted => "reverted",
            Self::Aborted => "aborted",
        }
    }
}

/// How those that were taken out ended, once all have. In this order the last one of several says how
/// all did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakenOut {
    /// There were none.
    None,
    /// They are on standby.
    Standby,
    /// All are drained, nothing was cut.
    Clean,
    /// All are drained, something was cut.
    Forced,
    /// At least one was brought back.
    Restored,
    /// Some still drain.
    Draining,
}

impl TakenOut {
    /// The word used in answers and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Standby => "standby",
            Self::Clean => "clean",
            Self::Forced => "forced",
            Self::Restored => "restored",
            Self::Draining => "draining",
        }
    }
}

/// A rollout that was decided: one record of a pool's history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Past {
    /// As of [`Rollout::number`].
    pub number: u64,
    /// As of [`Rollout::key`].
    #[serde(default)]
    pub key: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// What it was.
    pub kind: Kind,
    /// When it began.
    pub begun: UnixMillis,
    /// When it was decided.
    pub decided_at: UnixMillis,
    /// How.
    pub decided: Decided,
    /// Why, and by whom if somebody else decided it; in words.
    pub cause: String,
    /// Those that came.
    pub new: Vec<Named>,
    /// Those that went.
    pub old: Vec<Named>,
    /// How those that were taken out (the old if it moved, else the new) ended.
    pub taken_out: TakenOut,
    /// How long the phases took.
    pub timings: Timings,
    /// What the rollback that took it back is known by when it is retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back_by: Option<String>,
}

impl Past {
    /// Those that were taken out: the old if it moved, else the new.
    pub fn out(&self) -> &[Named] {
        match self.decided {
            Decided::Moved => &self.old,
            _ => &self.new,
        }
    }
}

/// A pool that holds its requests.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pause {
    /// Tells it from an earlier one that was as long and began in the same millisecond. Of this
    /// process only: not stored.
    #[serde(skip)]
    pub number: u64,
    /// Who paused it.
    pub actor: String,
    /// Since when.
    pub since: UnixMillis,
    /// When it resumes by itself.
    pub until: UnixMillis,
}

impl PoolModel {
    /// The rollout that is about this generation, if one is under way.
    pub fn held_by(&self, generation: Generation) -> Option<&Rollout> {
        let rollout = self.rollout.as_ref();
        rollout.filter(|rollout| rollout.is_about(generation))
    }
}
