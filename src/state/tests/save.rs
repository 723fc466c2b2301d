//! What is written, and what is left when a save fails or is cut short.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn what_was_saved_is_loaded_and_the_one_before_is_kept() {
    let place = place();
    for number in 1..=4 {
        place.file.save(&model(number)).unwrap();
        let loaded = place.file.load();
        assert_eq!(
            (loaded.model, loaded.warnings.len()),
            (Some(model(number)), 0)
        );
        if number > 1 {
            let previous = fs::read(place.at("state.json.previous")).unwrap();
            assert_eq!(format::decode(&previous), Ok(model(number - 1)));
        }
    }
    assert_eq!(
        place.names(),
        ["state.json", "state.json.lock", "state.json.previous"]
    );
    for name in place.names() {
        let mode = fs::metadata(place.at(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & !MODE, 0, "{name}: {mode:o}");
    }
    let text = fs::read_to_string(place.at("state.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["version"], 1);
    assert!(value["saved_at"].as_u64().unwrap() > 1_700_000_000_000);
}

/// What a crash leaves after each step of a save, in order.
#[test]
fn a_crash_at_any_step_of_a_save_loses_nothing_that_was_answered() {
    let (old, older, next) = (bytes(&model(2)), bytes(&model(1)), bytes(&model(3)));
    let half = &next[..next.len() / 2];
    type Case<'a> = (&'a str, Vec<(&'a str, &'a [u8])>, u64);
    let cases: [Case<'_>; 7] = [
        (
            "first save, half written",
            vec![("state.json.tmp", half)],
            0,
        ),
        (
            "first save, not renamed",
            vec![("state.json.tmp", &next)],
            0,
        ),
        (
            "half written",
            vec![
                ("state.json", &old),
                ("state.json.previous", &older),
                ("state.json.tmp", half),
            ],
            2,
        ),
        (
            "linked, by its third name",
            vec![
                ("state.json", &old),
                ("state.json.previous.tmp", &old),
                ("state.json.tmp", &next),
            ],
            2,
        ),
        (
            "linked",
            vec![
                ("state.json", &old),
                ("state.json.previous", &old),
                ("state.json.tmp", &next),
            ],
            2,
        ),
        (
            "no links: moved away",
            vec![("state.json.previous", &old), ("state.json.tmp", &next)],
            2,
        ),
        (
            "renamed",
            vec![("state.json", &next), ("state.json.previous", &old)],
            3,
        ),
    ];
    for (what, files, expected) in cases {
        let place = place();
        for (name, bytes) in files {
            place.put(name, bytes);
        }
        let expected = (expected > 0).then(|| model(expected));
        assert_eq!(place.file.load().model, expected, "{what}");
        assert_eq!(place.broken(), Vec::<String>::new(), "{what}");
        place.file.save(&model(9)).unwrap();
        assert_eq!(place.file.load().model, Some(model(9)), "{what}");
        place.file.save(&model(10)).unwrap();
        let previous = fs::read(place.at("state.json.previous")).unwrap();
        assert_eq!(format::decode(&previous), Ok(model(9)), "{what}");
    }
}

#[test]
fn a_save_that_fails_leaves_the_file_as_it_was() {
    let place = place();
    place.file.save(&model(1)).unwrap();
    let mut wrong = model(2);
    wrong.next_generation = 0;
    let error = place.file.save(&wrong).unwrap_err().to_string();
    assert_eq!(error, "web/b2: generation 2 is not below next_generation 0");
    fs::create_dir(place.at("state.json.tmp")).unwrap();
    place.file.save(&model(2)).unwrap_err();
    assert_eq!(place.file.load().model, Some(model(1)));
    assert_eq!(place.broken(), Vec::<String>::new());
}

#[test]
fn whoever_loads_while_others_save_finds_a_whole_model() {
    let place = place();
    place.file.save(&model(1)).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let savers: Vec<_> = (0..3)
            .map(|saver| {
                let file = &place.file;
                scope.spawn(move || {
                    for number in 0..40 {
                        file.save(&model(1 + saver * 100 + number)).unwrap();
                    }
                })
            })
            .collect();
        let reader = scope.spawn(|| {
            let reader = StateFile::open(place.at("state.json"));
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let loaded = reader.load();
                assert!(
                    loaded.model.is_some() && loaded.warnings.is_empty(),
                    "{loaded:?}"
                );
            }
        });
        savers.into_iter().for_each(|saver| saver.join().unwrap());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!(place.broken(), Vec::<String>::new());
}
