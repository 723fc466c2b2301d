//! Every way in which a state file can be found, and every way in which it is written.

use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::pool::model::tests::any_model;
use crate::pool::model::{MEMBERS_MAX, PoolModel};
use crate::pool::testing::member;
use crate::spec::{Intent, PoolName, Target};

struct Place {
    folder: tempfile::TempDir,
    file: StateFile,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let file = StateFile::open(folder.path().join("state.json"));
    Place { folder, file }
}

impl Place {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.at(name), bytes).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn broken(&self) -> Vec<String> {
        let names = self.names().into_iter();
        names.filter(|name| name.contains(".broken-")).collect()
    }
}

/// A model that is told from others by its number.
fn model(number: u64) -> Model {
    let pool = PoolModel {
        members: vec![member(number, Intent::Active)],
        leaving: false,
    };
    Model {
        next_generation: number + 1,
        pools: [(PoolName::parse("web").unwrap(), pool)].into(),
        applied: [].into(),
    }
}

fn bytes(model: &Model) -> Vec<u8> {
    format::encode(model, 1).unwrap()
}

#[test]
fn nothing_is_found_quietly_where_nothing_was_saved() {
    let place = place();
    let loaded = place.file.load();
    assert_eq!((loaded.model, loaded.warnings.len()), (None, 0));
    let elsewhere = StateFile::open(place.at("missing/state.json")).load();
    assert_eq!((elsewhere.model, elsewhere.warnings.len()), (None, 0));
}

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

#[test]
fn a_folder_that_cannot_be_used_is_said_at_the_start() {
    let place = place();
    let missing = StateFile::open(place.at("missing/state.json"));
    let error = missing.check().unwrap_err().to_string();
    let expected = format!(
        "state.file: the folder {} cannot be used: No such file or directory (os error 2)",
        place.at("missing").display()
    );
    assert_eq!(error, expected);
    assert!(missing.save(&model(1)).unwrap_err().to_string() == expected);
    place.put("plain", "");
    let error = StateFile::open(place.at("plain/state.json")).check();
    assert!(matches!(error, Err(Unusable::Folder { .. })), "{error:?}");
    // Nobody creates files there, not even root, as whom these tests may run.
    let error = StateFile::open("/proc/state.json".into()).check();
    assert!(
        matches!(error, Err(Unusable::NotWritable { .. })),
        "{error:?}"
    );
    place.file.check().unwrap();
    assert_eq!(place.names(), ["plain", "state.json.lock"]);
}

#[test]
fn two_proxies_do_not_share_a_state_file() {
    let place = place();
    place.file.check().unwrap();
    place.file.check().unwrap();
    let other = StateFile::open(place.at("state.json"));
    let error = other.check().unwrap_err().to_string();
    let expected = format!(
        "state.file: another proxy (pid {}) uses it: {} is locked",
        std::process::id(),
        place.at("state.json.lock").display()
    );
    assert_eq!(error, expected);
    assert_eq!(other.save(&model(1)).unwrap_err().to_string(), expected);
    assert!(!place.at("state.json").exists());
    place.file.release();
    other.check().unwrap();
    other.save(&model(1)).unwrap();
    let refused = place.file.save(&model(2)).unwrap_err().to_string();
    assert!(
        refused.ends_with("was handed over to another process"),
        "{refused}"
    );
    drop(other);
    StateFile::open(place.at("state.json")).check().unwrap();
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

proptest! {
    #[test]
    fn any_model_reads_back_as_it_was_written(model in any_model()) {
        prop_assert_eq!(format::decode(&format::encode(&model, 5).unwrap()), Ok(model));
    }

    #[test]
    fn any_prefix_of_a_state_file_is_broken(model in any_model(), cut in any::<prop::sample::Index>()) {
        let whole = format::encode(&model, 5).unwrap();
        prop_assert!(format::decode(&whole[..cut.index(whole.len())]).is_err());
    }

    #[test]
    fn garbage_never_panics(
        garbage in prop::collection::vec(any::<u8>(), 0..200),
        at in any::<prop::sample::Index>(),
    ) {
        prop_assert!(format::decode(&garbage).is_err());
        // Somewhere in a whole file: whatever is still believed can be written again.
        let mut file = bytes(&model(1));
        let at = at.index(file.len());
        let end = file.len().min(at + garbage.len());
        file[at..end].copy_from_slice(&garbage[..end - at]);
        if let Ok(model) = format::decode(&file) {
            prop_assert!(format::encode(&model, 1).is_ok());
        }
    }
}
