//! The steps of a rollout on the model: from phase to phase, and the ways out.
//!
//! Each takes the model to the next one, whole; what is published is that and nothing between. A step
//! that does not fit the phase does nothing and says so by its answer: the caller holds the change
//! lock and has looked.

use crate::backend::Generation;
use crate::pool::model::{Added, Member, Model, PoolModel, Refusal, UnixMillis};
use crate::pool::rollout::{
    Decided, HISTORY_MAX, Kind, Named, Past, Phase, Rollout, TakenOut, Timings,
};
use crate::spec::{DrainSpec, Intent, PoolName, RolloutSpec, Share};

use super::plan::{Coming, Plan};

/// What a rollout is told beside who comes and goes.
#[derive(Clone, Debug)]
pub struct Terms {
    /// What a retried call is known by.
    pub key: Option<String>,
    /// Who asks.
    pub actor: String,
    /// Its clocks and thresholds.
    pub spec: RolloutSpec,
    /// The share it goes through first, if any.
    pub canary: Option<Share>,
    /// The old ones stay on standby.
    pub keep_standby: bool,
    /// The clocks by which they drain otherwise.
    pub drain: DrainSpec,
    /// So many are eligible afterwards.
    pub min_eligible: u32,
}

/// How those that do not serve any more go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WayBack {
    /// How it was decided; not [`Decided::Moved`].
    pub decided: Decided,
    /// The clocks by which the new ones drain.
    pub drain: DrainSpec,
}

/// Begins: the new ones come in on standby. Forgets what earlier rollouts took out and is drained.
pub fn begin(
    model: &mut Model,
    pool: &PoolName,
    plan: Plan,
    terms: Terms,
    is_drained: &dyn Fn(Generation) -> bool,
    now: UnixMillis,
) -> Result<u64, Refusal> {
    forget_taken_out(model, pool)?;
    let mut new = Vec::new();
    for coming in plan.new {
        let (generation, was_here) = match coming {
            Coming::Standby(generation) => (generation, true),
            Coming::New(member) => match model.add(pool, member, is_drained, now)? {
                Added::New(generation) => (generation, false),
                Added::Already(generation) => (generation, true),
            },
        };
        new.extend(named(model, pool, generation, was_here));
    }
    let old = plan.old.iter();
    let old = old.filter_map(|generation| named(model, pool, *generation, true));
    let old = old.collect();
    let of = pool_mut(model, pool)?;
    of.rollouts += 1;
    of.rollout = Some(Rollout {
        number: of.rollouts,
        key: terms.key,
        actor: terms.actor,
        kind: Kind::Rollout,
        begun: now,
        new,
        old,
        spec: terms.spec,
        canary: terms.canary,
        keep_standby: terms.keep_standby,
        drain: terms.drain,
        min_eligible: terms.min_eligible,
        phase: Phase::Gate,
        phase_since: now,
        timings: Timings::default(),
    });
    Ok(of.rollouts)
}

/// The new ones get traffic: all of it, or their share of a canary.
pub fn open(model: &mut Model, pool: &PoolName, now: UnixMillis) {
    let Some(rollout) = under_way(model, pool) else {
        return;
    };
    let phase = match (rollout.phase, rollout.canary) {
        (Phase::Gate, Some(share)) => Phase::Canary(share),
        _ => Phase::Bake,
    };
    set_all(model, pool, &rollout.new, Intent::Active, None, now);
    if phase == Phase::Bake {
        set_all(model, pool, &rollout.old, Intent::Standby, None, now);
    }
    enter(model, pool, phase, now);
}

/// Changes the share of an open canary.
pub fn share(model: &mut Model, pool: &PoolName, share: Share) {
    if let Some(rollout) = rollout_mut(model, pool)
        && matches!(rollout.phase, Phase::Canary(_))
    {
        rollout.phase = Phase::Canary(share);
    }
}

/// The rollout has moved the pool: the old ones drain, or stay on standby.
pub fn finish(model: &mut Model, pool: &PoolName, cause: String, now: UnixMillis) {
    let Some(rollout) = under_way(model, pool) else {
        return;
    };
    let taken_out = match (rollout.old.is_empty(), rollout.keep_standby) {
        (true, _) => TakenOut::None,
        (false, true) => TakenOut::Standby,
        (false, false) => TakenOut::Draining,
    };
    let (intent, drain) = match taken_out {
        TakenOut::Draining => (Intent::Draining, Some(rollout.drain)),
        _ => (Intent::Standby, None),
    };
    set_all(model, pool, &rollout.old, intent, drain, now);
    decide(model, pool, Decided::Moved, taken_out, cause, now);
}

