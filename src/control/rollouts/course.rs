//! A rollout under way: what others may watch of it, and the steps that are published.
//!
//! A [`Course`] is there from the moment a rollout is published until it is decided, and says to all
//! who wait where it stands. Its task (`drive`) and the commands take the same steps, under the change
//! lock: open the next phase, give the pool back to the old ones, tell that it is decided.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::control::{Actor, Control, Stop, now_millis};
use crate::drain::Drain;
use crate::events::Happening;
use crate::pool::model::Model;
use crate::pool::rollout::{Named, Past, Phase, Rollout};
use crate::report::ErrorShares;
use crate::rollout::bake::Baseline;
use crate::rollout::steps::{self, WayBack};
use crate::spec::{PoolName, RolloutSpec};

/// A rollout under way.
pub(in crate::control) struct Course {
    number: u64,
    state: watch::Sender<State>,
    baseline: Mutex<Baseline>,
    spec: RolloutSpec,
}

#[derive(Clone)]
struct State {
    phase: Phase,
    decided: Option<Arc<Decision>>,
}

/// What a rollout came to.
pub(in crate::control) struct Decision {
    /// Its record.
    pub(super) past: Past,
    /// The drains of those that were taken out.
    pub(super) drains: Vec<Arc<Drain>>,
    /// What was judged.
    pub(super) errors: Option<ErrorShares>,
}

/// What a caller waits for.
pub(super) enum Reached {
    Canary,
    End(Arc<Decision>),
}

impl Course {
    fn new(rollout: &Rollout) -> Self {
        Self {
            number: rollout.number,
            state: watch::Sender::new(State {
                phase: rollout.phase,
                decided: None,
            }),
            baseline: Mutex::default(),
            spec: rollout.spec.clone(),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Resolves when it was decided.
    pub(super) async fn decided(&self) -> Arc<Decision> {
        match self.reached(false).await {
            Reached::End(decision) => decision,
            Reached::Canary => unreachable!("it was not waited for"),
        }
    }

    /// Resolves when it was decided, or its canary is open, if that is waited for.
    pub(super) async fn reached(&self, canary_too: bool) -> Reached {
        let mut state = self.state.subscribe();
        let reached = state.wait_for(|state| {
            state.decided.is_some() || (canary_too && matches!(state.phase, Phase::Canary(_)))
        });
        let state = reached.await.expect("the sender lives in self").clone();
        match state.decided {
            Some(decision) => Reached::End(decision),
            None => Reached::Canary,
        }
    }

    /// By which it goes.
    pub(super) fn spec(&self) -> &RolloutSpec {
        &self.spec
    }

    /// Looks at what the backends had answered when their counts began.
    pub(super) fn baseline<T>(&self, look: impl FnOnce(&Baseline) -> T) -> T {
        look(&self.baseline.lock().expect("baseline lock"))
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.state.send_modify(|state| state.phase = phase);
    }
}

impl Control {
    /// The course of the rollout that is under way in a pool.
    pub(super) fn course(&self, pool: &PoolName) -> Option<Arc<Course>> {
        let courses = self.courses.lock().expect("courses lock");
        courses.get(pool).cloned()
    }

    /// Goes on with the rollouts that the state file had under way.
    pub(in crate::control) fn resume_courses(self: &Arc<Self>, model: &Model) {
        for (pool, of) in &model.pools {
            if let Some(rollout) = &of.rollout {
                self.start_course(pool, rollout);
            }
        }
    }

    /// Makes the course of a rollout that is published, and starts its task. The caller holds the
    /// change lock, so nobody looks for it before it is there.
    pub(super) fn start_course(
        self: &Arc<Self>,
        pool: &PoolName,
        rollout: &Rollout,
    ) -> Arc<Course> {
        let course = Arc::new(Course::new(rollout));
        self.begin_counts(pool, &course, &rollout.old);
        if rollout.phase != Phase::Gate {
            self.begin_counts(pool, &course, &rollout.new);
        }
        let mut courses = self.courses.lock().expect("courses lock");
        courses.insert(pool.clone(), Arc::clone(&course));
        let (control, pool, driven) = (Arc::clone(self), pool.clone(), Arc::clone(&course));
        tokio::spawn(async move { control.drive(&pool, &driven).await });
        course
    }

    fn begin_counts(&self, pool: &PoolName, course: &Course, of: &[Named]) {
        let mut baseline = course.baseline.lock().expect("baseline lock");
        for named in of {
            baseline.begin(named.generation, self.tally(pool, named.generation));
        }
    }

    /// Publishes the next phase, in which the new ones serve. The caller holds the lock and has looked.
    pub(super) async fn open_now(
        self: &Arc<Self>,
        actor: Option<&Actor>,
        model: &mut Model,
        pool: &PoolName,
    ) -> Result<(), Stop> {
        let was_gated = model.pools[pool]
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.phase == Phase::Gate);
        let mut next = model.clone();
        steps::open(&mut next, pool, now_millis());
        let Some(rollout) = next.pools[pool].rollout.clone() else {
            return Ok(());
        };
        if was_gated && let Some(course) = self.course(pool) {
            self.begin_counts(pool, &course, &rollout.new);
        }
        self.commit_intents(actor, model, next, pool).await?;
        self.tell_phase(actor, pool, &rollout);
        Ok(())
    }

    pub(super) fn tell_phase(&self, actor: Option<&Actor>, pool: &PoolName, rollout: &Rollout) {
        let share = match rollout.phase {
            Phase::Canary(share) => Some(share.to_string()),
            _ => None,
        };
        let happening = Happening::RolloutPhase {
            rollout: rollout.number,
            phase: rollout.phase.as_str(),
            share,
        };
        self.emit_of_pool(actor, pool, happening);
        if let Some(course) = self.course(pool) {
            course.enter(rollout.phase);
        }
    }

    /// Publishes that the old ones serve. The caller holds the lock and has looked. `key` is that of a
    /// rollback.
    pub(super) async fn give_back(
        self: &Arc<Self>,
        actor: Option<&Actor>,
        model: &mut Model,
        pool: &PoolName,
        way: WayBack,
        cause: String,
        key: Option<String>,
    ) -> Result<(), Stop> {
        let mut next = model.clone();
        steps::take_back(&mut next, pool, way, cause, now_millis());
        steps::note_key(&mut next, pool, key);
        self.commit_intents(actor, model, next, pool).await?;
        self.decided(actor, model, pool);
        Ok(())
    }

    /// Tells that the rollout that was under way was decided just now; the model has its record.
    pub(super) fn decided(&self, actor: Option<&Actor>, model: &Model, pool: &PoolName) {
        let Some(past) = model.pools.get(pool).and_then(|of| of.history.last()) else {
            return;
        };
        self.tell_decided(actor, pool, past);
        let course = self.courses.lock().expect("courses lock").remove(pool);
        let Some(course) = course else {
            return;
        };
        let drains = past.out().iter();
        let drains = drains.filter_map(|named| self.drain_of(named.generation));
        let served = past.timings.bake_ms.or(past.timings.canary_ms);
        let errors = served.map(|_| self.errors_of(pool, &course, &past.new, &past.old));
        let decision = Arc::new(Decision {
            past: past.clone(),
            drains: drains.collect(),
            errors,
        });
        course
            .state
            .send_modify(|state| state.decided = Some(decision));
    }
}
