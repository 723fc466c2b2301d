//! Interim answers: they pass as they come, in order, and never stand for the final one.

use tokio::io::AsyncWriteExt;

use crate::support::{End, get, not_yet, one_script, within};

const EXPECTING: &str =
    "POST /up-load HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[tokio::test]
async fn a_103_passes_at_once_and_then_the_final_answer() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n")
        .await;
    // The final answer is not there yet: the backend has not sent it.
    let hints = client.next_head().await;
    assert_eq!(hints.status(), 103);
    assert_eq!(hints.field("link"), Some("</a.css>; rel=preload"));
    assert_eq!(hints.field("x-hop"), None);
    assert_eq!(proxy.backend("a").await["requests"], 1);
    inside
        .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal")
        .await;
    let answer = client.next_head().await;
    assert_eq!(answer.status(), 200);
    assert_eq!(client.bytes(5).await, b"final");
}

#[tokio::test]
async fn several_interim_answers_pass_in_order_also_one_that_nobody_asked_for() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        client.send(get("/")).await;
        let (mut inside, _) = script.asked().await;
        inside
            .send(
                "HTTP/1.1 103 Early Hints\r\nLink: <1>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
                 HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <2>\r\n\r\n\
                 HTTP/1.1 199 Odd\r\n\r\n\
                 HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfinal",
            )
            .await;
        let mut seen = Vec::new();
        loop {
            let head = client.next_head().await;
            seen.push((head.status(), head.field("link").map(str::to_owned)));
            assert_eq!(head.field("transfer-encoding"), None, "{}", head.start);
            if head.status() >= 200 {
                break;
            }
            assert_eq!(head.field("content-length"), None, "{}", head.start);
        }
        let link = |link: &str| Some(link.to_owned());
        assert_eq!(
            seen,
            [
                (103, link("<1>")),
                (102, None),
                (100, None),
                (103, link("<2>")),
                (199, None),
                (200, None)
            ]
        );
        assert_eq!(client.bytes(5).await, b"final");
    }
}

#[tokio::test]
async fn an_http_1_0_client_sees_no_interim_answer() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n").await;
    let (mut inside, _) = script.asked().await;
    inside
        .send(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal",
        )
        .await;
    let first = client.next_head().await;
    assert_eq!(first.status(), 200);
    assert_eq!(client.bytes(5).await, b"final");
}

#[tokio::test]
async fn the_backends_100_lets_the_client_send_its_body() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    for _ in 0..2 {
        client.send(EXPECTING).await;
        let mut inside = script.accepted().await;
        let head = inside.next_head().await;
        assert_eq!(head.field("expect"), Some("100-continue"));
        assert_eq!(head.field("content-length"), Some("5"));
        let mut interim = Box::pin(client.head());
        not_yet("a 100 that the backend has not sent", &mut interim).await;
        inside.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        let interim = within("the 100", interim).await;
        assert_eq!(interim.unwrap().unwrap().status(), 100);
        client.send("hello").await;
        assert_eq!(inside.bytes(5).await, b"hello");
        inside
            .send("HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .await;
        let answer = client.next_head().await;
        assert_eq!(answer.status(), 201);
        assert!(!answer.lists("connection", "close"), "the body had come");
        assert_eq!(client.bytes(2).await, b"ok");
    }
}

#[tokio::test]
async fn a_final_answer_in_place_of_the_100_is_delivered_and_the_connection_closed() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(EXPECTING).await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    inside
        .send("HTTP/1.1 417 No\r\nContent-Length: 7\r\n\r\nrefused")
        .await;
    let answer = client.next_head().await;
    assert_eq!(answer.status(), 417);
    assert!(answer.lists("connection", "close"));
    assert_eq!(client.bytes(7).await, b"refused");
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.end().await.0, b"");
    proxy.until_idle().await;
    // The backend may still wait for the body, so its connection is of no use to anyone else.
    let (left, _) = inside.end().await;
    assert!(left.is_empty());
    let mut other = proxy.client().await;
    other.send(get("/next")).await;
    assert_eq!(script.asked().await.1.path(), "/next");
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_the_100_is_served_too() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(format!("{EXPECTING}hello")).await;
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.body, b"hello");
    inside
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), "ok");
    proxy.until_idle().await;
    // Nothing is left over of it on either connection.
    client.send("GET /next HTTP/1.0\r\n\r\n").await;
    assert_eq!(inside.asked().await.path(), "/next");
    inside
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .await;
    assert_eq!(client.answer().await.text(), "ok");
    assert_eq!(client.end().await, (Vec::new(), End::Closed));
}

/// Each is a head that is read and written for nothing; a backend in a loop must not do it for ever.
#[tokio::test]
async fn a_backend_that_sends_interim_answers_without_end_is_cut_off() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let (mut inside, _) = script.asked().await;
    let sending = async {
        let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
        while inside.stream.write_all(hint.as_bytes()).await.is_ok() {}
    };
    let (answer, ()) = within("the end", async {
        tokio::join!(client.response(), sending)
    })
    .await;
    assert_eq!(answer.unwrap().verdict(), (502, Some("bad_response")));
}
