//! One probe: one question to one backend over a connection of its own.
//!
//! Steps: connect, refuse a connection to ourselves, and for HTTP send `GET` and read the response
//! head. The body is not read, redirects are not followed, nothing is reused. One clock,
//! [`HealthSpec::timeout`], covers all steps.
//!
//! What always holds: the connection lives in the future that [`probe`] returns. When the probe is
//! over, or the future is dropped in the middle, the socket is closed; no task is left behind.
//!
//! [`super::Checker`] calls it. The answer is text for people (status, events, logs): what was seen,
//! or the cause of the failure in a form that is tested word by word.

use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

use crate::spec::{Address, HealthSpec, ProbeKind, Statuses, Target};

/// Largest response head that a probe reads, in bytes. A health page needs a tenth of it, session
/// cookies included; past it the probe fails.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most fields of a response head that a probe reads; hyper's own default, said here because the
/// failure names it.
pub const HEAD_FIELDS_MAX: usize = 100;

const HEAD_KIB_MAX: usize = HEAD_BYTES_MAX / 1024;

const USER_AGENT_TEXT: &str = concat!("tidegate-probe/", env!("CARGO_PKG_VERSION"));

/// Asks once. `Ok` is what was seen, `Err` the cause of the failure.
pub async fn probe(
    target: &Target,
    address: &Address,
    spec: &HealthSpec,
) -> Result<String, String> {
    let clock = Clock::begin(spec);
    match target {
        Target::Tcp(to) => {
            let socket = match to.is_ipv4() {
                true => TcpSocket::new_v4(),
                false => TcpSocket::new_v6(),
            };
            let socket = socket.map_err(|error| format!("socket: {}", in_words(&error)))?;
            let stream = clock.connect(dial(socket, *to)).await?;
            ask(stream, address, spec, &clock).await
        }
        Target::Unix(path) => {
            let stream = clock.connect(UnixStream::connect(path)).await?;
            ask(stream, address, spec, &clock).await
        }
    }
}

/// The one clock of a probe.
struct Clock<'a> {
    spec: &'a HealthSpec,
    begun: Instant,
}

impl<'a> Clock<'a> {
    fn begin(spec: &'a HealthSpec) -> Self {
        Self {
            spec,
            begun: Instant::now(),
        }
    }

    async fn connect<S>(
        &self,
        connecting: impl Future<Output = io::Result<S>>,
    ) -> Result<S, String> {
        self.bound("not connected", connecting)
            .await?
            .map_err(|error| format!("connect: {}", in_words(&error)))
    }

    /// `lacking` says what had not happened when the time was over.
    async fn bound<T>(&self, lacking: &str, step: impl Future<Output = T>) -> Result<T, String> {
        let timeout = self.spec.timeout;
        let Some(deadline) = self.begun.checked_add(timeout) else {
            return Ok(step.await);
        };
        let late = |_| format!("timeout after {timeout:?}: {lacking}");
        timeout_at(deadline, step).await.map_err(late)
    }
}

/// Connects to somebody else. A connect to a port of the ephemeral range on which nobody listens may
/// be given that very port as its own, and TCP's simultaneous open then connects the socket to
/// itself: the dead backend would look alive.
async fn dial(socket: TcpSocket, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = socket.connect(to).await?;
    match stream.local_addr()? == stream.peer_addr()? {
        true => Err(io::Error::other("connected to itself, nobody listens")),
        false => Ok(stream),
    }
}

async fn ask<S>(
    stream: S,
    address: &Address,
    spec: &HealthSpec,
    clock: &Clock<'_>,
) -> Result<String, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match &spec.kind {
        ProbeKind::Tcp => Ok("connected".into()),
        ProbeKind::Http {
            path,
            host,
            statuses,
        } => {
            let host = host.clone().unwrap_or_else(|| authority(address));
            let request = request(path, &host)?;
            let answer = clock.bound("no response head", exchange(stream, request));
            judge_status(answer.await??, statuses)
        }
    }
}

fn authority(address: &Address) -> String {
    match address {
        Address::Tcp { .. } => address.to_string(),
        Address::Unix(_) => "localhost".into(),
    }
}

fn request(path: &str, host: &str) -> Result<Request<Empty<Bytes>>, String> {
    Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, USER_AGENT_TEXT)
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| format!("request: {error}"))
}

/// Sends the request and reads the head. The connection is driven in this future, not in a task,
/// so that it ends with it.
async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_FIELDS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let drive = async {
        // Its error, if any, comes out of the answer below, which knows what was being waited for.
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = sender.send_request(request) => match answer {
            Ok(response) => Ok(response.status()),
            Err(error) => Err(broken(&error)),
        },
        never = drive => match never {},
    }
}

fn judge_status(status: StatusCode, expected: &Statuses) -> Result<String, String> {
    let number = status.as_u16();
    let redirects = match number {
        301 | 302 | 303 | 307 | 308 => "redirects are not followed; ",
        _ => "",
    };
    match expected.contains(number) {
        true => Ok(format!("status {number}")),
        false => Err(format!(
            "status {number} ({redirects}expected {})",
            ranges(expected)
        )),
    }
}

fn ranges(statuses: &Statuses) -> String {
    let range = |&(from, to): &(u16, u16)| match from == to {
        true => from.to_string(),
        false => format!("{from}-{to}"),
    };
    let ranges: Vec<_> = statuses.0.iter().map(range).collect();
    ranges.join(", ")
}

/// hyper's error in words about the backend.
fn broken(error: &hyper::Error) -> String {
    if error.is_parse_too_large() {
        format!("response head too large (at most {HEAD_KIB_MAX} KiB and {HEAD_FIELDS_MAX} fields)")
    } else if error.is_parse() {
        format!("not an HTTP/1 response: {error}")
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        "connection closed before a response head".into()
    } else {
        match error.source().and_then(|e| e.downcast_ref::<io::Error>()) {
            Some(cause) => format!("connection: {}", in_words(cause)),
            None => format!("connection: {error}"),
        }
    }
}

/// `Connection refused (os error 111)` as `connection refused`.
fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = match text.split_once(" (os error") {
        Some((text, _)) => text,
        None => &text,
    };
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => "unknown error".into(),
    }
}

#[cfg(test)]
mod tests;
