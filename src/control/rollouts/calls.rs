//! What the operations on rollouts are told.

use std::time::Duration;

use super::Replace;
use crate::control::DrainCall;
use crate::spec::{Address, BackendId, RolloutSpec, Share, Sticky, Weight};

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

/// How a rollout differs from its pool's defaults; see [`RolloutSpec`].
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

impl RolloutClocks {
    pub(super) fn over(&self, defaults: &RolloutSpec) -> RolloutSpec {
        let sticky = self.sticky.clone();
        RolloutSpec {
            min_healthy_time: self.min_healthy_time.unwrap_or(defaults.min_healthy_time),
            healthy_deadline: self.healthy_deadline.unwrap_or(defaults.healthy_deadline),
            bake: self.bake.unwrap_or(defaults.bake),
            auto_revert: self.auto_revert.unwrap_or(defaults.auto_revert),
            min_requests: self.min_requests.unwrap_or(defaults.min_requests),
            error_margin: self.error_margin.unwrap_or(defaults.error_margin),
            sticky: sticky.or_else(|| defaults.sticky.clone()),
        }
    }
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
