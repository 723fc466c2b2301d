//! The rule by which probes become a verdict. Pure: no clock, no sockets, no backend.
//!
//! A [`Judge`] owns one streak: how many of the last probes in a row went the same way. Any opposite
//! result begins it anew. Verdicts change in three ways only:
//!
//! - unknown or unhealthy to healthy: `rise` good in a row; one is enough where the backend was there
//!   when the proxy started ([`Admission::AtStart`]) and no verdict was given yet;
//! - unknown or healthy to unhealthy: `fall` failed in a row.
//!
//! The health of the moment and both thresholds are passed in with each result and not kept, so
//! that there is no second copy of either that could differ. [`super::Checker`] asks; it also does
//! what follows from the answer.

use crate::backend::{Admission, Health};
use crate::spec::HealthSpec;

/// How one probe went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// As expected.
    Good,
    /// Anything else.
    Failed,
}

/// The streak of one generation.
#[derive(Clone, Debug)]
pub struct Judge {
    admission: Admission,
    last: Seen,
    in_a_row: u32,
}

impl Judge {
    /// No streak yet.
    pub fn new(admission: Admission) -> Self {
        Self {
            admission,
            last: Seen::Good,
            in_a_row: 0,
        }
    }

    /// Counts a result. `Some` is the new health, always another one than `now`.
    pub fn observe(&mut self, now: Health, seen: Seen, spec: &HealthSpec) -> Option<Health> {
        let before = if seen == self.last { self.in_a_row } else { 0 };
        self.last = seen;
        self.in_a_row = before.saturating_add(1);
        let (to, needed) = match seen {
            Seen::Good if self.one_is_enough(now) => (Health::Healthy, 1),
            Seen::Good => (Health::Healthy, spec.rise),
            Seen::Failed => (Health::Unhealthy, spec.fall),
        };
        (now != to && self.in_a_row >= needed).then_some(to)
    }

    /// Begins the streak anew, for what was seen answered another question.
    pub fn forget_streak(&mut self) {
        self.in_a_row = 0;
    }

