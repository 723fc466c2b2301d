//! What operations should do, in the plainest words: lists, and no concurrency. Each operation (`operations`)
//! says what it will be answered; [`Reference::pass`] then draws the conclusions, as the tasks of the real one
//! do when they are left alone.

use std::collections::BTreeMap;

use super::steps::{Clocks, Who};
use super::*;
use crate::spec::Intent;

/// How long after it became one a tunnel may be overlooked.
const LOOK_GAP: Duration = Duration::from_millis(250);

/// One generation, also a forgotten one.
#[derive(Clone)]
pub(super) struct Instance {
    pub(super) pool: usize,
    pub(super) id: usize,
    pub(super) port: u16,
    pub(super) intent: Intent,
    pub(super) health: Health,
    pub(super) is_sealed: bool,
    /// Of the drain under way, or over.
    pub(super) drain: Option<usize>,
    pub(super) cuts: u32,
    pub(super) is_used: bool,
}

impl Instance {
    pub(super) fn is_live(&self) -> bool {
        self.intent != Intent::Draining
    }

    fn is_eligible(&self) -> bool {
        self.intent == Intent::Active && self.health == Health::Healthy
    }
}

pub(super) struct Draining {
    pub(super) generation: Generation,
    pub(super) begun: Instant,
    pub(super) clocks: Clocks,
    pub(super) end: Option<Outcome>,
}

/// Whether an exchange was asked to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    No,
    /// Tunnels are being closed one after another.
    Perhaps,
    Yes,
}

/// An exchange in flight.
pub(super) struct Flight {
    pub(super) generation: Generation,
    /// Since when it is a tunnel.
    pub(super) tunnel: Option<Instant>,
    pub(super) asked: Asked,
}

/// What a call is waiting for.
#[derive(Clone, Debug)]
pub(super) enum Due {
    Now(Outcome),
    /// The end of a drain; a removal then forgets its generation, and is only "done" if it was clean.
    Drain {
        drain: usize,
        deadline: Instant,
        removes: bool,
    },
    /// A drain that has not begun.
    NoDrain {
        generation: Generation,
        deadline: Instant,
    },
    /// That nothing is in flight in a paused pool.
    Pause(usize),
}

/// A call of pause that waits.
pub(super) struct Pausing {
    pub(super) pool: usize,
    /// When the time of its pause is over.
    pub(super) until: Instant,
    pub(super) deadline: Instant,
    pub(super) end: Vec<Outcome>,
}

/// A call's due, and the generation that the answer is about.
pub(super) type Called = (Due, Option<Generation>);

#[derive(Default)]
pub(super) struct Reference {
    pub(super) instances: BTreeMap<Generation, Instance>,
    /// By pool, in the order they were added: those that are not forgotten.
    pub(super) lists: [Vec<Generation>; 2],
    pub(super) flights: Vec<Flight>,
    pub(super) drains: Vec<Draining>,
    /// By pool: the last call that paused it, while it is.
    pub(super) paused: [Option<usize>; 2],
    pub(super) pauses: Vec<Pausing>,
}

impl Reference {
    pub(super) fn insert(&mut self, generation: Generation, pool: usize, id: usize, port: u16) {
        let instance = Instance {
            pool,
            id,
            port,
            intent: Intent::Active,
            health: Health::Unknown,
            is_sealed: false,
            drain: None,
            cuts: 0,
            is_used: false,
        };
        self.instances.insert(generation, instance);
        self.lists[pool].push(generation);
    }

    /// The live one of an id, else its newest; or the numbered one.
    pub(super) fn find(&self, pool: usize, who: Who) -> Option<Generation> {
        let list = self.lists[pool].iter().copied();
        match who {
            Who::Id(id) => list
                .filter(|of| self.instances[of].id == id)
                .max_by_key(|of| (self.instances[of].is_live(), *of)),
            Who::Nth(nth) => list.clone().nth(nth % list.len().max(1)),
        }
    }

    pub(super) fn in_flight(&self, generation: Generation) -> (u32, u32) {
        let of = self.flights.iter().filter(|f| f.generation == generation);
        let (tunnels, requests): (Vec<_>, Vec<_>) = of.partition(|f| f.tunnel.is_some());
        (requests.len() as u32, tunnels.len() as u32)
    }

    pub(super) fn eligible(&self, pool: usize) -> Vec<Generation> {
        let list = self.lists[pool].iter().copied();
        list.filter(|of| self.instances[of].is_eligible()).collect()
    }

    /// Generations that drain or are drained: each has a drain.
    pub(super) fn drained_or_draining(&self) -> Vec<Generation> {
        let all = self.lists.iter().flatten().copied();
        let mut of: Vec<_> = all.filter(|of| !self.instances[of].is_live()).collect();
        of.sort_unstable();
        of
    }

    pub(super) fn of(&mut self, generation: Generation) -> &mut Instance {
        self.instances.get_mut(&generation).unwrap()
    }

    pub(super) fn claim(&mut self, generation: Generation) {
        self.of(generation).is_used = true;
        self.flights.push(Flight {
            generation,
            tunnel: None,
            asked: Asked::No,
        });
    }

