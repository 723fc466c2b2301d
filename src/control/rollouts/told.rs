//! What those who asked for a rollout are answered.
//!
//! What always holds: an answer says that it is safe to kill only if everything that the call was to take
//! out is: sealed or gone, as is every generation at its address.

use std::sync::Arc;
use std::time::Duration;

use super::course::{Course, Decision, Reached};
use super::out::Out;
use crate::backend::{Backend, Health, Tally};
use crate::control::Control;
use crate::control::view::last_probe;
use crate::outcome::Outcome;
use crate::pool::model::Model;
use crate::pool::rollout::{Decided, Named, Past, Rollout, TakenOut};
use crate::report::Answer;
use crate::rollout::bake::{Shares, share};
use crate::rollout::plan::{Coming, NoPlan, Plan};
use crate::rollout::steps;
use crate::spec::PoolName;

use super::RolloutCall;

/// What the caller of a rollout waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waiting {
    /// An open canary, or the end.
    ForCanary,
    /// The end.
    ForTheEnd,
}

/// Ids in a row.
pub(super) fn ids(named: &[Named]) -> String {
    let ids: Vec<&str> = named.iter().map(|named| named.id.as_str()).collect();
    ids.join(", ")
}

/// A backend and its last probe, in words.
pub(super) fn probe_of(backend: &Backend) -> String {
    let id = backend.id();
    match backend.last_probe() {
        Some(report) if backend.health() == Health::Healthy => {
            format!("{id} ({})", report.result.unwrap_or_else(|cause| cause))
        }
        _ => format!("{id} ({})", last_probe(backend)),
    }
}

/// The shares of errors of both sets, in words.
pub(super) fn share_words(rollout: &Rollout, shares: &Shares) -> String {
    let of = |named: &[Named], tally: Tally| {
        let percent = share(tally) * 100.0;
        let ids: Vec<&str> = named.iter().map(|named| named.id.as_str()).collect();
        let (ids, Tally { answers, errors }) = (ids.join("+"), tally);
        format!("{ids} {errors} of {answers} ({percent:.1}%)")
    };
    let new = of(&rollout.new, shares.new);
    match rollout.old.is_empty() {
        true => new,
        false => format!("{new}, {}", of(&rollout.old, shares.old)),
    }
}

impl Course {
    /// What both sets have answered by now.
    pub(super) fn shares(
        &self,
        rollout: &Rollout,
        new: &[Arc<Backend>],
        old: &[Arc<Backend>],
    ) -> Shares {
        let tallies = |of: &[Arc<Backend>]| -> Vec<_> {
            let tallies = of.iter().map(|one| (one.generation(), one.tally()));
            tallies.collect()
        };
        self.baseline(|baseline| baseline.shares(&tallies(new), &tallies(old), &rollout.spec))
    }
}

impl Control {
    pub(super) fn no_plan_answer(&self, pool: &PoolName, no: &NoPlan) -> Answer {
        if let NoPlan::Refused(refusal) = no {
            return self.stopped(refusal.clone().into(), pool, None);
        }
        let hint = match no {
            NoPlan::UnderWay { .. } => format!(
                "--lock-wait waits for it, `tidegate abort {pool}` takes it back, `tidegate status {pool}` shows it"
            ),
            NoPlan::LivesElsewhere { .. } => {
                "drain those first, use --keep-standby, or --force to take it out of this pool alone"
                    .to_owned()
            }
            NoPlan::TooMany(_) => "replace fewer at a time".to_owned(),
            NoPlan::TooFew { .. } => "bring in more, or replace fewer at a time".to_owned(),
            NoPlan::IsNotActive { id, .. } => format!(
                "it gets no traffic; `tidegate drain {pool}/{id}` makes it safe to kill, `tidegate status {pool}` shows who serves"
            ),
            NoPlan::IsActive(_) => format!("`tidegate status {pool}` shows who serves"),
            NoPlan::Both(_) | NoPlan::Refused(_) => "nothing was changed".to_owned(),
        };
        let message = match no {
            NoPlan::UnderWay { .. } => no.to_string(),
            _ => format!("{pool}: {no}"),
        };
        self.pool_answer(Outcome::Refused, message, pool).hint(hint)
    }

