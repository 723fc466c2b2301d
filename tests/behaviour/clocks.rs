//! Clocks: each wait of an exchange has its own, and only its own.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::script::ok;
use crate::support::{Proxy, Script, Setup, assert_drain_closed, get, not_yet, post, within};

/// Longer than the short clocks of these tests, far shorter than the long ones.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A proxy with these clocks of the backend and of the client; the others are long.
async fn clocks(timeouts: &str, client: &str) -> (Script, Proxy) {
    let script = Script::start().await;
    let mut setup = Setup::scripts(&[&script], &format!("timeouts: {{{timeouts}}}"));
    setup.extra = format!("client: {{{client}}}\n");
    setup.log = "{access: true}".into();
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    (script, proxy)
}

#[tokio::test]
async fn a_head_that_does_not_come_is_504_whatever_the_other_clocks() {
    let (mut script, proxy) = clocks("response_head: 100ms, body_idle: 1h", "").await;
    let begun = Instant::now();
    let answer = proxy.fetch(get("/slow"));
    let (mut inside, _) = script.asked().await;
    let answer = within("504", answer).await.unwrap().unwrap();
    assert_eq!(answer.verdict(), (504, Some("upstream_timeout")));
    assert!(begun.elapsed() < AT_ONCE);
    inside.end().await;
    proxy.until_idle().await;
    // Half a head is none.
    let answer = proxy.fetch(get("/half"));
    let (mut inside, _) = script.asked().await;
    inside.send("HTTP/1.1 200 OK\r\nX-Begin: 1\r\n").await;
    let answer = within("504", answer).await.unwrap().unwrap();
    assert_eq!(answer.verdict(), (504, Some("upstream_timeout")));
    inside.end().await;
    assert_eq!(script.connections(), 2, "it was tried again");
}

#[tokio::test]
async fn a_backend_that_thinks_longer_than_body_idle_is_waited_for() {
    let (mut script, proxy) = clocks("response_head: 1h, body_idle: 100ms", "").await;
    let mut answer = proxy.fetch(get("/thinks"));
    let (mut inside, _) = script.asked().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    not_yet("an answer", &mut answer).await;
    inside.send(ok("thought")).await;
    assert_eq!(
        within("it", answer).await.unwrap().unwrap().text(),
        "thought"
    );
}

/// Its clock runs from the end of the request.
#[tokio::test]
async fn a_slow_upload_is_not_counted_as_a_slow_answer() {
    let short = clocks("response_head: 600ms, body_idle: 1h", "body_idle: 2s");
    let (mut script, proxy) = short.await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\n")
        .await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    for _ in 0..8 {
        client.send("x").await;
        assert_eq!(inside.bytes(1).await, b"x");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    inside.send(ok("all")).await;
    assert_eq!(client.answer().await.text(), "all");
}

#[tokio::test]
async fn an_answer_that_stalls_in_its_body_is_cut_and_recorded_as_a_timeout() {
    let (mut script, proxy) = clocks("response_head: 1h, body_idle: 100ms", "").await;
    for (path, framing, half) in [
        ("/length", "Content-Length: 10", "half"),
        ("/chunked", "Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
        ("/close", "Connection: close", "half"),
    ] {
        let answer = proxy.fetch(get(path));
        let (mut inside, _) = script.asked().await;
        inside
            .send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{half}"))
            .await;
        within("the cut", answer).await.unwrap().unwrap_err();
        inside.end().await;
        let record = proxy.record(path).await;
        assert_eq!(
            (&record["error"], &record["status"]),
            (&"body_timeout".into(), &200.into())
        );
        proxy.until_idle().await;
    }
}

#[tokio::test]
async fn an_answer_that_moves_is_not_cut_however_long_it_takes() {
    let (mut script, proxy) = clocks(
        "response_head: 1s, body_idle: 1s",
        "keep_alive: 1s, head_timeout: 1s",
    )
    .await;
    let answer = proxy.fetch(get("/moves"));
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        .await;
    for _ in 0..12 {
        inside.send("x").await;
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    let answer = within("all", answer).await.unwrap().unwrap();
    assert_eq!(answer.text(), "x".repeat(12));
}

/// The backend takes nothing of the upload: it is the one who is slow.
#[tokio::test]
async fn a_backend_that_does_not_take_the_upload_is_a_timeout() {
    let (mut script, proxy) = clocks("response_head: 1h, body_idle: 200ms", "").await;
    let mut client = proxy.client().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n",
            64 << 20
        ))
        .await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    let (mut reads, mut writes) = client.stream.into_split();
    let upload = tokio::spawn(async move {
        let piece = vec![b'x'; 1 << 20];
        while writes.write_all(&piece).await.is_ok() {}
    });
    let mut head = vec![0; 12];
    within(
        "504",
        tokio::io::AsyncReadExt::read_exact(&mut reads, &mut head),
    )
    .await
    .unwrap();
    assert_eq!(head, b"HTTP/1.1 504");
    upload.abort();
    proxy.until_idle().await;
}

/// A proxy before a backend that is healthy and then lets connections hang: its queue is full.
async fn full(keys: &str) -> ((TcpListener, Vec<TcpStream>), Proxy) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut setup = Setup::web(&[]);
    setup.pools = format!(
        "  web:\n    backends: [{{id: a, address: \"{address}\"}}]\n    health: {{tcp: true, interval: 1h, timeout: 5s, rise: 1, fall: 100}}\n    {keys}\n"
    );
    let proxy = Proxy::start(setup).await;
    proxy.until_healthy(&["a"]).await;
    let mut queue = Vec::new();
    while let Ok(filled) =
        tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
    {
        queue.push(filled.unwrap());
    }
    ((listener, queue), proxy)
}

