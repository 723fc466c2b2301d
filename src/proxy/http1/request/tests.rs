//! What a request head says, and what the backend gets of it.

mod hostile;

use proptest::prelude::*;

use super::super::slots;
use super::*;

const BOUNDS: Bounds = Bounds {
    fields_max: 100,
    target_bytes_max: 8 * 1024,
};

const STRANGER: Forwarded<'_> = Forwarded {
    client: "10.0.0.9",
    is_trusted: false,
};

const TRUSTED: Forwarded<'_> = Forwarded {
    is_trusted: true,
    ..STRANGER
};

/// Parses, and looks at the head.
fn look<T>(bytes: &[u8], at: impl FnOnce(&RequestHead<'_, '_>) -> T) -> Result<T, Refusal> {
    let mut slots = slots();
    RequestHead::parse(bytes, &mut slots, &BOUNDS).map(|head| at(&head))
}

fn refused(bytes: &[u8]) -> &'static str {
    match look(bytes, |_| ()) {
        Ok(()) => "fine",
        Err(Refusal::Bad(why) | Refusal::TooLarge(why)) => why,
        Err(Refusal::Connect) => "connect",
    }
}

/// A request with a host and these lines.
fn with(lines: &str) -> Vec<u8> {
    format!("GET /p?q HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n").into_bytes()
}

fn written(bytes: &[u8], forwarded: &Forwarded<'_>) -> String {
    let mut out = Vec::new();
    look(bytes, |head| head.write(forwarded, &mut out)).unwrap();
    String::from_utf8_lossy(&out).into_owned()
}

