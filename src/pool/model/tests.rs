//! What the model promises: the rules of add, find and merge, each by name, and the header's
//! invariants over random histories.

use crate::pool::merge::Merged;
use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::pool::testing::settings;
use crate::spec::{PoolSpec, Topology};

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

#[test]
fn merge_adds_what_the_file_gained_and_drains_what_it_lost() {
    let mut model = with(&[("web", &["a=10.0.0.1:1", "b=10.0.0.2:1"])]);
    assert_eq!(shown(&model, "web"), ["a@1 active file", "b@2 active file"]);
    let merged = merge(&mut model, &[("web", &["b=10.0.0.2:1", "c=10.0.0.3:1"])]);
    assert_eq!((merged.added, merged.drained), (vec![3], vec![1]));
    assert_eq!(
        shown(&model, "web"),
        ["a@1 draining! file", "b@2 active file", "c@3 active file"]
    );
    let same = merge(&mut model, &[("web", &["b=10.0.0.2:1", "c=10.0.0.3:1"])]);
    assert_eq!(same, Merged::default());
}

#[test]
fn merge_sets_a_weight_the_file_changed_and_leaves_one_the_api_changed() {
    let mut model = with(&[("web", &["a=10.0.0.1:1*2", "b=10.0.0.2:1*2"])]);
    let nine = Weight::new(9).unwrap();
    for generation in [1, 2] {
        model.change(&web(), generation, |member| member.weight = nine);
    }
    let merged = merge(
        &mut model,
        &[("web", &["a=10.0.0.1:1*3", "b=10.0.0.2:1*2"])],
    );
    assert_eq!(merged.reweighted, 1);
    let weights = [1, 2].map(|n| model.member(&web(), n).unwrap().weight.as_u32());
    assert_eq!(weights, [3, 9]);
}

#[test]
fn merge_leaves_what_the_api_added_and_what_it_drained() {
    let mut model = with(&[("web", &["a=10.0.0.1:1"])]);
    add(&mut model, "x=10.0.0.9:1").unwrap();
    drain(&mut model, 1);
    let merged = merge(&mut model, &[("web", &["a=10.0.0.1:1", "b=10.0.0.2:1"])]);
    assert_eq!((merged.added, merged.drained), (vec![3], vec![]));
    assert_eq!(
        shown(&model, "web"),
        ["a@1 draining file", "x@2 active api", "b@3 active file"]
    );
}

#[test]
fn merge_makes_a_new_generation_of_an_id_whose_address_moved_even_to_one_just_freed() {
    let mut model = with(&[("web", &["a=10.0.0.1:1", "b=10.0.0.2:1"])]);
    let merged = merge(&mut model, &[("web", &["a=10.0.0.2:1", "b=10.0.0.1:1"])]);
    assert_eq!((merged.added, merged.drained), (vec![3, 4], vec![1, 2]));
    assert_eq!(merged.warnings, Vec::<String>::new());
}

#[test]
fn merge_makes_a_new_generation_when_a_name_resolves_elsewhere() {
    let mut model = with(&[]);
    let file = file(&[("web", &["a=app:80"])]);
    merge_names(&mut model, &file, &[("app:80", "10.0.0.1:80")]);
    let same = merge_names(&mut model, &file, &[("app:80", "10.0.0.1:80")]);
    assert_eq!(same, Merged::default());
    let moved = merge_names(&mut model, &file, &[("app:80", "10.0.0.2:80")]);
    assert_eq!((moved.added, moved.drained), (vec![2], vec![1]));
}

/// Was: a moved name was added before later losses were taken, met its new target still live there,
/// and stayed drained.
#[test]
fn names_that_swap_or_take_over_an_address_are_all_there_after_the_merge() {
    let mut model = with(&[]);
    let swap = file(&[("web", &["a=one:80", "b=two:80"])]);
    merge_names(
        &mut model,
        &swap,
        &[("one:80", "10.0.0.1:80"), ("two:80", "10.0.0.2:80")],
    );
    let merged = merge_names(
        &mut model,
        &swap,
        &[("one:80", "10.0.0.2:80"), ("two:80", "10.0.0.1:80")],
    );
    assert_eq!((merged.added, merged.drained), (vec![3, 4], vec![1, 2]));
    assert_eq!(merged.warnings, Vec::<String>::new());
    let only_a = file(&[("web", &["a=one:80"])]);
    let merged = merge_names(&mut model, &only_a, &[("one:80", "10.0.0.1:80")]);
    assert_eq!((merged.added, merged.drained), (vec![5], vec![3, 4]));
}

/// Was: it became the file's, and the reload after that drained it.
#[test]
fn what_the_api_put_in_the_place_of_a_name_stays_when_the_name_resolves_elsewhere() {
    let mut model = with(&[]);
    let file = file(&[("web", &["a=app:80"])]);
    merge_names(&mut model, &file, &[("app:80", "10.0.0.1:80")]);
    model.remove(&web(), 1);
    let spec = spec("a=app:80");
    let again = NewMember {
        address: spec.address,
        ..new("a=10.0.0.1:80")
    };
    model.add(&web(), again, &|_| false, NOW).unwrap();
    let moved = merge_names(&mut model, &file, &[("app:80", "10.0.0.2:80")]);
    assert_eq!(moved, Merged::default());
    assert_eq!(shown(&model, "web"), ["a@2 active api"]);
}

