//! One event as one line for people:
//!
//! ```text
//! 2026-10-03T14:03:07.123Z     57  drain_ended      web/a@3  clean after 1.2s
//! ```
//!
//! An event that a newer proxy tells and that is not known here is shown with its fields as they are.

use serde_json::Value;

use super::render::{plural, span};
use crate::report::{EventRecord, GapCause, Particulars};

/// Keys that every event has, beside those of its kind.
const COMMON: [&str; 8] = [
    "number",
    "at_ms",
    "event",
    "pool",
    "backend",
    "generation",
    "actor",
    "began_ms",
];

/// The line of an event.
pub(super) fn of(event: &Value) -> String {
    let known = serde_json::from_value::<EventRecord>(event.clone());
    let words = match &known {
        Ok(record) => words(&record.what),
        Err(_) => as_is(event),
    };
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    let number = |key: &str| event[key].as_u64().unwrap_or_default();
    let head = format!(
        "{}  {:>5}  {:15}",
        utc(number("at_ms")),
        number("number"),
        text("event")
    );
    let actor = event["actor"].as_str().map(|actor| format!("by {actor}"));
    let parts = [head, place(event), words, actor.unwrap_or_default()];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    // A cause may repeat what a backend sent: it stays on its line and moves no cursor.
    parts.join("  ").trim_end().replace(char::is_control, " ")
}

fn place(event: &Value) -> String {
    let mut place = event["pool"].as_str().unwrap_or_default().to_owned();
    if let Some(id) = event["backend"].as_str() {
        place += &format!("/{id}");
    }
    if let Some(generation) = event["generation"].as_u64() {
        place += &format!("@{generation}");
    }
    place
}

fn words(what: &Particulars) -> String {
    match what {
        Particulars::Added { address, intent } => format!("{address}, {intent}"),
        Particulars::Removed => String::new(),
        Particulars::IntentChanged { from, to } => format!("{from} -> {to}"),
        Particulars::HealthChanged { from, to, cause } => format!("{from} -> {to}: {cause}"),
        Particulars::WeightChanged { from, to } => format!("{from} -> {to}"),
        Particulars::DrainBegun { requests, tunnels } => {
            format!("{} in flight", both(*requests, *tunnels))
        }
        Particulars::DrainProgress {
            requests,
            tunnels,
            took_ms,
        } => format!(
            "{} left after {}",
            both(*requests, *tunnels),
            span(*took_ms)
        ),
        Particulars::DrainEnded {
            outcome,
            took_ms,
            cut_requests,
            cut_tunnels,
        } => {
            let cut = match (cut_requests, cut_tunnels) {
                (0, 0) => String::new(),
                (requests, tunnels) => format!(", cut {}", both(*requests, *tunnels)),
            };
            format!("{outcome} after {}{cut}", span(*took_ms))
        }
        Particulars::Closed { requests, tunnels } => format!("cut {}", both(*requests, *tunnels)),
        Particulars::RolloutBegun {
            rollout,
            kind,
            added,
            replaced,
        } => format!(
            "{kind} {rollout}: {} for {}",
            added.join(", "),
            match replaced.is_empty() {
                true => "none".to_owned(),
                false => replaced.join(", "),
            }
        ),
        Particulars::RolloutPhase {
            rollout,
            phase,
            share,
        } => match share {
            Some(share) => format!("rollout {rollout}: {phase} with {share}"),
            None => format!("rollout {rollout}: {phase}"),
        },
        Particulars::RolloutDecided {
            rollout,
            decided,
            cause,
            took_ms,
        } => format!(
            "rollout {rollout}: {decided} after {}: {cause}",
            span(*took_ms)
        ),
        Particulars::RolloutEnded { rollout, taken_out } => {
            format!("rollout {rollout}: taken out: {taken_out}")
        }
        Particulars::Paused { ttl_ms } => format!("for {} at most", span(*ttl_ms)),
        Particulars::Resumed { cause, held } => {
            let held = plural(u32::try_from(*held).unwrap_or(u32::MAX), "request");
            format!("{cause}, {held} held")
        }
        Particulars::Reloaded { summary } => summary.clone(),
        Particulars::ReloadRejected { problems } => {
            let problems = plural(u32::try_from(*problems).unwrap_or(u32::MAX), "problem");
            format!("{problems}; nothing was changed")
        }
        Particulars::Gap { cause, from, to } => gap(*cause, *from, *to),
    }
}

fn gap(cause: GapCause, from: u64, to: Option<u64>) -> String {
    match (cause, to) {
        (GapCause::NumberedAnew, _) => format!(
            "the proxy was started anew and numbers from 1; {from} and later of the earlier numbers are missing"
        ),
        (GapCause::NoLongerKept, Some(to)) if to > from => {
            format!("{from} to {to} are missing: no longer kept")
        }
        (GapCause::NoLongerKept, _) => format!("{from} is missing: no longer kept"),
    }
}

fn both(requests: u32, tunnels: u32) -> String {
    format!(
        "{}, {}",
        plural(requests, "request"),
        plural(tunnels, "tunnel")
    )
}

fn as_is(event: &Value) -> String {
    let fields = event.as_object().into_iter().flatten();
    let own = fields.filter(|(key, _)| !COMMON.contains(&key.as_str()));
    let own: Vec<String> = own.map(|(key, value)| format!("{key}={value}")).collect();
    own.join(" ")
}

