//! Holding: without an eligible backend a request waits, within bounds, and goes on in order.

use crate::support::{App, Proxy, Setup, get, within};

#[tokio::test]
async fn held_requests_go_on_the_moment_a_backend_is_eligible() {
    let mut a = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[])).await;
    let held: Vec<_> = (0..20)
        .map(|n| proxy.fetch(get(&format!("/door/{n}"))))
        .collect();
    proxy.until_held(20).await;
    assert!(a.is_quiet());
    let body = format!("{{\"id\": \"a\", \"address\": \"{}\"}}", a.address);
    let added = proxy
        .admin_with("POST", "/v1/pools/web/backends", &body)
        .await;
    assert_eq!(added.json()["outcome"], "done");
    for _ in 0..20 {
        a.entered().await.release("served").await;
    }
    for answer in held {
        assert_eq!(answer.await.unwrap().unwrap().text(), "served");
    }
    proxy.until_held(0).await;
}

#[tokio::test]
async fn a_request_is_held_no_longer_than_the_timeout() {
    let proxy = Proxy::start(Setup::web_with(&[], "hold: {timeout: 50ms}")).await;
    let answer = within("503", proxy.fetch(get("/"))).await.unwrap().unwrap();
    assert_eq!(
        (answer.status(), answer.field("x-tidegate-error")),
        (503, Some("held_too_long"))
    );
    assert_eq!(answer.field("retry-after"), Some("1"));
}

#[tokio::test]
async fn no_more_than_max_requests_are_held() {
    let proxy = Proxy::start(Setup::web_with(
        &[],
        "hold: {timeout: 20s, max_requests: 2}",
    ))
    .await;
    let held = [proxy.fetch(get("/")), proxy.fetch(get("/"))];
    proxy.until_held(2).await;
    let answer = within("503", proxy.fetch(get("/"))).await.unwrap().unwrap();
    assert_eq!(
        (answer.status(), answer.field("x-tidegate-error")),
        (503, Some("no_backend"))
    );
    assert_eq!(answer.field("retry-after"), Some("1"));
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_held_client_that_goes_away_frees_its_place() {
    let proxy = Proxy::start(Setup::web_with(&[], "hold: {timeout: 1h}")).await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    proxy.until_held(1).await;
    drop(client);
    proxy.until_held(0).await;
}

/// Its end lies behind more bytes than are read of a request that waits.
#[tokio::test]
async fn a_held_client_that_goes_away_in_mid_upload_frees_its_place() {
    let proxy = Proxy::start(Setup::web_with(&[], "hold: {timeout: 1h}")).await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n")
        .await;
    client.send(vec![b'x'; 100_000]).await;
    proxy.until_held(1).await;
    drop(client);
    proxy.until_held(0).await;
}

#[tokio::test]
async fn hold_of_zero_answers_at_once() {
    let proxy = Proxy::start(Setup::web_with(&[], "hold: {timeout: 0s}")).await;
    let answer = within("503", proxy.fetch(get("/"))).await.unwrap().unwrap();
    assert_eq!(
        (answer.status(), answer.field("x-tidegate-error")),
        (503, Some("no_backend"))
    );
}
