//! One handler for each operation: values in, one call of `control`, its answer out.
//!
//! The attributes are the OpenAPI document. What an operation can end in is listed once, by outcome,
//! in the `answers!` above it; statuses follow from the table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use utoipa::IntoResponses;
use utoipa::openapi::{RefOr, Response as Described};

use super::Served;
use super::asks::{
    AddBody, BackendPath, DrainQuery, Following, Force, Look, Nothing, Patience, PauseQuery,
    PoolPath, StandbyQuery, WeightBody,
};
use super::extract::{Asked, At, InPool, LastSeen, Told};
use super::follow;
use super::gate::Followers;
use super::reply::{OnePool, Pools, Reply, described};
use super::serve::Stopping;
use crate::control::{Actor, AddCall, DrainCall, PauseCall, StandbyCall};
use crate::outcome::Outcome;
use crate::spec::Intent;

/// How long `wait_for` waits unless told; the same as a drain's default.
const WAIT_FOR_DEFAULT: Duration = Duration::from_secs(60);

macro_rules! answers {
    ($name:ident: $schema:literal $($outcome:ident)*) => {
        pub(super) struct $name;
        impl $name {
            /// What the operation can end in, besides what every one can.
            pub(super) const OUTCOMES: &[Outcome] = &[$(Outcome::$outcome),*];
        }
        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Described>> {
                described($schema, Self::OUTCOMES)
            }
        }
    };
}
pub(super) use answers;

answers!(StatusAnswers: "Status" Done);

/// The whole proxy: process, listeners, pools, backends.
#[utoipa::path(get, path = "/v1/status", responses(StatusAnswers))]
pub(super) async fn status(
    State(served): State<Arc<Served>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Response {
    Json(served.admin.status()).into_response()
}

answers!(PoolsAnswers: "Pools" Done);

/// All pools with their backends.
#[utoipa::path(get, path = "/v1/pools", responses(PoolsAnswers))]
pub(super) async fn pools(
    State(served): State<Arc<Served>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Response {
    Json(Pools {
        outcome: Outcome::Done,
        pools: served.admin.control.status(),
    })
    .into_response()
}

answers!(PoolAnswers: "OnePool" Done Unknown);

/// One pool with its backends.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}",
    params(PoolPath),
    responses(PoolAnswers)
)]
pub(super) async fn pool(
    State(served): State<Arc<Served>>,
    InPool(pool): InPool,
    Asked(Nothing {}): Asked<Nothing>,
) -> Response {
    match served.admin.control.pool_status(&pool) {
        Ok(pool) => Json(OnePool {
            outcome: Outcome::Done,
            pool,
        })
        .into_response(),
        Err(answer) => Reply::from(*answer).into_response(),
    }
}

answers!(BackendAnswers: "Answer" Done Clean Forced NotYet NotHealthyYet Restored Refused Unknown);

/// One backend as it stands now, or once it is healthy or drained.
#[utoipa::path(
    get,
    path = "/v1/pools/{pool}/backends/{id}",
    params(BackendPath, Look),
    responses(BackendAnswers)
)]
pub(super) async fn backend(
    State(served): State<Arc<Served>>,
    At(pool, backend): At,
    Asked(look): Asked<Look>,
) -> Reply {
    let control = &served.admin.control;
    let answer = match look.wait_for {
        None => control.backend_status(&pool, &backend),
        Some(what) => {
            let wait = look.wait.unwrap_or(WAIT_FOR_DEFAULT);
            control.wait(pool, backend, what, wait).await
        }
    };
    answer.into()
}

answers!(AddAnswers: "Answer" Done Begun Refused Failed NotHealthyYet Unknown);

/// Adds a backend and answers when it is healthy.
#[utoipa::path(post, path = "/v1/pools/{pool}/backends", params(PoolPath),
    request_body(content = AddBody, content_type = "application/json"), responses(AddAnswers))]
