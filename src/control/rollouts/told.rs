//! What those who asked for a rollout are answered.
//!
//! What always holds: an answer says that it is safe to kill only if everything that the call was to take
//! out is: sealed or gone, with nothing that lives at its address.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::course::{Course, Decision, Reached};
use crate::backend::{Backend, Health, Tally};
use crate::control::drains::count;
use crate::control::view::last_probe;
use crate::control::{Control, deadline_in};
use crate::drain::{Drain, End};
use crate::outcome::Outcome;
use crate::pool::model::Model;
use crate::pool::rollout::{Decided, Named, Past, Rollout, TakenOut};
use crate::report::Answer;
use crate::rollout::bake::{Shares, share};
use crate::rollout::plan::{Coming, NoPlan, Plan};
use crate::rollout::steps;
use crate::spec::{BackendId, PoolName};

use super::RolloutCall;

/// How long an answer waits, once all is drained, for what was to be forgotten to be so.
const FORGET_WAIT: Duration = Duration::from_secs(5);

/// What the caller of a rollout waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waiting {
    /// An open canary, or the end.
    ForCanary,
    /// The end.
    ForTheEnd,
}

/// How those that a rollout took out stand.
struct Out {
    how: TakenOut,
    is_safe: bool,
    /// The caller wanted to know; with a wait of zero it did not.
    was_waited_for: bool,
    /// How long the longest of the drains took, if all have ended.
    drained_in_ms: Option<u64>,
    /// Each of them, and how it ended.
    each: Vec<(BackendId, TakenOut)>,
}

impl Out {
    /// Those that ended so, in a row.
    fn that(&self, is_it: impl Fn(TakenOut) -> bool) -> Vec<&str> {
        let each = self.each.iter().filter(|(_, how)| is_it(*how));
        each.map(|(id, _)| id.as_str()).collect()
    }

    /// The outcome for those who wanted them out, and the words.
    fn in_words(&self, ids: &str, drains: &[Arc<Drain>]) -> (Outcome, String) {
        let drained = |how: &str, outcome| match self.is_safe {
            true => (outcome, format!("{ids} drained: {how}; safe to kill")),
            // The outcomes of a drain say that it is safe.
            false => (
                Outcome::Done,
                format!("{ids} drained: {how}; not safe to kill: the address is live elsewhere"),
            ),
        };
        match self.how {
            TakenOut::None | TakenOut::Standby => (Outcome::Done, format!("{ids} on standby")),
            TakenOut::Clean => drained("clean", Outcome::Clean),
            TakenOut::Forced => drained(&format!("forced{}", cut_of(drains)), Outcome::Forced),
            TakenOut::Restored => {
                let back = self.that(|how| how == TakenOut::Restored).join(", ");
                let gone = self.that(|how| how < TakenOut::Restored).join(", ");
                let gone = match gone.is_empty() {
                    true => String::new(),
                    false => format!(", {gone} drained"),
                };
                (Outcome::Restored, format!("{back} brought back{gone}"))
            }
            TakenOut::Draining => {
                let left = left_of(drains);
                match self.was_waited_for {
                    true => (Outcome::NotYet, format!("not drained yet: {left}")),
                    false => (Outcome::Begun, format!("draining: {left}")),
                }
            }
        }
    }

    /// What to do next about those that were to go and have not.
    fn hint(&self, pool: &PoolName) -> Option<String> {
        let back = self.that(|how| how == TakenOut::Restored);
        match self.how {
            TakenOut::Draining => {
                let left = self.that(|how| how == TakenOut::Draining);
                let first = left.first()?;
                Some(format!(
                    "the drain goes on; `tidegate wait {pool}/{first} --for drained` waits for it"
                ))
            }
            TakenOut::Restored if back.len() == 1 => {
                Some(format!("do not kill {}: it is in use again", back[0]))
            }
            TakenOut::Restored => Some(format!(
                "do not kill {}: they are in use again",
                back.join(", ")
            )),
            _ => None,
        }
    }
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

    /// The answer of a call that joins one that was decided before.
    pub(super) async fn past_answer(&self, pool: &PoolName, past: &Past, wait: Duration) -> Answer {
        let decision = self.decision_of(pool, past.clone());
        self.decided_answer(pool, &decision, wait).await
    }

