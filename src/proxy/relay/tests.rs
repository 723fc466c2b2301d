//! The relay over scripted ends: however the bytes are cut into reads, both ends get the same.

mod closing;
mod ends;
mod played;

use std::io;
use std::pin::Pin;
use std::task::Waker;

use proptest::prelude::*;
use tokio::io::ReadBuf;

use super::*;
use crate::proxy::http1::{Asked, Framing, Version};
use crate::proxy::scripted::{End, Relayed, Then, relay};

fn run(client: End, server: End) -> Relayed {
    timed(client, server).0
}

fn timed(client: End, server: End) -> (Relayed, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let begun = Instant::now();
        let relayed = relay(client, server).await.unwrap();
        (relayed, begun.elapsed())
    })
}

fn end(sends: &[u8], then: Then) -> End {
    End {
        sends: sends.to_vec(),
        pieces: Vec::new(),
        behind: Vec::new(),
        then,
    }
}

/// What the client gets of a scripted answer to a GET; its `Date` is taken out.
fn answered(server: &[u8], then: Then) -> (String, Result<u16, &'static str>) {
    let client = end(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Then::Silence);
    let relayed = run(client, end(server, then));
    (without_date(&relayed.to_client), relayed.ended)
}

fn without_date(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

#[test]
fn answers_of_every_framing_reach_the_client_in_its_own() {
    let head = "HTTP/1.1 200 OK\r\n";
    let length = answered(
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        Then::Silence,
    );
    assert_eq!(
        length,
        (format!("{head}Content-Length: 3\r\n\r\nabc"), Ok(200))
    );
    let chunked = answered(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n0\r\nT: 1\r\n\r\n",
        Then::Silence,
    );
    let rest = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n";
    assert_eq!(chunked, (format!("{head}{rest}"), Ok(200)));
    let until_close = answered(b"HTTP/1.1 200 OK\r\n\r\nabc", Then::Close);
    let rest = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(until_close, (format!("{head}{rest}"), Ok(200)));
    let interim = answered(
        b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
        Then::Silence,
    );
    let rest = "HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 204 No\r\n\r\n";
    assert_eq!(interim, (rest.into(), Ok(204)));
}

#[test]
fn an_answer_that_ends_early_is_never_complete_for_the_client() {
    for (server, then, word) in [
        ("", Then::Close, "upstream_reset"),
        ("", Then::Reset, "upstream_reset"),
        ("", Then::Silence, "upstream_timeout"),
        ("HTTP/1.1 200 OK\r\nCon", Then::Close, "upstream_reset"),
        ("HTTP/1.1 200 OK\r\nCon", Then::Silence, "upstream_timeout"),
        ("HTTP/1.1 2x0 OK\r\n\r\n", Then::Silence, "bad_response"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            Then::Close,
            "upstream_reset",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            Then::Silence,
            "body_timeout",
        ),
        ("HTTP/1.1 200 OK\r\n\r\nabc", Then::Reset, "upstream_reset"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
            Then::Close,
            "upstream_reset",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd",
            Then::Silence,
            "bad_response",
        ),
    ] {
        let (got, ended) = answered(server.as_bytes(), then);
        assert_eq!(ended, Err(word), "{server:?} {then:?}");
        assert!(!got.ends_with("0\r\n\r\n"), "{server:?} {then:?}: {got:?}");
    }
}

#[test]
fn a_client_that_leaves_ends_the_exchange_and_one_that_stops_is_given_up() {
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc";
    for (then, word) in [
        (Then::Close, "client_gone"),
        (Then::Reset, "client_gone"),
        (Then::Silence, "client_body_timeout"),
    ] {
        let relayed = run(end(post, then), end(b"", Then::Silence));
        assert_eq!(relayed.ended, Err(word));
        assert!(relayed.to_server.ends_with(b"\r\n\r\nabc"));
    }
}

#[test]
fn bytes_on_both_sides_of_a_101_arrive_and_a_dead_tunnel_ends() {
    let client = end(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly",
        Then::Silence,
    );
    let server = end(
        b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nbehind",
        Then::Close,
    );
    let relayed = run(client, server);
    assert_eq!(relayed.ended, Err("tunnel_timeout"));
    assert!(relayed.to_server.ends_with(b"\r\n\r\nearly"));
    assert!(relayed.to_client.ends_with(b"\r\n\r\nbehind"));
}

/// One that sends what it has, takes so many bytes, and then neither.
struct Stuck {
    sends: &'static [u8],
    takes: usize,
}

impl AsyncRead for Stuck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.sends.is_empty() {
            return Poll::Pending;
        }
        buffer.put_slice(std::mem::take(&mut self.sends));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.takes);
        self.takes -= taken;
        match taken {
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether an answer has begun for a client that took so many bytes of an interim one, and no more.
async fn has_begun_behind(taken: usize) -> bool {
    let peer = |sends, takes| Peer {
        stream: Stuck { sends, takes },
        input: Input::default(),
    };
    let (mut client, mut server) = (peer(b"", taken), peer(INTERIM, usize::MAX));
    let mut up = Up::new(
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        Framing::None,
        true,
        Instant::now(),
    );
    let terms = Terms {
        asked: Asked {
            is_head: false,
            upgrade: false,
            websocket: false,
        },
        version: Version::Http11,
        keeps_alive: true,
        expects_continue: false,
    };
    let mut down = Down::new(terms, Instant::now());
    let second = Duration::from_secs(1);
    let talk = Talk {
        client: &mut client,
        server: &mut server,
        up: &mut up,
        down: &mut down,
        exchange: &Exchange::new("GET", "/", None),
        clocks: &Clocks {
            response_head: second,
            body_idle: second,
            client_idle: second,
            tunnel_idle: second,
        },
        timer: &mut Timer::new(),
        stopping: &AtomicBool::new(false),
        is_downs_turn: false,
    };
    assert!(talk.run().await.is_err());
    down.is_written()
}

const INTERIM: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";

/// An error was put behind half an interim answer, where it reads as more fields of it.
#[tokio::test(start_paused = true)]
async fn no_other_answer_is_given_behind_half_an_interim_one() {
    assert!(has_begun_behind(30).await);
    assert!(!has_begun_behind(0).await);
    assert!(!has_begun_behind(INTERIM.len()).await);
}

fn bodies() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let chunked = |data: Vec<Vec<u8>>| {
        let mut body = Vec::new();
        for chunk in data.iter().filter(|chunk| !chunk.is_empty()) {
            body.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\nX-Sum: 1\r\n\r\n");
        (b"Transfer-Encoding: chunked\r\n".to_vec(), body)
    };
    let length = |data: Vec<u8>| {
        let field = format!("Content-Length: {}\r\n", data.len());
        (field.into_bytes(), data)
    };
    let data = || proptest::collection::vec(any::<u8>(), 0..5000);
    prop_oneof![
        data().prop_map(length),
        proptest::collection::vec(data(), 0..6).prop_map(chunked),
    ]
}

/// Sizes of reads and writes; many are pauses, but not so many that a clock of the relay runs out.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![Just(0), any::<u8>(), any::<u8>()];
    let pieces = proptest::collection::vec(piece, 0..7);
    pieces.prop_map(|pieces| [&pieces[..], &[u8::MAX]].concat())
}

