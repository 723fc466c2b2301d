//! Exit codes and texts for what can be answered, in full.

use super::*;
use crate::report::{PoolStatus, Status};

fn of(outcome: Outcome, message: &str) -> Answer {
    let mut answer = Answer::new(outcome, message);
    answer.generation = Some(3);
    answer.serving = vec![Serving {
        id: "b".to_owned(),
        generation: 2,
        address: "127.0.0.1:8082".to_owned(),
    }];
    answer
}

#[test]
fn the_exit_code_is_that_of_the_outcome() {
    for row in Outcome::table() {
        let admin = Scripted::saying(&of(row.outcome, "a message"));
        let said = admin.ask(&["drain", "web/a"]);
        assert_eq!(said.exit, row.exit, "{}", row.word);
        let is_success = (200..300).contains(&row.status);
        let expected = match is_success {
            true => ("a message\n", ""),
            false => ("", "error: a message\n"),
        };
        assert_eq!(
            (said.out.as_str(), said.err.as_str()),
            expected,
            "{}",
            row.word
        );
    }
}

#[test]
fn a_clean_drain_is_one_line_on_stdout() {
    let message = "web/a is drained: clean, after 1.2s; safe to kill";
    let admin = Scripted::saying(&of(Outcome::Clean, message));
    let said = admin.ask(&["drain", "web/a"]);
    assert_eq!(
        said,
        Said {
            exit: 0,
            out: format!("{message}\n"),
            err: String::new(),
        }
    );
}

#[test]
fn a_drain_that_is_not_done_says_what_blocks_it() {
    let mut answer = of(
        Outcome::NotYet,
        "web/a is not drained yet: 2 requests and 1 tunnel in flight after 30s",
    )
    .hint("it goes on draining; `drain web/a` waits again, `close web/a` cuts, `ready web/a` brings it back");
    answer.backend = Some(backend("a"));
    answer.drain = Some(drain());
    let said = Scripted::saying(&answer).ask(&["drain", "web/a"]);
    assert_eq!(
        said,
        Said {
            exit: 6,
            out: String::new(),
            err: "\
error: web/a is not drained yet: 2 requests and 1 tunnel in flight after 30s
  held by request GET /events from 10.0.0.9, 3m02s old, idle 4s, 12 B up, 1.5 MiB down
  held by tunnel GET /events from 10.0.0.9, 3m02s old, idle 4s, 12 B up, 1.5 MiB down
  … and 1 more
hint: it goes on draining; `drain web/a` waits again, `close web/a` cuts, `ready web/a` brings it back
"
            .to_owned(),
        }
    );
}

#[test]
fn a_pause_in_vain_says_what_was_in_flight() {
    let mut answer = of(
        Outcome::NotYet,
        "web: 1 request still in flight after 5s; it was resumed",
    )
    .hint("`pause web --wait 30s` waits longer, `pause web --no-wait` does not wait");
    answer.in_flight = vec![exchange("request")];
    let said = Scripted::saying(&answer).ask(&["pause", "web"]);
    assert_eq!(
        said,
        Said {
            exit: 6,
            out: String::new(),
            err: "\
error: web: 1 request still in flight after 5s; it was resumed
  in flight request GET /events from 10.0.0.9, 3m02s old, idle 4s, 12 B up, 1.5 MiB down
hint: `pause web --wait 30s` waits longer, `pause web --no-wait` does not wait
"
            .to_owned(),
        }
    );
}

#[test]
fn a_long_list_is_cut_short() {
    let mut answer = of(Outcome::NotYet, "not yet");
    let mut many = drain();
    many.blocked_by = vec![exchange("request"); 20];
    answer.drain = Some(many);
    answer.backend = Some(BackendStatus {
        requests: 5000,
        tunnels: 0,
        ..backend("a")
    });
    let said = Scripted::saying(&answer).ask(&["drain", "web/a"]);
    assert_eq!(said.err.lines().count(), 12);
    assert_eq!(said.err.lines().last(), Some("  … and 4990 more"));
}

#[test]
fn a_forced_drain_is_safe_and_says_what_was_cut() {
    let message =
        "web/a is drained: forced, 0 requests and 1 tunnel cut, after 50.0s; safe to kill";
    let mut answer = of(Outcome::Forced, message);
    let mut cut = drain();
    (cut.cut_tunnels, cut.cut, cut.blocked_by) = (1, vec![exchange("tunnel")], Vec::new());
    answer.drain = Some(cut);
    let said = Scripted::saying(&answer).ask(&["drain", "web/a"]);
    assert_eq!(
        said,
        Said {
            exit: 7,
            out: format!("{message}\n"),
            err: "  cut tunnel GET /events from 10.0.0.9, 3m02s old, idle 4s, 12 B up, 1.5 MiB down\n"
                .to_owned(),
        }
    );
}

