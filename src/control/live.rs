//! Bringing a backend in: add, ready, standby, weight, and the wait for *healthy*.

use std::sync::Arc;
use std::time::Duration;

use super::view::last_probe;
use super::{ADD_WAIT, Actor, Control, Stop, deadline_in, now_millis};
use crate::backend::{Backend, Generation, Health};
use crate::drain;
use crate::events::Happening;
use crate::outcome::Outcome;
use crate::pool::model::{Added, BackendRef, Member, Model, NewMember};
use crate::pool::rollout::TakenOut;
use crate::report::Answer;
use crate::rollout::steps;
use crate::spec::{Address, BackendId, DrainSpec, Intent, Origin, PoolName, Weight};

/// What `add` is told.
#[derive(Clone, Debug)]
pub struct AddCall {
    /// The id.
    pub id: BackendId,
    /// As written.
    pub address: Address,
    /// Its share.
    pub weight: Weight,
    /// Active, or standby.
    pub intent: Intent,
    /// How long it may take to get healthy; [`ADD_WAIT`] unless said. Zero: add, and do not wait.
    pub wait: Option<Duration>,
}

/// What `standby` is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandbyCall {
    /// Also when too few would be left, or it lives in another pool too.
    pub force: bool,
    /// So many eligible backends are left, or it is refused; 1 unless said.
    pub min_eligible: Option<u32>,
}

impl Control {
    /// Adds a backend and answers when it is healthy. One that does not get there in time is
    /// removed again.
    pub async fn add(self: &Arc<Self>, actor: Actor, pool: PoolName, call: AddCall) -> Answer {
        let control = Arc::clone(self);
        self.run(async move { control.add_now(&actor, &pool, call).await })
            .await
    }

