//! The section `pools`: each app, its backends and the settings of its traffic.
//!
//! What is checked beyond each value: within a pool, every backend has an id and an address of its
//! own. An address that serves two pools is allowed and a warning, because a drain of it is refused
//! while it is live in the other.

use std::collections::HashMap;
use std::net::IpAddr;

use super::daemon::has_no_port;
use super::problems::{quoted, shown};
use super::reader::{Spot, Zero};
use super::section::Section;
use super::{health, keys, rollout};
use crate::spec::{Address, BackendId, BackendSpec, Balance, DrainSpec, HoldSpec, OnTimeout};
use crate::spec::{PoolName, PoolSettings, PoolSpec, TimeoutSpec, TunnelSpec, Weight};

/// Pools. Each costs a prober, metrics and a place in every snapshot.
pub const POOLS_MAX: usize = 1000;

/// Backends of one pool in the file; a choice among more is of no use.
pub const BACKENDS_MAX: usize = 1000;

/// Held requests of a pool: each holds a client connection, of which there are 20,000 by default.
const HELD_MAX: u64 = 100_000;

const ADDRESS_EXPECTED: &str = "host:port, such as 10.0.0.7:8080";

/// What the file says of pools.
#[derive(Default)]
pub(super) struct Pools<'n> {
    /// Those that could be read, in the order of the file.
    pub(super) specs: Vec<PoolSpec>,
    /// All that are named, so that a route to a pool with a mistake in it is not another mistake.
    pub(super) names: Vec<&'n str>,
}

/// Reads the section `pools`.
pub(super) fn read<'n>(root: &Section<'n>) -> Pools<'n> {
    let expected = "at least one pool";
    let entries = root.require("pools", expected).and_then(|spot| {
        let entries = spot.table(POOLS_MAX, "pools")?;
        if entries.is_empty() {
            spot.problem(format!("is empty (expected {expected})"));
        }
        Some(entries)
    });
    let mut pools = Pools::default();
    let mut shared = HashMap::new();
    for (key, spot) in entries.unwrap_or_default() {
        pools.names.push(key);
        pools.specs.extend(read_pool(key, &spot));
        if let Some(pool) = pools.specs.last().filter(|pool| pool.name.as_str() == key) {
            warn_of_shared_addresses(pool, &spot, &mut shared);
        }
    }
    pools
}

fn read_pool(key: &str, spot: &Spot<'_>) -> Option<PoolSpec> {
    let name = PoolName::parse(key);
    if let Err(invalid) = &name {
        spot.problem(format!("{} is not valid ({invalid})", quoted(key)));
    }
    let section = spot.section(keys::POOL)?;
    let mut balance = Balance::default();
    let balances = [Balance::LeastRequests, Balance::RoundRobin];
    section.word(
        "balance",
        &balances.map(|balance| (balance.as_str(), balance)),
        &mut balance,
    );
    let backends = section.find("backends").map(read_backends);
    let health = health::read(&section);
    let drain = read_drain(&section);
    let hold = read_hold(&section);
    let timeouts = read_timeouts(&section);
    let rollout = rollout::read(&section);
    Some(PoolSpec {
        name: name.ok()?,
        settings: PoolSettings {
            balance,
            health: health?,
            drain,
            hold,
            timeouts,
            rollout,
        },
        backends: backends.unwrap_or_default(),
    })
}

fn read_backends(spot: &Spot<'_>) -> Vec<BackendSpec> {
    let items = spot.list(BACKENDS_MAX, "backends").unwrap_or_default();
    let mut ids = HashMap::new();
    let mut addresses = HashMap::new();
    let mut backends = Vec::with_capacity(items.len());
    for item in &items {
        let Some(section) = item.section(keys::BACKEND) else {
            continue;
        };
        let id = read_id(&section, &mut ids);
        let address = read_address(&section, id.as_ref(), &mut addresses);
        let weight = section.find("weight").and_then(read_weight);
        if let (Some(id), Some(address)) = (id, address) {
            let weight = weight.unwrap_or_default();
            backends.push(BackendSpec {
                id,
                address,
                weight,
            });
        }
    }
    backends
}

fn read_id(section: &Section<'_>, taken: &mut HashMap<BackendId, String>) -> Option<BackendId> {
    let spot = section.require("id", "a name that is unique in the pool")?;
    let id = spot.name(BackendId::parse)?;
    if let Some(other) = taken.insert(id.clone(), section.spot.path.clone()) {
        let id = quoted(id.as_str());
        spot.problem(format!(
            "{id} is also the id of {other} (expected an id each)"
        ));
    }
    Some(id)
}

