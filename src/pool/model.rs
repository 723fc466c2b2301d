//! The pure state: pools, generations, intents, and the operations on them.
//!
//! A [`Model`] is plain data that can be written out and read back; the state file is one. Its
//! operations take a model to the next or refuse, and touch nothing else: no clock, no socket, no
//! word. [`crate::control`] stores the next model and then has [`super::Pools`] publish it.
//!
//! What always holds:
//! - generations never repeat, also across restarts (`next_generation` is stored);
//! - among the live members of a pool (active or standby) ids and targets are unique;
//! - a member that the file lost is draining and marked `remove_when_drained`.
//!
//! How a changed file comes in is in [`super::merge`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rollout::{Past, Pause, Rollout};
use crate::backend::Generation;
use crate::spec::{
    Address, BackendId, BackendSpec, DrainSpec, Intent, Origin, PoolName, Target, Weight,
};

/// Milliseconds since the Unix epoch: what the state file keeps of a moment.
pub type UnixMillis = u64;

/// Members of one pool at most, drained and draining ones included. Together with the bound on
/// pools this bounds the model, the snapshot and the number of probes.
pub const MEMBERS_MAX: usize = 1000;

/// All pools.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Model {
    /// The next generation to give out.
    pub next_generation: Generation,
    /// By name.
    pub pools: BTreeMap<PoolName, PoolModel>,
    /// The backends of the file when it was last applied, by pool: what a merge compares with.
    pub applied: BTreeMap<PoolName, Vec<BackendSpec>>,
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct PoolModel {
    /// In the order they were added.
    pub members: Vec<Member>,
    /// The file no longer names this pool; it goes when its last member has.
    #[serde(default)]
    pub leaving: bool,
    /// The rollout under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// The number of the last rollout.
    #[serde(default)]
    pub rollouts: u64,
    /// Those that were decided, oldest first, at most [`HISTORY_MAX`].
    ///
    /// [`HISTORY_MAX`]: super::rollout::HISTORY_MAX
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
    /// Its requests are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

/// What the operator wants of one generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Unique among the live ones of the pool.
    pub id: BackendId,
    /// Its number.
    pub generation: Generation,
    /// As the operator wrote it.
    pub address: Address,
    /// What the address resolved to when it was added.
    #[serde(with = "target_text")]
    pub target: Target,
    /// Its share.
    pub weight: Weight,
    /// Who put it there.
    pub origin: Origin,
    /// What is wanted.
    pub intent: Intent,
    /// Since when.
    pub since: UnixMillis,
    /// The clocks of its drain, when draining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainSpec>,
    /// How its drain ended: it holds nothing since, whatever process of the proxy one asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Drained>,
    /// Forget it as soon as it is drained.
    #[serde(default)]
    pub remove_when_drained: bool,
}

/// The end of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// When it began.
    pub begun: UnixMillis,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Requests that were cut.
    pub cut_requests: u32,
    /// Tunnels that were cut.
    pub cut_tunnels: u32,
}

impl Member {
    /// Active or standby.
    pub fn is_live(&self) -> bool {
        self.intent != Intent::Draining
    }
}

/// Which generation an operation is about: the live one of an id, or a numbered one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRef {
    /// The id.
    pub id: BackendId,
    /// `@GENERATION`, if said.
    pub generation: Option<Generation>,
}

impl BackendRef {
    /// Reads `ID` or `ID@GENERATION`.
    pub fn parse(text: &str) -> Result<Self, crate::spec::Invalid> {
        let (id, generation) = match text.split_once('@') {
            None => (text, None),
            Some((id, number)) => {
                let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
                let number = number.parse().ok().filter(|_| is_number);
                let number = number.ok_or_else(|| {
                    crate::spec::Invalid("a generation number after '@', such as a@7".into())
                })?;
                (id, Some(number))
            }
        };
        Ok(Self {
            id: BackendId::parse(id)?,
            generation,
        })
    }
}

