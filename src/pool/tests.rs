//! What a commit does to the gates.

use super::testing::{member, settings};
use super::*;
use crate::spec::PoolSpec;

fn web() -> PoolName {
    PoolName::parse("web").unwrap()
}

fn model(intent: Intent) -> Model {
    let pool = model::PoolModel {
        members: vec![member(1, intent), member(2, intent)],
        ..model::PoolModel::default()
    };
    Model {
        next_generation: 3,
        pools: [(web(), pool)].into(),
        applied: BTreeMap::new(),
    }
}

/// Two that drain, the second of which is sealed while a commit brings both back.
#[test]
fn a_commit_that_meets_a_sealed_one_brings_back_none() {
    let pools = Pools::new();
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
    pools.commit(&model(Intent::Active), Some(file)).unwrap();
    pools.commit(&model(Intent::Draining), None).unwrap();
    let snapshot = pools.load_full();
    let word = |generation| {
        let entry = snapshot.pool(&web()).unwrap().entry(generation);
        entry.unwrap().backend.word()
    };
    assert!(word(2).seal());
    let refused = pools.commit(&model(Intent::Active), None);
    assert_eq!(refused, Err(SealedMeanwhile(2)));
    assert!(word(1).read().is_draining(), "the first goes on draining");
    assert!(word(1).seal());
    let entries = &pools.load().pool(&web()).unwrap().entries.clone();
    assert!(entries.iter().all(|e| e.member.intent == Intent::Draining));
}
