//! A whole exchange: a client and a backend of the fuzzer's making, with the relay between them.
//!
//! The first byte says what each end does when it has sent everything, the next eight in which pieces
//! their bytes come, the two behind them how many bytes are the client's; the others are the backend's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proxy::http1::{
    Asked, Body, Bounds, Chunks, Framing, HeadEnd, RequestHead, ResponseHead, Version, slots,
};
use tidegate::proxy::scripted::{End, Relayed, Then, relay};

const BOUNDS: Bounds = Bounds {
    fields_max: 100,
    target_bytes_max: 8192,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((flags, rest)) = bytes.split_first() else {
        return;
    };
    let Some((pieces, rest)) = rest.split_at_checked(8) else {
        return;
    };
    let Some((length, rest)) = rest.split_first_chunk::<2>() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (client, server) = rest.split_at(length);
    let end = |sends: &[u8], pieces: &[u8], then: u8| End {
        sends: sends.to_vec(),
        pieces: pieces.to_vec(),
        behind: Vec::new(),
        then: match then % 3 {
            0 => Then::Silence,
            1 => Then::Close,
            _ => Then::Reset,
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let client_end = end(client, &pieces[..4], flags & 15);
    let server_end = end(server, &pieces[4..], flags >> 4);
    let Some(relayed) = runtime.block_on(relay(client_end, server_end)) else {
        return;
    };
    check(client, server, &relayed);
});

fn check(client: &[u8], server: &[u8], relayed: &Relayed) {
    let asked = Request::read(client).expect("a head that was relayed");
    if !relayed.to_server.is_empty() {
        let got = Request::read(&relayed.to_server);
        if let Some(got) = got.filter(|_| !asked.upgrades) {
            assert_eq!(got.method, asked.method);
            assert!(got.rest.is_empty(), "more than one request went on");
            assert!(got.is_whole <= asked.is_whole, "half a request became whole");
            assert!(asked.data.starts_with(&got.data), "its body was changed");
        }
    }
    let sent = Answer::read(server, &asked, true);
    // What the client can make of what it got; to HTTP/1.0 the end of the connection is an end.
    let closed = relayed.ended.is_ok();
    let got = Answer::read(&relayed.to_client, &asked, closed);
    match relayed.ended {
        Ok(101) => {}
        Ok(status) => {
            let (sent, got) = (sent.expect("an answer"), got.expect("an answer"));
            assert!(got.is_whole, "a whole answer became half of one");
            assert_eq!((got.status, sent.status), (status, status));
            assert_eq!(got.data, sent.data, "its body was changed");
            assert!(got.rest.is_empty(), "more than one answer went on");
        }
        Err(_) if asked.upgrades => {}
        Err(word) => {
            if let Some(got) = got {
                assert!(!got.is_whole, "{word}, and yet the answer looks whole");
            }
        }
    }
}

struct Request {
    method: String,
    is_old: bool,
    upgrades: bool,
    data: Vec<u8>,
    is_whole: bool,
    rest: Vec<u8>,
}

impl Request {
    fn read(bytes: &[u8]) -> Option<Self> {
        let length = HeadEnd::request().find(bytes).ok()??;
        let (head, body) = bytes.split_at(length);
        let mut room = slots();
        let head = RequestHead::parse(head, &mut room, &BOUNDS).ok()?;
        let (data, is_whole, rest) = read_body(head.framing, body, false);
        Some(Self {
            method: head.method.to_owned(),
            is_old: head.version == Version::Http10,
            upgrades: head.asks_upgrade,
            data,
            is_whole,
            rest,
        })
    }
}

struct Answer {
    status: u16,
    data: Vec<u8>,
    is_whole: bool,
    rest: Vec<u8>,
}

impl Answer {
    /// The final answer in `bytes`. `closed`: their end is the end of the connection.
    fn read(mut bytes: &[u8], asked: &Request, closed: bool) -> Option<Self> {
        loop {
            let length = HeadEnd::response().find(bytes).ok()??;
            let (head, body) = bytes.split_at(length);
            let mut room = slots();
            let how = Asked {
                is_head: asked.method == "HEAD",
                upgrade: asked.upgrades,
                websocket: false,
            };
            let head = ResponseHead::parse(head, &mut room, how).ok()?;
            if head.is_interim() {
                assert!(!(asked.is_old && closed && bytes.is_empty()));
                bytes = body;
                continue;
            }
            let (data, is_whole, rest) = read_body(head.framing, body, closed);
            return Some(Self {
                status: head.status,
                data,
                is_whole,
                rest,
            });
        }
    }
}

/// The data of a body, whether it is all of it, and what is behind it. Read byte by byte, so that
/// what comes before an error is seen.
fn read_body(framing: Framing, bytes: &[u8], closed: bool) -> (Vec<u8>, bool, Vec<u8>) {
    let mut body = Body::new(framing);
    let (mut window, mut data) = (Vec::new(), Vec::new());
    for (at, &byte) in bytes.iter().enumerate() {
        if body.is_done() {
            return (data, true, bytes[at..].to_vec());
        }
        window.push(byte);
        let Ok(passed) = body.pass(&mut window, Chunks::Strip) else {
            return (data, false, Vec::new());
        };
        data.extend_from_slice(&window[..passed.kept]);
        window.drain(..passed.consumed);
    }
    let is_whole = body.is_done() || closed && body.ends_at_close();
    (data, is_whole, Vec::new())
}
