//! Pools, members and backends for tests.

use super::*;
use crate::spec::{
    Address, BackendId, DrainSpec, HealthSpec, HoldSpec, Origin, ProbeKind, RolloutSpec, Target,
    TimeoutSpec, Weight,
};

pub(crate) fn settings() -> PoolSettings {
    PoolSettings {
        balance: crate::spec::Balance::LeastRequests,
        health: HealthSpec::new(ProbeKind::Tcp),
        drain: DrainSpec::default(),
        hold: HoldSpec::default(),
        timeouts: TimeoutSpec::default(),
        rollout: RolloutSpec::default(),
    }
}

pub(crate) fn member(generation: Generation, intent: Intent) -> Member {
    let port = u16::try_from(generation).unwrap();
    let text = format!("127.0.0.1:{port}");
    Member {
        id: BackendId::parse(&format!("b{generation}")).unwrap(),
        generation,
        address: Address::parse(&text).unwrap(),
        target: Target::Tcp(text.parse().unwrap()),
        weight: Weight::default(),
        origin: Origin::Api,
        intent,
        since: 0,
        drain: None,
        drained: None,
        remove_when_drained: false,
    }
}

pub(crate) fn backend(generation: Generation) -> Arc<Backend> {
    let pool = PoolName::parse("web").unwrap();
    let member = member(generation, Intent::Active);
    Arc::new(new_backend(&pool, &member, Admission::Added, Gate::Open))
}
