//! What every verb can end in besides: it makes no sense, it may not, nobody answers, it could not be
//! stored.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::Value;
use tidegate::cli;
use tidegate::outcome::{EXIT_UNREACHABLE, Outcome};

use super::rollouts::words;
use super::{CALM, Three, Way};
use crate::support::{Proxy, Setup, said};

/// The least that has to be typed of each verb that asks a proxy.
const ASKING: [&[&str]; 19] = [
    &["status"],
    &["add", "web/x", "127.0.0.1:1"],
    &["drain", "web/a"],
    &["ready", "web/b"],
    &["standby", "web/a"],
    &["close", "web/a"],
    &["remove", "web/a"],
    &["weight", "web/a", "7"],
    &["wait", "web/a", "--for", "healthy"],
    &[
        "rollout",
        "web",
        "--add",
        "x=127.0.0.1:1",
        "--replace",
        "all",
    ],
    &["canary", "web", "5%"],
    &["promote", "web"],
    &["rollback", "web"],
    &["abort", "web"],
    &["history", "web"],
    &["pause", "web"],
    &["resume", "web"],
    &["events"],
    &["reload"],
];

#[test]
fn the_verbs_that_ask_are_all_here() {
    let asks = cli::endings().into_iter().filter(|ending| ending.asks);
    let asks: Vec<String> = asks.map(|ending| ending.verb).collect();
    assert_eq!(asks, ASKING.map(|args| args[0]));
}

fn way(outcome: Outcome, json: bool) -> Way {
    Way { outcome, json }
}

/// Not said by a proxy: the document has the message, and a hint if there is one.
fn is_unanswered(output: &Output, json: bool, exit: u8, word: &str, err: &str) {
    let (code, out, said_err) = said(output);
    // A proxy that is about to start may warn of limits of the machine first.
    let error = said_err.find("error:").unwrap_or_default();
    assert_eq!((code, &said_err[error..]), (i32::from(exit), err));
    if !json {
        assert_eq!(out, "");
        return;
    }
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["outcome"], word);
    let message = document["message"].as_str().unwrap();
    assert!(err.starts_with(&format!("error: {message}\n")), "{out}");
    let hint = document["hint"].as_str();
    let said = err.lines().find_map(|line| line.strip_prefix("hint: "));
    assert_eq!(hint, said);
}

#[tokio::test]
async fn what_makes_no_sense_is_invalid_and_nothing_is_asked() {
    let proxy = Proxy::start(Setup::web(&[])).await;
    for ending in cli::endings() {
        for json in [false, true] {
            let way = way(Outcome::Invalid, json);
            let typed = way.types(&proxy, &[&ending.verb, "--nonsense"]).await;
            let (exit, out, err) = said(&typed);
            assert_eq!(exit, 2, "{}", ending.verb);
            let begin = "error: unexpected argument '--nonsense' found\n\n";
            assert!(err.starts_with(begin), "{err}");
            let usage = format!("\nUsage: tidegate {} ", ending.verb);
            assert!(err.contains(&usage), "{err}");
            assert!(err.ends_with("\nFor more information, try '--help'.\n"));
            if json {
                let document: Value = serde_json::from_str(&out).unwrap();
                assert_eq!(document["outcome"], "invalid");
                let message = "unexpected argument '--nonsense' found";
                assert_eq!(document["message"], message);
            } else {
                assert_eq!(out, "");
            }
        }
    }
}

#[tokio::test]
async fn what_only_the_proxy_knows_to_be_nonsense_is_invalid_too() {
    let three = Three::start().await;
    let twice = ["--add", &format!("c={}", three.a.address)];
    for json in [false, true] {
        let way = way(Outcome::Invalid, json);
        let args = three.rollout(&[&twice]);
        let err = "error: body.add[1].id: found \"c\" (expected an id that add[0] does not have)\n";
        way.ends(&three.proxy, &words(&args), "", err).await;
    }
}

#[tokio::test]
async fn where_nobody_answers_every_verb_ends_in_4() {
    let proxy = Proxy::start(Setup::web(&[])).await;
    let socket = proxy.path("none.sock");
    let socket = socket.to_str().unwrap();
    let err = format!(
        "error: cannot reach tidegate at unix:{socket}: no such file\n\
         hint: is it running? --admin or TIDEGATE_ADMIN says where\n"
    );
    for args in ASKING {
        for json in [false, true] {
            let way = way(Outcome::Error, json);
            let args = [&["--admin", socket], args].concat();
            let ended = way.types(&proxy, &args).await;
            is_unanswered(&ended, json, EXIT_UNREACHABLE, "unreachable", &err);
        }
    }
}

