//! What a drain that asks a tunnel to close makes of it.

use tokio::io::{AsyncReadExt, AsyncWriteExt, split};

use super::super::websocket::Sender;
use super::super::websocket::tests::frame;
use super::ends::{
    Begin, FORCED, GOING_AWAY, gets, gets_nothing, is_our_masked_close, open, settled, websocket,
};
use super::*;
use crate::backend::CutReason;

#[tokio::test(start_paused = true)]
async fn both_sides_get_a_close_and_their_own_end_the_tunnel() {
    for is_client_first in [true, false] {
        let mut ends = websocket().await;
        ends.ask();
        ends.client_gets_close().await;
        ends.server_gets_close().await;
        if is_client_first {
            ends.client_sends(0x88, b"\x03\xe9").await;
            assert!(ends.is_open().await, "half a handshake");
            ends.server_sends(0x88, b"\x03\xe9").await;
        } else {
            ends.server_sends(0x88, b"").await;
            assert!(ends.is_open().await, "half a handshake");
            ends.client_sends(0x88, b"").await;
        }
        ends.ends_clean().await;
    }
}

/// A Close inside a frame would be taken for its payload.
#[tokio::test(start_paused = true)]
async fn a_frame_that_was_begun_goes_on_to_its_end_before_the_close() {
    for payload in [&b""[..], b"short", &[b'l'; 200], &[b'x'; 70_000]] {
        for sender in [Sender::Client, Sender::Server] {
            let begun = frame(sender, 0x01, payload);
            for cut in (1..begun.len()).filter(|cut| *cut < 16 || *cut + 2 > begun.len()) {
                let mut ends = websocket().await;
                let (from, to) = match sender {
                    Sender::Client => (&mut ends.client, &mut ends.server),
                    Sender::Server => (&mut ends.server, &mut ends.client),
                };
                from.write_all(&begun[..cut]).await.unwrap();
                assert_eq!(gets(to, cut).await, begun[..cut]);
                assert!(ends.exchange.ask_cut(0, CutReason::TunnelClose));
                settled().await;
                gets_nothing(to).await;
                // What comes behind it is dropped, its rest is not.
                let behind = frame(sender, 0x80, b"too late");
                let all = [&begun[cut..], &behind].concat();
                from.write_all(&all).await.unwrap();
                assert_eq!(gets(to, begun.len() - cut).await, begun[cut..]);
                ends.client_gets_close().await;
                ends.server_gets_close().await;
                let moved = ends.exchange.bytes();
                assert_eq!(moved.0 + moved.1, begun.len() as u64);
                ends.client_sends(0x88, b"").await;
                ends.server_sends(0x88, b"").await;
                ends.ends_clean().await;
            }
        }
    }
}

