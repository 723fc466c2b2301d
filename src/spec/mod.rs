//! What an operator can ask for: names, addresses, weights and the settings of a pool.
//!
//! Plain values without behaviour, at the bottom of the crate beside [`crate::events`]: the
//! configuration parses into them, the pool is built from them, the state file writes some of them
//! out. Names, addresses, blocks and weights come out of texts and numbers by one constructor each,
//! and each refusal says what was expected in words that a configuration problem, an API answer and
//! a command line can all repeat ([`Invalid`]). What only fits together or not, such as two clocks,
//! is judged where it is put together.
//!
//! By noun: `names`, `address`, `backend` (one backend: its share, who put it there, what the
//! operator wants of it), `rollout` (what one is asked to keep), `settings` (of a pool and of the client side), `topology` (the pools and
//! routes of a configuration). Defaults live beside the field they belong to, once. All of it is
//! used by the names given here.

mod address;
mod backend;
mod names;
mod rollout;
mod settings;
mod topology;

pub use address::{
    Address, IpNet, SOCKET_PATH_BYTES_MAX, Target, parse_socket_path, split_host_port,
};
pub use backend::{BackendSpec, Intent, Origin, Weight};
pub use names::{BackendId, NAME_BYTES_MAX, PoolName, parse_name};
pub use rollout::{RolloutSpec, Share, Sticky};
pub use settings::{
    Balance, ClientSpec, DrainSpec, HealthSpec, HoldSpec, OnTimeout, PoolSettings, ProbeKind,
    Statuses, TimeoutSpec, TunnelSpec,
};
pub use topology::{HostPattern, PoolSpec, RouteSpec, Topology};

/// Why a text is not a valid value: what was expected, as a phrase that fits after "expected ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct Invalid(pub String);
