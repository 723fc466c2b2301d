//! How a test shows that a raw request is refused, and that no backend saw it.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{Proxy, Setup, Wire, Witness};

/// A valid request behind each refused one. It must not be answered, nor reach a backend.
pub const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: a.test\r\n\r\n";

pub async fn witnessed() -> (Witness, Proxy) {
    let witness = Witness::start().await;
    let proxy = Proxy::start(Setup::witness(&witness)).await;
    proxy.until_healthy(&["a"]).await;
    (witness, proxy)
}

/// What is wrong with how a raw request was refused, if something is. An engine that waits for
/// more, or leaves the connection open, has not refused.
pub async fn refusal(proxy: &Proxy, raw: &[u8], statuses: &[u16]) -> Result<(), String> {
    let mut client = proxy.client().await;
    // It may be refused before it was all sent.
    let _ = client.stream.write_all(&[raw, BEHIND].concat()).await;
    let ended = tokio::time::timeout(Duration::from_secs(2), client.end()).await;
    let (answers, _) = ended.map_err(|_| "the connection was left open")?;
    let mut answers = Wire::new(std::io::Cursor::new(answers));
    let answer = answers.response().await;
    let answer = answer.map_err(|error| format!("no answer: {error}"))?;
    let (status, word) = answer.verdict();
    let expected = match status {
        405 => "method_not_allowed",
        431 => "too_large",
        _ => "bad_request",
    };
    if !statuses.contains(&status) || word != Some(expected) {
        return Err(format!("answered {status} {word:?}"));
    }
    if !answer.lists("connection", "close") {
        return Err("answered without connection: close".into());
    }
    if answer.field("date").is_none() {
        return Err("answered without a date".into());
    }
    match answers.rest().await.unwrap().as_slice() {
        [] => Ok(()),
        more => Err(format!("answered twice: {}", more.escape_ascii())),
    }
}

/// Sends each case on a connection of its own; says of each that was not refused as it should be.
pub async fn refused_unseen(status: u16, cases: impl IntoIterator<Item = Vec<u8>>) {
    let (witness, proxy) = witnessed().await;
    let mut wrong = Vec::new();
    for raw in cases {
        let shown = raw[..raw.len().min(200)].escape_ascii().to_string();
        if let Err(why) = refusal(&proxy, &raw, &[status]).await {
            wrong.push(format!("{shown}: {why}"));
        }
        let seen = witness.take();
        if seen.connections > 0 || !seen.complete.is_empty() {
            wrong.push(format!("{shown}: the backend saw it: {:?}", seen.complete));
        }
    }
    // What had come late would stand before this.
    let last = proxy.client().await.ask("GET /last HTTP/1.0\r\n\r\n").await;
    assert_eq!(last.text(), "witnessed");
    let seen = witness.take();
    if seen.complete != [("GET /last HTTP/1.1".to_owned(), Vec::new())] {
        wrong.push(format!("the backend saw more: {seen:?}"));
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