/// Also between the fragments of a message, as a control frame may (RFC 6455, 5.4).
#[tokio::test(start_paused = true)]
async fn what_a_side_has_not_taken_yet_goes_out_before_the_close() {
    for room in [1, 7, 64, 3000] {
        let mut ends = open(Protocol::WebSocket, room).await;
        let frames: Vec<u8> = [0x01, 0x00, 0x80, 0x82]
            .iter()
            .flat_map(|&first| frame(Sender::Server, first, &[first; 3000]))
            .collect();
        let (mut reader, mut writer) = split(ends.server);
        let sent = frames.clone();
        let writing = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            let close = frame(Sender::Server, 0x88, b"bye");
            writer.write_all(&close).await.unwrap();
        });
        settled().await;
        assert!(!writing.is_finished(), "nothing is blocked");
        assert!(ends.exchange.ask_cut(0, CutReason::TunnelClose));
        let mut close = [0; 8];
        reader.read_exact(&mut close).await.unwrap();
        assert!(is_our_masked_close(&close), "not behind what is blocked");
        let mut got = Vec::new();
        while !got.ends_with(GOING_AWAY) {
            if got.len() % 100 == 0 {
                settled().await;
            }
            got.push(ends.client.read_u8().await.unwrap());
        }
        let data = got.len() - GOING_AWAY.len();
        assert!(frames.starts_with(&got[..data]));
        assert!(data > 0 && data.is_multiple_of(3004), "{data}");
        let close = frame(Sender::Client, 0x88, b"");
        ends.client.write_all(&close).await.unwrap();
        assert_eq!(ends.tunnel.await.unwrap(), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_does_not_answer_is_waited_for_within_the_bound() {
    for (client_answers, server_answers) in [(false, false), (true, false), (false, true)] {
        let mut ends = websocket().await;
        ends.ask();
        ends.client_gets_close().await;
        ends.server_gets_close().await;
        // Answers that are none.
        ends.client_sends(0x8a, b"pong").await;
        ends.server_sends(0x81, b"text").await;
        if client_answers {
            ends.client_sends(0x88, b"").await;
        }
        if server_answers {
            ends.server_sends(0x88, b"").await;
        }
        ends.ends_forced_at_the_bound().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_side_that_is_stuck_in_a_frame_or_takes_nothing_is_waited_for_within_the_bound() {
    let mut ends = websocket().await;
    ends.client.write_all(&[0x81, 0x85]).await.unwrap();
    assert_eq!(gets(&mut ends.server, 2).await, [0x81, 0x85]);
    ends.ask();
    ends.client_gets_close().await;
    ends.client.write_all(&[1, 2, 3]).await.unwrap();
    assert_eq!(gets(&mut ends.server, 3).await, [1, 2, 3]);
    ends.server_sends(0x88, b"").await;
    ends.ends_forced_at_the_bound().await;

    let mut ends = open(Protocol::WebSocket, 8).await;
    ends.server_sends(0x82, &[0; 12]).await;
    ends.ask();
    ends.server_gets_close().await;
    ends.server_sends(0x88, b"").await;
    let (ended, took, to_client, _) = ends.end().await;
    assert_eq!((ended, took), (FORCED, 5));
    assert_eq!(to_client, [0x82, 12, 0, 0, 0, 0, 0, 0], "what had room");
}

#[tokio::test(start_paused = true)]
async fn a_side_that_has_had_a_close_gets_no_other() {
    let close = b"\x03\xe8done";
    let mut ends = websocket().await;
    ends.server_sends(0x88, close).await;
    let theirs = frame(Sender::Server, 0x88, close);
    assert_eq!(ends.client_gets(theirs.len()).await, theirs);
    ends.ask();
    ends.server_gets_close().await;
    gets_nothing(&mut ends.client).await;
    ends.client_sends(0x88, close).await;
    ends.ends_clean().await;

    let mut ends = websocket().await;
    ends.client_sends(0x88, close).await;
    let theirs = frame(Sender::Client, 0x88, close);
    assert_eq!(gets(&mut ends.server, theirs.len()).await, theirs);
    // It has gone from its side, and that was passed on.
    ends.client.shutdown().await.unwrap();
    assert_eq!(ends.server.read(&mut [0]).await.unwrap(), 0);
    ends.ask();
    ends.client_gets_close().await;
    ends.server_sends(0x88, close).await;
    ends.ends_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_over_is_over_at_the_ask() {
    let mut ends = websocket().await;
    ends.server_sends(0x88, b"").await;
    ends.client_sends(0x88, b"").await;
    assert!(ends.is_open().await, "the sides close it, or a clock does");
    ends.ask();
    let client = frame(Sender::Client, 0x88, b"");
    assert_eq!(ends.end().await, (Ok(()), 0, b"\x88\0".to_vec(), client));
}

#[tokio::test(start_paused = true)]
async fn closes_that_cross_ours_complete_the_handshake() {
    let mut ends = websocket().await;
    // Their Closes are on their way when ours are written: in the middle of a frame of each.
    let (up, down) = (
        frame(Sender::Client, 0x81, b"last words"),
        frame(Sender::Server, 0x81, b"last words"),
    );
    ends.client.write_all(&up[..4]).await.unwrap();
    ends.server.write_all(&down[..4]).await.unwrap();
    settled().await;
    ends.ask();
    settled().await;
    ends.client.write_all(&up[4..]).await.unwrap();
    ends.client_sends(0x88, b"").await;
    ends.server.write_all(&down[4..]).await.unwrap();
    ends.server_sends(0x88, b"").await;
    let (ended, took, to_client, to_server) = ends.end().await;
    assert_eq!((ended, took), (Ok(()), 0));
    assert_eq!(to_client, [&down, GOING_AWAY].concat());
    let (words, close) = to_server.split_at(up.len());
    assert_eq!(words, up);
    assert!(is_our_masked_close(close), "{close:x?}");
}

#[tokio::test(start_paused = true)]
async fn a_side_that_ends_without_a_close_ends_the_other_at_once() {
    for is_client in [true, false] {
        let mut ends = websocket().await;
        ends.ask();
        ends.client_gets_close().await;
        ends.server_gets_close().await;
        let (gone, mut left) = match is_client {
            true => (ends.client, ends.server),
            false => (ends.server, ends.client),
        };
        drop(gone);
        assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
        assert!(ends.begun.elapsed() < Duration::from_secs(1));
        // It may still finish what it sends: nobody gets it, but its end is no reset.
        left.write_all(b"x").await.unwrap();
        drop(left);
        assert_eq!(ends.tunnel.await.unwrap(), FORCED);
        assert!(ends.begun.elapsed() < Duration::from_secs(1));
    }
}

/// It was half closed for long; its peer is told all the same.
#[tokio::test(start_paused = true)]
async fn a_side_that_ended_before_the_ask_makes_it_forced() {
    let mut ends = websocket().await;
    ends.client.shutdown().await.unwrap();
    assert_eq!(ends.server.read(&mut [0]).await.unwrap(), 0);
    ends.ask();
    ends.client_gets_close().await;
    assert_eq!(ends.client.read(&mut [0]).await.unwrap(), 0);
    ends.server.shutdown().await.unwrap();
    assert_eq!(ends.end().await, (FORCED, 0, vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn another_protocol_ends_on_both_sides_behind_what_was_read() {
    for (protocol, up) in [
        (Protocol::Other, &b"\x81\x80up"[..]),
        // No frames after all: not masked.
        (Protocol::WebSocket, b"\x81\x02up"),
    ] {
        let mut ends = open(protocol, 4).await;
        ends.client.write_all(up).await.unwrap();
        let (mut reader, mut writer) = split(ends.server);
        let down = frame(Sender::Server, 0x82, &[b'd'; 50]);
        let writing = tokio::spawn(async move { writer.write_all(&down).await });
        settled().await;
        assert!(ends.exchange.ask_cut(0, CutReason::TunnelClose));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, up);
        got.clear();
        ends.client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"\x82\x32dddddd", "what was read when it was asked");
        assert!(ends.begun.elapsed() < Duration::from_secs(1));
        // Its rest is read, so that its writer is not stuck, or reset.
        writing.await.unwrap().unwrap();
        assert!(!ends.tunnel.is_finished(), "they have not closed");
        drop((reader, ends.client));
        assert_eq!(ends.tunnel.await.unwrap(), FORCED);
        assert!(ends.begun.elapsed() < Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn another_protocol_that_does_not_end_is_waited_for_within_the_bound() {
    let ends = open(Protocol::Other, 64).await;
    ends.ask();
    ends.ends_forced_at_the_bound().await;
}

#[tokio::test(start_paused = true)]
async fn frames_that_break_during_the_handshake_end_it() {
    let mut ends = websocket().await;
    ends.ask();
    ends.client_gets_close().await;
    ends.server_gets_close().await;
    ends.server.write_all(b"\x81\xff").await.unwrap();
    for end in [&mut ends.client, &mut ends.server] {
        assert_eq!(end.read(&mut [0]).await.unwrap(), 0);
        end.shutdown().await.unwrap();
    }
    assert_eq!(ends.end().await, (FORCED, 0, vec![], vec![]));
}

/// Its Close would be read as something else by whoever understands what the other says.
#[tokio::test(start_paused = true)]
async fn no_close_is_said_beside_what_is_no_frame() {
    for sender in [Sender::Client, Sender::Server] {
        let mut ends = websocket().await;
        let (from, to) = match sender {
            Sender::Client => (&mut ends.client, &mut ends.server),
            Sender::Server => (&mut ends.server, &mut ends.client),
        };
        let bytes = match sender {
            Sender::Client => [0x81, 0],
            Sender::Server => [0x81, 0x80],
        };
        from.write_all(&bytes).await.unwrap();
        assert_eq!(gets(to, 2).await, bytes);
        ends.ask();
        for end in [&mut ends.client, &mut ends.server] {
            assert_eq!(end.read(&mut [0]).await.unwrap(), 0);
            end.shutdown().await.unwrap();
        }
        assert_eq!(ends.end().await, (FORCED, 0, vec![], vec![]));
    }
}

/// It takes nothing more, and what it sent itself is not lost for that.
#[tokio::test(start_paused = true)]
async fn what_a_side_sent_before_it_broke_reaches_the_other_with_a_close() {
    let mut ends = open(Protocol::WebSocket, 8).await;
    // More than there is room for, so that its end is not read.
    let sent = [
        frame(Sender::Client, 0x82, b"ab"),
        frame(Sender::Client, 0x82, b"cd"),
    ];
    ends.client.write_all(&sent.concat()).await.unwrap();
    // Half a frame, so that there is still something to be written to it.
    ends.server.write_all(&[0x82, 2, b'x']).await.unwrap();
    assert_eq!(ends.client_gets(3).await, [0x82, 2, b'x']);
    ends.ask();
    settled().await;
    drop(ends.client);
    ends.server.write_all(b"y").await.unwrap();
    settled().await;
    let mut got = Vec::new();
    ends.server.read_to_end(&mut got).await.unwrap();
    let (frames, close) = got.split_at(sent.concat().len());
    assert_eq!(frames, sent.concat());
    assert!(is_our_masked_close(close), "{close:x?}");
    drop(ends.server);
    assert_eq!(ends.tunnel.await.unwrap(), FORCED);
    assert!(ends.begun.elapsed() < Duration::from_secs(1));
}

/// What was read before the tunnel began is part of it, and what it begins with is not.
#[tokio::test(start_paused = true)]
async fn bytes_around_the_101_count_and_an_ask_before_the_first_byte_is_met() {
    let (up, down) = (
        frame(Sender::Client, 0x81, b"early"),
        frame(Sender::Server, 0x82, &[b'd'; 3000]),
    );
    let mut ends = Begin {
        client_sent: up[..6].to_vec(),
        server_sent: [&down[..], &down[..100]].concat(),
        ..Begin::with(Protocol::WebSocket, 1 << 20)
    }
    .open();
    ends.ask();
    let expected = [b"101", &down[..], &down[..100]].concat();
    assert_eq!(ends.client_gets(expected.len()).await, expected);
    assert_eq!(gets(&mut ends.server, 6).await, up[..6]);
    ends.client.write_all(&up[6..]).await.unwrap();
    ends.server.write_all(&down[100..]).await.unwrap();
    assert_eq!(gets(&mut ends.server, up.len() - 6).await, up[6..]);
    assert_eq!(ends.client_gets(down.len() - 100).await, down[100..]);
    ends.client_gets_close().await;
    ends.server_gets_close().await;
    ends.client_sends(0x88, b"").await;
    ends.server_sends(0x88, b"").await;
    let bytes = ends.exchange.bytes();
    assert_eq!(bytes, (up.len() as u64, 2 * down.len() as u64));
    ends.ends_clean().await;
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_is_idle_for_too_long_ends_before_the_bound_too() {
    for protocol in [Protocol::WebSocket, Protocol::Other] {
        let ends = Begin {
            idle: Duration::from_secs(2),
            ..Begin::with(protocol, 64)
        }
        .open();
        ends.ask();
        let (ended, took, ..) = ends.end().await;
        assert_eq!((ended, took), (FORCED, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_at_once_is_one() {
    for protocol in [Protocol::WebSocket, Protocol::Other] {
        let ends = open(protocol, 64).await;
        assert!(ends.exchange.ask_cut(0, CutReason::Closed));
        assert_eq!(ends.end().await, (FORCED, 0, vec![], vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_at_once_during_the_handshake_is_one() {
    for protocol in [Protocol::WebSocket, Protocol::Other] {
        let ends = open(protocol, 64).await;
        ends.ask();
        settled().await;
        assert!(!ends.tunnel.is_finished());
        ends.exchange.ask_cut(0, CutReason::Closed);
        let (ended, took, ..) = ends.end().await;
        assert_eq!((ended, took), (FORCED, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_ends_by_itself_was_not_cut() {
    let mut ends = websocket().await;
    ends.client_sends(0x81, b"bye").await;
    ends.client.shutdown().await.unwrap();
    ends.server.shutdown().await.unwrap();
    let (ended, ..) = ends.end().await;
    assert_eq!(ended, Ok(()));
}
