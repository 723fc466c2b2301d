//! Retries: what may be sent again, where to, and how it is counted.

use crate::support::{App, Proxy, Setup, get, post, within};

async fn pair() -> (App, App, Proxy) {
    let (a, b) = (App::start("a").await, App::start("b").await);
    // One probe at the start; none that would take a backend out while the test kills connections.
    let keys =
        "health: {http: /up, interval: 1h, timeout: 5s, rise: 1, fall: 100}\nbalance: round_robin";
    let proxy = Proxy::start(Setup::web_with(&[("a", &a), ("b", &b)], keys)).await;
    proxy.until_healthy(&["a", "b"]).await;
    (a, b, proxy)
}

/// The request that entered one of two apps, and the other app.
async fn entered<'a>(
    a: &'a mut App,
    b: &'a mut App,
) -> (crate::support::app::Entered, &'a mut App) {
    within("a request to enter", async {
        while a.is_quiet() && b.is_quiet() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
    match a.is_quiet() {
        false => (a.entered().await, b),
        true => (b.entered().await, a),
    }
}

#[tokio::test]
async fn a_get_on_a_dying_connection_is_sent_to_the_other_backend_once() {
    let (mut a, mut b, proxy) = pair().await;
    let answer = proxy.fetch(get("/door"));
    let (first, other) = entered(&mut a, &mut b).await;
    drop(first);
    other.entered().await.release("second try").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "second try");
    assert!(a.is_quiet() && b.is_quiet());
}

#[tokio::test]
async fn a_put_is_sent_again_with_its_body() {
    let (mut a, mut b, proxy) = pair().await;
    let answer = proxy.fetch(post("/door", "the body").replace("POST", "PUT"));
    let (first, other) = entered(&mut a, &mut b).await;
    assert_eq!(first.request.body, b"the body");
    drop(first);
    let second = other.entered().await;
    assert_eq!(second.request.body, b"the body");
    second.release("stored").await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "stored");
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let (mut a, mut b, proxy) = pair().await;
    let answer = proxy.fetch(post("/door", "pay"));
    let (first, _) = entered(&mut a, &mut b).await;
    drop(first);
    let failed = answer.await.unwrap().unwrap();
    assert_eq!(
        (failed.status(), failed.field("x-tidegate-error")),
        (502, Some("upstream_reset"))
    );
    assert!(a.is_quiet() && b.is_quiet(), "it was sent again");
}

#[tokio::test]
async fn nothing_is_sent_again_after_half_an_answer() {
    let (mut a, mut b, proxy) = pair().await;
    let answer = proxy.fetch(get("/door"));
    let (mut first, _) = entered(&mut a, &mut b).await;
    first
        .wire
        .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    drop(first);
    assert!(answer.await.unwrap().is_err());
    assert!(a.is_quiet() && b.is_quiet(), "it was sent again");
}

#[tokio::test]
async fn a_refused_connection_is_retried_whatever_the_method() {
    let (mut a, b, proxy) = pair().await;
    a.kill();
    for _ in 0..10 {
        let mut client = proxy.client().await;
        let request = "POST /quick HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx";
        let answer = client.exchange(request).await.unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "b"));
    }
    assert!(b.connections() > 0);
}

#[tokio::test]
async fn a_retry_is_counted_on_one_backend_at_a_time() {
    let (mut a, mut b, proxy) = pair().await;
    let answer = proxy.fetch(get("/door"));
    let (first, other) = entered(&mut a, &mut b).await;
    drop(first);
    let second = other.entered().await;
    let mut requests = Vec::new();
    for id in ["a", "b"] {
        requests.push(proxy.backend(id).await["requests"].as_u64().unwrap());
    }
    requests.sort_unstable();
    assert_eq!(requests, [0, 1]);
    second.release("done").await;
    answer.await.unwrap().unwrap();
    for id in ["a", "b"] {
        proxy
            .until(id, "idle", |backend| backend["requests"] == 0)
            .await;
    }
}

#[tokio::test]
async fn with_every_backend_refusing_the_client_is_told_fast() {
    let (mut a, mut b, proxy) = pair().await;
    a.kill();
    b.kill();
    let answer = within("502", proxy.fetch(get("/quick")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (answer.status(), answer.field("x-tidegate-error")),
        (502, Some("connect_failed"))
    );
}

/// A kept connection that had died was held against its backend: with one backend, which is the
/// state after every drain, the client got 502.
#[tokio::test]
async fn a_get_on_a_dead_kept_connection_goes_to_the_same_backend_on_a_new_one() {
    let mut app = App::start("a").await;
    let proxy = Proxy::start(Setup::web(&[("a", &app)])).await;
    proxy.until_healthy(&["a"]).await;
    let mut deaths = 0;
    for _ in 0..50 {
        let answer = proxy.fetch(get("/door"));
        app.entered().await.release("first").await;
        answer.await.unwrap().unwrap();
        // The count goes back after the connection was put away.
        proxy
            .until("a", "idle", |backend| backend["requests"] == 0)
            .await;
        let connections = app.connections();
        let answer = proxy.fetch(get("/door"));
        let second = app.entered().await;
        if app.connections() > connections {
            // pingora could not take the kept one back from its own watcher and made a new one.
            second.release("new").await;
            answer.await.unwrap().unwrap();
            continue;
        }
        // On the connection that was kept: it dies without an answer.
        drop(second);
        app.entered().await.release("again").await;
        let answer = within("the answer", answer).await.unwrap().unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "again"));
        deaths += 1;
        if deaths == 5 {
            return;
        }
    }
    panic!("{deaths} of 50 requests met a kept connection");
}
