//! Rollouts: moving a pool from one set of backends to another as one transaction.
//!
//! What is decided, and the steps, are in [`crate::rollout`]; here they are taken: under the change
//! lock, stored, published, told. `calls` are what operations are told. A rollout under way has a
//! [`Course`], which its own task drives (`drive`) and which every caller that waits for it watches;
//! `commands` are those that step in (share, promote, abort, rollback), `status` is how it stands,
//! `told` what those who asked are answered, `out` how those that were taken out stand.
//!
//! What always holds: the model says where a rollout stands, the course only follows it; whoever
//! takes a step holds the lock and has looked that the rollout is still the one, in the phase, that
//! it means. So a command and the course never both decide.

mod calls;
mod commands;
mod course;
mod drive;
mod out;
mod status;
mod told;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout_at;

use super::drains::DrainCall;
use super::{Actor, Control, Stop, deadline_in, now_millis};
use crate::backend::{Generation, Health, Tally};
use crate::events::Happening;
use crate::outcome::Outcome;
use crate::pool::model::{Member, Model, NewMember};
use crate::pool::rollout::{Decided, Kind, Named, Past, TakenOut};
use crate::report::{Answer, RolloutStatus};
use crate::rollout::plan::{NoPlan, Plan, Planned, Wish, plan};
use crate::rollout::steps::{self, Terms};
use crate::spec::{BackendId, DrainSpec, Intent, Origin, PoolName, RolloutSpec};

pub use crate::rollout::plan::Replace;
pub use calls::{Incoming, RollbackCall, RolloutCall, RolloutClocks};

pub(super) use course::Course;
use course::Decision;
use told::{Waiting, ids};

/// What a call for a rollout comes to, at first.
enum Begun {
    /// It is under way.
    Course(Arc<Course>),
    /// A call with that key was decided before.
    Past(Box<Decision>),
    /// Nothing has to be done, or is.
    Answered(Box<Answer>),
    /// Another one is in the way.
    Hindered(Arc<Course>, Box<Answer>),
}

impl Control {
    /// Moves a pool to new backends and answers when it is decided and the old ones are drained.
    pub async fn rollout(
        self: &Arc<Self>,
        actor: Actor,
        pool: PoolName,
        call: RolloutCall,
    ) -> Answer {
        let control = Arc::clone(self);
        self.run(async move { control.rollout_now(&actor, &pool, &call).await })
            .await
    }

    /// The rollouts of a pool, the newest first: the one under way, then those that were decided.
    pub async fn history(&self, pool: &PoolName) -> Result<Vec<RolloutStatus>, Box<Answer>> {
        // Copied, so that no change waits until all of it is told.
        let (rollout, history) = {
            let model = self.model.lock().await;
            let of = self.pool_of(&model, pool)?;
            (of.rollout.clone(), of.history.clone())
        };
        let under_way = rollout.iter().map(|one| self.under_way_status(pool, one));
        let past = history.iter().rev().map(|past| self.past_status(past));
        Ok(under_way.chain(past).collect())
    }

    async fn rollout_now(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
        call: &RolloutCall,
    ) -> Answer {
        let new = match self.resolved(call).await {
            Ok(new) => new,
            Err(message) => return self.pool_answer(Outcome::Failed, message, pool),
        };
        let until = deadline_in(call.lock_wait);
        let begun = loop {
            match self.begin_rollout(actor, pool, call, &new).await {
                Begun::Hindered(course, answer) => {
                    let over = timeout_at(until, course.decided()).await;
                    if over.is_err() || call.lock_wait.is_zero() {
                        return *answer;
                    }
                }
                begun => break begun,
            }
        };
        let wait = self.patience(pool, &call.drain);
        match begun {
            Begun::Course(course) if wait.is_zero() => {
                self.begun_answer(pool, course.number(), "has begun")
            }
            Begun::Course(course) => {
                let for_what = match call.canary {
                    Some(_) => Waiting::ForCanary,
                    None => Waiting::ForTheEnd,
                };
                self.course_answer(pool, &course, for_what, wait).await
            }
            Begun::Past(decision) => self.decided_answer(pool, &decision, wait).await,
            Begun::Answered(answer) | Begun::Hindered(_, answer) => *answer,
        }
    }

    /// How long the caller of a rollout waits for drains.
    fn patience(&self, pool: &PoolName, call: &DrainCall) -> Duration {
        call.wait.unwrap_or_else(|| self.defaults_of(pool).0.wait)
    }

    async fn resolved(&self, call: &RolloutCall) -> Result<Vec<NewMember>, String> {
        let resolving = call
            .add
            .iter()
            .map(|new| self.resolver.resolve(&new.address));
        let targets = join_all(resolving).await;
        let new = call.add.iter().zip(targets).map(|(new, target)| {
            let not = |cause| format!("{} could not be resolved: {cause}", new.address);
            Ok(NewMember {
                id: new.id.clone(),
                address: new.address.clone(),
                target: target.map_err(not)?,
                weight: new.weight,
                origin: Origin::Api,
                intent: Intent::Standby,
            })
        });
        new.collect()
    }

