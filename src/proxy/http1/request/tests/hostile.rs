//! Request heads that no backend may see, each with why.

use super::super::super::FIELDS_MAX;
use super::{BOUNDS, STRANGER, refused, with, written};

#[test]
fn two_readings_of_the_body_are_refused() {
    let length = "Content-Length: 1\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let coding = "a transfer coding other than one chunked";
    let repeated = "more than one content-length";
    let malformed = "malformed content-length";
    let both = "both content-length and transfer-encoding";
    assert_eq!(refused(&with(length)), "fine");
    assert_eq!(refused(&with(&format!("{length}{length}"))), repeated);
    assert_eq!(
        refused(&with(&format!("{length}content-LENGTH: 2\r\n"))),
        repeated
    );
    assert_eq!(refused(&with(&format!("{length}{chunked}"))), both);
    assert_eq!(refused(&with(&format!("{chunked}{length}"))), both);
    assert_eq!(refused(&with(&format!("{chunked}{chunked}"))), coding);
    for value in [
        "",
        "1, 1",
        "1,1",
        "+1",
        "-1",
        "0x1",
        "1 1",
        "1.0",
        "1e1",
        "\"1\"",
        "1;",
        "\u{b2}",
        "18446744073709551616",
        "99999999999999999999999",
    ] {
        assert_eq!(
            refused(&with(&format!("Content-Length: {value}\r\n"))),
            malformed,
            "{value}"
        );
    }
    for value in [
        "",
        "gzip, chunked",
        "chunked, chunked",
        "chunked, identity",
        "identity",
        "chunked,",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chun\tked",
        "\u{b}chunked",
    ] {
        let why = refused(&with(&format!("Transfer-Encoding: {value}\r\n")));
        let control = "a control character in a field value";
        assert!(why == coding || why == control, "{value}: {why}");
    }
    assert_eq!(
        refused(&with(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"
        )),
        coding
    );
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old.as_bytes()), "a transfer coding in HTTP/1.0");
}

