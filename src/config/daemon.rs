//! The sections about the process itself: workers, admin, metrics, state, log, shutdown, client,
//! listeners.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::keys;
use super::problems::quoted;
use super::reader::{Spot, Zero};
use super::section::Section;
use super::settings::{AdminConfig, Config, Format, Level, LogConfig, SHUTDOWN_TIMEOUT};
use super::settings::{TcpAdmin, TokenFile};
use super::units::format_size;
use crate::spec::{ClientSpec, Invalid, IpNet, SOCKET_PATH_BYTES_MAX, Topology};
use crate::spec::{parse_name, parse_socket_path};

/// Threads that serve requests. More than any machine this was tried on has cores.
pub const WORKERS_MAX: u64 = 256;

/// Listeners. An upgrade hands their sockets over in one message, which carries at most 253
/// (`SCM_MAX_FD`, unix(7)).
pub const LISTENERS_MAX: usize = 64;

/// Tokens of the admin API: each request is compared with all. Two per user allow rotation.
pub const ADMIN_TOKENS_MAX: usize = 8;

/// Blocks of trusted proxies: each address of `X-Forwarded-For` is compared with all.
pub const TRUSTED_PROXIES_MAX: usize = 1024;

/// Client connections: about the descriptors a process can be given (`nr_open`, 1,048,576).
const CONNECTIONS_MAX: u64 = 1_000_000;

/// Fields of a head: the codec has room for 256.
const HEAD_FIELDS_MAX: u64 = 256;

/// Bytes of a request head: each client that sends one slowly may hold a buffer of that size.
const HEAD_BYTES_MAX: u64 = 512 * 1024;

/// A smaller head would refuse the requests of ordinary browsers.
const HEAD_BYTES_MIN: u64 = 1024;

/// A smaller target would refuse ordinary links.
const TARGET_BYTES_MIN: u64 = 256;

/// Where the process listens so far, each address with its path.
type Taken = HashMap<SocketAddr, String>;

/// Everything but the topology, which is left empty, and the warnings.
pub(super) fn read(root: &Section<'_>) -> Config {
    let mut taken = Taken::new();
    Config {
        workers: read_workers(root),
        admin: read_admin(root, &mut taken),
        metrics: read_metrics(root, &mut taken),
        state: read_state(root),
        log: read_log(root),
        shutdown_timeout: read_shutdown_timeout(root),
        client: read_client(root),
        listeners: read_listeners(root, &mut taken),
        topology: Topology::default(),
        warnings: Vec::new(),
    }
}

fn read_workers(root: &Section<'_>) -> Option<usize> {
    let expected = format!("a number from 1 to {WORKERS_MAX}, or left out for one per core");
    let workers = root.find("workers")?.number(1..=WORKERS_MAX, &expected)?;
    usize::try_from(workers).ok()
}

fn read_admin(root: &Section<'_>, taken: &mut Taken) -> AdminConfig {
    let mut admin = AdminConfig::default();
    let Some(section) = root.section("admin", keys::ADMIN) else {
        return admin;
    };
    let socket = section.find("socket");
    if let Some(socket) = socket.and_then(|spot| spot.parsed("a path", parse_admin_socket)) {
        admin.socket = socket;
    }
    let group = section.find("group");
    admin.group = group.and_then(|spot| spot.name(parse_group));
    admin.tcp = read_admin_tcp(&section, taken);
    admin
}

fn parse_admin_socket(path: &str) -> Result<PathBuf, Invalid> {
    parse_socket_path(path).map_err(|_| {
        Invalid(format!(
            "an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes, such as \
             /run/tidegate/admin.sock"
        ))
    })
}

/// Group names are free text to the system; only what can be none is refused.
fn parse_group(text: &str) -> Result<String, Invalid> {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/' | ',');
    match text.is_empty() || text.len() > 256 || text.contains(is_odd) {
        true => Err(Invalid("the name of a group, such as deploy".into())),
        false => Ok(text.to_owned()),
    }
}

