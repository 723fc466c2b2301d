//! Reload: all or nothing, and the merge rule.

use rustix::process::Signal;

use crate::support::{App, Proxy, Setup, get, within};

#[tokio::test]
async fn a_rejected_reload_says_every_problem_and_keeps_serving() {
    let a = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    proxy.until_healthy(&["a"]).await;
    let before = proxy.backend("a").await;
    std::fs::write(
        proxy.path("config.yaml"),
        "pools: {web: {helth: 1}}\nlisteners: []\n",
    )
    .unwrap();
    let rejected = proxy.admin("POST", "/v1/reload").await;
    assert_eq!(
        (rejected.status(), rejected.json()["outcome"].clone()),
        (422, "rejected".into())
    );
    let message = rejected.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("pools.web.helth"), "{message}");
    assert!(message.contains("listeners"), "{message}");
    assert_eq!(proxy.backend("a").await["generation"], before["generation"]);
    assert_eq!(
        proxy.fetch(get("/quick")).await.unwrap().unwrap().text(),
        "a"
    );
}

#[tokio::test]
async fn what_the_file_gained_is_added_what_it_lost_is_drained_and_removed() {
    let (mut a, b, c) = (
        App::start("a").await,
        App::start("b").await,
        App::start("c").await,
    );
    let mut proxy = Proxy::start(Setup::web(&[("a", &a), ("b", &b)])).await;
    proxy.until_healthy(&["a", "b"]).await;
    let kept = proxy.backend("b").await["generation"].clone();
    proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    let answer = proxy.fetch(get("/door"));
    let entered = a.entered().await;
    proxy.rewrite(Setup::web(&[("b", &b), ("c", &c)]));
    let reloaded = proxy.admin("POST", "/v1/reload").await.json();
    assert_eq!(reloaded["outcome"], "done");
    assert_eq!(
        reloaded["message"],
        "reloaded: 1 added, 1 drained, 0 reweighted"
    );
    proxy.until_healthy(&["c"]).await;
    assert_eq!(proxy.backend("a").await["intent"], "draining");
    let b_now = proxy.backend("b").await;
    assert_eq!(b_now["generation"], kept, "carried over by identity");
    assert_eq!(b_now["intent"], "standby", "what the API did stays");
    entered.release("finished").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "finished");
    within("a to be removed", async {
        while proxy
            .admin("GET", "/v1/pools/web/backends/a")
            .await
            .status()
            != 404
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_api_added_survives_a_reload() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    let body = format!("{{\"id\": \"b\", \"address\": \"{}\"}}", b.address);
    proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await;
    proxy
        .admin_with("PATCH", "/v1/pools/web/backends/a", "{\"weight\": 7}")
        .await;
    let reloaded = proxy.admin("POST", "/v1/reload").await.json();
    assert_eq!(
        reloaded["message"],
        "reloaded: 0 added, 0 drained, 0 reweighted"
    );
    assert_eq!(proxy.backend("b").await["origin"], "api");
    assert_eq!(proxy.backend("a").await["weight"], 7);
}

#[tokio::test]
async fn a_pool_that_the_file_lost_goes_when_its_last_request_is_done() {
    let (a, mut gone) = (App::start("a").await, App::start("gone").await);
    let mut setup = Setup::web(&[("a", &a)]);
    setup.pool("old", &[("x", &gone)], "");
    setup.extra = "routes: [{pool: web}, {host: old.test, pool: old}]\n".into();
    let mut proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    let answer = proxy.fetch("GET /door HTTP/1.1\r\nHost: old.test\r\n\r\n");
    let entered = gone.entered().await;
    proxy.rewrite(Setup::web(&[("a", &a)]));
    assert_eq!(
        proxy.admin("POST", "/v1/reload").await.json()["outcome"],
        "done"
    );
    let request = "GET /quick HTTP/1.1\r\nHost: old.test\r\n\r\n";
    assert_eq!(proxy.fetch(request).await.unwrap().unwrap().text(), "a");
    assert_eq!(
        proxy.admin("GET", "/v1/pools/old").await.json()["pool"]["leaving"],
        true
    );
    entered.release("finished").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "finished");
    within("the pool to go", async {
        while proxy.admin("GET", "/v1/pools/old").await.status() != 404 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// What the limit on open files makes of the file was taken for a change of it.
#[tokio::test]
async fn a_reload_of_a_file_that_has_not_changed_warns_of_nothing() {
    let a = App::start("a").await;
    let mut setup = Setup::web(&[("a", &a)]);
    setup.extra = "client: {connections_max: 1000000}\n".into();
    let proxy = Proxy::start(setup).await;
    assert!(
        proxy.log().contains("limit on open files"),
        "{}",
        proxy.log()
    );
    let reloaded = proxy.admin("POST", "/v1/reload").await.json();
    assert_eq!(reloaded["outcome"], "done");
    assert!(reloaded["warnings"].is_null(), "{reloaded}");
}

#[tokio::test]
async fn sighup_reloads() {
    let (a, b) = (App::start("a").await, App::start("b").await);
    let mut proxy = Proxy::start(Setup::web(&[("a", &a)])).await;
    proxy.rewrite(Setup::web(&[("a", &a), ("b", &b)]));
    proxy.signal(Signal::HUP);
    proxy.until_healthy(&["b"]).await;
}
