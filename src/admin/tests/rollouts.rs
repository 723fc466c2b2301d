//! What a rollout and its relatives are asked with: what is taken, and every refusal in full.

use super::*;
use crate::admin::asks::rollouts::{RollbackQuery, RolloutBody};
use crate::admin::extract::{Ask, told};
use crate::admin::params::Fields;
use crate::control::{Incoming, Replace, RollbackCall, RolloutCall, RolloutClocks};
use crate::spec::{OnTimeout, Share, Sticky};

fn read(body: &str) -> Result<RolloutCall, String> {
    let body = Fields::of_body(body.as_bytes()).and_then(told::<RolloutBody>);
    body.map(Into::into)
}

fn incoming(id: &str, address: &str, weight: u64) -> Incoming {
    Incoming {
        id: BackendId::parse(id).unwrap(),
        address: Address::parse(address).unwrap(),
        weight: Weight::new(weight).unwrap(),
    }
}

#[test]
fn the_least_that_is_said_leaves_the_rest_to_the_pool() {
    let body = r#"{"add": [{"id": "v2", "address": "127.0.0.1:8082"}], "replace": "all"}"#;
    let call = read(body).unwrap();
    assert_eq!(call.add, [incoming("v2", "127.0.0.1:8082", 1)]);
    assert_eq!(call.replace, Replace::All);
    assert_eq!(call.clocks, RolloutClocks::default());
    assert_eq!(
        (call.canary, call.key, call.min_eligible),
        (None, None, None)
    );
    assert_eq!(call.lock_wait, Duration::ZERO);
    assert!(!call.keep_standby && !call.force && !call.dry_run);
    let drain = call.drain;
    assert_eq!(
        (drain.wait, drain.timeout, drain.idle_timeout, drain.spread),
        (None, None, None, None)
    );
    assert_eq!((drain.on_timeout, drain.close_after), (None, None));
    assert!(!drain.force);
}

#[test]
fn everything_that_is_said_is_passed_on() {
    let call = read(
        r#"{
        "add": [{"id": "v2", "address": "127.0.0.1:8082", "weight": 7},
                {"id": "v3", "address": "unix:/run/v3.sock"}],
        "replace": ["v1", "v0"], "canary": "0.5%", "keep_standby": true, "min_eligible": 2,
        "force": true, "dry_run": true, "key": "deploy-4711", "lock_wait": "5m", "wait": "1m",
        "min_healthy_time": "2s", "healthy_deadline": "3m", "bake": "0s", "auto_revert": false,
        "min_requests": 100, "error_margin": "2.5%", "sticky": "cookie:SID", "timeout": "4m",
        "on_timeout": "close", "idle_timeout": "90s", "close_after": "never", "spread": "0"}"#,
    )
    .unwrap();
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    assert_eq!(
        call.add,
        [
            incoming("v2", "127.0.0.1:8082", 7),
            incoming("v3", "unix:/run/v3.sock", 1)
        ]
    );
    let ids = ["v1", "v0"].map(|id| BackendId::parse(id).unwrap());
    assert_eq!(call.replace, Replace::These(ids.to_vec()));
    assert_eq!(call.canary.unwrap().steps(), 50);
    assert_eq!(call.min_eligible, Some(2));
    assert_eq!(call.key.as_deref(), Some("deploy-4711"));
    assert_eq!(Some(call.lock_wait), seconds(300));
    assert!(call.keep_standby && call.force && call.dry_run);
    assert_eq!(
        call.clocks,
        RolloutClocks {
            min_healthy_time: seconds(2),
            healthy_deadline: seconds(180),
            bake: seconds(0),
            auto_revert: Some(false),
            min_requests: Some(100),
            error_margin: Some(Share::parse("2.5%").unwrap()),
            sticky: Some(Sticky::Cookie("SID".to_owned())),
        }
    );
    let drain = call.drain;
    assert_eq!((drain.wait, drain.timeout), (seconds(60), seconds(240)));
    assert_eq!(drain.on_timeout, Some(OnTimeout::Close));
    assert_eq!(
        (drain.idle_timeout, drain.spread),
        (seconds(90), seconds(0))
    );
    assert_eq!(drain.close_after, Some(None));
    assert!(drain.force);
}

#[test]
fn a_rollback_is_asked_by_its_query() {
    let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let pairs = [("wait", "1m"), ("keep_standby", ""), ("key", "k")];
    let fields = Fields::of_query(pairs.map(own).to_vec()).unwrap();
    let call = RollbackCall::from(RollbackQuery::read(&fields).unwrap());
    assert!(call.keep_standby);
    assert_eq!(call.key.as_deref(), Some("k"));
    assert_eq!(call.drain.wait, Some(Duration::from_secs(60)));
}

