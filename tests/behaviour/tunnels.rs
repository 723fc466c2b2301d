//! Tunnels: WebSocket and every other upgrade. Once it is granted, bytes pass both ways unchanged
//! and each end is passed on where it was said.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::websocket::{GRANTED, HANDSHAKE, close, frame, tunnel};
use crate::support::{End, Proxy, Script, get, not_yet, one_script, within};

#[tokio::test]
async fn bytes_right_behind_the_101_arrive() {
    let (mut script, proxy) = one_script().await;
    for _ in 0..20 {
        let mut client = proxy.client().await;
        client.send(HANDSHAKE).await;
        let (mut inside, _) = script.asked().await;
        let hello = frame(0x81, b"hello", false);
        inside.send([GRANTED.as_bytes(), &hello].concat()).await;
        assert_eq!(client.answer().await.status(), 101);
        assert_eq!(client.bytes(hello.len()).await, hello);
    }
}

/// And so does everything of a backend that says it all at once and goes.
#[tokio::test]
async fn bytes_and_an_end_right_behind_the_101_arrive() {
    let (mut script, proxy) = one_script().await;
    for _ in 0..20 {
        let mut client = proxy.client().await;
        client.send(HANDSHAKE).await;
        let (mut inside, _) = script.asked().await;
        let last = close(Some(1013), false);
        inside.send([GRANTED.as_bytes(), &last].concat()).await;
        drop(inside);
        assert_eq!(client.answer().await.status(), 101);
        assert_eq!(client.end().await.0, last);
    }
    proxy.until_idle().await;
}

/// They are no part of the request, and no tunnel is granted yet: the backend must not get them.
#[tokio::test]
async fn bytes_of_the_client_before_the_101_arrive_behind_it() {
    let (mut script, proxy) = one_script().await;
    for is_one_piece in [true, false] {
        let mut client = proxy.client().await;
        let early = frame(0x81, b"early", true);
        let mut first = HANDSHAKE.as_bytes().to_vec();
        if is_one_piece {
            first.extend(&early);
        }
        client.send(first).await;
        let (mut inside, _) = script.asked().await;
        if !is_one_piece {
            client.send(&early).await;
        }
        let mut came = Box::pin(inside.exactly(1));
        not_yet("a byte before the 101", &mut came).await;
        drop(came);
        inside.send(GRANTED).await;
        assert_eq!(client.answer().await.status(), 101);
        assert_eq!(inside.bytes(early.len()).await, early);
        client.send("more").await;
        assert_eq!(inside.bytes(4).await, b"more");
    }
}

#[tokio::test]
async fn a_refused_upgrade_is_a_plain_answer_and_the_connection_goes_on() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    for (answer, status) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        (
            "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nno",
            426,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            200,
        ),
        ("HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\nno", 503),
    ] {
        client.send(HANDSHAKE).await;
        let (mut inside, _) = script.asked().await;
        inside.send(answer).await;
        inside.stream.shutdown().await.unwrap();
        drop(inside);
        let refused = client.answer().await;
        assert_eq!((refused.status(), refused.text().as_str()), (status, "no"));
        assert!(!refused.lists("connection", "close"), "{answer}");
        assert_eq!(proxy.backend("a").await["tunnels"], 0);
        proxy.until_idle().await;
        client.send(get("/next")).await;
        let (mut inside, request) = script.asked().await;
        assert_eq!(request.path(), "/next");
        inside
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnext")
            .await;
        assert_eq!(client.answer().await.text(), "next");
    }
}

#[tokio::test]
async fn each_side_that_vanishes_takes_the_other_with_it() {
    let (mut script, proxy) = one_script().await;
    for is_client in [true, false] {
        let (client, inside) = tunnel(&mut script, &proxy).await;
        proxy
            .until("a", "a tunnel", |backend| backend["tunnels"] == 1)
            .await;
        let mut left = match is_client {
            true => {
                client.reset();
                inside
            }
            false => {
                inside.reset();
                client
            }
        };
        assert_eq!(left.end().await.0, b"");
        proxy.until_idle().await;
    }
    for is_client in [true, false] {
        let (client, inside) = tunnel(&mut script, &proxy).await;
        let (gone, mut left) = if is_client {
            (client, inside)
        } else {
            (inside, client)
        };
        drop(gone);
        assert_eq!(left.end().await.0, b"");
        // What is said to nobody ends it at the latest.
        let _ = left.stream.write_all(b"x").await;
        drop(left);
        proxy.until_idle().await;
    }
}

