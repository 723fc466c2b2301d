//! The section `health` of a pool: how its backends are probed.
//!
//! A probe is `http` or `tcp`, one of them, and a timeout never outlasts the interval, so that two
//! probes of one backend are never under way at once.

use std::ops::RangeInclusive;

use super::keys;
use super::reader::{Spot, Zero};
use super::section::Section;
use super::units::format_duration;
use crate::spec::{HealthSpec, Invalid, ProbeKind, Statuses};

/// Ranges of good status codes: each probe's answer is compared with all.
pub const STATUSES_MAX: usize = 64;

/// Probes in a row. More would make a backend wait for hours.
const PROBES_MAX: u64 = 1000;

/// A probe gets a final response, never an interim one.
const STATUS_RANGE: RangeInclusive<u64> = 200..=599;

/// Bytes of a probe's target.
const TARGET_BYTES_MAX: usize = 1024;

const STATUS_EXPECTED: &str = "a status from 200 to 599, or a range such as \"200-299\"";

/// The health of the pool whose section is given.
pub(super) fn read(pool: &Section<'_>) -> Option<HealthSpec> {
    let spot = pool.require("health", "how to probe, such as {http: /up}")?;
    let section = spot.section(keys::HEALTH)?;
    let kind = read_kind(&section);
    // A file with a bad kind is refused; its other values are looked at all the same.
    let mut health = HealthSpec::new(kind.unwrap_or(ProbeKind::Tcp));
    section.count("rise", PROBES_MAX, &mut health.rise);
    section.count("fall", PROBES_MAX, &mut health.fall);
    read_clocks(&section, &mut health);
    Some(health)
}

fn read_kind(section: &Section<'_>) -> Option<ProbeKind> {
    match (section.find("http"), section.find("tcp")) {
        (Some(http), None) => read_http(section, http),
        (None, Some(tcp)) => {
            for key in ["host", "statuses"] {
                if let Some(spot) = section.find(key) {
                    spot.problem("is of no use to a tcp probe (expected it with http only)");
                }
            }
            match tcp.boolean()? {
                true => Some(ProbeKind::Tcp),
                false => {
                    tcp.problem("false is not valid (expected true, or http in its place)");
                    None
                }
            }
        }
        (Some(_), Some(_)) => {
            section
                .spot
                .problem("has both http and tcp (expected one of them)");
            None
        }
        (None, None) => {
            section
                .spot
                .problem("has neither http nor tcp (expected one, such as http: /up)");
            None
        }
    }
}

fn read_http(section: &Section<'_>, http: &Spot<'_>) -> Option<ProbeKind> {
    let path = http.parsed("a path that begins with /", parse_target);
    let host = section
        .find("host")
        .map(|spot| spot.parsed("a host", parse_host));
    let statuses = section.find("statuses").map(read_statuses);
    Some(ProbeKind::Http {
        path: path?,
        host: host.flatten(),
        statuses: statuses.unwrap_or_default(),
    })
}

/// Origin form, a query included.
fn parse_target(text: &str) -> Result<String, Invalid> {
    let fits = text.starts_with('/')
        && text.len() <= TARGET_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    match fits {
        true => Ok(text.to_owned()),
        false => Err(Invalid(format!(
            "a path of at most {TARGET_BYTES_MAX} bytes that begins with /, without spaces or #, \
             such as /up"
        ))),
    }
}

/// What can be a `Host` field: it is sent as it stands.
fn parse_host(text: &str) -> Result<String, Invalid> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    match !text.is_empty() && text.len() <= 260 && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err(Invalid("a host, such as app.example.com".into())),
    }
}

fn read_statuses(spot: &Spot<'_>) -> Statuses {
    let items = spot.list(STATUSES_MAX, "statuses, such as [200, \"204-299\"]");
    if items.as_ref().is_some_and(Vec::is_empty) {
        spot.problem("is an empty list (expected at least one status)");
    }
    Statuses(
        items
            .unwrap_or_default()
            .iter()
            .filter_map(read_status)
            .collect(),
    )
}

fn read_status(spot: &Spot<'_>) -> Option<(u16, u16)> {
    // A range is the only text there can be; a quoted number is told to lose its quotes.
    if let super::node::Value::Text(text) = &spot.node.value
        && text.contains('-')
    {
        return spot.parsed(STATUS_EXPECTED, parse_status_range);
    }
    let status = spot.number(STATUS_RANGE, STATUS_EXPECTED)?;
    let status = u16::try_from(status).ok()?;
    Some((status, status))
}

fn parse_status_range(text: &str) -> Result<(u16, u16), Invalid> {
    let status = |text: &str| {
        let is_number = text.bytes().all(|b| b.is_ascii_digit());
        let status = text.parse::<u16>().ok().filter(|_| is_number)?;
        STATUS_RANGE.contains(&status.into()).then_some(status)
    };
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (status(from), status(to)) {
        (Some(from), Some(to)) if from <= to => Ok((from, to)),
        _ => Err(Invalid(STATUS_EXPECTED.into())),
    }
}

/// Where only the interval is said, a longer default of the timeout gives way.
fn read_clocks(section: &Section<'_>, health: &mut HealthSpec) {
    section.duration("interval", Zero::Refused, &mut health.interval);
    let Some(timeout) = section.find("timeout") else {
        health.timeout = health.timeout.min(health.interval);
        return;
    };
    section.duration("timeout", Zero::Refused, &mut health.timeout);
    if health.timeout > health.interval {
        timeout.problem(format!(
            "{} is longer than {}.interval: {} (make it at most the interval)",
            format_duration(health.timeout),
            section.spot.path,
            format_duration(health.interval),
        ));
    }
}
