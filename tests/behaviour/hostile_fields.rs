//! Hostile fields: names, values, line ends and hosts that two readers could understand differently
//! are refused, the connection is closed, and no backend sees any of it.

use crate::hostile::{with_field, with_only};
use crate::support::refusal::refused_unseen;

#[tokio::test]
async fn names_that_are_no_tokens_are_refused() {
    let mut cases = Vec::new();
    for name in [
        &b""[..],
        b"X Y",
        b"X\tY",
        b"X ",
        b"X\t",
        b"X\x0b",
        b" ",
        b"X\0",
        b"\0X",
        b"X\x01",
        b"X\x1f",
        b"X\x7f",
        b"X\x80",
        b"X\xa0",
        b"X\xc3\xa9",
        b"\xef\xbb\xbfX",
        b"X\xff",
        b"(X)",
        b"X[",
        b"X]",
        b"\"X\"",
        b"X/Y",
        b"@X",
        b"X\\",
        b"<X>",
        b"X,Y",
        b"X;Y",
        b"X=",
        b"X?",
        b"{X}",
        b"X\r",
        b"\rX",
    ] {
        cases.push(with_field([name, b": 1"].concat()));
    }
    for no_field in [&b"X"[..], b"nonsense", b"X 1", b"X=1", b"\x0b", b"\0"] {
        cases.push(with_field(no_field));
    }
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn control_bytes_in_values_are_refused() {
    let mut cases = Vec::new();
    for byte in (0..0x20)
        .chain([0x7f])
        .filter(|byte| !b"\t\n".contains(byte))
    {
        cases.push(with_field([b"X: a", &[byte][..], b"b"].concat()));
    }
    for value in [
        &b"\0"[..],
        b"a\0",
        b"\0a",
        b"\x0ba",
        b"a\x0c",
        b"\r",
        b"a\r",
        b"\ra",
        b"a\x7f",
    ] {
        cases.push(with_field([b"X: ", value].concat()));
    }
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn folded_lines_and_space_before_the_first_field_are_refused() {
    let mut cases: Vec<Vec<u8>> = [
        "X: 1\r\n 2",
        "X: 1\r\n\t2",
        "X:\r\n 1",
        "X: 1\r\n ",
        "X: 1\r\n\t",
        "X: 1\r\n \r\n 2",
        "X: 1\r\n Y: 2",
        " X: 1",
        "\tX: 1",
        "X: 1\r\n Content-Length: 5",
        "X: 1\r\n Transfer-Encoding: chunked",
    ]
    .map(with_field)
    .into();
    cases.extend(
        [
            " Host: a.test",
            "\tHost: a.test",
            " X: 1\r\nHost: a.test",
            "Host: a.test\r\n .b",
            "Host:\r\n a.test",
        ]
        .map(with_only),
    );
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn line_ends_other_than_crlf_are_refused() {
    let cases: [&[u8]; 20] = [
        b"GET /x HTTP/1.1\nHost: a.test\n\n",
        b"GET /x HTTP/1.1\nHost: a.test\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\n\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\n\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\nX: 1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nX: 1\nHost: a.test\r\n\r\n",
        b"GET /x HTTP/1.1\rHost: a.test\r\r",
        b"GET /x HTTP/1.1\rHost: a.test\r\n\r\n",
        b"GET /x HTTP/1.1\r\r\nHost: a.test\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\n\rX: 1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\n\rX: 1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\nX: 1\rY: 2\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\nX: 1\r\rY: 2\r\n\r\n",
        b"\nGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"\rGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"GET /x HTTP/1.1\n\rHost: a.test\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: a.test\r\n\x0b\r\n\r\n",
    ];
    refused_unseen(400, cases.map(<[u8]>::to_vec)).await;
}

#[tokio::test]
async fn a_host_that_is_missing_repeated_or_malformed_is_refused() {
    let mut cases: Vec<Vec<u8>> = [
        "X: 1",
        "Hos: a.test",
        "Host: a.test\r\nHost: a.test",
        "Host: a.test\r\nHost: b.test",
        "Host: a.test\r\nX: 1\r\nhOST: b.test",
        "Host: a.test\r\nHost:",
        "Host:\r\nHost: a.test",
        "Host : a.test",
        "Host\t: a.test",
        "Host\x0b: a.test",
    ]
    .map(with_only)
    .into();
    for host in [
        "a.test, b.test",
        "a.test,b.test",
        "a.test b.test",
        "a\tb",
        "a.test/x",
        "a.test/",
        "/a.test",
        "a.test?x",
        "a.test#x",
        "a.test\\x",
        "u@a.test",
        "u:p@a.test",
        "@a.test",
        "a.test@",
        "a.test:x",
        "a.test:80x",
        "a.test:99999",
        "a.test:65536",
        "a.test:-1",
        "a.test:+80",
        "a.test:80:80",
        "a.test: 80",
        "a.test :80",
        "http://a.test",
        "[::1",
        "::1",
        "::1]",
        "[::1]x",
        "[::1]:x",
        "[]",
        "[zz]",
        "[a.test]",
        "<a.test>",
        "\"a.test\"",
        "a|b",
        "a^b",
        "a`b",
        "{a}",
        "a\x01b",
        "a\x7fb",
        "\u{e9}.test",
        "a.test\0",
        "a.test:80\0",
    ] {
        cases.push(with_only(format!("Host: {host}")));
    }
    cases.push(b"GET /x HTTP/1.0\r\nHost: a.test\r\nHost: b.test\r\n\r\n".to_vec());
    cases.push(b"GET /x HTTP/1.0\r\nHost: a b\r\n\r\n".to_vec());
    // The host of an absolute target does not stand for the field (RFC 9112, 3.2).
    cases.push(b"GET http://a.test/x HTTP/1.1\r\n\r\n".to_vec());
    refused_unseen(400, cases).await;
}