fn read_admin_tcp(section: &Section<'_>, taken: &mut Taken) -> Option<TcpAdmin> {
    let tokens = section.find("tokens").map(read_tokens);
    let Some(spot) = section.find("address") else {
        if let Some(spot) = section.find("tokens") {
            spot.problem("is of no use without admin.address (expected both or neither)");
        }
        return None;
    };
    let address = read_listen_address(spot, taken);
    if tokens.is_none() {
        spot.problem(
            "needs admin.tokens (expected at least one: who connects by TCP must show one)",
        );
    }
    Some(TcpAdmin {
        address: address?,
        tokens: tokens?,
    })
}

fn read_tokens(spot: &Spot<'_>) -> Vec<TokenFile> {
    let mut tokens: Vec<TokenFile> = Vec::new();
    let Some(items) = spot.list(ADMIN_TOKENS_MAX, "tokens") else {
        return tokens;
    };
    if items.is_empty() {
        spot.problem("is an empty list (expected at least one token)");
    }
    let mut taken = HashMap::new();
    for item in &items {
        let Some(section) = item.section(keys::TOKEN) else {
            continue;
        };
        let spot = section.require("name", "who uses the token, such as ci");
        let name = spot.and_then(|spot| spot.name(parse_name));
        let file = section.require("file", "the file that holds the token");
        let file = file.and_then(|spot| spot.parsed("a path", parse_path));
        if let (Some(spot), Some(name)) = (spot, &name)
            && let Some(other) = taken.insert(name.clone(), item.path.clone())
        {
            let name = quoted(name);
            spot.problem(format!(
                "{name} is also the name of {other} (expected a name each)"
            ));
        }
        if let (Some(name), Some(file)) = (name, file) {
            let name = name.to_string();
            tokens.push(TokenFile { name, file });
        }
    }
    tokens
}

/// The daemon's working folder is nobody's intention, so paths are absolute.
fn parse_path(text: &str) -> Result<PathBuf, Invalid> {
    match text.starts_with('/') && !text.ends_with('/') && !text.contains('\0') {
        true => Ok(PathBuf::from(text)),
        false => Err(Invalid("the absolute path of a file".into())),
    }
}

fn read_metrics(root: &Section<'_>, taken: &mut Taken) -> Option<SocketAddr> {
    let section = root.section("metrics", keys::METRICS)?;
    let spot = section.require("address", "IP:port, such as 127.0.0.1:9900")?;
    read_listen_address(spot, taken)
}

fn read_state(root: &Section<'_>) -> Option<PathBuf> {
    let section = root.section("state", keys::STATE)?;
    let file = section.require("file", "a path, such as /var/lib/tidegate/state.json")?;
    file.parsed("a path", parse_path)
}

fn read_log(root: &Section<'_>) -> LogConfig {
    let mut log = LogConfig::default();
    let Some(section) = root.section("log", keys::LOG) else {
        return log;
    };
    let levels = [
        Level::Error,
        Level::Warn,
        Level::Info,
        Level::Debug,
        Level::Trace,
    ];
    let levels = levels.map(|level| (level.as_str(), level));
    section.word(
        "format",
        &[("text", Format::Text), ("json", Format::Json)],
        &mut log.format,
    );
    section.word("level", &levels, &mut log.level);
    if let Some(access) = section.find("access").and_then(Spot::boolean) {
        log.access = access;
    }
    log
}

fn read_shutdown_timeout(root: &Section<'_>) -> Duration {
    let mut timeout = SHUTDOWN_TIMEOUT;
    if let Some(section) = root.section("shutdown", keys::SHUTDOWN) {
        section.duration("timeout", Zero::Refused, &mut timeout);
    }
    timeout
}

