//! What the [`Reference`] answers to each operation.

use super::reference::{Called, Draining, Due, Instance, Pausing, Reference};
use super::steps::{Clocks, Who};
use super::*;
use crate::spec::{Intent, OnTimeout};

/// How long a forced removal waits.
const CUT_WAIT: Duration = Duration::from_secs(10);

impl Reference {
    /// Not to be killed, or not to be taken out, without force.
    fn is_unsafe_to_take_out(&self, generation: Generation) -> bool {
        let this = &self.instances[&generation];
        let others = self.lists[1 - this.pool].iter();
        let lives_elsewhere = others
            .map(|of| &self.instances[of])
            .any(|other| other.is_live() && other.port == this.port);
        lives_elsewhere || self.eligible(this.pool) == [generation]
    }

    pub(super) fn drain(
        &mut self,
        found: Option<Generation>,
        call: &Clocks,
        force: bool,
        wait: Option<Duration>,
    ) -> Called {
        let Some(generation) = found else {
            return (Due::Now(Outcome::Unknown), None);
        };
        let is_new = self.instances[&generation].is_live();
        if is_new && !force && self.is_unsafe_to_take_out(generation) {
            return (Due::Now(Outcome::Refused), found);
        }
        let drain = match self.instances[&generation].drain {
            Some(drain) => {
                self.drains[drain].clocks.tighten(call);
                drain
            }
            None => self.begin_drain(generation, call),
        };
        let wait = wait.unwrap_or(Duration::from_secs(60));
        (self.due_of(drain, wait), found)
    }

    fn begin_drain(&mut self, generation: Generation, call: &Clocks) -> usize {
        let drain = self.drains.len();
        let mut clocks = Clocks::defaults();
        clocks.override_with(call);
        self.drains.push(Draining {
            generation,
            begun: Instant::now(),
            clocks,
            end: None,
        });
        let this = self.of(generation);
        (this.intent, this.drain, this.cuts) = (Intent::Draining, Some(drain), 0);
        drain
    }

    fn due_of(&self, drain: usize, wait: Duration) -> Due {
        match self.drains[drain].end {
            Some(end) => Due::Now(end),
            None if wait.is_zero() => Due::Now(Outcome::Begun),
            None => Due::Drain {
                drain,
                deadline: Instant::now() + wait,
                removes: false,
            },
        }
    }

    pub(super) fn wait(&self, found: Option<Generation>, wait: Duration) -> Called {
        let due = match found.map(|of| (of, &self.instances[&of])) {
            None => Due::Now(Outcome::Unknown),
            Some((_, this)) if !this.is_live() => self.due_of(this.drain.unwrap(), wait),
            Some((generation, _)) => Due::NoDrain {
                generation,
                deadline: Instant::now() + wait,
            },
        };
        (due, found)
    }

    /// Ready, or standby.
    pub(super) fn set_live(
        &mut self,
        found: Option<Generation>,
        to: Intent,
        force: bool,
    ) -> Called {
        let Some(generation) = found else {
            return (Due::Now(Outcome::Unknown), None);
        };
        let this = self.instances[&generation].clone();
        if this.intent == Intent::Active && to == Intent::Standby {
            if !force && self.is_unsafe_to_take_out(generation) {
                return (Due::Now(Outcome::Refused), found);
            }
        } else if this.is_sealed {
            return match self.add(this.pool, this.id, this.port, to) {
                (Due::Now(Outcome::Refused), _) => (Due::Now(Outcome::Refused), found),
                (_, new) if to == Intent::Standby => (Due::Now(Outcome::Done), new),
                called => called,
            };
        } else if !this.is_live() && self.is_taken(&this) {
            return (Due::Now(Outcome::Refused), found);
        }
        if let Some(drain) = self.of(generation).drain.take() {
            self.drains[drain].end = Some(Outcome::Restored);
        }
        self.of(generation).intent = to;
        let is_done = to == Intent::Standby || this.health == Health::Healthy;
        let outcome = match is_done {
            true => Outcome::Done,
            false => Outcome::Begun,
        };
        (Due::Now(outcome), found)
    }