pub(super) async fn add(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    InPool(pool): InPool,
    Told(body): Told<AddBody>,
) -> Reply {
    let call = AddCall {
        id: body.id,
        address: body.address,
        weight: body.weight.unwrap_or_default(),
        intent: match body.standby {
            Some(true) => Intent::Standby,
            _ => Intent::Active,
        },
        wait: body.wait,
    };
    served.admin.control.add(actor, pool, call).await.into()
}

answers!(DrainAnswers: "Answer" Clean Forced Begun NotYet Restored Refused Unknown);

/// Takes a backend out of rotation and answers when it is drained: safe to kill.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/backends/{id}/drain",
    params(BackendPath, DrainQuery),
    responses(DrainAnswers)
)]
pub(super) async fn drain(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    At(pool, backend): At,
    Asked(query): Asked<DrainQuery>,
) -> Reply {
    let call = DrainCall {
        wait: query.wait,
        timeout: query.timeout,
        on_timeout: query.on_timeout,
        idle_timeout: query.idle_timeout,
        close_after: query.close_after,
        spread: query.spread,
        force: query.force,
        min_eligible: query.min_eligible,
    };
    let control = &served.admin.control;
    control.drain(actor, pool, backend, call).await.into()
}

answers!(ReadyAnswers: "Answer" Done Begun NotHealthyYet Refused Unknown);

/// Makes a backend active: promotes a standby, takes a draining one back.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/backends/{id}/ready",
    params(BackendPath, Patience),
    responses(ReadyAnswers)
)]
pub(super) async fn ready(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    At(pool, backend): At,
    Asked(Patience { wait }): Asked<Patience>,
) -> Reply {
    let control = &served.admin.control;
    control.ready(actor, pool, backend, wait).await.into()
}

answers!(StandbyAnswers: "Answer" Done Refused Unknown);

/// Takes a backend out of rotation but keeps it warm and probed.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/backends/{id}/standby",
    params(BackendPath, StandbyQuery),
    responses(StandbyAnswers)
)]
pub(super) async fn standby(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    At(pool, backend): At,
    Asked(query): Asked<StandbyQuery>,
) -> Reply {
    let call = StandbyCall {
        force: query.force,
        min_eligible: query.min_eligible,
    };
    let control = &served.admin.control;
    control.standby(actor, pool, backend, call).await.into()
}

answers!(CloseAnswers: "Answer" Done Clean Forced Begun NotYet Restored Refused Unknown);

/// Cuts what a draining or standby backend still holds.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/backends/{id}/close",
    params(BackendPath, Patience),
    responses(CloseAnswers)
)]
pub(super) async fn close(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    At(pool, backend): At,
    Asked(Patience { wait }): Asked<Patience>,
) -> Reply {
    let control = &served.admin.control;
    control.close(actor, pool, backend, wait).await.into()
}

answers!(RemoveAnswers: "Answer" Done Forced NotYet Restored Refused Unknown);

/// Forgets a drained or never used backend; with `force` cuts what it holds first.
#[utoipa::path(
    delete,
    path = "/v1/pools/{pool}/backends/{id}",
    params(BackendPath, Force),
    responses(RemoveAnswers)
)]
pub(super) async fn remove(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    At(pool, backend): At,
    Asked(Force { force }): Asked<Force>,
) -> Reply {
    let control = &served.admin.control;
    control.remove(actor, pool, backend, force).await.into()
}

answers!(WeightAnswers: "Answer" Done Refused Unknown);

/// Sets the share of a backend.
#[utoipa::path(patch, path = "/v1/pools/{pool}/backends/{id}", params(BackendPath),
    request_body(content = WeightBody, content_type = "application/json"), responses(WeightAnswers))]
pub(super) async fn weigh(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    At(pool, backend): At,
    Told(WeightBody { weight }): Told<WeightBody>,
) -> Reply {
    let control = &served.admin.control;
    control.weigh(actor, pool, backend, weight).await.into()
}

answers!(PauseAnswers: "Answer" Done Begun NotYet Restored Refused Unknown);

