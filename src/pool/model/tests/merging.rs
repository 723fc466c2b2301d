//! A file that comes in: what is added, drained, kept, and said.

use super::*;

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
