//! Cuts: an answer that ends early looks cut to the client, never complete.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::script::ok;
use crate::support::{End, Proxy, Script, Wire, get, one_script, within};

/// Answers that are not complete when the backend goes.
const HALVES: [(&str, &str); 12] = [
    ("Content-Length: 10", ""),
    ("Content-Length: 10", "123456789"),
    ("Transfer-Encoding: chunked", ""),
    ("Transfer-Encoding: chunked", "5"),
    ("Transfer-Encoding: chunked", "5\r\n"),
    ("Transfer-Encoding: chunked", "5\r\nhel"),
    ("Transfer-Encoding: chunked", "5\r\nhello"),
    ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
    ("Transfer-Encoding: chunked", "5\r\nhello\r\n0"),
    ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"),
    (
        "Transfer-Encoding: chunked",
        "5\r\nhello\r\n0\r\nX-T: 1\r\n",
    ),
    (
        "Transfer-Encoding: chunked",
        "5\r\nhello\r\n0\r\nX-T: 1\r\n\r",
    ),
];

/// How a backend goes.
#[derive(Debug, Clone, Copy)]
enum Dying {
    Closes,
    Resets,
}

async fn die(mut inside: Wire<TcpStream>, how: Dying) {
    match how {
        Dying::Closes => inside.stream.shutdown().await.unwrap(),
        Dying::Resets => inside.reset(),
    }
}

#[tokio::test]
async fn a_backend_that_goes_in_the_middle_of_an_answer_cuts_it() {
    let (mut script, proxy) = one_script().await;
    for how in [Dying::Closes, Dying::Resets] {
        for (framing, half) in HALVES {
            let mut client = proxy.client().await;
            client.send(get("/")).await;
            let (mut inside, _) = script.asked().await;
            inside
                .send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{half}"))
                .await;
            // So that a reset does not overtake the head.
            let head = client.next_head().await;
            assert_eq!(head.status(), 200);
            die(inside, how).await;
            let (rest, _) = client.end().await;
            let shown = rest.escape_ascii();
            match head.field("content-length") {
                Some(_) => assert!(rest.len() < 10, "{how:?} {framing} {half:?}: {shown}"),
                None => assert!(
                    !rest.ends_with(b"0\r\n\r\n") && !rest.ends_with(b"\r\n\r\n"),
                    "{how:?} {half:?}: looks complete: {shown}"
                ),
            }
            proxy.until_idle().await;
        }
    }
    // Nothing of all this is left for the next one.
    let mut client = proxy.client().await;
    client.send(get("/next")).await;
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.path(), "/next");
    inside.send(ok("next")).await;
    assert_eq!(client.answer().await.text(), "next");
}

/// With everything in one piece, the head is perhaps not on its way yet: then 502 says it too.
#[tokio::test]
async fn an_answer_that_is_cut_in_its_first_piece_is_never_complete() {
    let (mut script, proxy) = one_script().await;
    for (framing, half) in HALVES {
        let answer = proxy.fetch(get("/"));
        let (mut inside, _) = script.asked().await;
        inside
            .send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{half}"))
            .await;
        die(inside, Dying::Closes).await;
        let answer = within("the end", answer).await.unwrap();
        if let Ok(answer) = answer {
            assert_eq!(answer.status(), 502, "{framing} {half:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_large_answer_is_a_cut() {
    let (mut script, proxy) = one_script().await;
    for framing in ["Content-Length: 16777216", "Transfer-Encoding: chunked"] {
        for how in [Dying::Closes, Dying::Resets] {
            let mut client = proxy.client().await;
            client.send(get("/")).await;
            let (mut inside, _) = script.asked().await;
            inside
                .send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n800000\r\n"))
                .await;
            client.next_head().await;
            let piece = vec![b'x'; 1024 * 1024];
            let send = async {
                for _ in 0..4 {
                    inside.send(&piece).await;
                }
                die(inside, how).await;
            };
            let ((), (rest, _)) = tokio::join!(send, client.end());
            assert!(rest.len() < 5 * 1024 * 1024, "{framing} {how:?}");
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{framing} {how:?}");
            proxy.until_idle().await;
        }
    }
}

/// Its end is the end of the connection, whichever way the backend framed it.
#[tokio::test]
async fn an_until_close_answer_ends_well_with_a_close_and_badly_with_a_reset() {
    let (mut script, proxy) = one_script().await;
    for (how, is_whole) in [(Dying::Closes, true), (Dying::Resets, false)] {
        let mut client = proxy.client().await;
        client.send(get("/")).await;
        let (mut inside, _) = script.asked().await;
        inside
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
            .await;
        assert!(
            client
                .next_head()
                .await
                .lists("transfer-encoding", "chunked")
        );
        assert_eq!(client.chunk().await, b"hello");
        die(inside, how).await;
        if is_whole {
            assert_eq!(client.bytes(5).await, b"0\r\n\r\n");
        } else {
            assert_eq!(client.end().await.0, b"", "looks complete");
        }
        proxy.until_idle().await;
    }
}

/// An orderly end would say that the body is complete: there is nothing else to say it with.
#[tokio::test]
async fn an_http_1_0_client_without_a_length_sees_a_cut_as_a_reset() {
    let (mut script, proxy) = one_script().await;
    for (head, half, how) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            "5\r\nhello\r\n",
            Dying::Closes,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            "a\r\nhello",
            Dying::Closes,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            "5\r\nhello\r\n0\r\n",
            Dying::Closes,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            "5\r\nhello\r\n",
            Dying::Resets,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
            "5\r\nhello\r\n-1\r\n",
            Dying::Closes,
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close",
            "hello",
            Dying::Resets,
        ),
        ("HTTP/1.0 200 OK", "hello", Dying::Resets),
    ] {
        let mut client = proxy.client().await;
        client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n").await;
        let (mut inside, _) = script.asked().await;
        inside.send(format!("{head}\r\n\r\n")).await;
        let got = client.next_head().await;
        assert_eq!((got.status(), got.field("content-length")), (200, None));
        inside.send(half).await;
        die(inside, how).await;
        assert_eq!(client.end().await.1, End::Reset, "{head} {half:?} {how:?}");
        proxy.until_idle().await;
    }
}

#[tokio::test]
async fn an_http_1_0_client_with_a_length_sees_less_than_it() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    client.next_head().await;
    drop(inside);
    assert!(b"half".starts_with(&client.end().await.0));
}

#[tokio::test]
async fn what_was_pipelined_behind_a_cut_answer_is_not_answered() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(format!("{}{}", get("/1"), get("/2"))).await;
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.path(), "/1");
    inside
        .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    client.next_head().await;
    drop(inside);
    assert!(b"half".starts_with(&client.end().await.0));
    assert_eq!(script.connections(), 1, "the second was sent");
}

#[tokio::test]
async fn a_cut_is_recorded_with_its_word() {
    let mut script = Script::start().await;
    let mut setup = crate::support::Setup::scripts(&[&script], "");
    setup.log = "{access: true}".into();
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    let answer = proxy.fetch(get("/cut"));
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        .await;
    drop(inside);
    within("the end", answer).await.unwrap().unwrap_err();
    let record = proxy.record("/cut").await;
    assert_eq!(record["error"], "upstream_reset");
}
