//! Pools of any size, without sockets, probes or a control behind them.

use std::sync::Arc;

use tidegate::backend::{Admission, Backend, Exchange, Gate, Health, Identity};
use tidegate::pool::model::{Member, Model, PoolModel};
use tidegate::pool::{FileSettings, Pools};
use tidegate::spec::{
    Address, BackendId, Balance, DrainSpec, HealthSpec, HoldSpec, HostPattern, Intent, Origin,
    PoolName, PoolSettings, PoolSpec, ProbeKind, RolloutSpec, RouteSpec, Target, TimeoutSpec,
    Topology, Weight,
};

/// Pool sizes: one, those of most deployments, and the largest that are expected.
pub(crate) const SIZES: [u16; 4] = [1, 8, 64, 256];

/// Up to twice the cores of a small machine.
pub(crate) const THREADS: [usize; 3] = [1, 2, 4];

/// The only pool.
pub(crate) fn web() -> PoolName {
    PoolName::parse("web").expect("a name")
}

pub(crate) fn exchange() -> Arc<Exchange> {
    Arc::new(Exchange::new("GET", "/", None))
}

/// A backend that takes claims.
pub(crate) fn backend(number: u16) -> Arc<Backend> {
    let member = member(number);
    let identity = Identity {
        pool: web(),
        id: member.id,
        generation: member.generation,
        address: member.address,
        target: member.target,
    };
    let backend = Backend::new(identity, Admission::Added, Gate::Open);
    backend.set_health(Health::Healthy);
    Arc::new(backend)
}

/// The model of one pool with that many active backends.
pub(crate) fn model(size: u16) -> Model {
    let pool = PoolModel {
        members: (1..=size).map(member).collect(),
        ..PoolModel::default()
    };
    Model {
        next_generation: u64::from(size) + 1,
        pools: [(web(), pool)].into(),
        ..Model::default()
    }
}

/// That pool, published, all of it healthy.
pub(crate) fn pools(balance: Balance, size: u16) -> Arc<Pools> {
    let pools = Arc::new(Pools::new());
    let topology = topology(balance);
    let file = FileSettings {
        topology: &topology,
        admission: Admission::AtStart,
    };
    pools
        .commit(&model(size), Some(file))
        .expect("nothing is sealed");
    for (_, entry) in pools.load().entries() {
        entry.backend.set_health(Health::Healthy);
    }
    pools.refresh(&web());
    pools
}

fn topology(balance: Balance) -> Topology {
    let settings = PoolSettings {
        balance,
        health: HealthSpec::new(ProbeKind::Tcp),
        drain: DrainSpec::default(),
        hold: HoldSpec::default(),
        timeouts: TimeoutSpec::default(),
        rollout: RolloutSpec::default(),
    };
    Topology {
        pools: vec![PoolSpec {
            name: web(),
            settings,
            backends: Vec::new(),
        }],
        routes: vec![RouteSpec {
            host: HostPattern::Any,
            path: "/".to_owned(),
            pool: web(),
        }],
    }
}

fn member(number: u16) -> Member {
    let address = format!("127.0.0.1:{}", 10_000 + number);
    Member {
        id: BackendId::parse(&format!("web-{number}")).expect("an id"),
        generation: number.into(),
        address: Address::parse(&address).expect("an address"),
        target: Target::Tcp(address.parse().expect("an address")),
        weight: Weight::default(),
        origin: Origin::Api,
        intent: Intent::Active,
        since: 0,
        drain: None,
        drained: None,
        remove_when_drained: false,
    }
}
