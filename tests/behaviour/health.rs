//! Health: what the probes saw decides who is eligible; what the operator wants is another matter.

use crate::support::{App, Proxy, Setup, get, within};

#[tokio::test]
async fn a_backend_that_fails_its_probes_gets_nothing_until_it_is_good_again() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web(&[("a", &a), ("b", &b)])).await;
    proxy.until_healthy(&["a", "b"]).await;
    a.set_health(503);
    let sick = proxy
        .until("a", "unhealthy", |backend| backend["health"] == "unhealthy")
        .await;
    assert_eq!(sick["intent"], "active");
    assert_eq!(sick["eligible"], false);
    assert_eq!(
        sick["last_probe"]["detail"],
        "status 503 (expected 200-299)"
    );
    for _ in 0..20 {
        assert_eq!(
            proxy.fetch(get("/quick")).await.unwrap().unwrap().text(),
            "b"
        );
    }
    a.set_health(200);
    proxy.until_healthy(&["a"]).await;
    within("traffic on a", async {
        while proxy.fetch(get("/quick")).await.unwrap().unwrap().text() != "a" {}
    })
    .await;
    let log = proxy.log();
    let changes = log
        .lines()
        .filter(|line| line.contains("web/a@") && line.contains("health_changed"));
    assert_eq!(
        changes.count(),
        3,
        "healthy, unhealthy, healthy: each once\n{log}"
    );
}

#[tokio::test]
async fn an_unknown_backend_is_not_eligible() {
    let (good, sick) = (App::start("good").await, App::start("sick").await);
    sick.set_health(500);
    let proxy = Proxy::start(Setup::web(&[("good", &good), ("sick", &sick)])).await;
    proxy.until_healthy(&["good"]).await;
    for _ in 0..20 {
        assert_eq!(
            proxy.fetch(get("/quick")).await.unwrap().unwrap().text(),
            "good"
        );
    }
    assert_eq!(sick.connections(), 0);
}

#[tokio::test]
async fn a_dead_backend_loses_no_request_that_had_no_answer_and_is_taken_out_at_once() {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    // Probes so seldom that only the one asked for by the failing connection can take it out.
    let keys = "health: {http: /up, interval: 1h, timeout: 1s, rise: 1, fall: 1}";
    let proxy = Proxy::start(Setup::web_with(&[("a", &a), ("b", &b)], keys)).await;
    proxy.until_healthy(&["a", "b"]).await;
    let address = a.address.clone();
    a.kill();
    for _ in 0..50 {
        let answer = proxy.fetch(get("/quick")).await.unwrap().unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "b"));
    }
    proxy
        .until("a", "unhealthy", |backend| backend["health"] == "unhealthy")
        .await;
    // With an hour between probes it comes back when somebody asks: here, by being added anew.
    let _back = App::at(&address, "a").await;
    proxy.admin("POST", "/v1/pools/web/backends/a/drain").await;
    let ready = proxy.admin("POST", "/v1/pools/web/backends/a/ready").await;
    assert_eq!(ready.json()["outcome"], "done");
}

#[tokio::test]
async fn a_backend_that_comes_back_serves_again() {
    let (mut a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web(&[("a", &a), ("b", &b)])).await;
    proxy.until_healthy(&["a", "b"]).await;
    let address = a.address.clone();
    a.kill();
    proxy
        .until("a", "unhealthy", |backend| backend["health"] == "unhealthy")
        .await;
    let _back = App::at(&address, "back").await;
    proxy.until_healthy(&["a"]).await;
    within("traffic on it", async {
        while proxy.fetch(get("/quick")).await.unwrap().unwrap().text() != "back" {}
    })
    .await;
}

#[tokio::test]
async fn add_waits_for_healthy_and_removes_what_does_not_get_there() {
    let a = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    proxy.until_healthy(&["a"]).await;
    let sick = App::start("sick").await;
    sick.set_health(500);
    let body = format!(
        "{{\"id\": \"n\", \"address\": \"{}\", \"wait\": \"300ms\"}}",
        sick.address
    );
    let failed = within(
        "add",
        proxy.admin_with("POST", "/v1/pools/web/backends", &body),
    )
    .await;
    assert_eq!(
        (failed.status(), failed.json()["outcome"].clone()),
        (409, "failed".into())
    );
    assert_eq!(
        failed.json()["message"],
        "web/n did not get healthy within 300ms (last probe: status 500 (expected 200-299)); it was removed"
    );
    assert_eq!(failed.json()["serving"][0]["id"], "a");
    assert_eq!(
        proxy
            .admin("GET", "/v1/pools/web/backends/n")
            .await
            .status(),
        404
    );
    sick.set_health(200);
    let added = proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await;
    assert_eq!(
        (added.status(), added.json()["outcome"].clone()),
        (200, "done".into())
    );
    assert_eq!(added.json()["backend"]["eligible"], true);
    // The same once more is done already; another address under the id is refused.
    let again = proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await;
    assert_eq!(again.json()["generation"], added.json()["generation"]);
    let other = body.replace(&sick.address, "127.0.0.1:1");
    let refused = proxy
        .admin_with("POST", "/v1/pools/web/backends", &other)
        .await;
    assert_eq!(
        (refused.status(), refused.json()["outcome"].clone()),
        (409, "refused".into())
    );
    let same_address = body.replace("\"n\"", "\"m\"");
    let refused = proxy
        .admin_with("POST", "/v1/pools/web/backends", &same_address)
        .await;
    assert_eq!(refused.status(), 409);
}

