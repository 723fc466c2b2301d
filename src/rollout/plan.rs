//! From what an operator wishes to who comes and who goes, or why not.
//!
//! Nothing is changed here: a dry run ends with the [`Plan`]. What it is made from is passed in, the
//! model under its lock and what the snapshot says of each generation.

use std::collections::BTreeSet;

use crate::backend::Generation;
use crate::pool::model::{Member, Model, NewMember, PoolModel, Refusal, UnixMillis};
use crate::pool::rollout::{Kind, ROLLOUT_BACKENDS_MAX};
use crate::spec::{BackendId, Intent, PoolName};

/// What a rollout is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Those that come.
    pub new: Vec<Coming>,
    /// Those that go.
    pub old: Vec<Generation>,
}

/// One that comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coming {
    /// A standby of the pool.
    Standby(Generation),
    /// A new member.
    New(NewMember),
}

/// What a wish comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Planned {
    /// There is something to do.
    Move(Plan),
    /// What is to come serves, and nothing that is to go does.
    AlreadyServing {
        /// Those that serve.
        new: Vec<Generation>,
    },
}

/// Whom a rollout takes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replace {
    /// Every active one that it does not bring in.
    All,
    /// These.
    These(Vec<BackendId>),
}

/// What an operator wishes.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Those that come, resolved.
    pub new: Vec<NewMember>,
    /// Those that go.
    pub replace: Replace,
    /// So many are eligible afterwards.
    pub min_eligible: u32,
    /// The old ones are to be killed afterwards, so they must not live in another pool.
    pub kills: bool,
}

/// Why a rollout does not begin; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// The model refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Another one is under way.
    #[error("{kind} {number} of {pool} is under way: {phase}, by {actor}, begun {since} ago")]
    UnderWay {
        /// The pool.
        pool: PoolName,
        /// Its number.
        number: u64,
        /// `rollout` or `rollback`.
        kind: &'static str,
        /// Where it stands.
        phase: &'static str,
        /// Whose it is.
        actor: String,
        /// Its age, in words.
        since: String,
    },
    /// To come, and active already, while others are not.
    #[error("{0} is active already; leave it out of those that come")]
    IsActive(BackendId),
    /// To go, and not active.
    #[error("{id} is {state}, not active: it cannot be replaced")]
    IsNotActive {
        /// Its id.
        id: BackendId,
        /// What it is.
        state: &'static str,
    },
    /// To come and to go.
    #[error("{0} is both to come and to go")]
    Both(BackendId),
    /// The process serves another pool too.
    #[error("{id} would not be safe to kill: {address} is live in {others} too")]
    LivesElsewhere {
        /// Its id.
        id: BackendId,
        /// Its address.
        address: String,
        /// `POOL/ID` of the others.
        others: String,
    },
    /// More than one rollout may be about.
    #[error("{0} backends would go, more than the {ROLLOUT_BACKENDS_MAX} of one rollout")]
    TooMany(usize),
    /// Too few would be left.
    #[error("{left} would be eligible afterwards, fewer than the minimum of {min}")]
    TooFew {
        /// So many.
        left: usize,
        /// Of at least so many.
        min: u32,
    },
}

/// Says what is to be done. `is_eligible` is the snapshot's word.
pub fn plan(
    model: &Model,
    pool: &PoolName,
    wish: &Wish,
    is_eligible: &dyn Fn(Generation) -> bool,
    now: UnixMillis,
) -> Result<Planned, NoPlan> {
    let of = model.pool(pool)?;
    if of.leaving {
        return Err(Refusal::PoolIsLeaving(pool.clone()).into());
    }
    not_under_way(pool, of, now)?;
    let active = |id: &BackendId| {
        let mut members = of.members.iter();
        members.find(|member| member.id == *id && member.intent == Intent::Active)
    };
    let serves = |new: &NewMember| {
        active(&new.id).filter(|m| m.address == new.address || m.target == new.target)
    };
    if let Replace::These(ids) = &wish.replace
        && let Some(both) = ids
            .iter()
            .find(|id| wish.new.iter().any(|new| new.id == **id))
    {
        return Err(NoPlan::Both(both.clone()));
    }
    let serving: Option<Vec<Generation>> = wish
        .new
        .iter()
        .map(|new| serves(new).map(|member| member.generation))
        .collect();
    let old = going(pool, of, wish, serving.is_some())?;
    if let Some(new) = serving {
        if old.is_empty() {
            return Ok(Planned::AlreadyServing { new });
        }
        let first = wish.new.first().map(|new| new.id.clone());
        return Err(NoPlan::IsActive(
            first.expect("a wish brings one in at least"),
        ));
    }
    if let Some(active) = wish.new.iter().find(|new| serves(new).is_some()) {
        return Err(NoPlan::IsActive(active.id.clone()));
    }
    if old.len() > ROLLOUT_BACKENDS_MAX {
        return Err(NoPlan::TooMany(old.len()));
    }
    if wish.kills {
        for member in &old {
            let others = model.lives_elsewhere(pool, &member.target);
            if !others.is_empty() {
                return Err(NoPlan::LivesElsewhere {
                    id: member.id.clone(),
                    address: member.address.to_string(),
                    others: others.join(", "),
                });
            }
        }
    }
    let old: Vec<Generation> = old.iter().map(|member| member.generation).collect();
    let new = wish.new.iter().map(|new| coming(of, new));
    let new: Vec<Coming> = new.collect::<Result<_, Refusal>>()?;
    let left = stays(of, &old, is_eligible) + new.len();
    enough(left, wish.min_eligible)?;
    Ok(Planned::Move(Plan { new, old }))
}

