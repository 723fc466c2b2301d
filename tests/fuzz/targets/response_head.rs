//! Heads of responses: found, read, written and read again.
//!
//! The first byte says what the request asked and how the client is spoken to; the head is behind it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::proxy::http1::{
    Asked, Bad, Downstream, Framing, HeadEnd, ResponseHead, Version, slots,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((&bits, bytes)) = bytes.split_first() else {
        return;
    };
    let asked = Asked {
        is_head: bits & 1 != 0,
        upgrade: bits & 2 != 0,
        websocket: bits & 2 != 0,
    };
    let version = match bits & 4 {
        0 => Version::Http11,
        _ => Version::Http10,
    };
    let keeps_alive = bits & 8 != 0;

    // What is no head at all must not make it panic either.
    let _ = ResponseHead::parse(bytes, &mut slots(), asked);

    let at_once = HeadEnd::response().find(bytes);
    assert_eq!(at_once, byte_by_byte(bytes), "how it was cut matters");
    let Ok(Some(end)) = at_once else { return };
    let head = &bytes[..end];
    let mut room = slots();
    let parsed = match ResponseHead::parse(head, &mut room, asked) {
        Ok(parsed) => parsed,
        Err(Bad(why)) => {
            assert_ne!(why, "not one complete head", "its end was found");
            assert_ne!(why, "a bare LF in the head", "each of its lines was seen");
            return;
        }
    };
    agrees_with_a_lenient_reader(head, &parsed, asked);
    let has_framing = matches!(parsed.framing, Framing::Chunked | Framing::UntilClose);
    let chunked = has_framing && version == Version::Http11;
    let downstream = Downstream {
        version,
        keeps_alive,
        chunked,
        date: "Thu, 01 Jan 1970 00:00:00 GMT",
    };
    let mut first = Vec::new();
    parsed.write(&downstream, &mut first);
    assert_eq!(HeadEnd::response().find(&first), Ok(Some(first.len())));
    let mut room = slots();
    let again = match ResponseHead::parse(&first, &mut room, asked) {
        Ok(again) => again,
        // Ours came on top of as many as there may be.
        Err(Bad("too many fields")) => return,
        Err(bad) => panic!("what was written is refused: {bad}"),
    };
    assert_eq!(again.status, parsed.status);
    let framing = match parsed.framing {
        _ if chunked => Framing::Chunked,
        Framing::Chunked => Framing::UntilClose,
        framing => framing,
    };
    assert_eq!(again.framing, framing, "it ends elsewhere for the client");
    if !(100..200).contains(&parsed.status) {
        assert_eq!(again.keeps_alive, keeps_alive && (chunked || !has_framing));
    }
    let mut second = Vec::new();
    again.write(&downstream, &mut second);
    assert_eq!(second, first, "it was not clean");
});

fn byte_by_byte(bytes: &[u8]) -> Result<Option<usize>, Bad> {
    let mut end = HeadEnd::response();
    for len in 1..=bytes.len() {
        if let found @ Some(_) = end.find(&bytes[..len])? {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Someone who takes any line end and any space must not see the body end elsewhere.
fn agrees_with_a_lenient_reader(head: &[u8], parsed: &ResponseHead<'_, '_>, asked: Asked) {
    let mut framing = Framing::UntilClose;
    for line in head.split(|&byte| byte == b'\n' || byte == b'\r').skip(1) {
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default().trim_ascii();
        let name = name.trim_ascii().to_ascii_lowercase();
        if name == b"content-length" || name == b"transfer-encoding" {
            assert_eq!(framing, Framing::UntilClose, "two ways of framing");
        }
        if name == b"content-length" {
            let text = std::str::from_utf8(value).expect("digits");
            framing = Framing::Length(text.parse().expect("digits"));
        }
        if name == b"transfer-encoding" {
            assert!(value.eq_ignore_ascii_case(b"chunked"));
            framing = Framing::Chunked;
        }
    }
    if asked.is_head || matches!(parsed.status, 100..200 | 204 | 304) {
        framing = Framing::None;
    }
    assert_eq!(parsed.framing, framing);
}
