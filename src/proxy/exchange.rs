//! One exchange from its head to its end: claim, connection, relay, another try, an answer of our
//! own.
//!
//! Order at the end, which *drained* stands on: the last byte is written to the client; the
//! connection to the backend is kept for the next request or closed; the claim is given back; the
//! record is made ([`Context`]). Whatever breaks, or panics, drops in this order too.
//!
//! What few exchanges come to (a new connection, a hold, a tunnel, an error) is boxed, so that the
//! others do not carry room for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use pingora::protocols::Stream;

use super::Engine;
use super::admit::{Ask, Origin, Refused, admit};
use super::answer::answer;
use super::claim::{claim_or_hold, may_try_again};
use super::clock::Timer;
use super::context::Context;
use super::failure::Failure;
use super::http1::{Framing, Version};
use super::relay::{Clocks, Down, Peer, Reply, Step, Talk, Terms, Up, tunnel};
use super::socket;
use super::upstream::{self, Link};

/// How long before the time that a backend said its kept connection is given up.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_millis(100);

/// What becomes of the client's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// It waits for the next request.
    Keep,
    /// It is closed, ...
    Close,
    /// ... after what its client still sends was read, so that it sees the answer.
    Linger,
}

/// The client's side of an exchange.
pub(super) struct Downstream<'a> {
    pub(super) client: &'a mut Peer<Stream>,
    pub(super) origin: &'a Origin,
    pub(super) timer: &'a mut Timer,
    /// When the first byte of the request was there.
    pub(super) begun: Instant,
}

/// Answers a request that never became an exchange, and ends its connection.
pub(super) async fn refuse(engine: &Engine, down: Downstream<'_>, failure: Failure) -> After {
    let mut context = engine.context(down.begun);
    let after = end_refused(down.client, &mut context, &Refused::malformed(failure)).await;
    context.is_complete = true;
    after
}

/// Runs the exchange whose head is the first `length` bytes of the client's input.
pub(super) async fn run(engine: &Engine, down: Downstream<'_>, length: usize) -> After {
    let mut context = engine.context(down.begun);
    let after = to_the_end(engine, down, length, &mut context).await;
    context.is_complete = true;
    after
}

async fn to_the_end(
    engine: &Engine,
    mut down: Downstream<'_>,
    length: usize,
    context: &mut Context,
) -> After {
    let head = &down.client.input.bytes()[..length];
    let admitted = admit(engine, head, down.origin, context);
    down.client.input.consume(length);
    let mut ask = match admitted {
        Ok(ask) => ask,
        Err(refused) => return Box::pin(end_refused(down.client, context, &refused)).await,
    };
    let mut up = Up::new(
        std::mem::take(&mut ask.head),
        ask.framing,
        ask.is_idempotent,
        context.begun,
    );
    loop {
        match try_once(engine, &mut down, &ask, &mut up, context).await {
            Tried::Ended(after) => return after,
            Tried::Again => up.rewind(),
            Tried::Failed(failure) => {
                let ended = end_failed(engine, &mut down, &ask, &mut up, context, failure);
                return Box::pin(ended).await;
            }
        }
    }
}

async fn end_refused(client: &mut Peer<Stream>, context: &mut Context, refused: &Refused) -> After {
    let keeps_alive = refused.keeps_alive && refused.framing == Some(Framing::None);
    context.failure = Some(refused.failure);
    if answer(client, refused.failure, refused.is_head, keeps_alive).await {
        context.status = Some(refused.failure.status());
    }
    match keeps_alive {
        true => After::Keep,
        false => After::Linger,
    }
}

