//! What a backend that is there is made: ready, standby, its weight; and the wait for *healthy*.

use std::sync::Arc;
use std::time::Duration;

use super::view::last_probe;
use super::{ADD_WAIT, Actor, Control, Stop, deadline_in, now_millis};
use crate::backend::{Generation, Health};
use crate::events::Happening;
use crate::outcome::Outcome;
use crate::pool::model::{Added, BackendRef, Member, Model, NewMember};
use crate::pool::rollout::TakenOut;
use crate::report::Answer;
use crate::rollout::steps;
use crate::spec::{Intent, PoolName, Weight};

/// What `standby` is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandbyCall {
    /// Also when too few would be left, or it lives in another pool too.
    pub force: bool,
    /// So many eligible backends are left, or it is refused; 1 unless said.
    pub min_eligible: Option<u32>,
}

impl Control {
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
    pub(super) async fn begun_or_healthy(
        &self,
        pool: &PoolName,
        member: &Member,
        wait: Duration,
    ) -> Answer {
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
