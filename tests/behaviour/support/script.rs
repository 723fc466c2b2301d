//! A backend on a bare socket: the test itself plays it, byte by byte.
//!
//! Each connection is handed to the test, unread, when its first byte is there. Only probes
//! (`GET /up`) are answered by themselves; a connection that carries nothing else is not counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::http::{Message, Wire};
use super::within;

/// What a script that plays itself answers to a request.
type Reply = Arc<dyn Fn(&Message) -> Vec<u8> + Send + Sync>;

/// See the module's words.
pub struct Script {
    pub address: String,
    connections: Arc<AtomicUsize>,
    accepted: mpsc::UnboundedReceiver<Wire<TcpStream>>,
    accepting: AbortHandle,
}

impl Script {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    pub async fn at(address: &str) -> Self {
        Self::run(address, None).await
    }

    /// One that answers every request by itself, on any number of connections, each of which it
    /// closes after an answer that says so.
    pub async fn serving(reply: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::run("127.0.0.1:0", Some(Arc::new(reply))).await
    }

    async fn run(address: &str, reply: Option<Reply>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let (hand_over, accepted) = mpsc::unbounded_channel();
        let counted = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (counted, hand_over, reply) =
                    (Arc::clone(&counted), hand_over.clone(), reply.clone());
                tokio::spawn(async move {
                    let Some(wire) = past_probes(Wire::new(stream)).await else {
                        return;
                    };
                    counted.fetch_add(1, Ordering::SeqCst);
                    match reply {
                        Some(reply) => serve(wire, &reply).await,
                        None => drop(hand_over.send(wire)),
                    }
                });
            }
        });
        Self {
            address,
            connections,
            accepted,
            accepting: accepting.abort_handle(),
        }
    }

    /// The next connection on which something other than a probe has come.
    pub async fn accepted(&mut self) -> Wire<TcpStream> {
        let accepted = within("a connection to the backend", self.accepted.recv()).await;
        accepted.unwrap()
    }

    /// The next connection, with its first request read.
    pub async fn asked(&mut self) -> (Wire<TcpStream>, Message) {
        let mut wire = self.accepted().await;
        let request = wire.asked().await;
        (wire, request)
    }

    /// Connections so far that carried something other than probes.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers probes until something else comes.
async fn past_probes(mut wire: Wire<TcpStream>) -> Option<Wire<TcpStream>> {
    while wire.begins_with(b"GET /up ").await.ok()?? {
        wire.request().await.ok()?;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        wire.stream.write_all(answer).await.ok()?;
    }
    Some(wire)
}

async fn serve(mut wire: Wire<TcpStream>, reply: &Reply) {
    while let Ok(Some(request)) = wire.request().await {
        let answer = reply(&request);
        let closes = contains(&answer, b"\r\nConnection: close\r\n");
        if wire.stream.write_all(&answer).await.is_err() || closes {
            return;
        }
    }
}

/// Whether `part` stands somewhere in `all`.
pub fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// An answer with a body of a known length.
pub fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}