/// Holds the requests of a pool and answers when none is in flight; tunnels do not count.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/pause",
    params(PoolPath, PauseQuery),
    responses(PauseAnswers)
)]
pub(super) async fn pause(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    InPool(pool): InPool,
    Asked(PauseQuery { ttl, wait }): Asked<PauseQuery>,
) -> Reply {
    let control = &served.admin.control;
    let call = PauseCall { ttl, wait };
    control.pause(actor, pool, call).await.into()
}

answers!(ResumeAnswers: "Answer" Done Unknown);

/// Lets the held requests of a paused pool go on, in the order they came.
#[utoipa::path(
    post,
    path = "/v1/pools/{pool}/resume",
    params(PoolPath),
    responses(ResumeAnswers)
)]
pub(super) async fn resume(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    InPool(pool): InPool,
    Asked(Nothing {}): Asked<Nothing>,
) -> Reply {
    served.admin.control.resume(actor, pool).await.into()
}

answers!(ReloadAnswers: "Answer" Done Refused Rejected);

/// Reads the file again and merges in what it changed; all or nothing.
#[utoipa::path(post, path = "/v1/reload", responses(ReloadAnswers))]
pub(super) async fn reload(
    State(served): State<Arc<Served>>,
    Extension(actor): Extension<Actor>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Reply {
    served.admin.control.reload(actor).await.into()
}

pub(super) struct EventsAnswers;
impl EventsAnswers {
    /// What following can end in; a stream that began ends with its connection.
    pub(super) const OUTCOMES: &[Outcome] = &[Outcome::Done, Outcome::Unknown];
}
impl IntoResponses for EventsAnswers {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let mut responses = described("EventRecord", Self::OUTCOMES);
        if let Some(RefOr::T(response)) = responses.get_mut("200") {
            response.description = "server-sent events until the proxy stops: `id` is the number, \
                                    `event` the name, `data` this document on one line"
                .to_owned();
            let schema = std::mem::take(&mut response.content).into_values();
            let media = schema.map(|schema| (follow::MEDIA.to_owned(), schema));
            response.content = media.collect();
        }
        if let Some(RefOr::T(response)) = responses.get_mut("503") {
            response.description = "`error`: too many requests or followers at once".to_owned();
        }
        responses
    }
}

/// Follows every change of intent and health and every drain, numbered and replayable.
#[utoipa::path(get, path = "/v1/events", responses(EventsAnswers), params(Following,
    ("Last-Event-ID" = Option<String>, Header,
        description = "As `since`, which goes before; browsers and SSE libraries send it by themselves")))]
pub(super) async fn events(
    State(served): State<Arc<Served>>,
    Extension(Followers(places)): Extension<Followers>,
    Extension(stopping): Extension<Stopping>,
    LastSeen(last): LastSeen,
    Asked(asked): Asked<Following>,
) -> Response {
    let control = &served.admin.control;
    let known = asked.pool.as_ref().map(|pool| control.pool_status(pool));
    if let Some(Err(answer)) = known {
        return Reply::from(*answer).into_response();
    }
    let Ok(place) = places.try_acquire_owned() else {
        return follow::crowded().into_response();
    };
    let since = asked.since.or(last);
    let only = follow::Only {
        pool: asked.pool,
        backend: asked.backend,
    };
    let follower = follow::Follower::new(Arc::clone(control.events()), since, only, stopping);
    follow::answer(follower, place)
}

struct DocumentAnswers;
impl IntoResponses for DocumentAnswers {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let mut responses = described("Answer", &[Outcome::Done]);
        if let Some(RefOr::T(response)) = responses.get_mut("200") {
            response.description = "this document".to_owned();
            response.content.clear();
        }
        responses
    }
}

/// The OpenAPI document of this API.
#[utoipa::path(get, path = "/openapi.json", responses(DocumentAnswers))]
pub(super) async fn openapi(
    State(served): State<Arc<Served>>,
    Asked(Nothing {}): Asked<Nothing>,
) -> Response {
    served.document.clone().into_response()
}