impl BackendRef {
    /// The one it names among the members of a pool: the numbered one, else the live one of the id,
    /// else the newest.
    pub fn pick<'a>(&self, members: impl Iterator<Item = &'a Member>) -> Option<&'a Member> {
        members
            .filter(|member| member.id == self.id)
            .filter(|member| {
                self.generation
                    .is_none_or(|number| number == member.generation)
            })
            .max_by_key(|member| (member.is_live(), member.generation))
    }
}

impl std::fmt::Display for BackendRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.generation {
            Some(number) => write!(f, "{}@{number}", self.id),
            None => self.id.fmt(f),
        }
    }
}

/// Why an operation on the model is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No pool of that name.
    #[error("there is no pool {0:?}")]
    UnknownPool(String),
    /// No backend of that id or generation.
    #[error("pool {pool:?} has no backend {backend:?}")]
    UnknownBackend {
        /// The pool.
        pool: String,
        /// As asked for.
        backend: String,
    },
    /// The id is live with another address.
    #[error("{id} is live at {address}; drain it first, or use another id")]
    IdIsLive {
        /// The id.
        id: BackendId,
        /// Where it lives.
        address: Address,
    },
    /// The address is live under another id of the pool.
    #[error("{address} is live as {id}")]
    AddressIsLive {
        /// The address.
        address: Address,
        /// Who has it.
        id: BackendId,
    },
    /// The pool has as many members as it may.
    #[error("the pool has {MEMBERS_MAX} backends, the most it may have; remove drained ones")]
    PoolIsFull,
    /// A rollout is about it.
    #[error(
        "{pool}/{backend} is part of rollout {number} of {pool}, which is under way: {phase}, by {actor}"
    )]
    InRollout {
        /// The pool.
        pool: PoolName,
        /// The id.
        backend: BackendId,
        /// The rollout's number.
        number: u64,
        /// Where it stands.
        phase: &'static str,
        /// Whose it is.
        actor: String,
    },
    /// The pool is on its way out.
    #[error("pool {0:?} is leaving: the configuration no longer names it")]
    PoolIsLeaving(PoolName),
}

/// What an add did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// A new generation.
    New(Generation),
    /// It was live with that address already.
    Already(Generation),
}

/// What an operation needs to know to add a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// Its id.
    pub id: BackendId,
    /// As written.
    pub address: Address,
    /// Resolved.
    pub target: Target,
    /// Its share.
    pub weight: Weight,
    /// Who adds it.
    pub origin: Origin,
    /// Active or standby.
    pub intent: Intent,
}

impl Model {
    /// A pool by name.
    pub fn pool(&self, pool: &PoolName) -> Result<&PoolModel, Refusal> {
        self.pools
            .get(pool)
            .ok_or_else(|| Refusal::UnknownPool(pool.to_string()))
    }

    /// The member a reference names; see [`BackendRef::pick`].
    pub fn find(&self, pool: &PoolName, backend: &BackendRef) -> Result<&Member, Refusal> {
        let members = &self.pool(pool)?.members;
        backend
            .pick(members.iter())
            .ok_or_else(|| Refusal::UnknownBackend {
                pool: pool.to_string(),
                backend: backend.to_string(),
            })
    }

    /// A member by its number.
    pub fn member(&self, pool: &PoolName, generation: Generation) -> Option<&Member> {
        let members = &self.pools.get(pool)?.members;
        members
            .iter()
            .find(|member| member.generation == generation)
    }

    /// Refuses what a rollout under way is about.
    pub fn free(&self, pool: &PoolName, generation: Generation) -> Result<(), Refusal> {
        let of = self.pools.get(pool);
        let Some(rollout) = of.and_then(|of| of.held_by(generation)) else {
            return Ok(());
        };
        let member = self.member(pool, generation);
        let Some(member) = member else {
            return Ok(());
        };
        Err(Refusal::InRollout {
            pool: pool.clone(),
            backend: member.id.clone(),
            number: rollout.number,
            phase: rollout.phase.as_str(),
            actor: rollout.actor.clone(),
        })
    }

