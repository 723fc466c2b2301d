//! Taking a backend out: drain, and the wait for *drained*. What follows from the end is in `ended`,
//! what cuts or forgets in `removal`.

use std::sync::Arc;
use std::time::Duration;

use super::{Actor, Control, Stop, deadline_in, now_millis};
use crate::backend::Backend;
use crate::drain::{self, Drain, End};
use crate::events::Happening;
use crate::outcome::Outcome;
use crate::pool::model::{BackendRef, Member, Model};
use crate::report::Answer;
use crate::spec::{DrainSpec, Intent, OnTimeout, PoolName};

/// How a drain differs from its pool's defaults.
#[derive(Clone, Debug, Default)]
pub struct DrainCall {
    /// How long the caller waits; zero begins only.
    pub wait: Option<Duration>,
    /// See [`DrainSpec::timeout`].
    pub timeout: Option<Duration>,
    /// See [`DrainSpec::on_timeout`].
    pub on_timeout: Option<OnTimeout>,
    /// See [`DrainSpec::idle_timeout`].
    pub idle_timeout: Option<Duration>,
    /// See [`crate::spec::TunnelSpec::close_after`]; `Some(None)` is `never`.
    pub close_after: Option<Option<Duration>>,
    /// See [`crate::spec::TunnelSpec::spread`].
    pub spread: Option<Duration>,
    /// Also when too few would be left, or it lives in another pool too.
    pub force: bool,
    /// So many eligible backends are left, or it is refused; 1 unless said.
    pub min_eligible: Option<u32>,
}

impl DrainCall {
    pub(super) fn over(&self, defaults: DrainSpec) -> DrainSpec {
        let mut spec = defaults;
        spec.wait = self.wait.unwrap_or(spec.wait);
        spec.timeout = self.timeout.unwrap_or(spec.timeout);
        spec.on_timeout = self.on_timeout.unwrap_or(spec.on_timeout);
        spec.idle_timeout = self.idle_timeout.unwrap_or(spec.idle_timeout);
        spec.tunnels.close_after = self.close_after.unwrap_or(spec.tunnels.close_after);
        spec.tunnels.spread = self.spread.unwrap_or(spec.tunnels.spread);
        spec
    }
}

/// What `wait` waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Until it is healthy.
    Healthy,
    /// Until its drain ended.
    Drained,
}