    /// Whether a live one has its id or port.
    fn is_taken(&self, this: &Instance) -> bool {
        let mut others = self.lists[this.pool].iter().map(|of| &self.instances[of]);
        others.any(|other| other.is_live() && (other.id == this.id || other.port == this.port))
    }

    pub(super) fn add(&mut self, pool: usize, id: usize, port: u16, intent: Intent) -> Called {
        let live = self.lists[pool].iter().copied();
        let met = live
            .filter(|of| self.instances[of].is_live())
            .find(|of| self.instances[of].id == id || self.instances[of].port == port);
        if let Some(generation) = met {
            let is_same = {
                let this = &self.instances[&generation];
                this.id == id && this.port == port
            };
            // A refused one speaks of the newest of the id.
            return match (is_same, self.instances[&generation].health) {
                (false, _) => (Due::Now(Outcome::Refused), self.find(pool, Who::Id(id))),
                (true, Health::Healthy) => (Due::Now(Outcome::Done), met),
                (true, _) => (Due::Now(Outcome::Begun), met),
            };
        }
        let instances = &self.instances;
        self.lists[pool].retain(|of| {
            let old = &instances[of];
            !(old.is_sealed && (old.id == id || old.port == port))
        });
        let generation = self.instances.keys().max().map_or(1, |last| last + 1);
        self.insert(generation, pool, id, port);
        self.of(generation).intent = intent;
        (Due::Now(Outcome::Begun), Some(generation))
    }

    pub(super) fn close(&mut self, found: Option<Generation>, wait: Duration) -> Called {
        let Some(generation) = found else {
            return (Due::Now(Outcome::Unknown), None);
        };
        let this = &self.instances[&generation];
        let due = match (this.intent, this.drain) {
            (Intent::Active, _) => return (Due::Now(Outcome::Refused), found),
            (_, None) => Due::Now(Outcome::Done),
            (_, Some(drain)) => self.due_of(drain, wait),
        };
        self.ask_all(generation);
        (due, found)
    }

    pub(super) fn pause(&mut self, pool: usize, ttl: Duration, wait: Duration) -> Due {
        let now = Instant::now();
        self.paused[pool] = Some(self.pauses.len());
        self.pauses.push(Pausing {
            pool,
            until: now + ttl,
            deadline: now + wait,
            end: Vec::from_iter(wait.is_zero().then_some(Outcome::Begun)),
        });
        Due::Pause(self.pauses.len() - 1)
    }

    pub(super) fn resume(&mut self, pool: usize) -> Due {
        self.paused[pool] = None;
        Due::Now(Outcome::Done)
    }

    pub(super) fn remove(&mut self, found: Option<Generation>, force: bool) -> Called {
        let Some(generation) = found else {
            return (Due::Now(Outcome::Unknown), None);
        };
        let this = self.instances[&generation].clone();
        if this.is_sealed {
            self.forget(generation);
            let was_cut = force && this.cuts > 0;
            let outcome = if was_cut {
                Outcome::Forced
            } else {
                Outcome::Done
            };
            return (Due::Now(outcome), found);
        }
        if !force && (this.is_used || !this.is_live()) {
            return (Due::Now(Outcome::Refused), found);
        }
        let at_once = Clocks {
            timeout: Some(Duration::ZERO),
            on_timeout: Some(OnTimeout::Close),
            ..Clocks::default()
        };
        let clocks = if force { at_once } else { Clocks::default() };
        let (due, _) = self.drain(found, &clocks, force, Some(CUT_WAIT));
        if force {
            self.ask_all(generation);
        }
        let due = match due {
            Due::Drain {
                drain, deadline, ..
            } => Due::Drain {
                drain,
                deadline,
                removes: true,
            },
            due => due,
        };
        (due, found)
    }
}
