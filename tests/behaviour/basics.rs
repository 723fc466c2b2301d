//! Basics: what passes unchanged, how bodies are framed on either side, versions.

use tokio::io::AsyncWriteExt;

use crate::support::script::{contains, ok};
use crate::support::{End, Proxy, Script, get, post, within};

/// A script that says back what it was asked, and a proxy before it.
async fn echo() -> (Script, Proxy) {
    let script = Script::serving(|request| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        ok(&format!("{}|{body}", request.start))
    })
    .await;
    let proxy = Proxy::before(&script).await;
    (script, proxy)
}

#[tokio::test]
async fn every_method_passes() {
    let (_script, proxy) = echo().await;
    let mut client = proxy.client().await;
    for method in [
        "GET",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "PROPFIND",
        "PURGE",
        "M-SEARCH",
        "get",
        "X!#$%&'*+-.^_`|~9",
    ] {
        let request = post("/m", "hi").replace("POST", method);
        let answer = client.ask(request).await;
        assert_eq!(answer.text(), format!("{method} /m HTTP/1.1|hi"));
    }
}

#[tokio::test]
async fn targets_pass_byte_by_byte() {
    let (_script, proxy) = echo().await;
    let mut client = proxy.client().await;
    for target in [
        "/",
        "//",
        "/a//b",
        "/a/../b/./c",
        "/%2e%2E/%2f%5c%00",
        "/?",
        "/??a=b&&c=d;e",
        "/a?b=http://c.test/d",
        "/!$&'()*+,;=:@-._~",
        "/\"<>\\^`{|}",
        "/a|b[c]d?{e}^`f\\\"<g>",
        "/%zz%",
    ] {
        let answer = client.ask(get(target)).await;
        assert_eq!(answer.text(), format!("GET {target} HTTP/1.1|"));
    }
    let options = client.ask("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(options.text(), "OPTIONS * HTTP/1.1|");
}

/// The backend gets the origin form, whatever the client wrote (RFC 9112, 3.2.2).
#[tokio::test]
async fn an_absolute_target_that_agrees_with_the_host_is_sent_in_origin_form() {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    for (target, origin) in [
        ("http://a.test/x?y=1", "/x?y=1"),
        ("http://a.test", "/"),
        ("http://a.test?q", "/?q"),
        ("HTTP://A.TEST/x", "/x"),
    ] {
        let mut client = proxy.client().await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        client.send(request).await;
        let (mut inside, request) = script.asked().await;
        assert_eq!(request.start, format!("GET {origin} HTTP/1.1"));
        let host = request.field("host").unwrap();
        assert!(host.eq_ignore_ascii_case("a.test"), "{host}");
        inside
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert_eq!(client.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn every_final_status_passes() {
    let script = Script::serving(|request| {
        let status = &request.path()[1..];
        format!("HTTP/1.1 {status} As It Is\r\nContent-Length: 3\r\n\r\n{status}").into_bytes()
    })
    .await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    for status in [
        200, 201, 202, 203, 206, 207, 226, 299, 300, 301, 302, 303, 307, 308, 399, 400, 401, 402,
        403, 404, 405, 409, 410, 413, 416, 417, 418, 421, 422, 425, 426, 428, 429, 431, 451, 499,
        500, 501, 502, 503, 504, 505, 511, 599,
    ] {
        let answer = client.ask(get(&format!("/{status}"))).await;
        assert_eq!(answer.verdict(), (status, None));
        assert_eq!(answer.text(), status.to_string());
    }
}

#[tokio::test]
async fn repeated_fields_stay_apart_and_in_order_and_odd_values_survive() {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: test\r\nX-A: 1\r\nX-Empty:\r\nx-a: 2, 3\r\nX-Space: \t a  b \t\r\n\
             X-A:4\r\nCookie: a=b; c=\"d,e\"\r\n\r\n",
        )
        .await;
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.all("x-a"), ["1", "2, 3", "4"]);
    assert_eq!(request.field("x-empty"), Some(""));
    assert_eq!(request.field("x-space"), Some("a  b"));
    assert_eq!(request.field("cookie"), Some("a=b; c=\"d,e\""));
    inside
        .send(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT\r\nX-Empty:\r\n\
             Set-Cookie: b=2\r\nServer: own/1\r\nset-cookie: c=3\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
    let answer = client.answer().await;
    assert_eq!(
        answer.all("set-cookie"),
        ["a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT", "b=2", "c=3"]
    );
    assert_eq!(answer.field("x-empty"), Some(""));
    assert_eq!(answer.all("server"), ["own/1"]);
}

#[tokio::test]
async fn obs_text_in_values_survives_both_ways() {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    client
        .send(b"GET / HTTP/1.1\r\nHost: test\r\nX-Text: \x80caf\xe9 \xff\r\n\r\n")
        .await;
    let mut inside = script.accepted().await;
    let head = within("a head", inside.raw_head()).await.unwrap().unwrap();
    assert!(contains(&head, b": \x80caf\xe9 \xff\r\n"), "{head:?}");
    inside
        .send(b"HTTP/1.1 200 OK\r\nX-Text: \xc3\xa9\xfe\r\nContent-Length: 0\r\n\r\n")
        .await;
    let head = within("a head", client.raw_head()).await.unwrap().unwrap();
    assert!(contains(&head, b": \xc3\xa9\xfe\r\n"), "{head:?}");
}

#[tokio::test]
async fn a_request_field_of_7_kib_and_a_response_field_of_16_kib_pass() {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    let (up, down) = ("u".repeat(7 * 1024), "d".repeat(16 * 1024));
    client
        .send(format!(
            "GET / HTTP/1.1\r\nHost: test\r\nCookie: {up}\r\n\r\n"
        ))
        .await;
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.field("cookie"), Some(up.as_str()));
    inside
        .send(format!(
            "HTTP/1.1 200 OK\r\nX-Long: {down}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    assert_eq!(client.answer().await.field("x-long"), Some(down.as_str()));
}

#[tokio::test]
async fn get_and_delete_carry_bodies_of_either_framing() {
    let (_script, proxy) = echo().await;
    let mut client = proxy.client().await;
    for method in ["GET", "DELETE", "OPTIONS"] {
        let with_length = post("/b", "hello").replace("POST", method);
        let answer = client.ask(with_length).await;
        assert_eq!(answer.text(), format!("{method} /b HTTP/1.1|hello"));
        let chunked = format!(
            "{method} /b HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
        );
        let answer = client.ask(chunked).await;
        assert_eq!(answer.text(), format!("{method} /b HTTP/1.1|hello"));
    }
}

/// One connection all the way: a body that is taken for one, or missed, upsets all that follow.
#[tokio::test]
async fn head_204_and_304_have_no_body_and_do_not_upset_the_connection() {
    let script = Script::serving(|request| {
        let rest = match request.path() {
            "/head-length" => "200 OK\r\nContent-Length: 5\r\n\r\n",
            "/head-chunked" => "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "/head-neither" => "200 OK\r\n\r\n",
            "/204" => "204 No Content\r\n\r\n",
            "/204-length" => "204 No Content\r\nContent-Length: 0\r\n\r\n",
            "/304" => "304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            "/304-length" => "304 Not Modified\r\nContent-Length: 1234\r\n\r\n",
            _ => "200 OK\r\nContent-Length: 5\r\n\r\nplain",
        };
        format!("HTTP/1.1 {rest}").into_bytes()
    })
    .await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        for (method, path, status, length) in [
            ("HEAD", "/head-length", 200, Some("5")),
            ("HEAD", "/head-chunked", 200, None),
            ("HEAD", "/head-neither", 200, None),
            ("GET", "/204", 204, None),
            ("GET", "/204-length", 204, None),
            ("HEAD", "/204", 204, None),
            ("GET", "/304", 304, None),
            ("GET", "/304-length", 304, Some("1234")),
            ("HEAD", "/304-length", 304, Some("1234")),
        ] {
            client.send(get(path).replace("GET", method)).await;
            let head = client.next_head().await;
            assert_eq!(head.status(), status, "{method} {path}");
            assert_eq!(head.field("content-length"), length, "{method} {path}");
            if status == 204 {
                assert_eq!(head.field("transfer-encoding"), None, "{path}");
            }
            let next = client.ask(get("/plain")).await;
            assert_eq!(next.text(), "plain", "behind {method} {path}");
        }
    }
}

#[tokio::test]
async fn ranges_pass() {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    client
        .send("GET /f HTTP/1.1\r\nHost: test\r\nRange: bytes=2-4\r\nIf-Range: \"v1\"\r\n\r\n")
        .await;
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.field("range"), Some("bytes=2-4"));
    assert_eq!(request.field("if-range"), Some("\"v1\""));
    inside
        .send(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/10\r\nAccept-Ranges: bytes\r\n\
             Content-Length: 3\r\n\r\ncde",
        )
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text().as_str()), (206, "cde"));
    assert_eq!(answer.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(answer.field("accept-ranges"), Some("bytes"));
}

#[tokio::test]
async fn every_framing_of_a_backend_gives_the_same_answer_in_our_version() {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    for (answer, body) in [
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "",
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "",
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: Chunked\r\n\r\n005\r\nhello\r\n000\r\n\r\n",
            "hello",
        ),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", ""),
        ("HTTP/1.0 200 OK\r\n\r\nhello", "hello"),
        ("HTTP/1.0 200 OK\r\n\r\n", ""),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
    ] {
        client.send(get("/")).await;
        let (mut inside, request) = script.asked().await;
        assert_eq!(request.start, "GET / HTTP/1.1");
        inside.send(answer).await;
        inside.stream.shutdown().await.unwrap();
        drop(inside);
        // All on one client connection: none of these ends says anything about it.
        let got = client.answer().await;
        assert_eq!(got.text(), body, "{answer:?}");
        assert!(got.start.starts_with("HTTP/1.1 200"), "{}", got.start);
        assert!(!got.lists("connection", "close"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_http_1_0_backend_that_keeps_alive_is_reused_and_one_that_does_not_is_not() {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    client.send(get("/1")).await;
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\none")
        .await;
    assert_eq!(client.answer().await.text(), "one");
    proxy.until_idle().await;
    client.send(get("/2")).await;
    assert_eq!(inside.asked().await.path(), "/2", "on the kept connection");
    inside
        .send("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\ntwo")
        .await;
    assert_eq!(client.answer().await.text(), "two");
    let (left, _) = inside.end().await;
    assert!(left.is_empty(), "nothing more on that connection");
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks_and_the_end_of_the_connection_as_the_end() {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    for fields in ["", "Connection: keep-alive\r\n"] {
        for (framing, body) in [
            (
                "Transfer-Encoding: chunked",
                "2\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n",
            ),
            ("Connection: close", "hello"),
        ] {
            let mut client = proxy.client().await;
            client
                .send(format!("GET / HTTP/1.0\r\nHost: test\r\n{fields}\r\n"))
                .await;
            let (mut inside, request) = script.asked().await;
            assert_eq!(request.start, "GET / HTTP/1.1");
            inside
                .send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}"))
                .await;
            inside.stream.shutdown().await.unwrap();
            let head = client.next_head().await;
            assert!(head.start.starts_with("HTTP/1.1 200"), "{}", head.start);
            assert_eq!(head.field("transfer-encoding"), None);
            assert_eq!(head.field("content-length"), None);
            assert!(!head.lists("connection", "keep-alive"), "{framing}");
            let (rest, end) = client.end().await;
            assert_eq!((rest.as_slice(), end), (&b"hello"[..], End::Closed));
        }
    }
}

#[tokio::test]
async fn an_http_1_0_client_keeps_its_connection_only_if_it_asks_to() {
    let (_script, proxy) = echo().await;
    let mut kept = proxy.client().await;
    for path in ["/1", "/2", "/3"] {
        let request = format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = kept.ask(request).await;
        assert_eq!(answer.text(), format!("GET {path} HTTP/1.1|"));
        assert!(answer.lists("connection", "keep-alive"), "{path}");
    }
    let mut closed = proxy.client().await;
    let answer = closed.ask("GET /4 HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.text(), "GET /4 HTTP/1.1|");
    assert_eq!(closed.end().await, (Vec::new(), End::Closed));
}

#[tokio::test]
async fn there_is_one_date_the_backends_own_if_it_has_one() {
    const OWN: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
    let script = Script::serving(|request| match request.path() {
        "/own" => format!("HTTP/1.1 200 OK\r\ndate: {OWN}\r\nContent-Length: 0\r\n\r\n").into(),
        _ => ok(""),
    })
    .await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    assert_eq!(client.ask(get("/own")).await.all("date"), [OWN]);
    let ours = client.ask(get("/none")).await;
    assert_eq!(ours.all("date").len(), 1);
    assert!(ours.field("date").unwrap().ends_with(" GMT"));
}

/// It was told nothing of its connection, which for it means that the end of the answer is the end of
/// the connection; and that was kept.
#[tokio::test]
async fn an_http_1_0_client_that_would_keep_its_connection_sees_an_error_end() {
    let script = Script::start().await;
    let proxy = Proxy::before_with(&script, "", "routes: [{host: a.test, pool: web}]\n").await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.0\r\nHost: b.test\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.verdict(), (404, Some("no_route")));
    assert!(answer.lists("connection", "close"));
    assert_eq!(client.end().await.0, b"");
}
