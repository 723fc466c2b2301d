//! What is refused before any operation, in full.

use super::*;

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_problems() {
    let rig = Rig::new().await;
    let unknown = rig.call("GET", "/v1/nope").await;
    assert_eq!(unknown.outcome(), (404, "invalid"));
    assert_eq!(unknown.message(), "there is no \"/v1/nope\"");
    let wrong = rig.call("PUT", "/v1/pools/web/backends/a").await;
    assert_eq!(wrong.outcome(), (405, "invalid"));
    let mut allowed: Vec<&str> = wrong.field("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PATCH"]);
    assert_eq!(
        wrong.message(),
        "\"/v1/pools/web/backends/a\" does not take PUT"
    );
    let wrong = rig.call("GET", "/v1/reload").await;
    assert_eq!((wrong.status, wrong.field("allow")), (405, "POST"));
}

#[tokio::test]
async fn bad_queries_are_refused_and_nothing_is_done() {
    let rig = Rig::new().await;
    for (target, message) in [
        (
            "a/drain?time_out=5s",
            "query: unknown key \"time_out\" (did you mean \"timeout\"?)",
        ),
        (
            "a/drain?wait=5",
            "query.wait: found \"5\" (expected a whole number and ms, s, m or h, such as 30s)",
        ),
        (
            "a/drain?wait=25h",
            "query.wait: found \"25h\" (expected at most 24h)",
        ),
        (
            "a/drain?on_timeout=cut",
            "query.on_timeout: found \"cut\" (expected keep or close)",
        ),
        (
            "a/drain?force=maybe",
            "query.force: found \"maybe\" (expected true or false)",
        ),
        (
            "a/drain?wait=1s&wait=2s",
            "query.wait: given twice (expected once)",
        ),
        (
            "a/standby?wait=1s",
            "query: unknown key \"wait\" (expected one of force, min_eligible)",
        ),
        (
            "a/drain?min_eligible=0",
            "query.min_eligible: found \"0\" (expected a number from 1 to 1000)",
        ),
        (
            "a@x/drain",
            "path id: found \"a@x\" (expected a generation number after '@', such as a@7)",
        ),
    ] {
        let refused = rig.post(target).await;
        assert_eq!(refused.outcome(), (400, "invalid"), "{target}");
        assert_eq!(refused.message(), message);
    }
    let alone = rig.call("GET", "/v1/pools/web/backends/a?wait=1s").await;
    assert_eq!(
        alone.message(),
        "query.wait: found without wait_for (expected both)"
    );
    let pause = rig.call("POST", "/v1/pools/web/pause?ttl=25h").await;
    assert_eq!(
        pause.message(),
        "query.ttl: found \"25h\" (expected more than 0s, at most 24h)"
    );
    let reload = rig.call("POST", "/v1/reload?force").await;
    assert_eq!(
        reload.message(),
        "query: unknown key \"force\" (expected none here)"
    );
    assert!(!rig.backend("a").reading().is_draining());
}

#[tokio::test]
async fn bad_bodies_are_refused_and_nothing_is_done() {
    let rig = Rig::new().await;
    for (body, message) in [
        (
            "",
            "body: EOF while parsing a value at line 1 column 0 (expected a JSON object)",
        ),
        (
            r#"{"id":"c""#,
            "body: EOF while parsing an object at line 1 column 9 (expected a JSON object)",
        ),
        (r#"{"id":"c"}"#, "body.address: is missing"),
        (
            r#"{"id":"c","adress":"127.0.0.1:1"}"#,
            "body: unknown key \"adress\" (did you mean \"address\"?)",
        ),
        (
            r#"{"id":"c","address":"127.0.0.1"}"#,
            "body.address: found \"127.0.0.1\" (expected host:port, [v6]:port or unix:/path, such as 127.0.0.1:8080)",
        ),
        (
            r#"{"id":"c","address":"127.0.0.1:1","weight":0}"#,
            "body.weight: found 0 (expected a weight from 1 to 256 (for no traffic use standby))",
        ),
        (
            r#"{"id":"c","address":"127.0.0.1:1","wait":60}"#,
            "body.wait: found 60 (expected a text in quotes)",
        ),
    ] {
        let refused = rig.tell("POST", "/v1/pools/web/backends", body).await;
        assert_eq!(refused.outcome(), (400, "invalid"), "{body}");
        assert_eq!(refused.message(), message);
    }
    let weight = rig
        .tell("PATCH", "/v1/pools/web/backends/a", r#"{"weight":"2"}"#)
        .await;
    assert_eq!(
        weight.message(),
        "body.weight: found \"2\" (expected a number)"
    );
    let unread = rig
        .tell("POST", "/v1/pools/web/backends/a/drain", "{}")
        .await;
    assert_eq!(
        unread.message(),
        "body: found one (expected none: options go into the query)"
    );
    assert_eq!(rig.control.status()[0].eligible, 2);
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let rig = Rig::new().await;
    let large = "x".repeat(BODY_BYTES_MAX + 1);
    let refused = rig.tell("POST", "/v1/pools/web/backends", &large).await;
    assert_eq!(refused.outcome(), (413, "invalid"));
    assert_eq!(refused.message(), "body: found more than 65536 bytes");
    let fits = " ".repeat(BODY_BYTES_MAX);
    let refused = rig.tell("POST", "/v1/pools/web/backends", &fits).await;
    assert_eq!(refused.outcome(), (400, "invalid"));
}