#[tokio::test]
async fn with_a_wrong_token_every_verb_ends_in_9_and_nothing_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let token = |name: &str, token: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, token).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let right = token("right", "0123456789abcdef0123456789abcdef\n");
    let wrong = token("wrong", "fedcba9876543210fedcba9876543210\n");
    let mut setup = Setup::web(&[]);
    setup.admin = format!("address: \"127.0.0.1:0\", tokens: [{{name: ci, file: {right}}}]");
    let proxy = Proxy::start(setup).await;
    let status = proxy.admin("GET", "/v1/status").await.json();
    let admin = format!("http://{}", status["admin"]["address"].as_str().unwrap());
    for args in ASKING {
        for json in [false, true] {
            let way = way(Outcome::NotAuthorised, json);
            let there = ["--admin", &admin, "--token-file", &wrong];
            let args = [&there, args].concat();
            let err = "error: the token is not known\n\
                hint: send \"Authorization: Bearer TOKEN\"; the command line takes --token-file\n";
            way.ends(&proxy, &args, "", err).await;
        }
    }
}

const NOT_STORED: &str = "error: the state file could not be written, nothing was changed: Is a directory (os error 21)\n\
    hint: check the disk and the owner of the state file's folder\n";

/// A folder in the place of the file that a save writes first: not even root can write it.
fn spoil(proxy: &Proxy) {
    std::fs::create_dir(proxy.path("state.json.tmp")).unwrap();
}

async fn with_state() -> Three {
    let mut three = Three::start().await;
    let mut setup = Setup::web_with(&[("a", &three.a), ("b", &three.b)], CALM);
    setup.state = true;
    three.proxy = Proxy::start(setup).await;
    three.proxy.until_healthy(&["a", "b"]).await;
    three
}

#[tokio::test]
async fn what_cannot_be_stored_is_an_error_and_not_done() {
    for json in [false, true] {
        let way = way(Outcome::Error, json);
        let three = with_state().await;
        spoil(&three.proxy);
        let before = three.proxy.admin("GET", "/v1/pools/web").await.json();
        let add = ["add", "web/c", &three.c.address];
        let rollout = three.rollout(&[]);
        let changing: [&[&str]; 6] = [
            &["drain", "web/a"],
            &["standby", "web/a"],
            &["weight", "web/a", "7"],
            &["remove", "web/a", "--force"],
            &add,
            &words(&rollout),
        ];
        for args in changing {
            way.ends(&three.proxy, args, "", NOT_STORED).await;
        }
        let reload = way.types(&three.proxy, &["reload"]).await;
        assert_eq!(reload.status.code(), Some(1), "{reload:?}");
        let after = three.proxy.admin("GET", "/v1/pools/web").await.json();
        let ids = |pool: &Value| {
            let backends = pool["pool"]["backends"].as_array().unwrap().clone();
            let each = backends.into_iter();
            each.map(|one| ["id", "intent", "weight", "generation"].map(|key| one[key].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&before), ids(&after));
        assert!(after["pool"]["rollout"].is_null());
    }
}

#[tokio::test]
async fn a_step_of_a_rollout_that_cannot_be_stored_is_not_taken() {
    for json in [false, true] {
        let way = way(Outcome::Error, json);
        let three = with_state().await;
        three.open_canary().await;
        spoil(&three.proxy);
        for args in [
            &["canary", "web", "5%"][..],
            &["promote", "web"],
            &["rollback", "web"],
            &["abort", "web"],
        ] {
            way.ends(&three.proxy, args, "", NOT_STORED).await;
        }
        let pool = three.proxy.admin("GET", "/v1/pools/web").await.json();
        assert_eq!(pool["pool"]["rollout"]["phase"], "canary");
        assert_eq!(pool["pool"]["rollout"]["share"], "0%");
        // Once it can be written again, the same is done.
        std::fs::remove_dir(three.proxy.path("state.json.tmp")).unwrap();
        let aborted = three.proxy.cli(&["abort", "web"]).await;
        assert_eq!(said(&aborted).0, 0);
    }
}

/// A second proxy with the state file of the first.
#[tokio::test]
async fn a_proxy_that_cannot_start_is_an_error() {
    let three = with_state().await;
    let path = three.proxy.path("config.yaml");
    let second = three.proxy.path("second.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    std::fs::write(&second, text.replace("admin.sock", "second.sock")).unwrap();
    let pid = three.proxy.pid();
    let lock = three.proxy.path("state.json.lock");
    let err = format!(
        "error: state.file: another proxy (pid {pid}) uses it: {} is locked\n",
        lock.display()
    );
    for json in [false, true] {
        let way = way(Outcome::Error, json);
        let args = ["run", "-c", second.to_str().unwrap()];
        let ended = way.types(&three.proxy, &args).await;
        is_unanswered(&ended, json, 1, "error", &err);
    }
}
