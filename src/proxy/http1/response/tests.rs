//! Response heads: bad ones with why they are refused, and what the client gets of the others.

use proptest::prelude::*;

use super::super::slots;
use super::*;

const GET: Asked = Asked {
    is_head: false,
    upgrade: false,
    websocket: false,
};

const HEAD: Asked = Asked {
    is_head: true,
    upgrade: false,
    websocket: false,
};

const UPGRADE: Asked = Asked {
    is_head: false,
    upgrade: true,
    websocket: true,
};

const KEPT: Downstream<'static> = Downstream {
    version: Version::Http11,
    keeps_alive: true,
    chunked: false,
    date: "now",
};

const CHUNKS: Downstream<'static> = Downstream {
    chunked: true,
    ..KEPT
};

/// Parses, and looks at the head.
fn look<T>(
    bytes: &[u8],
    asked: Asked,
    at: impl FnOnce(&ResponseHead<'_, '_>) -> T,
) -> Result<T, &'static str> {
    let mut slots = slots();
    ResponseHead::parse(bytes, &mut slots, asked)
        .map(|head| at(&head))
        .map_err(|Bad(why)| why)
}

fn with(status: &str, lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{lines}\r\n").into_bytes()
}

fn framing(asked: Asked, status: &str, lines: &str) -> Result<Framing, &'static str> {
    look(&with(status, lines), asked, |head| head.framing)
}

/// The lines that the client gets, the status line and the empty one left out.
fn passed(asked: Asked, downstream: &Downstream<'_>, status: &str, lines: &str) -> Vec<String> {
    let mut out = Vec::new();
    look(&with(status, lines), asked, |head| {
        head.write(downstream, &mut out);
    })
    .unwrap();
    let text = String::from_utf8(out).unwrap();
    let text = text.strip_suffix("\r\n\r\n").unwrap();
    text.split("\r\n").skip(1).map(str::to_owned).collect()
}

#[test]
fn the_client_gets_the_response_in_our_version() {
    let bytes =
        b"HTTP/1.0 299 So \t\x80 so\r\nX-B:  1 \r\nx-a:\r\nX-B: \xff\r\nContent-Length: 02\r\n\r\n";
    let mut out = Vec::new();
    look(bytes, GET, |head| head.write(&KEPT, &mut out)).unwrap();
    let expected: &[u8] =
        b"HTTP/1.1 299 So \t\x80 so\r\nX-B: 1\r\nx-a: \r\nX-B: \xff\r\nDate: now\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(
        out.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    for bare in ["HTTP/1.1 200\r\n\r\n", "HTTP/1.1 200 \r\n\r\n"] {
        let mut out = Vec::new();
        look(bare.as_bytes(), HEAD, |head| head.write(&KEPT, &mut out)).unwrap();
        assert_eq!(out, b"HTTP/1.1 200 \r\nDate: now\r\n\r\n");
    }
}

