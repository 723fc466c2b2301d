//! What is found: nothing, something broken, or both copies of it.

use super::*;
use crate::pool::model::MEMBERS_MAX;
use crate::spec::Target;

#[test]
fn nothing_is_found_quietly_where_nothing_was_saved() {
    let place = place();
    let loaded = place.file.load();
    assert_eq!((loaded.model, loaded.warnings.len()), (None, 0));
    let elsewhere = StateFile::open(place.at("missing/state.json")).load();
    assert_eq!((elsewhere.model, elsewhere.warnings.len()), (None, 0));
}

fn broken_cases() -> Vec<(&'static str, Vec<u8>)> {
    let whole = bytes(&model(1));
    let changed = |change: &dyn Fn(&mut Model)| {
        let mut model = model(1);
        change(&mut model);
        let value = serde_json::json!({"version": 1, "saved_at": 1, "model": model});
        value.to_string().into_bytes()
    };
    let web = PoolName::parse("web").unwrap();
    let members = |change: &dyn Fn(&mut Vec<crate::pool::model::Member>)| {
        changed(&|model| change(&mut model.pools.get_mut(&web).unwrap().members))
    };
    let text = String::from_utf8(whole.clone()).unwrap();
    let mut large = whole.clone();
    large.resize(STATE_BYTES_MAX + 1, b' ');
    vec![
        ("it is empty", Vec::new()),
        (
            "it is not a state file: ",
            whole[..whole.len() - 1].to_vec(),
        ),
        ("it is not a state file: ", b"not json".to_vec()),
        (
            "it is not a state file: ",
            (0..=255).cycle().take(5000).collect(),
        ),
        ("it is not a state file: ", vec![b'['; 1_000_000]),
        ("missing field `version`", b"{}".to_vec()),
        ("missing field `saved_at`", b"{\"version\": 1}".to_vec()),
        (
            "it is not a state file: ",
            b"{\"version\":1,\"saved_at\":1,\"model\":[]}".to_vec(),
        ),
        (
            "it has version 2, and this program reads version 1",
            text.replace("\"version\": 1", "\"version\": 2")
                .into_bytes(),
        ),
        ("it has at least 67108865 bytes, more than 67108864", large),
        (
            "expected a weight from 1 to 256",
            text.replace("\"weight\": 1", "\"weight\": 0").into(),
        ),
        (
            "generation 1 is not below next_generation 1",
            changed(&|model| model.next_generation = 1),
        ),
        (
            "next_generation 18446744073709551615",
            changed(&|model| model.next_generation = u64::MAX),
        ),
        (
            "web/b1: generation 1 is there twice",
            members(&|list| list.push(list[0].clone())),
        ),
        (
            "web/b1 is live twice",
            members(&|list| {
                list[0].generation = 0;
                list.push(member(1, Intent::Standby));
            }),
        ),
        (
            "web: 127.0.0.1:1 is live twice",
            members(&|list| {
                list[0].generation = 0;
                let mut other = member(1, Intent::Active);
                other.id = crate::spec::BackendId::parse("other").unwrap();
                list.push(other);
            }),
        ),
        (
            "pool web has 1001 backends, more than 1000",
            changed(&|model| {
                let all = (1..=MEMBERS_MAX as u64 + 1).map(|n| member(n, Intent::Active));
                model.next_generation = 5000;
                model.pools.get_mut(&web).unwrap().members = all.collect();
            }),
        ),
        (
            "web/b1: \"unix:relative\" is no place to connect to",
            members(&|list| list[0].target = Target::Unix("relative".into())),
        ),
        (
            "web/b1: a clock of its drain is too long",
            members(&|list| {
                list[0].drain = Some(crate::spec::DrainSpec {
                    timeout: std::time::Duration::from_secs(u64::MAX / 2),
                    ..Default::default()
                });
            }),
        ),
    ]
}

#[test]
fn a_broken_file_is_set_aside_loudly_and_its_previous_copy_used() {
    for (wrong, broken) in broken_cases() {
        let place = place();
        place.put("state.json", &broken);
        place.put("state.json.previous", bytes(&model(7)));
        let loaded = place.file.load();
        assert_eq!(loaded.model, Some(model(7)), "{wrong}");
        let [aside] = &place.broken()[..] else {
            panic!("{wrong}: {:?}", place.names());
        };
        assert_eq!(fs::read(place.at(aside)).unwrap(), broken);
        let [first, second] = &loaded.warnings[..] else {
            panic!("{wrong}: {:?}", loaded.warnings);
        };
        let begins = format!("state: {} is broken: ", place.at("state.json").display());
        let ends = format!("; set aside as {}", place.at(aside).display());
        assert!(
            first.starts_with(&begins) && first.ends_with(&ends),
            "{first}"
        );
        assert!(first.contains(wrong), "{first}");
        assert!(second.contains("was broken; its previous copy"), "{second}");
        // The next save must not make a previous copy of anything broken.
        place.file.save(&model(8)).unwrap();
        let previous = fs::read(place.at("state.json.previous")).unwrap();
        assert_eq!(format::decode(&previous), Ok(model(7)));
    }
}

#[test]
fn without_a_whole_copy_there_is_no_model_and_all_of_it_is_set_aside() {
    let place = place();
    place.put("state.json", "{");
    place.put("state.json.previous", "");
    let loaded = place.file.load();
    assert_eq!(loaded.model, None);
    assert_eq!(loaded.warnings.len(), 3);
    assert_eq!(
        loaded.warnings[2],
        "state: there is no whole copy; the configuration is used, with everything probed first"
    );
    assert_eq!(place.broken().len(), 2);
    assert_eq!(place.names(), place.broken());
}

#[test]
fn something_that_is_no_file_is_broken_and_does_not_make_the_start_hang() {
    let place = place();
    fs::create_dir(place.at("state.json")).unwrap();
    let loaded = place.file.load();
    assert!(loaded.warnings[0].contains("it is not a regular file"));
    place.file.save(&model(1)).unwrap();
    assert_eq!(place.file.load().model, Some(model(1)));
}

#[test]
fn only_the_newest_set_aside_files_are_kept() {
    let place = place();
    for number in 0..BROKEN_MAX + 4 {
        place.put(&format!("state.json.broken-{number}"), "old");
    }
    for _ in 0..2 {
        place.put("state.json", "broken");
        place.file.load();
    }
    let broken = place.broken();
    assert_eq!(broken.len(), BROKEN_MAX, "{broken:?}");
    let old: Vec<_> = broken.iter().filter(|name| name.len() < 22).collect();
    assert_eq!(
        old,
        [
            "state.json.broken-6",
            "state.json.broken-7",
            "state.json.broken-8"
        ]
    );
}