impl Control {
    /// Takes a backend out of rotation and answers when it is drained, or the wait is over.
    pub async fn drain(
        self: &Arc<Self>,
        actor: Actor,
        pool: PoolName,
        backend: BackendRef,
        call: DrainCall,
    ) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            match control.begin_drain(&actor, &pool, &backend, &call).await {
                Ok((drain, wait)) => control.drained_answer(&pool, &drain, wait).await,
                Err(answer) => *answer,
            }
        })
        .await
    }

    /// Waits for a backend to be healthy or drained.
    pub async fn wait(
        self: &Arc<Self>,
        pool: PoolName,
        backend: BackendRef,
        what: Wait,
        wait: Duration,
    ) -> Answer {
        let member = match self.locate(&pool, &backend) {
            Ok(member) => member,
            Err(refusal) => return self.stopped(refusal.into(), &pool, Some(&backend)),
        };
        match what {
            Wait::Healthy => self.healthy_answer(&pool, &member, wait).await,
            Wait::Drained => self.wait_drained(&pool, &member, wait).await,
        }
    }

    async fn wait_drained(&self, pool: &PoolName, member: &Member, wait: Duration) -> Answer {
        let deadline = deadline_in(wait);
        // The drain may not have begun yet; the publish that begins it wakes us.
        let begun = self
            .wait_for(pool, member.generation, deadline, |entry| {
                entry.member.intent == Intent::Draining
            })
            .await;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        match (begun, self.drain_of(member.generation)) {
            (Some(true), Some(drain)) => {
                let left = left.max(Duration::from_millis(1));
                self.drained_answer(pool, &drain, left).await
            }
            (Some(_), _) => {
                let name = format!("{pool}/{}", member.id);
                let message = format!("{name} is not draining");
                self.answer(Outcome::NotYet, message, pool, member.generation)
                    .hint(format!("`tidegate drain {name}` begins it"))
            }
            (None, _) => self.answer(
                Outcome::Unknown,
                format!("{pool}/{} was removed meanwhile", member.id),
                pool,
                member.generation,
            ),
        }
    }

    pub(super) async fn begin_drain(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
        backend: &BackendRef,
        call: &DrainCall,
    ) -> Result<(Arc<Drain>, Duration), Box<Answer>> {
        let mut model = self.model.lock().await;
        let stopped = |stop| Box::new(self.stopped(stop, pool, Some(backend)));
        let member = model
            .find(pool, backend)
            .map_err(|r| stopped(r.into()))?
            .clone();
        let defaults = self
            .pools
            .load()
            .pool(pool)
            .map_or_else(DrainSpec::default, |pool| pool.settings.drain);
        if member.intent == Intent::Draining
            && let Some(drain) = self.drain_of(member.generation)
        {
            // What the caller does not say stays as it is, whatever the pool's defaults are.
            let clocks = drain::tighter(drain.clocks(), call.over(drain.clocks()));
            if drain.end().is_none() && clocks != drain.clocks() {
                let mut next = model.clone();
                next.change(pool, member.generation, |member| {
                    member.drain = Some(clocks);
                });
                self.commit(&mut model, next, None).await.map_err(stopped)?;
                drain.tighten(clocks);
            }
            return Ok((drain, call.wait.unwrap_or(defaults.wait)));
        }
        let clocks = call.over(defaults);
        model
            .free(pool, member.generation)
            .map_err(|refusal| stopped(refusal.into()))?;
        if !call.force {
            let min_eligible = call.min_eligible.unwrap_or(1);
            self.is_safe_to_take_out(&model, pool, &member, min_eligible)?;
        }
        let mut next = model.clone();
        let now = now_millis();
        next.set_intent(pool, member.generation, Intent::Draining, Some(clocks), now);
        let committed = self.commit_intents(Some(actor), &mut model, next, pool);
        committed.await.map_err(stopped)?;
        let drain = self.drain_of(member.generation);
        let drain = drain.ok_or_else(|| stopped(Stop::Sealed))?;
        Ok((drain, clocks.wait))
    }

    /// Refuses to take out the last eligible backend, or one that would leave fewer than `min_eligible`,
    /// or one whose process serves another pool.
    pub(super) fn is_safe_to_take_out(
        &self,
        model: &Model,
        pool: &PoolName,
        member: &Member,
        min_eligible: u32,
    ) -> Result<(), Box<Answer>> {
        let refused = |message: String, hint: &str| {
            let answer = self.answer(Outcome::Refused, message, pool, member.generation);
            Err(Box::new(answer.hint(hint)))
        };
        let elsewhere = model.lives_elsewhere(pool, &member.target);
        if !elsewhere.is_empty() {
            return refused(
                format!(
                    "{pool}/{} is not safe to kill: {} is live in {} too",
                    member.id,
                    member.address,
                    elsewhere.join(", ")
                ),
                "drain those first, or use --force to drain it in this pool alone",
            );
        }
        let snapshot = self.pools.load();
        let entries = snapshot.pool(pool).map(|pool| pool.entries.iter());
        let eligible = entries.into_iter().flatten().filter(|e| e.is_eligible());
        let (mut all, mut left) = (0, 0);
        for entry in eligible {
            all += 1;
            left += u32::from(entry.member.generation != member.generation);
        }
        if left == all || left >= min_eligible {
            return Ok(());
        }
        let id = &member.id;
        match min_eligible {
            1 => refused(
                format!("{pool}/{id} is the last eligible backend of its pool"),
                "add another one first, or use --force: requests are held, then answered 503",
            ),
            _ => refused(
                format!(
                    "{pool}/{id}: {left} of {all} eligible backends would be left, fewer than the minimum of {min_eligible}"
                ),
                "add another one first, or use --force, or a smaller --min-eligible",
            ),
        }
    }

    pub(super) fn emit_intent(
        &self,
        actor: Option<&Actor>,
        pool: &PoolName,
        member: &Member,
        to: Intent,
    ) {
        let happening = Happening::IntentChanged {
            from: member.intent.as_str(),
            to: to.as_str(),
        };
        self.emit(actor, member, pool, happening);
    }

    /// Makes the drain of a generation known, before its draining intent is published: whoever
    /// learns of the intent finds the drain.
    pub(super) fn prepare_drain(&self, pool: &PoolName, member: &Member, clocks: DrainSpec) {
        if let Some(backend) = self.backend(pool, member.generation) {
            let drain = Drain::prepare(backend, clocks);
            let mut drains = self.drains.lock().expect("drains lock");
            drains.insert(member.generation, drain);
        }
    }

    /// Begins the prepared drain of a generation whose draining intent is published.
    pub(super) fn start_drain(
        self: &Arc<Self>,
        pool: &PoolName,
        member: &Member,
    ) -> Option<Arc<Drain>> {
        let drain = self.drain_of(member.generation)?;
        let reading = drain.backend().reading();
        let happening = Happening::DrainBegun {
            requests: reading.requests(),
            tunnels: reading.tunnels(),
        };
        self.emit(None, member, pool, happening);
        let (telling, control) = (Arc::clone(self), Arc::clone(self));
        let told = (pool.clone(), member.clone());
        let progress = move |drain: &Drain| {
            let left = drain.backend().reading();
            let happening = Happening::DrainProgress {
                requests: left.requests(),
                tunnels: left.tunnels(),
                took: drain.took(),
            };
            telling.emit(None, &told.1, &told.0, happening);
        };
        drain.start(progress, move |drain| control.after_drained(drain));
        Some(drain)
    }

    /// The answer of a drain, after at most `wait`. What it says of safety is the drain's own word:
    /// the backend may have been forgotten since.
    pub(super) async fn drained_answer(
        &self,
        pool: &PoolName,
        drain: &Drain,
        wait: Duration,
    ) -> Answer {
        let mut answer = self.worded_answer(pool, drain, wait).await;
        answer.safe_to_kill = answer.outcome.is_drained();
        answer.drain = Some(super::view::drain_status(drain));
        answer
    }

    async fn worded_answer(&self, pool: &PoolName, drain: &Drain, wait: Duration) -> Answer {
        let identity = drain.backend().identity();
        let name = format!("{pool}/{}", identity.id);
        let generation = identity.generation;
        let end = match drain.end() {
            Some(end) => Some(end),
            None if wait.is_zero() => {
                let message = format!("{name} is draining: {}", left(drain.backend()));
                return self.answer(Outcome::Begun, message, pool, generation);
            }
            None => tokio::time::timeout_at(deadline_in(wait), drain.ended())
                .await
                .ok(),
        };
        let took = drain.took();
        match end {
            Some(End::Clean) => {
                let message = format!("{name} is drained: clean, after {took:.1?}; safe to kill");
                self.answer(Outcome::Clean, message, pool, generation)
            }
            Some(End::Forced) => {
                let cuts = drain.cuts();
                let cuts = count(cuts.requests, cuts.tunnels);
                let message = format!(
                    "{name} is drained: forced, {cuts} cut, after {took:.1?}; safe to kill"
                );
                self.answer(Outcome::Forced, message, pool, generation)
            }
            Some(End::Restored) => {
                let message = format!("{name} was brought back while it was draining");
                self.answer(Outcome::Restored, message, pool, generation)
                    .hint("do not kill it: it serves again")
            }
            None => {
                let left = left(drain.backend());
                let message = format!("{name} is not drained yet: {left} after {took:.0?}");
                self.answer(Outcome::NotYet, message, pool, generation).hint(format!(
                    "it goes on draining; `drain {name}` waits again, `close {name}` cuts, `ready {name}` brings it back"
                ))
            }
        }
    }
}

pub(super) fn plural(count: u32, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

pub(super) fn count(requests: u32, tunnels: u32) -> String {
    format!(
        "{} and {}",
        plural(requests, "request"),
        plural(tunnels, "tunnel")
    )
}

/// What a backend still holds, in words.
pub(super) fn left(backend: &Backend) -> String {
    let reading = backend.reading();
    let requests = plural(reading.requests(), "request");
    match reading.tunnels() {
        0 => format!("{requests} in flight"),
        tunnels => format!("{requests} and {} in flight", plural(tunnels, "tunnel")),
    }
}
