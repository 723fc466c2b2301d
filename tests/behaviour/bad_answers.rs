//! Bad answers: 502 if nothing went out yet, else a cut; the connection is not used again, and no
//! client ever sees what was meant for another.

use crate::support::script::{contains, ok};
use crate::support::{Proxy, Script, get, one_script, post, within};

/// Sends each answer to a POST, so that nothing is tried again; says of each that did not become a 502.
/// Behind each stands an answer that must reach nobody.
async fn become_502(answers: Vec<Vec<u8>>) {
    let (mut script, proxy) = one_script().await;
    let mut wrong = Vec::new();
    for raw in answers {
        let shown = raw[..raw.len().min(120)].escape_ascii().to_string();
        let answer = proxy.fetch(post("/", "x"));
        let (mut inside, _) = script.asked().await;
        let evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        // It may be refused before it was all sent.
        let all = [raw.as_slice(), evil].concat();
        let _ = tokio::io::AsyncWriteExt::write_all(&mut inside.stream, &all).await;
        let answer = tokio::time::timeout(std::time::Duration::from_secs(2), answer).await;
        match answer.map(Result::unwrap) {
            Ok(Ok(answer)) if answer.verdict() == (502, Some("bad_response")) => {}
            Ok(Ok(answer)) => wrong.push(format!("{shown}: {:?}", answer.verdict())),
            Ok(Err(error)) => wrong.push(format!("{shown}: {error}")),
            Err(_) => wrong.push(format!("{shown}: no answer")),
        }
        let ended = tokio::time::timeout(std::time::Duration::from_secs(2), inside.end()).await;
        if ended.is_err() {
            wrong.push(format!("{shown}: the connection was kept"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn with_status_line(line: &[u8]) -> Vec<u8> {
    [line, b"\r\nContent-Length: 2\r\n\r\nok"].concat()
}

fn with_fields(fields: &[u8]) -> Vec<u8> {
    [
        b"HTTP/1.1 200 OK\r\n",
        fields,
        b"\r\nX-Last: 1\r\n\r\n0\r\n\r\n",
    ]
    .concat()
}

#[tokio::test]
async fn status_lines_that_are_none_become_502() {
    let lines: [&[u8]; 33] = [
        b"garbage",
        b"",
        b"<html>",
        b"SSH-2.0-OpenSSH_9.6",
        b"\x15\x03\x01\x00\x02\x02\x50",
        b"+OK",
        b"GET / HTTP/1.1",
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 abc OK",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1 -20 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 000 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/2 200 OK",
        b"HTTP/0.9 200 OK",
        b"http/1.1 200 OK",
        b"ICY 200 OK",
        b"HTTP 200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1 200 O\0K",
        b"HTTP/1.1 200 O\x01K",
        b"HTTP/1.1 200 O\rK",
        b"xHTTP/1.1 200 OK",
    ];
    become_502(lines.map(with_status_line).into()).await;
}

#[tokio::test]
async fn fields_that_are_none_become_502() {
    let fields: [&[u8]; 24] = [
        b"X: 1\r\n 2",
        b"X: 1\r\n\t2",
        b" X: 1",
        b"X : 1",
        b"X\t: 1",
        b"X",
        b": 1",
        b"X Y: 1",
        b"X(: 1",
        b"X\x80: 1",
        b"X\0: 1",
        b"X: a\0b",
        b"X: a\x01b",
        b"X: a\x7fb",
        b"X: a\rb",
        b"X: a\r",
        b"X: a\nY: b",
        b"X: a\n",
        b"\rX: a",
        b"Content-Length : 5",
        b"Transfer-Encoding : chunked",
        b"X: 1\nContent-Length: 5",
        b"X: 1\nTransfer-Encoding: chunked",
        b"Content-Length:\r\n 5",
    ];
    let mut answers: Vec<Vec<u8>> = fields.map(with_fields).into();
    answers.push(b"HTTP/1.1 103 Early Hints\r\nX: 1\r\n 2\r\n\r\n".to_vec());
    answers.push(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok".to_vec());
    answers.push(b"HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok".to_vec());
    answers.push(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok".to_vec());
    answers.push(b"HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\nok".to_vec());
    become_502(answers).await;
}

#[tokio::test]
async fn framings_that_two_readers_could_understand_differently_become_502() {
    let mut answers = Vec::new();
    for length in [
        "5, 5",
        "5,6",
        "+5",
        "-5",
        "0x5",
        "5x",
        "5 5",
        "",
        "x",
        "5.0",
        "\"5\"",
        "18446744073709551616",
        "99999999999999999999999",
        "5;x",
    ] {
        answers.push(with_fields(format!("Content-Length: {length}").as_bytes()));
    }
    for coding in [
        "gzip, chunked",
        "gzip",
        "identity",
        "xchunked",
        "chunked, chunked",
        "chunked, identity",
        "identity, chunked",
        "chunked,",
        "chunked;x",
        "\"chunked\"",
        "\x0bchunked",
        "",
        "chunked x",
    ] {
        answers.push(with_fields(
            format!("Transfer-Encoding: {coding}").as_bytes(),
        ));
    }
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\ncontent-length: x",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Connection: content-length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    ] {
        answers.push(with_fields(fields.as_bytes()));
    }
    answers.push(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec());
    answers.push(
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            .to_vec(),
    );
    become_502(answers).await;
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_becomes_502() {
    become_502(vec![
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec(),
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            .to_vec(),
    ])
    .await;
}

#[tokio::test]
async fn a_head_that_never_ends_becomes_502() {
    let long = "x".repeat(2 * 1024 * 1024);
    let many = "X: 1\r\n".repeat(200_000);
    become_502(vec![
        format!("HTTP/1.1 200 OK\r\nX: {long}").into(),
        format!("HTTP/1.1 200 OK\r\n{many}").into(),
        long.into(),
    ])
    .await;
}

#[tokio::test]
async fn no_answer_at_all_or_half_a_head_becomes_502() {
    let (mut script, proxy) = one_script().await;
    for part in [
        "",
        "H",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
    ] {
        for resets in [false, true] {
            let answer = proxy.fetch(post("/", "x"));
            let (mut inside, _) = script.asked().await;
            inside.send(part).await;
            match resets {
                true => inside.reset(),
                false => drop(inside),
            }
            let answer = within("502", answer).await.unwrap().unwrap();
            assert_eq!(answer.status(), 502, "{part:?}");
            let word = answer.field("x-tidegate-error").unwrap();
            let words = ["upstream_reset", "bad_response"];
            assert!(
                words[..if part.is_empty() { 1 } else { 2 }].contains(&word),
                "{part:?}: {word}"
            );
        }
    }
}

/// The answer has begun, so that a GET may not be sent again either.
#[tokio::test]
async fn half_a_head_is_not_tried_again() {
    let (mut script, proxy) = one_script().await;
    let answer = proxy.fetch(get("/"));
    let (mut inside, _) = script.asked().await;
    inside.send("HTTP/1.1 200 OK\r\nX-").await;
    drop(inside);
    assert_eq!(within("502", answer).await.unwrap().unwrap().status(), 502);
    assert_eq!(script.connections(), 1);
}

#[tokio::test]
async fn bad_chunks_are_never_the_end_of_an_answer() {
    let (mut script, proxy) = one_script().await;
    for bad in [
        "-5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5 \r\nhello\r\n",
        "g\r\n",
        "\r\n",
        "5\nhello\r\n",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "0000000000000005\r\nhello\r\n",
        "ffffffffffffffff\r\nhello\r\n",
        "10000000000000005\r\nhello\r\n",
        "5;a\nb\r\nhello\r\n",
        "0\n\n",
        "0\r\n\n",
        "0\r\nX : 1\r\n\r\n",
        "0\r\n X: 1\r\n\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\nX: 1\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "-0\r\n\r\n",
        "0x0\r\n\r\n",
    ] {
        // With the head in the same piece, and behind one that is with the client already.
        for waits in [false, true] {
            let mut client = proxy.client().await;
            client.send(get("/")).await;
            let (mut inside, _) = script.asked().await;
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n";
            let rest = format!("{bad}0\r\n\r\n");
            if waits {
                inside.send(head).await;
                client.next_head().await;
                inside.send(rest).await;
                let (all, _) = client.end().await;
                let shown = all.escape_ascii();
                assert!(
                    !all.ends_with(b"\r\n0\r\n\r\n"),
                    "{bad:?}: complete: {shown}"
                );
            } else {
                inside.send([head, &rest].concat()).await;
                if let Ok(answer) = within("the end", client.response()).await {
                    assert_eq!(answer.verdict(), (502, Some("bad_response")), "{bad:?}");
                }
            }
            inside.end().await;
            proxy.until_idle().await;
        }
    }
}

/// Answers of which more comes than they say: complete for the client, and the rest for nobody.
#[tokio::test]
async fn bytes_behind_an_answer_reach_nobody_and_end_its_connection() {
    let (mut script, proxy) = one_script().await;
    for (method, answer, body) in [
        ("GET", "200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("GET", "200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "ok",
        ),
        ("POST", "200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("GET", "204 No Content\r\n\r\n", ""),
        ("GET", "304 Not Modified\r\nContent-Length: 44\r\n\r\n", ""),
        ("HEAD", "200 OK\r\nContent-Length: 44\r\n\r\n", ""),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
    ] {
        for behind in [
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            "\r\n",
            "x",
        ] {
            let mut client = proxy.client().await;
            client.send(post("/", "").replace("POST", method)).await;
            let (mut inside, _) = script.asked().await;
            inside.send(format!("HTTP/1.1 {answer}{behind}")).await;
            if method == "HEAD" {
                assert_eq!(client.next_head().await.status(), 200);
            } else {
                assert_eq!(client.answer().await.text(), body, "{method} {answer}");
            }
            proxy.until_idle().await;
            // Another one, and the same again, both meet a connection of their own.
            let mut other = proxy.client().await;
            for client in [&mut other, &mut client] {
                client.send(get("/next")).await;
                let (mut next, request) = script.asked().await;
                assert_eq!(request.path(), "/next", "{method} {answer}");
                next.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngood")
                    .await;
                assert_eq!(client.answer().await.text(), "good", "{method} {answer}");
            }
        }
    }
}

#[tokio::test]
async fn late_bytes_on_an_idle_connection_reach_nobody() {
    let (mut script, proxy) = one_script().await;
    for (late, request) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            get("/next"),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            post("/next", "x"),
        ),
        (
            "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            get("/next"),
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n", get("/next")),
        ("\r\n", post("/next", "x")),
        ("x", get("/next")),
    ] {
        let mut client = proxy.client().await;
        client.send(get("/first")).await;
        let (mut inside, _) = script.asked().await;
        inside.send(ok("first")).await;
        assert_eq!(client.answer().await.text(), "first");
        // The count goes back after the connection was put away.
        proxy.until_idle().await;
        inside.send(late).await;
        client.send(&request).await;
        let (mut next, asked) = script.asked().await;
        assert_eq!(asked.path(), "/next", "{late:?}");
        next.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngood")
            .await;
        assert_eq!(client.answer().await.text(), "good", "{late:?}");
        let (left, _) = inside.end().await;
        assert!(
            !contains(&left, b"/next"),
            "{late:?}: it was sent there first"
        );
    }
}

/// A backend that answers twice, under many clients: each gets its own answer.
#[tokio::test]
async fn answers_that_come_twice_are_never_mixed_up() {
    let script = Script::serving(|request| {
        let answer = ok(request.path());
        [
            answer.as_slice(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ]
        .concat()
    })
    .await;
    let proxy = Proxy::before(&script).await;
    let clients = (0..10).map(|number| {
        let proxy = &proxy;
        async move {
            let mut client = proxy.client().await;
            for round in 0..20 {
                let path = format!("/{number}/{round}");
                assert_eq!(client.ask(get(&path)).await.text(), path);
            }
        }
    });
    futures_util::future::join_all(clients).await;
}
