//! From a verb to the question that is sent.

mod rollouts;

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use http::Method;
use serde_json::{Value, json};

use super::tree::{At, DrainClocks, Place, Verb};
use crate::admin::client::Ask;
use crate::admin::params;
use crate::control::{ADD_WAIT, PAUSE_WAIT, WAIT_MAX};
use crate::spec::PoolName;

/// How long verbs that wait do so unless told, except a drain: its default is the pool's.
const WAIT_DEFAULT: Duration = ADD_WAIT;

/// A question, and what to look at meanwhile.
pub(super) struct Call {
    pub(super) ask: Ask,
    /// Whose progress is shown while the answer is waited for.
    pub(super) watched: Option<Watched>,
}

/// What is looked at while an answer is waited for.
pub(super) enum Watched {
    /// A backend that gets healthy or is drained.
    Backend(Place),
    /// A pool whose rollout is under way.
    Rollout(PoolName),
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(place) => place.fmt(f),
            Self::Rollout(pool) => pool.fmt(f),
        }
    }
}

/// The path of a place, below which its operations are.
pub(super) fn path(place: &Place) -> String {
    match &place.backend {
        None => format!("/v1/pools/{}", place.pool),
        Some(backend) => {
            let generation = backend.generation.map(|number| format!("@{number}"));
            let generation = generation.unwrap_or_default();
            format!(
                "/v1/pools/{}/backends/{}{generation}",
                place.pool, backend.id
            )
        }
    }
}

/// The target of a stream of events.
pub(super) fn events(place: Option<&Place>, since: Option<&str>) -> String {
    let backend = place.and_then(|place| place.backend.as_ref());
    let query = [
        ("since", since.map(str::to_owned)),
        ("pool", place.map(|place| place.pool.to_string())),
        ("backend", backend.map(ToString::to_string)),
    ];
    with_query("/v1/events".to_owned(), &query)
}

/// The target of a history.
pub(super) fn history(pool: &PoolName, limit: Option<usize>) -> String {
    let target = format!("/v1/pools/{pool}/history");
    with_query(target, &[("limit", limit.map(|limit| limit.to_string()))])
}

