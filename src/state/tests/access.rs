//! Where a state file may be, and whose it is.

use super::*;

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