    pub(super) fn dry_answer(
        &self,
        model: &Model,
        pool: &PoolName,
        plan: &Plan,
        call: &RolloutCall,
    ) -> Answer {
        let id = |generation: &u64| {
            let member = model.member(pool, *generation);
            member.map_or_else(|| generation.to_string(), |member| member.id.to_string())
        };
        let new: Vec<String> = plan
            .new
            .iter()
            .map(|coming| match coming {
                Coming::Standby(generation) => format!("{} (from standby)", id(generation)),
                Coming::New(member) => format!("{} ({})", member.id, member.address),
            })
            .collect();
        let old: Vec<String> = plan.old.iter().map(id).collect();
        let way = match (call.canary, old.is_empty(), call.keep_standby) {
            (Some(share), _, _) => format!(", through a canary with {share}"),
            (None, true, _) => String::new(),
            (None, false, true) => ", which would stay on standby".to_owned(),
            (None, false, false) => ", which would drain".to_owned(),
        };
        let old = match old.is_empty() {
            true => "nothing".to_owned(),
            false => old.join(", "),
        };
        let message = format!(
            "{pool}: would bring in {} for {old}{way}; nothing was changed",
            new.join(", ")
        );
        self.pool_answer(Outcome::Done, message, pool)
    }

    /// The answer of one who does not wait.
    pub(super) fn begun_answer(&self, pool: &PoolName, number: u64, what: &str) -> Answer {
        let message = format!("{pool}: rollout {number} {what}");
        let mut answer = self.pool_answer(Outcome::Begun, message, pool);
        answer.rollout = self.status_now(pool);
        answer.hint(format!("`tidegate status {pool}` shows how it goes"))
    }

    pub(super) fn canary_answer(&self, pool: &PoolName, number: u64) -> Answer {
        let status = self.status_now(pool);
        let share = status.as_ref().and_then(|status| status.share.clone());
        let new: Vec<&str> = status
            .iter()
            .flat_map(|status| &status.added)
            .map(|one| one.id.as_str())
            .collect();
        let message = format!(
            "{pool}: the canary of rollout {number} is open: {} of new requests to {}",
            share.unwrap_or_default(),
            new.join(", ")
        );
        let mut answer = self.pool_answer(Outcome::Done, message, pool);
        answer.rollout = status;
        answer.hint(format!(
            "`tidegate canary {pool} N%` changes the share, `promote {pool}` goes on, `rollback {pool}` takes it back"
        ))
    }

    /// The answer of one who waits for a rollout under way.
    pub(super) async fn course_answer(
        &self,
        pool: &PoolName,
        course: &Course,
        waiting: Waiting,
        wait: Duration,
    ) -> Answer {
        match course.reached(waiting == Waiting::ForCanary).await {
            Reached::Canary => self.canary_answer(pool, course.number()),
            Reached::End(decision) => self.decided_answer(pool, &decision, wait).await,
        }
    }

    /// What a record came to. The caller holds the lock, so that it has either the end of each drain or
    /// the drain.
    pub(super) fn decision_of(&self, past: Past) -> Decision {
        let out = past.out().iter();
        let drains = out.filter_map(|named| self.drain_of(named.generation));
        Decision {
            drains: drains.collect(),
            past,
            errors: None,
        }
    }