/// Answers in the backend's stead, if somebody is there to read it.
async fn end_failed(
    engine: &Engine,
    down: &mut Downstream<'_>,
    ask: &Ask,
    up: &mut Up,
    context: &mut Context,
    failure: Failure,
) -> After {
    context.failure = Some(failure);
    // The connection to the backend is gone; how long the client takes to read this is no matter of it.
    context.claim = None;
    if failure == Failure::ClientGone {
        return After::Close;
    }
    up.discard(down.client);
    // An older client would have to be told, and our own answers do not.
    let keeps_alive = ask.keeps_alive
        && ask.version == Version::Http11
        && up.is_received()
        && failure != Failure::BadRequest
        && !engine.is_stopping();
    if !answer(down.client, failure, ask.asked.is_head, keeps_alive).await {
        context.failure = Some(Failure::ClientGone);
        return After::Close;
    }
    context.status = Some(failure.status());
    match (keeps_alive, up.is_received()) {
        (true, _) => After::Keep,
        (false, true) => After::Close,
        (false, false) => After::Linger,
    }
}

/// How a try ended.
enum Tried {
    /// The exchange is over.
    Ended(After),
    /// Another try is allowed.
    Again,
    /// It is to be answered.
    Failed(Failure),
}

async fn try_once(
    engine: &Engine,
    down: &mut Downstream<'_>,
    ask: &Ask,
    up: &mut Up,
    context: &mut Context,
) -> Tried {
    // A retry releases one claim before it takes the next.
    context.claim = None;
    let claim = claim_or_hold(
        &engine.pools,
        &ask.pool,
        &ask.exchange,
        context,
        down.client,
    );
    let claim = match claim.await {
        Ok(claim) => claim,
        Err(failure) => return Tried::Failed(failure),
    };
    if context.tries > 0 {
        engine.metrics.of(claim.backend()).retry();
    }
    context.hold_claim(claim);
    let mut link = match connect(engine, ask, context).await {
        Ok(link) => link,
        Err(Failure::DrainClosed) => {
            context.note_cut();
            return Tried::Failed(Failure::DrainClosed);
        }
        Err(failure) => {
            context.failure = Some(failure);
            context.is_told = true;
            // Not a byte of the request was sent, so any method may be tried elsewhere.
            return match may_try_again(&engine.pools, &ask.pool, context) {
                true => Tried::Again,
                false => Tried::Failed(failure),
            };
        }
    };
    let timeouts = &ask.pool.settings.timeouts;
    let clocks = Clocks {
        response_head: timeouts.response_head,
        body_idle: timeouts.body_idle,
        client_idle: engine.client.body_idle,
        tunnel_idle: timeouts.tunnel_idle,
    };
    let terms = Terms {
        asked: ask.asked,
        version: ask.version,
        keeps_alive: ask.keeps_alive,
        expects_continue: ask.expects_continue,
    };
    // Not since the request came: it may have been held, or tried before.
    let mut answer = Down::new(terms, Instant::now());
    let talk = Talk {
        client: down.client,
        server: &mut link.peer,
        up,
        down: &mut answer,
        exchange: &ask.exchange,
        clocks: &clocks,
        timer: down.timer,
        stopping: &engine.stopping,
        is_downs_turn: false,
    };
    let ended = talk.run().await;
    context.status = answer.reply().map(|reply| reply.status);
    match (ended, answer.reply()) {
        (Ok(Step::Answered), Some(reply)) => {
            context.ended = Some(answer.since());
            Tried::Ended(end_answered(down, up, context, link, reply))
        }
        (Ok(Step::Switching(protocol)), _) => {
            if let Some(claim) = &mut context.claim {
                claim.upgrade();
            }
            let rest = answer.into_rest();
            let ends = (&mut *down.client, &mut link.peer);
            let idle = clocks.tunnel_idle;
            let tunnel = tunnel(ends, rest, protocol, &ask.exchange, idle, down.timer);
            let ended = Box::pin(tunnel).await;
            context.failure = ended.err();
            if context.failure == Some(Failure::DrainClosed) {
                context.note_cut();
            }
            Tried::Ended(After::Close)
        }
        // An answer always has a head; the codec holds that.
        (Ok(Step::Answered), None) => Tried::Failed(Failure::Internal),
        (Err(failure), reply) => {
            let again = up.may_be_sent_again() && may_try_again(&engine.pools, &ask.pool, context);
            let ended = end_broken(down, again, context, &link, &answer, failure, reply);
            // That a kept connection was dead says nothing of the backend.
            if matches!(ended, Tried::Again)
                && !link.is_reused
                && let Some(claim) = &context.claim
            {
                engine.metrics.of(claim.backend()).lost();
                context.is_told = true;
            }
            ended
        }
    }
}

