//! Bringing a new backend in: `add`, which takes it out again if it does not get healthy.

use std::sync::Arc;
use std::time::Duration;

use super::view::last_probe;
use super::{ADD_WAIT, Actor, Control, Stop, now_millis};
use crate::backend::Backend;
use crate::drain;
use crate::events::Happening;
use crate::outcome::Outcome;
use crate::pool::model::{Added, BackendRef, Member, Model, NewMember};
use crate::report::Answer;
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

impl Control {
    /// Adds a backend and answers when it is healthy. One that does not get there in time is
    /// removed again.
    pub async fn add(self: &Arc<Self>, actor: Actor, pool: PoolName, call: AddCall) -> Answer {
        let control = Arc::clone(self);
        self.run(async move { control.add_now(&actor, &pool, call).await })
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

    pub(super) async fn add_member(
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
}