#[test]
fn a_pool_the_file_lost_leaves_with_its_last_member_and_may_come_back() {
    let both: &[(&str, &[&str])] = &[("web", &["a=10.0.0.1:1"]), ("api", &["b=10.0.0.2:1"])];
    let mut model = with(both);
    add(&mut model, "x=10.0.0.9:1").unwrap();
    let merged = merge(&mut model, &both[1..]);
    assert_eq!(merged.drained, [1, 3]);
    assert_eq!(
        shown(&model, "web"),
        ["a@1 draining! file", "x@3 draining! api"]
    );
    let refused = add(&mut model, "y=10.0.0.8:1");
    assert_eq!(refused, Err(Refusal::PoolIsLeaving(web())));
    let merged = merge(&mut model, both);
    assert_eq!(merged.added, [4]);
    add(&mut model, "y=10.0.0.8:1").unwrap();
    merge(&mut model, &both[1..]);
    for generation in [1, 3, 4, 5] {
        assert!(model.pools.contains_key(&web()));
        model.remove(&web(), generation);
    }
    assert!(!model.pools.contains_key(&web()));
}

/// Was: a member drained by the API before the file lost it had no drain left to forget it, so it
/// and its leaving pool stayed for ever.
#[test]
fn what_was_drained_before_the_file_lost_it_is_forgotten_at_once() {
    let mut model = with(&[("web", &["a=10.0.0.1:1", "b=10.0.0.2:1"])]);
    add(&mut model, "x=10.0.0.9:1").unwrap();
    drain(&mut model, 1);
    drain(&mut model, 3);
    let lost = file(&[("web", &["b=10.0.0.2:1"])]);
    model.merge(&lost, &targets(&lost, &[]), &|n| n == 1 || n == 3, NOW);
    assert_eq!(
        shown(&model, "web"),
        ["b@2 active file", "x@3 draining api"]
    );
    // At a start everything counts as drained; what only now begins to drain is kept until told.
    let none = file(&[]);
    let merged = model.merge(&none, &HashMap::new(), &|_| true, NOW);
    assert_eq!(merged.drained, [2]);
    assert_eq!(shown(&model, "web"), ["b@2 draining! file"]);
}

/// Was: of several generations of one id only the newest was marked.
#[test]
fn earlier_generations_that_still_drain_go_with_the_one_the_file_lost() {
    let mut model = with(&[("web", &["a=10.0.0.1:1"])]);
    drain(&mut model, 1);
    let mut again = new("a=10.0.0.1:1");
    again.origin = Origin::File;
    model.add(&web(), again, &|_| false, NOW).unwrap();
    let merged = merge(&mut model, &[("web", &[])]);
    assert_eq!(merged.drained, [2]);
    assert_eq!(
        shown(&model, "web"),
        ["a@1 draining! file", "a@2 draining! file"]
    );
}

#[test]
fn an_id_live_by_the_api_with_another_address_is_kept_with_a_warning() {
    let mut model = with(&[("web", &[])]);
    add(&mut model, "a=10.0.0.9:1").unwrap();
    let merged = merge(&mut model, &[("web", &["a=10.0.0.1:1", "b=10.0.0.9:1"])]);
    assert_eq!(
        merged.warnings,
        [
            "web/a: kept as the API left it: a is live at 10.0.0.9:1; drain it first, or use another id",
            "web/b: kept as the API left it: 10.0.0.9:1 is live as a",
        ]
    );
    assert_eq!(shown(&model, "web"), ["a@1 active api"]);
}

/// Was: with another spelling of the address, the later loss did not find the member.
#[test]
fn what_the_api_added_becomes_the_files_once_it_is_named_there_and_is_lost_with_it() {
    let mut model = with(&[("web", &[])]);
    add(&mut model, "a=10.0.0.1:1").unwrap();
    add(&mut model, "b=10.0.0.2:1").unwrap();
    let names = [("app:1", "10.0.0.2:1")];
    let both = file(&[("web", &["a=10.0.0.1:1", "b=app:1"])]);
    let merged = merge_names(&mut model, &both, &names);
    assert_eq!(merged, Merged::default());
    assert_eq!(shown(&model, "web"), ["a@1 active file", "b@2 active file"]);
    let merged = merge_names(&mut model, &file(&[("web", &[])]), &names);
    assert_eq!(merged.drained, [1, 2]);
}

#[test]
fn an_address_that_was_not_resolved_is_a_warning_and_changes_nothing() {
    let mut model = with(&[("web", &[])]);
    let merged = merge_names(&mut model, &file(&[("web", &["a=app:80"])]), &[]);
    assert_eq!(merged.warnings, ["web/a: app:80 was not resolved"]);
    assert_eq!(shown(&model, "web"), Vec::<String>::new());
}

