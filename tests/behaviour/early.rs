//! Early answers: the backend answers before the upload is complete.

use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::script::ok;
use crate::support::{Proxy, Script, Wire, get, one_script, within};

const MIB: usize = 1024 * 1024;

const FRAMINGS: [(&str, &str); 2] = [
    ("Content-Length: 100", "begin"),
    ("Transfer-Encoding: chunked", "5\r\nbegin\r\n"),
];

const TOO_LARGE: &str = "HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\nenough!\n";

/// A client that has sent the begin of its upload, and the backend that has got it.
async fn uploading(
    script: &mut Script,
    proxy: &Proxy,
    framing: &str,
    begin: &str,
) -> (Wire<TcpStream>, Wire<TcpStream>) {
    let mut client = proxy.client().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n{begin}"
        ))
        .await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    inside.bytes(begin.len()).await;
    (client, inside)
}

/// The answer is delivered whole, says that it closes, and the connection ends.
async fn is_answered_and_closed(client: &mut Wire<TcpStream>) {
    let answer = client.answer().await;
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (413, "enough!\n")
    );
    assert!(answer.lists("connection", "close"));
    assert_eq!(client.end().await.0, b"");
}

#[tokio::test]
async fn an_early_answer_is_delivered_whole_and_the_connection_closed() {
    let (mut script, proxy) = one_script().await;
    for (framing, begin) in FRAMINGS {
        let (mut client, mut inside) = uploading(&mut script, &proxy, framing, begin).await;
        inside.send(TOO_LARGE).await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (413, "enough!\n")
        );
        assert!(answer.lists("connection", "close"), "{framing}");
        // Nothing is held for the rest of the upload, and the backend is not bothered with it.
        proxy.until_idle().await;
        inside.end().await;
        client.stream.shutdown().await.unwrap();
        assert_eq!(client.end().await.0, b"", "{framing}");
    }
}

#[tokio::test]
async fn an_early_answer_comes_whole_also_if_the_backend_goes_at_once() {
    let (mut script, proxy) = one_script().await;
    for (framing, begin) in FRAMINGS {
        // With its FIN, and with the reset that unread bytes make of it.
        for unread in ["", "unread"] {
            let (mut client, mut inside) = uploading(&mut script, &proxy, framing, begin).await;
            if !unread.is_empty() {
                let piece = if framing.contains("chunked") {
                    "6\r\nunread\r\n"
                } else {
                    unread
                };
                client.send(piece).await;
                // It is there, and not read.
                within("it to come", inside.stream.peek(&mut [0]))
                    .await
                    .unwrap();
            }
            inside.send(TOO_LARGE).await;
            drop(inside);
            is_answered_and_closed_after(&mut client, framing).await;
        }
    }
}

async fn is_answered_and_closed_after(client: &mut Wire<TcpStream>, what: &str) {
    let answer = within("an answer", client.response()).await;
    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (413, "enough!\n"),
        "{what}"
    );
    assert!(answer.lists("connection", "close"), "{what}");
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.end().await.0, b"", "{what}");
}

/// Most clients look at the answer only when they have sent everything. It must still be there.
#[tokio::test]
async fn a_client_that_sends_its_whole_body_first_still_gets_the_answer() {
    let (mut script, proxy) = one_script().await;
    for _ in 0..5 {
        let length = format!("Content-Length: {MIB}");
        let (mut client, mut inside) = uploading(&mut script, &proxy, &length, "begin").await;
        inside.send(TOO_LARGE).await;
        // The answer is on its way before the rest of the body is.
        within("the answer", client.stream.peek(&mut [0]))
            .await
            .unwrap();
        let rest = vec![b'x'; MIB - 5];
        within("the upload", client.stream.write_all(&rest))
            .await
            .unwrap();
        is_answered_and_closed(&mut client).await;
        drop(inside);
    }
}