/// Nothing is under way in this pool.
pub fn not_under_way(pool: &PoolName, of: &PoolModel, now: UnixMillis) -> Result<(), NoPlan> {
    let Some(rollout) = &of.rollout else {
        return Ok(());
    };
    let age = now.saturating_sub(rollout.begun) / 1000;
    Err(NoPlan::UnderWay {
        pool: pool.clone(),
        number: rollout.number,
        kind: Kind::as_str(rollout.kind),
        phase: rollout.phase.as_str(),
        actor: rollout.actor.clone(),
        since: match age {
            ..120 => format!("{age}s"),
            _ => format!("{}m{:02}s", age / 60, age % 60),
        },
    })
}

/// Whether so many are enough.
pub fn enough(left: usize, min: u32) -> Result<(), NoPlan> {
    match left >= min as usize {
        true => Ok(()),
        false => Err(NoPlan::TooFew { left, min }),
    }
}

/// How many eligible ones stay when these go.
pub fn stays(
    of: &PoolModel,
    old: &[Generation],
    is_eligible: &dyn Fn(Generation) -> bool,
) -> usize {
    let members = of.members.iter().map(|member| member.generation);
    members
        .filter(|generation| !old.contains(generation) && is_eligible(*generation))
        .count()
}

/// The active ones that go. With `is_serving`, what is to come serves already, and those that are to
/// go may be gone.
fn going<'a>(
    pool: &PoolName,
    of: &'a PoolModel,
    wish: &Wish,
    is_serving: bool,
) -> Result<Vec<&'a Member>, NoPlan> {
    let comes: BTreeSet<&BackendId> = wish.new.iter().map(|new| &new.id).collect();
    let active = |member: &&Member| member.intent == Intent::Active;
    match &wish.replace {
        Replace::All => {
            let others = of.members.iter().filter(active);
            Ok(others
                .filter(|member| !comes.contains(&member.id))
                .collect())
        }
        Replace::These(ids) => {
            let mut old = Vec::new();
            for id in ids {
                let members = of.members.iter().filter(|member| member.id == *id);
                let newest = members.max_by_key(|member| (member.is_live(), member.generation));
                match newest {
                    Some(member) if member.intent == Intent::Active => old.push(member),
                    Some(member) if member.intent == Intent::Standby => {
                        let (id, state) = (id.clone(), "on standby");
                        return Err(NoPlan::IsNotActive { id, state });
                    }
                    _ if is_serving => {}
                    Some(member) => {
                        let state = match member.drained {
                            Some(_) => "drained",
                            None => "draining",
                        };
                        let id = id.clone();
                        return Err(NoPlan::IsNotActive { id, state });
                    }
                    None => {
                        let (pool, backend) = (pool.to_string(), id.to_string());
                        return Err(Refusal::UnknownBackend { pool, backend }.into());
                    }
                }
            }
            Ok(old)
        }
    }
}

/// A standby with that id and address, else a new member; what is in its way is refused here, so that
/// a dry run says so.
fn coming(of: &PoolModel, new: &NewMember) -> Result<Coming, Refusal> {
    for member in of.members.iter().filter(|member| member.is_live()) {
        let same_target = member.address == new.address || member.target == new.target;
        if member.id == new.id && same_target {
            return Ok(Coming::Standby(member.generation));
        }
        if member.id == new.id {
            return Err(Refusal::IdIsLive {
                id: new.id.clone(),
                address: member.address.clone(),
            });
        }
        if same_target {
            return Err(Refusal::AddressIsLive {
                address: new.address.clone(),
                id: member.id.clone(),
            });
        }
    }
    Ok(Coming::New(new.clone()))
}
