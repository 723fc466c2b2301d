//! Chunked bodies: passed on in two ways, whole and in pieces, and read again by two readers.
//!
//! The first byte says how large the pieces are; the body is behind it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proxy::http1::{Bad, Body, Chunks, Framing};

/// What went on, what was left over, and what was wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Outcome {
    sent: Vec<u8>,
    data: usize,
    rest: Vec<u8>,
    ended: bool,
    bad: Option<Bad>,
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&size, bytes)) = bytes.split_first() else {
        return;
    };
    let size = usize::from(size) + 1;
    let kept = pass(bytes, Chunks::Keep, bytes.len());
    let stripped = pass(bytes, Chunks::Strip, bytes.len());
    assert_eq!(kept.bad, stripped.bad);
    for (chunks, at_once) in [(Chunks::Keep, &kept), (Chunks::Strip, &stripped)] {
        for size in [size, 1] {
            let cut = pass(bytes, chunks, size);
            assert_eq!(cut.bad, at_once.bad, "how it was cut matters");
            if cut.bad.is_none() {
                assert_eq!(&cut, at_once, "how it was cut matters");
            } else if chunks == Chunks::Keep {
                // What goes on before the error must look cut.
                let seen = pass(&cut.sent, Chunks::Strip, cut.sent.len());
                assert!(seen.bad.is_none() && !seen.ended);
            }
        }
    }
    if kept.bad.is_some() {
        return;
    }
    assert_eq!(kept.data, stripped.sent.len());
    assert_eq!((kept.ended, &kept.rest), (stripped.ended, &stripped.rest));
    let again = pass(&kept.sent, Chunks::Strip, kept.sent.len());
    assert_eq!(again.bad, None);
    assert_eq!((&again.sent, again.ended), (&stripped.sent, kept.ended));
    let clean = pass(&kept.sent, Chunks::Keep, kept.sent.len());
    assert_eq!(clean.sent, kept.sent, "it was not clean");
    if kept.ended {
        assert!(again.rest.is_empty());
        for (wire, rest) in [(bytes, &*kept.rest), (&*kept.sent, &[])] {
            let seen = lenient(wire);
            let seen = seen.expect("it ended");
            assert_eq!((&seen.data, &*seen.rest), (&stripped.sent, rest));
        }
        let seen = lenient(&kept.sent).expect("it ended");
        assert!(seen.trailers.iter().all(|name| goes_on(name)));
    }
});

/// Passes bytes that come in pieces of one size, the way the relay does it.
fn pass(bytes: &[u8], chunks: Chunks, size: usize) -> Outcome {
    let mut body = Body::new(Framing::Chunked);
    let mut outcome = Outcome::default();
    for piece in bytes.chunks(size.max(1)) {
        outcome.rest.extend_from_slice(piece);
        match body.pass(&mut outcome.rest, chunks) {
            Ok(passed) => {
                assert!(passed.consumed <= outcome.rest.len());
                assert!(passed.kept <= passed.consumed && passed.data <= passed.kept);
                assert_eq!(passed.ended, body.is_done());
                outcome.sent.extend_from_slice(&outcome.rest[..passed.kept]);
                outcome.rest.drain(..passed.consumed);
                outcome.data += passed.data;
                outcome.ended = passed.ended;
            }
            Err(bad) => {
                outcome.bad = Some(bad);
                outcome.rest.clear();
                break;
            }
        }
    }
    outcome
}

/// Whether a trailer is none of those that would be taken for a field of the head.
fn goes_on(name: &[u8]) -> bool {
    let frames_or_routes: [&[u8]; 5] = [
        b"content-length",
        b"transfer-encoding",
        b"host",
        b"connection",
        b"trailer",
    ];
    !frames_or_routes.contains(&name) && !name.contains(&b'_') && !name.starts_with(b"x-tidegate-")
}

/// What a lenient reader makes of a body.
struct Seen {
    data: Vec<u8>,
    trailers: Vec<Vec<u8>>,
    rest: Vec<u8>,
}

/// How someone reads it who takes any line end, skips what is behind a size, and looks at nothing
/// twice. `None` if it does not end.
fn lenient(mut bytes: &[u8]) -> Option<Seen> {
    fn line<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
        let lf = bytes.iter().position(|&byte| byte == b'\n')?;
        let (line, rest) = bytes.split_at(lf + 1);
        *bytes = rest;
        Some(line.trim_ascii())
    }
    let mut data = Vec::new();
    loop {
        let size = line(&mut bytes)?;
        let digits = size.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let digits: Vec<u8> = digits.copied().collect();
        let size = usize::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
        if size == 0 {
            let mut trailers = Vec::new();
            loop {
                let line = line(&mut bytes)?;
                if line.is_empty() {
                    break;
                }
                let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
                trailers.push(name.trim_ascii().to_ascii_lowercase());
            }
            return Some(Seen {
                data,
                trailers,
                rest: bytes.to_vec(),
            });
        }
        data.extend_from_slice(bytes.get(..size)?);
        bytes = &bytes[size..];
        line(&mut bytes)?;
    }
}
