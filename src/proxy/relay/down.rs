//! The answer on its way to the client.
//!
//! States: *head* (interim answers may come first) -> *body* -> *done*. What is made of the body's
//! framing depends on both sides: chunks go on as chunks, to an HTTP/1.0 client without them; a body
//! that ends with the connection goes out in chunks, so that the client can tell its end from a cut.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{BODY_READ_MAX, Failure, Peer, Protocol, Step, Waits};
use crate::backend::Exchange;
use crate::proxy::buffer::Filled;
use crate::proxy::date;
use crate::proxy::http1::{
    Asked, Bad, Body, Chunks, Downstream, Framing, HeadEnd, ResponseHead, Version, slots,
};
use crate::proxy::http1::{CHUNK_END, LAST_CHUNK, chunk_head};
use crate::proxy::outgoing::Outgoing;

/// Largest head of a response, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Room for what a head gains on its way, and for a small body behind it.
const GAIN: usize = 256;

/// Interim answers to one request.
const INTERIM_MAX: u32 = 64;

/// What the request and the proxy say about the answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Terms {
    pub(in crate::proxy) asked: Asked,
    /// The client's version.
    pub(in crate::proxy) version: Version,
    /// Whether the client would keep its connection.
    pub(in crate::proxy) keeps_alive: bool,
    /// The client waits for a 100 before it sends its body.
    pub(in crate::proxy) expects_continue: bool,
}

/// What the head of the answer said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct Reply {
    pub(in crate::proxy) status: u16,
    /// The client was told that its connection is kept.
    pub(in crate::proxy) keeps_client: bool,
    /// The backend would keep its own, ...
    pub(in crate::proxy) keeps_server: bool,
    /// ... for so long.
    pub(in crate::proxy) server_idle: Option<Duration>,
    /// The client learns the end of the body from the end of its connection.
    pub(in crate::proxy) ends_at_close: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Head,
    Body,
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Recode {
    As(Chunks),
    /// Until close becomes chunks.
    IntoChunks,
}

/// See the module's words.
pub(in crate::proxy) struct Down {
    state: State,
    terms: Terms,
    scan: HeadEnd,
    body: Body,
    recode: Recode,
    out: Outgoing,
    interim: u32,
    is_starved: bool,
    has_begun: bool,
    is_written: bool,
    reply: Option<Reply>,
    waits: Waits,
    since: Instant,
}

impl Down {
    pub(in crate::proxy) fn new(terms: Terms, begun: Instant) -> Self {
        Self {
            state: State::Head,
            terms,
            scan: HeadEnd::response(),
            body: Body::new(Framing::None),
            recode: Recode::As(Chunks::Keep),
            out: Outgoing::default(),
            interim: 0,
            is_starved: false,
            has_begun: false,
            is_written: false,
            reply: None,
            waits: Waits::Nobody,
            since: begun,
        }
    }

    /// A byte came from the backend: another try is out of the question.
    pub(in crate::proxy) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// A byte of a final answer, or half an interim one, went to the client: no other can be given.
    pub(in crate::proxy) fn is_written(&self) -> bool {
        self.is_written || self.out.is_in_head()
    }

    /// The final head, once it has come.
    pub(in crate::proxy) fn reply(&self) -> Option<Reply> {
        self.reply
    }

    /// What is still to be written of a 101, when the tunnel takes over.
    pub(in crate::proxy) fn into_rest(self) -> Outgoing {
        self.out
    }

    pub(super) fn is_in_body(&self) -> bool {
        self.state == State::Body
    }

    /// The client waits for a word of the backend.
    pub(super) fn is_expected(&self) -> bool {
        self.terms.expects_continue && !self.has_begun
    }

    pub(super) fn waits(&self) -> Waits {
        self.waits
    }

    /// When a byte of the answer moved last.
    pub(in crate::proxy) fn since(&self) -> Instant {
        self.since
    }

    /// Moves what can be moved now. `may_keep_client`: its request is here, and another would be taken.
    pub(super) fn poll<C, S>(
        &mut self,
        context: &mut Context<'_>,
        (client, server): (&mut Peer<C>, &mut Peer<S>),
        may_keep_client: bool,
        exchange: &Exchange,
        now: Instant,
    ) -> Poll<Result<Step, Failure>>
    where
        C: AsyncWrite + Unpin,
        S: AsyncRead + Unpin,
    {
        loop {
            let loaded = self.load(server, may_keep_client, exchange, now);
            if let Some(step) = loaded.map_err(Self::bad)? {
                return Poll::Ready(Ok(step));
            }
            while !self.out.is_empty() {
                self.waits = Waits::Client;
                let wrote = self
                    .out
                    .poll_write(context, &mut client.stream, &mut server.input);
                let wrote = ready!(wrote).map_err(|_| Failure::ClientGone)?;
                self.is_written |= self.reply.is_some();
                self.since = now;
                exchange.moved_down(0, now.into_std());
                self.out.settle(&mut server.input, wrote);
            }
            if self.state == State::Done {
                return Poll::Ready(Ok(Step::Answered));
            }
            if !self.is_starved && !server.input.is_empty() && self.state == State::Body {
                continue;
            }
            self.waits = Waits::Server;
            ready!(self.read(context, server, now))?;
        }
    }

