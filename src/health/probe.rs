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
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    fn http(path: &str, host: Option<&str>, statuses: Statuses) -> HealthSpec {
        HealthSpec {
            timeout: Duration::from_secs(30),
            ..HealthSpec::new(ProbeKind::Http {
                path: path.into(),
                host: host.map(Into::into),
                statuses,
            })
        }
    }

    fn up() -> HealthSpec {
        http("/up", None, Statuses::default())
    }

    async fn listen() -> (TcpListener, Target, Address) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let address = Address::parse(&at.to_string()).unwrap();
        (listener, Target::Tcp(at), address)
    }

    /// An app that reads a request head, gives `answer` and waits for the probe to hang up; what the
    /// probe made of it, and what it sent.
    async fn answered(answer: &[u8], spec: &HealthSpec) -> (Result<String, String>, String) {
        let (listener, target, address) = listen().await;
        let app = async {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, answer).await
        };
        tokio::join!(probe(&target, &address, spec), app)
    }

    async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        // The probe may hang up before it has read all, and that may come back as a reset.
        let _ = stream.write_all(answer).await;
        let _ = stream.read_to_end(&mut request).await;
        String::from_utf8(request).unwrap()
    }

    fn failed(text: &str) -> Result<String, String> {
        Err(text.into())
    }

    #[tokio::test]
    async fn an_expected_status_is_good_and_the_body_is_not_waited_for() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin";
        let (result, request) = answered(answer, &up()).await;
        assert_eq!(result, Ok("status 200".into()));
        let mut lines: Vec<_> = request.trim_end().split("\r\n").collect();
        assert_eq!(lines.remove(0), "GET /up HTTP/1.1");
        let host = lines
            .iter()
            .position(|line| line.starts_with("host: 127.0.0.1:"));
        lines.remove(host.unwrap());
        lines.sort_unstable();
        let agent = concat!("user-agent: tidegate-probe/", env!("CARGO_PKG_VERSION"));
        assert_eq!(lines, ["connection: close", agent]);
    }

    #[tokio::test]
    async fn host_and_query_are_sent_as_configured() {
        let spec = http("/up?deep=1", Some("app.example.com"), Statuses::default());
        let (result, request) = answered(b"HTTP/1.0 204 No Content\r\n\r\n", &spec).await;
        assert_eq!(result, Ok("status 204".into()));
        assert!(
            request.starts_with("GET /up?deep=1 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(request.contains("host: app.example.com\r\n"), "{request}");
    }

    #[tokio::test]
    async fn other_statuses_and_redirects_are_failures() {
        let table = [
            ("503 Service Unavailable", "status 503 (expected 200-299)"),
            (
                "302 Found\r\nLocation: /login",
                "status 302 (redirects are not followed; expected 200-299)",
            ),
            ("304 Not Modified", "status 304 (expected 200-299)"),
        ];
        for (head, cause) in table {
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
            let (result, _) = answered(answer.as_bytes(), &up()).await;
            assert_eq!(result, failed(cause));
        }
        let statuses = Statuses(vec![(200, 204), (401, 401)]);
        let spec = http("/up", None, statuses);
        let (result, _) = answered(b"HTTP/1.1 401 No\r\n\r\n", &spec).await;
        assert_eq!(result, Ok("status 401".into()));
        let (result, _) = answered(b"HTTP/1.1 205 Reset\r\n\r\n", &spec).await;
        assert_eq!(result, failed("status 205 (expected 200-204, 401)"));
    }

    #[tokio::test]
    async fn what_is_no_response_is_a_failure_that_says_what_came() {
        let fields = |count| {
            let fields: String = (0..count).map(|i| format!("x-{i}: y\r\n")).collect();
            format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into_bytes()
        };
        let field_of = |bytes| {
            let value = "y".repeat(bytes);
            format!("HTTP/1.1 200 OK\r\nx: {value}\r\n\r\n").into_bytes()
        };
        let too_large = "response head too large (at most 16 KiB and 100 fields)";
        let table: [(Vec<u8>, Result<String, String>); 6] = [
            (
                b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(),
                failed("not an HTTP/1 response: invalid HTTP version parsed"),
            ),
            (fields(100), Ok("status 200".into())),
            (fields(101), failed(too_large)),
            (field_of(HEAD_BYTES_MAX - 100), Ok("status 200".into())),
            (field_of(HEAD_BYTES_MAX + 1), failed(too_large)),
            (field_of(10 * HEAD_BYTES_MAX), failed(too_large)),
        ];
        for (answer, expected) in table {
            assert_eq!(answered(&answer, &up()).await.0, expected);
        }
    }

    #[tokio::test]
    async fn a_connection_closed_before_the_head_is_a_failure() {
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\nx: y"] {
            let (listener, target, address) = listen().await;
            let app = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 16];
                stream.read_exact(&mut request).await.unwrap();
                stream.write_all(answer).await.unwrap();
                stream.shutdown().await.unwrap();
                stream
            };
            let spec = up();
            let (result, _stream) = tokio::join!(probe(&target, &address, &spec), app);
            assert_eq!(result, failed("connection closed before a response head"));
        }
    }

    #[tokio::test]
    async fn an_app_that_hangs_is_a_timeout_and_loses_the_connection() {
        let (listener, target, address) = listen().await;
        let spec = HealthSpec {
            timeout: Duration::from_millis(50),
            ..up()
        };
        let app = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Half a head is no head either.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            // Ends when the probe hangs up; as a reset, if it did not even read the half.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        };
        let (result, ()) = tokio::join!(probe(&target, &address, &spec), app);
        assert_eq!(result, failed("timeout after 50ms: no response head"));
    }

    #[tokio::test]
    async fn an_app_that_does_not_accept_any_more_is_a_timeout() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        // The kernel takes one connection beyond a backlog of none, and then drops SYNs.
        let listener = socket.listen(0).unwrap();
        let at = listener.local_addr().unwrap();
        let _queued = TcpStream::connect(at).await.unwrap();
        let spec = HealthSpec {
            timeout: Duration::from_millis(50),
            ..HealthSpec::new(ProbeKind::Tcp)
        };
        let address = Address::parse(&at.to_string()).unwrap();
        let result = probe(&Target::Tcp(at), &address, &spec).await;
        assert_eq!(result, failed("timeout after 50ms: not connected"));
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_refused() {
        // Bound, so that no other test gets the port, and not listening.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = socket.local_addr().unwrap();
        let address = Address::parse(&at.to_string()).unwrap();
        for spec in [up(), HealthSpec::new(ProbeKind::Tcp)] {
            let result = probe(&Target::Tcp(at), &address, &spec).await;
            assert_eq!(result, failed("connect: connection refused"));
        }
    }

    #[tokio::test]
    async fn a_tcp_probe_is_good_when_accepted_and_closes_at_once() {
        let (listener, target, address) = listen().await;
        let spec = HealthSpec::new(ProbeKind::Tcp);
        let result = probe(&target, &address, &spec).await;
        assert_eq!(result, Ok("connected".into()));
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sent = Vec::new();
        stream.read_to_end(&mut sent).await.unwrap();
        assert!(sent.is_empty());
    }

    #[tokio::test]
    async fn a_socket_connected_to_itself_is_a_failure() {
        // What the kernel does by chance when it picks the port, done on purpose.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let itself = socket.local_addr().unwrap();
        let spec = HealthSpec::new(ProbeKind::Tcp);
        let clock = Clock::begin(&spec);
        let result = clock.connect(dial(socket, itself)).await.map(drop);
        let cause = "connect: connected to itself, nobody listens";
        assert_eq!(result, Err(cause.to_owned()));
    }

    #[tokio::test]
    async fn unix_sockets_are_probed_with_a_host_of_localhost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let address = Address::Unix(path.clone());
        let target = Target::Unix(path.clone());
        let result = probe(&target, &address, &up()).await;
        assert_eq!(result, failed("connect: no such file or directory"));
        let listener = UnixListener::bind(&path).unwrap();
        let app = async {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, b"HTTP/1.1 200 OK\r\n\r\n").await
        };
        let spec = up();
        let (result, request) = tokio::join!(probe(&target, &address, &spec), app);
        assert_eq!(result, Ok("status 200".into()));
        assert!(request.contains("host: localhost\r\n"), "{request}");
        let tcp = HealthSpec::new(ProbeKind::Tcp);
        let result = probe(&target, &address, &tcp).await;
        assert_eq!(result, Ok("connected".into()));
        drop(listener);
        let result = probe(&target, &address, &tcp).await;
        assert_eq!(result, failed("connect: connection refused"));
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_asked_for_is_a_failure_not_a_panic() {
        let (_listener, target, address) = listen().await;
        let spec = http("/a b", None, Statuses::default());
        let result = probe(&target, &address, &spec).await;
        assert_eq!(result, failed("request: invalid uri character"));
    }
}
