//! Getting a claim for an exchange: at once, or by holding the request until a backend is eligible.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::Stream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::context::Context;
use super::failure::Failure;
use super::relay::{Peer, poll_watch};
use super::socket;
use crate::backend::{Claim, Exchange, Generation};
use crate::pool::rollout::Phase;
use crate::pool::split::Draw;
use crate::pool::{NoClaim, Pool, Pools};

/// How often the kernel is asked whether a client has left whose bytes are no longer read.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A claim on a backend that was not tried for this exchange yet. A first try is held while no
/// backend is eligible, and given up when its client leaves. A retry is held only if nothing was wrong
/// but a kept connection, or in the bake of a rollout; else it fails the way the try before did.
pub(super) async fn claim_or_hold(
    pools: &Pools,
    pool: &Arc<Pool>,
    exchange: &Arc<Exchange>,
    context: &mut Context,
    client: &mut Peer<Stream>,
) -> Result<Claim, Failure> {
    match pools.claim(&pool.name, exchange, &context.tried, &mut context.draw) {
        Ok(claim) => Ok(claim),
        Err(NoClaim::NoPool) => Err(Failure::NoRoute),
        Err(NoClaim::NoBackend) if is_last_try(pools, pool, context) => {
            Err(context.failure.unwrap_or(Failure::NoBackend))
        }
        Err(NoClaim::NoBackend) => {
            let avoided = match context.wants_new_connection {
                true => &[][..],
                false => &context.tried[..],
            };
            tokio::select! {
                claim = Box::pin(held(pools, pool, exchange, avoided, &mut context.draw)) => claim,
                failure = gone(client) => Err(failure),
            }
        }
    }
}

/// Whether there is nobody left to try. In the bake of a rollout there is: if the new version takes no
/// connection, the old ones, on standby by now, are about to serve again.
fn is_last_try(pools: &Pools, pool: &Pool, context: &Context) -> bool {
    let is_in_bake = || {
        let snapshot = pools.load();
        let rollout = snapshot
            .pool(&pool.name)
            .and_then(|now| now.rollout.as_ref());
        rollout.is_some_and(|rollout| rollout.phase == Phase::Bake && !rollout.old.is_empty())
    };
    context.tries > 0 && !context.wants_new_connection && !is_in_bake()
}

/// Resolves when the client has left. What it sends is read up to one small buffer; past that its end
/// may lie behind bytes that nobody reads yet.
async fn gone(client: &mut Peer<Stream>) -> Failure {
    loop {
        match timeout(LOOK_EVERY, poll_fn(|task| poll_watch(task, client))).await {
            Ok(failure) => return failure,
            Err(_) if socket::has_left(&client.stream) => return Failure::ClientGone,
            Err(_) => {}
        }
    }
}

async fn held(
    pools: &Pools,
    pool: &Arc<Pool>,
    exchange: &Arc<Exchange>,
    avoided: &[Generation],
    draw: &mut Draw,
) -> Result<Claim, Failure> {
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
            match pools.claim(&pool.name, exchange, avoided, draw) {
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
