//! Answers in words: what is data for stdout, what is said on stderr.

use super::rollout;
use crate::outcome::Outcome;
use crate::report::{Answer, BackendStatus, ExchangeStatus};

/// Exchanges listed under a message at most; more would push the message off the screen.
const LISTED_MAX: usize = 10;

/// An answer, split by where it goes.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Words {
    /// Lines of data.
    pub(super) out: Vec<String>,
    /// Lines of words; one that begins with `error:` may be coloured.
    pub(super) err: Vec<String>,
}

/// The words for an answer of an operation.
pub(super) fn answer(answer: &Answer) -> Words {
    let mut words = Words::default();
    let is_success = (200..300).contains(&answer.outcome.row().status);
    if is_success {
        words.out.push(answer.message.clone());
    } else {
        words.err.push(format!("error: {}", answer.message));
    }
    if let Some(rollout) = &answer.rollout {
        let facts = rollout::facts(answer, rollout, is_success);
        match is_success {
            true => words.out.extend(facts),
            false => words.err.extend(facts),
        }
    }
    if let Some(drain) = &answer.drain {
        let cut = drain.cut_requests + drain.cut_tunnels;
        words.err.extend(listed("cut", &drain.cut, cut));
        // One that was brought back holds what it may.
        if answer.outcome == Outcome::NotYet {
            let held = answer
                .backend
                .as_ref()
                .map_or(0, |b| b.requests + b.tunnels);
            words.err.extend(listed("held by", &drain.blocked_by, held));
        }
    }
    words.err.extend(listed("in flight", &answer.in_flight, 0));
    for warning in &answer.warnings {
        words.err.push(format!("warning: {warning}"));
    }
    if let Some(hint) = &answer.hint {
        words.err.push(format!("hint: {hint}"));
    }
    words
}

/// What a backend holds, in words.
pub(super) fn held(backend: &BackendStatus) -> String {
    held_by(backend.requests, backend.tunnels, backend.connections)
}

/// What one or several hold, in words.
pub(super) fn held_by(requests: u32, tunnels: u32, connections: Option<u32>) -> String {
    let mut held = vec![plural(requests, "request")];
    if tunnels > 0 {
        held.push(plural(tunnels, "tunnel"));
    }
    if let Some(connections @ 1..) = connections {
        held.push(plural(connections, "connection"));
    }
    held.join(", ")
}

/// One line for each exchange, bounded; `total` is how many there are in truth.
pub(super) fn listed(what: &str, exchanges: &[ExchangeStatus], total: u32) -> Vec<String> {
    let shown = exchanges.iter().take(LISTED_MAX);
    let mut lines: Vec<String> = shown
        .map(|exchange| format!("  {what} {}", in_words(exchange)))
        .collect();
    let total = usize::try_from(total)
        .unwrap_or(usize::MAX)
        .max(exchanges.len());
    if !lines.is_empty() && total > lines.len() {
        lines.push(format!("  … and {} more", total - lines.len()));
    }
    lines
}

fn in_words(exchange: &ExchangeStatus) -> String {
    let from = match &exchange.client {
        Some(client) => format!(" from {client}"),
        None => String::new(),
    };
    format!(
        "{} {} {}{from}, {} old, idle {}, {} up, {} down",
        exchange.kind,
        exchange.method,
        exchange.path,
        time(exchange.age_ms),
        time(exchange.idle_ms),
        bytes(exchange.bytes_up),
        bytes(exchange.bytes_down),
    )
}

pub(super) fn plural(count: u32, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// A span of time in its two largest units.
pub(super) fn time(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// How long something took: finer than [`time`] where that would say 0 or 1.
pub(super) fn span(millis: f64) -> String {
    match millis {
        ..1000.0 => format!("{millis:.1}ms"),
        1000.0..60_000.0 => format!("{:.1}s", millis / 1000.0),
        // Whole and far below the bounds of the type, or cut to them.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        _ => time(millis as u64),
    }
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // One decimal, in whole numbers: tenths of the unit.
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_at_a_glance() {
        let times = [
            (0, "0ms"),
            (999, "999ms"),
            (59_999, "59s"),
            (61_000, "1m01s"),
        ];
        for (millis, text) in times {
            assert_eq!(time(millis), text);
        }
        assert_eq!(time(3_720_000), "1h02m");
        assert_eq!(time(90_000_000), "1d01h");
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (10 << 20, "10.0 MiB"),
        ];
        for (count, text) in sizes {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
    }
}