/// The old ones serve again, or still; the new ones drain and are forgotten. Those that were on standby
/// before go back there.
pub fn take_back(model: &mut Model, pool: &PoolName, way: WayBack, cause: String, now: UnixMillis) {
    let Some(rollout) = under_way(model, pool) else {
        return;
    };
    set_all(model, pool, &rollout.old, Intent::Active, None, now);
    let (back, out): (Vec<Named>, Vec<Named>) =
        rollout.new.into_iter().partition(|named| named.was_here);
    set_all(model, pool, &back, Intent::Standby, None, now);
    set_all(model, pool, &out, Intent::Draining, Some(way.drain), now);
    for named in &out {
        model.change(pool, named.generation, |member| {
            member.remove_when_drained = true;
        });
    }
    let taken_out = match out.is_empty() {
        true => TakenOut::Standby,
        false => TakenOut::Draining,
    };
    decide(model, pool, way.decided, taken_out, cause, now);
}

/// Notes by what the rollback is known that took back the last one just now.
pub fn note_key(model: &mut Model, pool: &PoolName, key: Option<String>) {
    let of = model.pools.get_mut(pool);
    if let Some(past) = of.and_then(|of| of.history.last_mut()) {
        past.taken_back_by = key;
    }
}

/// The set before, back again, in one step: `back` serves, `out` goes. Says the rollback's number, and
/// which earlier rollouts have nothing left to end by it.
pub fn roll_back(
    model: &mut Model,
    pool: &PoolName,
    back: &[Generation],
    out: &[Generation],
    terms: Terms,
    now: UnixMillis,
) -> Result<(u64, Vec<(u64, TakenOut)>), Refusal> {
    let name = |list: &[Generation]| {
        let all = list.iter();
        let all = all.filter_map(|generation| named(model, pool, *generation, true));
        all.collect::<Vec<_>>()
    };
    let (new, old) = (name(back), name(out));
    set_all(model, pool, &new, Intent::Active, None, now);
    let mut ended = Vec::new();
    for named in &new {
        ended.extend(note_out(
            model,
            pool,
            named.generation,
            TakenOut::Restored,
            now,
        ));
    }
    let of = pool_mut(model, pool)?;
    of.rollouts += 1;
    let number = of.rollouts;
    of.rollout = Some(Rollout {
        number,
        key: terms.key,
        actor: terms.actor,
        kind: Kind::Rollback,
        begun: now,
        new,
        old,
        spec: terms.spec,
        canary: None,
        keep_standby: terms.keep_standby,
        drain: terms.drain,
        min_eligible: terms.min_eligible,
        phase: Phase::Bake,
        phase_since: now,
        timings: Timings::default(),
    });
    finish(model, pool, "the set before serves again".to_owned(), now);
    Ok((number, ended))
}

/// Notes that one that was taken out has ended. Says which rollouts have nothing left to end by that,
/// and how.
pub fn note_out(
    model: &mut Model,
    pool: &PoolName,
    generation: Generation,
    how: TakenOut,
    now: UnixMillis,
) -> Vec<(u64, TakenOut)> {
    let history = model.pools.get_mut(pool).map(|of| &mut of.history);
    let mut ended = Vec::new();
    for past in history.into_iter().flatten() {
        if past.taken_out != TakenOut::Draining {
            continue;
        }
        let out = match past.decided {
            Decided::Moved => &mut past.old,
            _ => &mut past.new,
        };
        let this = out
            .iter_mut()
            .find(|named| named.generation == generation && named.ended.is_none());
        let Some(this) = this else {
            continue;
        };
        this.ended = Some(how);
        let ends: Option<Vec<TakenOut>> = out.iter().map(|named| named.ended).collect();
        if let Some(worst) = ends.and_then(|ends| ends.into_iter().max()) {
            past.taken_out = worst;
            past.timings.drain_ms = Some(now.saturating_sub(past.decided_at));
            ended.push((past.number, worst));
        }
    }
    ended
}

/// Whether a record still waits for the end of one that was taken out.
pub fn is_awaited(model: &Model, pool: &PoolName, generation: Generation) -> bool {
    let of = model.pools.get(pool);
    let history = of.into_iter().flat_map(|of| &of.history);
    let mut draining = history.filter(|past| past.taken_out == TakenOut::Draining);
    draining.any(|past| {
        let mut out = past.out().iter();
        out.any(|named| named.generation == generation && named.ended.is_none())
    })
}

/// What a start makes of the rollouts that were under way when the process before ended: one whose new
/// ones did not serve yet is given up, and they are gone with it, as nothing is in flight; any other goes
/// on with those it was about that are still here. A record that waits for one that is not here any more
/// has its end.
pub fn settle(model: &mut Model, now: UnixMillis) {
    let names: Vec<PoolName> = model.pools.keys().cloned().collect();
    for pool in names {
        end_gone(model, &pool, now);
        let Some(mut rollout) = under_way(model, &pool) else {
            continue;
        };
        let is_here = |named: &Named| {
            let member = model.member(&pool, named.generation);
            member.is_some_and(Member::is_live)
        };
        rollout.new.retain(is_here);
        rollout.old.retain(is_here);
        let cause = match (rollout.phase, rollout.new.is_empty()) {
            (Phase::Gate, _) => "the proxy was stopped before the new ones served",
            (_, true) => "the new ones were gone when the proxy started again",
            (_, false) => {
                if let Some(of) = model.pools.get_mut(&pool) {
                    of.rollout = Some(rollout);
                }
                continue;
            }
        };
        let out: Vec<Generation> = rollout
            .new
            .iter()
            .filter(|named| !named.was_here)
            .map(|named| named.generation)
            .collect();
        if let Some(of) = model.pools.get_mut(&pool) {
            of.rollout = Some(rollout);
        }
        let way = WayBack {
            decided: Decided::Failed,
            drain: DrainSpec::default(),
        };
        take_back(model, &pool, way, cause.to_owned(), now);
        for generation in out {
            note_out(model, &pool, generation, TakenOut::Clean, now);
            model.remove(&pool, generation);
        }
    }
}

