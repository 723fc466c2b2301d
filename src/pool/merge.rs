//! The merge rule: how a changed file comes into the model.
//!
//! What is merged is the file's *change since it was last applied* (kept in [`Model::applied`]): what
//! it *gained* is added, what it *lost* is drained and removed, a weight it *changed* is set. What the
//! API did stays: a backend that it added, an intent or weight that it set.
//!
//! Losses come before gains, so that an id or address that moved is free when it is added again. A
//! name that resolves elsewhere now counts as both.

use std::collections::{HashMap, HashSet};

use super::model::{Added, Member, Model, NewMember, UnixMillis};
use crate::backend::Generation;
use crate::spec::{Address, BackendSpec, DrainSpec, Intent, Origin, PoolName, Target, Topology};

/// What a merge did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// New generations.
    pub added: Vec<Generation>,
    /// Those that began to drain.
    pub drained: Vec<Generation>,
    /// Those whose weight changed.
    pub reweighted: usize,
    /// What could not be done as the file has it, in words.
    pub warnings: Vec<String>,
}

impl Merged {
    /// In words, for the log and the answer.
    pub fn summary(&self) -> String {
        format!(
            "{} added, {} drained, {} reweighted",
            self.added.len(),
            self.drained.len(),
            self.reweighted
        )
    }
}

impl Model {
    /// Merges in what the file changed since it was last applied. `targets` has every address of
    /// the file resolved.
    pub fn merge(
        &mut self,
        file: &Topology,
        targets: &HashMap<Address, Target>,
        is_drained: &dyn Fn(Generation) -> bool,
        now: UnixMillis,
    ) -> Merged {
        let mut merged = Merged::default();
        let applied = std::mem::take(&mut self.applied);
        let mut moved = HashSet::new();
        for spec in &file.pools {
            let pool = self.pools.entry(spec.name.clone()).or_default();
            pool.leaving = false;
        }
        // Losses first, so that an id or address that moved is free when it is added.
        for (name, before) in &applied {
            let spec = file.pools.iter().find(|spec| spec.name == *name);
            for old in before {
                let kept = spec.is_some_and(|spec| {
                    let mut list = spec.backends.iter();
                    list.any(|new| new.id == old.id && new.address == old.address)
                });
                let has_moved = kept && self.target_moved(name, old, targets);
                if !kept || has_moved {
                    let drain = spec.map(|spec| spec.settings.drain);
                    merged.drained.extend(self.lose(name, old, drain, now));
                }
                if has_moved {
                    // The name resolves elsewhere now: the file gained that backend anew.
                    moved.insert((name, &old.id));
                }
            }
        }
        for spec in &file.pools {
            let before = applied.get(&spec.name).map_or(&[][..], Vec::as_slice);
            for new in &spec.backends {
                let old = before
                    .iter()
                    .find(|old| old.id == new.id && old.address == new.address)
                    .filter(|old| !moved.contains(&(&spec.name, &old.id)));
                match old {
                    None => self.gain(&spec.name, new, targets, is_drained, now, &mut merged),
                    Some(old) if old.weight != new.weight => {
                        merged.reweighted += self.reweigh(&spec.name, new);
                    }
                    Some(_) => {}
                }
            }
        }
        for (name, model) in &mut self.pools {
            if file.pools.iter().any(|spec| spec.name == *name) {
                continue;
            }
            model.leaving = true;
            model.pause = None;
            for member in &mut model.members {
                if member.is_live() {
                    merged.drained.push(member.generation);
                }
                leave(member, None, now);
            }
        }
        // What was drained before the file lost it: no drain will end and have it forgotten.
        for model in self.pools.values_mut() {
            model.members.retain(|member| {
                let goes =
                    member.remove_when_drained && !merged.drained.contains(&member.generation);
                !(goes && is_drained(member.generation))
            });
        }
        self.pools
            .retain(|_, model| !(model.leaving && model.members.is_empty()));
        self.applied = file
            .pools
            .iter()
            .map(|spec| (spec.name.clone(), spec.backends.clone()))
            .collect();
        merged
    }

    fn target_moved(
        &self,
        pool: &PoolName,
        old: &BackendSpec,
        targets: &HashMap<Address, Target>,
    ) -> bool {
        let members = self.pools.get(pool).map_or(&[][..], |pool| &pool.members);
        let of_file = |m: &&Member| m.is_live() && m.origin == Origin::File;
        let mut live = members.iter().filter(of_file);
        let member = live.find(|m| m.id == old.id && m.address == old.address);
        match (member, targets.get(&old.address)) {
            (Some(member), Some(target)) => member.target != *target,
            _ => false,
        }
    }

    fn lose(
        &mut self,
        pool: &PoolName,
        old: &BackendSpec,
        drain: Option<DrainSpec>,
        now: UnixMillis,
    ) -> Option<Generation> {
        let members = &mut self.pools.get_mut(pool)?.members;
        let of_file = |member: &&mut Member| {
            member.origin == Origin::File && member.id == old.id && member.address == old.address
        };
        // Earlier generations that still drain go with it.
        let mut was_live = None;
        for member in members.iter_mut().filter(of_file) {
            if member.is_live() {
                was_live = Some(member.generation);
            }
            leave(member, drain, now);
        }
        was_live
    }

    fn gain(
        &mut self,
        pool: &PoolName,
        new: &BackendSpec,
        targets: &HashMap<Address, Target>,
        is_drained: &dyn Fn(Generation) -> bool,
        now: UnixMillis,
        merged: &mut Merged,
    ) {
        let Some(target) = targets.get(&new.address).cloned() else {
            merged.warnings.push(format!(
                "{pool}/{}: {} was not resolved",
                new.id, new.address
            ));
            return;
        };
        let member = NewMember {
            id: new.id.clone(),
            address: new.address.clone(),
            target,
            weight: new.weight,
            origin: Origin::File,
            intent: Intent::Active,
        };
        match self.add(pool, member, is_drained, now) {
            Ok(Added::New(generation)) => merged.added.push(generation),
            // Added by the API before; now the file has it too, and a later loss shall drain it.
            Ok(Added::Already(generation)) => {
                // In the file's spelling of the address, by which that loss will look for it.
                self.change(pool, generation, |member| {
                    member.origin = Origin::File;
                    member.address = new.address.clone();
                });
            }
            Err(refusal) => merged.warnings.push(format!(
                "{pool}/{}: kept as the API left it: {refusal}",
                new.id
            )),
        }
    }

    fn reweigh(&mut self, pool: &PoolName, new: &BackendSpec) -> usize {
        let mut changed = 0;
        let members = self.pools.get_mut(pool).map(|pool| &mut pool.members);
        for member in members.into_iter().flatten() {
            let is_it = member.is_live() && member.id == new.id && member.address == new.address;
            if is_it && member.weight != new.weight {
                member.weight = new.weight;
                changed += 1;
            }
        }
        changed
    }
}

fn leave(member: &mut Member, drain: Option<DrainSpec>, now: UnixMillis) {
    if member.is_live() {
        member.intent = Intent::Draining;
        member.since = now;
        member.drain = Some(drain.unwrap_or_default());
    }
    member.remove_when_drained = true;
}