    /// The answer to those who wanted the new ones to serve.
    pub(super) async fn decided_answer(
        &self,
        pool: &PoolName,
        decision: &Decision,
        wait: Duration,
    ) -> Answer {
        let past = &decision.past;
        let out = self.out_after(pool, decision, wait).await;
        let (kind, number) = (past.kind.as_str(), past.number);
        let (new, old) = (ids(&past.new), ids(&past.old));
        let mut answer = if past.decided == Decided::Moved {
            let (outcome, end) = match out.how {
                TakenOut::None => (Outcome::Done, String::new()),
                _ => {
                    let (outcome, end) = out.in_words(&old, &decision.drains);
                    (outcome, format!("; {end}"))
                }
            };
            let message = match out.how {
                // Who brought them back may have taken the new ones out.
                TakenOut::Restored => format!("{pool}: moved to {new}{end}"),
                _ => format!("{pool}: {new} in service{end}"),
            };
            let mut answer = self.pool_answer(outcome, message, pool);
            answer.hint = match out.how {
                TakenOut::Standby => Some(format!(
                    "`tidegate rollback {pool}` brings {old} back at once"
                )),
                _ => out.hint(pool),
            };
            answer
        } else {
            let rest = match out.how {
                TakenOut::Draining => format!("; not drained yet: {}", out.left(&decision.drains)),
                _ => String::new(),
            };
            let (decided, cause) = (past.decided.as_str(), &past.cause);
            let message = match cause.starts_with(decided) {
                true => format!("{kind} {number} of {pool} {cause}{rest}"),
                false => format!("{kind} {number} of {pool} {decided}: {cause}{rest}"),
            };
            let warm = out.that(|how| how == TakenOut::Standby).join(", ");
            let left = match out.how {
                _ if !warm.is_empty() => Some(format!("{warm} on standby")),
                TakenOut::Clean | TakenOut::Forced => Some("nothing of it is left".to_owned()),
                _ => out.hint(pool),
            };
            let serves = (!past.old.is_empty()).then(|| format!("who served before serves: {old}"));
            let hints: Vec<String> = left.into_iter().chain(serves).collect();
            let mut answer = self.pool_answer(Outcome::Failed, message, pool);
            answer.hint = (!hints.is_empty()).then(|| hints.join("; "));
            answer
        };
        answer.safe_to_kill = out.is_safe && past.decided == Decided::Moved;
        self.attach(&mut answer, pool, decision, &out).await;
        answer
    }

    /// The answer to those who wanted the old ones to serve.
    pub(super) async fn taken_back_answer(
        &self,
        pool: &PoolName,
        decision: &Decision,
        wait: Duration,
    ) -> Answer {
        let past = &decision.past;
        if past.decided == Decided::Moved {
            return self.decided_answer(pool, decision, wait).await;
        }
        let out = self.out_after(pool, decision, wait).await;
        let (new, number) = (ids(&past.new), past.number);
        let (outcome, end) = out.in_words(&new, &decision.drains);
        let serves = match past.old.is_empty() {
            true => String::new(),
            false => format!("{} in service; ", ids(&past.old)),
        };
        let message = format!("{pool}: rollout {number} was taken back; {serves}{end}");
        let mut answer = self.pool_answer(outcome, message, pool);
        answer.hint = out.hint(pool);
        answer.safe_to_kill = out.is_safe;
        self.attach(&mut answer, pool, decision, &out).await;
        answer
    }

    async fn attach(&self, answer: &mut Answer, pool: &PoolName, decision: &Decision, out: &Out) {
        // The record may have been written on since: by the end of the drains.
        let past = {
            let model = self.model.lock().await;
            let of = model.pools.get(pool);
            of.and_then(|of| steps::past(of, decision.past.number).cloned())
        };
        let mut status = self.past_status(past.as_ref().unwrap_or(&decision.past));
        status.errors = decision.errors.clone();
        if past.is_none_or(|past| past.taken_out == TakenOut::Draining) {
            // The end is told at once, and written into the record right after.
            status.taken_out = Some(out.how.as_str().to_owned());
            status.timings.drain_ms = out.drained_in_ms;
        }
        answer.rollout = Some(status);
    }
}
