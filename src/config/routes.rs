//! The section `routes`: which host and path go to which pool.
//!
//! Hosts are kept in lower case and paths without a slash at the end (but `/` itself), so that two
//! spellings of one route are seen as the same. What is checked beyond each value: the pool is in
//! the file, and no host and path is routed twice.

use std::collections::{HashMap, HashSet};
use std::net::Ipv6Addr;

use super::keys;
use super::problems::quoted;
use super::reader::Spot;
use super::section::Section;
use crate::spec::{HostPattern, Invalid, PoolName, RouteSpec};

/// Routes. A request is compared with those of its host only.
pub const ROUTES_MAX: usize = 10_000;

/// Bytes of a route's path.
const PATH_BYTES_MAX: usize = 1024;

/// Bytes of a host name and of one of its labels (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Reads the section `routes`; `pools` are the names of all pools of the file.
pub(super) fn read(root: &Section<'_>, pools: &[&str]) -> Vec<RouteSpec> {
    let expected = "at least one, such as {path: /, pool: web}";
    let Some(spot) = root.require("routes", expected) else {
        return Vec::new();
    };
    let items = spot.list(ROUTES_MAX, "routes");
    if items.as_ref().is_some_and(Vec::is_empty) {
        spot.problem(format!("is an empty list (expected {expected})"));
    }
    let mut taken = HashMap::new();
    let known = pools.iter().copied().collect();
    let route = |item| read_route(item, pools, &known, &mut taken);
    items.unwrap_or_default().iter().filter_map(route).collect()
}

fn read_route(
    item: &Spot<'_>,
    pools: &[&str],
    known: &HashSet<&str>,
    taken: &mut HashMap<(HostPattern, String), String>,
) -> Option<RouteSpec> {
    let section = item.section(keys::ROUTE)?;
    let host = match section.find("host") {
        Some(spot) => spot.parsed("a host, such as app.example.com", parse_host),
        None => Some(HostPattern::Any),
    };
    let path = match section.find("path") {
        Some(spot) => spot.parsed("a path that begins with /", parse_path),
        None => Some("/".to_owned()),
    };
    let pool = read_pool(&section, pools, known);
    let (host, path) = (host?, path?);
    if let Some(other) = taken.insert((host.clone(), path.clone()), item.path.clone()) {
        item.problem(format!(
            "{host} with path {path} is also routed by {other} (expected each host and path once)"
        ));
    }
    let pool = pool?;
    Some(RouteSpec { host, path, pool })
}

fn read_pool(route: &Section<'_>, pools: &[&str], known: &HashSet<&str>) -> Option<PoolName> {
    let spot = route.require("pool", "the name of a pool")?;
    let name = spot.name(|text| Ok(text.to_owned()))?;
    if known.contains(name.as_str()) {
        // A bad name is a problem of the pool, not of the route as well.
        return PoolName::parse(&name).ok();
    }
    let hint = match pools {
        // The section is missing or empty, which is said elsewhere.
        [] => "expected the name of a pool".to_owned(),
        pools => spot.findings.suggestion(&name, pools.iter().copied()),
    };
    spot.problem(format!("{} is not a pool ({hint})", quoted(&name)));
    None
}

fn parse_host(text: &str) -> Result<HostPattern, Invalid> {
    let expected = |what: &str| Err(Invalid(what.into()));
    let host = text.to_ascii_lowercase();
    if let Some(v6) = bracketed(&host) {
        return match v6.parse::<Ipv6Addr>() {
            Ok(v6) => Ok(HostPattern::Exact(format!("[{v6}]"))),
            Err(_) => expected("an IPv6 address between the brackets and no port, such as [::1]"),
        };
    }
    if host == "*" {
        return expected("a host; for any host leave it out");
    }
    if !host.is_ascii() {
        return expected("a host in ASCII, such as xn--bcher-kva.example");
    }
    if host.contains(':') {
        return expected("a host without port or scheme, such as app.example.com");
    }
    let suffix = host.strip_prefix("*.");
    let name = suffix.unwrap_or(&host);
    if name.contains('*') {
        return expected("* only as the first label, such as *.example.com");
    }
    if name.len() > HOST_BYTES_MAX || !name.split('.').all(is_label) {
        return expected("a host, such as app.example.com or *.example.com");
    }
    Ok(match suffix {
        Some(suffix) => HostPattern::Suffix(format!(".{suffix}")),
        None => HostPattern::Exact(host),
    })
}

fn bracketed(host: &str) -> Option<&str> {
    let inner = host.strip_prefix('[')?;
    Some(inner.strip_suffix(']').unwrap_or(inner))
}

fn is_label(label: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(is_plain)
}

/// A path as requests spell it, without the slash at its end.
fn parse_path(text: &str) -> Result<String, Invalid> {
    let expected = |what: &str| Err(Invalid(what.into()));
    if !text.starts_with('/') || text.len() > PATH_BYTES_MAX {
        return expected("a path that begins with /, of at most 1024 bytes");
    }
    if text.contains(['?', '#']) {
        return expected("a path without query or fragment");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return expected("a path without spaces; other characters percent-encoded, such as %20");
    }
    if text == "/" {
        return Ok(text.to_owned());
    }
    let path = text.strip_suffix('/').unwrap_or(text);
    if path
        .split('/')
        .skip(1)
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return expected("a path without empty, '.' or '..' segments");
    }
    Ok(path.to_owned())
}