/// What is being made is a connection too: it is counted, and cut with its exchange.
#[tokio::test]
async fn an_exchange_is_cut_while_its_connection_is_being_made() {
    let (_full, proxy) = full("timeouts: {connect: 1h}").await;
    let answer = proxy.fetch(get("/"));
    proxy
        .until("a", "connecting", |backend| backend["connections"] == 1)
        .await;
    let closed = proxy.admin(
        "POST",
        "/v1/pools/web/backends/a/drain?force&on_timeout=close&timeout=0s",
    );
    let closed = within("the close", closed).await.json();
    assert_eq!(closed["outcome"], "forced");
    assert_eq!(closed["backend"]["connections"], 0);
    assert_drain_closed(within("the answer", answer).await.unwrap());
}

#[tokio::test]
async fn a_connection_that_is_not_established_in_time_is_504() {
    let (_full, proxy) = full("timeouts: {connect: 100ms}").await;
    let begun = Instant::now();
    let answer = within("504", proxy.fetch(get("/"))).await.unwrap().unwrap();
    assert_eq!(answer.verdict(), (504, Some("connect_timeout")));
    assert!(begun.elapsed() < AT_ONCE);
}

#[tokio::test]
async fn half_a_request_head_is_408_and_none_is_closed_silently() {
    let (script, proxy) = clocks("", "head_timeout: 150ms, keep_alive: 150ms").await;
    for part in [
        "G",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\n\r",
    ] {
        let mut client = proxy.client().await;
        client.send(part).await;
        let answer = client.answer().await;
        assert_eq!(answer.verdict(), (408, Some("client_timeout")), "{part:?}");
        assert!(answer.lists("connection", "close"));
        assert_eq!(client.end().await.0, b"");
    }
    let mut silent = proxy.client().await;
    assert_eq!(silent.end().await.0, b"");
    assert_eq!(script.connections(), 0);
}

/// The clock does not start anew with each byte.
#[tokio::test]
async fn a_request_head_that_drips_is_408_too() {
    let (_script, proxy) = clocks("", "head_timeout: 200ms, keep_alive: 200ms").await;
    let mut client = proxy.client().await;
    let begun = Instant::now();
    let answer = within("408", async {
        client.send("GET / HTTP/1.1\r\nX: ").await;
        loop {
            let _ = client.stream.write_all(b"x").await;
            let mut byte = [0];
            let answer = client.stream.peek(&mut byte);
            let answer = tokio::time::timeout(Duration::from_millis(20), answer).await;
            if answer.is_ok() {
                return client.response().await.unwrap();
            }
        }
    })
    .await;
    assert_eq!(answer.verdict(), (408, Some("client_timeout")));
    assert!(begun.elapsed() < AT_ONCE);
}

#[tokio::test]
async fn an_upload_that_stalls_is_408_and_a_cut_for_the_backend() {
    let (mut script, proxy) = clocks("", "body_idle: 150ms").await;
    for (framing, begin) in [
        ("Content-Length: 10", "begin"),
        ("Transfer-Encoding: chunked", "5\r\nbegin\r\n"),
        ("Content-Length: 10", ""),
    ] {
        let mut client = proxy.client().await;
        client
            .send(format!(
                "POST /stalls HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n{begin}"
            ))
            .await;
        let mut inside = script.accepted().await;
        inside.next_head().await;
        inside.bytes(begin.len()).await;
        let answer = client.answer().await;
        assert_eq!(
            answer.verdict(),
            (408, Some("client_body_timeout")),
            "{framing}"
        );
        assert!(answer.lists("connection", "close"));
        assert_eq!(client.end().await.0, b"");
        assert_eq!(
            inside.end().await.0,
            b"",
            "{framing}: nothing that completes it"
        );
        proxy.until_idle().await;
    }
    let record = proxy.record("/stalls").await;
    assert_eq!(record["error"], "client_body_timeout");
}

#[tokio::test]
async fn a_connection_without_a_next_request_is_closed_silently() {
    let (mut script, proxy) = clocks("", "keep_alive: 150ms, head_timeout: 150ms").await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    // The clock does not run while the answer is waited for.
    let mut early = Box::pin(client.head());
    not_yet("an end", &mut early).await;
    not_yet("an end", &mut early).await;
    not_yet("an end", &mut early).await;
    drop(early);
    inside.send(ok("one")).await;
    assert_eq!(client.answer().await.text(), "one");
    assert_eq!(client.end().await.0, b"");
}

