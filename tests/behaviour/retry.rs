//! Retries: what may be sent again, where to, and how it is counted.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::support::script::ok;
use crate::support::{App, Proxy, Script, Setup, Wire, get, post, within};

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

/// A script with a connection to it that is kept, and a client.
async fn kept() -> (Script, Proxy, Wire<TcpStream>, Wire<TcpStream>) {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    client.send(get("/first")).await;
    let (mut inside, _) = script.asked().await;
    inside.send(ok("first")).await;
    assert_eq!(client.answer().await.text(), "first");
    // The count goes back after the connection was put away.
    proxy.until_idle().await;
    (script, proxy, client, inside)
}

/// The method may be any: when the request comes, the close has long been there to be seen.
#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used_whatever_the_method() {
    for request in [get("/next"), post("/next", "pay")] {
        for resets in [false, true] {
            let (mut script, _proxy, mut client, inside) = kept().await;
            let (near, far) = (inside.stream.peer_addr(), inside.stream.local_addr());
            match resets {
                true => inside.reset(),
                false => drop(inside),
            }
            close_has_come(near.unwrap(), far.unwrap()).await;
            client.send(&request).await;
            let (mut next, asked) = script.asked().await;
            assert_eq!(asked.path(), "/next");
            next.send(ok("served")).await;
            assert_eq!(client.answer().await.text(), "served");
            assert_eq!(script.connections(), 2);
        }
    }
}

