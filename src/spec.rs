//! What an operator can ask for: names, addresses, weights and the settings of a pool.
//!
//! Plain values without behaviour, at the bottom of the crate beside [`crate::events`]: the
//! configuration parses into them, the pool is built from them, the state file writes some of them
//! out. Every value is valid once it exists: the constructors are the only door, and each refusal
//! says what was expected in words that a configuration problem, an API answer and a command line
//! can all repeat ([`Invalid`]).
//!
//! Defaults live here too, once, beside the field they belong to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a text is not a valid value: what was expected, as a phrase that fits after "expected ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct Invalid(pub String);

/// Longest name of a pool or backend, in bytes. Names go into paths, labels and table columns.
pub const NAME_BYTES_MAX: usize = 64;

/// Longest path of a unix socket in bytes: `sun_path` holds 108 with its closing NUL (unix(7)).
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Reads any name: letters, digits, '-', '_' and '.', none of which means something in a path,
/// label or option.
pub fn parse_name(text: &str) -> Result<Arc<str>, Invalid> {
    let fits = !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.as_bytes()[0].is_ascii_alphanumeric();
    if fits {
        Ok(text.into())
    } else {
        Err(Invalid(format!(
            "a name of 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.' that begins with a letter or digit"
        )))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Reads a name; refuses anything that could be mistaken in a path, label or option.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                parse_name(text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl TryFrom<String> for $type {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::parse(&text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name! {
    /// The name of a pool, unique in the configuration.
    PoolName
}
name! {
    /// The id of a backend, unique among the live backends of its pool.
    BackendId
}

/// Where a backend listens, as the operator wrote it. A name is resolved to a [`Target`] when the
/// backend is added or reloaded, never later.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A host name or IP literal (v6 without its brackets) and a port other than 0.
    Tcp {
        /// Host name, IPv4 or IPv6 literal.
        host: Arc<str>,
        /// 1 to 65535.
        port: u16,
    },
    /// An absolute path of a unix stream socket.
    Unix(PathBuf),
}

impl Address {
    /// Reads `host:port`, `[v6]:port` or `unix:/path`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_socket_path(path).map(Self::Unix);
        }
        let (host, port) = split_host_port(text)?;
        match port {
            0 => Err(Invalid(
                "a port from 1 to 65535: a backend listens on a port that is known".into(),
            )),
            port => Ok(Self::Tcp {
                host: host.into(),
                port,
            }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        };
        f.pad(&text)
    }
}

impl TryFrom<String> for Address {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.to_string()
    }
}

/// Reads an absolute unix socket path that fits into a socket address.
pub fn parse_socket_path(path: &str) -> Result<PathBuf, Invalid> {
    let fits = path.starts_with('/') && path.len() <= SOCKET_PATH_BYTES_MAX && !path.contains('\0');
    if fits {
        Ok(Path::new(path).to_path_buf())
    } else {
        Err(Invalid(format!(
            "an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes, such as unix:/run/app/a.sock"
        )))
    }
}

/// Splits `host:port` or `[v6]:port`; port 0 is left to the caller to judge.
pub fn split_host_port(text: &str) -> Result<(String, u16), Invalid> {
    let expected = |what: &str| Invalid(what.to_owned());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest
                .split_once("]:")
                .ok_or_else(|| expected("[v6]:port, such as [::1]:8080"))?;
            let is_v6 = host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_ipv6());
            if !is_v6 {
                return Err(expected(
                    "an IPv6 address between the brackets, such as [::1]:8080",
                ));
            }
            (host, port)
        }
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err(expected(
                    "brackets around an IPv6 address, such as [::1]:8080",
                ));
            }
            Some(pair) => pair,
            None => {
                return Err(expected(
                    "host:port, [v6]:port or unix:/path, such as 127.0.0.1:8080",
                ));
            }
        },
    };
    let is_host = !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':'));
    if !is_host {
        return Err(expected("a host name or IP address before the port"));
    }
    let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(port) if is_number => Ok((host.to_owned(), port)),
        _ => Err(expected("a port from 1 to 65535 after the last colon")),
    }
}

/// What an [`Address`] resolved to: where connections really go.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A unix socket path.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The share of a backend relative to the others of its pool, 1 to [`Weight::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Weight(u16);

impl Weight {
    /// The largest weight; HAProxy's is 256 too.
    pub const MAX: u16 = 256;

    /// Takes 1 to [`Weight::MAX`]. Zero is refused: `standby` says "no traffic" by name.
    pub fn new(weight: u64) -> Result<Self, Invalid> {
        match u16::try_from(weight) {
            Ok(weight @ 1..=Self::MAX) => Ok(Self(weight)),
            _ => Err(Invalid(format!(
                "a weight from 1 to {} (for no traffic use standby)",
                Self::MAX
            ))),
        }
    }

    /// The number.
    pub fn as_u32(self) -> u32 {
        u32::from(self.0)
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1)
    }
}

impl TryFrom<u64> for Weight {
    type Error = Invalid;
    fn try_from(weight: u64) -> Result<Self, Invalid> {
        Self::new(weight)
    }
}

