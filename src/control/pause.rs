//! Holding the requests of a pool: pause, resume, and the clock by which a pause ends.
//!
//! A pause is one commit: the snapshot says that the pool is paused, and the gates of its active
//! backends are closed behind it ([`crate::pool`]). When that has returned no claim is granted any more,
//! also to a request that loaded the snapshot before, so what is in flight then is all there is, and the
//! wait for its end is a wait for each word to be quiet. That they were so all at once is asked again
//! under the change lock, under which no gate opens: somebody may have resumed the pool, and paused it
//! again, in the middle of the wait. So *done* means that nothing is in flight until somebody resumes.
//!
//! A pause ends when it is asked for (`asked`), by its clock (`ttl`), when its caller's wait was in vain
//! (`in_flight`), or with its pool (`leaving`). Each of them ends the very pause that it is about and
//! never a later one ([`Pause::number`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::drains::plural;
use super::{Actor, Control, Stop, deadline_in, now_millis, view};
use crate::backend::Backend;
use crate::drain::BLOCKING_LISTED_MAX;
use crate::events::Happening;
use crate::outcome::Outcome;
use crate::pool::model::{Model, UnixMillis};
use crate::pool::rollout::Pause;
use crate::report::{Answer, ExchangeStatus};
use crate::spec::PoolName;

/// After how long a pool resumes by itself unless told otherwise.
pub const PAUSE_TTL: Duration = Duration::from_secs(60);

/// The longest that a pool may be paused.
pub const PAUSE_TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a pause waits for what is in flight unless told otherwise.
pub const PAUSE_WAIT: Duration = Duration::from_secs(5);

/// What `pause` is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct PauseCall {
    /// After how long it resumes by itself; [`PAUSE_TTL`] unless said, at most [`PAUSE_TTL_MAX`].
    pub ttl: Option<Duration>,
    /// How long to wait until no request is in flight; [`PAUSE_WAIT`] unless said. Zero does not wait.
    pub wait: Option<Duration>,
}

/// How the wait for a paused pool ended, if not by its clock.
enum Ended {
    /// No request is in flight, and none can come.
    Quiet,
    /// The pool is not paused any more.
    Resumed,
}

