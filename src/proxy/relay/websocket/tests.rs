//! Frames cut in every way, and what is none.

use proptest::prelude::*;

use super::*;

/// A frame as this sender writes it.
pub(in crate::proxy::relay) fn frame(sender: Sender, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(sender, first, payload.len() as u64);
    match sender {
        Sender::Server => frame.extend_from_slice(payload),
        Sender::Client => {
            let key = [0x37, 0xfa, 0x21, 0x3d];
            let keys = key.iter().cycle();
            frame.extend(key);
            frame.extend(payload.iter().zip(keys).map(|(byte, key)| byte ^ key));
        }
    }
    frame
}

/// Its first bytes, without the key.
fn head(sender: Sender, first: u8, length: u64) -> Vec<u8> {
    let masked = match sender {
        Sender::Client => 0x80,
        Sender::Server => 0,
    };
    let mut head = vec![first];
    match length {
        0..126 => head.push(masked | length as u8),
        126..=0xffff => {
            head.push(masked | 126);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.push(masked | 127);
            head.extend(length.to_be_bytes());
        }
    }
    head
}

/// Where frames end among the bytes that are shown in these pieces, and what is known in the end.
fn follow<'b>(sender: Sender, pieces: impl Iterator<Item = &'b [u8]>) -> (Vec<usize>, Known) {
    let mut frames = Frames::of(sender);
    let (mut at, mut ends) = (0, Vec::new());
    for mut piece in pieces {
        while !piece.is_empty() {
            let was_closed = frames.has_closed();
            let passed = frames.pass_frame(piece);
            assert!(0 < passed && passed <= piece.len());
            at += passed;
            piece = &piece[passed..];
            if frames.is_at_boundary() || (frames.has_closed() && !was_closed) {
                ends.push(at);
            } else {
                assert!(piece.is_empty(), "stopped inside a frame");
            }
        }
    }
    (ends, known(&frames))
}

/// What is known behind some bytes: the state, what there is of a header, what is left of a payload.
type Known = (State, Vec<u8>, u64);

fn known(frames: &Frames) -> Known {
    match frames.state {
        State::Closed | State::Broken => (frames.state, Vec::new(), 0),
        state => {
            let header = frames.header[..frames.header_len].to_vec();
            (state, header, frames.left)
        }
    }
}

fn whole(sender: Sender, bytes: &[u8]) -> (Vec<usize>, Known) {
    follow(sender, [bytes].into_iter())
}

const SENDERS: [Sender; 2] = [Sender::Client, Sender::Server];

/// Every opcode that matters, lengths at each step of the header, and a Close at the end.
fn conversation(sender: Sender) -> Vec<Vec<u8>> {
    let long = [7; 300];
    [
        (0x81, &b"text"[..]),
        (0x82, b""),
        (0x01, &long[..125]),
        (0x89, b"ping between"),
        (0x00, &long[..126]),
        (0x8a, &long[..125]),
        (0x80, &long[..127]),
        // As an extension may have it: compressed, and an opcode that is not known here.
        (0xc1, &long[..1]),
        (0x83, &long),
        (0x8b, b"x"),
        (0x88, b"\x03\xe8bye"),
    ]
    .map(|(first, payload)| frame(sender, first, payload))
    .to_vec()
}

#[test]
fn frames_end_where_they_do_however_they_are_cut() {
    for sender in SENDERS {
        let frames = conversation(sender);
        let bytes = frames.concat();
        let ends: Vec<usize> = frames
            .iter()
            .scan(0, |at, frame| {
                *at += frame.len();
                Some(*at)
            })
            .collect();
        let (found, last) = whole(sender, &bytes);
        assert_eq!(found, ends);
        assert_eq!(last, (State::Closed, vec![], 0));
        assert_eq!(follow(sender, bytes.chunks(1)).0, ends);
        for cut in 0..bytes.len() {
            let (front, back) = bytes.split_at(cut);
            let (found, again) = follow(sender, [front, back].into_iter());
            assert_eq!(found, ends, "cut at {cut}");
            assert_eq!(again, last);
            // Not before its last byte.
            assert_ne!(whole(sender, front).1.0, State::Closed, "cut at {cut}");
            // The other way to show them.
            let mut all = Frames::of(sender);
            all.pass(front);
            assert_eq!(all.is_at_boundary(), cut == 0 || ends.contains(&cut));
            all.pass(back);
            assert_eq!(known(&all), last);
        }
    }
}

#[test]
fn large_frames_are_counted_to_their_end() {
    let piece = vec![0; 1 << 16];
    for length in [65_535, 65_536, 65_537, 1 << 20, (1 << 32) + 1] {
        for sender in SENDERS {
            let mut frames = Frames::of(sender);
            let mut header = head(sender, 0x82, length);
            if sender == Sender::Client {
                header.extend([0; 4]);
            }
            frames.pass(&header);
            for _ in 0..length / piece.len() as u64 {
                assert!(!frames.is_at_boundary());
                assert_eq!(frames.pass_frame(&piece), piece.len());
            }
            let rest = (length % piece.len() as u64) as usize;
            assert!(rest == 0 || frames.pass_frame(&piece) == rest);
            assert!(frames.is_at_boundary(), "{sender:?} {length}");
        }
    }
}

