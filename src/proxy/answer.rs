//! What the proxy answers itself: errors, with the word that says so, and an end that lets the
//! client read it.

use std::future::poll_fn;
use std::io::Write as _;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::buffer::Filled;
use super::date;
use super::failure::{ERROR_FIELD, Failure};
use super::relay::{BODY_READ_MAX, Peer};

/// How long the client may take for an answer of a few hundred bytes.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// How long what a client still sends is read and thrown away after its answer, so that the answer
/// is not lost to a reset (RFC 9112, 9.6), ...
const LINGER_MAX: Duration = Duration::from_secs(10);

/// ... without a byte for so long at most, ...
const LINGER_IDLE: Duration = Duration::from_secs(2);

/// ... and so many bytes.
const LINGER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Answers `failure`. Says whether the client took the answer.
pub(super) async fn answer<C: AsyncWrite + Unpin>(
    client: &mut Peer<C>,
    failure: Failure,
    is_head: bool,
    keeps_alive: bool,
) -> bool {
    let bytes = written(failure, is_head, keeps_alive);
    matches!(
        timeout(WRITE_MAX, client.stream.write_all(&bytes)).await,
        Ok(Ok(()))
    )
}

fn written(failure: Failure, is_head: bool, keeps_alive: bool) -> Vec<u8> {
    let status = failure.status();
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error");
    let word = failure.word();
    let body = format!("{status} {word}\n");
    let mut out = Vec::with_capacity(320);
    // Writing into a vector does not fail.
    let _ = date::with(|date| {
        write!(
            out,
            "HTTP/1.1 {status} {reason}\r\nDate: {date}\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\nCache-Control: no-store\r\n{ERROR_FIELD}: {word}\r\n",
            body.len()
        )
    });
    if let Some(seconds) = failure.retry_after() {
        let _ = write!(out, "Retry-After: {seconds}\r\n");
    }
    if failure == Failure::MethodNotAllowed {
        out.extend_from_slice(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
    }
    if !keeps_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if !is_head {
        out.extend_from_slice(body.as_bytes());
    }
    out
}

/// Ends the connection so that a client that still sends can read its answer: says that no more
/// comes, then reads on within bounds.
pub(super) async fn linger<C: AsyncRead + AsyncWrite + Unpin>(client: &mut Peer<C>) {
    let _ = timeout(LINGER_MAX, async {
        client.stream.shutdown().await?;
        let mut left = LINGER_BYTES_MAX;
        loop {
            let held = client.input.len();
            client.input.consume(held);
            left = left.saturating_sub(held);
            let fill = poll_fn(|context| {
                let Peer { stream, input } = &mut *client;
                input.poll_fill(context, Pin::into_inner(Pin::new(stream)), BODY_READ_MAX)
            });
            match timeout(LINGER_IDLE, fill).await {
                Ok(Ok(Filled::Bytes)) if left > 0 => {}
                _ => return Ok::<(), std::io::Error>(()),
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_its_word_and_whether_the_connection_is_kept() {
        let text = |failure, is_head, keeps| {
            let bytes = written(failure, is_head, keeps);
            let text = String::from_utf8(bytes).unwrap();
            let (before, rest) = text.split_once("Date: ").unwrap();
            let (_, after) = rest.split_once("\r\n").unwrap();
            format!("{before}{after}")
        };
        assert_eq!(
            text(Failure::NoBackend, false, true),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 15\r\n\
             Cache-Control: no-store\r\nx-tidegate-error: no_backend\r\nRetry-After: 1\r\n\r\n\
             503 no_backend\n"
        );
        assert_eq!(
            text(Failure::MethodNotAllowed, true, false),
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\nContent-Length: 23\r\n\
             Cache-Control: no-store\r\nx-tidegate-error: method_not_allowed\r\n\
             Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\nConnection: close\r\n\r\n"
        );
    }

    /// How long a client is lingered for that has its answer and sends a byte `each` so often, or never.
    async fn lingered(each: Option<Duration>) -> Duration {
        let (near, mut far) = tokio::io::duplex(64);
        let mut client = Peer {
            stream: near,
            input: crate::proxy::buffer::Input::default(),
        };
        let begun = tokio::time::Instant::now();
        let sending = async {
            while let Some(each) = each {
                tokio::time::sleep(each).await;
                far.write_all(b"x").await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = linger(&mut client) => begun.elapsed(),
            () = sending => unreachable!("it goes on for ever"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_close_is_waited_for_within_bounds() {
        assert_eq!(lingered(None).await.as_secs(), 2, "silent");
        let drips = Some(Duration::from_secs(1));
        assert_eq!(lingered(drips).await.as_secs(), 10, "drips");
    }
}
