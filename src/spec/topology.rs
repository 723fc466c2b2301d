//! The pools and routes of a configuration: the part that a reload can change.
//!
//! A [`Topology`] is what a file says, in its order; it is replaced whole. That pool names, ids and
//! routes are unique in it and that each route's pool is there is checked by the configuration;
//! which of its routes a request takes is decided in the pool's route table.

use std::fmt;

use super::{BackendSpec, PoolName, PoolSettings};

/// The part of a configuration that can change while the proxy runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// In the order of the file.
    pub pools: Vec<PoolSpec>,
    /// In the order of the file.
    pub routes: Vec<RouteSpec>,
}

/// A pool as the configuration file describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolSpec {
    /// Unique.
    pub name: PoolName,
    /// Everything but the backends.
    pub settings: PoolSettings,
    /// In the order of the file.
    pub backends: Vec<BackendSpec>,
}

/// One route: host and path prefix to a pool. The most specific host wins, then the longest path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteSpec {
    /// Which hosts.
    pub host: HostPattern,
    /// A prefix of whole path segments: `/api` takes `/api` and `/api/x`, not `/apis`.
    pub path: String,
    /// Where the requests go.
    pub pool: PoolName,
}

/// Which hosts a route takes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum HostPattern {
    /// Any host; the route's `host` was left out.
    Any,
    /// This host, lower case, without port.
    Exact(String),
    /// `*.suffix`: hosts with at least one label before `.suffix`; holds `.suffix`, lower case.
    Suffix(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any host"),
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}