/// A time as RFC 3339 writes it, in UTC.
pub(super) fn utc(millis: u64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The date of a day since the epoch. Years are counted from March, so that a leap day is the last of
/// its year; 400 of them have 146,097 days, and five months from March have 153.
fn date(days: u64) -> (u64, u64, u64) {
    // Days from 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = match month {
        0..10 => (month + 3, 0),
        _ => (month - 9, 1),
    };
    (era * 400 + year + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Value {
        let common = r#""number":57,"at_ms":1791036187123,"began_ms":1791000000000"#;
        serde_json::from_str(&format!("{{{common},{text}}}")).unwrap()
    }

    #[test]
    fn each_kind_reads_at_a_glance() {
        let web = r#""pool":"web","backend":"a","generation":3"#;
        let by = r#""actor":"uid:1000""#;
        for (fields, line) in [
            (
                format!(r#""event":"added","address":"127.0.0.1:1","intent":"standby",{web},{by}"#),
                "added            web/a@3  127.0.0.1:1, standby  by uid:1000",
            ),
            (
                format!(r#""event":"removed",{web},"actor":null"#),
                "removed          web/a@3",
            ),
            (
                format!(r#""event":"intent_changed","from":"active","to":"draining",{web},{by}"#),
                "intent_changed   web/a@3  active -> draining  by uid:1000",
            ),
            (
                format!(
                    r#""event":"health_changed","from":"healthy","to":"unhealthy","cause":"status 503\r\n\u001b[2J",{web}"#
                ),
                "health_changed   web/a@3  healthy -> unhealthy: status 503   [2J",
            ),
            (
                format!(r#""event":"weight_changed","from":1,"to":3,{web},{by}"#),
                "weight_changed   web/a@3  1 -> 3  by uid:1000",
            ),
            (
                format!(r#""event":"drain_begun","requests":2,"tunnels":1,{web}"#),
                "drain_begun      web/a@3  2 requests, 1 tunnel in flight",
            ),
            (
                format!(
                    r#""event":"drain_progress","requests":1,"tunnels":0,"took_ms":90500.0,{web}"#
                ),
                "drain_progress   web/a@3  1 request, 0 tunnels left after 1m30s",
            ),
            (
                format!(
                    r#""event":"drain_ended","outcome":"clean","took_ms":0.1036,"cut_requests":0,"cut_tunnels":0,{web}"#
                ),
                "drain_ended      web/a@3  clean after 0.1ms",
            ),
            (
                format!(
                    r#""event":"drain_ended","outcome":"forced","took_ms":1250.5,"cut_requests":0,"cut_tunnels":2,{web}"#
                ),
                "drain_ended      web/a@3  forced after 1.3s, cut 0 requests, 2 tunnels",
            ),
            (
                format!(r#""event":"closed","requests":1,"tunnels":0,{web},{by}"#),
                "closed           web/a@3  cut 1 request, 0 tunnels  by uid:1000",
            ),
            (
                format!(
                    r#""event":"rollout_begun","rollout":3,"kind":"rollout","added":["v2"],"replaced":["v1","v0"],"pool":"web",{by}"#
                ),
                "rollout_begun    web  rollout 3: v2 for v1, v0  by uid:1000",
            ),
            (
                format!(
                    r#""event":"rollout_begun","rollout":4,"kind":"rollback","added":["v1"],"replaced":[],"pool":"web",{by}"#
                ),
                "rollout_begun    web  rollback 4: v1 for none  by uid:1000",
            ),
            (
                r#""event":"rollout_phase","rollout":3,"phase":"canary","share":"10%","pool":"web""#
                    .to_owned(),
                "rollout_phase    web  rollout 3: canary with 10%",
            ),
            (
                r#""event":"rollout_phase","rollout":3,"phase":"bake","share":null,"pool":"web""#
                    .to_owned(),
                "rollout_phase    web  rollout 3: bake",
            ),
            (
                r#""event":"rollout_decided","rollout":3,"decided":"failed","cause":"v2: status\u001b503","took_ms":61000.0,"pool":"web""#
                    .to_owned(),
                "rollout_decided  web  rollout 3: failed after 1m01s: v2: status 503",
            ),
            (
                r#""event":"rollout_ended","rollout":3,"taken_out":"clean","pool":"web""#.to_owned(),
                "rollout_ended    web  rollout 3: taken out: clean",
            ),
            (
                format!(r#""event":"paused","ttl_ms":60000.0,"pool":"web",{by}"#),
                "paused           web  for 1m00s at most  by uid:1000",
            ),
            (
                r#""event":"resumed","cause":"ttl","held":1,"pool":"web""#.to_owned(),
                "resumed          web  ttl, 1 request held",
            ),
            (
                r#""event":"reloaded","summary":"1 backend added","actor":"signal""#.to_owned(),
                "reloaded         1 backend added  by signal",
            ),
            (
                r#""event":"reload_rejected","problems":1"#.to_owned(),
                "reload_rejected  1 problem; nothing was changed",
            ),
            (
                r#""event":"gap","cause":"no_longer_kept","from":3,"to":57"#.to_owned(),
                "gap              3 to 57 are missing: no longer kept",
            ),
            (
                r#""event":"gap","cause":"numbered_anew","from":58,"to":null"#.to_owned(),
                "gap              the proxy was started anew and numbers from 1; 58 and later of the earlier numbers are missing",
            ),
            (
                format!(r#""event":"paused","ttl_ms":60000.0,"pool":"web",{by}"#),
                "paused           web  for 1m00s at most  by uid:1000",
            ),
            (
                r#""event":"resumed","cause":"in_flight","held":1,"pool":"web""#.to_owned(),
                "resumed          web  in_flight, 1 request held",
            ),
            (
                format!(r#""event":"of_a_newer","ttl_ms":60000,"why":"x",{web},{by}"#),
                "of_a_newer       web/a@3  ttl_ms=60000 why=\"x\"  by uid:1000",
            ),
        ] {
            let line = format!("2026-10-03T14:03:07.123Z     57  {line}");
            assert_eq!(of(&event(&fields)), line);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(millis), text);
        }
    }
}