#[tokio::test]
async fn an_idle_connection_to_a_backend_is_kept_no_longer_than_upstream_idle() {
    let (mut script, proxy) = clocks("upstream_idle: 150ms", "").await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    inside.send(ok("one")).await;
    assert_eq!(client.answer().await.text(), "one");
    let begun = Instant::now();
    assert_eq!(inside.end().await.0, b"");
    assert!(begun.elapsed() < AT_ONCE);
}

/// It closes then, and a request that is under way at that moment is lost.
#[tokio::test]
async fn a_server_that_says_a_shorter_time_is_believed() {
    let (mut script, proxy) = clocks("upstream_idle: 1h", "").await;
    let mut client = proxy.client().await;
    client.send(get("/")).await;
    let (mut inside, _) = script.asked().await;
    inside
        .send("HTTP/1.1 200 OK\r\nKeep-Alive: max=100, timeout=1\r\nContent-Length: 3\r\n\r\none")
        .await;
    assert_eq!(client.answer().await.text(), "one");
    let begun = Instant::now();
    assert_eq!(inside.end().await.0, b"");
    assert!(begun.elapsed() < AT_ONCE);
}

/// Each byte of a head started its clock anew: one byte a minute, and the client waited for weeks.
#[tokio::test]
async fn a_response_head_that_drips_is_504_too() {
    let (mut script, proxy) = clocks("response_head: 300ms, body_idle: 1h", "").await;
    let mut answer = proxy.fetch(get("/drips"));
    let (mut inside, _) = script.asked().await;
    inside.send("HTTP/1.1 200 OK\r\nX: ").await;
    let answer = within("504", async {
        loop {
            let _ = inside.stream.write_all(b"x").await;
            let soon = Duration::from_millis(20);
            if let Ok(answer) = tokio::time::timeout(soon, &mut answer).await {
                return answer.unwrap().unwrap();
            }
        }
    });
    assert_eq!(answer.await.verdict(), (504, Some("upstream_timeout")));
}

/// Each direction had a clock that saw only its own bytes: an upload that waited for what it was
/// answered was cut in the middle of a conversation, and so was an answer that waited for its upload.
#[tokio::test]
async fn one_direction_may_rest_while_the_other_moves() {
    let (mut script, proxy) =
        clocks("response_head: 1h, body_idle: 300ms", "body_idle: 300ms").await;
    let mut client = proxy.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 22\r\n\r\nx")
        .await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    inside
        .send("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n")
        .await;
    client.next_head().await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        inside.send("d").await;
    }
    assert_eq!(client.bytes(20).await.len(), 20);
    for _ in 0..21 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        client.send("u").await;
    }
    assert_eq!(inside.bytes(22).await.len(), 22);
    inside.send("e").await;
    assert_eq!(client.end().await.0, b"e");
}

/// The client waits for the backend's word before it sends its body: it is not the one who is slow.
#[tokio::test]
async fn a_client_that_waits_for_a_100_is_not_timed_out() {
    let (mut script, proxy) = clocks("response_head: 1h", "body_idle: 200ms").await;
    let mut client = proxy.client().await;
    let head = "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    client.send(head).await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    inside.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.next_head().await.status(), 100);
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.send("body").await;
    assert_eq!(inside.bytes(4).await, b"body");
    inside
        .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nall")
        .await;
    assert_eq!(client.answer().await.text(), "all");
    // Once it has the word, its clock runs.
    let mut client = proxy.client().await;
    client.send(head).await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    inside.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.next_head().await.status(), 100);
    assert_eq!(
        client.answer().await.verdict(),
        (408, Some("client_body_timeout"))
    );
}

/// While the client pauses no answer is due, however short the backend's clocks are.
#[tokio::test]
async fn a_pause_in_an_upload_is_the_clients_and_not_the_backends() {
    let (mut script, proxy) = clocks("response_head: 50ms, body_idle: 50ms", "").await;
    let mut client = proxy.client().await;
    client.send(post("/", "12345").replace("12345", "12")).await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    assert_eq!(inside.bytes(2).await, b"12");
    let mut early = Box::pin(client.head());
    not_yet("an answer", &mut early).await;
    not_yet("an answer", &mut early).await;
    drop(early);
    client.send("345").await;
    assert_eq!(inside.bytes(3).await, b"345");
    inside.send(ok("all")).await;
    assert_eq!(client.answer().await.text(), "all");
}

/// It holds a claim, and with it a drain.
#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let (mut script, proxy) = clocks("response_head: 1h, body_idle: 1h", "body_idle: 300ms").await;
    let body = vec![b'x'; 32 << 20];
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stuck = proxy.client().await;
    stuck.send(get("/stuck")).await;
    let (mut inside, _) = script.asked().await;
    inside.send(&head).await;
    let writing = inside.stream.write_all(&body);
    assert!(within("the cut", writing).await.is_err());
    assert_eq!(proxy.record("/stuck").await["error"], "client_body_timeout");
    proxy.until_idle().await;
}