proptest! {
    #[test]
    fn any_split_gives_both_ends_the_same(
        up in bodies(),
        down in bodies(),
        client_pieces in pieces(),
        server_pieces in pieces(),
    ) {
        let request = [b"PUT / HTTP/1.1\r\nHost: a\r\n", &up.0[..], b"\r\n", &up.1].concat();
        let answer = [b"HTTP/1.1 200 OK\r\n", &down.0[..], b"\r\n", &down.1].concat();
        let whole = run(end(&request, Then::Silence), end(&answer, Then::Silence));
        prop_assert_eq!(whole.ended, Ok(200));
        prop_assert!(whole.to_client.ends_with(&down.1));
        let cut = run(
            End { pieces: client_pieces, ..end(&request, Then::Silence) },
            End { pieces: server_pieces, ..end(&answer, Then::Silence) },
        );
        prop_assert_eq!(cut.ended, Ok(200));
        prop_assert!(cut.to_client.ends_with(&down.1));
        // The answer may have come first; then the rest of the request stays where it is.
        let all = [b"\r\n\r\n", &up.1[..]].concat();
        for relayed in [whole, cut] {
            prop_assert!(relayed.to_server.ends_with(&all) || !relayed.is_sent);
        }
    }

    /// What came while the backend took nothing was left lying: nobody ever asked for it again.
    #[test]
    fn a_backend_that_reads_the_whole_request_first_gets_it_whole(
        up in bodies(),
        client_pieces in pieces(),
        server_pieces in pieces(),
    ) {
        let request = [b"PUT / HTTP/1.1\r\nHost: a\r\n", &up.0[..], b"\r\n", &up.1].concat();
        let (relayed, took) = timed(
            End { pieces: client_pieces, ..end(&request, Then::Silence) },
            End {
                pieces: server_pieces,
                behind: [b"\r\n\r\n", &up.1[..]].concat(),
                ..end(b"HTTP/1.1 204 No\r\n\r\n", Then::Silence)
            },
        );
        prop_assert_eq!(relayed.ended, Ok(204));
        prop_assert!(relayed.is_sent);
        // Not by the grace of a clock, the shortest of which has 30 s.
        prop_assert!(took < Duration::from_secs(20), "took {:?}", took);
    }

    #[test]
    fn what_is_sent_again_is_the_whole_request(
        up in bodies(),
        pieces in proptest::collection::vec(40usize..4000, 1..5),
        deaths in proptest::collection::vec((0usize..12_000, any::<bool>()), 0..3),
    ) {
        let head = [b"PUT / HTTP/1.1\r\n", &up.0[..], b"\r\n"].concat();
        let framing = match up.0.starts_with(b"T") {
            true => Framing::Chunked,
            false => Framing::Length(up.1.len() as u64),
        };
        let mut client = Peer {
            stream: Pieces { sends: up.1.clone(), pieces, at: 0 },
            input: Input::default(),
        };
        let whole = [&head[..], &up.1].concat();
        let mut up = Up::new(head, framing, true, Instant::now());
        for (takes, breaks) in deaths {
            let got = send(&mut up, &mut client, takes, breaks);
            prop_assert!(whole.starts_with(&got));
            prop_assert!(up.may_be_sent_again());
            up.rewind();
        }
        prop_assert_eq!(send(&mut up, &mut client, usize::MAX, false), whole);
        prop_assert!(up.is_sent());
    }
}

