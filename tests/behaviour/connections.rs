//! Connections: kept, shared, pipelined on; and never an answer for another.

use std::fmt::Write as _;

use crate::support::script::ok;
use crate::support::{Message, Proxy, Script, Setup, get, not_yet, one_script, post, within};

/// The path, in a framing that the path says.
fn framed(request: &Message) -> Vec<u8> {
    let path = request.path();
    let body = format!("{path} {}", String::from_utf8_lossy(&request.body));
    let length = body.len();
    let (half, rest) = body.split_at(length / 2);
    match path.as_bytes()[1] % 5 {
        0 => ok(&body),
        1 => format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
            half.len(),
            rest.len()
        )
        .into(),
        2 => format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}").into(),
        3 => format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: {length}\r\n\r\n{body}").into(),
        _ => format!(
            "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
             {length:x};ext=1\r\n{body}\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        .into(),
    }
}

#[tokio::test]
async fn one_client_connection_serves_many_requests_of_every_framing() {
    let script = Script::serving(framed).await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    for round in 0..100 {
        let path = format!("/{round:03}");
        let letter = char::from(b'a' + round % 5);
        let path = format!("/{letter}{path}");
        let (request, body) = match round % 3 {
            0 => (get(&path), ""),
            1 => (post(&path, "hello"), "hello"),
            _ => (
                format!(
                    "PUT {path} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                ),
                "hello",
            ),
        };
        assert_eq!(client.ask(request).await.text(), format!("{path} {body}"));
    }
}

#[tokio::test]
async fn a_backends_connection_serves_many_clients() {
    let script = Script::serving(|request| ok(request.path())).await;
    let proxy = Proxy::before_with(&script, "", "workers: 1\n").await;
    for number in 0..20 {
        let path = format!("/{number}");
        let mut client = proxy.client().await;
        let request = match number % 2 {
            0 => get(&path),
            _ => post(&path, "hello"),
        };
        assert_eq!(client.ask(request).await.text(), path);
        // The count goes back after the connection was put away.
        proxy.until_idle().await;
    }
    assert_eq!(script.connections(), 1);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_one_after_another() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    let chunked = "POST /4 HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n";
    let all = [
        get("/1"),
        post("/2", "two"),
        get("/3").replace("GET", "HEAD"),
        chunked.into(),
        get("/5"),
    ]
    .concat();
    client.send(all).await;
    let (inside, request) = script.asked().await;
    assert_eq!(request.path(), "/1");
    // The first is not answered yet: nothing comes, and the others wait.
    let mut early = Box::pin(client.head());
    not_yet("an answer", &mut early).await;
    drop(early);
    let mut next = Some(inside);
    for path in ["/1", "/2", "/3", "/4", "/5"] {
        let mut inside = match next.take() {
            Some(first) => first,
            None => {
                let (inside, request) = script.asked().await;
                assert_eq!(request.path(), path);
                inside
            }
        };
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n";
        if path == "/3" {
            inside.send(head).await;
            assert_eq!(client.next_head().await.field("content-length"), Some("2"));
        } else {
            inside.send(format!("{head}{path}")).await;
            assert_eq!(client.answer().await.text(), path);
        }
    }
}

#[tokio::test]
async fn a_hundred_pipelined_requests_in_one_piece_are_answered_in_order() {
    let script = Script::serving(framed).await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    let mut all = String::new();
    for number in 0..100_u8 {
        let letter = char::from(b'a' + number % 5);
        write!(all, "{}", post(&format!("/{letter}{number}"), "hello")).unwrap();
    }
    client.send(all).await;
    for number in 0..100_u8 {
        let letter = char::from(b'a' + number % 5);
        assert_eq!(
            client.answer().await.text(),
            format!("/{letter}{number} hello")
        );
    }
}

/// Whatever the pieces are in which they come.
#[tokio::test]
async fn pipelined_requests_may_be_cut_anywhere() {
    let script = Script::serving(|request| ok(request.path())).await;
    let proxy = Proxy::before(&script).await;
    let all = [post("/1", "one"), get("/2"), post("/3", "three")].concat();
    for at in 1..all.len() {
        let mut client = proxy.client().await;
        client.send(&all[..at]).await;
        tokio::task::yield_now().await;
        client.send(&all[at..]).await;
        for path in ["/1", "/2", "/3"] {
            assert_eq!(client.answer().await.text(), path, "cut at {at}");
        }
    }
}

#[tokio::test]
async fn what_is_pipelined_behind_a_close_is_not_sent_on() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    let closing = get("/1").replace("Host", "Connection: close\r\nHost");
    client.send(closing + &get("/2")).await;
    let (mut inside, _) = script.asked().await;
    inside.send(ok("1")).await;
    let answer = client.answer().await;
    assert!(answer.lists("connection", "close"));
    assert_eq!(client.end().await.0, b"");
    proxy.until_idle().await;
    let mut other = proxy.client().await;
    other.send(get("/3")).await;
    assert_eq!(inside.asked().await.path(), "/3");
}

#[tokio::test]
async fn many_clients_at_once_are_never_mixed_up() {
    let script = Script::serving(framed).await;
    let proxy = Proxy::before(&script).await;
    let clients = (0..50_u8).map(|number| {
        let proxy = &proxy;
        async move {
            let mut client = proxy.client().await;
            for round in 0..20_u8 {
                let letter = char::from(b'a' + (number + round) % 5);
                let path = format!("/{letter}/{number}/{round}");
                let body = format!("body of {number} in {round}");
                let answer = client.ask(post(&path, &body)).await;
                assert_eq!(answer.text(), format!("{path} {body}"));
            }
        }
    });
    futures_util::future::join_all(clients).await;
    proxy.until_idle().await;
}

#[tokio::test]
async fn kept_connections_of_one_backend_give_way_to_new_ones_of_another() {
    let scripts = [
        Script::serving(|_| ok("a")).await,
        Script::serving(|_| ok("b")).await,
        Script::serving(|_| ok("c")).await,
    ];
    let refs: Vec<&Script> = scripts.iter().collect();
    let keys = "balance: round_robin\ntimeouts: {upstream_idle: 1h}";
    let mut setup = Setup::scripts(&refs, keys);
    setup.extra = "client: {connections_max: 2}\n".into();
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a", "b", "c"]).await;
    let mut client = proxy.client().await;
    for _ in 0..6 {
        client.ask(get("/")).await;
        let mut kept = 0;
        for id in ["a", "b", "c"] {
            kept += proxy.backend(id).await["connections"].as_u64().unwrap();
        }
        assert!((1..=2).contains(&kept), "{kept} connections");
    }
}

/// One too many is closed unanswered, and none of those that are there is.
#[tokio::test]
async fn connections_past_the_bound_are_closed_until_one_has_left() {
    let script = Script::serving(|request| ok(request.path())).await;
    let proxy = Proxy::before_with(&script, "", "client: {connections_max: 2}\n").await;
    let (mut first, mut second) = (proxy.client().await, proxy.client().await);
    assert_eq!(first.ask(get("/1")).await.text(), "/1");
    assert_eq!(second.ask(get("/2")).await.text(), "/2");
    assert_eq!(proxy.client().await.end().await.0, b"");
    assert_eq!(first.ask(get("/3")).await.text(), "/3");
    drop(second);
    within("room for another", async {
        let mut next = proxy.client().await;
        while next.exchange(get("/4")).await.is_err() {
            next = proxy.client().await;
        }
    })
    .await;
}
