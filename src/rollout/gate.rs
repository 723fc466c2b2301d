//! When new backends may get traffic: every one healthy, without a break, for long enough.
//!
//! A [`Gate`] keeps since when each has been healthy. It is told what the probes say whenever that
//! may have changed ([`Gate::observe`]), and says how it stands; a backend that is not healthy once
//! begins anew. The time is given to it.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{Generation, Health};

/// How a gate stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// All were healthy long enough.
    Open,
    /// Not yet; look again then, or when a health changed.
    Wait(Instant),
    /// The time is over.
    Late,
}

/// See the module's words.
pub struct Gate {
    min_healthy_time: Duration,
    deadline: Instant,
    healthy_since: HashMap<Generation, Instant>,
}

impl Gate {
    /// A gate that closes for good after `healthy_deadline`.
    pub fn new(min_healthy_time: Duration, healthy_deadline: Duration, now: Instant) -> Self {
        Self {
            min_healthy_time,
            deadline: now + healthy_deadline,
            healthy_since: HashMap::new(),
        }
    }

    /// Takes what the probes say of every new backend now.
    pub fn observe(
        &mut self,
        healths: impl IntoIterator<Item = (Generation, Health)>,
        now: Instant,
    ) -> Standing {
        // The one that has been healthy for the shortest time decides; if one is not, nothing does.
        let mut youngest = Some(None);
        for (generation, health) in healths {
            if health != Health::Healthy {
                self.healthy_since.remove(&generation);
                youngest = None;
                continue;
            }
            let since = *self.healthy_since.entry(generation).or_insert(now);
            youngest = youngest.map(|youngest: Option<Instant>| youngest.max(Some(since)));
        }
        let since = youngest.map(|youngest| youngest.unwrap_or(now));
        let opens = since.map(|since| since + self.min_healthy_time);
        match opens {
            Some(opens) if now >= opens => Standing::Open,
            _ if now >= self.deadline => Standing::Late,
            Some(opens) => Standing::Wait(opens.min(self.deadline)),
            None => Standing::Wait(self.deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Health::{Healthy, Unhealthy, Unknown};

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn every_one_must_have_been_healthy_long_enough() {
        let start = Instant::now();
        let mut gate = Gate::new(secs(5), secs(60), start);
        let at = |after| start + secs(after);
        let mut see = |after, one, two| gate.observe([(1, one), (2, two)], at(after));
        assert_eq!(see(0, Unknown, Unknown), Standing::Wait(at(60)));
        assert_eq!(see(1, Healthy, Unknown), Standing::Wait(at(60)));
        assert_eq!(see(3, Healthy, Healthy), Standing::Wait(at(8)));
        assert_eq!(see(7, Healthy, Healthy), Standing::Wait(at(8)));
        assert_eq!(see(8, Healthy, Healthy), Standing::Open);
    }

    #[test]
    fn a_break_begins_the_time_anew() {
        let start = Instant::now();
        let mut gate = Gate::new(secs(5), secs(60), start);
        let at = |after| start + secs(after);
        assert_eq!(gate.observe([(1, Healthy)], at(0)), Standing::Wait(at(5)));
        assert_eq!(
            gate.observe([(1, Unhealthy)], at(4)),
            Standing::Wait(at(60))
        );
        assert_eq!(gate.observe([(1, Healthy)], at(6)), Standing::Wait(at(11)));
        assert_eq!(gate.observe([(1, Healthy)], at(11)), Standing::Open);
    }

    #[test]
    fn the_deadline_ends_it_also_for_one_that_was_healthy_too_short() {
        let start = Instant::now();
        let mut gate = Gate::new(secs(5), secs(6), start);
        let at = |after| start + secs(after);
        assert_eq!(gate.observe([(1, Healthy)], at(3)), Standing::Wait(at(6)));
        assert_eq!(gate.observe([(1, Healthy)], at(6)), Standing::Late);
    }

    #[test]
    fn no_time_at_all_opens_with_the_first_good_verdict() {
        let start = Instant::now();
        let mut gate = Gate::new(secs(0), secs(60), start);
        assert_eq!(gate.observe([(1, Healthy)], start), Standing::Open);
    }
}