#[tokio::test]
async fn standby_is_probed_but_gets_no_requests_until_it_is_ready() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    proxy.until_healthy(&["a"]).await;
    let body = format!(
        "{{\"id\": \"b\", \"address\": \"{}\", \"standby\": true}}",
        b.address
    );
    let added = proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await
        .json();
    assert_eq!(added["outcome"], "done");
    assert_eq!(added["backend"]["health"], "healthy");
    assert_eq!(added["backend"]["eligible"], false);
    for _ in 0..20 {
        assert_eq!(
            proxy.fetch(get("/quick")).await.unwrap().unwrap().text(),
            "a"
        );
    }
    proxy.admin("POST", "/v1/pools/web/backends/b/ready").await;
    let stood = proxy
        .admin("POST", "/v1/pools/web/backends/a/standby")
        .await;
    assert_eq!(stood.json()["outcome"], "done");
    for _ in 0..20 {
        assert_eq!(
            proxy.fetch(get("/quick")).await.unwrap().unwrap().text(),
            "b"
        );
    }
    let refused = proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    assert_eq!(refused.status(), 409, "the last eligible one");
}

#[tokio::test]
async fn tcp_probes_take_a_connection_for_health() {
    let mut a = App::start("a").await;
    let keys = "health: {tcp: true, interval: 50ms, timeout: 50ms, rise: 1, fall: 2}";
    let proxy = Proxy::start(Setup::web_with(&[("a", &a)], keys)).await;
    a.set_health(500);
    proxy.until_healthy(&["a"]).await;
    a.kill();
    proxy
        .until("a", "unhealthy", |backend| backend["health"] == "unhealthy")
        .await;
}

#[tokio::test]
async fn wait_for_healthy_answers_when_it_is_or_when_the_wait_is_over() {
    let a = App::start("a").await;
    a.set_health(500);
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    let path = "/v1/pools/web/backends/a?wait_for=healthy&wait=";
    let over = proxy.admin("GET", &format!("{path}100ms")).await;
    assert_eq!(
        (over.status(), over.json()["outcome"].clone()),
        (408, "not_healthy_yet".into())
    );
    let waiting = proxy.admin_later("GET", &format!("{path}20s"));
    a.set_health(200);
    let healthy = within("healthy", waiting).await.unwrap();
    assert_eq!(
        (healthy.status(), healthy.json()["outcome"].clone()),
        (200, "done".into())
    );
}

#[tokio::test]
async fn weights_share_the_requests_and_change_while_it_runs() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web_with(
        &[("a", &a), ("b", &b)],
        "balance: round_robin",
    ))
    .await;
    proxy.until_healthy(&["a", "b"]).await;
    let weighed = proxy
        .admin_with("PATCH", "/v1/pools/web/backends/a", "{\"weight\": 3}")
        .await;
    assert_eq!(
        (
            weighed.status(),
            weighed.json()["backend"]["weight"].clone()
        ),
        (200, 3.into())
    );
    let mut client = proxy.client().await;
    let mut to_a = 0;
    for _ in 0..80 {
        to_a += usize::from(client.exchange(get("/quick")).await.unwrap().text() == "a");
    }
    assert_eq!(to_a, 60);
    let bad = proxy
        .admin_with("PATCH", "/v1/pools/web/backends/a", "{\"weight\": 0}")
        .await;
    assert_eq!(
        (bad.status(), bad.json()["outcome"].clone()),
        (400, "invalid".into())
    );
}

/// The same where a connection was made and died: the next probe would be an hour away.
#[tokio::test]
async fn a_backend_that_dies_without_an_answer_is_probed_at_once() {
    let mut a = App::start("a").await;
    let keys = "health: {http: /up, interval: 1h, timeout: 1s, rise: 1, fall: 1}";
    let proxy = Proxy::start(Setup::web_with(&[("a", &a)], keys)).await;
    proxy.until_healthy(&["a"]).await;
    a.set_health(503);
    let answer = proxy.fetch("POST /door HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
    drop(a.entered().await);
    assert_eq!(answer.await.unwrap().unwrap().status(), 502);
    proxy
        .until("a", "unhealthy", |backend| backend["health"] == "unhealthy")
        .await;
}