impl From<Weight> for u64 {
    fn from(weight: Weight) -> u64 {
        u64::from(weight.0)
    }
}

/// Who put a backend into its pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The configuration file; a reload that no longer names it drains and removes it.
    File,
    /// The admin API; a reload leaves it alone.
    Api,
}

/// What the operator wants of a backend. Health is another matter ([`crate::backend::Health`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Intent {
    /// Gets new requests while healthy.
    Active,
    /// Kept warm and probed, gets no new requests.
    Standby,
    /// Finishes what it holds, gets no new requests.
    Draining,
}

impl Intent {
    /// The word used in answers, logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Draining => "draining",
        }
    }
}

impl Origin {
    /// The word used in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }
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
    /// An exchange on which no byte moved for so long is subject to `on_timeout`.
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

/// An address block such as `10.0.0.0/8`, or a single address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpNet {
    base: IpAddr,
    prefix: u8,
}

impl IpNet {
    /// Reads `address` or `address/prefix`; bits behind the prefix must be zero.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let expected = || Invalid("an address or block, such as 10.0.0.0/8 or ::1".into());
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) => {
                let is_number = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
                let prefix = prefix.parse::<u8>().ok().filter(|_| is_number);
                (base, Some(prefix.ok_or_else(expected)?))
            }
            None => (text, None),
        };
        let base: IpAddr = base.parse().map_err(|_| expected())?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits {
            return Err(Invalid(format!("a prefix length of at most {bits}")));
        }
        let net = Self { base, prefix };
        if net.masked(base) != bits_of(base) {
            return Err(Invalid(format!(
                "no bits set behind the prefix length {prefix}"
            )));
        }
        Ok(net)
    }

    /// Whether `address` is in the block; a v4-mapped v6 address counts as v4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && self.masked(address) == bits_of(self.base)
    }

    /// `address` with the bits behind the prefix cleared.
    fn masked(&self, address: IpAddr) -> u128 {
        let bits: u32 = if address.is_ipv4() { 32 } else { 128 };
        let behind = bits - u32::from(self.prefix);
        let mask = u128::MAX.checked_shl(behind).unwrap_or(0);
        bits_of(address) & mask
    }
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// One backend as the configuration file names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BackendSpec {
    /// Unique in its pool.
    pub id: BackendId,
    /// Where it listens.
    pub address: Address,
    /// Its share.
    #[serde(default)]
    pub weight: Weight,
}

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

/// The part of a configuration that can change while the proxy runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// In the order of the file.
    pub pools: Vec<PoolSpec>,
    /// In the order of the file.
    pub routes: Vec<RouteSpec>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_written() {
        for text in [
            "127.0.0.1:80",
            "[::1]:8080",
            "app-1.internal:3000",
            "unix:/run/a.sock",
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_addresses_are_refused_with_what_is_expected() {
        for (text, expected) in [
            (
                "10.0.0.7",
                "host:port, [v6]:port or unix:/path, such as 127.0.0.1:8080",
            ),
            (
                "::1:80",
                "brackets around an IPv6 address, such as [::1]:8080",
            ),
            ("[::1]", "[v6]:port, such as [::1]:8080"),
            (
                "[127.0.0.1]:80",
                "an IPv6 address between the brackets, such as [::1]:8080",
            ),
            ("a:", "a port from 1 to 65535 after the last colon"),
            ("a:+80", "a port from 1 to 65535 after the last colon"),
            ("a:70000", "a port from 1 to 65535 after the last colon"),
            (
                "a:0",
                "a port from 1 to 65535: a backend listens on a port that is known",
            ),
            (":80", "a host name or IP address before the port"),
            ("a b:80", "a host name or IP address before the port"),
        ] {
            assert_eq!(
                Address::parse(text),
                Err(Invalid(expected.into())),
                "{text}"
            );
        }
        assert!(Address::parse("unix:relative").is_err());
        assert!(Address::parse(&format!("unix:/{}", "x".repeat(107))).is_err());
    }

    #[test]
    fn address_blocks_contain_what_they_say() {
        let net = |text| IpNet::parse(text).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(net("10.0.0.0/8").contains(ip("10.255.0.1")));
        assert!(net("10.0.0.0/8").contains(ip("::ffff:10.1.1.1")));
        assert!(!net("10.0.0.0/8").contains(ip("11.0.0.1")));
        assert!(!net("10.0.0.0/8").contains(ip("::1")));
        assert!(net("0.0.0.0/0").contains(ip("1.2.3.4")));
        assert!(net("::/0").contains(ip("fe80::1")));
        assert!(net("::1").contains(ip("::1")) && !net("::1").contains(ip("::2")));
        for bad in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "x", "10.0.0.0/+8"] {
            assert!(IpNet::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_refuse_what_a_path_or_option_could_mistake() {
        for text in ["", "-a", ".", "a/b", "a@1", "a b", "ä", &"x".repeat(65)] {
            assert!(BackendId::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(BackendId::parse("v1.2_b-3").unwrap().as_str(), "v1.2_b-3");
    }
}
