//! Heads of requests: found, read, written and read again.

#![no_main]


use libfuzzer_sys::fuzz_target;
use tidegate::proxy::http1::{
    Bad, Bounds, Forwarded, Framing, HeadEnd, Refusal, RequestHead, slots,
};

const BOUNDS: Bounds = Bounds {
    fields_max: 100,
    target_bytes_max: 1024,
};

fuzz_target!(|bytes: &[u8]| {
    // What is no head at all must not make it panic either.
    let _ = RequestHead::parse(bytes, &mut slots(), &BOUNDS).map(|head| written(&head, true));

    let at_once = HeadEnd::request().find(bytes);
    assert_eq!(at_once, byte_by_byte(bytes), "how it was cut matters");
    let Ok(Some(end)) = at_once else { return };
    let head = &bytes[..end];
    let mut room = slots();
    let parsed = match RequestHead::parse(head, &mut room, &BOUNDS) {
        Ok(parsed) => parsed,
        Err(Refusal::Bad(why)) => {
            assert_ne!(why, "not one complete head", "its end was found");
            assert_ne!(why, "a bare LF in the head", "each of its lines was seen");
            return;
        }
        Err(_) => return,
    };
    agrees_with_a_lenient_reader(head, &parsed);
    for is_trusted in [false, true] {
        let first = written(&parsed, is_trusted);
        is_clean(&first);
        assert_eq!(HeadEnd::request().find(&first), Ok(Some(first.len())));
        let mut room = slots();
        // Ours come on top of the client's.
        let bounds = Bounds {
            fields_max: 110,
            ..BOUNDS
        };
        let again = RequestHead::parse(&first, &mut room, &bounds).expect("what was written");
        assert_eq!(again.method, parsed.method);
        assert_eq!(again.path, parsed.path);
        assert_eq!(again.host, parsed.host);
        assert_eq!(again.framing, parsed.framing);
        assert_eq!(again.asks_upgrade, parsed.asks_upgrade);
        assert_eq!(again.expects_continue, parsed.expects_continue);
        if !is_trusted {
            assert_eq!(written(&again, false), first, "it was not clean");
        }
    }
});

fn byte_by_byte(bytes: &[u8]) -> Result<Option<usize>, Bad> {
    let mut end = HeadEnd::request();
    for len in 1..=bytes.len() {
        if let found @ Some(_) = end.find(&bytes[..len])? {
            return Ok(found);
        }
    }
    Ok(None)
}

fn written(head: &RequestHead<'_, '_>, is_trusted: bool) -> Vec<u8> {
    let forwarded = Forwarded {
        client: "127.0.0.1",
        is_trusted,
    };
    let mut out = Vec::new();
    head.write(&forwarded, &mut out);
    out
}

/// Someone who takes any line end and any space must not see another body or another host.
fn agrees_with_a_lenient_reader(head: &[u8], parsed: &RequestHead<'_, '_>) {
    let mut framing = Framing::None;
    for line in head.split(|&byte| byte == b'\n' || byte == b'\r').skip(1) {
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default().trim_ascii();
        match &*name.trim_ascii().to_ascii_lowercase() {
            b"content-length" => {
                assert_eq!(framing, Framing::None, "two ways of framing");
                let text = std::str::from_utf8(value).expect("digits");
                framing = Framing::Length(text.parse().expect("digits"));
            }
            b"transfer-encoding" => {
                assert_eq!(framing, Framing::None, "two ways of framing");
                assert!(value.eq_ignore_ascii_case(b"chunked"));
                framing = Framing::Chunked;
            }
            b"host" if parsed.host.is_empty() => assert!(value.is_empty()),
            b"host" => assert!(
                value.is_empty() || value[..1].eq_ignore_ascii_case(&parsed.host.as_bytes()[..1])
            ),
            _ => {}
        }
    }
    assert_eq!(parsed.framing, framing);
}

/// What a backend gets has one line of each kind, and none that is not its business.
fn is_clean(head: &[u8]) {
    let text = head.strip_suffix(b"\r\n\r\n").expect("an empty line");
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut lines = text
        .split(|&byte| byte == b'\n')
        .map(|line| line.trim_ascii_end());
    let request = lines.next().expect("a request line");
    assert_eq!(request.split(|&byte| byte == b' ').count(), 3);
    assert!(request.ends_with(b" HTTP/1.1"));
    for line in lines {
        assert!(!line.contains(&b'\r') && !line.contains(&0));
        let colon = line.iter().position(|&byte| byte == b':').expect("a field");
        let name = line[..colon].to_ascii_lowercase();
        assert!(!name.is_empty() && !name.contains(&b'_') && name.is_ascii());
        assert!(!name.starts_with(b"x-tidegate-"));
        for gone in ["proxy", "proxy-connection", "keep-alive", "http2-settings"] {
            assert_ne!(name, gone.as_bytes());
        }
        seen.push(name);
    }
    let count = |name: &str| seen.iter().filter(|seen| *seen == name.as_bytes()).count();
    assert_eq!(seen.first().map(Vec::as_slice), Some(&b"host"[..]));
    assert_eq!(count("host"), 1);
    assert_eq!(count("x-forwarded-for"), 1);
    assert_eq!(count("x-forwarded-proto"), 1);
    assert!(count("x-forwarded-host") <= 1);
    assert!(count("content-length") + count("transfer-encoding") <= 1);
    assert!(count("connection") <= 1 && count("te") <= 1);
}
