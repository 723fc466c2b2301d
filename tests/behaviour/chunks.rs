//! Hostile chunks: a chunked body that two readers could understand differently is refused, and no
//! backend sees a complete request made of it.

use crate::support::refusal::{BEHIND, refusal, witnessed};
use crate::support::{Proxy, Script};

/// A chunked POST with this body.
fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    let head = b"POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    [head, body.as_ref()].concat()
}

/// The head may have gone to the backend before the body was seen to be bad, a complete request not.
async fn bodies_refused(statuses: &[u16], bodies: Vec<Vec<u8>>) {
    let (witness, proxy) = witnessed().await;
    let mut wrong = Vec::new();
    for body in bodies {
        let shown = body[..body.len().min(100)].escape_ascii().to_string();
        if let Err(why) = refusal(&proxy, &chunked(&body), statuses).await {
            wrong.push(format!("{shown}: {why}"));
        }
        let complete = witness.take().complete;
        if !complete.is_empty() {
            wrong.push(format!("{shown}: the backend saw {complete:?}"));
        }
    }
    let last = proxy.client().await.ask(BEHIND).await;
    assert_eq!(last.text(), "witnessed");
    let complete = witness.take().complete;
    if complete.len() != 1 {
        wrong.push(format!("the backend saw more: {complete:?}"));
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test]
async fn sizes_of_chunks_that_are_not_plain_hexadecimal_are_refused() {
    let mut bodies = Vec::new();
    for size in [
        &b"+5"[..],
        b"-5",
        b"-0",
        b"0x5",
        b"0X5",
        b"x5",
        b"5h",
        b"$5",
        b"#5",
        b"g",
        b"",
        b" ",
        b" 5",
        b"5 ",
        b"\t5",
        b"5\t",
        b"5 ;x",
        b"\x0b5",
        b"5\x0c",
        b"5\0",
        b"\x005",
        b"5\r",
        b"5\x7f",
        b"\xff",
        b"5,5",
        b"5 5",
        b"5_0",
        b"5.",
        b"5.0",
        b"\"5\"",
        b"{5}",
        b"\\x35",
        b"%35",
        b"\xef\xbc\x95",
        b"\xd9\xa5",
        b";x",
        b"=5",
        b"5=x",
        b"5,x",
        b"5:x",
        b"0000000000000005",
        b"00000000000000000005",
        b"ffffffffffffffff",
        b"FFFFFFFFFFFFFFFFF",
        b"10000000000000005",
        b"100000000000000000000000000000005",
        b"8000000000000000",
    ] {
        bodies.push([size, b"\r\nhello\r\n0\r\n\r\n"].concat());
        // Behind a good chunk too, and in the place of the last one.
        bodies.push([b"1\r\nx\r\n", size, b"\r\nhello\r\n0\r\n\r\n"].concat());
    }
    for zero in [
        "+0",
        "-0",
        "0x0",
        " 0",
        "0 ",
        "00000000000000000",
        "0_0",
        "0.0",
        "o",
        "O",
    ] {
        bodies.push(format!("5\r\nhello\r\n{zero}\r\n\r\n").into());
    }
    bodies_refused(&[400], bodies).await;
}

#[tokio::test]
async fn chunks_without_their_line_ends_are_refused() {
    let bodies = [
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\n\rhello\r\n0\r\n\r\n",
        "5\r\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello\n\r0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "5\r\nhello \r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\r\n",
        "0\n\n",
        "0\r\r",
        "0\r\n\rX",
    ];
    bodies_refused(&[400], bodies.map(Into::into).into()).await;
}

#[tokio::test]
async fn extensions_that_are_oversized_or_broken_are_refused() {
    let long = "x".repeat(64 * 1024);
    let mut bodies: Vec<Vec<u8>> = vec![
        format!("5;{long}\r\nhello\r\n0\r\n\r\n").into(),
        format!("5;a=\"{long}\"\r\nhello\r\n0\r\n\r\n").into(),
        format!("5\r\nhello\r\n0;{long}\r\n\r\n").into(),
        format!("5;{long}").into(),
    ];
    for extension in [
        &b"\n"[..],
        b"a\n",
        b"a\nb",
        b"a\r",
        b"a\rb",
        b"\0",
        b"a\0b",
        b"a=\"\n\"",
        b"\r",
    ] {
        bodies.push([b"5;", extension, b"\r\nhello\r\n0\r\n\r\n"].concat());
        bodies.push([b"5\r\nhello\r\n0;", extension, b"\r\n\r\n"].concat());
    }
    bodies_refused(&[400], bodies).await;
}

#[tokio::test]
async fn trailers_that_are_oversized_or_broken_are_refused() {
    let mut bodies = Vec::new();
    for trailer in [
        &b"X"[..],
        b"X 1",
        b": 1",
        b"X : 1",
        b"X\t: 1",
        b" X: 1",
        b"\tX: 1",
        b"X: 1\r\n 2",
        b"X: 1\n",
        b"X: 1\nY: 2",
        b"X: 1\r",
        b"X: 1\rY: 2",
        b"X: \0",
        b"X: \x01",
        b"X: \x7f",
        b"X\0: 1",
        b"X\x80: 1",
        b"X(: 1",
        b"X Y: 1",
        b"GET /x HTTP/1.1",
        b"Content-Length : 5",
    ] {
        bodies.push([b"5\r\nhello\r\n0\r\n", trailer, b"\r\n\r\n"].concat());
    }
    bodies_refused(&[400], bodies).await;
    let long = "x".repeat(64 * 1024);
    let many = "X: 1\r\n".repeat(20_000);
    let large = [
        format!("0\r\nX: {long}\r\n\r\n"),
        format!("0\r\n{long}: 1\r\n\r\n"),
        format!("0\r\n{many}\r\n"),
        format!("0\r\nX: {long}"),
    ];
    bodies_refused(&[400, 431], large.map(Into::into).into()).await;
}

#[tokio::test]
async fn chunks_that_are_odd_but_sound_pass() {
    let (witness, proxy) = witnessed().await;
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "005\r\nhello\r\n000\r\n\r\n",
        "000000000000005\r\nhello\r\n000000000000000\r\n\r\n",
        "1\r\nh\r\n1\r\ne\r\n3\r\nllo\r\n0\r\n\r\n",
        "5;a\r\nhello\r\n0;b=c\r\n\r\n",
        "5;a=b;c=\"d;e\"\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-T: 1\r\nY-T: 2\r\n\r\n",
    ] {
        let answer = proxy.client().await.ask(chunked(body)).await;
        assert_eq!(answer.text(), "witnessed", "{body:?}");
        assert_eq!(witness.take().complete[0].1, b"hello", "{body:?}");
    }
    let sixteen = format!("a\r\n{0}\r\nA\r\n{0}\r\n0\r\n\r\n", "0123456789");
    proxy.client().await.ask(chunked(sixteen)).await;
    assert_eq!(witness.take().complete[0].1.len(), 20);
}

