//! Rollouts: moving a pool from one set of backends to another as one transaction.

use std::sync::Arc;
use std::time::Duration;

use super::drains::DrainCall;
use super::{Actor, Control};
use crate::outcome::Outcome;
use crate::report::{Answer, RolloutStatus};
use crate::spec::{Address, BackendId, PoolName, Share, Sticky, Weight};

/// Which backends a rollout takes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Every active one that it does not bring in.
    All,
    /// These.
    These(Vec<BackendId>),
}

/// One backend that a rollout brings in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The id.
    pub id: BackendId,
    /// As written.
    pub address: Address,
    /// Its share.
    pub weight: Weight,
}

/// How a rollout differs from its pool's defaults; see [`crate::spec::RolloutSpec`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutClocks {
    /// See there.
    pub min_healthy_time: Option<Duration>,
    /// See there.
    pub healthy_deadline: Option<Duration>,
    /// See there.
    pub bake: Option<Duration>,
    /// See there.
    pub auto_revert: Option<bool>,
    /// See there.
    pub min_requests: Option<u32>,
    /// See there.
    pub error_margin: Option<Share>,
    /// See there.
    pub sticky: Option<Sticky>,
}

/// What `rollout` is told.
#[derive(Clone, Debug)]
pub struct RolloutCall {
    /// Those that come; 1 to [`crate::pool::rollout::ROLLOUT_BACKENDS_MAX`].
    pub add: Vec<Incoming>,
    /// Those that go.
    pub replace: Replace,
    /// Through a canary with this share first.
    pub canary: Option<Share>,
    /// The old ones stay on standby instead of being drained.
    pub keep_standby: bool,
    /// So many backends are eligible after the move, or it is not done; 1 unless said.
    pub min_eligible: Option<u32>,
    /// Also when one of the old lives in another pool too.
    pub force: bool,
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
    /// What a retried call is known by: it joins the first one.
    pub key: Option<String>,
    /// How long to wait for another rollout of the pool to be over; zero does not.
    pub lock_wait: Duration,
    /// Clocks and thresholds.
    pub clocks: RolloutClocks,
    /// Clocks of the drain; its `wait` is how long the caller waits for the drain once the new ones
    /// serve. A wait of zero is answered at once, before anything was decided.
    pub drain: DrainCall,
}

/// What `rollback` is told.
#[derive(Clone, Debug, Default)]
pub struct RollbackCall {
    /// Those that are taken out stay on standby instead of being drained.
    pub keep_standby: bool,
    /// What a retried call is known by.
    pub key: Option<String>,
    /// Clocks of the drain, and the caller's wait.
    pub drain: DrainCall,
}

impl Control {
    /// Moves a pool to new backends and answers when it is decided and the old ones are drained.
    pub async fn rollout(
        self: &Arc<Self>,
        _actor: Actor,
        _pool: PoolName,
        _call: RolloutCall,
    ) -> Answer {
        Answer::new(Outcome::Error, "skeleton")
    }

    /// Changes the share of an open canary.
    pub async fn canary(self: &Arc<Self>, _actor: Actor, _pool: PoolName, _share: Share) -> Answer {
        Answer::new(Outcome::Error, "skeleton")
    }

    /// Gives an open canary all of the traffic; from here it goes on as a rollout. `wait` as of its
    /// drain.
    pub async fn promote(
        self: &Arc<Self>,
        _actor: Actor,
        _pool: PoolName,
        _wait: Option<Duration>,
    ) -> Answer {
        Answer::new(Outcome::Error, "skeleton")
    }

    /// Takes back what is under way, or brings back the set before the last rollout.
    pub async fn rollback(
        self: &Arc<Self>,
        _actor: Actor,
        _pool: PoolName,
        _call: RollbackCall,
    ) -> Answer {
        Answer::new(Outcome::Error, "skeleton")
    }

    /// Ends a rollout under way the safe way: the old ones serve. `wait` is for the drain of the new.
    pub async fn abort(
        self: &Arc<Self>,
        _actor: Actor,
        _pool: PoolName,
        _wait: Option<Duration>,
    ) -> Answer {
        Answer::new(Outcome::Error, "skeleton")
    }

    /// The rollouts of a pool, the newest first: the one under way, then those that were decided.
    pub async fn history(&self, _pool: &PoolName) -> Result<Vec<RolloutStatus>, Box<Answer>> {
        Ok(Vec::new())
    }
}