    /// The answer about what was decided last.
    pub(super) async fn last_answer(&self, pool: &PoolName, wait: Duration) -> Answer {
        let past = {
            let model = self.model.lock().await;
            let of = model.pools.get(pool);
            of.and_then(|of| of.history.last().cloned())
        };
        match past {
            Some(past) => self.past_answer(pool, &past, wait).await,
            None => self.pool_answer(Outcome::Unknown, format!("{pool} is gone"), pool),
        }
    }

    pub(super) fn decision_of(&self, _pool: &PoolName, past: Past) -> Decision {
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
            let message = format!("{pool}: {new} in service{end}");
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
                TakenOut::Draining => format!("; not drained yet: {}", left_of(&decision.drains)),
                _ => String::new(),
            };
            let (decided, cause) = (past.decided.as_str(), &past.cause);
            let message = match cause.starts_with(decided) {
                true => format!("{kind} {number} of {pool} {cause}{rest}"),
                false => format!("{kind} {number} of {pool} {decided}: {cause}{rest}"),
            };
            let left = match out.how {
                TakenOut::Clean | TakenOut::Forced => Some("nothing of it is left".to_owned()),
                TakenOut::Standby => Some(format!("{new} on standby")),
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

    /// How those that were taken out stand after at most `wait`. What is to be forgotten is waited for too,
    /// so that who is told sees nothing of it.
    async fn out_after(&self, pool: &PoolName, decision: &Decision, wait: Duration) -> Out {
        let past = &decision.past;
        let deadline = deadline_in(wait);
        let mut how = match past.out().is_empty() {
            true => TakenOut::None,
            false => past.taken_out.min(TakenOut::Standby),
        };
        let mut each = Vec::new();
        for named in past.out() {
            let of = |drain: &&Arc<Drain>| drain.backend().generation() == named.generation;
            let ended = match (named.ended, decision.drains.iter().find(of)) {
                (Some(ended), _) => ended,
                (None, Some(drain)) => match timeout_at(deadline, drain.ended()).await {
                    Ok(End::Clean) => TakenOut::Clean,
                    Ok(End::Forced) => TakenOut::Forced,
                    Ok(End::Restored) => TakenOut::Restored,
                    Err(_) => TakenOut::Draining,
                },
                // It was forgotten between the record and our look, so it was sealed.
                (None, None) => TakenOut::Clean,
            };
            how = how.max(ended);
            each.push((named.id.clone(), ended));
        }
        if past.decided != Decided::Moved && matches!(how, TakenOut::Clean | TakenOut::Forced) {
            let until = Instant::now() + FORGET_WAIT;
            for named in past.out().iter().filter(|named| !named.was_here) {
                self.wait_for(pool, named.generation, until, |_| false)
                    .await;
            }
        }
        let is_safe = matches!(how, TakenOut::Clean | TakenOut::Forced)
            && past.out().iter().all(|named| self.is_safe(named));
        let took = decision.drains.iter().map(|drain| drain.took()).max();
        let took = took.filter(|_| how < TakenOut::Restored);
        Out {
            how,
            is_safe,
            was_waited_for: !wait.is_zero(),
            drained_in_ms: took.and_then(|took| u64::try_from(took.as_millis()).ok()),
            each,
        }
    }
}

/// What the drains of those taken out still wait for, in words.
fn left_of(drains: &[Arc<Drain>]) -> String {
    let going_on = drains.iter().filter(|drain| drain.end().is_none());
    let left = going_on.map(|drain| {
        let held = crate::control::drains::left(drain.backend());
        format!("{} ({held})", drain.backend().id())
    });
    left.collect::<Vec<_>>().join(", ")
}

/// What the drains have cut, in words; nothing where that is not known any more.
fn cut_of(drains: &[Arc<Drain>]) -> String {
    let cuts = drains.iter().map(|drain| drain.cuts());
    let (requests, tunnels) = cuts.fold((0, 0), |(requests, tunnels): (u32, u32), cuts| {
        (
            requests.saturating_add(cuts.requests),
            tunnels.saturating_add(cuts.tunnels),
        )
    });
    match (requests, tunnels) {
        (0, 0) => String::new(),
        _ => format!(", {} cut", count(requests, tunnels)),
    }
}
