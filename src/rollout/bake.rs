//! Whether the new backends do well while they serve.
//!
//! Two things speak against them: a failed verdict of the probes on any of them, and a share of
//! errors that is over the old set's own by more than a margin. The share is judged only from so many
//! answers on, and never for fewer than [`ERRORS_MIN`] errors: with a few answers, one error is a
//! share that means nothing.
//!
//! The old set is measured over the time of the rollout, so that a trouble both have in common (a
//! database that is down) is not held against the new one; if it answered too little in that time,
//! over its whole life. What an error is, is the backend's [`Tally`]. [`due`] says when a bake is over.

use std::collections::HashMap;
use std::time::Duration;

use crate::backend::{Generation, Tally};
use crate::spec::{RolloutSpec, Share};

/// Errors below which no share is too large.
pub const ERRORS_MIN: u64 = 3;

/// A share that is the margin itself is not over it, however it was rounded.
const ROUNDING: f64 = 1e-9;

/// How the new set does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// No more errors than can be.
    Well,
    /// Its share of errors is too large.
    TooManyErrors,
    /// Too few answers to say.
    NotJudged,
}

/// What is to be done about a bake that nothing else has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// It is not over, or nobody is healthy: look again.
    Nothing,
    /// The new ones have it.
    Finish,
    /// They did not get healthy again in a time that would have been too long for the gate.
    TakeBack,
}

/// What is due `after` so long in the bake. While the new ones are not healthy it does not end well; with
/// nobody to go back to, watching on would change nothing.
pub fn due(spec: &RolloutSpec, after: Duration, is_new_healthy: bool, may_go_back: bool) -> Due {
    if after < spec.bake {
        Due::Nothing
    } else if is_new_healthy || !may_go_back {
        Due::Finish
    } else if after >= spec.bake.saturating_add(spec.healthy_deadline) {
        Due::TakeBack
    } else {
        Due::Nothing
    }
}

/// What the two sets have answered, as it is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shares {
    /// The new ones, since they serve.
    pub new: Tally,
    /// The old ones, over the time they are compared by.
    pub old: Tally,
}

/// What every backend of a rollout had answered when its count began.
#[derive(Clone, Debug, Default)]
pub struct Baseline(HashMap<Generation, Tally>);

impl Baseline {
    /// Counts a backend from `now` on.
    pub fn begin(&mut self, generation: Generation, now: Tally) {
        self.0.insert(generation, now);
    }

    fn since(&self, generation: Generation, now: Tally) -> Tally {
        let then = self.0.get(&generation).copied().unwrap_or_default();
        Tally {
            answers: now.answers.saturating_sub(then.answers),
            errors: now.errors.saturating_sub(then.errors),
        }
    }

    /// What the sets answered, from what they answered in their whole life.
    pub fn shares(
        &self,
        new: &[(Generation, Tally)],
        old: &[(Generation, Tally)],
        spec: &RolloutSpec,
    ) -> Shares {
        let since = |of: &[(Generation, Tally)]| {
            let tallies = of.iter().map(|(number, now)| self.since(*number, *now));
            tallies.fold(Tally::default(), sum)
        };
        let recent = since(old);
        let old = match recent.answers < u64::from(spec.min_requests) {
            true => old.iter().map(|(_, now)| *now).fold(Tally::default(), sum),
            false => recent,
        };
        Shares {
            new: since(new),
            old,
        }
    }
}

impl Shares {
    /// Judges them.
    pub fn verdict(&self, spec: &RolloutSpec) -> Verdict {
        if self.new.answers < u64::from(spec.min_requests) {
            return Verdict::NotJudged;
        }
        let margin = f64::from(spec.error_margin.steps()) / f64::from(Share::WHOLE);
        let is_over = share(self.new) > share(self.old) + margin + ROUNDING;
        match is_over && self.new.errors >= ERRORS_MIN {
            true => Verdict::TooManyErrors,
            false => Verdict::Well,
        }
    }
}

/// Errors among the answers, from 0 to 1. The counts are far below what a float holds exactly.
pub fn share(of: Tally) -> f64 {
    match of.answers {
        0 => 0.0,
        answers => of.errors as f64 / answers as f64,
    }
}

fn sum(one: Tally, other: Tally) -> Tally {
    Tally {
        answers: one.answers.saturating_add(other.answers),
        errors: one.errors.saturating_add(other.errors),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(answers: u64, errors: u64) -> Tally {
        Tally { answers, errors }
    }

    #[test]
    fn errors_are_judged_over_the_old_sets_own_share_and_a_margin() {
        let spec = RolloutSpec {
            min_requests: 50,
            error_margin: Share::percent(1),
            ..RolloutSpec::default()
        };
        let table = [
            // new, old, verdict
            (tally(49, 49), tally(1000, 0), Verdict::NotJudged),
            (tally(50, 2), tally(1000, 0), Verdict::Well), // 4 %, but two are too few
            (tally(50, 3), tally(1000, 0), Verdict::TooManyErrors),
            (tally(300, 3), tally(1000, 0), Verdict::Well), // the margin itself
            (tally(300, 4), tally(1000, 0), Verdict::TooManyErrors),
            (tally(300, 4), tally(1000, 10), Verdict::Well),
            (tally(300, 150), tally(1000, 500), Verdict::Well), // both have the same trouble
            (tally(300, 155), tally(1000, 500), Verdict::TooManyErrors),
            (tally(300, 4), tally(0, 0), Verdict::TooManyErrors),
            (tally(300, 3), tally(0, 0), Verdict::Well),
            (
                tally(u64::MAX, u64::MAX),
                tally(u64::MAX, 0),
                Verdict::TooManyErrors,
            ),
        ];
        for (new, old, verdict) in table {
            assert_eq!(
                Shares { new, old }.verdict(&spec),
                verdict,
                "{new:?} {old:?}"
            );
        }
    }

    #[test]
    fn a_bake_always_comes_to_an_end() {
        let spec = RolloutSpec {
            bake: Duration::from_secs(10),
            healthy_deadline: Duration::from_secs(60),
            ..RolloutSpec::default()
        };
        let due = |secs, healthy, back| due(&spec, Duration::from_secs(secs), healthy, back);
        for (healthy, back) in [(true, true), (false, true), (true, false), (false, false)] {
            assert_eq!(due(9, healthy, back), Due::Nothing);
        }
        assert_eq!(due(10, true, true), Due::Finish);
        assert_eq!(due(10, false, true), Due::Nothing);
        assert_eq!(due(69, false, true), Due::Nothing);
        assert_eq!(due(70, false, true), Due::TakeBack);
        assert_eq!(due(70, true, true), Due::Finish);
        assert_eq!(due(10, false, false), Due::Finish);
    }

    #[test]
    fn what_was_before_does_not_count_unless_there_is_too_little() {
        let spec = RolloutSpec {
            min_requests: 10,
            ..RolloutSpec::default()
        };
        let mut baseline = Baseline::default();
        baseline.begin(1, tally(1000, 100));
        baseline.begin(2, tally(5, 5));
        let shares = baseline.shares(&[(2, tally(25, 6))], &[(1, tally(1100, 101))], &spec);
        assert_eq!((shares.new, shares.old), (tally(20, 1), tally(100, 1)));
        let quiet = baseline.shares(&[(2, tally(5, 5))], &[(1, tally(1009, 101))], &spec);
        assert_eq!((quiet.new, quiet.old), (tally(0, 0), tally(1009, 101)));
    }
}
