//! What *drained* means, as far as requests and tunnels go.

use tokio::io::AsyncWriteExt;

use crate::support::pair::{DRAIN_A, enter, pair};
use crate::support::{App, Proxy, Setup, get, not_yet, within};

#[tokio::test]
async fn drain_waits_for_requests_already_claimed_and_answers_when_the_last_is_done() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let mut drain = proxy.admin_later("POST", DRAIN_A);
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    not_yet("drained", &mut drain).await;
    // New requests go to the other one while this is held.
    for _ in 0..20 {
        let other = proxy.fetch(get("/quick")).await.unwrap().unwrap();
        assert_eq!(other.text(), "b");
    }
    entered.release("done").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "done");
    let drained = within("the drain", drain).await.unwrap();
    assert_eq!(drained.status(), 200);
    let body = drained.json();
    assert_eq!(body["outcome"], "clean");
    assert_eq!(body["safe_to_kill"], true);
    assert_eq!(body["backend"]["drained"], true);
    assert_eq!(body["backend"]["requests"], 0);
    assert_eq!(body["backend"]["connections"], 0);
    assert_eq!(body["serving"][0]["id"], "b");
    assert_eq!(body["drain"]["cut_requests"], 0);
}

#[tokio::test]
async fn not_yet_says_what_blocks_and_a_second_call_waits_on() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let first = proxy.admin("POST", &format!("{DRAIN_A}?wait=50ms")).await;
    assert_eq!(first.status(), 408);
    assert_eq!(
        first.field("content-type"),
        Some("application/problem+json")
    );
    let body = first.json();
    assert_eq!(body["outcome"], "not_yet");
    assert_eq!(body["safe_to_kill"], false);
    let blocked = &body["drain"]["blocked_by"];
    assert_eq!(blocked.as_array().unwrap().len(), 1);
    assert_eq!(blocked[0]["kind"], "request");
    assert_eq!(blocked[0]["method"], "GET");
    assert_eq!(blocked[0]["path"], "/door");
    assert_eq!(blocked[0]["client"], "127.0.0.1");
    let second = proxy.admin_later("POST", DRAIN_A);
    entered.release("done").await;
    assert_eq!(
        within("the drain", second).await.unwrap().json()["outcome"],
        "clean"
    );
    assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    // Idempotent: asked again, the same answer.
    let again = proxy.admin("POST", DRAIN_A).await.json();
    assert_eq!(again["outcome"], "clean");
}

#[tokio::test]
async fn no_wait_begins_and_the_caller_may_hang_up() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let begun = proxy.admin("POST", &format!("{DRAIN_A}?wait=0s")).await;
    assert_eq!(
        (begun.status(), begun.json()["outcome"].clone()),
        (202, "begun".into())
    );
    let caller = proxy.admin_later("POST", DRAIN_A);
    caller.abort();
    entered.release("done").await;
    answer.await.unwrap().unwrap();
    proxy
        .until("a", "drained", |backend| backend["drained"] == true)
        .await;
}

#[tokio::test]
async fn ready_brings_a_draining_backend_back_and_the_drain_says_so() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let before = proxy.backend("a").await["generation"].clone();
    let drain = proxy.admin_later("POST", DRAIN_A);
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    let ready = proxy.admin("POST", "/v1/pools/web/backends/a/ready").await;
    assert_eq!(
        (ready.status(), ready.json()["outcome"].clone()),
        (200, "done".into())
    );
    let restored = within("the drain", drain).await.unwrap();
    assert_eq!(
        (restored.status(), restored.json()["outcome"].clone()),
        (409, "restored".into())
    );
    assert_eq!(restored.json()["safe_to_kill"], false);
    let after = proxy.backend("a").await;
    assert_eq!(after["generation"], before, "restored, not made anew");
    assert_eq!(after["eligible"], true, "health is kept");
    entered.release("done").await;
    answer.await.unwrap().unwrap();
}

#[tokio::test]
async fn ready_after_drained_makes_a_new_generation_that_is_probed_first() {
    let (_a, _b, proxy) = pair().await;
    let drained = proxy.admin("POST", DRAIN_A).await.json();
    assert_eq!(drained["outcome"], "clean");
    let ready = proxy
        .admin("POST", "/v1/pools/web/backends/a/ready")
        .await
        .json();
    assert_eq!(ready["outcome"], "done");
    let (old, new) = (drained["generation"].as_u64(), ready["generation"].as_u64());
    assert!(new > old, "{old:?} {new:?}");
    assert_eq!(ready["backend"]["eligible"], true);
    // The old generation is forgotten.
    let path = format!("/v1/pools/web/backends/a@{}", old.unwrap());
    assert_eq!(proxy.admin("GET", &path).await.status(), 404);
}