    fn one_is_enough(&self, now: Health) -> bool {
        self.admission == Admission::AtStart && now == Health::Unknown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spec::ProbeKind;

    fn spec(rise: u32, fall: u32) -> HealthSpec {
        HealthSpec {
            rise,
            fall,
            ..HealthSpec::new(ProbeKind::Tcp)
        }
    }

    /// Health after each result; `g` is good, `f` failed; written as `u`, `h`, `x`.
    fn course(admission: Admission, first: Health, spec: &HealthSpec, seen: &str) -> String {
        let mut judge = Judge::new(admission);
        let mut health = first;
        let letters = seen.chars().map(|letter| {
            let seen = match letter {
                'g' => Seen::Good,
                _ => Seen::Failed,
            };
            if let Some(to) = judge.observe(health, seen, spec) {
                assert_ne!(to, health, "a transition to where it was");
                health = to;
            }
            match health {
                Health::Unknown => 'u',
                Health::Healthy => 'h',
                Health::Unhealthy => 'x',
            }
        });
        letters.collect()
    }

    #[test]
    fn verdicts_need_rise_good_or_fall_failed_in_a_row() {
        use Admission::{Added, AtStart};
        use Health::{Healthy, Unhealthy, Unknown};
        let table = [
            // rise, fall, admission, before, seen, health after each
            (2, 3, Added, Unknown, "gg", "uh"),
            (2, 3, Added, Unknown, "gfgg", "uuuh"),
            (2, 3, Added, Unknown, "fff", "uux"),
            (2, 3, Added, Unknown, "ffgfff", "uuuuux"),
            (2, 3, Added, Unknown, "gfgfgfgf", "uuuuuuuu"),
            (2, 3, AtStart, Unknown, "g", "h"),
            (2, 3, AtStart, Unknown, "ffg", "uuh"),
            (2, 3, AtStart, Unknown, "fffgg", "uuxxh"),
            (2, 3, AtStart, Unknown, "gfffgg", "hhhxxh"),
            (2, 3, AtStart, Unhealthy, "gg", "xh"),
            (2, 3, Added, Healthy, "fff", "hhx"),
            (2, 3, Added, Healthy, "ffgffgff", "hhhhhhhh"),
            (2, 3, Added, Unhealthy, "gfgg", "xxxh"),
            (1, 1, Added, Unknown, "gfgf", "hxhx"),
            (1, 1, Added, Unknown, "f", "x"),
        ];
        for (rise, fall, admission, before, seen, after) in table {
            assert_eq!(
                course(admission, before, &spec(rise, fall), seen),
                after,
                "rise {rise} fall {fall} {admission:?} {before:?} {seen}"
            );
        }
    }

    #[test]
    fn thresholds_may_change_between_results_and_streaks_may_be_forgotten() {
        let mut judge = Judge::new(Admission::Added);
        let mut see = |spec: &HealthSpec| judge.observe(Health::Unknown, Seen::Good, spec);
        assert_eq!(see(&spec(5, 1)), None);
        assert_eq!(see(&spec(2, 1)), Some(Health::Healthy));
        judge.forget_streak();
        let mut see = |spec: &HealthSpec| judge.observe(Health::Unknown, Seen::Good, spec);
        assert_eq!(see(&spec(2, 1)), None);
        assert_eq!(see(&spec(2, 1)), Some(Health::Healthy));
    }

    /// The rule said another way: look at the whole history each time.
    fn naive(admission: Admission, first: Health, spec: &HealthSpec, seen: &str) -> String {
        let mut health = first;
        (1..=seen.len())
            .map(|end| {
                let trailing = |letter: char| {
                    let run = seen[..end].chars().rev().take_while(|&c| c == letter);
                    run.count() as u32
                };
                let is_first_verdict = health == Health::Unknown;
                let rise = match admission {
                    Admission::AtStart if is_first_verdict => 1,
                    _ => spec.rise,
                };
                if trailing('g') >= rise {
                    health = Health::Healthy;
                } else if trailing('f') >= spec.fall {
                    health = Health::Unhealthy;
                }
                match health {
                    Health::Unknown => 'u',
                    Health::Healthy => 'h',
                    Health::Unhealthy => 'x',
                }
            })
            .collect()
    }

    #[test]
    fn every_short_course_is_as_the_naive_model_says() {
        for bits in 0..1u32 << 9 {
            let seen: String = (0..9)
                .map(|bit| if bits >> bit & 1 == 1 { 'g' } else { 'f' })
                .collect();
            for (rise, fall) in [(1, 1), (1, 3), (2, 2), (2, 3), (3, 1), (3, 3)] {
                for admission in [Admission::AtStart, Admission::Added] {
                    for first in Health::ALL {
                        let spec = spec(rise, fall);
                        assert_eq!(
                            course(admission, first, &spec, &seen),
                            naive(admission, first, &spec, &seen),
                            "rise {rise} fall {fall} {admission:?} {first:?} {seen}"
                        );
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn long_courses_are_as_the_naive_model_says(
            rise in 1u32..12,
            fall in 1u32..12,
            at_start: bool,
            first in 0usize..3,
            // Runs, so that high thresholds are reached and missed by one.
            runs in prop::collection::vec((any::<bool>(), 1usize..14), 0..20),
        ) {
            let admission = if at_start { Admission::AtStart } else { Admission::Added };
            let seen: String = runs
                .iter()
                .map(|&(good, length)| if good { "g" } else { "f" }.repeat(length))
                .collect();
            let first = Health::ALL[first];
            let spec = spec(rise, fall);
            prop_assert_eq!(
                course(admission, first, &spec, &seen),
                naive(admission, first, &spec, &seen)
            );
        }
    }
}
