//! Getting a claim for an exchange: at once, or by holding the request until a backend is eligible and
//! the pool not paused.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::Stream;
use tokio::time::{sleep_until, timeout};

use super::context::{Context, TRIES_MAX};
use super::failure::Failure;
use super::relay::{Peer, poll_watch};
use super::socket;
use crate::backend::{Claim, Exchange, Generation};
use crate::pool::hold::Ticket;
use crate::pool::rollout::{Phase, Rollout};
use crate::pool::split::Draw;
use crate::pool::{NoClaim, Pool, Pools};

/// How often the kernel is asked whether a client has left whose bytes are no longer read.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A claim on a backend that was not tried for this exchange yet. A first try is held while no
/// backend is eligible, and given up when its client leaves. A retry is held for that only if nothing
/// was wrong but a kept connection; else it fails the way the try before did. While the pool is paused
/// both are held.
///
/// In the bake of a rollout a retry waits too: what the new version did not take, the old one, on standby
/// by now, takes as soon as the rollout is taken back.
pub(super) async fn claim_or_hold(
    pools: &Pools,
    pool: &Arc<Pool>,
    exchange: &Arc<Exchange>,
    context: &mut Context,
    client: &mut Peer<Stream>,
) -> Result<Claim, Failure> {
    let is_retry = context.tries > 0 && !context.wants_new_connection;
    let failed = context.failure.unwrap_or(Failure::NoBackend);
    // Looked at before the claim: if the rollout is taken back in between, the claim finds the old ones.
    let bake = is_retry.then(|| bake_of(pools, pool)).flatten();
    context.was_in_bake |= bake.is_some();
    if context.tries >= TRIES_MAX
        && let Some(rollout) = &bake
    {
        let new = rollout.new.iter().map(|named| named.generation);
        context.tried.extend(new);
    }
    let mut wish = Wish {
        pools,
        pool,
        exchange,
        draw: &mut context.draw,
        fails_with: (is_retry && bake.is_none()).then_some(failed),
    };
    match (wish.claim(&context.tried), bake) {
        (Some(claimed), _) => claimed,
        (None, Some(_)) => tokio::select! {
            claimed = Box::pin(bridged(&mut wish, &context.tried, failed)) => claimed,
            failure = gone(client) => Err(failure),
        },
        (None, None) => {
            // One that is held until there is a backend at all takes any.
            let avoid = if is_retry { &context.tried[..] } else { &[] };
            tokio::select! {
                claimed = Box::pin(held(&mut wish, avoid)) => claimed,
                failure = gone(client) => Err(failure),
            }
        }
    }
}

/// Whether an exchange whose try failed may be tried once more. One that met a new version in its bake
/// has a try left for the old one, which may be back by now.
pub(super) fn may_try_again(pools: &Pools, pool: &Pool, context: &Context) -> bool {
    let in_bake = || context.was_in_bake || bake_of(pools, pool).is_some();
    context.tries < TRIES_MAX || (context.tries == TRIES_MAX && in_bake())
}

/// The rollout of the pool, if its new version is watched and the old one can come back.
fn bake_of(pools: &Pools, pool: &Pool) -> Option<Arc<Rollout>> {
    let snapshot = pools.load();
    let rollout = snapshot.pool(&pool.name)?.rollout.as_ref()?;
    let may_go_back = rollout.phase == Phase::Bake && !rollout.old.is_empty();
    may_go_back.then(|| Arc::clone(rollout))
}

/// What is asked for, again and again while it is held.
struct Wish<'a> {
    pools: &'a Pools,
    pool: &'a Pool,
    exchange: &'a Arc<Exchange>,
    draw: &'a mut Draw,
    /// If no backend is eligible; it is held then unless said.
    fails_with: Option<Failure>,
}

impl Wish<'_> {
    /// A claim, or why there will be none; nothing if it is to be held.
    fn claim(&mut self, avoid: &[Generation]) -> Option<Result<Claim, Failure>> {
        let name = &self.pool.name;
        let claimed = self.pools.claim(name, self.exchange, avoid, self.draw);
        match (claimed, self.fails_with) {
            (Ok(claim), _) => Some(Ok(claim)),
            (Err(NoClaim::NoPool), _) => Some(Err(Failure::NoRoute)),
            (Err(NoClaim::NoBackend), Some(failure)) => Some(Err(failure)),
            (Err(NoClaim::NoBackend | NoClaim::Paused), _) => None,
        }
    }

    fn is_served(&self) -> Result<bool, Failure> {
        let snapshot = self.pools.load();
        let pool = snapshot.pool(&self.pool.name).ok_or(Failure::NoRoute)?;
        Ok(pool.is_served())
    }
}

/// Waits until the rollout is taken back, or decided otherwise. Not in the line of those that are held:
/// what they wait for may be there long before.
async fn bridged(
    wish: &mut Wish<'_>,
    avoid: &[Generation],
    failed: Failure,
) -> Result<Claim, Failure> {
    let hold = wish.pool.settings.hold;
    let place = wish.pool.hold.aside(hold.max_requests).ok_or(failed)?;
    let mut published = wish.pools.follow();
    let waiting = async {
        loop {
            published.borrow_and_update();
            let is_over = bake_of(wish.pools, wish.pool).is_none();
            if is_over {
                wish.fails_with = Some(failed);
                sleep_until(place.slot()).await;
            }
            if let Some(claimed) = wish.claim(avoid) {
                return claimed;
            }
            // The pools outlive every request, so this is no error.
            let _ = published.changed().await;
        }
    };
    let waited = timeout(hold.timeout, waiting).await;
    waited.unwrap_or(Err(failed))
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

async fn held(wish: &mut Wish<'_>, avoid: &[Generation]) -> Result<Claim, Failure> {
    let hold = wish.pool.settings.hold;
    if hold.timeout.is_zero() {
        return Err(Failure::NoBackend);
    }
    let ticket = wish.pool.hold.join(hold.max_requests);
    let ticket = ticket.ok_or(Failure::NoBackend)?;
    match timeout(hold.timeout, in_turn(wish, avoid, &ticket)).await {
        Ok(claimed) => claimed,
        // Those before it may be on their way just now: better out of turn than not at all.
        Err(_) => wish.claim(avoid).unwrap_or(Err(Failure::HeldTooLong)),
    }
}

/// The first looks whether the pool is served, whenever that may have changed; the others wait for it.
async fn in_turn(
    wish: &mut Wish<'_>,
    avoid: &[Generation],
    ticket: &Ticket,
) -> Result<Claim, Failure> {
    let mut published = wish.pools.follow();
    ticket.turn().await;
    loop {
        published.borrow_and_update();
        if wish.is_served()? {
            sleep_until(ticket.slot()).await;
            if let Some(claimed) = wish.claim(avoid) {
                return claimed;
            }
            ticket.stay();
        }
        // The pools outlive every request, so this is no error.
        let _ = published.changed().await;
    }
}

#[cfg(test)]
mod tests;
