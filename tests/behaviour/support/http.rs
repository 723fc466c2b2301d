//! Just enough HTTP/1.1 for both sides of a test, written by hand so that nothing is retried,
//! repaired or hidden: bytes go out as given, framing is checked when it comes in.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// A message as it came in.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Fields behind a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Every value of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter();
        let found = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a field that is a list has this token.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        let values = self.all(name);
        let mut tokens = values.iter().flat_map(|value| value.split(','));
        tokens.any(|known| known.trim().eq_ignore_ascii_case(token))
    }

    pub fn trailer(&self, name: &str) -> Option<&str> {
        let mut trailers = self.trailers.iter();
        let found = trailers.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Status and error word of an answer.
    pub fn verdict(&self) -> (u16, Option<&str>) {
        (self.status(), self.field("x-tidegate-error"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// A connection with what was read ahead.
pub struct Wire<S> {
    pub stream: S,
    ahead: Vec<u8>,
}

/// How the other side ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

fn cut(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, what.to_owned())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until the other side closes; says whether that was orderly.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut all = std::mem::take(&mut self.ahead);
        self.stream.read_to_end(&mut all).await?;
        Ok(all)
    }

    /// Everything up to the other side's end, and how it ended.
    pub async fn end(&mut self) -> (Vec<u8>, End) {
        let all = within("the connection to end", async {
            loop {
                match self.more().await {
                    Ok(0) => return End::Closed,
                    Ok(_) => {}
                    Err(_) => return End::Reset,
                }
            }
        });
        let end = all.await;
        (std::mem::take(&mut self.ahead), end)
    }

    /// Whether the next bytes are these; `None` when the connection ended before its first byte.
    pub async fn begins_with(&mut self, bytes: &[u8]) -> io::Result<Option<bool>> {
        loop {
            let both = self.ahead.iter().zip(bytes);
            if both.into_iter().any(|(one, other)| one != other) {
                return Ok(Some(false));
            }
            if self.ahead.len() >= bytes.len() {
                return Ok(Some(true));
            }
            if self.more().await? == 0 {
                return Ok((!self.ahead.is_empty()).then_some(false));
            }
        }
    }

    /// Sends a request and reads its answer, which is certain to come.
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request).await;
        self.answer().await
    }

    /// The next final answer, which is certain to come.
    pub async fn answer(&mut self) -> Message {
        within("an answer", self.response()).await.unwrap()
    }

    /// The next request, which is certain to come.
    pub async fn asked(&mut self) -> Message {
        let request = within("a request", self.request()).await.unwrap();
        request.expect("a request, not the end of the connection")
    }

    /// The next head of any kind, which is certain to come.
    pub async fn next_head(&mut self) -> Message {
        let head = within("a head", self.head()).await.unwrap();
        head.expect("a head, not the end of the connection")
    }

    /// The next bytes of a body or tunnel, which are certain to come.
    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        within("bytes", self.exactly(count)).await.unwrap()
    }

    /// The next chunk, framing and all, which is certain to come.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let chunk = within("a chunk", self.one_chunk()).await.unwrap();
        chunk.expect("a chunk, not the last one")
    }

    /// The head of a message; `None` when the connection ended before its first byte.
    pub async fn head(&mut self) -> io::Result<Option<Message>> {
        let Some(head) = self.raw_head().await? else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let fields: io::Result<_> = lines.map(field).collect();
        Ok(Some(Message {
            start,
            fields: fields?,
            ..Message::default()
        }))
    }

    /// The bytes of a head, its empty line included.
    pub async fn raw_head(&mut self) -> io::Result<Option<Vec<u8>>> {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.more().await? == 0 {
                return match self.ahead.is_empty() {
                    true => Ok(None),
                    false => Err(cut("in a head")),
                };
            }
        };
        Ok(Some(self.ahead.drain(..end).collect()))
    }

    /// A request with its body.
    pub async fn request(&mut self) -> io::Result<Option<Message>> {
        let Some(mut message) = self.head().await? else {
            return Ok(None);
        };
        if message.field("transfer-encoding").is_some() {
            (message.body, message.trailers) = self.chunks().await?;
        } else if let Some(length) = message.field("content-length") {
            message.body = self.exactly(parsed(length)?).await?;
        }
        Ok(Some(message))
    }

    /// A final response with its body, to a request that was no HEAD.
    pub async fn response(&mut self) -> io::Result<Message> {
        let mut message = loop {
            let message = self.head().await?.ok_or_else(|| cut("before a response"))?;
            if message.status() >= 200 || message.status() == 101 {
                break message;
            }
        };
        if [101, 204, 304].contains(&message.status()) {
            return Ok(message);
        }
        if message.field("transfer-encoding").is_some() {
            (message.body, message.trailers) = self.chunks().await?;
        } else if let Some(length) = message.field("content-length") {
            message.body = self.exactly(parsed(length)?).await?;
        } else {
            message.body = self.rest().await?;
        }
        Ok(message)
    }

    /// Sends a request and reads its response.
    pub async fn exchange(&mut self, request: impl AsRef<[u8]>) -> io::Result<Message> {
        self.stream.write_all(request.as_ref()).await?;
        self.response().await
    }

    pub async fn exactly(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < bytes {
            if self.more().await? == 0 {
                return Err(cut("in a body"));
            }
        }
        Ok(self.ahead.drain(..bytes).collect())
    }

    /// A chunked body and its trailers. Nothing but plain chunks is taken: the proxy sends no others.
    async fn chunks(&mut self) -> io::Result<(Vec<u8>, Vec<(String, String)>)> {
        let mut body = Vec::new();
        while let Some(data) = self.one_chunk().await? {
            body.extend(data);
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok((body, trailers));
            }
            trailers.push(field(&line)?);
        }
    }

    /// The data of the next chunk; `None` behind the line of the last one.
    async fn one_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line().await?;
        if !line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(odd(format!("size of a chunk {line:?}")));
        }
        let size = usize::from_str_radix(&line, 16);
        let size = size.map_err(|e| odd(format!("size of a chunk {line:?}: {e}")))?;
        if size == 0 {
            return Ok(None);
        }
        let data = self.exactly(size).await?;
        match self.exactly(2).await?.as_slice() {
            b"\r\n" => Ok(Some(data)),
            other => Err(odd(format!("{other:?} behind a chunk"))),
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if self.more().await? == 0 {
                return Err(cut("in a chunked body"));
            }
        }
    }

    async fn more(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let read = self.stream.read(&mut buffer).await?;
        self.ahead.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

impl Wire<TcpStream> {
    /// Goes away as a crashed process does: the other side sees a reset.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

fn odd(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn parsed(length: &str) -> io::Result<usize> {
    let length = length.parse();
    length.map_err(|e| odd(format!("content-length: {e}")))
}

fn field(line: &str) -> io::Result<(String, String)> {
    let parts = line.split_once(':');
    let (name, value) = parts.ok_or_else(|| odd(format!("a field {line:?}")))?;
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// A request without a body.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// A request with a body of a known length.
pub fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// What a client is told whose exchange was cut before its answer began.
pub fn assert_drain_closed(answer: io::Result<Message>) {
    let answer = answer.unwrap();
    let word = answer.field("x-tidegate-error");
    assert_eq!((answer.status(), word), (503, Some("drain_closed")));
}
