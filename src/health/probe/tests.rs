//! What a probe sends, what it takes for an answer, and what it says of everything else.

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
