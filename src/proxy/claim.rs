//! Getting a claim for an exchange: at once, or by holding the request until a backend is eligible.

use std::sync::Arc;

use pingora::proxy::Session;
use tokio::time::{Instant, sleep, timeout_at};

use super::context::Context;
use super::failure::Failure;
use crate::backend::{Claim, Exchange};
use crate::pool::{NoClaim, Pool, Pools};

/// A claim on a backend that was not tried for this exchange yet. A first try is held while no
/// backend is eligible; a retry is not, it fails the way the try before did.
pub(super) async fn claim_or_hold(
    pools: &Pools,
    session: &mut Session,
    context: &Context,
) -> Result<Claim, Failure> {
    let (Some(pool), Some(exchange)) = (&context.pool, &context.exchange) else {
        return Err(Failure::Internal);
    };
    match pools.claim(&pool.name, exchange, &context.tried) {
        Ok(claim) => Ok(claim),
        Err(NoClaim::NoPool) => Err(Failure::NoRoute),
        Err(NoClaim::NoBackend) if context.tries > 0 => {
            Err(context.failure.unwrap_or(Failure::NoBackend))
        }
        Err(NoClaim::NoBackend) => {
            // A request with a body may still be sending it; only an empty one can be watched for
            // its client going away without taking its bytes.
            if session.as_downstream_mut().is_body_empty() {
                tokio::select! {
                    claim = held(pools, pool, exchange) => claim,
                    () = client_gone(session) => Err(Failure::ClientGone),
                }
            } else {
                held(pools, pool, exchange).await
            }
        }
    }
}

async fn held(pools: &Pools, pool: &Arc<Pool>, exchange: &Arc<Exchange>) -> Result<Claim, Failure> {
    let hold = pool.settings.hold;
    if hold.timeout.is_zero() {
        return Err(Failure::NoBackend);
    }
    let ticket = pool
        .hold
        .join(hold.max_requests)
        .ok_or(Failure::NoBackend)?;
    let deadline = Instant::now() + hold.timeout;
    let mut published = pools.follow();
    loop {
        published.borrow_and_update();
        let is_served = pools
            .load()
            .pool(&pool.name)
            .ok_or(Failure::NoRoute)?
            .eligible()
            > 0;
        if is_served {
            sleep(ticket.release_delay()).await;
            match pools.claim(&pool.name, exchange, &[]) {
                Ok(claim) => return Ok(claim),
                Err(NoClaim::NoPool) => return Err(Failure::NoRoute),
                Err(NoClaim::NoBackend) => {}
            }
        }
        if timeout_at(deadline, published.changed()).await.is_err() {
            return Err(Failure::HeldTooLong);
        }
    }
}

/// Resolves when the client closed its connection.
async fn client_gone(session: &mut Session) {
    let session = session.as_downstream_mut();
    loop {
        if session.read_body_or_idle(true).await.is_err() {
            return;
        }
    }
}