/// Waits until the socket at `near` has the end of its connection to `far`: it is in CLOSE_WAIT or
/// gone.
async fn close_has_come(near: SocketAddr, far: SocketAddr) {
    let shown = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => {
            let ip = u32::from_ne_bytes(v4.ip().octets());
            format!("{ip:08X}:{:04X}", v4.port())
        }
        SocketAddr::V6(_) => panic!("a v4 address"),
    };
    let both = format!("{} {}", shown(near), shown(far));
    within("the close to come", async {
        loop {
            let table = tokio::fs::read_to_string("/proc/net/tcp").await.unwrap();
            let line = table.lines().find(|line| line.contains(&both));
            if line.is_none_or(|line| line.contains(&format!("{both} 08"))) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_post_whose_bytes_went_out_on_a_kept_connection_is_never_sent_again() {
    for resets in [false, true] {
        let (script, proxy, mut client, mut inside) = kept().await;
        client.send(post("/pay", "money")).await;
        assert_eq!(inside.asked().await.body, b"money");
        match resets {
            true => inside.reset(),
            false => drop(inside),
        }
        let failed = client.answer().await;
        assert_eq!(failed.verdict(), (502, Some("upstream_reset")));
        assert_eq!(script.connections(), 1, "it was sent again");
        proxy.until_idle().await;
    }
}

#[tokio::test]
async fn idempotent_requests_on_a_dying_kept_connection_are_sent_again_with_their_bodies() {
    let chunked = "PUT /next HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nthe\r\n5\r\n body\r\n0\r\n\r\n";
    let large = "x".repeat(60 * 1024);
    for (request, body) in [
        (get("/next"), ""),
        (get("/next").replace("GET", "OPTIONS"), ""),
        (
            post("/next", "the body").replace("POST", "DELETE"),
            "the body",
        ),
        (post("/next", "the body").replace("POST", "PUT"), "the body"),
        (chunked.to_owned(), "the body"),
        (post("/next", &large).replace("POST", "PUT"), large.as_str()),
    ] {
        let (mut script, _proxy, mut client, mut inside) = kept().await;
        client.send(&request).await;
        assert_eq!(inside.asked().await.text(), body);
        drop(inside);
        let (mut again, asked) = script.asked().await;
        assert_eq!((asked.path(), asked.text().as_str()), ("/next", body));
        again.send(ok("served")).await;
        assert_eq!(client.answer().await.text(), "served");
    }
}

/// 64 KiB are held, not more; what is not held cannot be sent again.
#[tokio::test]
async fn a_body_that_is_not_held_any_more_is_not_sent_again() {
    let (script, _proxy, mut client, mut inside) = kept().await;
    let large = "x".repeat(256 * 1024);
    client
        .send(post("/next", &large).replace("POST", "PUT"))
        .await;
    assert_eq!(inside.asked().await.body.len(), large.len());
    drop(inside);
    let failed = client.answer().await;
    assert_eq!(failed.verdict(), (502, Some("upstream_reset")));
    assert_eq!(script.connections(), 1, "it was sent again");
}

#[tokio::test]
async fn methods_that_are_not_idempotent_are_not_sent_again() {
    for method in ["POST", "PATCH", "MKCOL-X", "get"] {
        let (script, _proxy, mut client, mut inside) = kept().await;
        client.send(get("/next").replace("GET", method)).await;
        inside.asked().await;
        drop(inside);
        let failed = client.answer().await;
        assert_eq!(failed.verdict(), (502, Some("upstream_reset")), "{method}");
        assert_eq!(script.connections(), 1, "{method} was sent again");
    }
}

#[tokio::test]
async fn there_are_at_most_three_tries() {
    let mut scripts = Vec::new();
    for _ in 0..5 {
        scripts.push(Script::start().await);
    }
    let setup = Setup::scripts(&scripts.iter().collect::<Vec<_>>(), "");
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a", "b", "c", "d", "e"]).await;
    let answer = proxy.fetch(get("/"));
    let dying = scripts.iter_mut().map(|script| async {
        loop {
            drop(script.asked().await);
        }
    });
    let dying = futures_util::future::join_all(dying);
    let failed = tokio::select! {
        answer = answer => answer.unwrap().unwrap(),
        _ = dying => unreachable!("they die for ever"),
    };
    assert_eq!(failed.verdict(), (502, Some("upstream_reset")));
    let tries: usize = scripts.iter().map(Script::connections).sum();
    assert!((2..=3).contains(&tries), "{tries} tries");
}

/// An interim answer is the begin of an answer.
#[tokio::test]
async fn nothing_is_sent_again_after_an_interim_answer() {
    let (script, _proxy, mut client, mut inside) = kept().await;
    client.send(get("/next")).await;
    inside.asked().await;
    inside.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    assert_eq!(client.next_head().await.status(), 103);
    drop(inside);
    assert_eq!(
        client.answer().await.verdict(),
        (502, Some("upstream_reset"))
    );
    assert_eq!(script.connections(), 1, "it was sent again");
}

/// What was held for the second try must not be there twice in the third.
#[tokio::test]
async fn the_third_try_has_the_same_body_as_the_first() {
    let mut scripts = [
        Script::start().await,
        Script::start().await,
        Script::start().await,
    ];
    let proxy = Proxy::start(Setup::scripts(&scripts.each_ref(), "")).await;
    proxy.until_healthy(&["a", "b", "c"]).await;
    let body = "the body ".repeat(2000);
    let answer = proxy.fetch(post("/", &body).replace("POST", "PUT"));
    for tries in 1..=3 {
        let asked = scripts.iter_mut().map(|script| Box::pin(script.asked()));
        let ((mut inside, request), ..) = futures_util::future::select_all(asked).await;
        assert_eq!(request.text(), body, "try {tries}");
        if tries == 3 {
            inside
                .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nstored")
                .await;
            assert_eq!(inside.end().await.0, b"", "more than the request");
        }
    }
    assert_eq!(answer.await.unwrap().unwrap().text(), "stored");
}

/// Another one is likely to die in the same moment, with the same restart of the backend.
#[tokio::test]
async fn after_a_dead_kept_connection_no_other_kept_one_is_tried() {
    let mut script = Script::start().await;
    let keys = "timeouts: {upstream_idle: 1h}";
    let proxy = Proxy::before_with(&script, keys, "workers: 1\n").await;
    let answers = [proxy.fetch(get("/1")), proxy.fetch(get("/2"))];
    let mut kept = [script.accepted().await, script.accepted().await];
    for inside in &mut kept {
        inside.asked().await;
        inside.send(ok("kept")).await;
    }
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    proxy.until_idle().await;
    let answer = proxy.fetch(get("/next"));
    let [mut one, mut other] = kept;
    let (is_one, first) = tokio::select! {
        asked = one.asked() => (true, asked),
        asked = other.asked() => (false, asked),
    };
    assert_eq!(first.path(), "/next");
    let (dying, _alive) = match is_one {
        true => (one, other),
        false => (other, one),
    };
    drop(dying);
    let (mut inside, again) = script.asked().await;
    assert_eq!(again.path(), "/next");
    inside.send(ok("served")).await;
    assert_eq!(answer.await.unwrap().unwrap().text(), "served");
}

#[tokio::test]
async fn a_try_never_goes_to_the_backend_that_just_failed() {
    let (mut dying, good) = (Script::start().await, Script::serving(|_| ok("good")).await);
    let proxy = Proxy::start(Setup::scripts(&[&dying, &good], "")).await;
    proxy.until_healthy(&["a", "b"]).await;
    for _ in 0..40 {
        let before = dying.connections();
        let mut answer = proxy.fetch(get("/"));
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer,
                _ = dying.asked() => {}
            }
        };
        assert_eq!(answer.unwrap().unwrap().text(), "good");
        assert!(dying.connections() - before <= 1, "it was tried again");
    }
}
