//! The handlers of rollouts; the same kind as those of backends in [`super::handlers`].

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response as Described};

use super::Served;
use super::asks::rollouts::{CanaryBody, HistoryQuery, RollbackQuery, RolloutBody};
use super::asks::{Patience, PoolPath};
use super::extract::{Asked, InPool, Keyed, Told};
use super::handlers::answers;
use super::reply::{History, Reply, described};
use crate::control::Actor;
use crate::outcome::Outcome;

answers!(RolloutAnswers: "Answer" Done Clean Forced NotYet Begun Restored Refused Failed Unknown);

/// Moves a pool from one set of backends to another and answers when the old ones are drained.
#[utoipa::path(post, path = "/v1/pools/{pool}/rollout",
    params(PoolPath, ("Idempotency-Key" = Option<String>, Header, description = "As `key`, which goes before")),
    request_body(content = RolloutBody, content_type = "application/json"), responses(RolloutAnswers))]
pub(super) async fn rollout(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    InPool(pool): InPool,
    Keyed(key): Keyed,
    Told(mut body): Told<RolloutBody>,
) -> Reply {
    body.key = body.key.or(key);
    let control = &served.admin.control;
    control.rollout(actor, pool, body.into()).await.into()
}

answers!(CanaryAnswers: "Answer" Done Refused Unknown);

/// Changes the share of an open canary.
#[utoipa::path(post, path = "/v1/pools/{pool}/canary", params(PoolPath),
    request_body(content = CanaryBody, content_type = "application/json"), responses(CanaryAnswers))]
pub(super) async fn canary(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    InPool(pool): InPool,
    Told(CanaryBody { share }): Told<CanaryBody>,
) -> Reply {
    let control = &served.admin.control;
    control.canary(actor, pool, share).await.into()
}

answers!(PromoteAnswers: "Answer" Done Clean Forced NotYet Begun Restored Refused Failed Unknown);

/// Gives an open canary all of the traffic and answers when the old ones are drained.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/promote",
    params(PoolPath, Patience),
    responses(PromoteAnswers)
)]
pub(super) async fn promote(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    InPool(pool): InPool,
    Asked(Patience { wait }): Asked<Patience>,
) -> Reply {
    let control = &served.admin.control;
    control.promote(actor, pool, wait).await.into()
}

answers!(RollbackAnswers: "Answer" Done Clean Forced NotYet Begun Restored Refused Unknown);

/// Takes back what is under way, or brings back the set before the last rollout.
#[utoipa::path(post, path = "/v1/pools/{pool}/rollback",
    params(PoolPath, RollbackQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "As `key`, which goes before")),
    responses(RollbackAnswers))]
pub(super) async fn rollback(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    InPool(pool): InPool,
    Keyed(key): Keyed,
    Asked(mut query): Asked<RollbackQuery>,
) -> Reply {
    query.key = query.key.or(key);
    let control = &served.admin.control;
    control.rollback(actor, pool, query.into()).await.into()
}

answers!(AbortAnswers: "Answer" Done Clean Forced NotYet Begun Restored Refused Unknown);

/// Ends a rollout under way the safe way: the old ones serve.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/abort",
    params(PoolPath, Patience),
    responses(AbortAnswers)
)]
pub(super) async fn abort(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    InPool(pool): InPool,
    Asked(Patience { wait }): Asked<Patience>,
) -> Reply {
    let control = &served.admin.control;
    control.abort(actor, pool, wait).await.into()
}

answers!(HistoryAnswers: "History" Done Unknown);

/// The rollouts of a pool: the one under way, then those that were decided, the newest first.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/history",
    params(PoolPath, HistoryQuery),
    responses(HistoryAnswers)
)]
pub(super) async fn history(
    State(served): State<Arc<Served>>,
    InPool(pool): InPool,
    Asked(HistoryQuery { limit }): Asked<HistoryQuery>,
) -> Response {
    match served.admin.control.history(&pool).await {
        Ok(mut records) => {
            records.truncate(limit.unwrap_or(usize::MAX));
            Json(History {
                outcome: Outcome::Done,
                pool: pool.to_string(),
                records,
            })
            .into_response()
        }
        Err(answer) => Reply::from(*answer).into_response(),
    }
}