/// The lines that the backend gets of these, without those that every request has.
fn passed(lines: &str) -> Vec<String> {
    let ours = ["GET ", "Host: ", "X-Forwarded-"];
    written(&with(lines), &STRANGER)
        .lines()
        .filter(|line| !line.is_empty() && !ours.iter().any(|ours| line.starts_with(ours)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_backend_gets_the_request_in_one_form() {
    let bytes = b"\r\nGET /a%2F/../b;c?d=e&\"<>\\^`{|} HTTP/1.0\r\nX-B:  1 \t\r\nhOST: A.test\r\nx-a:\r\nX-B: \xff\r\n\r\n";
    let mut out = Vec::new();
    let seen = look(bytes, |head| {
        head.write(&STRANGER, &mut out);
        assert_eq!(head.method, "GET");
        assert_eq!(head.path, "/a%2F/../b;c");
        assert_eq!(head.host, "A.test");
        (head.version, head.framing, head.keeps_alive)
    });
    assert_eq!(seen, Ok((Version::Http10, Framing::None, false)));
    let expected: &[u8] = b"GET /a%2F/../b;c?d=e&\"<>\\^`{|} HTTP/1.1\r\nHost: A.test\r\nX-B: 1\r\nx-a: \r\nX-B: \xff\r\nX-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: A.test\r\n\r\n";
    assert_eq!(
        out.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
}

#[test]
fn framing_is_said_once_in_our_words() {
    let framing = |lines: &str| look(&with(lines), |head| head.framing).unwrap();
    assert_eq!(framing(""), Framing::None);
    assert_eq!(framing("content-length:\t 007 \r\n"), Framing::Length(7));
    let most = format!("Content-Length: {}\r\n", i64::MAX);
    assert_eq!(framing(&most), Framing::Length(i64::MAX as u64));
    assert_eq!(
        framing("transfer-encoding: \tChunked \r\n"),
        Framing::Chunked
    );
    assert_eq!(passed("content-length: 007\r\n"), ["Content-Length: 7"]);
    assert_eq!(passed("Content-Length: 0\r\n"), ["Content-Length: 0"]);
    assert_eq!(
        passed("transfer-ENCODING: CHUNKED\r\nTrailer: A\r\n"),
        ["Trailer: A", "Transfer-Encoding: chunked"]
    );
}

#[test]
fn an_absolute_target_becomes_a_path_and_agrees_with_the_host() {
    let line = |method: &str, target: &str, host: &str| {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost:{host}\r\n\r\n");
        match look(bytes.as_bytes(), |head| {
            (head.path.to_owned(), head.host.to_owned())
        }) {
            Err(Refusal::Bad(why)) => why.to_owned(),
            Err(other) => panic!("{other:?}"),
            Ok((path, host)) => {
                let written = written(bytes.as_bytes(), &STRANGER);
                let mut lines = written.lines();
                let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
                assert_eq!(lines.next().unwrap(), format!("Host: {host}"));
                format!("{target} {path} {host}")
            }
        }
    };
    let other = "the target names another host than the host field";
    for (target, host, seen) in [
        (
            "http://a.test/p//%2F?q",
            "a.test",
            "/p//%2F?q /p//%2F a.test",
        ),
        ("HTTPS://A.test:1", "a.TEST:1", "/ / A.test:1"),
        ("http://a.test?q/", "a.test", "/?q/ / a.test"),
        ("http://a.test:80/", "a.test", "/ / a.test:80"),
        ("https://a.test/", "a.test:443", "/ / a.test"),
        ("http://a.test/", "", "/ / a.test"),
        ("http://[::1]:8/p", "[::1]:8", "/p /p [::1]:8"),
        ("https://a.test/", "a.test:80", other),
        ("http://a.test/", "b.test", other),
        ("http://a.test:1/", "a.test:2", other),
        ("http://a.test/", "a b", "malformed host"),
    ] {
        assert_eq!(line("GET", target, host), seen, "{target} {host}");
    }
    assert_eq!(line("OPTIONS", "http://a.test", "a.test"), "* * a.test");
    assert_eq!(line("OPTIONS", "http://a.test/", "a.test"), "/ / a.test");
    let without = b"GET http://a.test/ HTTP/1.1\r\n\r\n";
    assert_eq!(refused(without), "no host");
}

#[test]
fn what_is_between_two_hops_ends_here() {
    let kept = passed(
        "Connection: x-Hop, close,, keep-alive\r\nX-hop: 1\r\nX-Stays: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\
         connection: x-hop2\r\nX-Hop2: 1\r\nTE: gzip\r\nUpgrade: x\r\nProxy: x\r\nX-Tidegate-Error: x\r\n\
         x_real: 1\r\nHTTP2-Settings: x\r\nCookie: a=b\r\nTrailer: x\r\nDate: x\r\n",
    );
    assert_eq!(kept, ["X-Stays: 1", "Cookie: a=b", "Trailer: x", "Date: x"]);
    // The proxy goes by these: naming them does not hide them from the backend.
    let kept = passed(
        "Connection: content-length, host, expect, x-forwarded-for, upgrade\r\nContent-Length: 3\r\n\
         Expect: 100-continue\r\nX-Forwarded-For: 1\r\nUpgrade: a\r\n",
    );
    let expected = [
        "Expect: 100-continue",
        "Upgrade: a",
        "Content-Length: 3",
        "Connection: upgrade",
    ];
    assert_eq!(kept, expected);
}

#[test]
fn the_connection_is_kept_as_its_version_has_it() {
    let keeps = |version: &str, connection: &str| {
        let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
        look(bytes.as_bytes(), |head| head.keeps_alive).unwrap()
    };
    assert!(keeps("1.1", ""));
    assert!(keeps("1.1", "x, keep-alive"));
    assert!(!keeps("1.1", "CLOSE"));
    assert!(!keeps("1.1", "keep-alive, close"));
    assert!(!keeps("1.0", ""));
    assert!(keeps("1.0", "\tKeep-Alive ,"));
    assert!(!keeps("1.0", "keep-alive, close"));
}

#[test]
fn trailers_and_upgrades_are_asked_for_anew() {
    assert_eq!(
        passed("TE: gzip, Trailers\r\n"),
        ["Connection: TE", "TE: trailers"]
    );
    assert_eq!(passed("TE: trailersx\r\n"), [""; 0]);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(
        passed(upgrade),
        ["Upgrade: websocket", "Connection: upgrade"]
    );
    let both = passed(&format!("{upgrade}TE: trailers\r\n"));
    assert_eq!(
        both,
        [
            "Upgrade: websocket",
            "Connection: upgrade, TE",
            "TE: trailers"
        ]
    );
    let list = passed(
        "Connection: upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\nUpgrade: H2C\r\nUpgrade: a/1 ,h2c,,b\r\n",
    );
    assert_eq!(list, ["Upgrade: a/1, b", "Connection: upgrade"]);
    let asks = |bytes: &[u8]| look(bytes, |head| head.asks_upgrade).unwrap();
    assert!(asks(&with(upgrade)));
    for not in [
        "Upgrade: x\r\n",
        "Connection: upgrade\r\n",
        "Connection: upgrade\r\nUpgrade: h2c\r\n",
    ] {
        assert!(!asks(&with(not)), "{not}");
        assert_eq!(passed(not), [""; 0]);
    }
    let websocket = |upgrade: &str| {
        let bytes = with(&format!("Connection: upgrade\r\n{upgrade}"));
        look(&bytes, |head| head.asks_websocket).unwrap()
    };
    assert!(websocket("Upgrade: WebSocket\r\n"));
    assert!(websocket("Upgrade: x\r\nUpgrade: h2c, websocket\r\n"));
    assert!(!websocket("Upgrade: websocket/13, x\r\n"));
    let unlisted = with("Upgrade: websocket\r\n");
    assert!(!look(&unlisted, |head| head.asks_websocket).unwrap());
    let old = format!("GET / HTTP/1.0\r\n{upgrade}TE: trailers\r\n\r\n");
    assert!(!asks(old.as_bytes()));
    assert!(!written(old.as_bytes(), &STRANGER).contains("rade"));
    assert!(!written(old.as_bytes(), &STRANGER).contains("TE"));
}

#[test]
fn expectations_pass_and_100_continue_is_known() {
    let expects = |bytes: &[u8]| look(bytes, |head| head.expects_continue).unwrap();
    let expect = "Content-Length: 1\r\nExpect: 100-Continue\r\n";
    assert!(expects(&with(expect)));
    assert_eq!(
        passed(expect),
        ["Expect: 100-Continue", "Content-Length: 1"]
    );
    assert!(!expects(&with("Content-Length: 1\r\nExpect: 200-ok\r\n")));
    assert_eq!(passed("Expect: 200-ok\r\n"), ["Expect: 200-ok"]);
    // Without a body there is nothing to wait with.
    assert!(!expects(&with("Expect: 100-continue\r\n")));
    let old = format!("POST / HTTP/1.0\r\n{expect}\r\n");
    assert!(!expects(old.as_bytes()));
    assert!(!written(old.as_bytes(), &STRANGER).contains("Expect"));
}

#[test]
fn a_strangers_word_on_forwarding_is_replaced_and_a_trusted_one_continued() {
    let said = "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-For: 7.7.7.7\r\nX-Forwarded-Port: 1\r\n";
    let forwarded = |lines: &str, forwarded: &Forwarded| -> Vec<String> {
        let lines = written(&with(lines), forwarded);
        let lines = lines
            .lines()
            .filter(|line| line.starts_with("X-Forwarded-"));
        lines
            .map(|line| line["X-Forwarded-".len()..].to_owned())
            .collect()
    };
    let ours = ["For: 10.0.0.9", "Proto: http", "Host: a.test"];
    assert_eq!(forwarded(said, &STRANGER)[1..], ours);
    assert_eq!(forwarded("", &TRUSTED), ours);
    let chain = [
        "For: 6.6.6.6, 7.7.7.7, 10.0.0.9",
        "Proto: https",
        "Host: evil",
    ];
    assert_eq!(forwarded(said, &TRUSTED)[1..], chain);
}

proptest! {
    #[test]
    fn what_is_written_means_the_same_and_is_clean_already(
        method in prop_oneof!["GET", "POST", "OPTIONS", "M-X"],
        target in prop_oneof!["/[!-\"$-~]{0,9}", Just("*".to_owned()), "(http|HTTPS)://a[/?]?[a-z?/]{0,5}"],
        version in 0..2,
        lines in proptest::collection::vec(prop_oneof![
            "X-[A-Z]: [ -~]{0,9}",
            "(Connection|connection): (close|keep-alive|upgrade|x-a|TE|x-b)(, (close|upgrade|x-c))?",
            "(Upgrade|TE|Expect|Trailer): (h2c|websocket|trailers|100-continue)(, [a-z]{1,2})?",
            "(X-Forwarded-For|X-Forwarded-Proto|X-Forwarded-Host|Proxy|x_y|Keep-Alive): [a-z.]{0,4}",
            "(Content-Length: [0-9]{1,3}|Transfer-Encoding: chunked)",
        ], 0..7),
    ) {
        let bytes = format!("{method} {target} HTTP/1.{version}\r\nHost: a\r\n{}\r\n\r\n", lines.join("\r\n"));
        let bytes = bytes.replace("\r\n\r\n\r\n", "\r\n\r\n");
        let mut first = Vec::new();
        let mut slots_of_first = slots();
        let Ok(head) = RequestHead::parse(bytes.as_bytes(), &mut slots_of_first, &BOUNDS) else {
            return Ok(());
        };
        head.write(&STRANGER, &mut first);
        let mut slots_of_again = slots();
        let again = RequestHead::parse(&first, &mut slots_of_again, &BOUNDS);
        prop_assert!(again.is_ok(), "{:?}", again);
        if let Ok(again) = again {
            prop_assert_eq!((again.method, again.path, again.host), (head.method, head.path, head.host));
            prop_assert_eq!(again.framing, head.framing);
            prop_assert_eq!(again.asks_upgrade, head.asks_upgrade);
            prop_assert_eq!(again.expects_continue, head.expects_continue);
            let mut second = Vec::new();
            again.write(&STRANGER, &mut second);
            prop_assert_eq!(String::from_utf8_lossy(&second), String::from_utf8_lossy(&first));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in "(GET /|[ -~]{0,5})( HTTP/1.1)?(\r\n|\n)?([A-Za-z:, \\-\r\n]{0,30}\r\n)?\r\n") {
        let _ = look(bytes.as_bytes(), |head| head.write(&TRUSTED, &mut Vec::new()));
    }
}