fn read_client(root: &Section<'_>) -> ClientSpec {
    let mut client = ClientSpec::default();
    let Some(section) = root.section("client", keys::CLIENT) else {
        return client;
    };
    section.duration("head_timeout", Zero::Refused, &mut client.head_timeout);
    section.duration("body_idle", Zero::Refused, &mut client.body_idle);
    section.duration("keep_alive", Zero::Refused, &mut client.keep_alive);
    section.count(
        "connections_max",
        CONNECTIONS_MAX,
        &mut client.connections_max,
    );
    section.count("head_fields", HEAD_FIELDS_MAX, &mut client.fields_max);
    read_head_sizes(&section, &mut client);
    if let Some(spot) = section.find("trusted_proxies") {
        let items = spot
            .list(TRUSTED_PROXIES_MAX, "trusted proxies")
            .unwrap_or_default();
        let expected = "an address or block, such as 10.0.0.0/8 or ::1";
        let net = |spot: &Spot<'_>| spot.parsed(expected, IpNet::parse);
        client.trusted_proxies = items.iter().filter_map(net).collect();
    }
    client
}

/// The target is a part of the head; where only one is said, the other's default gives way.
fn read_head_sizes(section: &Section<'_>, client: &mut ClientSpec) {
    let size = |key, least| section.find(key)?.size(least..=HEAD_BYTES_MAX);
    let head = size("head_size", HEAD_BYTES_MIN);
    let target = size("target_size", TARGET_BYTES_MIN);
    if let (Some(head), Some(target), Some(spot)) = (head, target, section.find("target_size"))
        && target > head
    {
        let (head, target) = (format_size(head), format_size(target));
        spot.problem(format!(
            "{target} is longer than client.head_size: {head} (make it at most the head)"
        ));
    }
    let bytes = |size: Option<u64>| size.and_then(|size| usize::try_from(size).ok());
    let (head, target) = (bytes(head), bytes(target));
    client.head_bytes_max = head.unwrap_or(client.head_bytes_max.max(target.unwrap_or(0)));
    client.target_bytes_max = target.unwrap_or(client.target_bytes_max.min(client.head_bytes_max));
}

fn read_listeners(root: &Section<'_>, taken: &mut Taken) -> Vec<SocketAddr> {
    let expected = "at least one, such as {address: \"[::]:80\"}";
    let Some(spot) = root.require("listeners", expected) else {
        return Vec::new();
    };
    let items = spot.list(LISTENERS_MAX, "listeners");
    if items.as_ref().is_some_and(Vec::is_empty) {
        spot.problem(format!("is an empty list (expected {expected})"));
    }
    let address = |item: &Spot<'_>| {
        let section = item.section(keys::LISTENER)?;
        let spot = section.require("address", "IP:port, such as 127.0.0.1:8080")?;
        read_listen_address(spot, taken)
    };
    items
        .unwrap_or_default()
        .iter()
        .filter_map(address)
        .collect()
}

/// An address to listen on. Port 0 is any free port, so it is never taken.
fn read_listen_address(spot: &Spot<'_>, taken: &mut Taken) -> Option<SocketAddr> {
    let expected = "IP:port, such as 127.0.0.1:8080 or [::]:80";
    let text = spot.text(expected)?;
    let Ok(address) = text.parse::<SocketAddr>() else {
        if !has_no_port(text) {
            return spot.invalid(text, expected);
        }
        spot.problem(format!(
            "{} has no port (expected {expected})",
            quoted(text)
        ));
        return None;
    };
    if address.port() != 0
        && let Some(other) = taken.insert(address, spot.path.clone())
    {
        spot.problem(format!(
            "{address} is also {other} (expected an address each)"
        ));
    }
    Some(address)
}

/// Whether an address is only a host, which deserves to be said.
pub(super) fn has_no_port(text: &str) -> bool {
    let is_v6 = text
        .trim_matches(['[', ']'])
        .parse::<std::net::Ipv6Addr>()
        .is_ok();
    !text.is_empty() && !text.starts_with("unix") && (is_v6 || !text.contains(':'))
}