/// The question of a verb that ends with one [`crate::report::Answer`].
pub(super) fn call(verb: &Verb) -> Option<Call> {
    Some(match verb {
        Verb::Run(_)
        | Verb::Check(_)
        | Verb::Status { .. }
        | Verb::Events { .. }
        | Verb::History(_)
        | Verb::Completions { .. } => return None,
        Verb::Rollout(rollout) => rollouts::rollout(rollout),
        Verb::Canary(canary) => rollouts::canary(canary),
        Verb::Promote(asked) => rollouts::promote(asked),
        Verb::Rollback(rollback) => rollouts::rollback(rollback),
        Verb::Abort(asked) => rollouts::abort(asked),
        Verb::Add {
            at,
            address,
            standby,
            weight,
            wait,
        } => {
            let wait = wait.as_sent();
            let mut body = json!({"id": at.id, "address": address});
            if *standby {
                body["standby"] = true.into();
            }
            if let Some(weight) = weight {
                body["weight"] = weight.as_u32().into();
            }
            if let Some(wait) = &wait {
                body["wait"] = wait.as_str().into();
            }
            let place = Place {
                pool: at.pool.clone(),
                backend: Some(crate::pool::model::BackendRef {
                    id: at.id.clone(),
                    generation: None,
                }),
            };
            let mut call = plain(Method::POST, format!("/v1/pools/{}/backends", at.pool));
            call.ask.body = Some(body);
            waiting(call, &place, wait.as_deref(), WAIT_DEFAULT)
        }
        Verb::Drain {
            at,
            wait,
            clocks,
            force,
            least,
        } => {
            let wait = wait.as_sent();
            let mut query = vec![("wait", wait.clone())];
            query.extend(clocks.as_sent());
            query.push(("force", flag(*force)));
            query.push(("min_eligible", least.as_sent()));
            let call = post(at, "drain", &query);
            waiting(call, &at.place, wait.as_deref(), WAIT_MAX)
        }
        Verb::Ready { at, wait } => {
            let wait = wait.as_sent();
            let call = post(at, "ready", &[("wait", wait.clone())]);
            waiting(call, &at.place, wait.as_deref(), WAIT_DEFAULT)
        }
        Verb::Standby { at, force, least } => {
            let query = [("force", flag(*force)), ("min_eligible", least.as_sent())];
            post(at, "standby", &query)
        }
        Verb::Close { at, wait } => {
            let call = post(at, "close", &[("wait", wait.clone())]);
            waiting(call, &at.place, wait.as_deref(), WAIT_DEFAULT)
        }
        Verb::Remove { at, force } => {
            let target = with_query(path(&at.place), &[("force", flag(*force))]);
            plain(Method::DELETE, target)
        }
        Verb::Weight { at, weight } => {
            let mut call = plain(Method::PATCH, path(&at.place));
            call.ask.body = Some(json!({"weight": weight.as_u32()}));
            call
        }
        Verb::Wait { at, what, wait } => {
            let query = [("wait_for", word(what)), ("wait", wait.clone())];
            let call = plain(Method::GET, with_query(path(&at.place), &query));
            waiting(call, &at.place, wait.as_deref(), WAIT_DEFAULT)
        }
        Verb::Pause { pool, ttl, wait } => {
            let wait = wait.as_sent();
            let query = [("ttl", ttl.clone()), ("wait", wait.clone())];
            let target = with_query(format!("/v1/pools/{pool}/pause"), &query);
            let mut call = plain(Method::POST, target);
            call.ask.patience = patience(wait.as_deref(), PAUSE_WAIT);
            call
        }
        Verb::Resume { pool } => plain(Method::POST, format!("/v1/pools/{pool}/resume")),
        Verb::Reload => plain(Method::POST, "/v1/reload".to_owned()),
    })
}

fn plain(method: Method, target: String) -> Call {
    Call {
        ask: Ask {
            method,
            target,
            body: None::<Value>,
            patience: Duration::ZERO,
        },
        watched: None,
    }
}

fn post(at: &At, verb: &str, query: &[(&str, Option<String>)]) -> Call {
    let target = format!("{}/{verb}", path(&at.place));
    plain(Method::POST, with_query(target, query))
}

fn waiting(mut call: Call, place: &Place, wait: Option<&str>, default: Duration) -> Call {
    call.ask.patience = patience(wait, default);
    if !call.ask.patience.is_zero() {
        call.watched = Some(Watched::Backend(place.clone()));
    }
    call
}

/// How long the answer may take.
fn patience(wait: Option<&str>, default: Duration) -> Duration {
    let said = wait.and_then(|wait| params::wait(wait).ok());
    said.unwrap_or(default)
}

impl DrainClocks {
    /// Keys and values, those that were said.
    fn as_sent(&self) -> [(&'static str, Option<String>); 5] {
        [
            ("timeout", self.timeout.clone()),
            ("on_timeout", self.on_timeout.as_ref().and_then(word)),
            ("idle_timeout", self.idle_timeout.clone()),
            ("close_after", self.close_after.clone()),
            ("spread", self.spread.clone()),
        ]
    }
}

/// Keys and values are words, names, numbers and units: nothing in them needs escaping.
fn with_query(target: String, query: &[(&str, Option<String>)]) -> String {
    let said = query.iter().filter_map(|(key, value)| {
        let value = value.as_ref()?;
        Some(format!("{key}={value}"))
    });
    let said: Vec<String> = said.collect();
    match said.is_empty() {
        true => target,
        false => format!("{target}?{}", said.join("&")),
    }
}

fn flag(set: bool) -> Option<String> {
    set.then(|| "true".to_owned())
}

fn word<T: ValueEnum>(value: &T) -> Option<String> {
    Some(value.to_possible_value()?.get_name().to_owned())
}
