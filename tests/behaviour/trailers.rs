//! Trailers pass both ways, cleaned; extensions of chunks go.

use crate::support::script::ok;
use crate::support::{End, get, one_script};

/// Fields that mean something only in a head, or that nobody but the proxy may say.
const UNCLEAN: &str = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nConnection: close\r\n\
    Keep-Alive: timeout=1\r\nProxy-Connection: close\r\nTE: gzip\r\nUpgrade: h2c\r\nTrailer: X-A\r\n\
    X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
    X-Tidegate-Error: fake\r\n";

const CLEANED: [&str; 13] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "trailer",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-tidegate-error",
];

#[tokio::test]
async fn trailers_of_an_answer_pass_cleaned() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        .await;
    let (mut inside, _) = script.asked().await;
    inside
        .send(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\n\
             X-Sum: abc\r\n{UNCLEAN}X-Sum: def\r\nGrpc-Status: 0\r\n\r\n"
        ))
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), "hello");
    let sums = answer
        .trailers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-sum"));
    let sums: Vec<&str> = sums.map(|(_, value)| value.as_str()).collect();
    assert_eq!(sums, ["abc", "def"]);
    assert_eq!(answer.trailer("grpc-status"), Some("0"));
    for gone in CLEANED {
        assert_eq!(answer.trailer(gone), None, "{gone}");
    }
    // Both connections go on.
    proxy.until_idle().await;
    client.send(get("/next")).await;
    assert_eq!(inside.asked().await.path(), "/next");
    inside.send(ok("next")).await;
    let next = client.answer().await;
    assert_eq!((next.text().as_str(), next.trailers.len()), ("next", 0));
}

#[tokio::test]
async fn trailers_of_a_request_pass_cleaned() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
             X-Sum: abc\r\n{UNCLEAN}Proxy: evil\r\nX_Under: 1\r\n\r\n"
        ))
        .await;
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.body, b"hello");
    assert_eq!(request.trailer("x-sum"), Some("abc"));
    for gone in CLEANED.iter().chain(&["proxy", "x_under"]) {
        assert_eq!(request.trailer(gone), None, "{gone}");
    }
    inside.send(ok("done")).await;
    assert_eq!(client.answer().await.text(), "done");
    proxy.until_idle().await;
    client.send(get("/next")).await;
    assert_eq!(inside.asked().await.path(), "/next");
}

#[tokio::test]
async fn trailers_without_a_body_pass_and_none_stay_none() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: abc\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.text().as_str(), answer.trailer("x-sum")),
        ("", Some("abc"))
    );
    proxy.until_idle().await;
    client.send(get("/")).await;
    inside.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    assert!(client.answer().await.trailers.is_empty());
}

#[tokio::test]
async fn trailers_that_come_byte_by_byte_pass_whole() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for byte in b"3;x=y\r\nabc\r\n0;z\r\nX-Sum: abc\r\nHost: evil\r\nX-End: 1\r\n\r\n" {
        inside.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    let answer = client.answer().await;
    assert_eq!(answer.text(), "abc");
    let names: Vec<&str> = answer
        .trailers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(answer.trailer("x-end"), Some("1"));
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_trailers() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send("GET / HTTP/1.0\r\nHost: test\r\n\r\n").await;
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: abc\r\n\r\n")
        .await;
    let head = client.next_head().await;
    assert_eq!(head.field("transfer-encoding"), None);
    assert_eq!(client.end().await, (b"hello".to_vec(), End::Closed));
}

#[tokio::test]
async fn extensions_of_chunks_go_both_ways() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
             5;up=1\r\nhello\r\n4;a=\"b;c\"\r\n you\r\n0;last=up\r\n\r\n",
        )
        .await;
    // A chunk with an extension is no chunk to these readers.
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.body, b"hello you");
    inside
        .send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;down=1\r\nhe\r\n3;x\r\nllo\r\n0;y=\"z\"\r\n\r\n",
        )
        .await;
    assert_eq!(client.answer().await.text(), "hello");
}