    fn bad(bad: Bad) -> Failure {
        tracing::debug!(why = bad.0, "a backend's answer is malformed");
        Failure::BadResponse
    }

    fn read<S: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        server: &mut Peer<S>,
        now: Instant,
    ) -> Poll<Result<(), Failure>> {
        let max = match self.state {
            State::Head => HEAD_BYTES_MAX,
            _ => BODY_READ_MAX,
        };
        let filled = ready!(server.input.poll_fill(context, &mut server.stream, max));
        Poll::Ready(match filled {
            Ok(Filled::Bytes) => {
                self.has_begun = true;
                self.is_starved = false;
                // The clock of a head does not start anew with each of its bytes.
                if self.state == State::Body {
                    self.since = now;
                }
                Ok(())
            }
            Ok(Filled::End) if self.state == State::Body && self.body.ends_at_close() => {
                if self.recode == Recode::IntoChunks {
                    self.out.add_tail(LAST_CHUNK);
                }
                self.state = State::Done;
                Ok(())
            }
            Ok(Filled::Full) => Err(Self::bad(Bad("the head is too large"))),
            Ok(Filled::End) | Err(_) => Err(Failure::UpstreamReset),
        })
    }

    /// Makes what was read ready to go out.
    fn load<S>(
        &mut self,
        server: &mut Peer<S>,
        may_keep_client: bool,
        exchange: &Exchange,
        now: Instant,
    ) -> Result<Option<Step>, Bad> {
        while self.out.takes_data() && !self.is_starved && !server.input.is_empty() {
            match self.state {
                State::Head => match self.scan.find(server.input.bytes())? {
                    Some(length) => {
                        let step = self.head(&server.input.bytes()[..length], may_keep_client)?;
                        server.input.consume(length);
                        self.since = now;
                        self.scan = HeadEnd::response();
                        if step.is_some() {
                            return Ok(step);
                        }
                    }
                    None => self.is_starved = true,
                },
                State::Body => self.pass(server, exchange, now)?,
                State::Done => break,
            }
        }
        Ok(None)
    }

    fn pass<S>(
        &mut self,
        server: &mut Peer<S>,
        exchange: &Exchange,
        now: Instant,
    ) -> Result<(), Bad> {
        let chunks = match self.recode {
            Recode::As(chunks) => chunks,
            Recode::IntoChunks => {
                let bytes = server.input.len();
                exchange.moved_down(bytes, now.into_std());
                chunk_head(bytes, self.out.head_mut());
                self.out.add_data(&mut server.input, bytes, bytes);
                self.out.add_tail(CHUNK_END);
                return Ok(());
            }
        };
        let passed = self.body.pass(server.input.bytes_mut(), chunks)?;
        exchange.moved_down(passed.data, now.into_std());
        self.is_starved = passed.consumed == 0;
        self.out
            .add_data(&mut server.input, passed.kept, passed.consumed);
        if passed.ended {
            self.state = State::Done;
        }
        Ok(())
    }

    /// Takes a head, interim or final.
    fn head(&mut self, bytes: &[u8], may_keep_client: bool) -> Result<Option<Step>, Bad> {
        let mut slots = slots();
        let head = ResponseHead::parse(bytes, &mut slots, self.terms.asked)?;
        if head.is_interim() {
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Err(Bad("too many interim answers"));
            }
            // HTTP/1.0 does not know them (RFC 9110, 15.2).
            if self.terms.version == Version::Http11 {
                self.write(&head, bytes.len(), true, false);
            }
            return Ok(None);
        }
        let is_old = self.terms.version == Version::Http10;
        let (recode, goes_chunked) = match head.framing {
            Framing::Chunked if is_old => (Recode::As(Chunks::Strip), false),
            Framing::UntilClose if !is_old => (Recode::IntoChunks, true),
            framing => (Recode::As(Chunks::Keep), framing == Framing::Chunked),
        };
        let has_no_length = matches!(head.framing, Framing::Chunked | Framing::UntilClose);
        let ends_at_close = is_old && has_no_length;
        let keeps_client = self.terms.keeps_alive && may_keep_client && !ends_at_close;
        self.reply = Some(Reply {
            status: head.status,
            keeps_client,
            keeps_server: head.keeps_alive,
            server_idle: head.keep_alive_timeout,
            ends_at_close,
        });
        self.recode = recode;
        self.body = Body::new(head.framing);
        self.state = match self.body.is_done() {
            true => State::Done,
            false => State::Body,
        };
        self.write(&head, bytes.len(), keeps_client, goes_chunked);
        let protocol = match head.is_websocket {
            true => Protocol::WebSocket,
            false => Protocol::Other,
        };
        Ok((head.status == 101).then_some(Step::Switching(protocol)))
    }

    fn write(
        &mut self,
        head: &ResponseHead<'_, '_>,
        length: usize,
        keeps_alive: bool,
        chunked: bool,
    ) {
        let version = self.terms.version;
        let out = self.out.head_mut();
        out.reserve(length + GAIN);
        let downstream = Downstream {
            version,
            keeps_alive,
            chunked,
            date: "",
        };
        match head.has_date {
            true => head.write(&downstream, out),
            false => date::with(|date| head.write(&Downstream { date, ..downstream }, out)),
        }
    }
}
