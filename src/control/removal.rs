//! Cutting what a backend holds, and forgetting it: close and remove.
//!
//! Nothing is forgotten that is not sealed: a removal goes the drain's way, with a drain that ends
//! at once, and means the very generation that it found.

use std::sync::Arc;
use std::time::Duration;

use super::drains::{DrainCall, count, left};
use super::{Actor, Control, view};
use crate::backend::{Asked, CutReason};
use crate::events::Happening;
use crate::outcome::Outcome;
use crate::pool::model::{BackendRef, Member};
use crate::report::Answer;
use crate::spec::{Intent, OnTimeout, PoolName};

/// How long a forced removal waits for what it cut to be gone.
const CUT_WAIT: Duration = Duration::from_secs(10);

/// See [`Control::way_out`].
enum WayOut {
    Drained,
    By(DrainCall),
    /// With what it still holds, in words.
    Refused(String),
}

impl Control {
    /// Cuts what a draining or standby backend still holds.
    pub async fn close(
        self: &Arc<Self>,
        actor: Actor,
        pool: PoolName,
        backend: BackendRef,
        wait: Option<Duration>,
    ) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            let member = match control.locate(&pool, &backend) {
                Ok(member) => member,
                Err(refusal) => return control.stopped(refusal.into(), &pool, Some(&backend)),
            };
            if member.intent == Intent::Active {
                return control
                    .answer(
                        Outcome::Refused,
                        format!("{pool}/{} is active; new requests would follow", member.id),
                        &pool,
                        member.generation,
                    )
                    .hint(format!(
                        "`tidegate drain {pool}/{} --timeout 1ms --on-timeout close` takes it out and cuts",
                        member.id
                    ));
            }
            control.close_member(&actor, &pool, &member, wait).await
        })
        .await
    }

    /// Forgets a drained or never used backend; with `force` cuts first.
    pub async fn remove(
        self: &Arc<Self>,
        actor: Actor,
        pool: PoolName,
        backend: BackendRef,
        force: bool,
    ) -> Answer {
        let control = Arc::clone(self);
        self.run(async move { control.remove_now(&actor, &pool, &backend, force).await })
            .await
    }

    async fn close_member(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
        member: &Member,
        wait: Option<Duration>,
    ) -> Answer {
        let wait = wait.unwrap_or(CUT_WAIT);
        let closed = |asked: Asked| Happening::Closed {
            requests: asked.requests,
            tunnels: asked.tunnels,
        };
        if let Some(drain) = self.drain_of(member.generation) {
            if drain.end().is_none() {
                let asked = drain.close();
                self.emit(Some(actor), member, pool, closed(asked));
            }
            return self.drained_answer(pool, &drain, wait).await;
        }
        let Some(backend) = self.backend(pool, member.generation) else {
            return self.answer(Outcome::Unknown, "it is gone", pool, member.generation);
        };
        let asked = backend.ask_cuts(CutReason::Closed, |_| true);
        self.emit(Some(actor), member, pool, closed(asked));
        let cut = count(asked.requests, asked.tunnels);
        let message = format!("{pool}/{}: {cut} cut", member.id);
        // Not "forced": it is no drain, and what was asked to end may still be ending.
        self.answer(Outcome::Done, message, pool, member.generation)
    }

    async fn remove_now(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
        backend: &BackendRef,
        force: bool,
    ) -> Answer {
        let found = match self.locate(pool, backend) {
            Ok(member) => member,
            Err(refusal) => return self.stopped(refusal.into(), pool, Some(backend)),
        };
        let name = format!("{pool}/{}", found.id);
        // From here on this very generation is meant: another one may get the id meanwhile.
        let this = BackendRef {
            id: found.id.clone(),
            generation: Some(found.generation),
        };
        let call = match self.way_out(pool, &found, force) {
            WayOut::Drained => None,
            WayOut::By(call) => Some(call),
            WayOut::Refused(state) => {
                let message = format!(
                    "{name} is {} and not drained: {state}",
                    found.intent.as_str()
                );
                return self
                    .answer(Outcome::Refused, message, pool, found.generation)
                    .hint(format!(
                        "`drain {name}` first, or `remove {name} --force` cuts"
                    ));
            }
        };
        let mut drain = self.drain_of(found.generation);
        if let Some(call) = call {
            let (begun, wait) = match self.begin_drain(actor, pool, &this, &call).await {
                Ok(begun) => begun,
                Err(answer) => return *answer,
            };
            if force {
                begun.close();
            }
            let answer = self.drained_answer(pool, &begun, wait).await;
            if !answer.outcome.is_drained() {
                return answer;
            }
            drain = Some(begun);
        }
        let mut model = self.model.lock().await;
        // Gone already is done: a drain that was to forget it was faster.
        if let Some(member) = model.member(pool, found.generation).cloned()
            && let Err(stop) = self.forget(&mut model, Some(actor), pool, &member).await
        {
            return self.stopped(stop, pool, Some(&this));
        }
        let cuts = drain.as_ref().map(|drain| drain.cuts()).unwrap_or_default();
        let (outcome, message) = match force && !cuts.is_empty() {
            true => (
                Outcome::Forced,
                format!(
                    "{name} was removed, {} cut",
                    count(cuts.requests, cuts.tunnels)
                ),
            ),
            false => (Outcome::Done, format!("{name} was removed")),
        };
        let mut answer = self.answer(outcome, message, pool, found.generation);
        // It was sealed before it was forgotten.
        answer.safe_to_kill = true;
        answer.drain = drain.map(|drain| view::drain_status(&drain));
        answer
    }

    /// How a backend that is to be removed gets out: it is drained already; or, when it was never
    /// used or the caller forces it, by a drain that ends at once.
    fn way_out(&self, pool: &PoolName, member: &Member, force: bool) -> WayOut {
        let Some(backend) = self.backend(pool, member.generation) else {
            return WayOut::Drained;
        };
        if backend.reading().is_sealed() {
            return WayOut::Drained;
        }
        let at_once = DrainCall {
            wait: Some(CUT_WAIT),
            ..DrainCall::default()
        };
        match (
            force,
            backend.was_used() || member.intent == Intent::Draining,
        ) {
            (true, _) => WayOut::By(DrainCall {
                force: true,
                timeout: Some(Duration::ZERO),
                on_timeout: Some(OnTimeout::Close),
                ..at_once
            }),
            (false, false) => WayOut::By(at_once),
            (false, true) => WayOut::Refused(left(&backend)),
        }
    }
}