#[tokio::test]
async fn an_upload_that_never_ends_is_cut_off() {
    let (mut script, proxy) = one_script().await;
    let (mut client, mut inside) = uploading(
        &mut script,
        &proxy,
        "Transfer-Encoding: chunked",
        "5\r\nbegin\r\n",
    )
    .await;
    inside.send(TOO_LARGE).await;
    assert_eq!(client.answer().await.status(), 413);
    let chunk = [
        format!("{MIB:x}\r\n").into_bytes(),
        vec![b'x'; MIB],
        b"\r\n".to_vec(),
    ]
    .concat();
    within("the upload to be cut off", async {
        while client.stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
}

/// No byte comes, and the client does not close: the connection ends all the same.
#[tokio::test]
async fn an_upload_that_stalls_behind_an_early_answer_is_not_waited_for_for_ever() {
    let mut script = Script::start().await;
    let proxy = Proxy::before_with(&script, "", "client: {body_idle: 200ms}\n").await;
    let (mut client, mut inside) =
        uploading(&mut script, &proxy, "Content-Length: 100", "begin").await;
    inside.send(TOO_LARGE).await;
    is_answered_and_closed(&mut client).await;
}

/// What stands behind the body in the same stream is no request of a connection that closes.
#[tokio::test]
async fn a_request_pipelined_behind_such_an_upload_is_not_answered() {
    let (mut script, proxy) = one_script().await;
    let (mut client, mut inside) =
        uploading(&mut script, &proxy, "Content-Length: 10", "begin").await;
    inside.send(TOO_LARGE).await;
    assert_eq!(client.answer().await.status(), 413);
    let _ = client
        .stream
        .write_all(format!("12345{}", get("/behind")).as_bytes())
        .await;
    assert_eq!(client.end().await.0, b"");
    assert_eq!(script.connections(), 1);
}

/// The connection had half a request on it: the next one would be taken for the rest.
#[tokio::test]
async fn the_backends_connection_is_not_used_again() {
    let mut script = Script::start().await;
    // The other client would meet it, and nothing else closes it.
    let keys = "timeouts: {upstream_idle: 1h}";
    let proxy = Proxy::before_with(&script, keys, "workers: 1\n").await;
    let (mut client, mut inside) =
        uploading(&mut script, &proxy, "Content-Length: 100", "begin").await;
    inside.send(TOO_LARGE).await;
    assert_eq!(client.answer().await.status(), 413);
    let (rest, _) = inside.end().await;
    assert_eq!(rest, b"");
    let mut other = proxy.client().await;
    other.send(get("/other")).await;
    assert_eq!(script.asked().await.1.path(), "/other");
}

/// The head of the answer goes out while the upload moves on, and both go on side by side.
#[tokio::test]
async fn an_answer_that_runs_beside_its_upload_is_a_conversation() {
    let (mut script, proxy) = one_script().await;
    let (mut client, mut inside) = uploading(
        &mut script,
        &proxy,
        "Transfer-Encoding: chunked",
        "5\r\nbegin\r\n",
    )
    .await;
    inside
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        .await;
    let head = client.next_head().await;
    assert!(
        head.lists("connection", "close"),
        "the body is not here yet"
    );
    assert_eq!(client.chunk().await, b"hi");
    for word in ["one", "two", "three"] {
        let chunk = format!("{:x}\r\n{word}\r\n", word.len());
        client.send(&chunk).await;
        assert_eq!(inside.chunk().await, word.as_bytes());
        inside.send(&chunk).await;
        assert_eq!(client.chunk().await, word.as_bytes());
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(inside.bytes(5).await, b"0\r\n\r\n");
    inside.send("0\r\n\r\n").await;
    assert_eq!(client.end().await.0, b"0\r\n\r\n");
    proxy.until_idle().await;
}

/// A large early answer while the client still sends: neither side waits for the other.
#[tokio::test]
async fn a_large_answer_and_a_large_upload_do_not_block_each_other() {
    let (mut script, proxy) = one_script().await;
    let length = format!("Content-Length: {}", 8 * MIB);
    let (mut client, mut inside) = uploading(&mut script, &proxy, &length, "").await;
    let (body, answer) = (vec![b'u'; 8 * MIB], vec![b'd'; 8 * MIB]);
    inside
        .send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            8 * MIB
        ))
        .await;
    client.next_head().await;
    let (mut client_in, mut client_out) = client.stream.into_split();
    let (mut inside_in, mut inside_out) = inside.stream.into_split();
    let mut came = (vec![0; 8 * MIB], vec![0; 8 * MIB]);
    // An upload is read on for as long as the answer is not complete, so its end waits.
    let (first, last) = answer.split_at(8 * MIB - 1);
    let all = async {
        use tokio::io::AsyncReadExt;
        tokio::try_join!(
            client_out.write_all(&body),
            inside_out.write_all(first),
            inside_in.read_exact(&mut came.0),
            client_in.read_exact(&mut came.1[..first.len()]),
        )?;
        inside_out.write_all(last).await?;
        client_in.read_exact(&mut came.1[first.len()..]).await
    };
    within("both", all).await.unwrap();
    assert!(came.0 == body && came.1 == answer);
    tokio::time::timeout(Duration::from_secs(10), proxy.until_idle())
        .await
        .unwrap();
}

/// The same with an answer of the proxy's own, to what it refuses and to what the backend spoils.
#[tokio::test]
async fn a_client_that_sends_its_whole_body_first_still_gets_an_error() {
    let (mut script, proxy) = one_script().await;
    let rest = vec![b'x'; MIB];
    for _ in 0..5 {
        let length = format!("Content-Length: {}", MIB + 5);
        let (mut spoilt, mut inside) = uploading(&mut script, &proxy, &length, "begin").await;
        inside.send("rubbish\r\n\r\n").await;
        let mut refused = proxy.client().await;
        refused
            .send(format!(
                "POST / HTTP/1.1\r\nHost: test\r\nHost: test\r\n{length}\r\n\r\nbegin"
            ))
            .await;
        for (client, word) in [(&mut spoilt, "bad_response"), (&mut refused, "bad_request")] {
            within("the answer", client.stream.peek(&mut [0]))
                .await
                .unwrap();
            within("the upload", client.stream.write_all(&rest))
                .await
                .unwrap();
            let answer = client.answer().await;
            assert_eq!(answer.field("x-tidegate-error"), Some(word));
            assert!(answer.lists("connection", "close"), "{word}");
            assert_eq!(client.end().await.0, b"", "{word}");
        }
    }
}

/// The body has come when the answer does, and the backend takes none of it: what is left of it is
/// not the next request, whether the connection is kept or, since the answer was seen first, not.
#[tokio::test]
async fn a_body_that_the_backend_did_not_take_is_never_the_next_request() {
    let (mut script, proxy) = one_script().await;
    for (answer, expected) in [(&*ok("early"), 200), (b"rubbish\r\n\r\n", 502)] {
        let body = get("/inner");
        let length = format!("Content-Length: {}", body.len());
        let (mut client, mut inside) = uploading(&mut script, &proxy, &length, "").await;
        // The proxy finds all of it at once: the body, the answer, and a connection that is dead.
        proxy.signal(Signal::STOP);
        within("the proxy to stand still", async {
            let stat = format!("/proc/{}/stat", proxy.pid());
            while !tokio::fs::read_to_string(&stat)
                .await
                .unwrap()
                .contains(") T ")
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
        client.send(body).await;
        inside.send(answer).await;
        inside.reset();
        proxy.signal(Signal::CONT);
        let early = client.answer().await;
        assert_eq!(early.status(), expected);
        if early.lists("connection", "close") {
            assert_eq!(client.end().await.0, b"");
            client = proxy.client().await;
        }
        client.send(get("/next")).await;
        let (mut inside, request) = script.asked().await;
        assert_eq!(request.path(), "/next");
        inside.send(ok("next")).await;
        assert_eq!(client.answer().await.text(), "next");
    }
}
