//! From the head of a request to what is done with it: checked, routed, and written the way the
//! backend gets it. One step without a wait, while the head is still in the client's buffer.

use std::net::IpAddr;
use std::sync::Arc;

use super::Engine;
use super::context::{Context, Logged};
use super::failure::Failure;
use super::http1::{Asked, Bounds, Forwarded, Framing, Refusal, RequestHead, Version, slots};
use super::sticky;
use crate::backend::Exchange;
use crate::pool::Pool;
use crate::spec::IpNet;

/// Room for what the head gains on its way: the fields that are ours.
const GAIN: usize = 192;

/// Where a connection comes from.
pub(super) struct Origin {
    address: Option<IpAddr>,
    /// As backends are told: an IPv4 address that came in as IPv6 is what it is.
    text: Box<str>,
    is_trusted: bool,
}

impl Origin {
    /// `None` is a client without an address, such as one on a unix socket.
    pub(super) fn new(address: Option<IpAddr>, trusted: &[IpNet]) -> Self {
        let text = match address {
            Some(address) => address.to_canonical().to_string(),
            None => "unknown".to_owned(),
        };
        let contains = |address| trusted.iter().any(|net| net.contains(address));
        Self {
            address,
            text: text.into(),
            is_trusted: address.is_some_and(contains),
        }
    }
}

/// A request that will be forwarded.
pub(super) struct Ask {
    pub(super) pool: Arc<Pool>,
    pub(super) exchange: Arc<Exchange>,
    /// The head that the backend gets.
    pub(super) head: Vec<u8>,
    pub(super) framing: Framing,
    pub(super) asked: Asked,
    pub(super) version: Version,
    pub(super) keeps_alive: bool,
    pub(super) expects_continue: bool,
    /// It may be sent twice (RFC 9110, 9.2.2).
    pub(super) is_idempotent: bool,
}

/// What a request is refused with, and what is known of how to go on.
pub(super) struct Refused {
    pub(super) failure: Failure,
    /// The framing of its body is beyond doubt: the next request can be found behind it.
    pub(super) framing: Option<Framing>,
    pub(super) is_head: bool,
    pub(super) keeps_alive: bool,
}

impl Refused {
    /// A head that cannot be relied on.
    pub(super) fn malformed(failure: Failure) -> Self {
        Self {
            failure,
            framing: None,
            is_head: false,
            keeps_alive: false,
        }
    }
}

/// Reads the head, names the exchange and finds its pool.
pub(super) fn admit(
    engine: &Engine,
    head: &[u8],
    origin: &Origin,
    context: &mut Context,
) -> Result<Ask, Refused> {
    let bounds = Bounds {
        fields_max: engine.client.fields_max,
        target_bytes_max: engine.client.target_bytes_max,
    };
    let mut slots = slots();
    let length = head.len();
    let head = RequestHead::parse(head, &mut slots, &bounds)
        .map_err(|refusal| Refused::malformed(failure_of(refusal)))?;
    if engine.logs_access {
        context.logged = Some(Logged {
            method: head.method.into(),
            host: head.host.into(),
            path: head.path.into(),
            client: origin.address,
        });
    }
    let exchange = Arc::new(Exchange::begun_at(
        context.begun.into_std(),
        head.method,
        head.path,
        origin.address,
    ));
    context.exchange = Some(Arc::clone(&exchange));
    let is_head = head.method == "HEAD";
    let snapshot = engine.pools.load();
    let Some(pool) = snapshot.route(head.host, head.path) else {
        return Err(Refused {
            failure: Failure::NoRoute,
            framing: Some(head.framing),
            is_head,
            // An older client would have to be told, and our own answers do not.
            keeps_alive: head.keeps_alive && head.version == Version::Http11,
        });
    };
    context.pool = Some(Arc::clone(pool));
    if let Some(sticky) = pool.sticky() {
        context.draw = sticky::draw(&head, sticky);
    }
    let forwarded = Forwarded {
        client: &origin.text,
        is_trusted: origin.is_trusted,
    };
    let mut out = Vec::with_capacity(length + GAIN);
    head.write(&forwarded, &mut out);
    Ok(Ask {
        pool: Arc::clone(pool),
        exchange,
        head: out,
        framing: head.framing,
        asked: Asked {
            is_head,
            upgrade: head.asks_upgrade,
            websocket: head.asks_websocket,
        },
        version: head.version,
        keeps_alive: head.keeps_alive,
        expects_continue: head.expects_continue,
        is_idempotent: is_idempotent(head.method),
    })
}

fn failure_of(refusal: Refusal) -> Failure {
    let (failure, why) = match refusal {
        Refusal::Bad(why) => (Failure::BadRequest, why),
        Refusal::TooLarge(why) => (Failure::TooLarge, why),
        Refusal::Connect => (Failure::MethodNotAllowed, "CONNECT is not proxied"),
    };
    tracing::debug!(word = failure.word(), why, "refused a request");
    failure
}

fn is_idempotent(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_named_by_its_real_address_and_trusted_by_its_net() {
        let trusted = [IpNet::parse("10.0.0.0/8").unwrap()];
        for (address, text, is_trusted) in [
            (Some("10.0.0.9"), "10.0.0.9", true),
            (Some("::ffff:10.0.0.9"), "10.0.0.9", true),
            (Some("192.0.2.1"), "192.0.2.1", false),
            (Some("2001:db8::1"), "2001:db8::1", false),
            (None, "unknown", false),
        ] {
            let origin = Origin::new(address.map(|text| text.parse().unwrap()), &trusted);
            assert_eq!((&*origin.text, origin.is_trusted), (text, is_trusted));
        }
    }
}
