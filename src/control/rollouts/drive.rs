//! The task of a rollout: it waits, watches, and takes the next step.
//!
//! It goes by the phase that is published: in the gate it waits until the new ones were healthy long
//! enough, in the canary and in the bake it watches them. Commands take steps too; the task then finds
//! another phase, or the end, and follows. If a step cannot be stored it tries again: what was
//! published stays true until then.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::course::Course;
use super::told::{ids, probe_of, share_words};
use crate::backend::{Backend, Generation, Health};
use crate::control::{Control, Stop, deadline_in, now_millis};
use crate::pool::model::Model;
use crate::pool::rollout::{Decided, Named, Phase, Rollout};
use crate::rollout::bake::{Due, Verdict, due};
use crate::rollout::gate::{Gate, Standing};
use crate::rollout::plan::{enough, stays};
use crate::rollout::steps::{self, WayBack};
use crate::spec::{DrainSpec, OnTimeout, PoolName};

/// Between two looks at the errors of the new ones. Health wakes the task by itself.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// After a step that could not be stored.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long new backends that fail their probes may finish what they hold, once they were taken back. What
/// hangs in a process that hangs would otherwise keep it in the pool for a minute.
const FAILED_DRAIN: Duration = Duration::from_secs(10);

impl Control {
    pub(super) async fn drive(self: &Arc<Self>, pool: &PoolName, course: &Course) {
        while let Some(rollout) = self.published(pool, course.number()) {
            let step = match rollout.phase {
                Phase::Gate => self.pass_gate(pool, course, &rollout).await,
                Phase::Canary(_) | Phase::Bake => self.watch(pool, course, &rollout).await,
            };
            if let Err(stop) = step {
                let answer = stop.into_answer(Some(pool));
                tracing::error!(%pool, rollout = course.number(), "a step was not taken: {}", answer.message);
                sleep(RETRY_AFTER).await;
            }
        }
    }

    /// The rollout as it is published, while it is under way.
    fn published(&self, pool: &PoolName, number: u64) -> Option<Arc<Rollout>> {
        let snapshot = self.pools.load();
        let rollout = snapshot.pool(pool)?.rollout.clone();
        rollout.filter(|rollout| rollout.number == number)
    }

    /// Waits until the new ones may serve, or will not. Returns whenever the phase has changed.
    async fn pass_gate(
        self: &Arc<Self>,
        pool: &PoolName,
        course: &Course,
        rollout: &Rollout,
    ) -> Result<(), Stop> {
        let spec = &rollout.spec;
        let (shortest, longest) = (spec.min_healthy_time, spec.healthy_deadline);
        let mut gate = Gate::new(shortest, longest, Instant::now());
        let mut published = self.pools.follow();
        loop {
            published.borrow_and_update();
            if !self.is_in(pool, course.number(), Phase::Gate) {
                return Ok(());
            }
            let healths = rollout.new.iter().map(|named| {
                let backend = self.backend(pool, named.generation);
                let health = backend.map_or(Health::Unknown, |backend| backend.health());
                (named.generation, health)
            });
            match gate.observe(healths, Instant::now()) {
                Standing::Open => {
                    if self.open(pool, course).await? {
                        return Ok(());
                    }
                }
                Standing::Late => return self.give_up_gate(pool, course, rollout).await,
                Standing::Wait(until) => {
                    tokio::select! {
                        _ = published.changed() => {}
                        () = sleep_until(until) => {}
                    }
                }
            }
        }
    }