impl Control {
    /// Holds the requests of a pool and answers when none is in flight any more; if that takes too
    /// long the pool is resumed.
    pub async fn pause(self: &Arc<Self>, actor: Actor, pool: PoolName, call: PauseCall) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            let ttl = call.ttl.unwrap_or(PAUSE_TTL).min(PAUSE_TTL_MAX);
            match control.begin_pause(&actor, &pool, ttl).await {
                Ok(pause) => {
                    let wait = call.wait.unwrap_or(PAUSE_WAIT);
                    control.paused_answer(&pool, &pause, ttl, wait).await
                }
                Err(stop) => control.stopped(stop, &pool, None),
            }
        })
        .await
    }

    /// Lets the held requests of a pool go on, and all that come.
    pub async fn resume(self: &Arc<Self>, actor: Actor, pool: PoolName) -> Answer {
        let control = Arc::clone(self);
        self.run(async move {
            let mut model = control.model.lock().await;
            match model.pool(&pool) {
                Err(refusal) => return control.stopped(refusal.into(), &pool, None),
                Ok(model) if model.pause.is_none() => {
                    let message = format!("{pool} is not paused");
                    return control.pool_answer(Outcome::Done, message, &pool);
                }
                Ok(_) => {}
            }
            let lifted = control.lift(&mut model, Some(&actor), &pool, "asked").await;
            match lifted {
                Ok(held) => control.resumed_answer(&pool, held),
                Err(stop) => control.stopped(stop, &pool, None),
            }
        })
        .await
    }

    async fn begin_pause(
        self: &Arc<Self>,
        actor: &Actor,
        pool: &PoolName,
        ttl: Duration,
    ) -> Result<Pause, Stop> {
        let mut model = self.model.lock().await;
        let now = now_millis();
        let pause = Pause {
            // Only told apart, so no ordering is asked of it.
            number: 1 + self.pauses.fetch_add(1, Ordering::Relaxed),
            actor: actor.0.clone(),
            since: now,
            until: now.saturating_add(UnixMillis::try_from(ttl.as_millis()).unwrap_or(now)),
        };
        let mut next = model.clone();
        next.pause(pool, pause.clone())?;
        self.commit(&mut model, next, None).await?;
        self.emit_of_pool(Some(actor), pool, Happening::Paused { ttl });
        self.resume_after(pool, &pause, ttl);
        Ok(pause)
    }

    async fn paused_answer(
        &self,
        pool: &PoolName,
        pause: &Pause,
        ttl: Duration,
        wait: Duration,
    ) -> Answer {
        if wait.is_zero() {
            let requests = plural(requests(&self.all_backends(pool)), "request");
            let what = format!("{requests} in flight");
            return self.is_paused(Outcome::Begun, pool, &what, ttl);
        }
        let begun = Instant::now();
        let ended = timeout_at(deadline_in(wait), self.quiet(pool, pause)).await;
        match ended {
            Ok(Ended::Quiet) => self.is_paused(Outcome::Done, pool, "no request is in flight", ttl),
            Ok(Ended::Resumed) if begun.elapsed() < ttl => self.is_resumed(pool),
            // Its clock may be shorter than its wait.
            Ok(Ended::Resumed) | Err(_) => self.in_vain(pool, pause, ttl, wait).await,
        }
    }

    /// Waits until no request is in flight on any backend, or the pool is not paused any more. A pause
    /// anew, by another call, is as good.
    async fn quiet(&self, pool: &PoolName, pause: &Pause) -> Ended {
        let mut pause = pause.clone();
        loop {
            let backends = self.all_backends(pool);
            let quiet = join_all(backends.iter().map(|one| one.word().when_quiet()));
            tokio::select! {
                _ = quiet => {}
                () = self.until_over(pool, &pause) => {}
            }
            let model = self.model.lock().await;
            match paused(&model, pool) {
                None => return Ended::Resumed,
                Some(_) if requests(&self.all_backends(pool)) == 0 => return Ended::Quiet,
                Some(now) => pause = now.clone(),
            }
        }
    }

    /// The wait is over: the pool is resumed, unless another call has paused it since.
    async fn in_vain(
        &self,
        pool: &PoolName,
        pause: &Pause,
        ttl: Duration,
        wait: Duration,
    ) -> Answer {
        let mut model = self.model.lock().await;
        let backends = self.all_backends(pool);
        let (still, in_flight) = (requests(&backends), in_flight(&backends));
        let what = match paused(&model, pool) {
            // The change lock was what took so long.
            Some(_) if still == 0 => {
                return self.is_paused(Outcome::Done, pool, "no request is in flight", ttl);
            }
            Some(now) if now.number != pause.number => format!("it stays paused by {}", now.actor),
            Some(_) => match self.lift(&mut model, None, pool, "in_flight").await {
                Ok(_) => "it was resumed".to_owned(),
                Err(stop) => return self.stopped(stop, pool, None),
            },
            None => "it was resumed".to_owned(),
        };
        let (requests, after) = (plural(still, "request"), wait.min(ttl));
        let message = format!("{pool}: {requests} still in flight after {after:.0?}; {what}");
        let mut answer = self.pool_answer(Outcome::NotYet, message, pool);
        answer.in_flight = in_flight;
        answer.hint(format!(
            "`pause {pool} --wait 30s` waits longer, `pause {pool} --no-wait` does not wait"
        ))
    }

    fn is_paused(&self, outcome: Outcome, pool: &PoolName, what: &str, ttl: Duration) -> Answer {
        let message = format!("{pool} is paused, {what}; it resumes by itself in {ttl:.0?}");
        let answer = self.pool_answer(outcome, message, pool);
        let snapshot = self.pools.load();
        let hold = snapshot.pool(pool).map(|pool| pool.settings.hold.timeout);
        match hold {
            Some(Duration::ZERO) => answer.hint("its requests are not held (hold.timeout: 0s) but answered 503"),
            Some(hold) => answer.hint(format!(
                "a request is held for {hold:?} at most (hold.timeout), then answered 503; `resume {pool}` lets all go on"
            )),
            None => answer,
        }
    }

    fn is_resumed(&self, pool: &PoolName) -> Answer {
        let snapshot = self.pools.load();
        if snapshot.pool(pool).is_none_or(|pool| pool.leaving) {
            let message = format!("{pool} has left the configuration meanwhile");
            return self.pool_answer(Outcome::Unknown, message, pool);
        }
        let message = format!("{pool} was resumed while requests were in flight");
        self.pool_answer(Outcome::Restored, message, pool)
            .hint("somebody else did that; its requests are not held")
    }

    /// Ends the pause of a pool, and says how many requests were held. The caller holds the change lock.
    async fn lift(
        &self,
        model: &mut Model,
        actor: Option<&Actor>,
        pool: &PoolName,
        cause: &'static str,
    ) -> Result<usize, Stop> {
        let mut next = model.clone();
        next.resume(pool);
        let held = self.held(pool);
        self.commit(model, next, None).await?;
        self.emit_of_pool(actor, pool, Happening::Resumed { cause, held });
        Ok(held)
    }

    /// Has a pause end by itself in `ttl`. One task for each, which ends with it.
    pub(super) fn resume_after(self: &Arc<Self>, pool: &PoolName, pause: &Pause, ttl: Duration) {
        let (control, pool, pause) = (Arc::clone(self), pool.clone(), pause.clone());
        tokio::spawn(async move {
            let over = control.until_over(&pool, &pause);
            if timeout_at(Instant::now() + ttl, over).await.is_err() {
                control.expire(&pool, &pause).await;
            }
        });
    }

    /// The time of a pause is over. It ends also if that cannot be stored: what is stored says so too.
    async fn expire(&self, pool: &PoolName, pause: &Pause) {
        let mut model = self.model.lock().await;
        if paused(&model, pool).is_none_or(|now| now.number != pause.number) {
            return;
        }
        let lifted = self.lift(&mut model, None, pool, "ttl").await;
        if let Err(stop) = lifted {
            let why = stop.into_answer(Some(pool)).message;
            tracing::error!(%pool, "the end of its pause was not stored: {why}");
            let held = self.held(pool);
            let mut next = model.clone();
            next.resume(pool);
            // No step out of draining is in it, the only one that can fail.
            let _ = self.pools.commit(&next, None);
            *model = next;
            self.emit_of_pool(None, pool, Happening::Resumed { cause: "ttl", held });
        }
    }

    /// A pool that leaves the configuration takes its pause along. `held` is from before that.
    pub(super) fn tell_left(&self, before: &[(PoolName, usize)], after: &Model) {
        for (pool, held) in before {
            if paused(after, pool).is_none() {
                let (cause, held) = ("leaving", *held);
                self.emit_of_pool(None, pool, Happening::Resumed { cause, held });
            }
        }
    }

    /// The pools that are paused, each with how many requests it holds.
    pub(super) fn paused_pools(&self) -> Vec<(PoolName, usize)> {
        let snapshot = self.pools.load();
        let paused = snapshot.pools().filter(|pool| pool.pause.is_some());
        paused
            .map(|pool| (pool.name.clone(), pool.hold.len()))
            .collect()
    }

    /// At the start: goes on with the pauses that an earlier process has left, which are not over.
    pub(super) fn go_on_paused(self: &Arc<Self>, model: &Model) {
        let now = now_millis();
        for (name, pool) in &model.pools {
            if let Some(pause) = &pool.pause {
                let left = Duration::from_millis(pause.until.saturating_sub(now));
                // A wall clock that was set back makes it no longer than any may be.
                self.resume_after(name, pause, left.min(PAUSE_TTL_MAX));
            }
        }
    }

    /// Resolves when the pool is not paused any more, or by another pause.
    async fn until_over(&self, pool: &PoolName, pause: &Pause) {
        let mut published = self.pools.follow();
        loop {
            published.borrow_and_update();
            let number = self.pools.load().pool(pool).map(|pool| {
                let pause = pool.pause.as_ref();
                pause.map(|pause| pause.number)
            });
            if number.flatten() != Some(pause.number) {
                return;
            }
            // The sender lives as long as the pools do.
            let _ = published.changed().await;
        }
    }

    fn all_backends(&self, pool: &PoolName) -> Vec<Arc<Backend>> {
        let snapshot = self.pools.load();
        let entries = snapshot.pool(pool).map(|pool| pool.entries.iter());
        let backends = entries.into_iter().flatten();
        backends.map(|entry| Arc::clone(&entry.backend)).collect()
    }

    /// How many requests a pool holds.
    fn held(&self, pool: &PoolName) -> usize {
        let snapshot = self.pools.load();
        snapshot.pool(pool).map_or(0, |pool| pool.hold.len())
    }

    fn resumed_answer(&self, pool: &PoolName, held: usize) -> Answer {
        let held = match held {
            0 => "nothing was held".to_owned(),
            _ => {
                let held = u32::try_from(held).unwrap_or(u32::MAX);
                format!("{} held go on", plural(held, "request"))
            }
        };
        let mut answer =
            self.pool_answer(Outcome::Done, format!("{pool} is resumed, {held}"), pool);
        if answer.serving.is_empty() {
            answer.warnings.push(format!(
                "{pool} has no eligible backend: its requests are held until there is one"
            ));
        }
        answer
    }
}

fn paused<'a>(model: &'a Model, pool: &PoolName) -> Option<&'a Pause> {
    model.pool(pool).ok()?.pause.as_ref()
}

fn requests(backends: &[Arc<Backend>]) -> u32 {
    let of = backends.iter().map(|backend| backend.reading().requests());
    of.sum()
}

/// The requests in flight, oldest first, bounded.
fn in_flight(backends: &[Arc<Backend>]) -> Vec<ExchangeStatus> {
    let all = backends.iter().flat_map(|backend| backend.exchanges());
    let mut reports: Vec<_> = all
        .filter(|one| !one.is_tunnel())
        .map(|one| one.report())
        .collect();
    reports.sort_by_key(|report| std::cmp::Reverse(report.age));
    reports.truncate(BLOCKING_LISTED_MAX);
    reports.into_iter().map(view::exchange_status).collect()
}