    async fn begin_rollout(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
        call: &RolloutCall,
        new: &[NewMember],
    ) -> Begun {
        let mut model = self.model.lock().await;
        let answered = |answer| Begun::Answered(Box::new(answer));
        if let Some(key) = &call.key
            && !call.dry_run
            && let Some(known) = self.known_by(&model, pool, key, new)
        {
            return known;
        }
        let wish = Wish {
            new: new.to_vec(),
            replace: call.replace.clone(),
            min_eligible: call.min_eligible.unwrap_or(1),
            kills: !call.force && !call.keep_standby,
        };
        let is_eligible = self.eligible_in(pool);
        match plan(&model, pool, &wish, &is_eligible, now_millis()) {
            Ok(Planned::AlreadyServing { new }) => self.already_serving(&model, pool, &new, call),
            Ok(Planned::Move(plan)) if call.dry_run => {
                answered(self.dry_answer(&model, pool, &plan, call))
            }
            Ok(Planned::Move(plan)) => {
                let terms = self.terms(actor, pool, call);
                match self
                    .begin_course(actor, &mut model, pool, plan, terms)
                    .await
                {
                    Ok(course) => Begun::Course(course),
                    Err(stop) => answered(self.stopped(stop, pool, None)),
                }
            }
            Err(no) => {
                let answer = Box::new(self.no_plan_answer(pool, &no));
                match self
                    .course(pool)
                    .filter(|_| matches!(no, NoPlan::UnderWay { .. }))
                {
                    Some(course) => Begun::Hindered(course, answer),
                    None => Begun::Answered(answer),
                }
            }
        }
    }

    /// The clocks of a pool, for drains and for rollouts.
    fn defaults_of(&self, pool: &PoolName) -> (DrainSpec, RolloutSpec) {
        let snapshot = self.pools.load();
        let settings = snapshot.pool(pool).map(|pool| &pool.settings);
        settings.map_or_else(Default::default, |settings| {
            (settings.drain, settings.rollout.clone())
        })
    }

    fn terms(&self, actor: &Actor, pool: &PoolName, call: &RolloutCall) -> Terms {
        let (drain, rollout) = self.defaults_of(pool);
        Terms {
            key: call.key.clone(),
            actor: actor.0.clone(),
            spec: call.clocks.over(&rollout),
            canary: call.canary,
            keep_standby: call.keep_standby,
            drain: call.drain.over(drain),
            min_eligible: call.min_eligible.unwrap_or(1),
        }
    }

    /// A call whose key is known joins the one before; it must be about the same.
    fn known_by(
        &self,
        model: &Model,
        pool: &PoolName,
        key: &str,
        new: &[NewMember],
    ) -> Option<Begun> {
        let of = model.pool(pool).ok()?;
        let is_same = |named: &[Named]| {
            let same = |(named, new): (&Named, &NewMember)| {
                named.id == new.id && named.address == new.address
            };
            named.len() == new.len() && named.iter().zip(new).all(same)
        };
        let (number, others, known) = if let Some(rollout) = &of.rollout
            && rollout.key.as_deref() == Some(key)
        {
            let known = Begun::Course(self.course(pool)?);
            (rollout.number, &rollout.new, known)
        } else {
            let mut newest_first = of.history.iter().rev();
            let past = newest_first.find(|past| past.key.as_deref() == Some(key))?;
            let known = Begun::Past(Box::new(self.decision_of(past.clone())));
            (past.number, &past.new, known)
        };
        if is_same(others) {
            return Some(known);
        }
        let message = format!(
            "the key {key:?} is that of rollout {number} of {pool}, which brought in {}",
            ids(others)
        );
        let answer = self.pool_answer(Outcome::Refused, message, pool);
        let hint = "a key stands for one rollout; take a new one";
        Some(Begun::Answered(Box::new(answer.hint(hint))))
    }

