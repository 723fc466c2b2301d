//! The other end: asks the admin API, over its unix socket or TCP, one connection for each question,
//! and follows its events ([`Client::follow`]).
//!
//! What is no answer of tidegate, for whatever reason, is [`Unreachable`]: the command line ends with
//! its own exit code for it, because nobody said what became of the operation.

mod stream;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::spec::{Invalid, parse_socket_path, split_host_port};

pub use stream::{Ended, Followed, Stream};

type Sender = http1::SendRequest<Full<Bytes>>;

/// Establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Beyond what the caller waits for: for the operation itself and the way.
const MARGIN: Duration = Duration::from_secs(30);

/// Bytes of an answer at most: the status of the most pools and backends there can be fits.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where the admin API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP, with a token.
    Tcp {
        /// Host name or IP literal.
        host: String,
        /// Its port.
        port: u16,
    },
}

impl Endpoint {
    /// Reads `unix:/path`, a bare path or `http://host:port`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Some(rest) = text.strip_prefix("http://") {
            let (host, port) = split_host_port(rest.strip_suffix('/').unwrap_or(rest))?;
            return Ok(Self::Tcp { host, port });
        }
        match text.strip_prefix("unix:").unwrap_or(text) {
            path if path.starts_with('/') => parse_socket_path(path).map(Self::Unix),
            _ => Err(Invalid("unix:/path, /path or http://host:port".to_owned())),
        }
    }

    fn authority(&self) -> String {
        match self {
            // The name in the examples; any will do.
            Self::Unix(_) => "tidegate".to_owned(),
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { .. } => write!(f, "http://{}", self.authority()),
        }
    }
}

/// Nobody answered, or nobody who is tidegate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unreachable {
    /// Who, and why.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// One question.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// `GET`, `POST` …
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// A JSON body.
    pub body: Option<Value>,
    /// How long the answer may take beyond the usual, because the operation waits.
    pub patience: Duration,
}

impl Ask {
    /// A look at something, which does not wait.
    pub fn get(target: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            target: target.into(),
            body: None,
            patience: Duration::ZERO,
        }
    }
}

/// Asks one endpoint.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    token: Option<String>,
}

impl Client {
    /// A client that sends `token`, if there is one.
    pub fn new(endpoint: Endpoint, token: Option<String>) -> Self {
        Self { endpoint, token }
    }

    /// The document that was answered; its `outcome` says what became of it.
    pub async fn ask(&self, ask: &Ask) -> Result<Value, Unreachable> {
        let answered =
            tokio::time::timeout(ask.patience.saturating_add(MARGIN), self.exchange(ask));
        let bytes = match answered.await {
            Ok(bytes) => bytes?,
            Err(_) => return Err(self.unreachable("no answer in time", LOST)),
        };
        self.document(&bytes)
    }

    fn document(&self, bytes: &[u8]) -> Result<Value, Unreachable> {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(document) if document.get("outcome").is_some() => Ok(document),
            _ => Err(Unreachable {
                message: format!(
                    "what answers at {} is not tidegate's admin API",
                    self.endpoint
                ),
                hint: WHERE.to_owned(),
            }),
        }
    }

    async fn exchange(&self, ask: &Ask) -> Result<Bytes, Unreachable> {
        match &self.endpoint {
            Endpoint::Unix(path) => {
                let stream = self.connected(UnixStream::connect(path)).await?;
                self.exchange_on(stream, ask).await
            }
            Endpoint::Tcp { host, port } => {
                let stream = self
                    .connected(TcpStream::connect((host.as_str(), *port)))
                    .await?;
                self.exchange_on(stream, ask).await
            }
        }
    }

    async fn connected<S>(
        &self,
        connecting: impl Future<Output = io::Result<S>>,
    ) -> Result<S, Unreachable> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(self.unreachable("permission denied", PERMITTED))
            }
            Err(error) => Err(self.unreachable(&in_words(&error), WHERE)),
        }
    }

    async fn exchange_on<S>(&self, stream: S, ask: &Ask) -> Result<Bytes, Unreachable>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lost = |error: hyper::Error| self.unreachable(&error.to_string(), LOST);
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let request = self
            .request(ask)
            .map_err(|error| self.unreachable(&error.to_string(), WHERE))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(lost)?;
            let read = read_all(response).await;
            read.map_err(|cause| self.unreachable(&cause, LOST))
        };
        // Both in this task: dropping the question drops the connection.
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(&ask.target)
            .header(header::HOST, self.endpoint.authority())
            .header(header::CONNECTION, "close");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match &ask.body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        request.body(Full::new(body))
    }

    fn unreachable(&self, cause: &str, hint: &str) -> Unreachable {
        Unreachable {
            message: format!("cannot reach tidegate at {}: {cause}", self.endpoint),
            hint: hint.to_owned(),
        }
    }
}

async fn read_all(response: Response<Incoming>) -> Result<Bytes, String> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let body = body.collect().await.map_err(|error| error.to_string())?;
    Ok(body.to_bytes())
}

const WHERE: &str = "is it running? --admin or TIDEGATE_ADMIN says where";
const PERMITTED: &str = "you must be its owner or in the socket's group; `id` shows your groups";
const LOST: &str = "what was begun may go on; `tidegate status` shows";

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_read_as_they_are_written() {
        let socket = Endpoint::Unix("/run/a.sock".into());
        assert_eq!(Endpoint::parse("unix:/run/a.sock"), Ok(socket.clone()));
        assert_eq!(Endpoint::parse("/run/a.sock"), Ok(socket));
        for text in [
            "http://127.0.0.1:9901",
            "http://[::1]:9901",
            "http://admin.internal:1",
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "run/a.sock",
            "https://a:1",
            "http://a",
            "http://a:1/x",
            "unix:a",
            "a:1",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_socket_is_said_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let client = Client::new(Endpoint::Unix(path.clone()), None);
        let unreachable = client.ask(&Ask::get("/v1/status")).await.unwrap_err();
        let at = path.display();
        assert_eq!(
            unreachable,
            Unreachable {
                message: format!("cannot reach tidegate at unix:{at}: no such file"),
                hint: WHERE.to_owned(),
            }
        );
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let unreachable = client.ask(&Ask::get("/v1/status")).await.unwrap_err();
        assert_eq!(
            unreachable.message,
            format!("cannot reach tidegate at unix:{at}: connection refused")
        );
    }
}
