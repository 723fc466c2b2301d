//! A rollout in words: under way, answered, and in the history of its pool.

use super::render::{span, time};
use crate::report::{Answer, ErrorShares, PhaseTimes, RolloutBackend, RolloutStatus};

/// Ids named in one line for people at most; scripts have the document.
const NAMED_MAX: usize = 4;

/// What an answer says of its rollout, below its message: who serves, who may be killed, how long it
/// took, and why if it did not succeed.
pub(super) fn facts(answer: &Answer, rollout: &RolloutStatus, is_success: bool) -> Vec<String> {
    let at = |id: &str, address: &str| format!("{id} ({address})");
    let serving = answer.serving.iter().map(|one| at(&one.id, &one.address));
    let serving: Vec<String> = serving.collect();
    let mut lines = vec![match serving.is_empty() {
        true => "serving: none".to_owned(),
        false => format!("serving: {}", serving.join(", ")),
    }];
    let all = rollout.replaced.iter().chain(&rollout.added);
    let safe = all.filter(|one| one.safe_to_kill);
    let safe: Vec<String> = safe.map(|one| at(&one.id, &one.address)).collect();
    if !safe.is_empty() {
        lines.push(format!("safe to kill: {}", safe.join(", ")));
    }
    let judged = rollout.errors.as_ref().filter(|errors| errors.judged);
    if let Some(errors) = judged.filter(|_| !is_success) {
        lines.push(errors_in_words(rollout, errors));
    }
    lines.extend(took(&rollout.timings));
    lines
}

/// A rollout under way, on one line; `now` is milliseconds since the Unix epoch.
pub(super) fn under_way(rollout: &RolloutStatus, now: u64) -> String {
    let RolloutStatus {
        kind,
        number,
        actor,
        ..
    } = rollout;
    let since = time(in_phase(rollout, now));
    let added = names(&rollout.added, ", ");
    let replaced = names(&rollout.replaced, ", ");
    format!(
        "{kind} {number} by {actor}, {} for {since}: {added} for {replaced}",
        phase(rollout)
    )
}

/// The phase of a rollout under way, or how it was decided.
pub(super) fn phase(rollout: &RolloutStatus) -> String {
    match &rollout.share {
        Some(share) => format!("{} with {share}", rollout.phase),
        None => rollout.phase.clone(),
    }
}

/// How long a rollout under way has been in its phase: those before are over, and timed.
pub(super) fn in_phase(rollout: &RolloutStatus, now: u64) -> u64 {
    let timings = &rollout.timings;
    let before = [timings.gate_ms, timings.canary_ms, timings.bake_ms];
    let before: u64 = before.iter().flatten().sum();
    now.saturating_sub(rollout.begun_ms.saturating_add(before))
}

/// The ids, a few of them.
pub(super) fn names(backends: &[RolloutBackend], between: &str) -> String {
    let mut named: Vec<&str> = backends.iter().map(|one| one.id.as_str()).collect();
    let left = named.len().saturating_sub(NAMED_MAX);
    named.truncate(NAMED_MAX);
    match (named.is_empty(), left) {
        (true, _) => "none".to_owned(),
        (_, 0) => named.join(between),
        _ => format!("{} and {left} more", named.join(between)),
    }
}

fn errors_in_words(rollout: &RolloutStatus, errors: &ErrorShares) -> String {
    let share = |backends: &[RolloutBackend], errors: u64, answers: u64| {
        let percent = errors as f64 * 100.0 / answers.max(1) as f64;
        let names = names(backends, "+");
        format!("{names} {errors} of {answers} ({percent:.1}%)")
    };
    format!(
        "errors: {}, {}",
        share(&rollout.added, errors.new_errors, errors.new_answers),
        share(&rollout.replaced, errors.old_errors, errors.old_answers),
    )
}

fn took(timings: &PhaseTimes) -> Option<String> {
    let each = [
        ("gate", timings.gate_ms),
        ("canary", timings.canary_ms),
        ("bake", timings.bake_ms),
        ("drain", timings.drain_ms),
    ];
    let each = each.iter().filter_map(|(phase, took)| {
        let took = (*took)?;
        Some(format!("{phase} {}", span(took as f64)))
    });
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| format!("took: {}", each.join(", ")))
}
