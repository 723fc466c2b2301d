//! How many requests go to which side, and whose.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::model::{Member, Model};
use super::super::rollout::{Kind, Named, Rollout, Timings};
use super::super::testing::{member, settings};
use super::super::{FileSettings, NoClaim, Pools};
use super::*;
use crate::backend::{Admission, Exchange, Gate, Health};
use crate::spec::{DrainSpec, Intent, PoolName, PoolSpec, RolloutSpec, Topology};

mod clients;
mod counts;
mod sides;

fn web() -> PoolName {
    PoolName::parse("web").unwrap()
}

/// So many hundredths of a percent.
fn share(steps: u16) -> Share {
    Share::parse(&format!("{}.{:02}%", steps / 100, steps % 100)).unwrap()
}

/// A pool whose generations 1 to 9 are old and 11 to 19 are new.
struct Rig {
    pools: Pools,
    model: Model,
}

impl Rig {
    /// All healthy.
    fn new(members: &[(Generation, Intent)]) -> Self {
        let mut rig = Self {
            pools: Pools::new(),
            model: Model::default(),
        };
        let of_web = PoolModel {
            members: members.iter().map(|(n, i)| member(*n, *i)).collect(),
            ..PoolModel::default()
        };
        rig.model.pools.insert(web(), of_web);
        rig.reload();
        for (generation, _) in members {
            rig.set_health(*generation, Health::Healthy);
        }
        rig
    }

    /// Two old ones, two new ones, and a canary.
    fn with_canary(share: &str) -> Self {
        let mut rig = Self::new(&[1, 2, 11, 12].map(|generation| (generation, Intent::Active)));
        rig.canary(share);
        rig
    }

    fn reload(&self) {
        let topology = Topology {
            pools: vec![PoolSpec {
                name: web(),
                settings: settings(),
                backends: Vec::new(),
            }],
            routes: Vec::new(),
        };
        let file = FileSettings {
            topology: &topology,
            admission: Admission::Added,
        };
        self.pools.commit(&self.model, Some(file)).unwrap();
    }

    fn change(&mut self, change: impl FnOnce(&mut PoolModel)) {
        change(self.model.pools.get_mut(&web()).unwrap());
        self.pools.commit(&self.model, None).unwrap();
    }

    fn phase(&mut self, phase: Phase, sticky: Option<Sticky>) {
        self.change(|pool| pool.rollout = Some(rollout(&pool.members, phase, sticky)));
    }

    /// Opens a canary, or changes its share.
    fn canary(&mut self, share: &str) {
        self.phase(Phase::Canary(Share::parse(share).unwrap()), None);
    }

    fn backend(&self, generation: Generation) -> Arc<Backend> {
        let snapshot = self.pools.load();
        let entry = snapshot.pool(&web()).unwrap().entry(generation).unwrap();
        Arc::clone(&entry.backend)
    }

    fn set_health(&self, generation: Generation, health: Health) {
        self.backend(generation).set_health(health);
        self.pools.refresh(&web());
    }

    fn claim(&self, tried: &[Generation], draw: &mut Draw) -> Result<Generation, NoClaim> {
        let exchange = Arc::new(Exchange::new("GET", "/", None));
        let claim = self.pools.claim(&web(), &exchange, tried, draw)?;
        Ok(claim.backend().generation())
    }

    /// Where a request whose client is not known goes.
    fn send(&self) -> Generation {
        self.claim(&[], &mut Draw::default()).unwrap()
    }

    /// So many requests, by generation.
    fn counts(&self, requests: usize) -> BTreeMap<Generation, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..requests {
            *counts.entry(self.send()).or_default() += 1;
        }
        counts
    }

    /// So many requests, those of the canary.
    fn canaries(&self, requests: usize) -> usize {
        (0..requests).filter(|_| is_new(self.send())).count()
    }
}

fn is_new(generation: Generation) -> bool {
    generation > 10
}

/// One under way: what is above 10 is new.
pub(crate) fn rollout(members: &[Member], phase: Phase, sticky: Option<Sticky>) -> Rollout {
    let (new, old) = members
        .iter()
        .map(|member| Named {
            id: member.id.clone(),
            generation: member.generation,
            address: member.address.clone(),
            target: member.target.clone(),
            was_here: false,
            ended: None,
        })
        .partition(|named| is_new(named.generation));
    Rollout {
        number: 1,
        key: None,
        actor: "tester".into(),
        kind: Kind::Rollout,
        begun: 0,
        new,
        old,
        spec: RolloutSpec {
            sticky,
            ..RolloutSpec::default()
        },
        canary: None,
        keep_standby: false,
        drain: DrainSpec::default(),
        min_eligible: 1,
        phase,
        phase_since: 0,
        timings: Timings::default(),
    }
}
