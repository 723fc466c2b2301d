//! A backend that remembers everything, for tests that show what a backend does *not* get.

use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::http::Wire;

/// What came to a backend, probes aside.
#[derive(Debug, Default)]
pub struct Seen {
    /// Connections on which something came.
    pub connections: usize,
    /// Start lines of requests that came complete, with their bodies.
    pub complete: Vec<(String, Vec<u8>)>,
}

/// Answers every complete request with 200 and `witnessed`; says nothing to anything else.
pub struct Witness {
    pub address: String,
    seen: Arc<Mutex<Seen>>,
    accepting: AbortHandle,
}

impl Witness {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(watch(Wire::new(stream), Arc::clone(&shared)));
            }
        });
        Self {
            address,
            seen,
            accepting: accepting.abort_handle(),
        }
    }

    /// Everything since the last time.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Ends at the first bytes that are no request, or with the connection.
async fn watch(mut wire: Wire<TcpStream>, seen: Arc<Mutex<Seen>>) {
    let mut is_new = true;
    loop {
        match wire.begins_with(b"GET /up ").await {
            Ok(Some(true)) => {}
            Ok(Some(false)) => {
                if std::mem::take(&mut is_new) {
                    seen.lock().unwrap().connections += 1;
                }
            }
            Ok(None) | Err(_) => return,
        }
        let Ok(Some(request)) = wire.request().await else {
            return;
        };
        if request.path() != "/up" {
            let both = (request.start, request.body);
            seen.lock().unwrap().complete.push(both);
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwitnessed";
        if wire.stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
