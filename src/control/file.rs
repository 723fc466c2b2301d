//! What the file says: the start, and the reload.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::{Actor, Control, Stop, now_millis};
use crate::backend::{Admission, Generation};
use crate::events::{About, Happening};
use crate::outcome::Outcome;
use crate::pool::FileSettings;
use crate::pool::merge::Merged;
use crate::pool::model::{Member, Model, Refusal};
use crate::report::Answer;
use crate::rollout::steps;
use crate::spec::{Address, PoolName, Target, Topology};

/// Names resolved at once while reading a file.
const RESOLVES_MAX: usize = 16;

impl Control {
    /// Brings up the pools of the state and the file; nothing listens yet. Says why not, in words.
    pub async fn start(
        self: &Arc<Self>,
        stored: Option<Model>,
        file: &Topology,
    ) -> Result<Vec<String>, String> {
        let mut model = self.model.lock().await;
        let mut state = stored.unwrap_or_default();
        let before = state.clone();
        let resumed = state.resume_expired(now_millis());
        // Before the file comes in, so that what it gained is not taken for what is given up.
        steps::settle(&mut state, now_millis());
        let known = known_targets(&state);
        let (targets, mut warnings) = self.resolve_all(file, &known).await?;
        let merged = self
            .apply(&mut model, state, file, &targets, Admission::AtStart)
            .await
            .map_err(|stop| stop.into_answer(None).message)?;
        self.tell_added(&model, &merged, None);
        self.tell_settled(&before, &model);
        // Nobody else is here yet, so it does not matter that these are known only now.
        for (pool, member) in members(&model).filter(|(_, member)| !member.is_live()) {
            if let Some(drained) = &member.drained {
                self.know_drained(pool, member, drained);
                continue;
            }
            self.prepare_drain(pool, member, member.drain.unwrap_or_default());
            self.start_drain(pool, member);
        }
        self.resume_courses(&model);
        for pool in resumed.iter().filter(|pool| model.pools.contains_key(pool)) {
            let happening = Happening::Resumed {
                cause: "ttl",
                held: 0,
            };
            self.emit_of_pool(None, pool, happening);
        }
        self.go_on_paused(&model);
        warnings.extend(merged.warnings);
        Ok(warnings)
    }

    /// Reads the file again and merges in what it changed; all or nothing.
    pub async fn reload(self: &Arc<Self>, actor: Actor) -> Answer {
        let control = Arc::clone(self);
        self.run(async move { control.reload_now(&actor).await })
            .await
    }

    async fn reload_now(self: &Arc<Self>, actor: &Actor) -> Answer {
        let about = About {
            actor: Some(actor.0.clone()),
            ..About::default()
        };
        // One reload at a time, from the reading on: an older file must not be applied last. The
        // change lock is taken only when names are resolved, which may take seconds.
        let _reloading = self.reloading.lock().await;
        let rejected = |problems: usize, text: String| {
            let about = about.clone();
            self.events
                .emit(about, Happening::ReloadRejected { problems });
            Answer::new(Outcome::Rejected, text).hint("the running configuration was not changed")
        };
        let (file, mut warnings) = match self.source.read() {
            Ok(read) => read,
            Err(problem) => return rejected(problem.problems, problem.text),
        };
        let known = HashMap::new();
        let targets = match self.resolve_all(&file, &known).await {
            Ok((targets, _)) => targets,
            Err(text) => return rejected(1, text),
        };
        let mut model = self.model.lock().await;
        let state = model.clone();
        let merged = self
            .apply(&mut model, state, &file, &targets, Admission::Added)
            .await;
        let merged = match merged {
            Ok(merged) => merged,
            Err(stop) => return stop.into_answer(None),
        };
        let summary = merged.summary();
        let happening = Happening::Reloaded {
            summary: summary.clone(),
        };
        self.events.emit(about, happening);
        self.tell_added(&model, &merged, Some(actor));
        for (pool, member) in of(&model, &merged.drained) {
            self.start_drain(pool, member);
        }
        self.source.applied();
        let mut answer = Answer::new(Outcome::Done, format!("reloaded: {summary}"));
        warnings.extend(merged.warnings);
        answer.warnings = warnings;
        answer
    }