    /// Publishes the new ones, if they are healthy at this very moment. Says whether there is nothing to
    /// wait for any more.
    async fn open(self: &Arc<Self>, pool: &PoolName, course: &Course) -> Result<bool, Stop> {
        let mut model = self.model.lock().await;
        let Some(rollout) = stored(&model, pool, course.number(), Phase::Gate).cloned() else {
            return Ok(true);
        };
        let mut new = rollout.new.iter();
        if !new.all(|named| self.is_healthy(pool, named)) {
            return Ok(false);
        }
        let old: Vec<Generation> = rollout.old.iter().map(|named| named.generation).collect();
        let is_eligible = self.eligible_in(pool);
        let left = stays(&model.pools[pool], &old, &is_eligible) + rollout.new.len();
        if let Err(too_few) = enough(left, rollout.min_eligible) {
            let way = WayBack {
                decided: Decided::Failed,
                drain: rollout.drain,
            };
            let cause = too_few.to_string();
            self.give_back(None, &mut model, pool, way, cause, None)
                .await?;
            return Ok(true);
        }
        self.open_now(None, &mut model, pool).await?;
        Ok(true)
    }

    async fn give_up_gate(
        self: &Arc<Self>,
        pool: &PoolName,
        course: &Course,
        rollout: &Rollout,
    ) -> Result<(), Stop> {
        let late = rollout.new.iter().filter_map(|named| {
            let backend = self.backend(pool, named.generation)?;
            (backend.health() != Health::Healthy).then(|| probe_of(&backend))
        });
        let late: Vec<String> = late.collect();
        let within = rollout.spec.healthy_deadline;
        let cause = match late.is_empty() {
            false => format!("not healthy within {within:.0?}: {}", late.join("; ")),
            true => format!(
                "{} not healthy for {:.0?} without a break within {within:.0?}",
                ids(&rollout.new),
                rollout.spec.min_healthy_time
            ),
        };
        let way = WayBack {
            decided: Decided::Failed,
            drain: rollout.drain,
        };
        self.give_back_from(pool, course, Phase::Gate, way, cause)
            .await
    }

