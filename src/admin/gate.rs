//! The gate of a listener: who asks, from where, and how many at once.
//!
//! In this order, cheapest and most certain first:
//!
//! 1. a browser on another site is refused (403): a foreign `Origin`, or a `Sec-Fetch-Site` other
//!    than the same origin. On TCP the `Host` must be an IP literal, `localhost` or the configured
//!    name, so that a page cannot reach us by a name of its own (DNS rebinding);
//! 2. on TCP a token is demanded (401); on the unix socket the peer's uid is taken: who may connect
//!    is said by the socket's mode and group;
//! 3. at most [`REQUESTS_MAX`] requests are under way, waiting ones included (503, `Retry-After`).
//!    Who follows the events is not among them from the head of the answer on, and has a bound of
//!    its own ([`FOLLOWERS_MAX`]), so that followers and deploys do not take each other's places.
//!
//! What passes carries its [`Actor`]. Each listener has a gate of its own, so that a crowd on TCP
//! does not keep the unix socket from answering.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::reply::Reply;
use super::serve::CONNECTIONS_MAX;
use super::tokens::Tokens;
use crate::control::Actor;
use crate::outcome::Outcome;
use crate::report::Answer;

/// Requests under way at once on one listener. Each may wait for a drain, so this is how many
/// deploys can wait at once; the next gets 503.
pub(super) const REQUESTS_MAX: usize = 96;

/// Who follows the events at once on one listener: people at a terminal and a few collectors; the next
/// gets 503. Each keeps its connection for as long as it likes, so they must be few beside
/// [`CONNECTIONS_MAX`], which is what the descriptors in reserve are counted by.
pub(super) const FOLLOWERS_MAX: usize = 24;

/// There must be connections left on which to say so.
const _: () = assert!(REQUESTS_MAX + FOLLOWERS_MAX < CONNECTIONS_MAX);

/// The places of a listener's followers; in every request that passed.
#[derive(Clone)]
pub(super) struct Followers(pub(super) Arc<Semaphore>);

/// Who is at the other end of a connection; set by [`super::serve`].
#[derive(Clone, Debug)]
pub(super) enum Peer {
    /// A unix socket's, by its uid.
    Uid(u32),
    /// A TCP address.
    Tcp(IpAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// How callers are known.
pub(super) enum Kind {
    /// By the peer's uid.
    Unix,
    /// By a token.
    Tcp {
        tokens: Tokens,
        /// The configured host name, if it was one.
        host: Option<String>,
    },
}

/// See the module's words.
pub(super) struct Gate {
    kind: Kind,
    places: Semaphore,
    followers: Followers,
}

impl Gate {
    pub(super) fn new(kind: Kind, requests_max: usize) -> Arc<Self> {
        Arc::new(Self {
            kind,
            places: Semaphore::new(requests_max),
            followers: Followers(Arc::new(Semaphore::new(FOLLOWERS_MAX))),
        })
    }

    fn actor(&self, request: &Request) -> Result<Actor, Box<Answer>> {
        let peer = request.extensions().get::<Peer>();
        match (&self.kind, peer) {
            (Kind::Unix, Some(Peer::Uid(uid))) => Ok(Actor(format!("uid:{uid}"))),
            (Kind::Tcp { tokens, .. }, _) => {
                let bearer = bearer(request.headers());
                let name = bearer.and_then(|token| tokens.name_of(token));
                name.map(Actor).ok_or_else(|| {
                    let said = match bearer {
                        None => "a token is needed",
                        Some(_) => "the token is not known",
                    };
                    let peer = peer.map(ToString::to_string);
                    tracing::warn!(peer, "an admin request was refused: {said}");
                    let answer = Answer::new(Outcome::NotAuthorised, said);
                    Box::new(answer.hint(
                        "send \"Authorization: Bearer TOKEN\"; the command line takes --token-file",
                    ))
                })
            }
            (Kind::Unix, _) => Err(Box::new(Answer::new(
                Outcome::NotAuthorised,
                "the uid of the caller is not known",
            ))),
        }
    }
}

/// The middleware.
pub(super) async fn pass(
    State(gate): State<Arc<Gate>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Err(why) = is_from_here(&gate.kind, request.headers()) {
        tracing::warn!(why, "an admin request was refused");
        let answer = Answer::new(Outcome::NotAuthorised, why);
        return Reply::with_status(StatusCode::FORBIDDEN, "another site", answer).into_response();
    }
    let actor = match gate.actor(&request) {
        Ok(actor) => actor,
        Err(answer) => return Reply::from(*answer).into_response(),
    };
    let Ok(_place) = gate.places.try_acquire() else {
        let answer = Answer::new(Outcome::Error, "too many requests are under way")
            .hint("ask again; operations that were begun go on");
        return Reply::with_status(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests at once",
            answer,
        )
        .into_response();
    };
    request.extensions_mut().insert(actor);
    request.extensions_mut().insert(gate.followers.clone());
    next.run(request).await
}

fn bearer(fields: &HeaderMap) -> Option<&str> {
    let value = fields.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_from_here(kind: &Kind, fields: &HeaderMap) -> Result<(), &'static str> {
    let text = |name| fields.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host = text(header::HOST);
    if let Kind::Tcp { host: ours, .. } = kind {
        let host = host.ok_or("the field \"Host\" is missing")?;
        if !is_our_host(host, ours.as_deref()) {
            return Err("the field \"Host\" is not one of this listener");
        }
    }
    if let Some(origin) = text(header::ORIGIN) {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let is_same = authority
            .zip(host)
            .is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host));
        if !is_same {
            return Err("the request comes from a page of another site");
        }
    }
    match text(header::HeaderName::from_static("sec-fetch-site")) {
        None | Some("same-origin" | "none") => Ok(()),
        Some(_) => Err("the request comes from a page of another site"),
    }
}

fn is_our_host(host: &str, ours: Option<&str>) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || ours.is_some_and(|ours| ours.eq_ignore_ascii_case(name))
}