    /// Makes a backend active: promotes a standby, takes a draining one back, starts a new
    /// generation of a drained one.
    pub async fn ready(
        self: &Arc<Self>,
        actor: Actor,
        pool: PoolName,
        backend: BackendRef,
        wait: Option<Duration>,
    ) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            match control
                .set_live(&actor, &pool, &backend, Intent::Active, None)
                .await
            {
                Ok(member) => {
                    let wait = wait.unwrap_or(ADD_WAIT);
                    control.begun_or_healthy(&pool, &member, wait).await
                }
                Err(answer) => *answer,
            }
        })
        .await
    }

    /// Takes a backend out of rotation but keeps it warm.
    pub async fn standby(
        self: &Arc<Self>,
        actor: Actor,
        pool: PoolName,
        backend: BackendRef,
        call: StandbyCall,
    ) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            let min_eligible = (!call.force).then(|| call.min_eligible.unwrap_or(1));
            match control
                .set_live(&actor, &pool, &backend, Intent::Standby, min_eligible)
                .await
            {
                Ok(member) => control.answer(
                    Outcome::Done,
                    format!("{pool}/{} is on standby", member.id),
                    &pool,
                    member.generation,
                ),
                Err(answer) => *answer,
            }
        })
        .await
    }

    /// Sets the weight of a live backend.
    pub async fn weigh(
        self: &Arc<Self>,
        actor: Actor,
        pool: PoolName,
        backend: BackendRef,
        weight: Weight,
    ) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            let mut model = control.model.lock().await;
            let member = match model.find(&pool, &backend) {
                Ok(member) => member.clone(),
                Err(refusal) => return control.stopped(refusal.into(), &pool, Some(&backend)),
            };
            if member.weight != weight {
                if let Err(refusal) = model.free(&pool, member.generation) {
                    return control.stopped(refusal.into(), &pool, Some(&backend));
                }
                let mut next = model.clone();
                next.change(&pool, member.generation, |member| member.weight = weight);
                if let Err(stop) = control.commit(&mut model, next, None).await {
                    return control.stopped(stop, &pool, Some(&backend));
                }
                let happening = Happening::WeightChanged {
                    from: member.weight.as_u32(),
                    to: weight.as_u32(),
                };
                control.emit(Some(&actor), &member, &pool, happening);
            }
            let message = format!("{pool}/{} has weight {}", member.id, weight.as_u32());
            control.answer(Outcome::Done, message, &pool, member.generation)
        })
        .await
    }

    async fn add_now(self: &Arc<Self>, actor: &Actor, pool: &PoolName, call: AddCall) -> Answer {
        let wait = call.wait.unwrap_or(ADD_WAIT);
        let reference = BackendRef {
            id: call.id.clone(),
            generation: None,
        };
        let target = match self.resolver.resolve(&call.address).await {
            Ok(target) => target,
            Err(cause) => {
                let message = format!("{} could not be resolved: {cause}", call.address);
                let mut answer = Answer::new(Outcome::Failed, message);
                self.describe(&mut answer, pool, Some(&reference));
                return answer;
            }
        };
        let new = NewMember {
            id: call.id,
            address: call.address,
            target,
            weight: call.weight,
            origin: Origin::Api,
            intent: call.intent,
        };
        let added = match self.add_member(actor, pool, new).await {
            Ok(added) => added,
            Err(stop) => return self.stopped(stop, pool, Some(&reference)),
        };
        let (member, warnings) = match added {
            (Added::New(_), member, warnings) => (member, warnings),
            (Added::Already(_), member, warnings) => {
                let mut answer = self.begun_or_healthy(pool, &member, wait).await;
                answer.warnings = warnings;
                return answer;
            }
        };
        let mut answer = self.begun_or_healthy(pool, &member, wait).await;
        if answer.outcome == Outcome::NotHealthyYet {
            answer = self.give_up(actor, pool, &member, wait).await;
        }
        answer.warnings = warnings;
        answer
    }

    async fn add_member(
        &self,
        actor: &Actor,
        pool: &PoolName,
        new: NewMember,
    ) -> Result<(Added, Member, Vec<String>), Stop> {
        let mut model = self.model.lock().await;
        let mut next = model.clone();
        let is_drained = |generation| self.is_drained(generation);
        let added = next.add(pool, new, &is_drained, now_millis())?;
        let (Added::New(generation) | Added::Already(generation)) = added;
        let member = next.member(pool, generation).cloned();
        let member = member.expect("it was added or found just now");
        let elsewhere = next.lives_elsewhere(pool, &member.target);
        if let Added::New(_) = added {
            let before = model.clone();
            self.commit(&mut model, next, None).await?;
            self.tell_forgotten(Some(actor), &before, &model);
            let happening = Happening::Added {
                address: member.address.to_string(),
                intent: member.intent.as_str(),
            };
            self.emit(Some(actor), &member, pool, happening);
        }
        let mut warnings = Vec::new();
        if !elsewhere.is_empty() {
            warnings.push(format!(
                "{} is live in {} too; draining it there or here will be refused",
                member.address,
                elsewhere.join(", ")
            ));
        }
        Ok((added, member, warnings))
    }

    /// Removes what did not get healthy, unless it did, or somebody took it over, meanwhile.
    async fn give_up(
        &self,
        actor: &Actor,
        pool: &PoolName,
        member: &Member,
        wait: Duration,
    ) -> Answer {
        let mut model = self.model.lock().await;
        let name = format!("{pool}/{}", member.id);
        let (Some(now), Some(backend)) = (
            model.member(pool, member.generation).cloned(),
            self.backend(pool, member.generation),
        ) else {
            let message = format!("{name} was removed meanwhile");
            return self.answer(Outcome::Unknown, message, pool, member.generation);
        };
        if !now.is_live() {
            let message = format!("{name} was taken out meanwhile");
            return self.answer(Outcome::Refused, message, pool, member.generation);
        }
        if let Err(refusal) = model.free(pool, member.generation) {
            return self.stopped(refusal.into(), pool, None);
        }
        match self.take_back(&mut model, pool, &now, &backend).await {
            Ok(true) => {}
            Ok(false) => {
                let message = format!("{name} is healthy and active");
                return self.answer(Outcome::Done, message, pool, member.generation);
            }
            Err(stop) => return self.stopped(stop, pool, None),
        }
        let cause = last_probe(&backend);
        let message =
            format!("{name} did not get healthy within {wait:.0?} ({cause}); it was removed");
        if let Err(stop) = self.forget(&mut model, Some(actor), pool, member).await {
            return self.stopped(stop, pool, None);
        }
        let mut answer = self.answer(Outcome::Failed, message, pool, member.generation);
        answer.hint = Some("nothing else was changed; who served before still serves".into());
        answer.safe_to_kill = true;
        answer
    }

    /// Takes a backend out the way a drain does, published first and then sealed, so that nothing
    /// can be in flight on it. Says no, and leaves it as it was, if a request came in before: then
    /// it got healthy after all.
    async fn take_back(
        &self,
        model: &mut Model,
        pool: &PoolName,
        member: &Member,
        backend: &Backend,
    ) -> Result<bool, Stop> {
        let (generation, drain) = (member.generation, DrainSpec::default());
        let mut out = model.clone();
        out.set_intent(
            pool,
            generation,
            Intent::Draining,
            Some(drain),
            now_millis(),
        );
        self.commit(model, out, None).await?;
        if drain::seal(backend).await {
            return Ok(true);
        }
        let mut back = model.clone();
        back.set_intent(pool, generation, member.intent, None, now_millis());
        self.commit(model, back, None).await?;
        Ok(false)
    }

    /// Makes a backend active or standby and returns the member that is so now. Without `min_eligible` also
    /// one that is not safe to take out.
    async fn set_live(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
        backend: &BackendRef,
        intent: Intent,
        min_eligible: Option<u32>,
    ) -> Result<Member, Box<Answer>> {
        let mut model = self.model.lock().await;
        let stopped = |stop| Box::new(self.stopped(stop, pool, Some(backend)));
        let member = model
            .find(pool, backend)
            .map_err(|r| stopped(r.into()))?
            .clone();
        if member.intent == intent {
            return Ok(member);
        }
        model
            .free(pool, member.generation)
            .map_err(|refusal| stopped(refusal.into()))?;
        if member.intent == Intent::Active
            && let Some(min_eligible) = min_eligible
        {
            self.is_safe_to_take_out(&model, pool, &member, min_eligible)?;
        }
        if member.is_live() || !self.is_drained(member.generation) {
            let mut next = model.clone();
            next.set_intent(pool, member.generation, intent, None, now_millis());
            self.conflict_of_restored(&next, pool, &member)
                .map_err(stopped)?;
            let ended = match member.intent {
                Intent::Draining => note_restored(&mut next, pool, member.generation),
                _ => Vec::new(),
            };
            match self
                .commit_intents(Some(actor), &mut model, next, pool)
                .await
            {
                Ok(()) => {
                    self.tell_taken_out(pool, ended);
                    let member = model.member(pool, member.generation).cloned();
                    return Ok(member.expect("it was changed just now"));
                }
                // Drained at this very moment: a new generation, as below.
                Err(Stop::Sealed) => {}
                Err(stop) => return Err(stopped(stop)),
            }
        }
        drop(model);
        let old = member.generation;
        let new = NewMember {
            id: member.id,
            address: member.address,
            target: member.target,
            weight: member.weight,
            origin: member.origin,
            intent,
        };
        let (added, member, _) = self.add_member(actor, pool, new).await.map_err(stopped)?;
        if matches!(added, Added::Already(_)) && member.intent != intent {
            // It was named by its number, and is gone: what lives under its id now was not meant.
            let (id, now) = (&member.id, member.generation);
            let message =
                format!("{pool}/{id}@{old} is drained, and {id} lives again as {id}@{now}");
            let answer = self.answer(Outcome::Refused, message, pool, old);
            return Err(Box::new(answer.hint(format!("name that one: {pool}/{id}"))));
        }
        Ok(member)
    }

    /// A draining backend can only come back while no other has its id or address.
    pub(super) fn conflict_of_restored(
        &self,
        next: &Model,
        pool: &PoolName,
        restored: &Member,
    ) -> Result<(), Stop> {
        use crate::pool::model::Refusal;
        let others = next
            .pool(pool)?
            .members
            .iter()
            .filter(|member| member.is_live() && member.generation != restored.generation);
        for other in others {
            if other.id == restored.id {
                return Err(Refusal::IdIsLive {
                    id: other.id.clone(),
                    address: other.address.clone(),
                }
                .into());
            }
            if other.target == restored.target {
                return Err(Refusal::AddressIsLive {
                    address: other.address.clone(),
                    id: other.id.clone(),
                }
                .into());
            }
        }
        Ok(())
    }

    /// Waits until a live member is healthy; a wait of zero is no failure, only the begin.
    async fn begun_or_healthy(&self, pool: &PoolName, member: &Member, wait: Duration) -> Answer {
        let mut answer = self.healthy_answer(pool, member, wait).await;
        if wait.is_zero() && answer.outcome == Outcome::NotHealthyYet {
            answer.outcome = Outcome::Begun;
            answer.message = format!("{pool}/{} is not healthy yet", member.id);
        }
        answer
    }

    /// Waits until a live member is healthy.
    pub(super) async fn healthy_answer(
        &self,
        pool: &PoolName,
        member: &Member,
        wait: Duration,
    ) -> Answer {
        let name = format!("{pool}/{}", member.id);
        let healthy = self
            .wait_for(pool, member.generation, deadline_in(wait), |entry| {
                entry.backend.health() == Health::Healthy || !entry.member.is_live()
            })
            .await;
        let (outcome, message) = match healthy {
            Some(true) => {
                let snapshot = self.pools.load();
                let pool = snapshot.pool(pool);
                let intent = pool
                    .and_then(|pool| pool.entry(member.generation))
                    .map(|entry| entry.member.intent);
                match intent {
                    Some(Intent::Active) => {
                        (Outcome::Done, format!("{name} is healthy and active"))
                    }
                    Some(Intent::Standby) => {
                        (Outcome::Done, format!("{name} is healthy, on standby"))
                    }
                    _ => (Outcome::Refused, format!("{name} was taken out meanwhile")),
                }
            }
            Some(false) => {
                let backend = self.backend(pool, member.generation);
                let cause = backend.map(|backend| format!(" ({})", last_probe(&backend)));
                let cause = cause.unwrap_or_default();
                (
                    Outcome::NotHealthyYet,
                    format!("{name} is not healthy after {wait:.0?}{cause}"),
                )
            }
            None => (Outcome::Unknown, format!("{name} was removed meanwhile")),
        };
        self.answer(outcome, message, pool, member.generation)
    }
}

/// One that a rollout took out serves again: its record says so.
fn note_restored(
    next: &mut Model,
    pool: &PoolName,
    generation: Generation,
) -> Vec<(u64, TakenOut)> {
    steps::note_out(next, pool, generation, TakenOut::Restored, now_millis())
}