#[test]
fn malformed_heads_are_refused() {
    let line = "a malformed status line";
    let version = "a version other than HTTP/1.0 and HTTP/1.1";
    let name = "a malformed field name";
    let value = "a control character in a field value";
    for (bytes, why) in [
        (&b"HTTP/1.1 99 x\r\n\r\n"[..], line),
        (b"HTTP/1.1 099 x\r\n\r\n", line),
        (b"HTTP/1.1 1000\r\n\r\n", line),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", line),
        (b"HTTP/1.1 +20 OK\r\n\r\n", line),
        (b"HTTP/1.1  200 OK\r\n\r\n", line),
        (b"HTTP/1.1\t200 OK\r\n\r\n", version),
        (b"HTTP/1.1 200\tOK\r\n\r\n", line),
        (b"HTTP/1.1 200 O\x01K\r\n\r\n", line),
        (b"HTTP/1.1 200 O\0K\r\n\r\n", line),
        (b"HTTP/1.1 200 OK\x7f\r\n\r\n", line),
        (b"HTTP/1.1 200 O\rK\r\n\r\n", line),
        (b"HTTP/1.1 200 OK\n\r\n", "a bare LF in the head"),
        (b"HTTP/1.1 200\n\r\n", "a bare LF in the head"),
        (b"HTTP/1.1\r\n\r\n", version),
        (b"HTTP/1.2 200 OK\r\n\r\n", version),
        (b"HTTP/2.0 200 OK\r\n\r\n", version),
        (b"HTTP/1 200 OK\r\n\r\n", version),
        (b"http/1.1 200 OK\r\n\r\n", "no status line"),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "no status line"),
        (b"<html>\r\n\r\n", "no status line"),
        (b"", "no status line"),
        (b"HTTP/1.1 200 OK\r\nA: b\n\r\n", "a bare LF in the head"),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", name),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", name),
        (b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", name),
        (b"HTTP/1.1 200 OK\r\nA\r\n\r\n", name),
        (b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", value),
        (b"HTTP/1.1 200 OK\r\nA: \rb\r\n\r\n", value),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n", "not one complete head"),
        (b"HTTP/1.1 200 OK\r\n\r\nx", "not one complete head"),
    ] {
        assert_eq!(
            look(bytes, GET, |_| ()),
            Err(why),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn the_end_of_a_body_has_one_place() {
    let length = "Content-Length: 5\r\n";
    let chunked = "Transfer-Encoding: Chunked\r\n";
    let both = format!("{length}{chunked}");
    let (none, until_close) = (Ok(Framing::None), Ok(Framing::UntilClose));
    for (asked, status, lines, expected) in [
        (GET, "200", length, Ok(Framing::Length(5))),
        (GET, "200", "Content-Length: 0\r\n", Ok(Framing::Length(0))),
        (GET, "200", chunked, Ok(Framing::Chunked)),
        (GET, "200", "", until_close),
        (GET, "205", "", until_close),
        (GET, "205", length, Ok(Framing::Length(5))),
        (HEAD, "200", "", none),
        (HEAD, "200", length, none),
        (HEAD, "200", chunked, none),
        (GET, "204", length, none),
        (GET, "304", length, none),
        (GET, "304", chunked, none),
        (GET, "103", length, none),
        (UPGRADE, "101", "", none),
        (UPGRADE, "200", "", until_close),
        (GET, "101", "", Err("a 101 that was not asked for")),
        (
            GET,
            "200",
            &both,
            Err("both content-length and transfer-encoding"),
        ),
        (
            HEAD,
            "200",
            &both,
            Err("both content-length and transfer-encoding"),
        ),
        (
            GET,
            "200",
            &length.repeat(2),
            Err("more than one content-length"),
        ),
        (
            GET,
            "200",
            "Content-Length: 5, 5\r\n",
            Err("malformed content-length"),
        ),
        (
            GET,
            "200",
            "Content-Length: -5\r\n",
            Err("malformed content-length"),
        ),
        (
            GET,
            "200",
            "Content-Length:\r\n",
            Err("malformed content-length"),
        ),
        (
            GET,
            "304",
            "Content-Length: x\r\n",
            Err("malformed content-length"),
        ),
        (
            GET,
            "200",
            &chunked.repeat(2),
            Err("a transfer coding other than one chunked"),
        ),
        (
            GET,
            "200",
            "Transfer-Encoding: gzip, chunked\r\n",
            Err("a transfer coding other than one chunked"),
        ),
        (
            GET,
            "200",
            "Transfer-Encoding: identity\r\n",
            Err("a transfer coding other than one chunked"),
        ),
    ] {
        assert_eq!(framing(asked, status, lines), expected, "{status} {lines}");
    }
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(look(old, GET, |_| ()), Err("a transfer coding in HTTP/1.0"));
}

#[test]
fn a_101_to_websocket_alone_that_was_asked_for_is_one() {
    let other = Asked {
        websocket: false,
        ..UPGRADE
    };
    let is = |asked, status: &str, lines: &str| {
        look(&with(status, lines), asked, |head| head.is_websocket).unwrap()
    };
    assert!(is(UPGRADE, "101", "Upgrade: websocket\r\n"));
    assert!(is(UPGRADE, "101", "upgrade:  , WebSocket ,\r\n"));
    assert!(!is(other, "101", "Upgrade: websocket\r\n"));
    for lines in [
        "",
        "Upgrade: websocket/13\r\n",
        "Upgrade: x\r\n",
        "Upgrade: websocket, x\r\n",
        "Upgrade: x\r\nUpgrade: websocket\r\n",
    ] {
        assert!(!is(UPGRADE, "101", lines), "{lines}");
    }
}

#[test]
fn the_backends_connection_is_kept_as_it_says() {
    let keeps = |version: &str, lines: &str| {
        let bytes = format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{lines}\r\n");
        look(bytes.as_bytes(), GET, |head| head.keeps_alive).unwrap()
    };
    assert!(keeps("1.1", ""));
    assert!(!keeps("1.1", "Connection: x, Close\r\n"));
    assert!(!keeps("1.0", ""));
    assert!(keeps("1.0", "Connection: keep-alive\r\n"));
    assert!(!look(&with("200", ""), GET, |head| head.keeps_alive).unwrap());
    assert!(!look(&with("101", ""), UPGRADE, |head| head.keeps_alive).unwrap());
    let timeout = |value: &str| {
        let lines = format!("Keep-Alive: {value}\r\n");
        look(&with("204", &lines), GET, |head| head.keep_alive_timeout).unwrap()
    };
    for (value, seconds) in [
        ("timeout=5", 5),
        ("max=100, Timeout = 72 ,x", 72),
        ("timeout=0", 0),
        ("timeout=999999999", 999_999_999),
    ] {
        assert_eq!(
            timeout(value),
            Some(Duration::from_secs(seconds)),
            "{value}"
        );
    }
    for none in [
        "",
        "timeout",
        "timeout=",
        "timeout=-1",
        "timeout=+1",
        "timeout=5s",
        "timeout=9999999999",
    ] {
        assert_eq!(timeout(none), None, "{none}");
    }
}

#[test]
fn what_is_between_two_hops_ends_here() {
    let kept = passed(
        GET,
        &KEPT,
        "200 OK",
        "Connection: x-hop, close, content-length, date\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 3\r\n\
         X-Stays: 1\r\nx-tidegate-error: fake\r\nUpgrade: h2\r\nTE: x\r\nProxy-Connection: x\r\nTrailer: x\r\n\
         Date: first\r\ndate: second\r\nx_app: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n",
    );
    let expected = [
        "X-Stays: 1",
        "Date: first",
        "x_app: 1",
        "Set-Cookie: a",
        "Set-Cookie: b",
        "Content-Length: 3",
    ];
    assert_eq!(kept, expected);
}

#[test]
fn framing_is_said_once_and_fits_the_client() {
    let length = "Content-Length: 5\r\n";
    let chunked = "transfer-encoding: chunked\r\nTrailer: A\r\n";
    let old = Downstream {
        version: Version::Http10,
        ..KEPT
    };
    let closing = Downstream {
        keeps_alive: false,
        ..KEPT
    };
    for (asked, downstream, status, lines, expected) in [
        (
            GET,
            &KEPT,
            "200",
            length,
            &["Date: now", "Content-Length: 5"][..],
        ),
        (
            GET,
            &closing,
            "200",
            length,
            &["Date: now", "Content-Length: 5", "Connection: close"],
        ),
        (
            GET,
            &old,
            "200",
            length,
            &["Date: now", "Content-Length: 5", "Connection: keep-alive"],
        ),
        (
            GET,
            &CHUNKS,
            "200",
            chunked,
            &["Trailer: A", "Date: now", "Transfer-Encoding: chunked"],
        ),
        (
            GET,
            &CHUNKS,
            "200",
            "Trailer: A\r\n",
            &["Date: now", "Transfer-Encoding: chunked"],
        ),
        // Whatever the relay says of keeping, these end with the connection.
        (
            GET,
            &old,
            "200",
            chunked,
            &["Date: now", "Connection: close"],
        ),
        (GET, &KEPT, "200", "", &["Date: now", "Connection: close"]),
        // And no chunks are announced where there is a length or no body.
        (
            GET,
            &CHUNKS,
            "200",
            length,
            &["Date: now", "Content-Length: 5"],
        ),
        (HEAD, &CHUNKS, "200", chunked, &["Date: now"]),
        (
            HEAD,
            &KEPT,
            "200",
            length,
            &["Date: now", "Content-Length: 5"],
        ),
        (
            GET,
            &KEPT,
            "304",
            length,
            &["Date: now", "Content-Length: 5"],
        ),
        (GET, &KEPT, "204", length, &["Date: now"]),
        (
            GET,
            &closing,
            "103",
            "Link: x\r\nContent-Length: 5\r\n",
            &["Link: x"],
        ),
        (GET, &closing, "100", "", &[]),
        (
            UPGRADE,
            &closing,
            "101",
            "Connection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\nSec-WebSocket-Accept: x\r\n",
            &[
                "Upgrade: websocket",
                "Sec-WebSocket-Accept: x",
                "Connection: upgrade",
            ],
        ),
    ] {
        assert_eq!(
            passed(asked, downstream, status, lines),
            expected,
            "{status} {lines}"
        );
    }
}

proptest! {
    #[test]
    fn what_is_written_means_the_same_and_is_clean_already(
        status in prop_oneof!["200 OK", "204", "304 Not", "103 Hints", "101 Yes", "404 ", "[1-9][0-9]{2} [ -~]{0,5}"],
        version in 0..2,
        is_head in any::<bool>(),
        keeps_alive in any::<bool>(),
        lines in proptest::collection::vec(prop_oneof![
            "X-[A-Z]: [ -~]{0,9}",
            "(Connection|connection): (close|keep-alive|upgrade|x-a|date)(, (close|x-c|content-length))?",
            "(Upgrade|Date|Trailer|Keep-Alive|Proxy|Set-Cookie): [a-z]{0,3}",
            "(Content-Length: [0-9]{1,3}|Transfer-Encoding: chunked)",
        ], 0..7),
    ) {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let bytes = format!("HTTP/1.{version} {status}\r\n{lines}\r\n");
        let asked = Asked { is_head, upgrade: true, websocket: true };
        let mut slots_of_first = slots();
        let Ok(head) = ResponseHead::parse(bytes.as_bytes(), &mut slots_of_first, asked) else {
            return Ok(());
        };
        let chunked = matches!(head.framing, Framing::Chunked | Framing::UntilClose);
        let downstream = Downstream { version: Version::Http11, keeps_alive, chunked, date: "now" };
        let mut first = Vec::new();
        head.write(&downstream, &mut first);
        let mut slots_of_again = slots();
        let again = ResponseHead::parse(&first, &mut slots_of_again, asked);
        prop_assert!(again.is_ok(), "{:?}", again);
        if let Ok(again) = again {
            prop_assert_eq!((again.status, again.reason), (head.status, head.reason));
            let expected = if chunked { Framing::Chunked } else { head.framing };
            prop_assert_eq!(again.framing, expected);
            if !(100..200).contains(&head.status) {
                prop_assert_eq!(again.keeps_alive, keeps_alive);
            }
            let mut second = Vec::new();
            again.write(&downstream, &mut second);
            prop_assert_eq!(String::from_utf8_lossy(&second), String::from_utf8_lossy(&first));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in "HTTP/1.1 [0-9]{3}( [ -~]{0,3})?(\r\n|\n)([A-Za-z:, =\\-\r\n]{0,30}\r\n)?\r\n") {
        let _ = look(bytes.as_bytes(), GET, |head| head.write(&KEPT, &mut Vec::new()));
    }
}
