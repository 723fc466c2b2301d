//! `tidegate history`: the rollouts of a pool as a table, the newest first.

use serde_json::Value;

use super::line::utc;
use super::render::time;
use super::rollout::{names, phase};
use super::tree::History;
use super::{Console, calls, conclude, not_reached, not_understood, now, pretty};
use crate::admin::client::{Ask, Client};
use crate::outcome::Outcome;
use crate::report::RolloutStatus;

const HEAD: [&str; 8] = [
    "#",
    "when",
    "who",
    "what",
    "from -> to",
    "outcome",
    "took",
    "cause",
];

/// Asks and shows; gives the exit code.
pub(super) async fn show(
    asked: &History,
    client: &Client,
    json: bool,
    console: &mut Console<'_>,
) -> u8 {
    let ask = Ask::get(calls::history(&asked.pool, asked.limit));
    let document = match client.ask(&ask).await {
        Ok(document) => document,
        Err(unreachable) => return not_reached(&unreachable, json, console),
    };
    if document["outcome"] != Outcome::Done.row().word {
        return conclude(document, json, console);
    }
    if json {
        console.out(&pretty(&document));
        return Outcome::Done.row().exit;
    }
    let Some(records) = records(document) else {
        return not_understood(console);
    };
    match records.is_empty() {
        true => console.err(&format!("pool {} has had no rollout yet", asked.pool)),
        false => console.out(&table(&records, now())),
    }
    Outcome::Done.row().exit
}

fn records(mut document: Value) -> Option<Vec<RolloutStatus>> {
    serde_json::from_value(document.get_mut("records")?.take()).ok()
}

/// The table; `now` is milliseconds since the Unix epoch.
pub(super) fn table(records: &[RolloutStatus], now: u64) -> String {
    let rows: Vec<[String; 8]> = records.iter().map(|record| row(record, now)).collect();
    let mut widths = HEAD.map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; 8]| {
        let mut line = format!("{:>width$}", cells[0], width = widths[0]);
        for (cell, width) in cells.iter().zip(widths).skip(1) {
            line += &format!("  {cell:width$}");
        }
        format!("{}\n", line.trim_end())
    };
    let rows = rows.iter().map(line);
    line(&HEAD.map(str::to_owned)) + &rows.collect::<String>()
}

fn row(record: &RolloutStatus, now: u64) -> [String; 8] {
    let begun = utc(record.begun_ms);
    // To the second: `2026-10-03T14:03:07.123Z`.
    let when = begun
        .split_once('.')
        .map_or(begun.clone(), |(to_second, _)| format!("{to_second}Z"));
    let ended = record.decided_ms.unwrap_or(now);
    let outcome = match record.taken_out.as_deref() {
        None | Some("none") => phase(record),
        Some(taken_out) => format!("{}, {taken_out}", record.phase),
    };
    let cause = record.cause.as_deref().unwrap_or_default();
    [
        record.number.to_string(),
        when,
        record.actor.clone(),
        record.kind.clone(),
        format!(
            "{} -> {}",
            names(&record.replaced, ", "),
            names(&record.added, ", ")
        ),
        outcome,
        time(ended.saturating_sub(record.begun_ms)),
        // It may repeat what a backend sent: it stays on its line and moves no cursor.
        cause.replace(char::is_control, " "),
    ]
}