    /// An exchange has ended, by itself or because it was cut.
    pub(super) fn release(&mut self, index: usize, was_cut: bool) {
        let flight = self.flights.swap_remove(index);
        self.of(flight.generation).cuts += u32::from(was_cut);
    }

    pub(super) fn forget(&mut self, generation: Generation) {
        let pool = self.instances[&generation].pool;
        self.lists[pool].retain(|of| *of != generation);
    }

    pub(super) fn ask_all(&mut self, generation: Generation) {
        let flights = self.flights.iter_mut();
        for flight in flights.filter(|flight| flight.generation == generation) {
            flight.asked = Asked::Yes;
        }
    }

    /// What is due by now: exchanges are asked to end, and who drains and is idle is sealed.
    pub(super) fn pass(&mut self) {
        self.pass_pauses();
        let now = Instant::now();
        for index in 0..self.drains.len() {
            let drain = &self.drains[index];
            let (generation, begun, clocks) = (drain.generation, drain.begun, drain.clocks.clone());
            if drain.end.is_some() {
                continue;
            }
            if self.in_flight(generation) == (0, 0) {
                let this = self.of(generation);
                this.is_sealed = true;
                let is_clean = this.cuts == 0;
                let end = if is_clean {
                    Outcome::Clean
                } else {
                    Outcome::Forced
                };
                self.drains[index].end = Some(end);
            } else if clocks.closes_all_at(begun).is_some_and(|at| now >= at) {
                self.ask_all(generation);
            } else if let Some((opens, closes)) = clocks.closes_tunnels_at(begun) {
                self.ask_tunnels(generation, opens, closes);
            }
        }
    }

    fn pass_pauses(&mut self) {
        for pool in 0..self.paused.len() {
            // The second time for those that wait for a pause that the first has ended.
            self.pass_pauses_of(pool);
            self.pass_pauses_of(pool);
        }
    }

    /// Those that wait are told: that it is done; that it was in vain, and then the pool is resumed,
    /// unless a later call has paused it; or that it was resumed. Where several are due at once either may
    /// come first.
    fn pass_pauses_of(&mut self, pool: usize) {
        let (now, paused) = (Instant::now(), &mut self.paused[pool]);
        let in_flight = self.flights.iter().filter(|flight| flight.tunnel.is_none());
        let is_quiet = !{ in_flight }.any(|f| self.instances[&f.generation].pool == pool);
        if paused.is_some_and(|last| now >= self.pauses[last].until) {
            *paused = None;
        }
        let calls = self.pauses.iter_mut().enumerate();
        for (index, call) in calls.filter(|(_, c)| c.pool == pool && c.end.is_empty()) {
            let is_late = now >= call.deadline;
            call.end = match *paused {
                Some(_) if is_quiet => vec![Outcome::Done],
                Some(last) if is_late => {
                    paused.take_if(|_| last == index);
                    vec![Outcome::NotYet, Outcome::Restored]
                }
                Some(_) => Vec::new(),
                None if now >= call.until => vec![Outcome::NotYet],
                None if is_late => vec![Outcome::NotYet, Outcome::Restored],
                None => vec![Outcome::Restored],
            };
        }
    }

    fn ask_tunnels(&mut self, generation: Generation, opens: Instant, closes: Instant) {
        let now = Instant::now();
        for flight in &mut self.flights {
            let Some(since) = flight.tunnel.filter(|_| flight.generation == generation) else {
                continue;
            };
            let seen_by = if since < opens {
                closes
            } else {
                closes.max(since + LOOK_GAP)
            };
            if now >= seen_by {
                flight.asked = Asked::Yes;
            } else if now >= opens && flight.asked == Asked::No {
                flight.asked = Asked::Perhaps;
            }
        }
    }

    /// What the call is answered by now; nothing if it still waits. Several if either may be.
    pub(super) fn answers(&mut self, due: &mut Due) -> Vec<Outcome> {
        let now = Instant::now();
        if let Due::NoDrain {
            generation,
            deadline,
        } = *due
        {
            let this = &self.instances[&generation];
            let is_gone = !self.lists[this.pool].contains(&generation);
            match this.drain {
                // Begun, ended and forgotten in one step: it depends on who looked first.
                Some(_) if is_gone => return vec![Outcome::Clean, Outcome::Unknown],
                None if now >= deadline => return vec![Outcome::NotYet],
                None => return Vec::new(),
                Some(drain) => {
                    *due = Due::Drain {
                        drain,
                        deadline,
                        removes: false,
                    }
                }
            }
        }
        match *due {
            Due::Now(outcome) => vec![outcome],
            Due::Pause(call) => self.pauses[call].end.clone(),
            Due::Drain {
                drain,
                deadline,
                removes,
            } => match self.drains[drain].end {
                Some(end) if removes && end.is_drained() => {
                    self.forget(self.drains[drain].generation);
                    let is_clean = end == Outcome::Clean;
                    vec![if is_clean {
                        Outcome::Done
                    } else {
                        Outcome::Forced
                    }]
                }
                Some(end) => vec![end],
                None if now >= deadline => vec![Outcome::NotYet],
                None => Vec::new(),
            },
            Due::NoDrain { .. } => unreachable!("settled above"),
        }
    }
}