fn read_address(
    section: &Section<'_>,
    id: Option<&BackendId>,
    taken: &mut HashMap<Address, String>,
) -> Option<Address> {
    let spot = section.require("address", ADDRESS_EXPECTED)?;
    let text = spot.text(ADDRESS_EXPECTED)?;
    if has_no_port(text) {
        let text = quoted(text);
        spot.problem(format!("{text} has no port (expected {ADDRESS_EXPECTED})"));
        return None;
    }
    let address = spot.parsed(ADDRESS_EXPECTED, Address::parse)?;
    let id = id.map_or_else(|| section.spot.path.clone(), |id| quoted(id.as_str()));
    if let Some(other) = taken.insert(comparable(&address), id.clone()) {
        let address = shown(&address.to_string());
        spot.problem(format!(
            "{address} is the address of both {other} and {id} (expected an address each)"
        ));
    }
    Some(address)
}

/// The same for every way to spell an address.
fn comparable(address: &Address) -> Address {
    match address {
        Address::Tcp { host, port } => {
            let host = match host.parse::<IpAddr>() {
                Ok(ip) => ip.to_string(),
                Err(_) => host.to_ascii_lowercase(),
            };
            let (host, port) = (host.into(), *port);
            Address::Tcp { host, port }
        }
        Address::Unix(path) => Address::Unix(path.clone()),
    }
}

fn read_weight(spot: &Spot<'_>) -> Option<Weight> {
    let weight_max = u64::from(Weight::MAX);
    let expected = format!("a weight from 1 to {weight_max}; for no traffic use standby");
    let weight = spot.number(1..=weight_max, &expected)?;
    Weight::new(weight).ok()
}

fn warn_of_shared_addresses(
    pool: &PoolSpec,
    spot: &Spot<'_>,
    shared: &mut HashMap<Address, String>,
) {
    for backend in &pool.backends {
        let address = comparable(&backend.address);
        let here = format!("{}/{}", pool.name, backend.id);
        match shared.get(&address) {
            Some(other) => spot.findings.warning(format!(
                "{} is the address of both {other} and {here}: a drain of one is refused while \
                 the other is live",
                shown(&backend.address.to_string())
            )),
            None => {
                shared.insert(address, here);
            }
        }
    }
}

fn read_drain(pool: &Section<'_>) -> DrainSpec {
    let mut drain = DrainSpec::default();
    let Some(section) = pool.section("drain", keys::DRAIN) else {
        return drain;
    };
    let on_timeout = [("keep", OnTimeout::Keep), ("close", OnTimeout::Close)];
    section.duration("wait", Zero::Allowed, &mut drain.wait);
    section.duration("timeout", Zero::Refused, &mut drain.timeout);
    section.word("on_timeout", &on_timeout, &mut drain.on_timeout);
    section.duration("idle_timeout", Zero::Refused, &mut drain.idle_timeout);
    if let Some(section) = section.section("tunnels", keys::TUNNELS) {
        read_tunnels(&section, &mut drain.tunnels);
    }
    drain
}

fn read_tunnels(section: &Section<'_>, tunnels: &mut TunnelSpec) {
    if let Some(spot) = section.find("close_after") {
        tunnels.close_after = spot.duration_or_never();
    }
    section.duration("spread", Zero::Allowed, &mut tunnels.spread);
}

fn read_hold(pool: &Section<'_>) -> HoldSpec {
    let mut hold = HoldSpec::default();
    if let Some(section) = pool.section("hold", keys::HOLD) {
        section.duration("timeout", Zero::Allowed, &mut hold.timeout);
        section.count("max_requests", HELD_MAX, &mut hold.max_requests);
    }
    hold
}

fn read_timeouts(pool: &Section<'_>) -> TimeoutSpec {
    let mut timeouts = TimeoutSpec::default();
    if let Some(section) = pool.section("timeouts", keys::TIMEOUTS) {
        section.duration("connect", Zero::Refused, &mut timeouts.connect);
        section.duration("response_head", Zero::Refused, &mut timeouts.response_head);
        section.duration("body_idle", Zero::Refused, &mut timeouts.body_idle);
        section.duration("tunnel_idle", Zero::Refused, &mut timeouts.tunnel_idle);
        section.duration("upstream_idle", Zero::Refused, &mut timeouts.upstream_idle);
    }
    timeouts
}
