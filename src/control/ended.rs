//! The end of a drain, and what follows: it is told, stored, and perhaps the backend forgotten.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::time::sleep;

use super::{Actor, Control, Stop, now_millis, unix_millis};
use crate::backend::{Cuts, Generation};
use crate::drain::{Drain, End};
use crate::events::{About, Happening};
use crate::outcome::Outcome;
use crate::pool::model::{Drained, Member, Model};
use crate::pool::rollout::TakenOut;
use crate::rollout::steps;
use crate::spec::PoolName;

/// After an end that could not be stored.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Control {
    /// Runs in the drain's task, once, when the word is sealed.
    pub(super) fn after_drained(self: Arc<Self>, drain: Arc<Drain>) {
        let identity = drain.backend().identity();
        emit_end(&self, &drain);
        // Whoever watches the pools learns of it: probing stops, waits end.
        self.pools.refresh(&identity.pool);
        let (pool, generation) = (identity.pool.clone(), identity.generation);
        tokio::spawn(async move {
            let mut is_told = false;
            while let Err(stop) = self.note_drained(&pool, generation, &drain).await {
                let answer = stop.into_answer(Some(&pool));
                let backend = &drain.backend().identity().id;
                if !is_told {
                    tracing::error!(%backend, "its end was not stored, which is tried again: {}", answer.message);
                }
                is_told = true;
                sleep(RETRY_AFTER).await;
            }
        });
    }

    async fn note_drained(
        &self,
        pool: &PoolName,
        generation: Generation,
        drain: &Drain,
    ) -> Result<(), Stop> {
        let mut model = self.model.lock().await;
        match model.member(pool, generation).cloned() {
            Some(member) if member.remove_when_drained => {
                self.forget(&mut model, None, pool, &member).await
            }
            // One that is forgotten already, because its id or address was used anew, may still be
            // waited for by the record of a rollout.
            None if !steps::is_awaited(&model, pool, generation) => Ok(()),
            _ => self.keep_drained(&mut model, pool, drain).await,
        }
    }

    /// Stores how a drain ended, so that the next process of the proxy tells the same.
    async fn keep_drained(
        &self,
        model: &mut Model,
        pool: &PoolName,
        drain: &Drain,
    ) -> Result<(), Stop> {
        let cuts = drain.cuts();
        let drained = Drained {
            begun: unix_millis(drain.begun_at()),
            took_ms: u64::try_from(drain.took().as_millis()).unwrap_or(u64::MAX),
            cut_requests: cuts.requests,
            cut_tunnels: cuts.tunnels,
        };
        let generation = drain.backend().generation();
        let mut next = model.clone();
        next.change(pool, generation, |member| {
            member.drained = Some(drained);
        });
        let ended = steps::note_out(&mut next, pool, generation, how_of(drain), now_millis());
        self.commit(model, next, None).await?;
        self.tell_taken_out(pool, ended);
        Ok(())
    }

    /// Takes over what an earlier process of the proxy has stored of a drain's end.
    pub(super) fn know_drained(&self, pool: &PoolName, member: &Member, drained: &Drained) {
        if let Some(backend) = self.backend(pool, member.generation) {
            let begun = UNIX_EPOCH.checked_add(Duration::from_millis(drained.begun));
            let cuts = Cuts {
                requests: drained.cut_requests,
                tunnels: drained.cut_tunnels,
                listed: Vec::new(),
            };
            let took = Duration::from_millis(drained.took_ms);
            let drain = Drain::over(backend, begun.unwrap_or(UNIX_EPOCH), took, cuts);
            let mut drains = self.drains.lock().expect("drains lock");
            drains.insert(member.generation, drain);
        }
    }

    pub(super) async fn forget(
        &self,
        model: &mut Model,
        actor: Option<&Actor>,
        pool: &PoolName,
        member: &Member,
    ) -> Result<(), Stop> {
        let before = model.clone();
        let mut next = model.clone();
        // Nothing is forgotten that is not sealed.
        let drain = self.drain_of(member.generation);
        let how = drain.map_or(TakenOut::Clean, |drain| how_of(&drain));
        let ended = steps::note_out(&mut next, pool, member.generation, how, now_millis());
        next.remove(pool, member.generation);
        self.commit(model, next, None).await?;
        self.tell_forgotten(actor, &before, model);
        self.tell_taken_out(pool, ended);
        Ok(())
    }

    /// Tells of every generation that a change has forgotten, and lets go of its drain.
    pub(super) fn tell_forgotten(&self, actor: Option<&Actor>, before: &Model, after: &Model) {
        for (pool, was) in &before.pools {
            for member in &was.members {
                if after.member(pool, member.generation).is_none() {
                    let mut drains = self.drains.lock().expect("drains lock");
                    drains.remove(&member.generation);
                    drop(drains);
                    self.emit(actor, member, pool, Happening::Removed);
                }
            }
        }
    }

    /// Tells a drain that its gate was opened again.
    pub(super) fn end_restored(&self, generation: Generation) {
        let drain = self.drains.lock().expect("drains lock").remove(&generation);
        if let Some(drain) = drain {
            drain.restored();
            emit_end(self, &drain);
        }
    }
}

/// How a drain that is over ended, as a rollout's record has it.
fn how_of(drain: &Drain) -> TakenOut {
    match drain.cuts().is_empty() {
        true => TakenOut::Clean,
        false => TakenOut::Forced,
    }
}

fn emit_end(control: &Control, drain: &Drain) {
    let outcome = match drain.end() {
        Some(End::Clean) => Outcome::Clean,
        Some(End::Forced) => Outcome::Forced,
        Some(End::Restored) => Outcome::Restored,
        None => Outcome::NotYet,
    };
    let identity = drain.backend().identity();
    let cuts = drain.cuts();
    control.events.emit(
        About {
            pool: Some(identity.pool.to_string()),
            backend: Some(identity.id.to_string()),
            generation: Some(identity.generation),
            actor: None,
        },
        Happening::DrainEnded {
            outcome: outcome.row().word,
            took: drain.took(),
            cut_requests: cuts.requests,
            cut_tunnels: cuts.tunnels,
        },
    );
}
