//! Hostile framing: lengths and codings by which two readers of one request could disagree on where
//! it ends are refused before a backend sees them.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::refusal::{BEHIND, refused_unseen, witnessed};
use crate::support::{Proxy, Setup, Witness, within};

/// A POST with these lines among its fields, and a body that suits either framing.
fn framed(fields: impl AsRef<[u8]>) -> Vec<u8> {
    [
        b"POST /x HTTP/1.1\r\nHost: a.test\r\n",
        fields.as_ref(),
        b"\r\nX-Last: 1\r\n\r\n0\r\n\r\n",
    ]
    .concat()
}

#[tokio::test]
async fn lengths_that_are_repeated_or_no_number_are_refused() {
    let mut cases = Vec::new();
    for value in [
        &b"5, 5"[..],
        b"5,5",
        b"5, 6",
        b"5,",
        b",5",
        b"5 5",
        b"5;",
        b"5; x",
        b"+5",
        b"-5",
        b"-0",
        b"+",
        b"-",
        b"0x5",
        b"0X5",
        b"5h",
        b"x",
        b"",
        b" ",
        b"\"5\"",
        b"'5'",
        b"5.0",
        b"5.",
        b".5",
        b"5e0",
        b"1e1",
        b"5_0",
        b"0b101",
        b"0o5",
        b"5\x0b",
        b"\x0c5",
        b"5\0",
        b"\x005",
        b"5\x7f",
        b"\xd9\xa5",
        b"\xef\xbc\x95",
        b"chunked",
        b"nan",
        b"inf",
        b"18446744073709551616",
        b"18446744073709551621",
        b"99999999999999999999999999",
        b"4294967296x",
    ] {
        cases.push(framed([b"Content-Length: ", value].concat()));
    }
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\ncontent-length: 5",
        "Content-Length: 0\r\nX: 1\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 0",
        "Content-Length: 5\r\nContent-Length:",
        "Content-Length:\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: x",
        "Content-Length : 5",
        "Content-Length\t: 5",
        "Content-Length\x0b: 5",
        "Content-Length\0: 5",
        "Content Length: 5",
        " Content-Length: 5",
        "X: 1\nContent-Length: 5",
        "X: 1\rContent-Length: 5",
        "Content-Length: 5\n",
        "Content-Length: 5\r",
        "Content-Length:\r\n 5",
        "Content-Length: 5\r\n 5",
    ] {
        cases.push(framed(fields));
    }
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn codings_other_than_one_chunked_are_refused() {
    let mut cases = Vec::new();
    for value in [
        &b"xchunked"[..],
        b"chunkedx",
        b"chunke",
        b"chunk",
        b"chunked, identity",
        b"identity, chunked",
        b"identity",
        b"chunked, chunked",
        b"chunked,chunked",
        b"chunked,",
        b",chunked",
        b", chunked",
        b"chunked;",
        b"chunked;q=1",
        b"chunked ; a=b",
        b"chunked x",
        b"x chunked",
        b"chunked chunked",
        b"\"chunked\"",
        b"'chunked'",
        b"<chunked>",
        b"[chunked]",
        b"gzip, chunked",
        b"gzip",
        b"deflate",
        b"compress",
        b"br",
        b"trailers",
        b"none",
        b"0",
        b"",
        b" ",
        b",",
        b"\x0bchunked",
        b"chunked\x0b",
        b"\x0cchunked",
        b"chunked\x0c",
        b"\0chunked",
        b"chunked\0",
        b"ch\0unked",
        b"chun\xffked",
        b"\xa0chunked",
        b"chunked\xa0",
        b"\xe2\x84\xaahunked",
        b"chun\xc4\xb1ked",
        b"chunked\x7f",
        b"c\rhunked",
        b"chunked\r",
        b"*",
        b"CHUNKED, identity",
        b"chunked/1.0",
        b"chunked:",
        b": chunked",
        b"=chunked",
    ] {
        cases.push(framed([b"Transfer-Encoding: ", value].concat()));
    }
    for fields in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\ntransfer-encoding: x",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
        "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding\x0b: chunked",
        "Transfer-Encoding\0: chunked",
        "\x0bTransfer-Encoding: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer Encoding: chunked",
        "\"Transfer-Encoding\": chunked",
        "Transfer-Encoding",
        "Transfer-Encoding chunked",
        "X: 1\nTransfer-Encoding: chunked",
        "X: 1\rTransfer-Encoding: chunked",
        "X: 1\n\rTransfer-Encoding: chunked",
        "\nTransfer-Encoding: chunked",
        "\rTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\n",
        "Transfer-Encoding: chunked\r",
        "Transfer-Encoding: chunked\nX: 1",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding:\n chunked",
        "Transfer-Encoding: chunked\r\n , identity",
        "Transfer-Encoding: identity\r\n , chunked",
        "Transfer-Encoding: chunked\r\n ",
    ] {
        cases.push(framed(fields));
    }
    refused_unseen(400, cases).await;
}

