//! WebSocket: the handshake, frames and closes pass as they are.

use tokio::io::AsyncWriteExt;

use crate::support::script::ok;
use crate::support::websocket::{GRANTED, HANDSHAKE, close, frame, tunnel};
use crate::support::{End, get, one_script};

#[tokio::test]
async fn the_handshake_passes_with_its_fields() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send(HANDSHAKE.replace(
            "Sec-WebSocket-Version",
            "Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             Origin: http://test\r\nCookie: a=b\r\nSec-WebSocket-Version",
        ))
        .await;
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.start, "GET /ws HTTP/1.1");
    assert!(request.lists("connection", "upgrade"));
    for (name, value) in [
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "chat, superchat"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits",
        ),
        ("origin", "http://test"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(request.all(name), [value], "{name}");
    }
    assert_eq!(proxy.backend("a").await["requests"], 1);
    inside
        .send(GRANTED.replace(
            "Sec-",
            "Sec-WebSocket-Protocol: chat\r\nSet-Cookie: c=d\r\nSec-",
        ))
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.verdict(), (101, None));
    assert!(answer.lists("connection", "upgrade") && !answer.lists("connection", "close"));
    for (name, value) in [
        ("upgrade", "websocket"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("sec-websocket-protocol", "chat"),
        ("set-cookie", "c=d"),
    ] {
        assert_eq!(answer.all(name), [value], "{name}");
    }
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.field("content-length"), None);
    let backend = proxy
        .until("a", "a tunnel", |backend| backend["tunnels"] == 1)
        .await;
    assert_eq!(backend["requests"], 0, "the claim moved");
    drop((client, inside));
    proxy.until_idle().await;
}

#[tokio::test]
async fn frames_of_every_kind_pass_both_ways_at_once() {
    let (mut script, proxy) = one_script().await;
    let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
    let long = vec![b'l'; 40_000];
    for (head, payload) in [
        (0x81, &b"text"[..]),
        (0x82, &b"\0\xff\r\n\r\nbinary"[..]),
        (0x01, b"first of "),
        (0x89, b"ping between"),
        (0x00, b"three "),
        (0x80, b"fragments"),
        (0x8a, b"pong"),
        (0x81, b""),
        (0x82, long.as_slice()),
        (0x81, b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"),
    ] {
        let up = frame(head, payload, true);
        client.send(&up).await;
        assert!(inside.bytes(up.len()).await == up, "{head:x}");
        let down = frame(head, payload, false);
        inside.send(&down).await;
        assert!(client.bytes(down.len()).await == down, "{head:x}");
    }
}

#[tokio::test]
async fn each_close_code_passes_from_each_side_and_back() {
    let (mut script, proxy) = one_script().await;
    for code in [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 3000, 4999,
    ]
    .map(Some)
    .into_iter()
    .chain([None])
    {
        let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
        client.send(close(code, true)).await;
        let said = close(code, true);
        assert_eq!(inside.bytes(said.len()).await, said);
        inside.send(close(code, false)).await;
        inside.stream.shutdown().await.unwrap();
        assert_eq!(client.end().await, (close(code, false), End::Closed));
        drop(client);
        assert_eq!(inside.end().await.0, b"");

        let (mut client, mut inside) = tunnel(&mut script, &proxy).await;
        inside.send(close(code, false)).await;
        let said = close(code, false);
        assert_eq!(client.bytes(said.len()).await, said);
        client.send(close(code, true)).await;
        client.stream.shutdown().await.unwrap();
        assert_eq!(inside.end().await, (close(code, true), End::Closed));
        drop(inside);
        assert_eq!(client.end().await.0, b"");
    }
    proxy.until_idle().await;
}

#[tokio::test]
async fn a_hundred_sessions_at_once_are_never_mixed_up() {
    let (mut script, proxy) = one_script().await;
    let mut sessions = Vec::new();
    for _ in 0..100 {
        sessions.push(tunnel(&mut script, &proxy).await);
    }
    proxy
        .until("a", "full", |backend| backend["tunnels"] == 100)
        .await;
    for round in 0..3 {
        for (number, (client, inside)) in sessions.iter_mut().enumerate() {
            client.send(format!("up{number:05}{round}")).await;
            inside.send(format!("dn{number:05}{round}")).await;
        }
        for (number, (client, inside)) in sessions.iter_mut().enumerate() {
            assert_eq!(
                inside.bytes(8).await,
                format!("up{number:05}{round}").as_bytes()
            );
            assert_eq!(
                client.bytes(8).await,
                format!("dn{number:05}{round}").as_bytes()
            );
        }
    }
    // Plain requests go on beside them.
    let mut client = proxy.client().await;
    client.send(get("/plain")).await;
    let (mut inside, _) = script.asked().await;
    inside.send(ok("plain")).await;
    assert_eq!(client.answer().await.text(), "plain");
    sessions.clear();
    proxy.until_idle().await;
}