#[test]
fn adding_what_is_live_there_is_a_no_op_and_a_live_id_or_address_is_refused() {
    let mut model = with(&[("web", &["a=10.0.0.1:1"])]);
    let before = model.clone();
    assert_eq!(add(&mut model, "a=10.0.0.1:1*7"), Ok(Added::Already(1)));
    let refused = add(&mut model, "a=10.0.0.2:1").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a is live at 10.0.0.1:1; drain it first, or use another id"
    );
    let refused = add(&mut model, "b=10.0.0.1:1").unwrap_err();
    assert_eq!(refused.to_string(), "10.0.0.1:1 is live as a");
    let nowhere = PoolName::parse("nowhere").unwrap();
    let refused = model.add(&nowhere, new("a=10.0.0.1:1"), &|_| false, NOW);
    assert_eq!(refused, Err(Refusal::UnknownPool("nowhere".into())));
    assert_eq!(model, before);
    model.set_intent(&web(), 1, Intent::Standby, None, NOW);
    assert_eq!(add(&mut model, "a=10.0.0.1:1"), Ok(Added::Already(1)));
}

#[test]
fn a_drained_old_generation_is_forgotten_and_a_draining_one_is_addressed_by_its_number() {
    let mut model = with(&[("web", &["a=10.0.0.1:1"])]);
    drain(&mut model, 1);
    assert_eq!(add(&mut model, "a=10.0.0.2:1"), Ok(Added::New(2)));
    let generation = |text| Ok(model.find(&web(), &reference(text))?.generation);
    assert_eq!(generation("a"), Ok(2));
    assert_eq!(generation("a@1"), Ok(1));
    let unknown = generation("a@3").map_err(|refusal: Refusal| refusal.to_string());
    assert_eq!(unknown, Err("pool \"web\" has no backend \"a@3\"".into()));
    drain(&mut model, 2);
    let added = model.add(&web(), new("b=10.0.0.1:1"), &|n| n == 1, NOW);
    assert_eq!(
        added,
        Ok(Added::New(3)),
        "its address frees a drained one too"
    );
    assert_eq!(shown(&model, "web"), ["a@2 draining api", "b@3 active api"]);
}

#[test]
fn find_prefers_the_live_one_and_then_the_newest() {
    let mut model = with(&[("web", &["a=10.0.0.1:1"])]);
    drain(&mut model, 1);
    add(&mut model, "a=10.0.0.2:1").unwrap();
    drain(&mut model, 2);
    let found = |model: &Model| model.find(&web(), &reference("a")).unwrap().generation;
    assert_eq!(found(&model), 2);
    model.set_intent(&web(), 1, Intent::Standby, None, NOW);
    assert_eq!(found(&model), 1);
    assert!(matches!(
        model.find(&web(), &reference("b")),
        Err(Refusal::UnknownBackend { .. })
    ));
}

#[test]
fn a_full_pool_refuses_without_change_and_takes_the_place_of_a_drained_one() {
    let mut model = with(&[("web", &[])]);
    for number in 0..MEMBERS_MAX {
        let text = format!("b{number}=10.0.{}.{}:1", number / 200, number % 200);
        add(&mut model, &text).unwrap();
    }
    let before = model.clone();
    assert_eq!(add(&mut model, "x=10.1.0.1:1"), Err(Refusal::PoolIsFull));
    assert_eq!(model, before);
    drain(&mut model, 1);
    assert_eq!(add(&mut model, "b0=10.1.0.1:1"), Err(Refusal::PoolIsFull));
    let added = model.add(&web(), new("b0=10.1.0.1:1"), &|n| n == 1, NOW);
    assert_eq!(added, Ok(Added::New(MEMBERS_MAX as u64 + 1)));
    check(&model);
}

#[test]
fn lives_elsewhere_names_the_other_pools_in_which_a_target_is_live() {
    let model = with(&[
        ("web", &["a=10.0.0.1:1"]),
        ("api", &["x=10.0.0.1:1"]),
        ("old", &["y=10.0.0.1:1", "z=10.0.0.2:1"]),
    ]);
    let target = Target::Tcp("10.0.0.1:1".parse().unwrap());
    assert_eq!(model.lives_elsewhere(&web(), &target), ["api/x", "old/y"]);
    let mut model = model;
    let old = PoolName::parse("old").unwrap();
    model.set_intent(&old, 3, Intent::Draining, None, NOW);
    assert_eq!(model.lives_elsewhere(&web(), &target), ["api/x"]);
}

#[test]
fn restoring_an_intent_takes_back_that_it_goes() {
    let mut model = with(&[("web", &["a=10.0.0.1:1"])]);
    merge(&mut model, &[("web", &[])]);
    assert_eq!(shown(&model, "web"), ["a@1 draining! file"]);
    model.set_intent(&web(), 1, Intent::Active, None, NOW + 1);
    assert_eq!(shown(&model, "web"), ["a@1 active file"]);
    assert_eq!(model.member(&web(), 1).unwrap().since, NOW + 1);
}

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