    /// Changes a member; does nothing if it is gone.
    pub fn change(
        &mut self,
        pool: &PoolName,
        generation: Generation,
        change: impl FnOnce(&mut Member),
    ) {
        let members = self.pools.get_mut(pool).map(|pool| &mut pool.members);
        let member = members.and_then(|list| list.iter_mut().find(|m| m.generation == generation));
        if let Some(member) = member {
            change(member);
        }
    }

    /// Sets an intent, and the clocks of its drain if that is what it is.
    pub fn set_intent(
        &mut self,
        pool: &PoolName,
        generation: Generation,
        intent: Intent,
        drain: Option<DrainSpec>,
        now: UnixMillis,
    ) {
        self.change(pool, generation, |member| {
            if member.intent != intent {
                member.since = now;
            }
            member.intent = intent;
            member.drain = drain;
            if intent != Intent::Draining {
                member.drained = None;
                member.remove_when_drained = false;
            }
        });
    }

    /// Adds a generation, unless the id is live already. `is_drained` says of a draining generation
    /// whether it is sealed: such a one of the same id or target is forgotten.
    pub fn add(
        &mut self,
        pool: &PoolName,
        new: NewMember,
        is_drained: &dyn Fn(Generation) -> bool,
        now: UnixMillis,
    ) -> Result<Added, Refusal> {
        let model = self.pool(pool)?;
        if model.leaving {
            return Err(Refusal::PoolIsLeaving(pool.clone()));
        }
        for member in model.members.iter().filter(|member| member.is_live()) {
            let same_target = member.address == new.address || member.target == new.target;
            if member.id == new.id && same_target {
                return Ok(Added::Already(member.generation));
            }
            if member.id == new.id {
                return Err(Refusal::IdIsLive {
                    id: new.id,
                    address: member.address.clone(),
                });
            }
            if same_target {
                return Err(Refusal::AddressIsLive {
                    address: new.address,
                    id: member.id.clone(),
                });
            }
        }
        let generation = self.next_generation;
        let model = self.pools.get_mut(pool).expect("found above");
        model.members.retain(|member| {
            let succeeded = member.id == new.id || member.target == new.target;
            !(succeeded && !member.is_live() && is_drained(member.generation))
        });
        if model.members.len() >= MEMBERS_MAX {
            return Err(Refusal::PoolIsFull);
        }
        model.members.push(Member {
            id: new.id,
            generation,
            address: new.address,
            target: new.target,
            weight: new.weight,
            origin: new.origin,
            intent: new.intent,
            since: now,
            drain: None,
            drained: None,
            remove_when_drained: false,
        });
        self.next_generation += 1;
        Ok(Added::New(generation))
    }

    /// Forgets a generation, and its pool if that is leaving and now empty.
    pub fn remove(&mut self, pool: &PoolName, generation: Generation) {
        let Some(model) = self.pools.get_mut(pool) else {
            return;
        };
        model
            .members
            .retain(|member| member.generation != generation);
        if model.leaving && model.members.is_empty() {
            self.pools.remove(pool);
        }
    }

    /// The other pools in which the target of a member is live too.
    pub fn lives_elsewhere(&self, pool: &PoolName, target: &Target) -> Vec<String> {
        self.pools
            .iter()
            .filter(|(name, _)| *name != pool)
            .flat_map(|(name, model)| model.members.iter().map(move |member| (name, member)))
            .filter(|(_, member)| member.is_live() && member.target == *target)
            .map(|(name, member)| format!("{name}/{}", member.id))
            .collect()
    }
}

/// Targets in the state file: addresses with literal IPs, in the same spelling as [`Address`].
pub(super) mod target_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::spec::Target;

    pub(in crate::pool) fn serialize<S: Serializer>(
        target: &Target,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_str(target)
    }

    pub(in crate::pool) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Target, D::Error> {
        let text = String::deserialize(from)?;
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Target::Unix(path.into())),
            None => text.parse().map(Target::Tcp).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
