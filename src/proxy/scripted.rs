//! The relay over scripted ends instead of sockets, for property tests and the fuzz target `exchange`.
//!
//! Each end is bytes that it sends, cut into pieces as told, and what it does when they are out. What
//! the other end got is the result. No claim, no pool, no retry: one request, one connection.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::buffer::Input;
use super::clock::Timer;
use super::failure::Failure;
use super::http1::{Asked, Bounds, Forwarded, HeadEnd, RequestHead, slots};
use super::relay::{Clocks, Down, Peer, Step, Talk, Terms, Up, tunnel};
use crate::backend::Exchange;

/// What an end does when it has sent all its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// It closes its sending half.
    Close,
    /// It keeps its connection and is silent.
    Silence,
    /// Its connection breaks.
    Reset,
}

/// One end.
#[derive(Clone, Debug)]
pub struct End {
    /// What it sends.
    pub sends: Vec<u8>,
    /// The sizes of the pieces in which its bytes come, over and over; 0 is a pause. What it is sent,
    /// it takes in such pieces too.
    pub pieces: Vec<u8>,
    /// It sends nothing before what it got ends with this.
    pub behind: Vec<u8>,
    /// What it does when all is sent.
    pub then: Then,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relayed {
    /// What the client got.
    pub to_client: Vec<u8>,
    /// What the backend got.
    pub to_server: Vec<u8>,
    /// The status of the answer that went to the client whole, or the error word.
    pub ended: Result<u16, &'static str>,
    /// Whether the client was told that its connection is kept.
    pub keeps_client: bool,
    /// Whether the backend took the whole request.
    pub is_sent: bool,
}

/// A socket that is not ready for a while, however often it is asked.
#[derive(Default)]
struct Pause(Option<Pin<Box<Sleep>>>);

impl Pause {
    fn poll(&mut self, context: &mut Context<'_>, length: Duration) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep(length)));
        ready!(sleep.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(())
    }
}

/// On a clock that stands still while anything moves. Much is read during one pause of a writer.
const READ_PAUSE: Duration = Duration::from_millis(1);
const WRITE_PAUSE: Duration = Duration::from_millis(10);

struct Stream {
    end: End,
    at: usize,
    piece: usize,
    paused: Pause,
    got: Vec<u8>,
    got_piece: usize,
    got_paused: Pause,
    /// Who waits for what is to be got first.
    reader: Option<Waker>,
}

impl Stream {
    fn new(end: End) -> Self {
        Self {
            end,
            at: 0,
            piece: 0,
            paused: Pause::default(),
            got: Vec::new(),
            got_piece: 0,
            got_paused: Pause::default(),
            reader: None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.got.ends_with(&self.end.behind) {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let left = self.end.sends.len() - self.at;
        if left == 0 {
            return match self.end.then {
                Then::Close => Poll::Ready(Ok(())),
                Then::Silence => Poll::Pending,
                Then::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            };
        }
        let piece = match self.end.pieces.len() {
            0 => left,
            count => usize::from(self.end.pieces[self.piece % count]),
        };
        if piece == 0 {
            ready!(self.paused.poll(context, READ_PAUSE));
        }
        self.piece += 1;
        let take = piece.max(1).min(left).min(buffer.remaining());
        let at = self.at;
        buffer.put_slice(&self.end.sends[at..at + take]);
        self.at += take;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let piece = match self.end.pieces.len() {
            0 => bytes.len(),
            count => usize::from(self.end.pieces[self.got_piece % count]),
        };
        if piece == 0 {
            ready!(self.got_paused.poll(context, WRITE_PAUSE));
        }
        self.got_piece += 1;
        let take = piece.max(1).min(bytes.len());
        self.got.extend_from_slice(&bytes[..take]);
        // Not before: a wake-up too many would hide one that is lost.
        if self.got.ends_with(&self.end.behind)
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        Poll::Ready(Ok(take))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Relays one exchange. The request's head is all there at once: how it comes is the front's
/// business; its body and the whole answer come in the pieces of the script. `None` if the head is
/// refused. To be run on paused time, so that silence ends.
pub async fn relay(client: End, server: End) -> Option<Relayed> {
    let length = HeadEnd::request().find(&client.sends).ok()??;
    let (head, body) = client.sends.split_at(length);
    let mut room = slots();
    let bounds = Bounds {
        fields_max: 100,
        target_bytes_max: 8192,
    };
    let request = RequestHead::parse(head, &mut room, &bounds).ok()?;
    let mut out = Vec::new();
    let forwarded = Forwarded {
        client: "unknown",
        is_trusted: false,
    };
    request.write(&forwarded, &mut out);
    let mut up = Up::new(out, request.framing, true, Instant::now());
    let terms = Terms {
        asked: Asked {
            is_head: request.method == "HEAD",
            upgrade: request.asks_upgrade,
            websocket: request.asks_websocket,
        },
        version: request.version,
        keeps_alive: request.keeps_alive,
        expects_continue: request.expects_continue,
    };
    let mut down = Down::new(terms, Instant::now());
    let exchange = Exchange::new(request.method, request.path, None);
    let body = End {
        sends: body.to_vec(),
        ..client
    };
    let peer = |end| Peer {
        stream: Stream::new(end),
        input: Input::default(),
    };
    let (mut client, mut server) = (peer(body), peer(server));
    let mut timer = Timer::new();
    let clocks = Clocks {
        response_head: Duration::from_secs(60),
        body_idle: Duration::from_secs(60),
        client_idle: Duration::from_secs(30),
        tunnel_idle: Duration::from_secs(3600),
    };
    let talk = Talk {
        client: &mut client,
        server: &mut server,
        up: &mut up,
        down: &mut down,
        exchange: &exchange,
        clocks: &clocks,
        timer: &mut timer,
        stopping: &AtomicBool::new(false),
        is_downs_turn: false,
    };
    let step = talk.run().await;
    let reply = down.reply();
    let status = reply.map_or(0, |reply| reply.status);
    let ended = match step {
        Ok(Step::Answered) => Ok(status),
        Ok(Step::Switching(protocol)) => {
            let ends = (&mut client, &mut server);
            let idle = clocks.tunnel_idle;
            let rest = down.into_rest();
            let ended = tunnel(ends, rest, protocol, &exchange, idle, &mut timer).await;
            ended.map(|()| status)
        }
        Err(failure) => Err(failure),
    };
    Some(Relayed {
        to_client: client.stream.got,
        to_server: server.stream.got,
        ended: ended.map_err(Failure::word),
        keeps_client: reply.is_some_and(|reply| reply.keeps_client),
        is_sent: up.is_sent(),
    })
}