#[test]
fn a_length_longer_than_need_be_is_a_length() {
    for header in [&[0x81, 126, 0, 3][..], &[0x81, 127, 0, 0, 0, 0, 0, 0, 0, 3]] {
        let bytes = [header, b"abc\x89\0"].concat();
        let (ends, _) = whole(Sender::Server, &bytes);
        assert_eq!(ends, [bytes.len() - 2, bytes.len()]);
    }
}

#[test]
fn what_is_no_frame_is_broken_for_good() {
    let behind = [0; 40];
    for (sender, bad) in [
        // Masked or not, against what the sender must do.
        (Sender::Client, &[0x81, 0x01][..]),
        (Sender::Client, &[0x88, 0x00]),
        (Sender::Server, &[0x81, 0x81]),
        (Sender::Server, &[0x88, 0x80]),
        // A control frame in fragments, ...
        (Sender::Server, &[0x08, 0x00]),
        (Sender::Client, &[0x09, 0x80]),
        // ... or with a length of more than 125, whatever is behind it.
        (Sender::Server, &[0x88, 126]),
        (Sender::Client, &[0x8a, 0xff]),
        // More than a signed number holds.
        (Sender::Server, &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        (
            Sender::Client,
            &[0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
        ),
        // Text that is no WebSocket at all.
        (Sender::Client, b"+OK hello"),
    ] {
        let (ends, (state, ..)) = whole(sender, &[bad, &behind].concat());
        assert_eq!(state, State::Broken, "{bad:x?}");
        let mut frames = Frames::of(sender);
        // Known as soon as it can be.
        frames.pass(bad);
        assert!(ends.is_empty());
        assert_eq!(frames.pass_frame(&behind), behind.len());
        assert!(frames.is_broken() && !frames.is_at_boundary() && !frames.has_closed());
        assert_ne!(whole(sender, &bad[..1]).1.0, State::Broken, "{bad:x?}");
    }
}

#[test]
fn behind_a_close_nothing_is_looked_at() {
    let mut frames = Frames::of(Sender::Server);
    frames.pass(b"\x88\0HTTP/1.1");
    assert!(frames.has_closed() && !frames.is_broken() && !frames.is_at_boundary());
    assert_eq!(frames.pass_frame(b"\x82\x01x\x82"), 4);
}

#[test]
fn our_close_is_a_close_of_1001() {
    let mut out = b"x".to_vec();
    write_going_away(Sender::Server, &mut out);
    assert_eq!(out, b"x\x88\x02\x03\xe9");
    let mut keys = std::collections::HashSet::new();
    for _ in 0..100 {
        let mut out = Vec::new();
        write_going_away(Sender::Client, &mut out);
        let [0x88, 0x82, key @ .., first, second] = &out[..] else {
            panic!("{out:x?}");
        };
        assert_eq!([*first ^ key[0], *second ^ key[1]], [0x03, 0xe9]);
        keys.insert(key.to_vec());
        assert_eq!(whole(Sender::Client, &out).1.0, State::Closed);
    }
    assert!(keys.len() > 90, "the key is always the same");
}

fn senders() -> impl Strategy<Value = Sender> {
    prop_oneof![Just(Sender::Client), Just(Sender::Server)]
}

fn cut<'b>(bytes: &'b [u8], pieces: &'b [usize]) -> impl Iterator<Item = &'b [u8]> {
    let mut sizes = pieces.iter().cycle();
    let mut left = bytes;
    std::iter::from_fn(move || {
        let size = *sizes.next()?;
        let (piece, rest) = left.split_at_checked(size).unwrap_or((left, &[]));
        left = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #[test]
    fn any_split_of_frames_gives_the_same_ends(
        sender in senders(),
        frames in proptest::collection::vec(
            (prop_oneof![Just(0x81_u8), Just(0x02), Just(0x80), Just(0xc2)], prop_oneof![0usize..300, 0usize..300, 65_000usize..66_000]), 1..6),
        pieces in proptest::collection::vec(1usize..9000, 1..6),
    ) {
        let frames = frames.iter().map(|(first, length)| frame(sender, *first, &vec![1; *length]));
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for frame in frames {
            bytes.extend(frame);
            ends.push(bytes.len());
        }
        let small: Vec<usize> = pieces.iter().map(|piece| piece % 50 + 1).collect();
        for pieces in [&pieces, &small] {
            prop_assert_eq!(&follow(sender, cut(&bytes, pieces)).0, &ends);
        }
    }

    #[test]
    fn any_split_of_any_bytes_gives_the_same(
        sender in senders(),
        bytes in proptest::collection::vec(any::<u8>(), 1..200),
        pieces in proptest::collection::vec(1usize..20, 1..6),
    ) {
        let (ends, frames) = whole(sender, &bytes);
        prop_assert_eq!(follow(sender, cut(&bytes, &pieces)), (ends.clone(), frames.clone()));
        prop_assert_eq!(follow(sender, bytes.chunks(1)), (ends, frames));
    }
}