/// A client that sends its bytes in such pieces, with a pause behind each.
struct Pieces {
    sends: Vec<u8>,
    pieces: Vec<usize>,
    at: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = self.pieces[self.at / 2 % self.pieces.len()];
        self.at += 1;
        let take = piece.min(self.sends.len()).min(buffer.remaining());
        if take == 0 || self.at.is_multiple_of(2) {
            return Poll::Pending;
        }
        buffer.put_slice(&self.sends[..take]);
        self.sends.drain(..take);
        Poll::Ready(Ok(()))
    }
}

/// A backend that takes so many bytes and then none, or breaks.
struct Taker {
    takes: usize,
    breaks: bool,
    got: Vec<u8>,
}

impl AsyncWrite for Taker {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = bytes.len().min(self.takes).min(3000);
        if taken == 0 && self.breaks {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if taken == 0 {
            return Poll::Pending;
        }
        self.takes -= taken;
        self.got.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a backend got of a request until nothing moved any more.
fn send(up: &mut Up, client: &mut Peer<Pieces>, takes: usize, breaks: bool) -> Vec<u8> {
    let mut server = Peer {
        stream: Taker {
            takes,
            breaks,
            got: Vec::new(),
        },
        input: Input::default(),
    };
    let exchange = Exchange::new("PUT", "/", None);
    let mut context = Context::from_waker(Waker::noop());
    let now = Instant::now();
    // The smallest pieces of the largest body, each with its pause, and more.
    for _ in 0..2000 {
        let polled = up.poll(&mut context, client, &mut server, &exchange, now);
        polled.expect("neither side is at fault");
    }
    server.stream.got
}
