//! Random operations one after another, in the middle of exchanges that come and go, beside the
//! [`Reference`]. After each the real thing is left alone until nothing moves, and compared.

use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::reference::{Asked, Called, Due, Reference};
use super::steps::{Held, Step, Who, any_step, cases, perform};
use super::*;
use crate::spec::Intent;

/// A call that has not been answered, or whose answer was not looked at yet.
struct Call {
    of: String,
    answer: JoinHandle<Answer>,
    due: Due,
    generation: Option<Generation>,
}

/// The real one and the plain one, in step.
struct Both {
    rig: Rig,
    reference: Reference,
    /// As the reference's flights.
    held: Vec<Held>,
    calls: Vec<Call>,
    /// All there ever were.
    backends: HashMap<Generation, Arc<Backend>>,
}

impl Both {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let mut reference = Reference::default();
        for backend in rig.backends() {
            let identity = backend.identity();
            let place = |all: &[&str], name: &str| all.iter().position(|of| *of == name).unwrap();
            let pool = place(&POOLS, identity.pool.as_str());
            let id = place(&IDS, identity.id.as_str());
            let (_, port) = identity
                .address
                .to_string()
                .rsplit_once(':')
                .map(|(host, port)| (host.to_owned(), port.parse().unwrap()))
                .unwrap();
            reference.insert(identity.generation, pool, id, port);
            let instance = reference.instances.get_mut(&identity.generation);
            instance.unwrap().health = Health::Healthy;
        }
        Self {
            rig,
            reference,
            held: Vec::new(),
            calls: Vec::new(),
            backends: HashMap::new(),
        }
    }

    async fn take(&mut self, step: &Step) {
        if let Step::Pass(time) = step {
            tokio::time::advance(*time).await;
        } else if !self.take_in_flight(step) {
            self.call(step);
        }
        self.agree().await;
        self.cut();
        self.agree().await;
    }

    /// Steps of exchanges and probes, which are done at once.
    fn take_in_flight(&mut self, step: &Step) -> bool {
        match *step {
            Step::Claim { pool, obeys } => self.claim(pool, &[], obeys),
            Step::Retry(nth) => {
                if let Some(index) = self.pick(nth) {
                    let left = self.held.swap_remove(index);
                    let (generation, obeys) = (left.generation(), left.obeys);
                    drop(left);
                    self.reference.release(index, false);
                    let pool = self.reference.instances[&generation].pool;
                    self.claim(pool, &[generation], obeys);
                }
            }
            Step::Upgrade(nth) => {
                if let Some(index) = self.pick(nth) {
                    self.held[index].claim.upgrade();
                    let flight = &mut self.reference.flights[index];
                    flight.tunnel.get_or_insert(Instant::now());
                }
            }
            Step::Release(nth) => {
                if let Some(index) = self.pick(nth) {
                    self.held.swap_remove(index);
                    self.reference.release(index, false);
                }
            }
            Step::Observe(pool, who, health) => {
                if let Some(of) = self.reference.find(pool, who) {
                    self.rig.observe(&self.backends[&of], health);
                    self.reference.instances.get_mut(&of).unwrap().health = health;
                }
            }
            _ => return false,
        }
        true
    }

    fn pick(&self, nth: usize) -> Option<usize> {
        (!self.held.is_empty()).then(|| nth % self.held.len())
    }

    /// Granted exactly if there is an eligible one, and then of one of those.
    fn claim(&mut self, pool: usize, tried: &[Generation], obeys: bool) {
        let mut may = self.reference.eligible(pool);
        may.retain(|of| !tried.contains(of) && self.reference.paused[pool].is_none());
        match Held::take(&self.rig, pool, tried, obeys) {
            None => assert!(may.is_empty(), "none granted of {may:?}"),
            Some(held) => {
                let of = held.generation();
                assert!(may.contains(&of), "{of} granted of {may:?}");
                self.reference.claim(of);
                self.held.push(held);
            }
        }
    }

    fn call(&mut self, step: &Step) {
        let reference = &mut self.reference;
        let Some((pool, who)) = step.about() else {
            let due = match *step {
                Step::Pause(pool, ttl, wait) => reference.pause(pool, ttl, wait),
                Step::Resume(pool) => reference.resume(pool),
                _ => unreachable!("about a backend: {step:?}"),
            };
            return self.begin(step, None, (due, None));
        };
        let found = reference.find(pool, who);
        let is_numbered = matches!(who, Who::Nth(_));
        // A drained generation is named by its number while its id may live again: what it then means to
        // bring it back is not settled.
        let is_unsettled = matches!(step, Step::Ready(..) | Step::Standby(..))
            && found.is_some_and(|of| reference.instances[&of].is_sealed);
        if is_numbered && (found.is_none() || is_unsettled) {
            return;
        }
        let called: Called = match *step {
            Step::Drain(_, _, ref clocks, force, wait) => {
                reference.drain(found, clocks, force, wait)
            }
            Step::Wait(_, _, wait) => reference.wait(found, wait),
            Step::Ready(..) => reference.set_live(found, Intent::Active, true),
            Step::Standby(_, _, force) => reference.set_live(found, Intent::Standby, force),
            Step::Close(_, _, wait) => reference.close(found, wait),
            Step::Remove(_, _, force) => reference.remove(found, force),
            Step::Add(_, id, port, intent) => reference.add(pool, id, port, intent),
            _ => unreachable!("not a call: {step:?}"),
        };
        let numbered = found.filter(|_| is_numbered);
        let numbered = numbered.map(|of| (reference.instances[&of].id, of));
        self.begin(step, numbered, called);
    }

    fn begin(&mut self, step: &Step, numbered: Option<(usize, Generation)>, called: Called) {
        let control = Arc::clone(&self.rig.control);
        let answer = tokio::spawn(perform(control, step.clone(), numbered));
        let (due, generation) = called;
        let of = format!("{step:?}");
        self.calls.push(Call {
            of,
            answer,
            due,
            generation,
        });
    }

    /// Those that were asked to end, and obey, end.
    fn cut(&mut self) {
        for index in (0..self.held.len()).rev() {
            let is_asked = self.reference.flights[index].asked == Asked::Yes;
            if is_asked && self.held[index].obeys {
                let held = self.held.swap_remove(index);
                held.claim.was_cut();
                self.reference.release(index, true);
            }
        }
    }

    async fn agree(&mut self) {
        let now = Instant::now();
        self.rig.settle().await;
        assert_eq!(Instant::now(), now, "something waited for a timer");
        self.reference.pass();
        self.agree_on_answers().await;
        self.agree_on_backends();
        self.agree_on_exchanges();
    }

    async fn agree_on_answers(&mut self) {
        // What a removal forgets is gone for the others.
        self.calls
            .sort_by_key(|call| !matches!(call.due, Due::Drain { removes: true, .. }));
        let mut waiting = Vec::new();
        for mut call in std::mem::take(&mut self.calls) {
            let answers = self.reference.answers(&mut call.due);
            assert_eq!(
                call.answer.is_finished(),
                !answers.is_empty(),
                "{}: {answers:?}",
                call.of
            );
            if answers.is_empty() {
                waiting.push(call);
                continue;
            }
            let answer = call.answer.await.unwrap();
            assert!(
                answers.contains(&answer.outcome),
                "{}: {answers:?}: {answer:?}",
                call.of
            );
            assert_eq!(
                answer.generation, call.generation,
                "{}: {answer:?}",
                call.of
            );
            let of = answer.generation.map(|of| &self.reference.instances[&of]);
            let is_safe = of.is_some_and(|of| of.is_sealed);
            assert!(is_safe || !answer.safe_to_kill, "{}: {answer:?}", call.of);
            if answer.outcome.is_drained() {
                assert!(answer.safe_to_kill, "{}: {answer:?}", call.of);
            }
        }
        self.calls = waiting;
    }

    fn agree_on_backends(&mut self) {
        let snapshot = self.rig.control.pools.load_full();
        let stored = self.rig.store.0.lock().unwrap().clone();
        for (index, list) in self.reference.lists.iter().enumerate() {
            let name = pool(index);
            let entries = &snapshot.pool(&name).unwrap().entries;
            let real: Vec<_> = entries.iter().map(|e| e.member.generation).collect();
            assert_eq!(real, *list, "in {name}");
            let paused = &snapshot.pool(&name).unwrap().pause;
            let foretold = self.reference.paused[index].as_ref();
            assert_eq!(paused.is_some(), foretold.is_some(), "pause of {name}");
            assert_eq!(*paused, stored.pools[&name].pause, "stored of {name}");
            let kept: Vec<_> = stored.pools[&name].members.iter().collect();
            let shown: Vec<_> = entries.iter().map(|entry| &entry.member).collect();
            assert_eq!(kept, shown, "what is stored is what is published");
            for entry in entries.iter() {
                let of = &self.reference.instances[&entry.member.generation];
                assert_eq!(entry.member.intent, of.intent);
                assert_eq!(
                    entry.is_eligible(),
                    self.reference
                        .eligible(index)
                        .contains(&entry.member.generation)
                );
                let backend = &entry.backend;
                self.backends
                    .insert(backend.generation(), Arc::clone(backend));
            }
        }
        let drains = self.rig.control.drains.lock().unwrap();
        let mut of: Vec<_> = drains.keys().copied().collect();
        of.sort_unstable();
        assert_eq!(of, self.reference.drained_or_draining(), "drains kept");
    }

    /// Of all there ever were: who is sealed stays so and holds nothing.
    fn agree_on_exchanges(&mut self) {
        for (of, backend) in &self.backends {
            let (reading, instance) = (backend.reading(), &self.reference.instances[of]);
            let counts = (reading.requests(), reading.tunnels());
            assert_eq!(counts, self.reference.in_flight(*of), "counts of {of}");
            assert_eq!(backend.exchanges().len(), (counts.0 + counts.1) as usize);
            assert_eq!(reading.is_sealed(), instance.is_sealed, "seal of {of}");
            assert_eq!(reading.is_draining(), instance.intent == Intent::Draining);
            let is_forgotten = !self.reference.lists[instance.pool].contains(of);
            let is_closed = match instance.intent {
                Intent::Active => self.reference.paused[instance.pool].is_some(),
                intent => intent == Intent::Standby,
            };
            assert!(is_forgotten || reading.is_standby() == is_closed, "{of}");
        }
        for (held, flight) in self.held.iter().zip(&mut self.reference.flights) {
            assert_eq!(held.generation(), flight.generation);
            let is_asked = held.exchange.cut_reason().is_some();
            match flight.asked {
                Asked::Perhaps if is_asked => flight.asked = Asked::Yes,
                Asked::Perhaps => flight.asked = Asked::No,
                asked => assert_eq!(is_asked, asked == Asked::Yes, "of {}", flight.generation),
            }
        }
    }

    /// Everything in flight ends: so does every drain, and whoever waits for one.
    async fn end(&mut self) {
        while self.held.pop().is_some() {
            self.reference.release(self.held.len(), false);
        }
        self.agree().await;
        for call in &self.calls {
            assert!(
                matches!(call.due, Due::NoDrain { .. }),
                "still waits: {}",
                call.of
            );
        }
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn any_history_of_operations_and_exchanges_is_answered_as_the_plain_reference_says(
        steps in prop::collection::vec(any_step(), 30..60),
    ) {
        on_a_standing_clock(async {
            let mut both = Both::new().await;
            both.agree().await;
            for step in &steps {
                both.take(step).await;
            }
            both.end().await;
        });
    }
}