/// A connection for this try: one that was kept, or a new one.
async fn connect(engine: &Engine, ask: &Ask, context: &Context) -> Result<Link, Failure> {
    let backend = match &context.claim {
        Some(claim) => Arc::clone(claim.backend()),
        None => return Err(Failure::Internal),
    };
    let upstream = upstream::of(&backend);
    if !context.wants_new_connection
        && let Some(link) = upstream.take(Instant::now(), !ask.is_idempotent)
    {
        return Ok(link);
    }
    upstream::make_room(&engine.pools, engine.client.connections_max);
    let within = ask.pool.settings.timeouts.connect;
    let dialled = tokio::select! {
        dialled = Box::pin(upstream.dial(&engine.connector, within)) => dialled,
        _ = ask.exchange.cut_asked() => return Err(Failure::DrainClosed),
    };
    if dialled.is_err() {
        engine.metrics.of(&backend).connect_failure();
        backend.ask_probe();
    }
    dialled
}

/// The answer was written: the connection is kept or closed, then the claim given back.
fn end_answered(
    down: &mut Downstream<'_>,
    up: &mut Up,
    context: &mut Context,
    link: Link,
    reply: Reply,
) -> After {
    context.failure = None;
    let ended = context.ended.unwrap_or(context.begun);
    let is_clean = up.is_sent() && link.peer.input.is_empty();
    if let (Some(claim), Some(pool)) = (&context.claim, &context.pool) {
        let backend = claim.backend();
        let idle = pool.settings.timeouts.upstream_idle;
        let idle = reply.server_idle.map_or(idle, |said| {
            // Closed before the backend does, so that no request meets its end.
            said.saturating_sub(KEEP_ALIVE_MARGIN).min(idle)
        });
        if is_clean && reply.keeps_server && !idle.is_zero() && !backend.reading().is_draining() {
            upstream::of(backend).keep(link, ended + idle);
        } else {
            drop(link);
        }
    }
    context.claim = None;
    if !up.is_sent() {
        up.discard(down.client);
    }
    match (reply.keeps_client, up.is_received()) {
        (true, _) => After::Keep,
        // What is unread at the close becomes a reset, which may overtake the answer.
        (false, true) if down.client.input.is_empty() => After::Close,
        (false, _) => After::Linger,
    }
}

/// The try broke: another one, an answer of our own, or a cut.
fn end_broken(
    down: &mut Downstream<'_>,
    may_be_sent_again: bool,
    context: &mut Context,
    link: &Link,
    answer: &Down,
    failure: Failure,
    reply: Option<Reply>,
) -> Tried {
    if failure == Failure::DrainClosed {
        context.note_cut();
    }
    if answer.is_written() {
        if reply.is_some_and(|reply| reply.ends_at_close) {
            socket::reset_on_close(&down.client.stream);
        }
        context.failure = Some(failure);
        return Tried::Ended(After::Close);
    }
    context.status = None;
    if failure != Failure::UpstreamReset {
        return Tried::Failed(failure);
    }
    if !link.is_reused
        && let Some(claim) = &context.claim
    {
        claim.backend().ask_probe();
    }
    context.failure = Some(failure);
    if answer.has_begun() || !may_be_sent_again {
        return Tried::Failed(failure);
    }
    if link.is_reused {
        context.blame_connection();
    }
    Tried::Again
}
