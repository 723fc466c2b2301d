//! Aborts: a client that goes before its answer is complete is gone; the backend learns it at once
//! and the claim is given back.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Proxy, Wire, get, one_script};

/// How a client goes.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    /// Its process ends orderly.
    Closes,
    /// Its process is gone.
    Resets,
    /// It ends its sending side and would still read.
    HalfCloses,
}

const ALL: [Leaving; 3] = [Leaving::Closes, Leaving::Resets, Leaving::HalfCloses];

/// Lets a client go; what is returned keeps its other half open.
async fn leave(mut client: Wire<TcpStream>, how: Leaving) -> Option<Wire<TcpStream>> {
    match how {
        Leaving::Closes => None,
        Leaving::Resets => {
            client.reset();
            None
        }
        Leaving::HalfCloses => {
            client.stream.shutdown().await.unwrap();
            Some(client)
        }
    }
}

/// The backend's connection ends and nothing is held any more, while the backend does nothing.
async fn learns_it(proxy: &Proxy, mut inside: Wire<TcpStream>) -> Vec<u8> {
    let (rest, _) = inside.end().await;
    proxy.until_idle().await;
    rest
}

#[tokio::test]
async fn while_the_client_waits_for_its_answer() {
    let (mut script, proxy) = one_script().await;
    for how in ALL {
        let mut client = proxy.client().await;
        client.send(get("/")).await;
        let (inside, _) = script.asked().await;
        assert_eq!(proxy.backend("a").await["requests"], 1, "{how:?}");
        let _half = leave(client, how).await;
        assert!(learns_it(&proxy, inside).await.is_empty(), "{how:?}");
    }
}

#[tokio::test]
async fn while_the_client_waits_behind_an_interim_answer() {
    let (mut script, proxy) = one_script().await;
    for how in ALL {
        let mut client = proxy.client().await;
        client.send(get("/")).await;
        let (mut inside, _) = script.asked().await;
        inside.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        assert_eq!(client.next_head().await.status(), 103);
        let _half = leave(client, how).await;
        learns_it(&proxy, inside).await;
    }
}

#[tokio::test]
async fn in_the_middle_of_an_upload_with_a_length() {
    let (mut script, proxy) = one_script().await;
    for how in ALL {
        let mut client = proxy.client().await;
        client
            .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhello")
            .await;
        let mut inside = script.accepted().await;
        inside.next_head().await;
        assert_eq!(inside.bytes(5).await, b"hello");
        let _half = leave(client, how).await;
        assert!(learns_it(&proxy, inside).await.is_empty(), "{how:?}");
    }
}

#[tokio::test]
async fn in_the_middle_of_a_chunked_upload() {
    let (mut script, proxy) = one_script().await;
    for how in ALL {
        // Between two chunks, inside one, before the last line ends, inside the trailers.
        for behind in ["", "3\r\n", "a\r\nhalf", "0\r\n", "0\r\nX-T: 1\r\n"] {
            let mut client = proxy.client().await;
            client
                .send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                .await;
            let mut inside = script.accepted().await;
            inside.next_head().await;
            assert_eq!(inside.chunk().await, b"hello");
            client.send(behind).await;
            let _half = leave(client, how).await;
            let rest = learns_it(&proxy, inside).await;
            let shown = rest.escape_ascii();
            assert!(
                !rest.ends_with(b"\r\n\r\n"),
                "{how:?} {behind:?}: taken for complete: {shown}"
            );
        }
    }
}

#[tokio::test]
async fn in_the_middle_of_an_answer() {
    let (mut script, proxy) = one_script().await;
    for how in ALL {
        for (framing, half) in [
            ("Content-Length: 10", "half"),
            ("Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
            ("Connection: close", "half"),
        ] {
            let mut client = proxy.client().await;
            client.send(get("/")).await;
            let (mut inside, _) = script.asked().await;
            inside
                .send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{half}"))
                .await;
            client.next_head().await;
            client.bytes(half.len()).await;
            let _half = leave(client, how).await;
            learns_it(&proxy, inside).await;
        }
    }
}

/// The proxy is busy writing to a client that does not read when it goes.
#[tokio::test]
async fn in_the_middle_of_an_answer_that_the_client_does_not_read() {
    let (mut script, proxy) = one_script().await;
    for how in [Leaving::Closes, Leaving::Resets] {
        let mut client = proxy.client().await;
        client.send(get("/")).await;
        let (mut inside, _) = script.asked().await;
        let length = 64 * 1024 * 1024;
        inside
            .send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
            ))
            .await;
        client.next_head().await;
        let piece = vec![b'x'; 1024 * 1024];
        let write = async {
            for _ in 0..64 {
                if inside.stream.write_all(&piece).await.is_err() {
                    return;
                }
            }
            panic!("all of it was taken");
        };
        let leave = async {
            // Some of it has come, the rest fills every buffer on the way.
            client.bytes(1024).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            leave(client, how).await
        };
        let (_, _half) =
            crate::support::within("the writes to fail", async { tokio::join!(write, leave) })
                .await;
        proxy.until_idle().await;
    }
}

#[tokio::test]
async fn in_the_middle_of_a_head_nothing_reaches_the_backend() {
    let (script, proxy) = one_script().await;
    for how in ALL {
        for part in [
            "",
            "GE",
            "GET / HTTP/1.1\r\nHost: test\r\n",
            "GET / HTTP/1.1\r\nHost: test\r\n\r",
        ] {
            let mut client = proxy.client().await;
            client.send(part).await;
            let half = leave(client, how).await;
            if let Some(mut half) = half {
                let (answer, _) = half.end().await;
                let answer = String::from_utf8(answer).unwrap();
                assert!(
                    answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
                    "{part:?}: {answer}"
                );
            }
        }
    }
    assert_eq!(script.connections(), 0);
    assert_eq!(proxy.backend("a").await["requests"], 0);
}

/// The next request is there already when the client goes: it must not be sent for nobody.
#[tokio::test]
async fn with_a_pipelined_request_waiting_the_present_one_is_still_cut() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(format!("{}{}", get("/1"), get("/2"))).await;
    let (inside, _) = script.asked().await;
    client.reset();
    learns_it(&proxy, inside).await;
    assert_eq!(script.connections(), 1, "the second was sent");
}

/// Its connection had half an exchange on it.
#[tokio::test]
async fn the_connection_of_a_client_that_went_is_not_used_for_another() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(get("/mine")).await;
    let (mut inside, _) = script.asked().await;
    drop(client);
    inside.end().await;
    proxy.until_idle().await;
    let mut other = proxy.client().await;
    other.send(get("/other")).await;
    let (mut second, request) = script.asked().await;
    assert_eq!(request.path(), "/other");
    second.send(crate::support::script::ok("for other")).await;
    assert_eq!(other.answer().await.text(), "for other");
}