    /// Watches the new ones while they serve. Returns whenever the phase has changed.
    async fn watch(
        self: &Arc<Self>,
        pool: &PoolName,
        course: &Course,
        rollout: &Rollout,
    ) -> Result<(), Stop> {
        let begun = Instant::now();
        let ends = match rollout.phase {
            Phase::Bake => Some(deadline_in(rollout.spec.bake)),
            _ => None,
        };
        let mut published = self.pools.follow();
        loop {
            published.borrow_and_update();
            if !self.is_in(pool, course.number(), rollout.phase) {
                return Ok(());
            }
            let backends = |of: &[Named]| -> Vec<Arc<Backend>> {
                let found = of.iter().map(|named| self.backend(pool, named.generation));
                found.flatten().collect()
            };
            let (new, old) = (backends(&rollout.new), backends(&rollout.old));
            let is_healthy = |backend: &Arc<Backend>| backend.health() == Health::Healthy;
            let may_go_back = rollout.spec.auto_revert && !old.is_empty();
            let can_go_back = may_go_back && old.iter().any(is_healthy);
            if can_go_back && let Some((cause, drain)) = self.badness(course, rollout, &new, &old) {
                return self.revert(pool, course, rollout, cause, drain).await;
            }
            let now = Instant::now();
            let is_new_healthy = new.iter().all(is_healthy);
            let due = match rollout.phase {
                Phase::Bake => due(&rollout.spec, now - begun, is_new_healthy, may_go_back),
                _ => Due::Nothing,
            };
            match due {
                Due::Nothing => {}
                Due::Finish => {
                    let cause = self.goodness(course, rollout, &new, &old, now - begun);
                    return self.finish(pool, course, cause).await;
                }
                Due::TakeBack => {
                    let sick = new.iter().filter(|backend| !is_healthy(backend));
                    let sick: Vec<String> = sick.map(|backend| probe_of(backend)).collect();
                    let cause = format!("not healthy, as the old ones: {}", sick.join("; "));
                    let drain = failed_drain(rollout);
                    return self.revert(pool, course, rollout, cause, drain).await;
                }
            }
            let look = now + LOOK_EVERY;
            let until = match ends {
                Some(ends) if ends > now => look.min(ends),
                _ => look,
            };
            tokio::select! {
                _ = published.changed() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Why the new ones are taken back, if they are, and by which clocks they drain.
    fn badness(
        &self,
        course: &Course,
        rollout: &Rollout,
        new: &[Arc<Backend>],
        old: &[Arc<Backend>],
    ) -> Option<(String, DrainSpec)> {
        let mut unhealthy = new
            .iter()
            .filter(|backend| backend.health() == Health::Unhealthy);
        if let Some(backend) = unhealthy.next() {
            let drain = failed_drain(rollout);
            return Some((format!("failed its probes: {}", probe_of(backend)), drain));
        }
        let shares = course.shares(rollout, new, old);
        match shares.verdict(&rollout.spec) {
            Verdict::TooManyErrors => {
                let words = share_words(rollout, &shares);
                Some((format!("too many errors: {words}"), rollout.drain))
            }
            Verdict::Well | Verdict::NotJudged => None,
        }
    }

    fn goodness(
        &self,
        course: &Course,
        rollout: &Rollout,
        new: &[Arc<Backend>],
        old: &[Arc<Backend>],
        watched: Duration,
    ) -> String {
        if rollout.spec.bake.is_zero() {
            return "not watched".to_owned();
        }
        let sick = new
            .iter()
            .find(|backend| backend.health() != Health::Healthy);
        if let Some(backend) = sick {
            return format!("not healthy, but not taken back: {}", probe_of(backend));
        }
        let shares = course.shares(rollout, new, old);
        let words = share_words(rollout, &shares);
        match shares.verdict(&rollout.spec) {
            Verdict::Well => format!("healthy for {watched:.0?}; errors: {words}"),
            Verdict::NotJudged => format!(
                "healthy for {watched:.0?}; errors not judged: {} answers, fewer than {}",
                shares.new.answers, rollout.spec.min_requests
            ),
            Verdict::TooManyErrors => format!("too many errors, but not taken back: {words}"),
        }
    }

    async fn revert(
        self: &Arc<Self>,
        pool: &PoolName,
        course: &Course,
        rollout: &Rollout,
        cause: String,
        drain: DrainSpec,
    ) -> Result<(), Stop> {
        let way = WayBack {
            decided: Decided::Reverted,
            drain,
        };
        self.give_back_from(pool, course, rollout.phase, way, cause)
            .await
    }

    async fn finish(
        self: &Arc<Self>,
        pool: &PoolName,
        course: &Course,
        cause: String,
    ) -> Result<(), Stop> {
        let mut model = self.model.lock().await;
        if stored(&model, pool, course.number(), Phase::Bake).is_none() {
            return Ok(());
        }
        let mut next = model.clone();
        steps::finish(&mut next, pool, cause, now_millis());
        self.commit_intents(None, &mut model, next, pool).await?;
        self.decided(None, &model, pool);
        Ok(())
    }

    async fn give_back_from(
        self: &Arc<Self>,
        pool: &PoolName,
        course: &Course,
        phase: Phase,
        way: WayBack,
        cause: String,
    ) -> Result<(), Stop> {
        let mut model = self.model.lock().await;
        if stored(&model, pool, course.number(), phase).is_none() {
            return Ok(());
        }
        self.give_back(None, &mut model, pool, way, cause, None)
            .await
    }

    fn is_in(&self, pool: &PoolName, number: u64, phase: Phase) -> bool {
        let published = self.published(pool, number);
        published.is_some_and(|rollout| rollout.phase == phase)
    }
}

/// The clocks by which new ones that are not healthy drain.
fn failed_drain(rollout: &Rollout) -> DrainSpec {
    let mut drain = rollout.drain;
    drain.timeout = drain.timeout.min(FAILED_DRAIN);
    drain.on_timeout = OnTimeout::Close;
    drain.tunnels.close_after = Some(Duration::ZERO);
    drain.tunnels.spread = drain.tunnels.spread.min(FAILED_DRAIN / 2);
    drain
}

/// The rollout as the model has it, if it is that one and in that phase.
fn stored<'a>(model: &'a Model, pool: &PoolName, number: u64, phase: Phase) -> Option<&'a Rollout> {
    let rollout = model.pools.get(pool)?.rollout.as_ref();
    rollout.filter(|rollout| rollout.number == number && rollout.phase == phase)
}