#[tokio::test]
async fn both_framings_and_codings_in_http_1_0_are_refused() {
    let mut cases: Vec<Vec<u8>> = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nX: 1\r\ncontent-length: 0",
        "Content-Length: 5\r\nTransfer-Encoding: identity",
        "Content-Length: 5\r\nTransfer-Encoding:",
        "Content-Length:\r\nTransfer-Encoding: chunked",
        "Content-Length: x\r\nTransfer-Encoding: chunked",
        "Connection: content-length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "Connection: transfer-encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    ]
    .map(framed)
    .into();
    for fields in [
        "Transfer-Encoding: chunked",
        "Connection: keep-alive\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity",
    ] {
        let raw = format!("POST /x HTTP/1.0\r\nHost: a.test\r\n{fields}\r\n\r\n0\r\n\r\n");
        cases.push(raw.into_bytes());
    }
    for method in ["GET", "HEAD", "DELETE"] {
        let raw = format!(
            "{method} /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        );
        cases.push(raw.into_bytes());
    }
    refused_unseen(400, cases).await;
}

/// A body that is too short leaves its request incomplete; what comes is never taken for another.
#[tokio::test]
async fn a_request_in_the_body_of_another_is_never_seen_as_one() {
    let (witness, proxy) = witnessed().await;
    let inner = String::from_utf8(BEHIND.to_vec()).unwrap();
    let length = inner.len();
    let with_length = format!(
        "POST /x HTTP/1.1\r\nHost: a.test\r\nConnection: content-length\r\nContent-Length: {length}\r\n\r\n{inner}"
    );
    let in_chunks = format!(
        "POST /x HTTP/1.1\r\nHost: a.test\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n\
         {length:x}\r\n{inner}\r\n0\r\n\r\n"
    );
    for raw in [with_length, in_chunks] {
        let mut client = proxy.client().await;
        client.send(raw).await;
        within("an answer", client.response()).await.unwrap();
        let more = tokio::time::timeout(Duration::from_millis(50), client.head()).await;
        assert!(!matches!(more, Ok(Ok(Some(_)))), "two answers");
        let complete = witness.take().complete;
        assert!(complete.len() <= 1, "{complete:?}");
        for (start, body) in complete {
            assert_eq!(
                (start.as_str(), body.as_slice()),
                ("POST /x HTTP/1.1", inner.as_bytes())
            );
        }
    }
}

/// Bytes behind a request that closes its connection are not looked at.
#[tokio::test]
async fn what_stands_behind_a_request_that_closes_is_not_answered() {
    let (witness, proxy) = witnessed().await;
    for fields in ["HTTP/1.1\r\nHost: a.test\r\nConnection: close", "HTTP/1.0"] {
        let mut client = proxy.client().await;
        client.send(format!("GET /x {fields}\r\n\r\n")).await;
        client.send(BEHIND).await;
        assert_eq!(client.answer().await.text(), "witnessed");
        let (more, _) = client.end().await;
        assert!(more.is_empty(), "{more:?}");
    }
    assert_eq!(witness.take().complete.len(), 2);
}

/// Codings are compared without case (RFC 9112, 7), with space around them or without.
#[tokio::test]
async fn one_chunked_passes_however_it_is_written() {
    let (witness, proxy) = witnessed().await;
    for coding in ["Chunked", "CHUNKED", "\tchunked", "  chunked \t"] {
        let fields = format!("Transfer-Encoding: {coding}");
        let answer = proxy.client().await.ask(framed(fields)).await;
        assert_eq!(answer.text(), "witnessed", "{coding:?}");
        assert_eq!(witness.take().complete[0].1, b"", "{coding:?}");
    }
}

/// A request that is answered without a backend has a body all the same.
#[tokio::test]
async fn the_body_of_a_request_that_no_route_takes_is_never_the_next_request() {
    let witness = Witness::start().await;
    let mut setup = Setup::witness(&witness);
    setup.extra = "routes: [{host: a.test, pool: web}]\n".into();
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    let inner = "GET /inner HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let length = inner.len();
    for (field, body) in [
        (format!("Content-Length: {length}"), inner.to_owned()),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("{length:x}\r\n{inner}\r\n0\r\n\r\n"),
        ),
    ] {
        let mut client = proxy.client().await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: other.test\r\n{field}\r\n\r\n{body}"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.verdict(), (404, Some("no_route")));
        assert!(answer.lists("connection", "close"), "{field}");
        client.stream.shutdown().await.unwrap();
        assert_eq!(client.end().await.0, b"", "{field}: answered twice");
    }
    assert!(witness.take().complete.is_empty());
}
