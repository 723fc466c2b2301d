//! WebSockets that are asked to close at any time, between two sides that play by the rules.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split};
use tokio::sync::watch;
use tokio::time::sleep;

use super::super::websocket::tests::frame;
use super::super::websocket::{Frames, Sender};
use super::ends::{GOING_AWAY, is_our_masked_close, open};
use super::*;
use crate::backend::CutReason;

/// How one side plays its part: it sends its frames in such pieces with such pauses between them until it
/// gets a Close, then says its own, and waits for the end. Says what it got.
async fn play(
    stream: DuplexStream,
    sender: Sender,
    frames: Vec<Vec<u8>>,
    pieces: Vec<usize>,
) -> Vec<u8> {
    let (mut reader, mut writer) = split(stream);
    let (seen, mut has_seen) = watch::channel(false);
    let reading = tokio::spawn(async move {
        let (mut got, mut byte) = (Vec::new(), [0; 100]);
        let mut known = Frames::of(match sender {
            Sender::Client => Sender::Server,
            Sender::Server => Sender::Client,
        });
        loop {
            match reader.read(&mut byte).await {
                Ok(0) | Err(_) => return got,
                Ok(count) => {
                    known.pass(&byte[..count]);
                    got.extend_from_slice(&byte[..count]);
                }
            }
            seen.send_replace(known.has_closed());
        }
    });
    let mut pieces = pieces.into_iter().cycle();
    for frame in frames {
        if *has_seen.borrow() {
            break;
        }
        let mut left = &frame[..];
        while let Some(piece) = pieces.next().filter(|_| !left.is_empty()) {
            let (piece, rest) = left.split_at(piece.min(left.len()));
            if piece.len() % 3 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            writer.write_all(piece).await.unwrap();
            left = rest;
        }
    }
    let _ = has_seen.wait_for(|seen| *seen).await;
    let close = frame(sender, 0x88, THEIRS);
    writer.write_all(&close).await.unwrap();
    reading.await.unwrap()
}

const THEIRS: &[u8] = b"\x03\xe9seen";

fn frames() -> impl Strategy<Value = Vec<(u8, usize)>> {
    let first = prop_oneof![Just(0x01_u8), Just(0x80), Just(0x82), Just(0x89)];
    let length = prop_oneof![0usize..126, 0usize..126, 126usize..2000];
    let frame = (first, length).prop_map(|(first, length)| match first {
        0x89 => (first, length.min(125)),
        _ => (first, length),
    });
    proptest::collection::vec(frame, 0..12)
}

/// What a side got behind whole frames of the other.
fn behind_frames<'b>(got: &'b [u8], sent: &[Vec<u8>]) -> &'b [u8] {
    let mut left = got;
    for frame in sent {
        match left.strip_prefix(&frame[..]) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    left
}

proptest! {
    /// Whenever the ask comes and however the bytes are cut. A wake-up that is lost would show as a
    /// cut at the bound.
    #[test]
    fn both_sides_always_get_whole_frames_and_one_close(
        up in frames(),
        down in frames(),
        up_pieces in proptest::collection::vec(1usize..700, 1..6),
        down_pieces in proptest::collection::vec(1usize..700, 1..6),
        room in prop_oneof![1usize..20, 20usize..3000],
        asked in 0u64..15,
    ) {
        let build = |sender, frames: Vec<(u8, usize)>| -> Vec<Vec<u8>> {
            frames.iter().map(|&(first, length)| frame(sender, first, &vec![first; length])).collect()
        };
        let (up, down) = (build(Sender::Client, up), build(Sender::Server, down));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (ended, to_client, to_server) = runtime.block_on(async {
            let ends = open(Protocol::WebSocket, room).await;
            let client = play(ends.client, Sender::Client, up.clone(), up_pieces);
            let server = play(ends.server, Sender::Server, down.clone(), down_pieces);
            let (client, server) = (tokio::spawn(client), tokio::spawn(server));
            sleep(Duration::from_millis(asked)).await;
            assert!(ends.exchange.ask_cut(0, CutReason::TunnelClose));
            let ended = ends.tunnel.await.unwrap();
            (ended, client.await.unwrap(), server.await.unwrap())
        });
        prop_assert_eq!(ended, Ok(()));
        let theirs = |sender| frame(sender, 0x88, THEIRS);
        let behind = behind_frames(&to_client, &down);
        prop_assert!(behind == GOING_AWAY || behind == theirs(Sender::Server), "{:x?}", behind);
        let behind = behind_frames(&to_server, &up);
        prop_assert!(is_our_masked_close(behind) || behind == theirs(Sender::Client), "{:x?}", behind);
    }
}
