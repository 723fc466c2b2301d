//! Hop by hop: what belongs to one connection stays there, and each side closes for itself.

use crate::support::script::ok;
use crate::support::{End, Proxy, Script, get, one_script};

#[tokio::test]
async fn known_and_listed_fields_of_a_request_are_removed() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: X-One, ,keep-alive,x-two\r\nX-One: 1\r\n\
             connection: x-three\r\nX-Two: 2\r\nX-THREE: 3\r\nx-one: again\r\nKeep-Alive: timeout=9\r\n\
             Proxy-Connection: keep-alive\r\nX-Stays: 1\r\nTE: gzip, deflate\r\n\r\n",
        )
        .await;
    let (mut inside, request) = script.asked().await;
    for gone in [
        "x-one",
        "x-two",
        "x-three",
        "keep-alive",
        "proxy-connection",
        "upgrade",
    ] {
        assert_eq!(request.field(gone), None, "{gone}");
    }
    // `trailers` may be asked for by the proxy itself; other codings are between two hops.
    assert!(!request.lists("te", "gzip") && !request.lists("te", "deflate"));
    assert!(!request.lists("connection", "x-one") && !request.lists("connection", "close"));
    assert_eq!(request.field("x-stays"), Some("1"));
    inside.send(ok("")).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn known_and_listed_fields_of_an_answer_are_removed() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    inside
        .send(
            "HTTP/1.1 200 OK\r\nConnection: X-One,, keep-alive\r\nX-One: 1\r\nconnection: x-two\r\n\
             X-Two: 2\r\nx-one: again\r\nKeep-Alive: timeout=5, max=100\r\nProxy-Connection: keep-alive\r\n\
             Upgrade: h2c\r\nX-Tidegate-Error: fake\r\nX-Stays: 1\r\nContent-Length: 2\r\n\r\nok",
        )
        .await;
    let answer = client.answer().await;
    for gone in [
        "x-one",
        "x-two",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "x-tidegate-error",
    ] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
    assert!(!answer.lists("connection", "x-one"));
    assert_eq!(answer.field("x-stays"), Some("1"));
    assert_eq!(answer.text(), "ok");
}

/// Who lists what the proxy itself sets, or what frames the message, must not get it removed.
#[tokio::test]
async fn what_the_proxy_needs_cannot_be_listed_away() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\nConnection: host, content-length, \
             x-forwarded-for, x-forwarded-proto, x-forwarded-host\r\n\r\nhello",
        )
        .await;
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.all("host"), ["app.test"]);
    assert_eq!(request.body, b"hello");
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.all("x-forwarded-host"), ["app.test"]);
    inside
        .send("HTTP/1.1 200 OK\r\nConnection: content-length, date\r\nContent-Length: 2\r\n\r\nok")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.all("date").len(), 1);
    proxy.until_idle().await;
    client.send(get("/next")).await;
    let next = inside.asked().await;
    assert_eq!(next.path(), "/next");
}

#[tokio::test]
async fn close_of_the_client_closes_only_the_client_side() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send("GET /1 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .await;
    let (mut inside, request) = script.asked().await;
    assert!(!request.lists("connection", "close"));
    inside.send(ok("one")).await;
    let answer = client.answer().await;
    assert_eq!(answer.text(), "one");
    assert!(answer.lists("connection", "close"));
    assert_eq!(client.end().await, (Vec::new(), End::Closed));
    proxy.until_idle().await;
    let mut other = proxy.client().await;
    other.send(get("/2")).await;
    assert_eq!(inside.asked().await.path(), "/2", "on the same connection");
    inside.send(ok("two")).await;
    assert_eq!(other.answer().await.text(), "two");
    assert_eq!(script.connections(), 1);
}

#[tokio::test]
async fn close_of_the_backend_closes_only_the_backends_side() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        client.send(get("/")).await;
        let (mut inside, _) = script.asked().await;
        inside
            .send("HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nok")
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.text(), "ok");
        assert!(!answer.lists("connection", "close"));
        // The backend has not closed yet: the proxy does, because it was asked to.
        assert_eq!(inside.end().await.0, b"");
    }
    assert_eq!(script.connections(), 3);
}

/// RFC 9110, 7.6.3: a version and a name, and nothing that tells of the inside.
#[tokio::test]
async fn via_is_well_formed_if_it_is_sent() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: test\r\nVia: 1.0 before\r\n\r\n")
        .await;
    let (mut inside, request) = script.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nVia: 1.1 behind\r\nContent-Length: 0\r\n\r\n")
        .await;
    let answer = client.answer().await;
    for (message, first) in [(request, "1.0 before"), (answer, "1.1 behind")] {
        let via = message.all("via").join(", ");
        let mut hops = via.split(", ");
        assert_eq!(hops.next(), Some(first), "the hops before stay");
        for hop in hops {
            let (version, name) = hop.split_once(' ').unwrap();
            assert!(
                ["1.0", "1.1"].contains(&version) && !name.is_empty(),
                "{hop}"
            );
        }
    }
}

/// Its smuggling variant: an upgrade to HTTP/2 in clear text would pass by all rules.
#[tokio::test]
async fn an_upgrade_to_h2c_is_not_passed_on() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    for upgrade in ["h2c", "H2C", "h2c, websocket", "websocket, h2c"] {
        client
            .send(format!(
                "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
                 HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
            ))
            .await;
        let (mut inside, request) = script.asked().await;
        assert!(!request.lists("upgrade", "h2c"), "{upgrade}");
        assert_eq!(request.field("http2-settings"), None);
        inside
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nplain")
            .await;
        assert_eq!(client.answer().await.text(), "plain");
    }
}

#[tokio::test]
async fn a_strangers_word_on_forwarding_is_replaced_whole() {
    let (mut script, proxy) = one_script().await;
    let mut client = proxy.client().await;
    client
        .send(
            "GET / HTTP/1.1\r\nHost: app.test:8080\r\nX-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 7.7.7.7, ::1\r\n\
             X-FORWARDED-PROTO: https\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Host: worse.test\r\n\
             X-Tidegate-Client: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\nX-Forwarded_For: 6.6.6.6\r\n\r\n",
        )
        .await;
    let (mut inside, request) = script.asked().await;
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.all("x-forwarded-host"), ["app.test:8080"]);
    for (name, value) in &request.fields {
        let name = name.to_ascii_lowercase();
        assert!(
            !name.contains('_') && !name.starts_with("x-tidegate-"),
            "{name}: {value}"
        );
    }
    inside.send(ok("")).await;
    client.answer().await;
}

#[tokio::test]
async fn a_trusted_proxys_word_on_forwarding_is_continued() {
    let mut script = Script::start().await;
    let extra = "client: {trusted_proxies: [127.0.0.0/8]}\n";
    let proxy = Proxy::before_with(&script, "", extra).await;
    let mut client = proxy.client().await;
    client
        .send(
            "GET /1 HTTP/1.1\r\nHost: inside.test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: app.test\r\n\r\n",
        )
        .await;
    let (mut inside, request) = script.asked().await;
    let chain = request.all("x-forwarded-for").join(", ");
    assert_eq!(chain, "6.6.6.6, 7.7.7.7, 127.0.0.1");
    assert_eq!(request.all("x-forwarded-proto"), ["https"]);
    assert_eq!(request.all("x-forwarded-host"), ["app.test"]);
    assert_eq!(request.all("host"), ["inside.test"]);
    inside.send(ok("")).await;
    client.answer().await;
    proxy.until_idle().await;
    // One that says nothing is told what we know.
    client.send(get("/2")).await;
    let request = inside.asked().await;
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.all("x-forwarded-host"), ["test"]);
}
