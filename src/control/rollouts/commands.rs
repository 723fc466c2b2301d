//! Stepping in: the share of a canary, its promotion, abort and rollback.
//!
//! Each looks and steps under the change lock, so that it never meets the course of the rollout in the
//! middle of a step; which of the two comes first decides, and the other finds what came of it.

use std::sync::Arc;
use std::time::Duration;

use super::RollbackCall;
use super::course::{Course, Decision};
use super::told::{Waiting, ids, probe_of};
use crate::backend::Generation;
use crate::control::{Actor, Control, Stop, now_millis};
use crate::outcome::Outcome;
use crate::pool::model::{Model, PoolModel, Refusal};
use crate::pool::rollout::{Decided, Kind, Named, Past, Phase, Rollout};
use crate::report::Answer;
use crate::rollout::plan::{enough, stays};
use crate::rollout::steps::{self, Terms, WayBack};
use crate::spec::{Intent, PoolName, Share};

impl Control {
    /// Changes the share of an open canary.
    pub async fn canary(self: &Arc<Self>, actor: Actor, pool: PoolName, share: Share) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            control
                .set_share(&actor, &pool, share)
                .await
                .unwrap_or_else(|answer| *answer)
        })
        .await
    }

    /// Gives an open canary all of the traffic; from here it goes on as a rollout. `wait` as of its
    /// drain.
    pub async fn promote(
        self: &Arc<Self>,
        actor: Actor,
        pool: PoolName,
        wait: Option<Duration>,
    ) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            let course = match control.begin_promote(&actor, &pool).await {
                Ok(course) => course,
                Err(answer) => return *answer,
            };
            let wait = wait.unwrap_or_else(|| control.patience(&pool, &Default::default()));
            match wait.is_zero() {
                true => control.begun_answer(&pool, course.number(), "was promoted"),
                false => {
                    let for_what = Waiting::ForTheEnd;
                    control.course_answer(&pool, &course, for_what, wait).await
                }
            }
        })
        .await
    }

    /// Ends a rollout under way the safe way: the old ones serve. `wait` is for the drain of the new.
    pub async fn abort(
        self: &Arc<Self>,
        actor: Actor,
        pool: PoolName,
        wait: Option<Duration>,
    ) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            let wait = wait.unwrap_or_else(|| control.patience(&pool, &Default::default()));
            match control.abort_now(&actor, &pool).await {
                Ok(decision) => control.taken_back_answer(&pool, &decision, wait).await,
                Err(answer) => *answer,
            }
        })
        .await
    }

    /// Takes back what is under way, or brings back the set before the last rollout. Asked again it
    /// does nothing more.
    pub async fn rollback(
        self: &Arc<Self>,
        actor: Actor,
        pool: PoolName,
        call: RollbackCall,
    ) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            let wait = control.patience(&pool, &call.drain);
            match control.roll_back_now(&actor, &pool, &call).await {
                Ok(decision) if decision.past.decided == Decided::Moved => {
                    control.decided_answer(&pool, &decision, wait).await
                }
                Ok(decision) => control.taken_back_answer(&pool, &decision, wait).await,
                Err(answer) => *answer,
            }
        })
        .await
    }

    async fn set_share(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
        share: Share,
    ) -> Result<Answer, Box<Answer>> {
        let mut model = self.model.lock().await;
        let rollout = self.open_canary(&model, pool)?;
        if rollout.phase != Phase::Canary(share) {
            let mut next = model.clone();
            steps::share(&mut next, pool, share);
            let committed = self.commit(&mut model, next, None).await;
            committed.map_err(|stop| Box::new(self.stopped(stop, pool, None)))?;
            if let Some(rollout) = &model.pools[pool].rollout {
                self.tell_phase(Some(actor), pool, rollout);
            }
        }
        Ok(self.canary_answer(pool, rollout.number))
    }

    async fn begin_promote(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
    ) -> Result<Arc<Course>, Box<Answer>> {
        let mut model = self.model.lock().await;
        let rollout = self.open_canary(&model, pool)?;
        self.all_healthy(pool, &rollout.new)?;
        let old: Vec<Generation> = rollout.old.iter().map(|named| named.generation).collect();
        let left = stays(&model.pools[pool], &old, &self.eligible_in(pool));
        // The new ones are eligible already, and are among those that stay.
        if let Err(no) = enough(left, rollout.min_eligible) {
            return Err(Box::new(self.no_plan_answer(pool, &no)));
        }
        let opened = self.open_now(Some(actor), &mut model, pool).await;
        opened.map_err(|stop| Box::new(self.stopped(stop, pool, None)))?;
        // Under the lock: with no bake it may be decided as soon as that is given back.
        self.course(pool).ok_or_else(|| self.no_course(pool))
    }

    fn open_canary(&self, model: &Model, pool: &PoolName) -> Result<Rollout, Box<Answer>> {
        let of = self.pool_of(model, pool)?;
        let refused = |message: String, hint: String| {
            let answer = self.pool_answer(Outcome::Refused, message, pool);
            Box::new(answer.hint(hint))
        };
        match &of.rollout {
            Some(rollout) if matches!(rollout.phase, Phase::Canary(_)) => Ok(rollout.clone()),
            Some(rollout) => Err(refused(
                format!(
                    "{} {} of {pool} has no open canary: it is in its {}",
                    rollout.kind.as_str(),
                    rollout.number,
                    rollout.phase.as_str()
                ),
                format!("`tidegate status {pool}` shows where it stands"),
            )),
            None => Err(refused(
                format!("no canary is open in {pool}"),
                format!("`tidegate rollout {pool} --canary 10% ...` opens one"),
            )),
        }
    }

    fn all_healthy(&self, pool: &PoolName, named: &[Named]) -> Result<(), Box<Answer>> {
        for named in named {
            if !self.is_healthy(pool, named) {
                let backend = self.backend(pool, named.generation);
                let why = backend.map_or_else(|| named.id.to_string(), |b| probe_of(&b));
                let message = format!("{pool}: not healthy now: {why}");
                let answer = self.pool_answer(Outcome::Refused, message, pool);
                return Err(Box::new(answer.hint("nothing was changed")));
            }
        }
        Ok(())
    }

    pub(super) fn pool_of<'a>(
        &self,
        model: &'a Model,
        pool: &PoolName,
    ) -> Result<&'a PoolModel, Box<Answer>> {
        let found = model.pool(pool);
        found.map_err(|refusal| Box::new(self.stopped(refusal.into(), pool, None)))
    }

    async fn abort_now(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
    ) -> Result<Arc<Decision>, Box<Answer>> {
        let mut model = self.model.lock().await;
        if self.pool_of(&model, pool)?.rollout.is_none() {
            let message = format!("no rollout is under way in {pool}");
            let answer = self.pool_answer(Outcome::Refused, message, pool);
            let hint = format!("`tidegate rollback {pool}` brings back the set before");
            return Err(Box::new(answer.hint(hint)));
        }
        self.abort_under_way(actor, &mut model, pool, "aborted", None)
            .await
    }

    async fn abort_under_way(
        self: &Arc<Self>,
        actor: &Actor,
        model: &mut Model,
        pool: &PoolName,
        how: &str,
        key: Option<String>,
    ) -> Result<Arc<Decision>, Box<Answer>> {
        let stopped = |stop| Box::new(self.stopped(stop, pool, None));
        let drain = self.pool_of(model, pool)?.rollout.as_ref();
        let way = WayBack {
            decided: Decided::Aborted,
            drain: drain.map(|rollout| rollout.drain).unwrap_or_default(),
        };
        let cause = format!("{how} by {}", actor.0);
        let course = self.course(pool);
        let taken = self
            .give_back(Some(actor), model, pool, way, cause, key)
            .await;
        taken.map_err(stopped)?;
        match course {
            // Decided just now, under the lock.
            Some(course) => Ok(course.decided().await),
            None => Err(self.no_course(pool)),
        }
    }

    fn no_course(&self, pool: &PoolName) -> Box<Answer> {
        Box::new(self.pool_answer(Outcome::Error, "the rollout had no course", pool))
    }

    async fn roll_back_now(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
        call: &RollbackCall,
    ) -> Result<Arc<Decision>, Box<Answer>> {
        let mut model = self.model.lock().await;
        let of = self.pool_of(&model, pool)?;
        if let Some(key) = &call.key {
            let mut newest_first = of.history.iter().rev();
            let is_it = |of: &Option<String>| of.as_ref() == Some(key);
            let known = newest_first.find(|past| is_it(&past.taken_back_by) || is_it(&past.key));
            match known {
                Some(past) if past.kind == Kind::Rollback || is_it(&past.taken_back_by) => {
                    return Ok(Arc::new(self.decision_of(past.clone())));
                }
                Some(past) => {
                    let message = format!(
                        "the key {key:?} is that of rollout {} of {pool}",
                        past.number
                    );
                    let answer = self.pool_answer(Outcome::Refused, message, pool);
                    let hint = "a key stands for one rollout; take a new one";
                    return Err(Box::new(answer.hint(hint)));
                }
                None => {}
            }
        }
        if of.rollout.is_some() {
            let (how, key) = ("rolled back", call.key.clone());
            let aborted = self.abort_under_way(actor, &mut model, pool, how, key);
            return aborted.await;
        }
        if of.leaving {
            return Err(Box::new(self.stopped(
                Refusal::PoolIsLeaving(pool.clone()).into(),
                pool,
                None,
            )));
        }
        // Asked again, it is the same rollback and no step forward to what was taken back.
        let serves = |named: &Named| {
            let member = model.member(pool, named.generation);
            member.is_some_and(|member| member.intent == Intent::Active)
        };
        if let Some(past) = steps::last_moved(of)
            && past.kind == Kind::Rollback
            && past.new.iter().all(serves)
        {
            return Ok(Arc::new(self.decision_of(past.clone())));
        }
        let past = self.to_roll_back(pool, of)?;
        let back: Vec<Generation> = past.old.iter().map(|named| named.generation).collect();
        let out = past.new.iter().filter(|named| serves(named));
        let out: Vec<Generation> = out.map(|named| named.generation).collect();
        let terms = self.rollback_terms(actor, pool, call);
        let mut next = model.clone();
        let stopped = |stop: Stop| Box::new(self.stopped(stop, pool, None));
        let (number, ended) = steps::roll_back(&mut next, pool, &back, &out, terms, now_millis())
            .map_err(|refusal| stopped(refusal.into()))?;
        for generation in &back {
            if let Some(member) = next.member(pool, *generation) {
                self.conflict_of_restored(&next, pool, member)
                    .map_err(stopped)?;
            }
        }
        let committed = self
            .commit_intents(Some(actor), &mut model, next, pool)
            .await;
        committed.map_err(stopped)?;
        let record = steps::past(&model.pools[pool], number).cloned();
        let record = record.expect("it was written just now");
        let sides = (&record.new[..], &record.old[..]);
        self.tell_begun(actor, pool, number, record.kind, sides);
        self.decided(Some(actor), &model, pool);
        self.tell_taken_out(pool, ended);
        Ok(Arc::new(self.decision_of(record)))
    }

    fn rollback_terms(&self, actor: &Actor, pool: &PoolName, call: &RollbackCall) -> Terms {
        let (drain, spec) = self.defaults_of(pool);
        Terms {
            key: call.key.clone(),
            actor: actor.0.clone(),
            spec,
            canary: None,
            keep_standby: call.keep_standby,
            drain: call.drain.over(drain),
            min_eligible: 1,
        }
    }

    /// The record of the last move, if the set before it can serve now.
    fn to_roll_back(&self, pool: &PoolName, of: &PoolModel) -> Result<Past, Box<Answer>> {
        let refused = |message: String, hint: String| {
            let answer = self.pool_answer(Outcome::Refused, message, pool);
            Err(Box::new(answer.hint(hint)))
        };
        let Some(past) = steps::last_moved(of) else {
            let hint = format!("`tidegate history {pool}` shows what there was");
            return refused(format!("{pool} has no rollout to roll back"), hint);
        };
        if past.old.is_empty() {
            let message = format!("rollout {} of {pool} replaced nothing", past.number);
            let hint = format!("`tidegate history {pool}` shows it");
            return refused(message, hint);
        }
        for named in &past.old {
            let member = of
                .members
                .iter()
                .find(|member| member.generation == named.generation);
            let is_gone = member.is_none() || self.is_drained(named.generation);
            if is_gone {
                let message = format!(
                    "{pool}/{} is drained: the set before rollout {} is not there any more",
                    named.id, past.number
                );
                let add = past.old.iter();
                let add = add.map(|named| format!("--add {}={} ", named.id, named.address));
                let hint = format!(
                    "start what is gone and roll it out: `tidegate rollout {pool} {}--replace {}`",
                    add.collect::<String>(),
                    ids(&past.new).replace(", ", ",")
                );
                return refused(message, hint);
            }
            if member.is_some_and(|member| member.intent == Intent::Active) {
                let message = format!("{pool}/{} serves already", named.id);
                return refused(
                    message,
                    format!("`tidegate status {pool}` shows who serves"),
                );
            }
        }
        self.all_healthy(pool, &past.old)?;
        Ok(past.clone())
    }
}
