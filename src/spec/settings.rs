//! The settings of a pool, and of the client side: clocks, bounds and probes, with their defaults.
//!
//! [`PoolSettings`] joins what one pool has; [`ClientSpec`] is the same for all listeners. Only the
//! configuration file changes them; of a drain's clocks ([`DrainSpec`]) a caller may name others for
//! one drain, and the state file keeps those.
//!
//! Plain fields that anybody may set. That they fit together, such as a probe's timeout within its
//! interval, is checked by the configuration when it reads them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{IpNet, RolloutSpec};

/// The settings of a pool: everything but its backends. Only the file changes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolSettings {
    /// How to pick a backend.
    pub balance: Balance,
    /// How to probe.
    pub health: HealthSpec,
    /// Default clocks of a drain.
    pub drain: DrainSpec,
    /// Bounds of holding.
    pub hold: HoldSpec,
    /// Clocks of an exchange.
    pub timeouts: TimeoutSpec,
    /// Default clocks and thresholds of a rollout.
    pub rollout: RolloutSpec,
}

/// How a pool picks among its eligible backends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Balance {
    /// Power of two choices by requests in flight per weight (Mitzenmacher, 2001).
    #[default]
    LeastRequests,
    /// Smooth weighted round robin.
    RoundRobin,
}

impl Balance {
    /// The word used in the configuration and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LeastRequests => "least_requests",
            Self::RoundRobin => "round_robin",
        }
    }
}

/// A set of expected response status codes, as inclusive ranges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statuses(pub Vec<(u16, u16)>);

impl Default for Statuses {
    fn default() -> Self {
        Self(vec![(200, 299)])
    }
}

impl Statuses {
    /// Whether `status` is among the expected ones.
    pub fn contains(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|&(from, to)| (from..=to).contains(&status))
    }
}

/// What a probe asks of a backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProbeKind {
    /// `GET path`; success is an answer with an expected status. Redirects are not followed.
    Http {
        /// Origin-form target, such as `/up`.
        path: String,
        /// The `Host` field; `None` sends the backend's own address.
        host: Option<String>,
        /// Which answers are good; 200 to 299 unless said.
        statuses: Statuses,
    },
    /// A connection that is accepted.
    Tcp,
}

/// How the health of a pool's backends is probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthSpec {
    /// What is asked.
    pub kind: ProbeKind,
    /// From the start of one probe to the start of the next, before jitter.
    pub interval: Duration,
    /// One probe's whole time, connect included; at most the interval.
    pub timeout: Duration,
    /// Good probes in a row until a backend is healthy, 1 or more.
    pub rise: u32,
    /// Failed probes in a row until a healthy backend is unhealthy, 1 or more.
    pub fall: u32,
}

impl HealthSpec {
    /// The defaults for a kind of probe.
    pub fn new(kind: ProbeKind) -> Self {
        Self {
            kind,
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
        }
    }
}

/// What happens to what is left when a drain's time is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// The drain goes on.
    #[default]
    Keep,
    /// What is left is cut.
    Close,
}

/// When tunnels of a draining backend are closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TunnelSpec {
    /// From the begin of the drain to the first closed tunnel; `None` is `never`.
    pub close_after: Option<Duration>,
    /// The window over which the tunnels are closed one after another.
    pub spread: Duration,
}

/// The clocks of a drain (design, section 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DrainSpec {
    /// How long a caller waits for the answer; the drain itself goes on.
    pub wait: Duration,
    /// How long the drain may take before `on_timeout` decides.
    pub timeout: Duration,
    /// What `timeout` and `idle_timeout` do.
    pub on_timeout: OnTimeout,
    /// A request on which no byte moved for so long is subject to `on_timeout`; a tunnel only where
    /// nothing else ever closes it (`close_after` is `never`).
    pub idle_timeout: Duration,
    /// Tunnels have clocks of their own.
    pub tunnels: TunnelSpec,
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(60),
            timeout: Duration::from_secs(5 * 60),
            on_timeout: OnTimeout::Keep,
            idle_timeout: Duration::from_secs(90),
            tunnels: TunnelSpec {
                close_after: Some(Duration::from_secs(30)),
                spread: Duration::from_secs(20),
            },
        }
    }
}

/// Bounds of holding requests while no backend is eligible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HoldSpec {
    /// The longest a request is held; zero never holds.
    pub timeout: Duration,
    /// How many requests a pool holds at once.
    pub max_requests: u32,
}

impl Default for HoldSpec {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            max_requests: 1000,
        }
    }
}

/// The clocks of one exchange towards its backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeoutSpec {
    /// Establishing a connection.
    pub connect: Duration,
    /// From the request sent to the head of its response.
    pub response_head: Duration,
    /// Between two pieces of a body that the backend sends or takes.
    pub body_idle: Duration,
    /// Without a byte in either direction of a tunnel.
    pub tunnel_idle: Duration,
    /// How long an idle upstream connection is kept for reuse.
    pub upstream_idle: Duration,
}

impl Default for TimeoutSpec {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            response_head: Duration::from_secs(60),
            body_idle: Duration::from_secs(60),
            tunnel_idle: Duration::from_secs(60 * 60),
            upstream_idle: Duration::from_millis(1500),
        }
    }
}

/// What clients may do: clocks and bounds of the client side, the same for all listeners.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientSpec {
    /// From the first byte of a request head, or a new connection, to the end of the head.
    pub head_timeout: Duration,
    /// Between two pieces of a body that the client sends or takes.
    pub body_idle: Duration,
    /// How long a connection may wait for its next request.
    pub keep_alive: Duration,
    /// Client connections at once; one more is closed as soon as it was accepted.
    pub connections_max: usize,
    /// Bytes of a request head, request line included.
    pub head_bytes_max: usize,
    /// Fields of a request head.
    pub fields_max: usize,
    /// Bytes of a request target.
    pub target_bytes_max: usize,
    /// Whose `X-Forwarded-*` are believed and appended to.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for ClientSpec {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            connections_max: 20_000,
            head_bytes_max: 32 * 1024,
            fields_max: 100,
            target_bytes_max: 8 * 1024,
            trusted_proxies: Vec::new(),
        }
    }
}
