//! A valid configuration: what the file said, with every default filled in.
//!
//! Plain values; only [`super::parse`] makes a [`Config`]. What the pools and clients are made of is
//! in [`crate::spec`]; here is what belongs to the process itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::spec::{ClientSpec, Topology};

/// Everything a configuration file says.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Threads that serve requests; `None` is one per core.
    pub workers: Option<usize>,
    /// Where operations are asked for.
    pub admin: AdminConfig,
    /// Where metrics, `/healthz` and `/readyz` are served; port 0 is any free one.
    pub metrics: Option<SocketAddr>,
    /// The file that keeps runtime changes over a restart.
    pub state: Option<PathBuf>,
    /// What is logged.
    pub log: LogConfig,
    /// How long what is in flight may take to finish when the process ends.
    pub shutdown_timeout: Duration,
    /// Clocks and bounds of the client side.
    pub client: ClientSpec,
    /// Where clients connect, at least one; port 0 is any free one.
    pub listeners: Vec<SocketAddr>,
    /// Pools and routes: the part that can change while the proxy runs.
    pub topology: Topology,
    /// What is allowed and may surprise; whole sentences for a log or a terminal.
    pub warnings: Vec<String>,
}

/// Where operations are asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminConfig {
    /// The unix socket.
    pub socket: PathBuf,
    /// The group that may use the socket; `None` leaves the process's own.
    pub group: Option<String>,
    /// A TCP listener beside the socket.
    pub tcp: Option<TcpAdmin>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/tidegate/admin.sock"),
            group: None,
            tcp: None,
        }
    }
}

/// The admin API on TCP; it always demands a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpAdmin {
    /// Where it listens; port 0 is any free one.
    pub address: SocketAddr,
    /// The tokens that are good, at least one.
    pub tokens: Vec<TokenFile>,
}

/// A token of the admin API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TokenFile {
    /// Who uses it, as events and history name the actor; unique.
    pub name: String,
    /// The file that holds it.
    pub file: PathBuf,
}

/// What is logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// How an event is written.
    pub format: Format,
    /// From which level on.
    pub level: Level,
    /// Whether each exchange gets a line of the access log.
    pub access: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: Format::Text,
            level: Level::Info,
            access: false,
        }
    }
}

/// How an event is written to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// `key=value` for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// From which level on events are logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// Somebody must act.
    Error,
    /// Somebody should look.
    Warn,
    /// Operations and changes of state.
    Info,
    /// Each exchange.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    /// The word used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How long what is in flight may take when the process ends, unless said.
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);