/// Its end passes behind its last byte, and the other direction goes on as long as it likes.
#[tokio::test]
async fn half_a_close_passes_and_the_other_half_goes_on() {
    let (mut script, proxy) = one_script().await;
    for is_client in [true, false] {
        let (client, inside) = tunnel(&mut script, &proxy).await;
        let (mut first, mut second) = if is_client {
            (client, inside)
        } else {
            (inside, client)
        };
        first.send("last words").await;
        first.stream.shutdown().await.unwrap();
        assert_eq!(second.end().await, (b"last words".to_vec(), End::Closed));
        for word in ["still", "going", "on"] {
            second.send(word).await;
            assert_eq!(first.bytes(word.len()).await, word.as_bytes());
        }
        assert_eq!(proxy.backend("a").await["tunnels"], 1);
        second.stream.shutdown().await.unwrap();
        assert_eq!(first.end().await, (Vec::new(), End::Closed));
        proxy.until_idle().await;
    }
}

#[tokio::test]
async fn a_tunnel_without_a_byte_is_closed_on_both_sides_and_a_moving_one_is_not() {
    let mut script = Script::start().await;
    let proxy = Proxy::before_with(&script, "timeouts: {tunnel_idle: 300ms}", "").await;
    for is_client in [true, false] {
        let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
        // One direction that moves keeps both; together these take longer than the clock.
        for _ in 0..8 {
            let (from, to) = if is_client {
                (&mut client, &mut inside)
            } else {
                (&mut inside, &mut client)
            };
            from.send("x").await;
            assert_eq!(to.bytes(1).await, b"x");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(client.end().await.0, b"");
        assert_eq!(inside.end().await.0, b"");
        proxy.until_idle().await;
    }
}

#[tokio::test]
async fn other_upgrades_pass_the_same_way() {
    let (mut script, proxy) = one_script().await;
    for (method, upgrade) in [
        ("GET", "tcp"),
        ("GET", "own/1.2, other"),
        ("POST", "x-raw"),
        ("OPTIONS", "WebSocket"),
    ] {
        let mut client = proxy.client().await;
        client
            .send(format!(
                "{method} /up-grade HTTP/1.1\r\nHost: test\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
            ))
            .await;
        let (mut inside, request) = script.asked().await;
        assert_eq!(request.field("upgrade"), Some(upgrade));
        assert!(request.lists("connection", "upgrade"));
        inside
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own/1.2\r\n\r\nfirst")
            .await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status(), answer.field("upgrade")),
            (101, Some("own/1.2"))
        );
        assert_eq!(client.bytes(5).await, b"first");
        proxy
            .until("a", "a tunnel", |backend| backend["tunnels"] == 1)
            .await;
        client.send("\0\r\n\r\nraw").await;
        assert_eq!(inside.bytes(8).await, b"\0\r\n\r\nraw");
        drop((client, inside));
        proxy.until_idle().await;
    }
}

/// `Upgrade` that is not listed in `Connection`, or from an HTTP/1.0 client, asks for nothing (RFC
/// 9110, 7.8).
#[tokio::test]
async fn an_upgrade_that_is_not_asked_for_properly_is_not_passed_on() {
    let (mut script, proxy) = one_script().await;
    for head in [
        "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let mut client = proxy.client().await;
        client.send(head).await;
        let (mut inside, request) = script.asked().await;
        assert_eq!(request.field("upgrade"), None, "{head}");
        inside
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .await;
        assert_eq!(client.answer().await.text(), "ok");
    }
}

/// 8 MiB in the tier of CI, 64 MiB in the full one.
#[tokio::test]
async fn many_bytes_pass_both_ways_at_once() {
    let (mut script, proxy) = one_script().await;
    let (client, inside) = tunnel(&mut script, &proxy).await;
    let mibs = if std::env::var_os("TIDEGATE_FULL").is_some() {
        64
    } else {
        8
    };
    let up: Vec<u8> = (0..mibs << 20)
        .map(|at: u32| at.to_le_bytes()[usize::from(at.is_multiple_of(7))])
        .collect();
    let down: Vec<u8> = up.iter().map(|byte| byte ^ 0x55).collect();
    let (mut client_in, mut client_out) = client.stream.into_split();
    let (mut inside_in, mut inside_out) = inside.stream.into_split();
    let (mut came_up, mut came_down) = (vec![0; up.len()], vec![0; down.len()]);
    let all = async {
        tokio::try_join!(
            client_out.write_all(&up),
            inside_out.write_all(&down),
            inside_in.read_exact(&mut came_up),
            client_in.read_exact(&mut came_down),
        )
    };
    within("all of it", all).await.unwrap();
    assert!(came_up == up && came_down == down, "not as it was");
}

/// What was left of the request went into the tunnel, or was lost, where the two met.
#[tokio::test]
async fn a_101_in_the_middle_of_a_request_is_refused() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    let head = HANDSHAKE.replace("GET ", "POST ").replace(
        "\r\n\r\n",
        "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",
    );
    client.send(head).await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    assert_eq!(inside.chunk().await, b"begin");
    inside.send(GRANTED).await;
    assert_eq!(client.answer().await.verdict(), (502, Some("bad_response")));
    assert_eq!(inside.end().await.0, b"");
    proxy.until_idle().await;
}
