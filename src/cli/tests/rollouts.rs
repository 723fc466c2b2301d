//! Rollouts: what is sent, how long it may take, what is said of them.

use clap::Parser;

use super::*;
use crate::cli::tree::Tree;
use crate::report::{ErrorShares, PhaseTimes, PoolStatus, RolloutBackend, RolloutStatus};

pub(super) fn typed(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

pub(super) const LEAST: &str = "rollout web --add v2=127.0.0.1:8082 --replace all";

#[test]
fn every_verb_asks_its_question() {
    let admin = Scripted::saying(&Answer::new(Outcome::Done, "done"));
    let add = r#""add":[{"address":"127.0.0.1:8082","id":"v2"}]"#;
    let web = "/v1/pools/web";
    for (line, heard) in [
        (
            LEAST.to_owned(),
            format!(r#"POST {web}/rollout {{{add},"replace":"all"}}"#),
        ),
        (
            "rollout web --add v2=unix:/run/a=b.sock --add v3=[::1]:80 --replace v1,v0 --weight 7 --no-wait"
                .to_owned(),
            format!(
                r#"POST {web}/rollout {{"add":[{{"address":"unix:/run/a=b.sock","id":"v2","weight":7}},{{"address":"[::1]:80","id":"v3","weight":7}}],"replace":["v1","v0"],"wait":"0s"}}"#
            ),
        ),
        (
            format!(
                "{LEAST} --canary 0.5% --keep-standby --min-eligible 2 --key a/b --lock-wait 5m --dry-run --force --wait 1m"
            ),
            format!(
                r#"POST {web}/rollout {{{add},"canary":"0.5%","dry_run":true,"force":true,"keep_standby":true,"key":"a/b","lock_wait":"5m","min_eligible":2,"replace":"all","wait":"1m"}}"#
            ),
        ),
        (
            format!(
                "{LEAST} --min-healthy-time 2s --healthy-deadline 3m --bake 0s --no-auto-revert --min-requests 100 --error-margin 2.5% --sticky cookie:SID"
            ),
            format!(
                r#"POST {web}/rollout {{{add},"auto_revert":false,"bake":"0s","error_margin":"2.5%","healthy_deadline":"3m","min_healthy_time":"2s","min_requests":100,"replace":"all","sticky":"cookie:SID"}}"#
            ),
        ),
        (
            format!(
                "{LEAST} --timeout 4m --on-timeout close --idle-timeout 90s --close-after never --spread 0s"
            ),
            format!(
                r#"POST {web}/rollout {{{add},"close_after":"never","idle_timeout":"90s","on_timeout":"close","replace":"all","spread":"0s","timeout":"4m"}}"#
            ),
        ),
        (
            "canary web 25%".to_owned(),
            format!(r#"POST {web}/canary {{"share":"25%"}}"#),
        ),
        ("promote web".to_owned(), format!("POST {web}/promote")),
        (
            "promote web --no-wait".to_owned(),
            format!("POST {web}/promote?wait=0s"),
        ),
        ("rollback web".to_owned(), format!("POST {web}/rollback")),
        (
            "rollback web --wait 5m --keep-standby --key a&b=c+%/~".to_owned(),
            format!("POST {web}/rollback?wait=5m&keep_standby=true&key=a%26b%3Dc%2B%25%2F~"),
        ),
        (
            "abort web --wait 5s".to_owned(),
            format!("POST {web}/abort?wait=5s"),
        ),
    ] {
        let said = admin.ask(&typed(&line));
        assert_eq!((said.exit, said.err.as_str()), (0, ""), "{line}");
        assert_eq!(admin.heard().last(), Some(&heard), "{line}");
    }
}

#[test]
fn the_help_of_a_rollout_groups_its_options_and_fits_the_screen() {
    let help = tidegate(&["rollout", "-h"]).out;
    let heads = help
        .lines()
        .filter(|line| line.ends_with(':') && !line.starts_with(' '));
    let heads: Vec<&str> = heads.collect();
    assert_eq!(
        heads,
        [
            "Arguments:",
            "Options:",
            "Clocks and thresholds of the rollout:",
            "Clocks of the drain:",
            "Everywhere:",
            "Examples:"
        ]
    );
    let long = help.lines().find(|line| line.chars().count() > 100);
    assert_eq!(long, None);
    assert!(help.contains("\nExit 0 or 7: the new ones serve"), "{help}");
}

#[test]
fn the_client_does_not_give_up_before_the_proxy_does() {
    let patience = |line: &str| {
        let line = format!("tidegate {line}");
        let tree = Tree::try_parse_from(line.split(' ')).unwrap();
        let call = calls::call(&tree.verb).unwrap();
        let ask = call.ask;
        (ask.patience.as_secs(), call.watched.is_some())
    };
    const WEEK: u64 = 7 * 24 * 3600;
    const DAY: u64 = 24 * 3600;
    let said = "--lock-wait 1m --healthy-deadline 2m --bake 30s --wait 5m";
    assert_eq!(patience(&format!("{LEAST} {said}")), (510, true));
    assert_eq!(patience(LEAST), (2 * WEEK + DAY, true));
    assert_eq!(patience(&format!("{LEAST} --no-wait")), (0, false));
    let queued = format!("{LEAST} --no-wait --lock-wait 1m");
    assert_eq!(patience(&queued), (60, true));
    assert_eq!(patience(&format!("{LEAST} --dry-run")), (0, false));
    assert_eq!(patience("canary web 5%"), (0, false));
    assert_eq!(patience("promote web"), (WEEK + DAY, true));
    assert_eq!(patience("rollback web --wait 1m"), (2 * WEEK + 60, true));
    assert_eq!(patience("rollback web --no-wait"), (0, false));
    assert_eq!(patience("abort web --wait 1m"), (60, true));
}

pub(super) fn one(id: &str, generation: u64, state: &str) -> RolloutBackend {
    RolloutBackend {
        id: id.to_owned(),
        generation,
        address: format!("127.0.0.1:808{generation}"),
        state: state.to_owned(),
        safe_to_kill: state == "drained" || state == "removed",
    }
}

/// v2 for v1, moved.
pub(super) fn moved() -> RolloutStatus {
    RolloutStatus {
        number: 3,
        key: None,
        kind: "rollout".to_owned(),
        phase: "moved".to_owned(),
        actor: "uid:1000".to_owned(),
        share: None,
        cause: Some("healthy for 5s".to_owned()),
        begun_ms: 1_791_036_187_123,
        decided_ms: Some(1_791_036_202_123),
        added: vec![one("v2", 2, "active")],
        replaced: vec![one("v1", 1, "drained")],
        taken_out: Some("clean".to_owned()),
        timings: PhaseTimes {
            gate_ms: Some(5012),
            canary_ms: None,
            bake_ms: Some(10_001),
            drain_ms: Some(12),
        },
        errors: Some(ErrorShares {
            new_answers: 210,
            new_errors: 12,
            old_answers: 4100,
            old_errors: 0,
            judged: true,
        }),
    }
}

fn answered(outcome: Outcome, message: &str, rollout: RolloutStatus, serving: &str) -> Answer {
    let mut answer = Answer::new(outcome, message);
    answer.rollout = Some(rollout);
    answer.serving = vec![Serving {
        id: serving.to_owned(),
        generation: 2,
        address: "127.0.0.1:8082".to_owned(),
    }];
    answer
}

#[test]
fn a_rollout_that_moved_says_who_serves_and_who_may_be_killed_on_stdout() {
    let answer = answered(Outcome::Clean, "web moved to v2", moved(), "v2");
    let said = Scripted::saying(&answer).ask(&typed(LEAST));
    assert_eq!(
        said,
        Said {
            exit: 0,
            out: "\
web moved to v2
serving: v2 (127.0.0.1:8082)
safe to kill: v1 (127.0.0.1:8081)
took: gate 5.0s, bake 10.0s, drain 12.0ms
"
            .to_owned(),
            err: String::new(),
        }
    );
    let said = Scripted::saying(&answer).ask(&typed(&format!("{LEAST} --json")));
    assert_eq!(
        said.err,
        "web moved to v2\nserving: v2 (127.0.0.1:8082)\nsafe to kill: v1 (127.0.0.1:8081)\ntook: gate 5.0s, bake 10.0s, drain 12.0ms\n"
    );
    let document: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(document["rollout"]["replaced"][0]["safe_to_kill"], true);
}

#[test]
fn a_rollout_that_was_taken_back_says_all_on_stderr_with_its_errors() {
    let mut rollout = moved();
    rollout.phase = "reverted".to_owned();
    rollout.added = vec![one("v2", 2, "drained"), one("v3", 3, "draining")];
    rollout.replaced = vec![one("v1", 1, "active")];
    rollout.timings.drain_ms = None;
    let mut failed = answered(Outcome::Failed, "web stays at v1", rollout, "v1");
    failed.hint = Some("look at v2".to_owned());
    let said = Scripted::saying(&failed).ask(&typed(LEAST));
    assert_eq!(
        said,
        Said {
            exit: 5,
            out: String::new(),
            err: "\
error: web stays at v1
serving: v1 (127.0.0.1:8082)
safe to kill: v2 (127.0.0.1:8082)
errors: v2+v3 12 of 210 (5.7%), v1 0 of 4100 (0.0%)
took: gate 5.0s, bake 10.0s
hint: look at v2
"
            .to_owned(),
        }
    );
}

#[test]
fn what_was_not_judged_or_timed_or_serves_is_not_made_up() {
    let mut rollout = moved();
    rollout.errors.as_mut().unwrap().judged = false;
    rollout.timings = PhaseTimes::default();
    rollout.replaced = vec![one("v1", 1, "draining")];
    let mut not_yet = answered(Outcome::NotYet, "v1 still drains", rollout, "v2");
    not_yet.serving.clear();
    let said = Scripted::saying(&not_yet).ask(&typed(LEAST));
    assert_eq!(
        (said.exit, said.err.as_str()),
        (6, "error: v1 still drains\nserving: none\n")
    );
}

#[test]
fn a_history_is_a_table_with_the_newest_first() {
    let many = |ids: &[&str]| ids.iter().map(|id| one(id, 1, "removed")).collect();
    let mut open = moved();
    (open.number, open.phase, open.share) = (12, "canary".to_owned(), Some("10%".to_owned()));
    (open.decided_ms, open.taken_out, open.cause) = (None, None, None);
    let mut failed = moved();
    (failed.number, failed.phase) = (2, "failed".to_owned());
    (failed.actor, failed.taken_out) = ("ci".to_owned(), Some("none".to_owned()));
    failed.cause = Some("v2: status 503\r\n\u{1b}[2J".to_owned());
    failed.added = many(&["a", "b", "c", "d", "e", "f"]);
    let mut first = moved();
    (first.number, first.kind, first.replaced) = (1, "rollback".to_owned(), Vec::new());
    let records = [open, moved(), failed, first];
    assert_eq!(
        history::table(&records, 1_791_036_317_123),
        "\x20\
#  when                  who       what      from -> to                   outcome          took   cause
12  2026-10-03T14:03:07Z  uid:1000  rollout   v1 -> v2                     canary with 10%  2m10s
 3  2026-10-03T14:03:07Z  uid:1000  rollout   v1 -> v2                     moved, clean     15s    healthy for 5s
 2  2026-10-03T14:03:07Z  ci        rollout   v1 -> a, b, c, d and 2 more  failed           15s    v2: status 503   [2J
 1  2026-10-03T14:03:07Z  uid:1000  rollback  none -> v2                   moved, clean     15s    healthy for 5s
"
    );
}

#[test]
fn a_history_is_asked_for_and_shown() {
    let records = json!({"outcome": "done", "pool": "web", "records": [moved()]});
    let sent = records.clone();
    let admin = Scripted::new(move |_| sent.clone());
    let said = admin.ask(&["history", "web", "--limit", "1"]);
    assert_eq!((said.exit, said.err.as_str()), (0, ""));
    assert!(said.out.starts_with("#  when "), "{}", said.out);
    assert_eq!(said.out.lines().count(), 2);
    assert_eq!(admin.heard(), ["GET /v1/pools/web/history?limit=1"]);
    let said = admin.ask(&["history", "web", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap(), records);
    let admin = Scripted::new(|_| json!({"outcome": "done", "pool": "web", "records": []}));
    let said = admin.ask(&["history", "web"]);
    assert_eq!(
        (said.exit, said.out.as_str(), said.err.as_str()),
        (0, "", "pool web has had no rollout yet\n")
    );
    let admin = Scripted::saying(&Answer::new(Outcome::Unknown, "there is no pool \"wbe\""));
    let said = admin.ask(&["history", "wbe"]);
    assert_eq!(
        (said.exit, said.err.as_str()),
        (5, "error: there is no pool \"wbe\"\n")
    );
}

pub(super) fn pool(rollout: Option<RolloutStatus>, backends: Vec<BackendStatus>) -> PoolStatus {
    PoolStatus {
        name: "web".to_owned(),
        balance: "least_requests".to_owned(),
        eligible: 1,
        held: 0,
        leaving: false,
        paused: None,
        rollout,
        backends,
    }
}

/// A rollout under way.
pub(super) fn in_phase(phase: &str, share: Option<&str>) -> RolloutStatus {
    let mut rollout = moved();
    rollout.phase = phase.to_owned();
    rollout.share = share.map(str::to_owned);
    (rollout.decided_ms, rollout.taken_out, rollout.errors) = (None, None, None);
    rollout.timings = PhaseTimes {
        gate_ms: Some(5000).filter(|_| phase != "gate"),
        ..PhaseTimes::default()
    };
    rollout
}

#[test]
fn a_status_says_what_is_under_way_and_colours_only_on_a_terminal() {
    let now = 1_791_036_187_123 + 5000 + 130_000;
    let old = BackendStatus {
        since_ms: now - 60_000,
        ..backend("v1")
    };
    let pool = pool(Some(in_phase("canary", Some("10%"))), vec![old]);
    assert_eq!(
        table::pools(std::slice::from_ref(&pool), now, false),
        "\
pool web: 1 of 1 eligible, 0 held, least_requests
  rollout 3 by uid:1000, canary with 10% for 2m10s: v2 for v1
  backend  address         weight  intent    health   eligible  requests  tunnels  connections  since
  v1@3     127.0.0.1:8081  1       draining  healthy  no        2         1        -            1m00s
"
    );
    let coloured = table::pools(std::slice::from_ref(&pool), now, true);
    let part = "draining  \u{1b}[32mhealthy\u{1b}[0m  no ";
    assert!(coloured.contains(part), "{coloured}");
    let plain = coloured.replace("\u{1b}[32m", "").replace("\u{1b}[0m", "");
    assert_eq!(plain, table::pools(&[pool], now, false));
}
