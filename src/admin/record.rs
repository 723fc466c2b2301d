//! From an event of the ring to what is streamed of it ([`EventRecord`]), and the gaps that only a
//! stream knows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::events::{Event, Happening};
use crate::report::{EventRecord, GapCause, Particulars};

/// An event of the numbering that began then.
pub(super) fn record(event: &Event, began_ms: u64) -> EventRecord {
    let about = event.about.clone();
    EventRecord {
        number: event.number,
        at_ms: unix_millis(event.at),
        what: particulars(&event.happening),
        pool: about.pool,
        backend: about.backend,
        generation: about.generation,
        actor: about.actor,
        began_ms,
    }
}

/// The events from `from` to `to` were asked for and are not kept.
pub(super) fn no_longer_kept(from: u64, to: u64, began_ms: u64) -> EventRecord {
    gap(to, GapCause::NoLongerKept, from, Some(to), began_ms)
}

/// The events from `from` on were asked for, by the numbers of an earlier process.
pub(super) fn numbered_anew(from: u64, began_ms: u64) -> EventRecord {
    gap(0, GapCause::NumberedAnew, from, None, began_ms)
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn gap(number: u64, cause: GapCause, from: u64, to: Option<u64>, began_ms: u64) -> EventRecord {
    EventRecord {
        number,
        at_ms: unix_millis(SystemTime::now()),
        what: Particulars::Gap { cause, from, to },
        pool: None,
        backend: None,
        generation: None,
        actor: None,
        began_ms,
    }
}

fn particulars(happening: &Happening) -> Particulars {
    match happening.clone() {
        Happening::Added { address, intent } => Particulars::Added {
            address,
            intent: intent.to_owned(),
        },
        Happening::Removed => Particulars::Removed,
        Happening::IntentChanged { from, to } => Particulars::IntentChanged {
            from: from.to_owned(),
            to: to.to_owned(),
        },
        Happening::HealthChanged { from, to, cause } => Particulars::HealthChanged {
            from: from.to_owned(),
            to: to.to_owned(),
            cause,
        },
        Happening::WeightChanged { from, to } => Particulars::WeightChanged { from, to },
        Happening::DrainBegun { requests, tunnels } => {
            Particulars::DrainBegun { requests, tunnels }
        }
        Happening::DrainProgress {
            requests,
            tunnels,
            took,
        } => Particulars::DrainProgress {
            requests,
            tunnels,
            took_ms: millis(took),
        },
        Happening::DrainEnded {
            outcome,
            took,
            cut_requests,
            cut_tunnels,
        } => Particulars::DrainEnded {
            outcome: outcome.to_owned(),
            took_ms: millis(took),
            cut_requests,
            cut_tunnels,
        },
        Happening::Closed { requests, tunnels } => Particulars::Closed { requests, tunnels },
        Happening::RolloutBegun {
            rollout,
            kind,
            added,
            replaced,
        } => Particulars::RolloutBegun {
            rollout,
            kind: kind.to_owned(),
            added,
            replaced,
        },
        Happening::RolloutPhase {
            rollout,
            phase,
            share,
        } => Particulars::RolloutPhase {
            rollout,
            phase: phase.to_owned(),
            share,
        },
        Happening::RolloutDecided {
            rollout,
            decided,
            cause,
            took,
        } => Particulars::RolloutDecided {
            rollout,
            decided: decided.to_owned(),
            cause,
            took_ms: millis(took),
        },
        Happening::RolloutEnded { rollout, taken_out } => Particulars::RolloutEnded {
            rollout,
            taken_out: taken_out.to_owned(),
        },
        Happening::Paused { ttl } => Particulars::Paused {
            ttl_ms: millis(ttl),
        },
        Happening::Resumed { cause, held } => Particulars::Resumed {
            cause: cause.to_owned(),
            held,
        },
        Happening::Reloaded { summary } => Particulars::Reloaded { summary },
        Happening::ReloadRejected { problems } => Particulars::ReloadRejected { problems },
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::About;

    /// One of each kind, with what is particular to it on the wire.
    fn each() -> Vec<(Happening, &'static str)> {
        let took = Duration::from_micros(1_250_500);
        vec![
            (
                Happening::Added {
                    address: "127.0.0.1:1".to_owned(),
                    intent: "active",
                },
                r#""event":"added","address":"127.0.0.1:1","intent":"active""#,
            ),
            (Happening::Removed, r#""event":"removed""#),
            (
                Happening::IntentChanged {
                    from: "active",
                    to: "draining",
                },
                r#""event":"intent_changed","from":"active","to":"draining""#,
            ),
            (
                Happening::HealthChanged {
                    from: "healthy",
                    to: "unhealthy",
                    cause: "status 503\n".to_owned(),
                },
                r#""event":"health_changed","from":"healthy","to":"unhealthy","cause":"status 503\n""#,
            ),
            (
                Happening::WeightChanged { from: 1, to: 3 },
                r#""event":"weight_changed","from":1,"to":3"#,
            ),
            (
                Happening::DrainBegun {
                    requests: 2,
                    tunnels: 1,
                },
                r#""event":"drain_begun","requests":2,"tunnels":1"#,
            ),
            (
                Happening::DrainProgress {
                    requests: 1,
                    tunnels: 0,
                    took,
                },
                r#""event":"drain_progress","requests":1,"tunnels":0,"took_ms":1250.5"#,
            ),
            (
                Happening::DrainEnded {
                    outcome: "forced",
                    took,
                    cut_requests: 1,
                    cut_tunnels: 2,
                },
                r#""event":"drain_ended","outcome":"forced","took_ms":1250.5,"cut_requests":1,"cut_tunnels":2"#,
            ),
            (
                Happening::Closed {
                    requests: 1,
                    tunnels: 2,
                },
                r#""event":"closed","requests":1,"tunnels":2"#,
            ),
            (
                Happening::RolloutBegun {
                    rollout: 3,
                    kind: "rollout",
                    added: vec!["v2".to_owned()],
                    replaced: vec!["v1".to_owned(), "v0".to_owned()],
                },
                r#""event":"rollout_begun","rollout":3,"kind":"rollout","added":["v2"],"replaced":["v1","v0"]"#,
            ),
            (
                Happening::RolloutPhase {
                    rollout: 3,
                    phase: "canary",
                    share: Some("10%".to_owned()),
                },
                r#""event":"rollout_phase","rollout":3,"phase":"canary","share":"10%""#,
            ),
            (
                Happening::RolloutDecided {
                    rollout: 3,
                    decided: "failed",
                    cause: "v2: status 503".to_owned(),
                    took,
                },
                r#""event":"rollout_decided","rollout":3,"decided":"failed","cause":"v2: status 503","took_ms":1250.5"#,
            ),
            (
                Happening::RolloutEnded {
                    rollout: 3,
                    taken_out: "clean",
                },
                r#""event":"rollout_ended","rollout":3,"taken_out":"clean""#,
            ),
            (
                Happening::Paused { ttl: took },
                r#""event":"paused","ttl_ms":1250.5"#,
            ),
            (
                Happening::Resumed {
                    cause: "in_flight",
                    held: 3,
                },
                r#""event":"resumed","cause":"in_flight","held":3"#,
            ),
            (
                Happening::Reloaded {
                    summary: "1 backend added".to_owned(),
                },
                r#""event":"reloaded","summary":"1 backend added""#,
            ),
            (
                Happening::ReloadRejected { problems: 3 },
                r#""event":"reload_rejected","problems":3"#,
            ),
        ]
    }

    #[test]
    fn each_kind_has_its_name_and_fields_on_one_line_and_reads_back() {
        for (happening, line) in each() {
            let event = Event {
                number: 57,
                at: UNIX_EPOCH + Duration::from_millis(1_791_036_187_123),
                about: About {
                    pool: Some("web".to_owned()),
                    backend: Some("a".to_owned()),
                    generation: Some(3),
                    actor: None,
                },
                happening,
            };
            let record = record(&event, 1_791_000_000_000);
            assert_eq!(record.what.name(), event.happening.name());
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(
                text,
                format!(
                    r#"{{"number":57,"at_ms":1791036187123,{line},"pool":"web","backend":"a","generation":3,"actor":null,"began_ms":1791000000000}}"#
                )
            );
            assert_eq!(serde_json::from_str::<EventRecord>(&text).unwrap(), record);
        }
    }

    #[test]
    fn no_kind_is_left_out_here() {
        // The names serde knows are those of the list above and the gap.
        let error = serde_json::from_str::<Particulars>(r#"{"event":"?"}"#);
        let error = error.unwrap_err().to_string();
        assert_eq!(
            error.matches('`').count(),
            2 * (each().len() + 2),
            "{error}"
        );
    }

    #[test]
    fn gaps_have_the_number_that_goes_on_behind_them() {
        for (record, line) in [
            (
                no_longer_kept(3, 10, 7),
                r#""number":10,"event":"gap","cause":"no_longer_kept","from":3,"to":10"#,
            ),
            (
                numbered_anew(58, 7),
                r#""number":0,"event":"gap","cause":"numbered_anew","from":58,"to":null"#,
            ),
        ] {
            assert_eq!(record.what.name(), "gap");
            let mut value = serde_json::to_value(&record).unwrap();
            assert!(value["at_ms"].as_u64() > Some(0));
            value["at_ms"].take();
            let expected = format!(
                r#"{{{line},"at_ms":null,"pool":null,"backend":null,"generation":null,"actor":null,"began_ms":7}}"#
            );
            let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn the_readme_lists_each_kind_with_its_fields() {
        let readme = include_str!("../../README.md");
        let gap = no_longer_kept(1, 2, 0).what;
        let kinds = each().into_iter().map(|(kind, _)| particulars(&kind));
        for kind in kinds.chain([gap]) {
            let value = serde_json::to_value(&kind).unwrap();
            let text = serde_json::to_string(&kind).unwrap();
            let mut keys: Vec<&str> = value
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            keys.retain(|key| *key != "event");
            // In the order in which they are written.
            keys.sort_by_key(|key| text.find(&format!("\"{key}\":")));
            let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
            let keys = match keys.is_empty() {
                true => "none".to_owned(),
                false => keys.join(", "),
            };
            let row = format!("| `{}` | {keys} |", kind.name());
            assert!(readme.contains(&row), "README.md must contain: {row}");
        }
    }
}
