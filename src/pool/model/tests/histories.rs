//! Any history of operations keeps what the header promises. Other tests take their models from here.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Add(NewMember, PoolName),
    Intent(Generation, Intent),
    Remove(Generation),
    Weigh(Generation, u64),
    Merge(Topology, u8),
}

fn any_pool() -> impl Strategy<Value = PoolName> {
    prop_oneof!["web", "api"].prop_map(|name| PoolName::parse(&name).unwrap())
}

/// Few ids and few addresses, so that they meet; some are names whose target depends on the step.
fn any_backend() -> impl Strategy<Value = BackendSpec> {
    (0..5u8, 0..8u8, 1..4u64).prop_map(|(number, at, weight)| BackendSpec {
        id: id(&format!("b{number}")),
        address: match at {
            0..4 => address(&format!("10.0.0.{at}:1")),
            4 => address("unix:/run/a.sock"),
            5 => address("[::1]:80"),
            at => address(&format!("app{at}:1")),
        },
        weight: Weight::new(weight).unwrap(),
    })
}

fn target_of(address: &Address, turn: u8) -> Target {
    match address {
        Address::Unix(path) => Target::Unix(path.clone()),
        Address::Tcp { host, .. } if host.starts_with("app") => {
            let last = (host.len() as u8 + turn) % 3;
            Target::Tcp(format!("10.0.0.{last}:1").parse().unwrap())
        }
        address => Target::Tcp(address.to_string().parse().unwrap()),
    }
}

fn any_file() -> impl Strategy<Value = Topology> {
    let backends = || prop::option::of(prop::collection::vec(any_backend(), 0..5));
    (backends(), backends()).prop_map(|pair| {
        let named = [("web", pair.0), ("api", pair.1)];
        let pools = named.into_iter().filter_map(|(name, backends)| {
            let mut backends = backends?;
            // As the configuration does: ids and addresses are unique in a pool.
            let (mut ids, mut addresses) = (HashSet::new(), HashSet::new());
            backends.retain(|b| ids.insert(b.id.clone()) && addresses.insert(b.address.clone()));
            Some(PoolSpec {
                name: PoolName::parse(name).unwrap(),
                settings: settings(),
                backends,
            })
        });
        Topology {
            pools: pools.collect(),
            routes: Vec::new(),
        }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let intent = prop_oneof![
        Just(Intent::Active),
        Just(Intent::Standby),
        Just(Intent::Draining)
    ];
    prop_oneof![
        3 => (any_backend(), any_pool(), any::<bool>(), 0..3u8).prop_map(|(b, pool, standby, turn)| {
            let intent = if standby { Intent::Standby } else { Intent::Active };
            let target = target_of(&b.address, turn);
            let origin = Origin::Api;
            let (id, address, weight) = (b.id, b.address, b.weight);
            Step::Add(NewMember { id, address, target, weight, origin, intent }, pool)
        }),
        3 => (0..30u64, intent).prop_map(|(n, intent)| Step::Intent(n, intent)),
        1 => (0..30u64).prop_map(Step::Remove),
        1 => (0..30u64, 1..9u64).prop_map(|(n, weight)| Step::Weigh(n, weight)),
        2 => (any_file(), 0..3u8).prop_map(|(file, turn)| Step::Merge(file, turn)),
    ]
}

/// Every third generation counts as drained, if it drains.
fn is_drained(generation: Generation) -> bool {
    generation.is_multiple_of(3)
}

/// As control does: a draining one comes back only while nobody has its id or target, nor into a
/// pool that leaves.
fn may_come_back(pool: &PoolModel, member: &Member) -> bool {
    let mut others = pool
        .members
        .iter()
        .filter(|m| m.generation != member.generation);
    let free = |m: &Member| !m.is_live() || (m.id != member.id && m.target != member.target);
    !pool.leaving && others.all(free)
}

fn take(model: &mut Model, step: Step) {
    let of = |model: &Model, generation| {
        let mut pools = model.pools.iter();
        let has = |pool: &PoolModel| pool.members.iter().any(|m| m.generation == generation);
        pools
            .find(|(_, pool)| has(pool))
            .map(|(name, _)| name.clone())
    };
    match step {
        Step::Add(new, pool) => {
            let before = model.clone();
            if model.add(&pool, new, &is_drained, NOW).is_err() {
                assert_eq!(*model, before, "a refusal changes nothing");
            }
        }
        Step::Intent(n, intent) => {
            let Some(pool) = of(model, n) else { return };
            let member = model.member(&pool, n).unwrap();
            if intent == Intent::Draining || may_come_back(&model.pools[&pool], member) {
                let drain = (intent == Intent::Draining).then(DrainSpec::default);
                model.set_intent(&pool, n, intent, drain, NOW + n);
            }
        }
        Step::Remove(n) => {
            if let Some(pool) = of(model, n) {
                model.remove(&pool, n);
            }
        }
        Step::Weigh(n, weight) => {
            if let Some(pool) = of(model, n) {
                let weight = Weight::new(weight).unwrap();
                model.change(&pool, n, |member| member.weight = weight);
            }
        }
        Step::Merge(file, turn) => {
            let backends = file.pools.iter().flat_map(|pool| &pool.backends);
            let targets = backends
                .map(|b| (b.address.clone(), target_of(&b.address, turn)))
                .collect();
            model.merge(&file, &targets, &is_drained, NOW);
            // At once again it only forgets: the file has been applied.
            let live = |model: &Model| -> Vec<Member> {
                let members = model.pools.values().flat_map(|pool| &pool.members);
                members.filter(|member| member.is_live()).cloned().collect()
            };
            let after = live(model);
            let again = model.merge(&file, &targets, &is_drained, NOW);
            if again.drained.is_empty() {
                assert_eq!((live(model), again.added), (after, vec![]));
            }
        }
    }
}

/// Any model that operations can lead to.
pub(crate) fn any_model() -> impl Strategy<Value = Model> {
    prop::collection::vec(any_step(), 0..25).prop_map(|steps| {
        let mut model = with(&[("web", &[])]);
        steps.into_iter().for_each(|step| take(&mut model, step));
        model
    })
}

proptest! {
    #[test]
    fn any_history_keeps_what_the_header_promises(
        steps in prop::collection::vec(any_step(), 0..40),
    ) {
        let mut model = with(&[("web", &[]), ("api", &[])]);
        for step in steps {
            let next = model.next_generation;
            take(&mut model, step);
            check(&model);
            prop_assert!(model.next_generation >= next);
        }
        let text = serde_json::to_string(&model).unwrap();
        prop_assert_eq!(serde_json::from_str::<Model>(&text).unwrap(), model);
    }
}