    async fn apply(
        &self,
        model: &mut Model,
        mut next: Model,
        file: &Topology,
        targets: &HashMap<Address, Target>,
        admission: Admission,
    ) -> Result<Merged, Stop> {
        let is_drained = |generation| self.is_drained(generation);
        next.next_generation = next.next_generation.max(1);
        let merged = next.merge(file, targets, &is_drained, now_millis());
        match admission {
            Admission::AtStart => {
                forget_lost(&mut next);
                // Once more: the file may have lost some that rollouts are about.
                steps::settle(&mut next, now_millis());
            }
            Admission::Added => unhindered(model, &next)?,
        }
        let settings = FileSettings {
            topology: file,
            admission,
        };
        let (before, paused) = (model.clone(), self.paused_pools());
        for (pool, member) in of(&next, &merged.drained) {
            self.prepare_drain(pool, member, member.drain.unwrap_or_default());
        }
        if let Err(stop) = self.commit(model, next, Some(settings)).await {
            let mut drains = self.drains.lock().expect("drains lock");
            drains.retain(|generation, _| !merged.drained.contains(generation));
            return Err(stop);
        }
        self.tell_forgotten(None, &before, model);
        self.tell_left(&paused, model);
        Ok(merged)
    }

    fn tell_added(&self, model: &Model, merged: &Merged, actor: Option<&Actor>) {
        for (pool, member) in of(model, &merged.added) {
            let happening = Happening::Added {
                address: member.address.to_string(),
                intent: member.intent.as_str(),
            };
            self.emit(actor, member, pool, happening);
        }
    }

    /// Resolves every address of the file. A name that does not resolve is a problem, unless
    /// `known` has what it resolved to before.
    async fn resolve_all(
        &self,
        file: &Topology,
        known: &HashMap<Address, Target>,
    ) -> Result<(HashMap<Address, Target>, Vec<String>), String> {
        let addresses: Vec<(String, &Address)> = file
            .pools
            .iter()
            .flat_map(|pool| {
                let of_pool = pool.backends.iter();
                of_pool
                    .map(move |backend| (format!("{}/{}", pool.name, backend.id), &backend.address))
            })
            .collect();
        let (mut targets, mut warnings, mut problems) = (HashMap::new(), Vec::new(), Vec::new());
        for chunk in addresses.chunks(RESOLVES_MAX) {
            let resolving = chunk
                .iter()
                .map(|(_, address)| self.resolver.resolve(address));
            let resolved = join_all(resolving).await;
            for ((name, address), result) in chunk.iter().zip(resolved) {
                match (result, known.get(address)) {
                    (Ok(target), _) => {
                        targets.insert((*address).clone(), target);
                    }
                    (Err(cause), Some(target)) => {
                        warnings.push(format!(
                            "{name}: {address} could not be resolved ({cause}); using {target} as before"
                        ));
                        targets.insert((*address).clone(), target.clone());
                    }
                    (Err(cause), None) => {
                        problems.push(format!("{name}: {address} could not be resolved: {cause}"));
                    }
                }
            }
        }
        match problems.is_empty() {
            true => Ok((targets, warnings)),
            false => Err(problems.join("\n")),
        }
    }
}

/// A file that changes what a rollout under way is about is refused as a whole.
fn unhindered(before: &Model, next: &Model) -> Result<(), Refusal> {
    for (pool, of) in &before.pools {
        let Some(rollout) = &of.rollout else {
            continue;
        };
        for named in rollout.new.iter().chain(&rollout.old) {
            let member = |model: &Model| model.member(pool, named.generation).cloned();
            if member(before) != member(next) {
                before.free(pool, named.generation)?;
            }
        }
    }
    Ok(())
}

/// What the file lost is drained and removed; a process that just started holds nothing of it.
fn forget_lost(model: &mut Model) {
    for pool in model.pools.values_mut() {
        pool.members.retain(|member| !member.remove_when_drained);
    }
    model.pools.retain(|_, pool| !pool.leaving);
}

/// The members of these generations.
fn of<'a>(
    model: &'a Model,
    generations: &'a [Generation],
) -> impl Iterator<Item = (&'a PoolName, &'a Member)> {
    members(model).filter(|(_, member)| generations.contains(&member.generation))
}

fn members(model: &Model) -> impl Iterator<Item = (&PoolName, &Member)> {
    model
        .pools
        .iter()
        .flat_map(|(name, pool)| pool.members.iter().map(move |member| (name, member)))
}

fn known_targets(model: &Model) -> HashMap<Address, Target> {
    members(model)
        .map(|(_, member)| (member.address.clone(), member.target.clone()))
        .collect()
}
