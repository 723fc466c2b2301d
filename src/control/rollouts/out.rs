//! How those that a rollout took out stand, and the words for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::course::Decision;
use crate::control::drains::count;
use crate::control::{Control, deadline_in};
use crate::drain::{Drain, End};
use crate::outcome::Outcome;
use crate::pool::rollout::{Decided, TakenOut};
use crate::spec::PoolName;

/// How long an answer waits, once all is drained, for what was to be forgotten to be so.
const FORGET_WAIT: Duration = Duration::from_secs(5);

/// How those that a rollout took out stand.
pub(super) struct Out {
    pub(super) how: TakenOut,
    pub(super) is_safe: bool,
    /// The caller wanted to know; with a wait of zero it did not.
    was_waited_for: bool,
    /// How long the longest of the drains took, if all have ended.
    pub(super) drained_in_ms: Option<u64>,
    /// Each of them, and how it ended.
    each: Vec<(String, TakenOut)>,
    /// Drains that are not theirs and go on, of earlier generations of their processes.
    beside: Vec<Arc<Drain>>,
}

impl Out {
    /// Those that ended so, in a row.
    pub(super) fn that(&self, is_it: impl Fn(TakenOut) -> bool) -> Vec<&str> {
        let each = self.each.iter().filter(|(_, how)| is_it(*how));
        each.map(|(name, _)| name.as_str()).collect()
    }

    /// What they still wait for, in words.
    pub(super) fn left(&self, drains: &[Arc<Drain>]) -> String {
        left_of(drains.iter().chain(&self.beside))
    }

    /// The outcome for those who wanted them out, and the words.
    pub(super) fn in_words(&self, ids: &str, drains: &[Arc<Drain>]) -> (Outcome, String) {
        let is_gone = |how| matches!(how, TakenOut::Clean | TakenOut::Forced);
        let warm = self.that(|how| how == TakenOut::Standby).join(", ");
        // The outcomes of a drain say that it is safe. A process whose address came to live elsewhere is in
        // use again, and whoever goes by the exit code must not kill it.
        let drained = |how: &str, outcome| match (self.is_safe, warm.is_empty()) {
            (true, _) => (outcome, format!("{ids} drained: {how}; safe to kill")),
            (false, true) => (
                Outcome::Restored,
                format!("{ids} drained: {how}; not safe to kill: the address is live elsewhere"),
            ),
            (false, false) => {
                let gone = self.that(is_gone).join(", ");
                (
                    Outcome::Done,
                    format!("{gone} drained: {how}; {warm} on standby"),
                )
            }
        };
        match self.how {
            TakenOut::None | TakenOut::Standby => (Outcome::Done, format!("{ids} on standby")),
            TakenOut::Clean => drained("clean", Outcome::Clean),
            TakenOut::Forced => drained(&format!("forced{}", cut_of(drains)), Outcome::Forced),
            TakenOut::Restored => {
                let back = self.that(|how| how == TakenOut::Restored).join(", ");
                let gone = self.that(is_gone).join(", ");
                let gone = match gone.is_empty() {
                    true => String::new(),
                    false => format!(", {gone} drained"),
                };
                (Outcome::Restored, format!("{back} brought back{gone}"))
            }
            TakenOut::Draining => {
                let left = self.left(drains);
                match self.was_waited_for {
                    true => (Outcome::NotYet, format!("not drained yet: {left}")),
                    false => (Outcome::Begun, format!("draining: {left}")),
                }
            }
        }
    }

    /// What to do next about those that were to go and have not.
    pub(super) fn hint(&self, pool: &PoolName) -> Option<String> {
        let back = self.that(|how| how == TakenOut::Restored);
        match self.how {
            TakenOut::Draining => {
                let left = self.that(|how| how == TakenOut::Draining);
                let first = left.first()?;
                Some(format!(
                    "the drain goes on; `tidegate wait {pool}/{first} --for drained` waits for it"
                ))
            }
            TakenOut::Clean | TakenOut::Forced if !self.is_safe => {
                Some("do not kill what is in use elsewhere".to_owned())
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

impl Control {
    /// How those that were taken out stand after at most `wait`. What is to be forgotten is waited for too,
    /// so that who is told sees nothing of it.
    pub(super) async fn out_after(
        &self,
        pool: &PoolName,
        decision: &Decision,
        wait: Duration,
    ) -> Out {
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
            each.push((named.id.to_string(), ended));
        }
        let mut beside = Vec::new();
        if past.decided == Decided::Moved && matches!(how, TakenOut::Clean | TakenOut::Forced) {
            for drain in self.drains_beside(past.out()) {
                if timeout_at(deadline, drain.ended()).await.is_err() {
                    let identity = drain.backend().identity();
                    let name = format!("{}@{}", identity.id, identity.generation);
                    how = TakenOut::Draining;
                    each.push((name, how));
                    beside.push(drain);
                }
            }
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
            beside,
        }
    }
}

/// What the drains of those taken out still wait for, in words.
fn left_of<'a>(drains: impl Iterator<Item = &'a Arc<Drain>>) -> String {
    let going_on = drains.filter(|drain| drain.end().is_none());
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
