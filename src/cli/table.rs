//! The status as aligned tables: one for each pool, columns the same in all.

use super::render::{held, listed, time};
use super::rollout;
use crate::report::{Answer, BackendStatus, ListenerStatus, PoolStatus, Status};

const HEAD: [&str; 10] = [
    "backend",
    "address",
    "weight",
    "intent",
    "health",
    "eligible",
    "requests",
    "tunnels",
    "connections",
    "since",
];

/// The whole proxy, `now` being milliseconds since the Unix epoch.
pub(super) fn status(status: &Status, now: u64, colours: bool) -> String {
    let up = time(now.saturating_sub(status.started_ms));
    let mut text = format!("tidegate {}, pid {}, up {up}\n", status.version, status.pid);
    let at = |what: &str, listeners: &[ListenerStatus]| {
        let at: Vec<&str> = listeners.iter().map(|one| one.address.as_str()).collect();
        match at.is_empty() {
            true => String::new(),
            false => format!("{what} {}\n", at.join(", ")),
        }
    };
    text += &at("listens at", &status.listeners);
    text += &at("admin at", status.admin.as_slice());
    text += &at("metrics at", status.metrics.as_slice());
    if !status.pools.is_empty() {
        text.push('\n');
    }
    text + &pools(&status.pools, now, colours)
}

/// Pools with their backends.
pub(super) fn pools(pools: &[PoolStatus], now: u64, colours: bool) -> String {
    let rows: Vec<Vec<[String; 10]>> = pools
        .iter()
        .map(|pool| pool.backends.iter().map(|one| row(one, now)).collect())
        .collect();
    let widths = widths(rows.iter().flatten());
    let mut text = String::new();
    for (number, (pool, rows)) in pools.iter().zip(&rows).enumerate() {
        if number > 0 {
            text.push('\n');
        }
        text += &header(pool, now);
        if let Some(under_way) = &pool.rollout {
            text += &format!("  {}\n", rollout::under_way(under_way, now));
        }
        if !rows.is_empty() {
            text += &line(&HEAD.map(str::to_owned), &widths, false);
        }
        for row in rows {
            text += &line(row, &widths, colours);
        }
    }
    text
}

/// One backend, with its last probe and its drain.
pub(super) fn backend(answer: &Answer, now: u64, colours: bool) -> String {
    let Some(backend) = &answer.backend else {
        return format!("{}\n", answer.message);
    };
    let row = row(backend, now);
    let widths = widths([&row]);
    let mut text = format!("pool {}\n", backend.pool);
    text += &line(&HEAD.map(str::to_owned), &widths, false);
    text += &line(&row, &widths, colours);
    text += &match &backend.last_probe {
        None => "last probe: none yet\n".to_owned(),
        Some(probe) => format!(
            "last probe: {}, {}, took {:.1}ms, {} ago\n",
            if probe.good { "good" } else { "failed" },
            probe.detail,
            probe.took_ms,
            time(now.saturating_sub(probe.at_ms)),
        ),
    };
    if let Some(drain) = &answer.drain {
        let begun = time(now.saturating_sub(drain.begun_ms));
        let state = match backend.drained {
            true => "drained; safe to kill".to_owned(),
            false => format!("not drained yet: {}", held(backend)),
        };
        text += &format!("drain: begun {begun} ago, {state}\n");
        let cut = drain.cut_requests + drain.cut_tunnels;
        let held = backend.requests + backend.tunnels;
        let lines = listed("cut", &drain.cut, cut);
        for line in lines
            .iter()
            .chain(&listed("held by", &drain.blocked_by, held))
        {
            text += &format!("{line}\n");
        }
    }
    text
}

fn header(pool: &PoolStatus, now: u64) -> String {
    let paused = pool.paused.as_ref().map_or_else(String::new, |pause| {
        let left = time(pause.until_ms.saturating_sub(now));
        format!(", paused by {} for {left} more", pause.actor)
    });
    let leaving = match pool.leaving {
        true => ", leaving: no longer in the file",
        false => "",
    };
    format!(
        "pool {}: {} of {} eligible, {} held, {}{paused}{leaving}\n",
        pool.name,
        pool.eligible,
        pool.backends.len(),
        pool.held,
        pool.balance,
    )
}

fn row(backend: &BackendStatus, now: u64) -> [String; 10] {
    let connections = backend.connections.map(|count| count.to_string());
    let intent = match backend.drained {
        true => "drained",
        false => &backend.intent,
    };
    [
        format!("{}@{}", backend.id, backend.generation),
        backend.address.clone(),
        backend.weight.to_string(),
        intent.to_owned(),
        backend.health.clone(),
        if backend.eligible { "yes" } else { "no" }.to_owned(),
        backend.requests.to_string(),
        backend.tunnels.to_string(),
        connections.unwrap_or_else(|| "-".to_owned()),
        time(now.saturating_sub(backend.since_ms)),
    ]
}

fn widths<'a>(rows: impl IntoIterator<Item = &'a [String; 10]>) -> [usize; 10] {
    let mut widths = HEAD.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn line(cells: &[String; 10], widths: &[usize; 10], colours: bool) -> String {
    let cells = cells.iter().zip(widths).zip(HEAD);
    let cells = cells.map(|((cell, width), head)| {
        let padded = format!("{cell:width$}");
        match head {
            "health" if colours => coloured(cell, &padded),
            _ => padded,
        }
    });
    let cells: Vec<String> = cells.collect();
    format!("  {}\n", cells.join("  ").trim_end())
}

/// Colours what the word says anyway.
fn coloured(health: &str, padded: &str) -> String {
    let colour = match health {
        "healthy" => 32,
        "unhealthy" => 31,
        _ => 33,
    };
    format!("\x1b[{colour}m{padded}\x1b[0m")
}
