//! The questions of rollouts.
//!
//! Their answer can take long: another rollout may have to end first, then come gate and bake, and the
//! wait for the drain last. The client must not give up before the proxy does, and does not know the
//! pool's clocks: one that was not said counts as the longest there can be.

use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};

use super::{Call, Watched, flag, plain, with_query};
use crate::admin::params;
use crate::cli::tree::{Canary, InPool, Replacing, Rollback, Rollout};
use crate::config::DURATION_MAX;
use crate::control::WAIT_MAX;
use crate::spec::PoolName;

pub(super) fn rollout(rollout: &Rollout) -> Call {
    let wait = rollout.wait.as_sent();
    let added = rollout.add.iter().map(|one| {
        let mut added = json!({"id": one.id, "address": one.address});
        if let Some(weight) = rollout.weight {
            added["weight"] = weight.as_u32().into();
        }
        added
    });
    let mut body = Map::new();
    body.insert("add".to_owned(), added.collect());
    let replace = match &rollout.replace {
        Replacing::All => json!("all"),
        Replacing::These(ids) => json!(ids),
    };
    body.insert("replace".to_owned(), replace);
    let texts = [
        ("canary", &rollout.canary),
        ("key", &rollout.key),
        ("lock_wait", &rollout.lock_wait),
        ("wait", &wait),
        ("min_healthy_time", &rollout.min_healthy_time),
        ("healthy_deadline", &rollout.healthy_deadline),
        ("bake", &rollout.bake),
        ("error_margin", &rollout.error_margin),
        ("sticky", &rollout.sticky),
    ];
    let texts = texts.map(|(key, value)| (key, value.clone()));
    let texts = texts.into_iter().chain(rollout.clocks.as_sent());
    let texts = texts.map(|(key, value)| (key, value.map(Value::from)));
    let flag = |set: bool| set.then_some(Value::Bool(true));
    let others = [
        ("keep_standby", flag(rollout.keep_standby)),
        ("min_eligible", rollout.min_eligible.map(Value::from)),
        ("force", flag(rollout.force)),
        ("dry_run", flag(rollout.dry_run)),
        (
            "auto_revert",
            flag(rollout.no_auto_revert).map(|_| false.into()),
        ),
        ("min_requests", rollout.min_requests.map(Value::from)),
    ];
    for (key, value) in texts.chain(others) {
        if let Some(value) = value {
            body.insert(key.to_owned(), value);
        }
    }
    let mut call = post(&rollout.pool, "rollout", &[]);
    call.ask.body = Some(body.into());
    let lock_wait = clock(rollout.lock_wait.as_deref(), Duration::ZERO);
    if rollout.dry_run {
        call.ask.patience = lock_wait;
        return call;
    }
    let phases = [&rollout.healthy_deadline, &rollout.bake];
    let phases = phases.map(|said| clock(said.as_deref(), DURATION_MAX));
    waiting(
        call,
        &rollout.pool,
        wait.as_deref(),
        lock_wait,
        phases.iter().sum(),
    )
}

pub(super) fn canary(canary: &Canary) -> Call {
    let mut call = post(&canary.pool, "canary", &[]);
    call.ask.body = Some(json!({"share": canary.share}));
    call
}

pub(super) fn promote(InPool { pool, wait }: &InPool) -> Call {
    let wait = wait.as_sent();
    let call = post(pool, "promote", &[("wait", wait.clone())]);
    waiting(call, pool, wait.as_deref(), Duration::ZERO, DURATION_MAX)
}

pub(super) fn rollback(rollback: &Rollback) -> Call {
    let InPool { pool, wait } = &rollback.asked;
    let wait = wait.as_sent();
    let query = [
        ("wait", wait.clone()),
        ("keep_standby", flag(rollback.keep_standby)),
        ("key", rollback.key.as_deref().map(escaped)),
    ];
    let call = post(pool, "rollback", &query);
    // A set that was drained comes in again through gate and bake.
    waiting(
        call,
        pool,
        wait.as_deref(),
        Duration::ZERO,
        2 * DURATION_MAX,
    )
}

pub(super) fn abort(InPool { pool, wait }: &InPool) -> Call {
    let wait = wait.as_sent();
    let call = post(pool, "abort", &[("wait", wait.clone())]);
    waiting(call, pool, wait.as_deref(), Duration::ZERO, Duration::ZERO)
}

fn post(pool: &PoolName, verb: &str, query: &[(&str, Option<String>)]) -> Call {
    let target = format!("/v1/pools/{pool}/{verb}");
    plain(Method::POST, with_query(target, query))
}

/// With a wait of zero it is answered once it has begun, before any phase is over.
fn waiting(
    mut call: Call,
    pool: &PoolName,
    wait: Option<&str>,
    lock_wait: Duration,
    phases: Duration,
) -> Call {
    let wait = clock(wait, WAIT_MAX);
    call.ask.patience = match wait.is_zero() {
        true => lock_wait,
        false => lock_wait + phases + wait,
    };
    if !call.ask.patience.is_zero() {
        call.watched = Some(Watched::Rollout(pool.clone()));
    }
    call
}

/// What was typed was read before.
fn clock(said: Option<&str>, unsaid: Duration) -> Duration {
    let said = said.and_then(|said| params::clock(said).ok());
    said.unwrap_or(unsaid)
}

/// A key for a query: it may hold any printable character.
fn escaped(key: &str) -> String {
    let each = key.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    each.collect()
}
