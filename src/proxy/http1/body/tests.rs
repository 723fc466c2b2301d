//! Bodies, whole and cut into pieces.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::chunk::{CHUNK_END, LAST_CHUNK, chunk_head};
use super::*;

/// What went on, how much of it was data, what was left over behind the end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Outcome {
    sent: Vec<u8>,
    data: usize,
    rest: Vec<u8>,
    ended: bool,
    bad: Option<Bad>,
}

/// Passes bytes that come in pieces which end at `cuts`, the way the relay does it.
fn pass(framing: Framing, chunks: Chunks, bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut cuts: Vec<usize> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let mut body = Body::new(framing);
    let mut outcome = Outcome::default();
    let mut read = 0;
    for cut in cuts {
        outcome.rest.extend_from_slice(&bytes[read..cut]);
        read = cut;
        match body.pass(&mut outcome.rest, chunks) {
            Ok(passed) => {
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

fn whole(chunks: Chunks, bytes: &[u8]) -> Outcome {
    let at_once = pass(Framing::Chunked, chunks, bytes, &[]);
    let every: Vec<usize> = (0..bytes.len()).collect();
    let slowly = pass(Framing::Chunked, chunks, bytes, &every);
    assert_eq!(slowly.bad, at_once.bad);
    if at_once.bad.is_none() {
        assert_eq!(slowly, at_once);
    }
    at_once
}

fn refused(bytes: &[u8]) -> &'static str {
    let kept = whole(Chunks::Keep, bytes).bad;
    assert_eq!(kept, whole(Chunks::Strip, bytes).bad);
    kept.map_or("fine", |Bad(why)| why)
}

#[test]
fn a_length_counts_down_and_leaves_the_rest() {
    let outcome = pass(Framing::Length(5), Chunks::Keep, b"helloGET", &[2, 3]);
    assert_eq!(outcome.sent, b"hello");
    assert_eq!(outcome.rest, b"GET");
    assert!(outcome.ended);
    let huge = pass(Framing::Length(u64::MAX), Chunks::Strip, b"hello", &[1]);
    assert_eq!((huge.data, huge.ended), (5, false));
    for none in [Framing::None, Framing::Length(0)] {
        assert!(Body::new(none).is_done());
        let outcome = pass(none, Chunks::Keep, b"GET", &[]);
        assert_eq!((outcome.rest, outcome.ended), (b"GET".to_vec(), true));
    }
}

#[test]
fn a_body_until_close_has_no_other_end() {
    let outcome = pass(Framing::UntilClose, Chunks::Keep, b"0\r\n\r\n", &[1]);
    assert_eq!((outcome.sent.len(), outcome.ended), (5, false));
    assert!(Body::new(Framing::UntilClose).ends_at_close());
    assert!(!Body::new(Framing::Chunked).ends_at_close());
}

#[test]
fn chunks_pass_without_extensions_and_late_names() {
    let bytes = b"5\r\nhello\r\n06;a=\"b\"\r\n world\r\n0;last\r\nA: 1\r\nHost: x\r\n\r\nGET";
    let kept = whole(Chunks::Keep, bytes);
    let clean = b"5\r\nhello\r\n06\r\n world\r\n0\r\nA: 1\r\n\r\n";
    assert_eq!(
        kept.sent.escape_ascii().to_string(),
        clean.escape_ascii().to_string()
    );
    assert_eq!(
        (kept.data, &*kept.rest, kept.ended),
        (11, &b"GET"[..], true)
    );
    let stripped = whole(Chunks::Strip, bytes);
    assert_eq!((&*stripped.sent, stripped.data), (&b"hello world"[..], 11));
    assert_eq!((&*stripped.rest, stripped.ended), (&b"GET"[..], true));
    let empty = whole(Chunks::Keep, LAST_CHUNK);
    assert_eq!(
        (&*empty.sent, empty.data, empty.ended),
        (LAST_CHUNK, 0, true)
    );
}

#[test]
fn data_goes_on_before_its_chunk_is_complete_and_the_end_is_kept() {
    let mut body = Body::new(Framing::Chunked);
    let passed = body.pass(&mut b"5\r\nhe".to_vec(), Chunks::Keep).unwrap();
    assert_eq!((passed.kept, passed.data, passed.ended), (5, 2, false));
    let passed = body.pass(&mut b"llo\r".to_vec(), Chunks::Keep).unwrap();
    assert_eq!((passed.consumed, passed.data), (3, 3));
    let passed = body
        .pass(&mut b"\r\n0\r\n\r\n".to_vec(), Chunks::Keep)
        .unwrap();
    assert_eq!((passed.consumed, passed.ended), (7, true));
    let passed = body.pass(&mut b"0\r\n\r\n".to_vec(), Chunks::Keep).unwrap();
    assert_eq!((passed.consumed, passed.kept, passed.ended), (0, 0, true));
}

#[test]
fn broken_framing_is_refused() {
    for (bytes, why) in [
        (&b"5\r\nhello\n"[..], "no CRLF behind a chunk"),
        (b"5\r\nhello0\r\n\r\n", "no CRLF behind a chunk"),
        (b"5\r\nhello\rx", "no CRLF behind a chunk"),
        (b"4\r\nhello\r\n", "no CRLF behind a chunk"),
        (b"6\r\nhello\r\n0\r\n\r\n", "no CRLF behind a chunk"),
        (b"5\r\nhello\r\n\r\n0\r\n\r\n", "a malformed chunk size"),
        (b"-1\r\n", "a malformed chunk size"),
        (b"0\r\n\n", "a bare LF in the trailers"),
        (b"0\r\nA: b\n\r\n", "a bare LF in the trailers"),
        (b"0\r\nA: b\r\n c: d\r\n\r\n", "a malformed trailer name"),
        (b"0\r\nA : b\r\n\r\n", "a malformed trailer name"),
        (b"0\r\nGET / HTTP/1.1\r\n\r\n", "a trailer without a colon"),
        (b"0\r\nA: b\rc\r\n\r\n", "a control character in a trailer"),
    ] {
        assert_eq!(refused(bytes), why, "{}", bytes.escape_ascii());
    }
}

#[test]
fn trailers_are_bounded() {
    let many = |count: usize| format!("0\r\n{}\r\n", "a: b\r\n".repeat(count)).into_bytes();
    assert_eq!(refused(&many(TRAILERS_MAX)), "fine");
    assert_eq!(refused(&many(TRAILERS_MAX + 1)), "too many trailers");
    let long = |len: usize| format!("0\r\na:{}\r\n\r\n", "b".repeat(len)).into_bytes();
    let longest = TRAILER_BYTES_MAX - "a:\r\n\r\n".len();
    assert_eq!(refused(&long(longest)), "fine");
    for over in [1, 2, 3, 1000] {
        let why = refused(&long(longest + over));
        assert_eq!(why, "trailers that are too long", "{over} over");
    }
}

#[test]
fn extensions_may_not_exceed_the_data_by_much() {
    let extension = "a".repeat(199);
    let chunk = |size: usize| format!("{size:x};{extension}\r\n{}\r\n", "d".repeat(size));
    let bytes = |size: usize, count| chunk(size).repeat(count).into_bytes();
    assert_eq!(refused(&bytes(200, 1000)), "fine");
    assert_eq!(refused(&bytes(1, 80)), "fine");
    assert_eq!(refused(&bytes(1, 100)), "more chunk extensions than data");
}

#[test]
fn nothing_moves_when_nothing_is_taken_out() {
    // Many passes over one large chunk: would take minutes if each copied its bytes.
    let mut body = Body::new(Framing::Chunked);
    body.pass(&mut b"fffffffffff\r\n".to_vec(), Chunks::Keep)
        .unwrap();
    let mut bytes = vec![7; 64 << 20];
    for _ in 0..20_000 {
        let passed = body.pass(&mut bytes, Chunks::Keep).unwrap();
        assert_eq!((passed.kept, passed.data), (bytes.len(), bytes.len()));
    }
}

/// A well-formed chunked body, with the data that it carries.
fn well_formed() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let extension = prop_oneof![Just(""), Just(";a"), Just("; a=\"b\\\"\""), Just(";a=b;c")];
    let chunk = (vec(any::<u8>(), 1..40), extension, 0usize..3);
    let trailer = prop_oneof![
        Just(""),
        Just("A: b\r\n"),
        Just("Host: x\r\n"),
        Just("x_y:\r\n")
    ];
    (vec(chunk, 0..6), vec(trailer, 0..4)).prop_map(|(chunks, trailers)| {
        let mut wire = Vec::new();
        let mut data = Vec::new();
        for (bytes, extension, zeros) in chunks {
            wire.extend_from_slice("0".repeat(zeros).as_bytes());
            wire.extend_from_slice(format!("{:X}{extension}\r\n", bytes.len()).as_bytes());
            wire.extend_from_slice(&bytes);
            wire.extend_from_slice(b"\r\n");
            data.extend_from_slice(&bytes);
        }
        wire.extend_from_slice(b"0\r\n");
        wire.extend_from_slice(trailers.concat().as_bytes());
        wire.extend_from_slice(b"\r\n");
        (wire, data)
    })
}

proptest! {
    #[test]
    fn well_formed_bodies_pass_however_they_are_cut(
        (wire, data) in well_formed(),
        next in vec(any::<u8>(), 0..5),
        cuts in vec(0usize..300, 0..8),
    ) {
        let bytes = [wire, next.clone()].concat();
        let stripped = pass(Framing::Chunked, Chunks::Strip, &bytes, &cuts);
        prop_assert_eq!(&stripped.sent, &data);
        prop_assert_eq!(&stripped.rest, &next);
        prop_assert!(stripped.ended);
        let kept = pass(Framing::Chunked, Chunks::Keep, &bytes, &cuts);
        prop_assert_eq!(kept.data, data.len());
        prop_assert!(kept.ended);
        // What was sent means the same, and is clean already.
        let again = pass(Framing::Chunked, Chunks::Strip, &kept.sent, &[]);
        prop_assert_eq!(again.sent, data);
        prop_assert!(again.ended && again.rest.is_empty());
        let clean = pass(Framing::Chunked, Chunks::Keep, &kept.sent, &[]);
        prop_assert_eq!(clean.sent, kept.sent);
    }

    #[test]
    fn any_bytes_mean_the_same_however_they_are_cut(
        bytes in "([0-2a]{1,2}(;a|;a=\"b\"| ;|\\+)?(\r\n|\n|\r)?[xa0\r\n]{0,3}(\r\n)?(A: b\r\n|A\r|\r\n)?){0,6}",
        cuts in vec(0usize..60, 0..6),
        keep in any::<bool>(),
    ) {
        let chunks = if keep { Chunks::Keep } else { Chunks::Strip };
        let at_once = pass(Framing::Chunked, chunks, bytes.as_bytes(), &[]);
        let cut = pass(Framing::Chunked, chunks, bytes.as_bytes(), &cuts);
        prop_assert_eq!(at_once.bad, cut.bad);
        if at_once.bad.is_none() {
            prop_assert_eq!(at_once, cut);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), cuts in vec(0usize..200, 0..4)) {
        pass(Framing::Chunked, Chunks::Keep, &bytes, &cuts);
    }

    #[test]
    fn what_is_put_into_chunks_is_read_again(pieces in vec(vec(any::<u8>(), 1..99), 0..5)) {
        let mut wire = Vec::new();
        for piece in &pieces {
            chunk_head(piece.len(), &mut wire);
            wire.extend_from_slice(piece);
            wire.extend_from_slice(CHUNK_END);
        }
        wire.extend_from_slice(LAST_CHUNK);
        let outcome = pass(Framing::Chunked, Chunks::Strip, &wire, &[]);
        prop_assert_eq!(outcome.sent, pieces.concat());
        prop_assert!(outcome.ended);
    }
}