/// Whatever they held has ended with the process before.
fn end_gone(model: &mut Model, pool: &PoolName, now: UnixMillis) {
    let history = model.pools.get(pool).map(|of| &of.history);
    let out = history.into_iter().flatten().flat_map(Past::out);
    let gone = out.map(|named| named.generation);
    let gone: Vec<Generation> = gone
        .filter(|generation| model.member(pool, *generation).is_none())
        .collect();
    for generation in gone {
        note_out(model, pool, generation, TakenOut::Clean, now);
    }
}

/// A record by its number.
pub fn past(of: &PoolModel, number: u64) -> Option<&Past> {
    of.history.iter().rev().find(|past| past.number == number)
}

/// The last rollout that moved the pool: what a rollback takes back.
pub fn last_moved(of: &PoolModel) -> Option<&Past> {
    let mut newest_first = of.history.iter().rev();
    newest_first.find(|past| past.decided == Decided::Moved)
}

fn under_way(model: &Model, pool: &PoolName) -> Option<Rollout> {
    model.pools.get(pool)?.rollout.clone()
}

fn rollout_mut<'a>(model: &'a mut Model, pool: &PoolName) -> Option<&'a mut Rollout> {
    model.pools.get_mut(pool)?.rollout.as_mut()
}

fn pool_mut<'a>(model: &'a mut Model, pool: &PoolName) -> Result<&'a mut PoolModel, Refusal> {
    let of = model.pools.get_mut(pool);
    of.ok_or_else(|| Refusal::UnknownPool(pool.to_string()))
}

fn named(model: &Model, pool: &PoolName, generation: Generation, was_here: bool) -> Option<Named> {
    let member = model.member(pool, generation)?;
    Some(Named {
        id: member.id.clone(),
        generation,
        address: member.address.clone(),
        target: member.target.clone(),
        was_here,
        ended: None,
    })
}

fn set_all(
    model: &mut Model,
    pool: &PoolName,
    all: &[Named],
    intent: Intent,
    drain: Option<DrainSpec>,
    now: UnixMillis,
) {
    for named in all {
        model.set_intent(pool, named.generation, intent, drain, now);
    }
}

/// The time in the phase that ends is written down, and the next begins.
fn enter(model: &mut Model, pool: &PoolName, phase: Phase, now: UnixMillis) {
    if let Some(rollout) = rollout_mut(model, pool) {
        rollout.clock(now);
        rollout.phase = phase;
        rollout.phase_since = now;
    }
}

fn decide(
    model: &mut Model,
    pool: &PoolName,
    decided: Decided,
    taken_out: TakenOut,
    cause: String,
    now: UnixMillis,
) {
    let Some(of) = model.pools.get_mut(pool) else {
        return;
    };
    let Some(mut rollout) = of.rollout.take() else {
        return;
    };
    if rollout.kind == Kind::Rollout {
        rollout.clock(now);
    }
    let mut past = Past {
        number: rollout.number,
        key: rollout.key,
        actor: rollout.actor,
        kind: rollout.kind,
        begun: rollout.begun,
        decided_at: now,
        decided,
        cause,
        new: rollout.new,
        old: rollout.old,
        taken_out,
        timings: rollout.timings,
        taken_back_by: None,
    };
    let (out, moved) = match decided {
        Decided::Moved => (&mut past.old, true),
        _ => (&mut past.new, false),
    };
    for named in out {
        // Only what drains is waited for.
        let drains = taken_out == TakenOut::Draining && (moved || !named.was_here);
        named.ended = (!drains).then_some(TakenOut::Standby);
    }
    of.history.push(past);
    let over = of.history.len().saturating_sub(HISTORY_MAX);
    of.history.drain(..over);
}

/// Drained ones that an earlier rollout took out would pile up: each deploy has names of its own.
fn forget_taken_out(model: &mut Model, pool: &PoolName) -> Result<(), Refusal> {
    let of = pool_mut(model, pool)?;
    let history = &of.history;
    let was_taken_out = |generation: Generation| {
        let mut out = history.iter().flat_map(Past::out);
        out.any(|named| named.generation == generation)
    };
    let gone: Vec<Generation> = of
        .members
        .iter()
        .filter(|member| member.drained.is_some() && was_taken_out(member.generation))
        .map(|member| member.generation)
        .collect();
    for generation in gone {
        model.remove(pool, generation);
    }
    Ok(())
}
