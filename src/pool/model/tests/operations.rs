//! Add, find and set an intent: what each does and what it refuses.

use super::*;

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
