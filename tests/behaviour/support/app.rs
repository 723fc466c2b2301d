//! A backend with two doors. A request that enters is handed to the test, which releases it with
//! an answer of its choice when it likes; nothing is timed.
//!
//! `GET /up` (the probe) is answered by itself, with the status that the test sets. `GET /quick`
//! is answered by itself too, with the app's name.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::http::{Message, Wire};
use super::within;

/// Either kind of stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    async fn accept(&self) -> Box<dyn Stream> {
        match self {
            Self::Tcp(listener) => Box::new(listener.accept().await.unwrap().0),
            Self::Unix(listener) => Box::new(listener.accept().await.unwrap().0),
        }
    }
}

/// A request that has entered.
pub struct Entered {
    pub request: Message,
    pub wire: Wire<Box<dyn Stream>>,
    back: mpsc::UnboundedSender<Wire<Box<dyn Stream>>>,
}

impl Entered {
    /// Opens the second door: answers, and lets the connection go on.
    pub async fn release(mut self, body: &str) {
        let length = body.len();
        self.wire
            .send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        let _ = self.back.send(self.wire);
    }

    /// Lets the connection go on after the test has answered on `wire` itself.
    pub fn done(self) {
        let _ = self.back.send(self.wire);
    }
}

#[derive(Default)]
struct Counts {
    /// One of so many of `/quick` is answered 500; 0: none.
    one_fails_of: AtomicUsize,
    quick: AtomicUsize,
    last_quick: Mutex<Option<Instant>>,
    hangs: AtomicBool,
    health: AtomicU16,
    probes: AtomicUsize,
    connections: AtomicUsize,
}

/// See the module's words.
pub struct App {
    pub address: String,
    counts: Arc<Counts>,
    entered: mpsc::UnboundedReceiver<Entered>,
    accepting: AbortHandle,
    connections: mpsc::UnboundedReceiver<AbortHandle>,
}

impl App {
    pub async fn start(name: &'static str) -> Self {
        Self::at("127.0.0.1:0", name).await
    }

    pub async fn at(address: &str, name: &'static str) -> Self {
        // One that was killed lets go of its port when its tasks are dropped.
        let listener = within("a free port", async {
            loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => return listener,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        })
        .await;
        let address = listener.local_addr().unwrap().to_string();
        Self::run(address, name, Listening::Tcp(listener))
    }

    pub async fn unix(path: PathBuf, name: &'static str) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        Self::run(
            format!("unix:{}", path.display()),
            name,
            Listening::Unix(listener),
        )
    }

    fn run(address: String, name: &'static str, listening: Listening) -> Self {
        let counts = Arc::new(Counts::default());
        counts.health.store(200, Ordering::SeqCst);
        let (enter, entered) = mpsc::unbounded_channel();
        let (connected, connections) = mpsc::unbounded_channel();
        let shared = Arc::clone(&counts);
        let accepting = tokio::spawn(async move {
            loop {
                let wire = Wire::new(listening.accept().await);
                let connection = converse(wire, name, Arc::clone(&shared), enter.clone());
                let _ = connected.send(tokio::spawn(connection).abort_handle());
            }
        });
        Self {
            address,
            counts,
            entered,
            accepting: accepting.abort_handle(),
            connections,
        }
    }

    /// Waits for the next request to enter.
    pub async fn entered(&mut self) -> Entered {
        within("a request to enter the app", self.entered.recv())
            .await
            .unwrap()
    }

    /// Whether nothing waits at the first door.
    pub fn is_quiet(&self) -> bool {
        self.entered.is_empty()
    }

    /// What the probe is answered from now on.
    pub fn set_health(&self, status: u16) {
        self.counts.health.store(status, Ordering::SeqCst);
    }

    /// From now on one of so many of `/quick` is answered 500.
    pub fn fail_one_of(&self, many: usize) {
        self.counts.one_fails_of.store(many, Ordering::SeqCst);
    }

    /// When the last `/quick` came.
    pub fn last_quick(&self) -> Option<Instant> {
        *self.counts.last_quick.lock().unwrap()
    }

    /// From now on nothing is answered any more, no probe either; connections are taken.
    pub fn hang(&self) {
        self.counts.hangs.store(true, Ordering::SeqCst);
    }

    pub fn probes(&self) -> usize {
        self.counts.probes.load(Ordering::SeqCst)
    }

    /// Connections accepted so far that carried a request other than a probe.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Stops as a killed process does: the listener and every connection are gone.
    pub fn kill(&mut self) {
        self.accepting.abort();
        while let Ok(connection) = self.connections.try_recv() {
            connection.abort();
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn converse(
    mut wire: Wire<Box<dyn Stream>>,
    name: &'static str,
    counts: Arc<Counts>,
    enter: mpsc::UnboundedSender<Entered>,
) {
    let mut is_first = true;
    while let Ok(Some(request)) = wire.request().await {
        if counts.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if request.path() == "/up" {
            counts.probes.fetch_add(1, Ordering::SeqCst);
            let status = counts.health.load(Ordering::SeqCst);
            wire.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"))
                .await;
            continue;
        }
        if std::mem::take(&mut is_first) {
            counts.connections.fetch_add(1, Ordering::SeqCst);
        }
        if request.path().split('?').next() == Some("/quick") {
            let length = name.len();
            *counts.last_quick.lock().unwrap() = Some(Instant::now());
            let number = counts.quick.fetch_add(1, Ordering::SeqCst);
            let status = match counts.one_fails_of.load(Ordering::SeqCst) {
                many @ 1.. if number.is_multiple_of(many) => "500 X",
                _ => "200 OK",
            };
            wire.send(format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{name}"
            ))
            .await;
            continue;
        }
        let (back, mut returned) = mpsc::unbounded_channel();
        let handed = Entered {
            request,
            wire,
            back,
        };
        if enter.send(handed).is_err() {
            return;
        }
        match returned.recv().await {
            Some(again) => wire = again,
            None => return,
        }
    }
}
