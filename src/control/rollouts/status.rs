//! How a rollout stands, as it is shown: under way, or a record of the history.
//!
//! What always holds: a process is called safe to kill only if every generation at its address, in
//! whatever pool, is sealed or gone.

use std::sync::Arc;

use super::course::Course;
use crate::control::Control;
use crate::drain::Drain;
use crate::pool::rollout::{Named, Past, Phase, Rollout, Timings};
use crate::report::{ErrorShares, PhaseTimes, RolloutBackend, RolloutStatus};
use crate::rollout::bake::Verdict;
use crate::spec::{Intent, PoolName};

impl Control {
    /// Sealed or gone, as is every other generation of its process.
    pub(super) fn is_safe(&self, named: &Named) -> bool {
        let snapshot = self.pools.load();
        let mut entries = snapshot.entries();
        entries.all(|(_, entry)| {
            entry.member.target != named.target || entry.backend.reading().is_sealed()
        })
    }

    /// The drains under way of other generations of these processes.
    pub(super) fn drains_beside(&self, all: &[Named]) -> Vec<Arc<Drain>> {
        let snapshot = self.pools.load();
        let entries = snapshot.entries().map(|(_, entry)| &entry.member);
        let beside = entries.filter(|member| {
            let mut same = all.iter().filter(|named| named.target == member.target);
            same.any(|named| named.generation != member.generation)
        });
        let drains = beside.filter_map(|member| self.drain_of(member.generation));
        drains.filter(|drain| drain.end().is_none()).collect()
    }

    /// The rollout that is under way in a pool.
    pub(super) fn status_now(&self, pool: &PoolName) -> Option<RolloutStatus> {
        let snapshot = self.pools.load();
        let rollout = snapshot.pool(pool)?.rollout.clone()?;
        Some(self.under_way_status(pool, &rollout))
    }

    pub(in crate::control) fn under_way_status(
        &self,
        pool: &PoolName,
        rollout: &Rollout,
    ) -> RolloutStatus {
        let share = match rollout.phase {
            Phase::Canary(share) => Some(share.to_string()),
            _ => None,
        };
        // Another one may have begun since the caller looked.
        let course = self.course(pool);
        let course = course.filter(|course| course.number() == rollout.number);
        let errors = match (rollout.phase, course) {
            (Phase::Gate, _) | (_, None) => None,
            (_, Some(course)) => Some(self.errors_of(pool, &course, &rollout.new, &rollout.old)),
        };
        RolloutStatus {
            number: rollout.number,
            key: rollout.key.clone(),
            kind: rollout.kind.as_str().to_owned(),
            phase: rollout.phase.as_str().to_owned(),
            actor: rollout.actor.clone(),
            share,
            cause: None,
            begun_ms: rollout.begun,
            decided_ms: None,
            added: self.backends_of(&rollout.new),
            replaced: self.backends_of(&rollout.old),
            taken_out: None,
            timings: times(rollout.timings),
            errors,
        }
    }

    pub(super) fn past_status(&self, past: &Past) -> RolloutStatus {
        RolloutStatus {
            number: past.number,
            key: past.key.clone(),
            kind: past.kind.as_str().to_owned(),
            phase: past.decided.as_str().to_owned(),
            actor: past.actor.clone(),
            share: None,
            cause: Some(past.cause.clone()),
            begun_ms: past.begun,
            decided_ms: Some(past.decided_at),
            added: self.backends_of(&past.new),
            replaced: self.backends_of(&past.old),
            taken_out: Some(past.taken_out.as_str().to_owned()),
            timings: times(past.timings),
            errors: None,
        }
    }

    fn backends_of(&self, all: &[Named]) -> Vec<RolloutBackend> {
        let snapshot = self.pools.load();
        let of = |named: &Named| {
            let mut entries = snapshot.entries();
            let entry = entries.find(|(_, entry)| entry.member.generation == named.generation);
            let state = match entry {
                None => "removed",
                Some((_, entry)) if entry.backend.reading().is_sealed() => "drained",
                Some((_, entry)) => Intent::as_str(entry.member.intent),
            };
            RolloutBackend {
                id: named.id.to_string(),
                generation: named.generation,
                address: named.address.to_string(),
                state: state.to_owned(),
                safe_to_kill: self.is_safe(named),
            }
        };
        all.iter().map(of).collect()
    }

    /// What is judged of a rollout whose new ones serve.
    pub(super) fn errors_of(
        &self,
        pool: &PoolName,
        course: &Course,
        new: &[Named],
        old: &[Named],
    ) -> ErrorShares {
        let tallies = |of: &[Named]| -> Vec<_> {
            let numbers = of.iter().map(|named| named.generation);
            numbers
                .map(|number| (number, self.tally(pool, number)))
                .collect()
        };
        let spec = course.spec();
        let shares = course.baseline(|counts| counts.shares(&tallies(new), &tallies(old), spec));
        ErrorShares {
            new_answers: shares.new.answers,
            new_errors: shares.new.errors,
            old_answers: shares.old.answers,
            old_errors: shares.old.errors,
            judged: shares.verdict(spec) != Verdict::NotJudged,
        }
    }
}

fn times(timings: Timings) -> PhaseTimes {
    PhaseTimes {
        gate_ms: timings.gate_ms,
        canary_ms: timings.canary_ms,
        bake_ms: timings.bake_ms,
        drain_ms: timings.drain_ms,
    }
}
