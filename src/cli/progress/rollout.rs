//! What is left of a rollout. The pool says its phase while it is under way; afterwards those that it
//! took out drain, and what they hold is what is left.

use tokio::time::Instant;

use super::super::calls::path;
use super::super::now;
use super::super::render::{held_by, time};
use super::super::rollout::{in_phase, phase};
use super::super::tree::Place;
use super::health;
use crate::admin::client::{Ask, Client};
use crate::pool::model::BackendRef;
use crate::report::{Answer, BackendStatus, ErrorShares, PoolStatus, RolloutStatus};
use crate::spec::{BackendId, PoolName};

/// Backends named in a line at most: it has to fit on one.
const NAMED_MAX: usize = 3;

/// What was seen so far.
#[derive(Default)]
pub(super) struct Watch {
    /// The rollout that was seen last: once it is decided the pool tells of it no more.
    seen: Option<RolloutStatus>,
    /// Since when all new ones were seen healthy.
    healthy_since: Option<Instant>,
}

impl Watch {
    /// The state of a pool's rollout; `None` if nothing is known.
    pub(super) async fn look(&mut self, client: &Client, pool: &PoolName) -> Option<String> {
        let place = Place {
            pool: pool.clone(),
            backend: None,
        };
        let mut document = client.ask(&Ask::get(path(&place))).await.ok()?;
        let status: PoolStatus = serde_json::from_value(document.get_mut("pool")?.take()).ok()?;
        if let Some(rollout) = &status.rollout {
            let state = self.under_way(rollout, &status.backends);
            self.seen = Some(rollout.clone());
            return Some(state);
        }
        let left = self.left(&status.backends);
        let oldest = match left.first() {
            Some(first) => oldest(client, pool, first).await,
            None => None,
        };
        let number = self.seen.as_ref();
        let number = number.map(|seen| format!("{} {}: ", seen.kind, seen.number));
        let drain = drain(&left, oldest.as_deref())?;
        Some(format!("{}{drain}", number.unwrap_or_default()))
    }

    fn under_way(&mut self, rollout: &RolloutStatus, backends: &[BackendStatus]) -> String {
        let is_new = |backend: &&BackendStatus| {
            let is_it = |generation| backend.generation == generation;
            rollout.added.iter().any(|added| is_it(added.generation))
        };
        let new: Vec<&BackendStatus> = backends.iter().filter(is_new).collect();
        let all_healthy = !new.is_empty() && new.iter().all(|new| new.health == "healthy");
        self.healthy_since = match all_healthy {
            true => self.healthy_since.or_else(|| Some(Instant::now())),
            false => None,
        };
        let healthy = match (rollout.phase.as_str(), self.healthy_since) {
            ("gate", Some(since)) => {
                let millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                // To the second, as the looks are.
                format!("{} for {}s", healths(&new), millis / 1000)
            }
            _ => healths(&new),
        };
        let mut parts = vec![format!(
            "{} {}: {}",
            rollout.kind,
            rollout.number,
            phase(rollout)
        )];
        if rollout.phase != "gate" {
            parts[0] += &format!(" for {}", time(in_phase(rollout, now())));
        }
        parts.push(healthy);
        parts.extend(rollout.errors.as_ref().map(errors));
        parts.join(", ")
    }

    /// Those that still drain: of the rollout that was seen, or else of the pool.
    fn left<'a>(&self, backends: &'a [BackendStatus]) -> Vec<&'a BackendStatus> {
        let is_of_it = |backend: &&BackendStatus| {
            let Some(seen) = &self.seen else {
                return true;
            };
            let mut all = seen.replaced.iter().chain(&seen.added);
            all.any(|one| one.generation == backend.generation)
        };
        let drains = |backend: &&BackendStatus| backend.intent == "draining" && !backend.drained;
        backends.iter().filter(drains).filter(is_of_it).collect()
    }
}

fn healths(new: &[&BackendStatus]) -> String {
    let named = |backend: &&BackendStatus| format!("{} {}", backend.id, health(backend));
    if let [one] = new {
        return named(one);
    }
    let is_healthy = |backend: &&&BackendStatus| backend.health == "healthy";
    let healthy = new.iter().filter(is_healthy).count();
    let mut text = format!("{healthy} of {} healthy", new.len());
    for sick in new.iter().filter(|new| !is_healthy(new)).take(NAMED_MAX) {
        text += &format!(", {}", named(sick));
    }
    text
}

fn errors(errors: &ErrorShares) -> String {
    format!(
        "{} of {} answers were errors",
        errors.new_errors, errors.new_answers
    )
}

fn drain(left: &[&BackendStatus], oldest: Option<&str>) -> Option<String> {
    if left.is_empty() {
        return None;
    }
    let ids: Vec<&str> = left.iter().map(|one| one.id.as_str()).collect();
    let more = match ids.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let sum = |count: fn(&BackendStatus) -> u32| left.iter().map(|one| count(one)).sum();
    let connections = left.iter().map(|one| one.connections).sum();
    let held = held_by(sum(|one| one.requests), sum(|one| one.tunnels), connections);
    let verb = if ids.len() == 1 { "holds" } else { "hold" };
    let ids = ids[..ids.len().min(NAMED_MAX)].join(", ");
    let oldest = oldest.map(|oldest| format!(", oldest: {oldest}"));
    Some(format!(
        "drain, {ids}{more} {verb} {held}{}",
        oldest.unwrap_or_default()
    ))
}

/// The oldest exchange that blocks a drain.
async fn oldest(client: &Client, pool: &PoolName, backend: &BackendStatus) -> Option<String> {
    let place = Place {
        pool: pool.clone(),
        backend: Some(BackendRef {
            id: BackendId::parse(&backend.id).ok()?,
            generation: Some(backend.generation),
        }),
    };
    let document = client.ask(&Ask::get(path(&place))).await.ok()?;
    let drain = serde_json::from_value::<Answer>(document).ok()?.drain?;
    let oldest = drain.blocked_by.first()?;
    let age = time(oldest.age_ms);
    Some(format!(
        "{} {} {} for {age}",
        oldest.kind, oldest.method, oldest.path
    ))
}
