//! A tunnel between two ends that a test plays.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::super::websocket::Sender;
use super::super::websocket::tests::frame;
use super::*;
use crate::backend::CutReason;
use crate::proxy::outgoing::Outgoing;

/// What our Close looks like to the client.
pub(super) const GOING_AWAY: &[u8] = b"\x88\x02\x03\xe9";

pub(super) const FORCED: Result<(), Failure> = Err(Failure::DrainClosed);

/// Far ends of a tunnel.
pub(super) struct Ends {
    pub(super) client: DuplexStream,
    pub(super) server: DuplexStream,
    pub(super) exchange: Arc<Exchange>,
    pub(super) tunnel: JoinHandle<Result<(), Failure>>,
    pub(super) begun: Instant,
}

/// What a tunnel begins with.
pub(super) struct Begin {
    pub(super) protocol: Protocol,
    /// Bytes that are under way in one direction without being read.
    pub(super) room: usize,
    /// What has been read of each side already.
    pub(super) client_sent: Vec<u8>,
    pub(super) server_sent: Vec<u8>,
    pub(super) idle: Duration,
}

impl Begin {
    pub(super) fn with(protocol: Protocol, room: usize) -> Self {
        Self {
            protocol,
            room,
            client_sent: Vec::new(),
            server_sent: Vec::new(),
            idle: Duration::from_secs(3600),
        }
    }

    pub(super) fn open(self) -> Ends {
        let (client, near_client) = duplex(self.room);
        let (server, near_server) = duplex(self.room);
        let exchange = Arc::new(Exchange::new("GET", "/", None));
        let shared = Arc::clone(&exchange);
        let tunnel = async move {
            let mut client = peer(near_client, &self.client_sent);
            let mut server = peer(near_server, &self.server_sent);
            tunnel(
                (&mut client, &mut server),
                Outgoing::new(b"101".to_vec()),
                self.protocol,
                &shared,
                self.idle,
                &mut Timer::new(),
            )
            .await
        };
        Ends {
            client,
            server,
            exchange,
            tunnel: tokio::spawn(tunnel),
            begun: Instant::now(),
        }
    }
}

pub(super) fn peer(stream: DuplexStream, mut sent: &[u8]) -> Peer<DuplexStream> {
    let mut input = Input::default();
    let mut context = Context::from_waker(Waker::noop());
    while !sent.is_empty() {
        let _ = input.poll_fill(&mut context, &mut sent, usize::MAX >> 1);
    }
    Peer { stream, input }
}

pub(super) async fn websocket() -> Ends {
    open(Protocol::WebSocket, 1 << 20).await
}

/// An open tunnel whose client has got the answer to its handshake.
pub(super) async fn open(protocol: Protocol, room: usize) -> Ends {
    let mut ends = Begin::with(protocol, room).open();
    assert_eq!(ends.client_gets(3).await, b"101");
    ends
}

/// Whatever can go on without another byte or a clock has done so.
pub(super) async fn settled() {
    sleep(Duration::from_millis(1)).await;
}

pub(super) async fn gets(stream: &mut DuplexStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

pub(super) async fn rest(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Nothing is there to be read, nor an end.
pub(super) async fn gets_nothing(stream: &mut DuplexStream) {
    let byte = tokio::time::timeout(Duration::from_millis(1), stream.read_u8()).await;
    assert!(byte.is_err(), "{byte:?}");
}

pub(super) fn is_our_masked_close(bytes: &[u8]) -> bool {
    matches!(bytes, [0x88, 0x82, a, b, _, _, first, second]
        if [first ^ a, second ^ b] == [0x03, 0xe9])
}

impl Ends {
    pub(super) fn ask(&self) {
        assert!(self.exchange.ask_cut(0, CutReason::TunnelClose));
    }

    pub(super) async fn client_gets(&mut self, count: usize) -> Vec<u8> {
        gets(&mut self.client, count).await
    }

    pub(super) async fn client_gets_close(&mut self) {
        assert_eq!(self.client_gets(4).await, GOING_AWAY);
    }

    pub(super) async fn server_gets_close(&mut self) {
        let bytes = gets(&mut self.server, 8).await;
        assert!(is_our_masked_close(&bytes), "{bytes:x?}");
    }

    pub(super) async fn client_sends(&mut self, first: u8, payload: &[u8]) {
        let bytes = frame(Sender::Client, first, payload);
        self.client.write_all(&bytes).await.unwrap();
    }

    pub(super) async fn server_sends(&mut self, first: u8, payload: &[u8]) {
        let bytes = frame(Sender::Server, first, payload);
        self.server.write_all(&bytes).await.unwrap();
    }

    pub(super) async fn is_open(&mut self) -> bool {
        settled().await;
        !self.tunnel.is_finished()
    }

    /// How the tunnel ended, in how many whole seconds, and what each end got of it before.
    pub(super) async fn end(mut self) -> (Result<(), Failure>, u64, Vec<u8>, Vec<u8>) {
        let ended = self.tunnel.await.unwrap();
        let took = self.begun.elapsed().as_secs();
        let to_client = rest(&mut self.client).await;
        (ended, took, to_client, rest(&mut self.server).await)
    }

    /// It ended well, at once and without another byte.
    pub(super) async fn ends_clean(self) {
        assert_eq!(self.end().await, (Ok(()), 0, vec![], vec![]));
    }

    /// It was cut when the time was over, without another byte.
    pub(super) async fn ends_forced_at_the_bound(self) {
        assert_eq!(self.end().await, (FORCED, 5, vec![], vec![]));
    }
}
