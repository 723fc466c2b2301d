//! Following the events: an answer without an end, read document by document.
//!
//! Bounded: a line has [`LINE_BYTES_MAX`], and a proxy that is silent for [`SILENT_KEEP_ALIVES`] of its
//! own keep-alives is gone.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Response, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::{Ask, Client, Endpoint, MARGIN, Sender, Unreachable, WHERE, read_all};
use crate::admin::follow::{KEEP_ALIVE, MEDIA};

/// Bytes of a line at most; an event has a few hundred.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// So many keep-alives in a row that do not come are the end. Counted one by one and not as one long
/// clock, which would have run out for a process that was stopped and continued (Ctrl-Z, `fg`).
const SILENT_KEEP_ALIVES: usize = 3;

/// What came of asking to follow.
pub enum Followed {
    /// The stream.
    Stream(Stream),
    /// Another document, whose `outcome` says why there is no stream.
    Answered(Value),
}

/// A stream of documents.
pub struct Stream {
    endpoint: Endpoint,
    body: Incoming,
    /// What was read and is not told yet.
    held: BytesMut,
    /// The connection lives as long as this.
    _sender: Sender,
}

/// How a stream ended that has no end of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    from: Endpoint,
    cause: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the stream of events from {} ended: {}",
            self.from, self.cause
        )
    }
}

impl Client {
    /// Asks for a stream.
    pub async fn follow(&self, ask: &Ask) -> Result<Followed, Unreachable> {
        let late = |_| self.unreachable("no answer in time", WHERE);
        let opened = timeout(MARGIN, self.opened(ask)).await;
        let (response, sender) = opened.map_err(late)??;
        let media = response.headers().get(header::CONTENT_TYPE);
        if media.is_none_or(|media| media != MEDIA) {
            let bytes = timeout(MARGIN, read_all(response)).await.map_err(late)?;
            let bytes = bytes.map_err(|cause| self.unreachable(&cause, WHERE))?;
            return self.document(&bytes).map(Followed::Answered);
        }
        Ok(Followed::Stream(Stream {
            endpoint: self.endpoint.clone(),
            body: response.into_body(),
            held: BytesMut::new(),
            _sender: sender,
        }))
    }

    async fn opened(&self, ask: &Ask) -> Result<(Response<Incoming>, Sender), Unreachable> {
        match &self.endpoint {
            Endpoint::Unix(path) => {
                let stream = self.connected(UnixStream::connect(path)).await?;
                self.opened_on(stream, ask).await
            }
            Endpoint::Tcp { host, port } => {
                let connecting = TcpStream::connect((host.as_str(), *port));
                let stream = self.connected(connecting).await?;
                self.opened_on(stream, ask).await
            }
        }
    }

    async fn opened_on<S>(
        &self,
        stream: S,
        ask: &Ask,
    ) -> Result<(Response<Incoming>, Sender), Unreachable>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lost = |error: hyper::Error| self.unreachable(&error.to_string(), WHERE);
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = opened.map_err(lost)?;
        // Ends when the answer is read or dropped; what went wrong is told to who reads.
        tokio::spawn(connection);
        let request = self
            .request(ask)
            .map_err(|error| self.unreachable(&error.to_string(), WHERE))?;
        let response = sender.send_request(request).await.map_err(lost)?;
        Ok((response, sender))
    }
}

impl Stream {
    /// The next document, as it was written.
    pub async fn next(&mut self) -> Result<String, Ended> {
        loop {
            let line = self.line().await.map_err(|cause| Ended {
                from: self.endpoint.clone(),
                cause,
            })?;
            // Each of our events has one line of data; names, ids and comments are for others.
            if let Some(data) = line.strip_prefix("data:") {
                return Ok(data.trim().to_owned());
            }
        }
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut searched = 0;
        loop {
            let end = memchr::memchr(b'\n', &self.held[searched..]);
            if let Some(end) = end.map(|end| end + searched) {
                let line = self.held.split_to(end);
                self.held.advance(1);
                let line = std::str::from_utf8(&line);
                return Ok(line.map_err(|error| error.to_string())?.to_owned());
            }
            if self.held.len() > LINE_BYTES_MAX {
                return Err(format!(
                    "it sent a line of more than {LINE_BYTES_MAX} bytes"
                ));
            }
            searched = self.held.len();
            let more = self.more().await?;
            self.held.extend_from_slice(&more);
        }
    }

    async fn more(&mut self) -> Result<Bytes, String> {
        for _ in 0..SILENT_KEEP_ALIVES {
            let Ok(frame) = timeout(KEEP_ALIVE, self.body.frame()).await else {
                continue;
            };
            return match frame {
                Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => Err(format!("the connection was lost ({error})")),
                None => Err("the proxy closed it".to_owned()),
            };
        }
        Err(format!(
            "nothing came for {:?}",
            KEEP_ALIVE * u32::try_from(SILENT_KEEP_ALIVES).unwrap_or(1)
        ))
    }
}