#[test]
fn malformed_heads_are_refused() {
    let line = "a malformed request line";
    let version = "a version other than HTTP/1.0 and HTTP/1.1";
    let name = "a malformed field name";
    let value = "a control character in a field value";
    for (bytes, why) in [
        (&b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"[..], line),
        (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", version),
        (
            b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "a bare CR in the head",
        ),
        (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", line),
        (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", line),
        (b"G\x80T / HTTP/1.1\r\nHost: a\r\n\r\n", line),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", line),
        (b"GET /\r\n\r\n", line),
        (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", version),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", version),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", version),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", version),
        (
            b"GET / HTTP/1.11\r\nHost: a\r\n\r\n",
            "a bare CR in the head",
        ),
        (b"PRI * HTTP/2.0\r\n\r\n", version),
        (
            b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "a bare LF in the head",
        ),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "a bare LF in the head"),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", "a bare LF in the head"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "a bare LF in the head"),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", value),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", name),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", name),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", name),
        (b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", name),
        (b"GET / HTTP/1.1\r\n: a\r\n\r\n", name),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", name),
        (b"GET / HTTP/1.1\r\nA\x80: b\r\n\r\n", name),
        (b"GET / HTTP/1.1\r\nA(: b\r\n\r\n", name),
        (b"GET / HTTP/1.1\r\nA\0: b\r\n\r\n", name),
        (b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n", value),
        (b"GET / HTTP/1.1\r\nA: \x01\r\n\r\n", value),
        (b"GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", value),
        (b"GET / HTTP/1.1\r\nA: \x1b[m\r\n\r\n", value),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", "not one complete head"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nmore",
            "not one complete head",
        ),
        (b"", "not one complete head"),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", "connect"),
        (
            b"connect a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            "a target of no known form",
        ),
    ] {
        assert_eq!(refused(bytes), why, "{}", bytes.escape_ascii());
    }
    assert_eq!(refused(&with("A: \u{e4}\tb\r\n")), "fine");
}

#[test]
fn only_targets_that_can_be_forwarded_are_taken() {
    let refused = |method: &str, target: &str| {
        refused(format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes())
    };
    let form = "a target of no known form";
    let illegal = "an illegal character in the target";
    for (target, why) in [
        ("/", "fine"),
        ("//a/b", "fine"),
        ("/?", "fine"),
        ("/http://b.test/", "fine"),
        ("*", form),
        ("a.test", form),
        ("a.test:80", form),
        ("?a", form),
        ("ftp://a.test/", form),
        ("http:/a.test/", form),
        ("http", form),
        ("/#a", illegal),
        ("/\u{e4}", illegal),
        ("http:///p", "a malformed authority in the target"),
        ("http://u@a.test/", "a malformed authority in the target"),
        ("http://a.test:x/", "a malformed authority in the target"),
        ("http://a.test\\b/", "a malformed authority in the target"),
    ] {
        assert_eq!(refused("GET", target), why, "{target}");
    }
    assert_eq!(refused("GET", "/\u{7f}"), "a malformed request line");
    assert_eq!(refused("GET", "/\u{1}"), "a malformed request line");
    assert_eq!(refused("OPTIONS", "*"), "fine");
    assert_eq!(refused("OPTIONS", "*a"), form);
}

#[test]
fn one_well_formed_host_is_said() {
    let refused = |lines: &str| refused(format!("GET / {lines}\r\n").as_bytes());
    for (lines, why) in [
        ("HTTP/1.1\r\n", "no host"),
        ("HTTP/1.0\r\n", "fine"),
        ("HTTP/1.1\r\nHost:\r\n", "fine"),
        ("HTTP/1.1\r\nHost: [::1]:80\r\n", "fine"),
        ("HTTP/1.1\r\nHost: a\r\nHost: a\r\n", "more than one host"),
        ("HTTP/1.1\r\nHost:\r\nhost:\r\n", "more than one host"),
        ("HTTP/1.1\r\nHost: a, b\r\n", "malformed host"),
        ("HTTP/1.1\r\nHost: a b\r\n", "malformed host"),
        ("HTTP/1.1\r\nHost: u@a\r\n", "malformed host"),
        ("HTTP/1.1\r\nHost: a/\r\n", "malformed host"),
        ("HTTP/1.1\r\nHost: a:65536\r\n", "malformed host"),
        ("HTTP/1.0\r\nHost: a:b\r\n", "malformed host"),
        ("HTTP/1.1\r\nHost: \u{e4}\r\n", "malformed host"),
    ] {
        assert_eq!(refused(lines), why, "{lines}");
    }
    let old = written(b"GET / HTTP/1.0\r\n\r\n", &STRANGER);
    let expected =
        "GET / HTTP/1.1\r\nHost: \r\nX-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: http\r\n\r\n";
    assert_eq!(old, expected);
}

#[test]
fn bounds_of_the_head_hold() {
    let fields = |count: usize| refused(&with(&"A: b\r\n".repeat(count - 1)));
    assert_eq!(fields(BOUNDS.fields_max), "fine");
    assert_eq!(fields(BOUNDS.fields_max + 1), "too many fields");
    assert_eq!(fields(FIELDS_MAX + 1), "too many fields");
    let target = |len: usize| {
        let target = "a".repeat(len - 1);
        refused(format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
    };
    assert_eq!(target(BOUNDS.target_bytes_max), "fine");
    assert_eq!(
        target(BOUNDS.target_bytes_max + 1),
        "the target is too long"
    );
    let names: Vec<String> = (0..17).map(|index| format!("x{index}")).collect();
    let connection = |count: usize| {
        refused(&with(&format!(
            "Connection: {}\r\n",
            names[..count].join(",")
        )))
    };
    assert_eq!(connection(16), "fine");
    assert_eq!(connection(17), "too many names in connection");
}