/// The head and the first chunk are with the backend already: it must see a cut, not an end.
#[tokio::test]
async fn a_body_that_goes_bad_halfway_is_400_for_the_client_and_a_cut_for_the_backend() {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    for bad in [
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX0\r\n\r\n",
        "0\r\nX : 1\r\n\r\n",
        "0\n\n",
        "5\n",
    ] {
        let mut client = proxy.client().await;
        client.send(chunked("5\r\nfirst\r\n")).await;
        let mut inside = script.accepted().await;
        assert_eq!(inside.next_head().await.start, "POST /x HTTP/1.1");
        assert_eq!(inside.chunk().await, b"first");
        client.send([bad.as_bytes(), BEHIND].concat()).await;
        let answer = client.answer().await;
        assert_eq!(answer.verdict(), (400, Some("bad_request")), "{bad:?}");
        assert!(answer.lists("connection", "close"), "{bad:?}");
        assert_eq!(client.end().await.0, b"", "{bad:?}");
        let (rest, _) = inside.end().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{bad:?}: a complete request");
        proxy.until_idle().await;
    }
}

/// With the answer's head on its way there is nothing to say any more; the client sees a cut.
#[tokio::test]
async fn a_body_that_goes_bad_while_the_answer_is_sent_cuts_both_sides() {
    let mut script = Script::start().await;
    let proxy = Proxy::before(&script).await;
    let mut client = proxy.client().await;
    client.send(chunked("5\r\nfirst\r\n")).await;
    let mut inside = script.accepted().await;
    inside.next_head().await;
    inside.chunk().await;
    inside
        .send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        .await;
    assert_eq!(client.next_head().await.status(), 200);
    client.bytes(4).await;
    client.send("-1\r\n\r\n").await;
    assert_eq!(client.end().await.0, b"");
    let (rest, _) = inside.end().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "a complete request");
    proxy.until_idle().await;
}
