//! What ends a drain before the last byte: its clocks, and `close`.

use crate::support::pair::{DRAIN_A, enter, pair};
use crate::support::{App, End, Proxy, Setup, assert_drain_closed, get, one_script, within};

#[tokio::test]
async fn a_timeout_that_closes_cuts_what_is_left_and_says_so() {
    let (mut a, mut b, proxy) = pair().await;
    let (_entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let path = format!("{DRAIN_A}?timeout=50ms&on_timeout=close");
    let forced = within("the drain", proxy.admin("POST", &path)).await;
    assert_eq!(
        (forced.status(), forced.json()["outcome"].clone()),
        (200, "forced".into())
    );
    let body = forced.json();
    assert_eq!(body["safe_to_kill"], true);
    assert_eq!(body["drain"]["cut_requests"], 1);
    assert_eq!(body["drain"]["cut"][0]["path"], "/door");
    assert_drain_closed(answer.await.unwrap());
}

#[tokio::test]
async fn an_idle_exchange_is_cut_and_a_moving_one_may_finish() {
    let (mut a, _b, proxy) = pair().await;
    // With the other one out of the way both requests go to `a`.
    proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    let dead_answer = proxy.fetch(get("/door"));
    let _dead = a.entered().await;
    let moving_answer = proxy.fetch(get("/door"));
    let mut moving = a.entered().await;
    moving
        .wire
        .send("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
        .await;
    let path = format!("{DRAIN_A}?force&idle_timeout=400ms&on_timeout=close");
    let drain = proxy.admin_later("POST", &path);
    for _ in 0..30 {
        moving.wire.send(".").await;
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    let forced = within("the drain", drain).await.unwrap().json();
    assert_eq!(forced["outcome"], "forced");
    assert_eq!(forced["drain"]["cut_requests"], 1);
    assert_drain_closed(dead_answer.await.unwrap());
    assert_eq!(moving_answer.await.unwrap().unwrap().body.len(), 30);
    moving.done();
}

/// A second call without options took the pool's defaults for tighter clocks.
#[tokio::test]
async fn a_second_drain_changes_only_the_clocks_that_it_names() {
    let mut a = App::start("a").await;
    let b = App::start("b").await;
    let keys = "drain: {timeout: 50ms, on_timeout: close}";
    let proxy = Proxy::start(Setup::web_with(&[("a", &a), ("b", &b)], keys)).await;
    proxy.until_healthy(&["a", "b"]).await;
    proxy
        .admin("POST", "/v1/pools/web/backends/b/standby")
        .await;
    let answer = proxy.fetch(get("/door"));
    let entered = a.entered().await;
    let kept = format!("{DRAIN_A}?force&timeout=1h&on_timeout=keep&wait=10ms");
    assert_eq!(
        proxy.admin("POST", &kept).await.json()["outcome"],
        "not_yet"
    );
    let again = proxy.admin("POST", &format!("{DRAIN_A}?wait=300ms")).await;
    assert_eq!(again.json()["outcome"], "not_yet", "{}", again.text());
    let tightened = format!("{DRAIN_A}?timeout=1ms&on_timeout=close");
    let forced = within("the drain", proxy.admin("POST", &tightened)).await;
    assert_eq!(forced.json()["outcome"], "forced");
    assert_drain_closed(answer.await.unwrap());
    drop(entered);
}

/// Of another protocol than WebSocket (`websocket_close`): their ends close when they are told the end.
#[tokio::test]
async fn tunnels_are_cut_over_the_window_after_close_after() {
    let (mut script, proxy) = one_script().await;
    let mut ends = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = proxy.client().await;
        client
            .send("GET /raw HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
            .await;
        let (mut inside, _) = script.asked().await;
        inside
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
            .await;
        assert_eq!(client.answer().await.status(), 101);
        ends.spawn(async move { client.end().await });
        ends.spawn(async move { inside.end().await });
    }
    let path = format!("{DRAIN_A}?force&close_after=100ms&spread=300ms");
    let begun = std::time::Instant::now();
    let drained = within("the drain", proxy.admin("POST", &path)).await.json();
    let took = begun.elapsed();
    assert_eq!(drained["outcome"], "forced");
    assert_eq!(drained["drain"]["cut_tunnels"], 4);
    assert_eq!(drained["drain"]["cut_requests"], 0);
    let window = std::time::Duration::from_millis(100)..std::time::Duration::from_secs(5);
    assert!(window.contains(&took), "{took:?}");
    assert_eq!(ends.join_all().await, vec![(Vec::new(), End::Closed); 8]);
}

#[tokio::test]
async fn close_cuts_at_once_and_ends_the_waiting_drain_as_forced() {
    let (mut a, mut b, proxy) = pair().await;
    let refused = proxy.admin("POST", "/v1/pools/web/backends/a/close").await;
    assert_eq!(refused.status(), 409, "not while it is active");
    let (_entered, answer) = enter(&proxy, &mut a, &mut b).await;
    let drain = proxy.admin_later("POST", DRAIN_A);
    proxy
        .until("a", "draining", |backend| backend["intent"] == "draining")
        .await;
    let closed = within(
        "close",
        proxy.admin("POST", "/v1/pools/web/backends/a/close"),
    )
    .await;
    assert_eq!(closed.json()["outcome"], "forced");
    let drained = within("the drain", drain).await.unwrap().json();
    assert_eq!(drained["outcome"], "forced");
    assert_drain_closed(answer.await.unwrap());
}