#[tokio::test]
async fn a_good_probe_does_not_end_a_drain_and_a_bad_one_is_not_hidden_by_it() {
    let (mut a, mut b, proxy) = pair().await;
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    proxy.admin("POST", &format!("{DRAIN_A}?wait=0s")).await;
    let probes = a.probes();
    within("probes during the drain", async {
        while a.probes() < probes + 3 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(proxy.backend("a").await["intent"], "draining");
    a.set_health(500);
    let seen = proxy
        .until("a", "unhealthy", |backend| backend["health"] == "unhealthy")
        .await;
    assert_eq!(seen["intent"], "draining");
    entered.release("done").await;
    answer.await.unwrap().unwrap();
    proxy
        .until("a", "drained", |backend| backend["drained"] == true)
        .await;
}

#[tokio::test]
async fn the_last_eligible_backend_is_refused_unless_forced() {
    let (_a, _b, proxy) = pair().await;
    proxy.admin("POST", "/v1/pools/web/backends/b/drain").await;
    let refused = proxy.admin("POST", DRAIN_A).await;
    assert_eq!(
        (refused.status(), refused.json()["outcome"].clone()),
        (409, "refused".into())
    );
    assert_eq!(
        refused.json()["message"],
        "web/a is the last eligible backend of its pool"
    );
    assert_eq!(
        proxy.fetch(get("/quick")).await.unwrap().unwrap().text(),
        "a"
    );
    let forced = proxy.admin("POST", &format!("{DRAIN_A}?force=true")).await;
    assert_eq!(
        (forced.status(), forced.json()["outcome"].clone()),
        (200, "clean".into())
    );
}

#[tokio::test]
async fn of_two_drains_of_a_pool_of_two_at_once_one_is_refused() {
    for _ in 0..5 {
        let (_a, _b, proxy) = pair().await;
        let (first, second) = tokio::join!(
            proxy.admin("POST", DRAIN_A),
            proxy.admin("POST", "/v1/pools/web/backends/b/drain")
        );
        let mut statuses = [first.status(), second.status()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
    }
}

#[tokio::test]
async fn an_address_that_lives_in_two_pools_is_not_safe_to_kill() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let mut setup = Setup::web(&[("a", &a), ("b", &b)]);
    setup.pool("other", &[("x", &a)], "");
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a", "b"]).await;
    assert!(
        proxy.log().contains("WARN"),
        "a warning at start: {}",
        proxy.log()
    );
    let refused = proxy.admin("POST", DRAIN_A).await;
    assert_eq!(refused.status(), 409);
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.ends_with("is live in other/x too"), "{message}");
    let forced = proxy.admin("POST", &format!("{DRAIN_A}?force")).await;
    assert_eq!(forced.json()["outcome"], "clean");
}

#[tokio::test]
async fn a_tunnel_is_counted_apart_and_holds_the_drain() {
    let (mut a, _b, proxy) = pair().await;
    proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    let mut client = proxy.client().await;
    client
        .send("GET /ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        .await;
    let mut entered = a.entered().await;
    assert_eq!(proxy.backend("a").await["requests"], 1);
    entered
        .wire
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        .await;
    assert_eq!(client.response().await.unwrap().status(), 101);
    let backend = proxy
        .until("a", "a tunnel", |backend| backend["tunnels"] == 1)
        .await;
    assert_eq!(backend["requests"], 0);
    let mut drain = proxy.admin_later("POST", &format!("{DRAIN_A}?force"));
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    not_yet("drained", &mut drain).await;
    // It still works both ways while it drains.
    client.send("ping").await;
    assert_eq!(entered.wire.exactly(4).await.unwrap(), b"ping");
    entered.wire.send("pong").await;
    assert_eq!(client.exactly(4).await.unwrap(), b"pong");
    client.stream.shutdown().await.unwrap();
    drop(entered);
    drop(client);
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "clean");
}

#[tokio::test]
async fn add_of_the_same_id_while_the_old_one_drains_makes_a_new_generation() {
    let (mut a, mut b, proxy) = pair().await;
    let old = proxy.backend("a").await["generation"].as_u64().unwrap();
    let (entered, answer) = enter(&proxy, &mut a, &mut b).await;
    proxy.admin("POST", &format!("{DRAIN_A}?wait=0s")).await;
    let next = App::start("next").await;
    let body = format!("{{\"id\": \"a\", \"address\": \"{}\"}}", next.address);
    let added = proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await;
    assert_eq!(
        (added.status(), added.json()["outcome"].clone()),
        (200, "done".into())
    );
    let new = added.json()["generation"].as_u64().unwrap();
    assert!(new > old);
    let still = proxy
        .admin("GET", &format!("/v1/pools/web/backends/a@{old}"))
        .await
        .json();
    assert_eq!(still["backend"]["intent"], "draining");
    assert_eq!(still["backend"]["requests"], 1);
    entered.release("done").await;
    answer.await.unwrap().unwrap();
    let path = format!("/v1/pools/web/backends/a@{old}?wait_for=drained&wait=10s");
    assert_eq!(proxy.admin("GET", &path).await.json()["outcome"], "clean");
}

/// The drain was not known yet when its intent was published, and a waiter that woke in between
/// was told "not draining".
#[tokio::test]
async fn a_wait_for_drained_that_began_before_the_drain_ends_with_it() {
    let (_a, _b, proxy) = pair().await;
    for _ in 0..20 {
        let path = "/v1/pools/web/backends/a?wait_for=drained&wait=10s";
        let waiting = proxy.admin_later("GET", path);
        tokio::task::yield_now().await;
        proxy.admin("POST", &format!("{DRAIN_A}?wait=0s")).await;
        let waited = within("the wait", waiting).await.unwrap();
        assert_eq!(waited.json()["outcome"], "clean", "{}", waited.text());
        let ready = proxy.admin("POST", "/v1/pools/web/backends/a/ready").await;
        assert_eq!(ready.json()["outcome"], "done");
    }
}
