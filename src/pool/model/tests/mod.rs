//! What the model promises.
//!
//! By subject: `operations`, the rules of add, find and intents, each by name; `merging`, those of a
//! file that comes in; `histories`, the header's invariants over random ones.

mod histories;
mod merging;
mod operations;

use std::collections::{HashMap, HashSet};

use super::*;
use crate::pool::merge::Merged;
use crate::pool::testing::settings;
use crate::spec::{PoolSpec, Topology};

pub(crate) use histories::any_model;

const NOW: UnixMillis = 1_760_000_000_000;

fn web() -> PoolName {
    PoolName::parse("web").unwrap()
}

fn id(text: &str) -> BackendId {
    BackendId::parse(text).unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn reference(text: &str) -> BackendRef {
    BackendRef::parse(text).unwrap()
}

/// `a=127.0.0.1:1` or `a=127.0.0.1:1*3` with a weight.
fn spec(text: &str) -> BackendSpec {
    let (name, rest) = text.split_once('=').unwrap();
    let (at, weight) = rest.split_once('*').unwrap_or((rest, "1"));
    BackendSpec {
        id: id(name),
        address: address(at),
        weight: Weight::new(weight.parse().unwrap()).unwrap(),
    }
}

fn file(pools: &[(&str, &[&str])]) -> Topology {
    let pools = pools.iter().map(|(name, backends)| PoolSpec {
        name: PoolName::parse(name).unwrap(),
        settings: settings(),
        backends: backends.iter().map(|text| spec(text)).collect(),
    });
    Topology {
        pools: pools.collect(),
        routes: Vec::new(),
    }
}

/// IP literals are their own targets; names are looked up in `names`.
fn targets(file: &Topology, names: &[(&str, &str)]) -> HashMap<Address, Target> {
    let backends = file.pools.iter().flat_map(|pool| &pool.backends);
    let resolve = |address: &Address| {
        let text = address.to_string();
        let name = names.iter().find(|(name, _)| *name == text);
        let at = name.map_or(text.as_str(), |(_, at)| at);
        at.parse().ok().map(Target::Tcp)
    };
    backends
        .filter_map(|backend| Some((backend.address.clone(), resolve(&backend.address)?)))
        .collect()
}

fn merge_names(model: &mut Model, file: &Topology, names: &[(&str, &str)]) -> Merged {
    let merged = model.merge(file, &targets(file, names), &|_| false, NOW);
    check(model);
    merged
}

fn merge(model: &mut Model, pools: &[(&str, &[&str])]) -> Merged {
    merge_names(model, &file(pools), &[])
}

fn with(pools: &[(&str, &[&str])]) -> Model {
    let mut model = Model {
        next_generation: 1,
        ..Model::default()
    };
    merge(&mut model, pools);
    model
}

fn new(text: &str) -> NewMember {
    let spec = spec(text);
    NewMember {
        target: Target::Tcp(spec.address.to_string().parse().unwrap()),
        id: spec.id,
        address: spec.address,
        weight: spec.weight,
        origin: Origin::Api,
        intent: Intent::Active,
    }
}

fn add(model: &mut Model, text: &str) -> Result<Added, Refusal> {
    let added = model.add(&web(), new(text), &|_| false, NOW);
    check(model);
    added
}

fn drain(model: &mut Model, generation: Generation) {
    let clocks = Some(DrainSpec::default());
    model.set_intent(&web(), generation, Intent::Draining, clocks, NOW);
}

/// `id@generation intent origin` of a pool's members, with `!` on those that go when drained.
fn shown(model: &Model, pool: &str) -> Vec<String> {
    let pool = model.pool(&PoolName::parse(pool).unwrap());
    let members = pool.map_or(&[][..], |pool| &pool.members);
    let show = |m: &Member| {
        let (intent, origin) = (m.intent.as_str(), m.origin.as_str());
        let goes = if m.remove_when_drained { "!" } else { "" };
        format!("{}@{} {intent}{goes} {origin}", m.id, m.generation)
    };
    members.iter().map(show).collect()
}

/// The header's invariants.
#[track_caller]
fn check(model: &Model) {
    let mut generations = HashSet::new();
    for (name, pool) in &model.pools {
        let (mut ids, mut targets) = (HashSet::new(), HashSet::new());
        for member in &pool.members {
            assert!(member.generation < model.next_generation, "{model:#?}");
            assert!(generations.insert(member.generation), "{model:#?}");
            if member.is_live() {
                assert!(ids.insert(&member.id), "{name}: {model:#?}");
                assert!(targets.insert(&member.target), "{name}: {model:#?}");
                assert!(!member.remove_when_drained && !pool.leaving, "{model:#?}");
            }
        }
        assert!(pool.members.len() <= MEMBERS_MAX);
        assert!(!(pool.leaving && pool.members.is_empty()), "{model:#?}");
    }
}