#[test]
fn warnings_and_hints_are_words() {
    let mut answer = of(Outcome::Done, "web/c is healthy and active");
    answer.warnings = vec!["127.0.0.1:1 is live in api too".to_owned()];
    let said = Scripted::saying(&answer).ask(&["add", "web/c", "127.0.0.1:1"]);
    assert_eq!(
        said,
        Said {
            exit: 0,
            out: "web/c is healthy and active\n".to_owned(),
            err: "warning: 127.0.0.1:1 is live in api too\n".to_owned(),
        }
    );
    let problems = "tidegate.yaml has 1 problem\n  pools.web: is empty";
    let rejected =
        Answer::new(Outcome::Rejected, problems).hint("the running configuration was not changed");
    let said = Scripted::saying(&rejected).ask(&["reload"]);
    assert_eq!(
        said,
        Said {
            exit: 3,
            out: String::new(),
            err: "\
error: tidegate.yaml has 1 problem
  pools.web: is empty
hint: the running configuration was not changed
"
            .to_owned(),
        }
    );
}

#[test]
fn with_json_stdout_is_the_document_also_of_a_failure() {
    for (outcome, words) in [
        (Outcome::Clean, "a message\n"),
        (Outcome::Refused, "error: a message\n"),
    ] {
        let mut document = serde_json::to_value(of(outcome, "a message")).unwrap();
        document["from_a_newer_version"] = true.into();
        let sent = document.clone();
        let admin = Scripted::new(move |_| sent.clone());
        let said = admin.ask(&["--json", "drain", "web/a"]);
        assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap(), document);
        assert_eq!((said.exit, said.err.as_str()), (outcome.row().exit, words));
    }
}

#[test]
fn nobody_there_is_exit_4() {
    let said = tidegate(&["--admin", NOWHERE, "drain", "web/a"]);
    let err = "\
error: cannot reach tidegate at unix:/nonexistent/admin.sock: no such file
hint: is it running? --admin or TIDEGATE_ADMIN says where
";
    assert_eq!(
        (said.exit, said.out.as_str(), said.err.as_str()),
        (4, "", err)
    );
    let said = tidegate(&["--admin", NOWHERE, "--json", "status"]);
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(document["outcome"], "unreachable");
    assert_eq!((said.exit, said.err.as_str()), (4, err));
}

#[test]
fn somebody_else_there_is_exit_4_too() {
    let admin = Scripted::new(|_| json!({"hello": "world"}));
    let said = admin.ask(&["drain", "web/a"]);
    assert_eq!(said.exit, 4);
    assert_eq!(
        said.err,
        format!(
            "error: what answers at {} is not tidegate's admin API\nhint: is it running? --admin or TIDEGATE_ADMIN says where\n",
            admin.admin
        )
    );
}

#[test]
fn a_status_is_an_aligned_table() {
    let active = BackendStatus {
        id: "long-name".to_owned(),
        intent: "active".to_owned(),
        eligible: true,
        connections: Some(12),
        ..backend("b")
    };
    let pool = |name: &str, backends: Vec<BackendStatus>, leaving| PoolStatus {
        name: name.to_owned(),
        balance: "least_requests".to_owned(),
        eligible: 1,
        held: 0,
        leaving,
        paused: None,
        rollout: None,
        backends,
    };
    let status = Status {
        outcome: Outcome::Done,
        version: "1.2.3".to_owned(),
        pid: 42,
        started_ms: 0,
        listeners: vec![crate::report::ListenerStatus {
            address: "[::]:80".to_owned(),
        }],
        admin: None,
        metrics: None,
        pools: vec![
            pool("api", Vec::new(), true),
            PoolStatus {
                held: 3,
                paused: Some(PauseStatus {
                    actor: "uid:0".to_owned(),
                    since_ms: 1_000_000,
                    until_ms: 1_072_300,
                }),
                ..pool("shop", Vec::new(), false)
            },
            pool("web", vec![backend("a"), active], false),
        ],
    };
    assert_eq!(
        table::status(&status, 1_060_000, false),
        "\
tidegate 1.2.3, pid 42, up 17m40s
listens at [::]:80

pool api: 1 of 0 eligible, 0 held, least_requests, leaving: no longer in the file

pool shop: 1 of 0 eligible, 3 held, least_requests, paused by uid:0 for 12s more

pool web: 1 of 2 eligible, 0 held, least_requests
  backend      address         weight  intent    health   eligible  requests  tunnels  connections  since
  a@3          127.0.0.1:8081  1       draining  healthy  no        2         1        -            1m00s
  long-name@3  127.0.0.1:8081  1       active    healthy  yes       2         1        12           1m00s
"
    );
}

#[test]
fn the_status_of_one_backend_says_its_probe_and_its_drain() {
    let mut answer = of(Outcome::Done, "web/a");
    answer.backend = Some(backend("a"));
    answer.drain = Some(drain());
    assert_eq!(
        table::backend(&answer, 1_060_000, false),
        "\
pool web
  backend  address         weight  intent    health   eligible  requests  tunnels  connections  since
  a@3      127.0.0.1:8081  1       draining  healthy  no        2         1        -            1m00s
last probe: good, 200, took 1.2ms, 2s ago
drain: begun 1m00s ago, not drained yet: 2 requests, 1 tunnel
  held by request GET /events from 10.0.0.9, 3m02s old, idle 4s, 12 B up, 1.5 MiB down
  held by tunnel GET /events from 10.0.0.9, 3m02s old, idle 4s, 12 B up, 1.5 MiB down
  … and 1 more
"
    );
}
