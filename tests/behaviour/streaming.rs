//! Streaming: every byte goes on when it comes, and no further than the other side can take it.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::script::ok;
use crate::support::{Proxy, Script, Setup, Wire, get, one_script, within};

const MIB: usize = 1024 * 1024;

/// What every large body here is made of: no piece is like the next.
fn pattern() -> Vec<u8> {
    let mut state = 1_u32;
    let mut bytes = Vec::with_capacity(MIB);
    while bytes.len() < MIB {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    bytes
}

/// Sends so many MiB with a length, or as chunks of a MiB each.
async fn send_body(wire: &mut Wire<TcpStream>, mibs: usize, is_chunked: bool) {
    let mut piece = pattern();
    if is_chunked {
        piece.splice(0..0, format!("{MIB:x}\r\n").into_bytes());
        piece.extend(b"\r\n");
    }
    for _ in 0..mibs {
        wire.send(&piece).await;
    }
    if is_chunked {
        wire.send("0\r\n\r\n").await;
    }
}

/// Reads so many MiB and looks at each byte.
async fn check_body(wire: &mut Wire<TcpStream>, mibs: usize, is_chunked: bool) {
    let expected = pattern();
    if !is_chunked {
        for _ in 0..mibs {
            assert!(
                wire.bytes(MIB).await == expected,
                "a piece is not as it was"
            );
        }
        return;
    }
    let mut seen = 0;
    while seen < mibs * MIB {
        let chunk = wire.chunk().await;
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            let at = seen % MIB;
            let count = rest.len().min(MIB - at);
            assert!(rest[..count] == expected[at..at + count], "not as it was");
            rest = &rest[count..];
            seen += count;
        }
    }
    assert_eq!(wire.bytes(5).await, b"0\r\n\r\n");
}

fn framing(mibs: usize, is_chunked: bool) -> String {
    match is_chunked {
        true => "Transfer-Encoding: chunked".into(),
        false => format!("Content-Length: {}", mibs * MIB),
    }
}

#[tokio::test]
async fn the_head_of_an_answer_and_each_piece_of_its_body_go_out_at_once() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(get("/length")).await;
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        .await;
    assert_eq!(client.next_head().await.field("content-length"), Some("6"));
    for piece in ["a", "bc", "def"] {
        inside.send(piece).await;
        assert_eq!(client.bytes(piece.len()).await, piece.as_bytes());
    }
    proxy.until_idle().await;
    client.send(get("/chunked")).await;
    inside.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    assert!(
        client
            .next_head()
            .await
            .lists("transfer-encoding", "chunked")
    );
    for piece in ["a", "bc", "def"] {
        let size = piece.len();
        inside.send(format!("{size:x}\r\n{piece}\r\n")).await;
        assert_eq!(client.chunk().await, piece.as_bytes());
    }
    inside.send("0\r\n\r\n").await;
    assert_eq!(client.bytes(5).await, b"0\r\n\r\n");
}

#[tokio::test]
async fn each_piece_of_an_until_close_answer_goes_out_at_once_as_a_chunk() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    inside.send("HTTP/1.0 200 OK\r\n\r\n").await;
    assert!(
        client
            .next_head()
            .await
            .lists("transfer-encoding", "chunked")
    );
    for piece in ["a", "bc", "def"] {
        inside.send(piece).await;
        assert_eq!(client.chunk().await, piece.as_bytes());
    }
    drop(inside);
    assert_eq!(client.bytes(5).await, b"0\r\n\r\n");
}

/// Half a chunk is data already: an event stream must not wait for the rest of it.
#[tokio::test]
async fn a_part_of_a_chunk_goes_out_at_once() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello")
        .await;
    client.next_head().await;
    let mut seen = Vec::new();
    within("half a chunk", async {
        while !seen.ends_with(b"hello") {
            seen.extend(client.exactly(1).await.unwrap());
        }
    })
    .await;
    inside.send("world\r\n0\r\n\r\n").await;
    within("the rest", async {
        while !seen.ends_with(b"0\r\n\r\n") {
            seen.extend(client.exactly(1).await.unwrap());
        }
    })
    .await;
    let mut again = Wire::new(std::io::Cursor::new(
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            seen.as_slice(),
        ]
        .concat(),
    ));
    assert_eq!(again.answer().await.text(), "helloworld");
}

#[tokio::test]
async fn the_head_of_a_request_and_each_piece_of_its_body_go_on_at_once() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\n")
        .await;
    let mut inside = script.accepted().await;
    assert_eq!(inside.next_head().await.field("content-length"), Some("6"));
    for piece in ["a", "bc", "def"] {
        client.send(piece).await;
        assert_eq!(inside.bytes(piece.len()).await, piece.as_bytes());
    }
    inside.send(ok("one")).await;
    assert_eq!(client.answer().await.text(), "one");
    proxy.until_idle().await;
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    assert!(
        inside
            .next_head()
            .await
            .lists("transfer-encoding", "chunked")
    );
    for piece in ["a", "bc", "def"] {
        let size = piece.len();
        client.send(format!("{size:x}\r\n{piece}\r\n")).await;
        assert_eq!(inside.chunk().await, piece.as_bytes());
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(inside.bytes(5).await, b"0\r\n\r\n");
    inside.send(ok("two")).await;
    assert_eq!(client.answer().await.text(), "two");
}