    /// What is to come serves. If it was a rollout that brought it, its answer is repeated: what it took
    /// out may still drain. What else is to go must not drain: nobody would have waited for it.
    fn already_serving(
        &self,
        model: &Model,
        pool: &PoolName,
        new: &[Generation],
        call: &RolloutCall,
    ) -> Begun {
        let of = model.pools.get(pool);
        let past = of.and_then(|of| {
            let mut newest_first = of.history.iter().rev();
            newest_first.find(|past| {
                let is_in = |one| past.new.iter().any(|named| named.generation == one);
                past.decided == Decided::Moved && new.iter().all(|one| is_in(*one))
            })
        });
        let old = past.map_or(&[][..], |past| &past.old[..]);
        let named: &[BackendId] = match &call.replace {
            Replace::All => &[],
            Replace::These(ids) => ids,
        };
        let is_old = |member: &Member| old.iter().any(|one| one.generation == member.generation);
        let mut members = of.iter().flat_map(|of| &of.members);
        let drains = members.find(|member| {
            named.contains(&member.id) && !is_old(member) && !self.is_drained(member.generation)
        });
        if let Some(member) = drains {
            let (id, state) = (member.id.clone(), "draining");
            let answer = self.no_plan_answer(pool, &NoPlan::IsNotActive { id, state });
            return Begun::Answered(Box::new(answer));
        }
        if let Some(past) = past
            && past.taken_out == TakenOut::Draining
            && !call.dry_run
        {
            return Begun::Past(Box::new(self.decision_of(past.clone())));
        }
        let new: Vec<String> = call.add.iter().map(|new| new.id.to_string()).collect();
        let message = format!("{pool}: already serving: {}", new.join(", "));
        let mut answer = self.pool_answer(Outcome::Done, message, pool);
        // Nothing of what was to go is left, except perhaps on standby, where it may be wanted.
        let is_out = past.is_some_and(|past| {
            matches!(past.taken_out, TakenOut::Clean | TakenOut::Forced)
                && named.iter().all(|id| old.iter().any(|one| one.id == *id))
        });
        answer.safe_to_kill = is_out && old.iter().all(|one| self.is_safe(one));
        answer.rollout = past.map(|past| self.past_status(past));
        Begun::Answered(Box::new(answer))
    }

    async fn begin_course(
        self: &Arc<Self>,
        actor: &Actor,
        model: &mut Model,
        pool: &PoolName,
        plan: Plan,
        terms: Terms,
    ) -> Result<Arc<Course>, Stop> {
        let mut next = model.clone();
        let is_drained = |generation| self.is_drained(generation);
        let number = steps::begin(&mut next, pool, plan, terms, &is_drained, now_millis())?;
        self.commit_intents(Some(actor), model, next, pool).await?;
        let rollout = model.pools[pool].rollout.as_ref();
        let rollout = rollout.expect("it was begun just now");
        let sides = (&rollout.new[..], &rollout.old[..]);
        self.tell_begun(actor, pool, number, rollout.kind, sides);
        Ok(self.start_course(pool, rollout))
    }

    /// Tells that a rollout began, with those that come and those that go.
    fn tell_begun(
        &self,
        actor: &Actor,
        pool: &PoolName,
        rollout: u64,
        kind: Kind,
        (new, old): (&[Named], &[Named]),
    ) {
        let ids = |named: &[Named]| named.iter().map(|named| named.id.to_string()).collect();
        let happening = Happening::RolloutBegun {
            rollout,
            kind: kind.as_str(),
            added: ids(new),
            replaced: ids(old),
        };
        self.emit_of_pool(Some(actor), pool, happening);
    }

    /// Tells how a rollout was decided, and that it has nothing left to end if that is so.
    fn tell_decided(&self, actor: Option<&Actor>, pool: &PoolName, past: &Past) {
        let happening = Happening::RolloutDecided {
            rollout: past.number,
            decided: past.decided.as_str(),
            cause: past.cause.clone(),
            took: Duration::from_millis(past.decided_at.saturating_sub(past.begun)),
        };
        self.emit_of_pool(actor, pool, happening);
        if past.taken_out != TakenOut::Draining {
            self.tell_taken_out(pool, vec![(past.number, past.taken_out)]);
        }
    }

    /// Tells what a start has decided, and ended, of the rollouts that were stored.
    pub(super) fn tell_settled(&self, stored: &Model, model: &Model) {
        for (pool, of) in &model.pools {
            let before = stored.pools.get(pool).map_or(&[][..], |of| &of.history[..]);
            for past in &of.history {
                match before.iter().find(|was| was.number == past.number) {
                    None => self.tell_decided(None, pool, past),
                    Some(was) if was.taken_out != past.taken_out => {
                        self.tell_taken_out(pool, vec![(past.number, past.taken_out)]);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Tells of the rollouts that have nothing left to end.
    pub(super) fn tell_taken_out(&self, pool: &PoolName, ended: Vec<(u64, TakenOut)>) {
        for (rollout, how) in ended {
            let taken_out = how.as_str();
            self.emit_of_pool(None, pool, Happening::RolloutEnded { rollout, taken_out });
        }
    }

    /// Says of a generation whether it is eligible now.
    fn eligible_in(&self, pool: &PoolName) -> impl Fn(Generation) -> bool + use<> {
        let snapshot = self.pools.load_full();
        let pool = snapshot.pool(pool).cloned();
        move |generation| {
            let entry = pool.as_ref().and_then(|pool| pool.entry(generation));
            entry.is_some_and(crate::pool::Entry::is_eligible)
        }
    }

    fn is_healthy(&self, pool: &PoolName, named: &Named) -> bool {
        let backend = self.backend(pool, named.generation);
        backend.is_some_and(|backend| backend.health() == Health::Healthy)
    }

    fn tally(&self, pool: &PoolName, generation: Generation) -> Tally {
        let backend = self.backend(pool, generation);
        backend.map(|backend| backend.tally()).unwrap_or_default()
    }
}