/// A body of a rollout with these additions and these other keys.
fn body(add: &str, rest: &str) -> String {
    format!(r#"{{"add": [{add}]{rest}}}"#)
}

#[tokio::test]
async fn bad_rollouts_are_refused_and_nothing_is_done() {
    let rig = Rig::new().await;
    let v2 = r#"{"id": "v2", "address": "127.0.0.1:1"}"#;
    let all = r#", "replace": "all""#;
    let with = |rest: &str| body(v2, &format!("{all}, {rest}"));
    let many = |count: usize| {
        let one = |n| format!(r#"{{"id": "n{n}", "address": "127.0.0.1:{}"}}"#, n + 1);
        (0..count).map(one).collect::<Vec<_>>().join(",")
    };
    let ids = |count: usize| {
        let ids: Vec<String> = (0..count).map(|n| format!("\"n{n}\"")).collect();
        body(v2, &format!(r#", "replace": [{}]"#, ids.join(",")))
    };
    for (body, message) in [
        ("{}".to_owned(), "body.add: is missing"),
        (
            body(v2, ""),
            "body.replace: is missing (expected \"all\" or a list of ids)",
        ),
        (
            r#"{"add": "v2", "replace": "all"}"#.to_owned(),
            "body.add: found \"v2\" (expected a list of objects)",
        ),
        (
            body("\"v2\"", all),
            "body.add[0]: found \"v2\" (expected an object)",
        ),
        (
            body("", all),
            "body.add: found 0 backends (expected 1 to 100)",
        ),
        (
            body(&many(101), all),
            "body.add: found 101 backends (expected 1 to 100)",
        ),
        (
            body(
                &format!(r#"{v2}, {{"id": "v3", "adress": "127.0.0.1:2"}}"#),
                all,
            ),
            "body.add[1]: unknown key \"adress\" (did you mean \"address\"?)",
        ),
        (
            body(&format!(r#"{v2}, {{"id": "v3"}}"#), all),
            "body.add[1].address: is missing",
        ),
        (
            body(r#"{"id": "v/2", "address": "127.0.0.1:1"}"#, all),
            "body.add[0].id: found \"v/2\" (expected a name of 1 to 64 letters, digits, '-', '_' or '.' that begins with a letter or digit)",
        ),
        (
            body(
                r#"{"id": "v2", "address": "127.0.0.1:1", "weight": 257}"#,
                all,
            ),
            "body.add[0].weight: found 257 (expected a weight from 1 to 256 (for no traffic use standby))",
        ),
        (
            body(
                &format!(r#"{v2}, {{"id": "v2", "address": "127.0.0.1:2"}}"#),
                all,
            ),
            "body.add[1].id: found \"v2\" (expected an id that add[0] does not have)",
        ),
        (
            body(
                &format!(r#"{v2}, {{"id": "v3", "address": "127.0.0.1:1"}}"#),
                all,
            ),
            "body.add[1].address: found \"127.0.0.1:1\" (expected an address that add[0] does not have)",
        ),
        (
            body(v2, r#", "replace": "every""#),
            "body.replace: found \"every\" (expected \"all\" or a list of ids)",
        ),
        (
            body(v2, r#", "replace": ["v1", 5]"#),
            "body.replace[1]: found 5 (expected a text in quotes)",
        ),
        (
            body(v2, r#", "replace": ["v1@3"]"#),
            "body.replace[0]: found \"v1@3\" (expected a name of 1 to 64 letters, digits, '-', '_' or '.' that begins with a letter or digit)",
        ),
        (
            body(v2, r#", "replace": ["v1", "v0", "v1"]"#),
            "body.replace[2]: found \"v1\" (expected an id that replace[0] does not have)",
        ),
        (ids(0), "body.replace: found 0 backends (expected 1 to 100)"),
        (
            ids(101),
            "body.replace: found 101 backends (expected 1 to 100)",
        ),
        (
            with(r#""keep_stanby": true"#),
            "body: unknown key \"keep_stanby\" (did you mean \"keep_standby\"?)",
        ),
        (
            with(r#""canary": "10""#),
            "body.canary: found \"10\" (expected a share from 0% to 100%, such as 10% or 0.5%)",
        ),
        (
            with(r#""min_eligible": 0"#),
            "body.min_eligible: found 0 (expected a whole number from 1 to 1000)",
        ),
        (
            with(r#""min_requests": -5"#),
            "body.min_requests: found -5 (expected a whole number from 1 to 1000000)",
        ),
        (
            with(r#""error_margin": "101%""#),
            "body.error_margin: found \"101%\" (expected a share from 0% to 100%, such as 10% or 0.5%)",
        ),
        (
            with(r#""sticky": "session""#),
            "body.sticky: found \"session\" (expected header:NAME or cookie:NAME, such as cookie:session)",
        ),
        (
            with(r#""auto_revert": "no""#),
            "body.auto_revert: found \"no\" (expected true or false)",
        ),
        (
            with(r#""key": "two words""#),
            "body.key: found \"two words\" (expected 1 to 128 printable ASCII characters without spaces)",
        ),
        (
            with(r#""key": """#),
            "body.key: found \"\" (expected 1 to 128 printable ASCII characters without spaces)",
        ),
        (
            with(r#""lock_wait": "25h""#),
            "body.lock_wait: found \"25h\" (expected at most 24h)",
        ),
        (
            with(r#""bake": "10""#),
            "body.bake: found \"10\" (expected a whole number and ms, s, m or h, such as 30s)",
        ),
        (
            with(r#""on_timeout": "cut""#),
            "body.on_timeout: found \"cut\" (expected keep or close)",
        ),
    ] {
        let refused = rig.tell("POST", "/v1/pools/web/rollout", &body).await;
        assert_eq!(refused.outcome(), (400, "invalid"), "{body}");
        assert_eq!(refused.message(), message);
    }
    assert_eq!(rig.control.status()[0].backends.len(), 2);
}

#[tokio::test]
async fn a_hundred_of_each_fit() {
    let one = |n| format!(r#"{{"id": "n{n}", "address": "127.0.0.1:{}"}}"#, n + 1);
    let add: Vec<String> = (0..100).map(one).collect();
    let old: Vec<String> = (0..100).map(|n| format!("\"o{n}\"")).collect();
    let text = body(
        &add.join(","),
        &format!(r#", "replace": [{}]"#, old.join(",")),
    );
    assert_eq!(read(&text).unwrap().add.len(), 100);
}

#[tokio::test]
async fn what_its_relatives_do_not_take_is_refused() {
    let rig = Rig::new().await;
    for (method, target, body, message) in [
        (
            "POST",
            "canary",
            r#"{"share": "25"}"#,
            "body.share: found \"25\" (expected a share from 0% to 100%, such as 10% or 0.5%)",
        ),
        ("POST", "canary", "{}", "body.share: is missing"),
        (
            "POST",
            "canary",
            r#"{"shares": "1%"}"#,
            "body: unknown key \"shares\" (did you mean \"share\"?)",
        ),
        (
            "POST",
            "promote?wiat=5s",
            "",
            "query: unknown key \"wiat\" (did you mean \"wait\"?)",
        ),
        (
            "POST",
            "rollback?key=a%20b",
            "",
            "query.key: found \"a b\" (expected 1 to 128 printable ASCII characters without spaces)",
        ),
        (
            "POST",
            "rollback",
            r#"{"key": "a"}"#,
            "body: found one (expected none: options go into the query)",
        ),
        (
            "POST",
            "abort?keep_standby",
            "",
            "query: unknown key \"keep_standby\" (expected one of wait)",
        ),
        (
            "GET",
            "history?limit=0",
            "",
            "query.limit: found \"0\" (expected a whole number from 1 to 100)",
        ),
        (
            "GET",
            "history?limit=+1",
            "",
            "query.limit: found \" 1\" (expected a whole number from 1 to 100)",
        ),
    ] {
        let target = format!("/v1/pools/web/{target}");
        let refused = rig.tell(method, &target, body).await;
        assert_eq!(refused.outcome(), (400, "invalid"), "{target}");
        assert_eq!(refused.message(), message);
    }
}

#[tokio::test]
async fn a_key_in_the_field_is_held_to_the_same_rule() {
    let rig = Rig::new().await;
    let long = "k".repeat(129);
    for (target, body) in [
        (
            "/v1/pools/web/rollout",
            r#"{"add": [{"id": "v2", "address": "127.0.0.1:1"}], "replace": "all"}"#,
        ),
        ("/v1/pools/web/rollback", ""),
    ] {
        let mut keyed = request("POST", target, body);
        let field = long.parse().unwrap();
        keyed.headers_mut().insert("idempotency-key", field);
        let refused = rig.send(keyed).await;
        assert_eq!(refused.outcome(), (400, "invalid"));
        let shown = "k".repeat(79);
        assert_eq!(
            refused.message(),
            format!(
                "field \"Idempotency-Key\": found \"{shown}… (expected 1 to 128 printable ASCII characters without spaces)"
            )
        );
    }
}