#[tokio::test]
async fn messages_that_come_byte_by_byte_pass_whole() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    for byte in b"POST /slow HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" {
        client.send([*byte]).await;
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let (mut inside, request) = script.asked().await;
    assert_eq!(
        (request.path(), request.body.as_slice()),
        ("/slow", &b"abcde"[..])
    );
    for byte in b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" {
        inside.send([*byte]).await;
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    assert_eq!(client.answer().await.text(), "abcde");
}

async fn down(mibs: usize, is_chunked: bool) {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    let framing = framing(mibs, is_chunked);
    inside
        .send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"))
        .await;
    client.next_head().await;
    let whole = async {
        tokio::join!(
            send_body(&mut inside, mibs, is_chunked),
            check_body(&mut client, mibs, is_chunked)
        )
    };
    whole.await;
    proxy.until_idle().await;
}

async fn up(mibs: usize, is_chunked: bool) {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    let framing = framing(mibs, is_chunked);
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n"
        ))
        .await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    tokio::join!(
        send_body(&mut client, mibs, is_chunked),
        check_body(&mut inside, mibs, is_chunked)
    );
    inside.send(ok("whole")).await;
    assert_eq!(client.answer().await.text(), "whole");
}

#[tokio::test]
async fn a_large_answer_with_a_length_comes_whole() {
    down(64, false).await;
}

#[tokio::test]
async fn a_large_chunked_answer_comes_whole() {
    down(16, true).await;
}

#[tokio::test]
async fn a_large_upload_with_a_length_comes_whole() {
    up(16, false).await;
}

#[tokio::test]
async fn a_large_chunked_upload_comes_whole() {
    up(64, true).await;
}

/// Far more than all sockets on the way can hold (a few MiB each) and far less than what is sent.
const HELD_BACK: usize = 40;

/// Sends MiB after MiB until one does not go for a while; says how many went.
async fn until_held_back(wire: &mut Wire<TcpStream>, mibs: usize) -> (usize, usize) {
    let piece = pattern();
    for sent in 0..mibs {
        let mut at = 0;
        while at < piece.len() {
            let write = wire.stream.write(&piece[at..]);
            match tokio::time::timeout(Duration::from_millis(300), write).await {
                Ok(wrote) => at += wrote.unwrap(),
                Err(_) => return (sent, at),
            }
        }
    }
    panic!("all {mibs} MiB were taken although nobody reads");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_backend_back_and_loses_nothing() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    let length = HELD_BACK * MIB;
    inside
        .send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
    let (sent, at) = until_held_back(&mut inside, HELD_BACK).await;
    let rest = async {
        inside.send(&pattern()[at..]).await;
        send_body(&mut inside, HELD_BACK - sent - 1, false).await;
    };
    client.next_head().await;
    tokio::join!(rest, check_body(&mut client, HELD_BACK, false));
}

#[tokio::test]
async fn a_backend_that_does_not_read_holds_the_client_back_and_loses_nothing() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    let length = HELD_BACK * MIB;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    let (sent, at) = until_held_back(&mut client, HELD_BACK).await;
    let rest = async {
        client.send(&pattern()[at..]).await;
        send_body(&mut client, HELD_BACK - sent - 1, false).await;
    };
    tokio::join!(rest, check_body(&mut inside, HELD_BACK, false));
    inside.send(ok("whole")).await;
    assert_eq!(client.answer().await.text(), "whole");
}

/// The same numbers tell an operator what blocks a drain.
#[tokio::test]
async fn the_bytes_of_a_body_are_counted_without_their_framing() {
    let mut script = Script::start().await;
    let mut setup = Setup::scripts(&[&script], "");
    setup.log = "{access: true}".into();
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n2\r\nyo\r\n0\r\n\r\n";
    let length = "Content-Length: 5\r\n\r\nhello";
    for (path, request, answer) in [
        ("/length", length, length),
        ("/chunked", chunked, chunked),
        ("/close", "\r\n", "\r\nfarewell"),
    ] {
        let answered = proxy.fetch(format!("PUT {path} HTTP/1.1\r\nHost: test\r\n{request}"));
        let (mut inside, _) = script.asked().await;
        inside.send(format!("HTTP/1.1 200 OK\r\n{answer}")).await;
        drop(inside);
        answered.await.unwrap().unwrap();
    }
    let mut client = proxy.client().await;
    let upgrade = "Connection: upgrade\r\nUpgrade: x\r\n\r\n";
    client
        .send(format!(
            "GET /tunnel HTTP/1.1\r\nHost: test\r\n{upgrade}hello"
        ))
        .await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    inside
        .send(format!("HTTP/1.1 101 S\r\n{upgrade}goodbye"))
        .await;
    client.next_head().await;
    assert_eq!(inside.bytes(5).await, b"hello");
    assert_eq!(client.bytes(7).await, b"goodbye");
    drop((client, inside));
    for (path, up, down) in [
        ("/length", 5, 5),
        ("/chunked", 7, 7),
        ("/close", 0, 8),
        ("/tunnel", 5, 7),
    ] {
        let record = proxy.record(path).await;
        let bytes = (&record["bytes_up"], &record["bytes_down"]);
        assert_eq!(bytes, (&up.into(), &down.into()), "{path}");
    }
}
