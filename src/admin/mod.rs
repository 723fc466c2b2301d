//! The admin API: every operation of [`crate::control`] as one HTTP call.
//!
//! | route | operation |
//! | --- | --- |
//! | `GET /v1/status` | the whole proxy |
//! | `GET /v1/pools`, `GET /v1/pools/{pool}` | pools and their backends |
//! | `POST /v1/pools/{pool}/backends` | add |
//! | `GET …/backends/{id}` | one backend; with `wait_for` the wait for *healthy* or *drained* |
//! | `PATCH …/backends/{id}` | weight |
//! | `DELETE …/backends/{id}` | remove |
//! | `POST …/backends/{id}/drain`, `/ready`, `/standby`, `/close` | as they say |
//! | `POST /v1/pools/{pool}/rollout`, `/canary`, `/promote`, `/rollback`, `/abort` | rollouts |
//! | `GET /v1/pools/{pool}/history` | the rollouts that were |
//! | `POST /v1/pools/{pool}/pause`, `/resume` | hold the requests of a pool; let them go on |
//! | `POST /v1/reload` | the file again |
//! | `GET /v1/events` | every change as it happens, as server-sent events |
//! | `GET /openapi.json` | this, as OpenAPI 3.1, made from the handlers |
//!
//! What always holds: every answer but the stream of events carries an `outcome`
//! ([`crate::outcome`]), problem documents too; nothing that was asked is silently ignored (unknown keys, a body where none is read); a caller
//! is known ([`Actor`]) before a handler runs.
//!
//! The way of a request: [`serve`] accepts and bounds connections, the `gate` of that listener says
//! who asks and refuses browsers of other sites, `extract` and [`params`] turn it into values, a
//! handler calls `control`, `reply` writes the answer; `follow` streams the events, `record` puts
//! them into their JSON. [`client`] is the other end, for the command line; [`plain`] is the router of the metrics listener; [`socket`] makes the unix socket.
//!
//! Who calls it: `server` binds and serves, `cli` uses the client. What the answers say is decided
//! in `control`; nothing here looks at a pool.

mod asks;
pub mod client;
mod endings;
mod extract;
mod follow;
mod gate;
mod handlers;
pub mod params;
pub mod plain;
mod record;
mod reply;
mod rollouts;
pub mod serve;
pub mod socket;
pub mod tokens;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::Control;
use crate::outcome::Outcome;
use crate::report::{Answer, EventRecord, ListenerStatus, Status};
use reply::Reply;

pub use crate::control::Actor;
pub use endings::{Ending, endings};
pub use serve::{TcpDoor, serve_plain, serve_tcp, serve_unix};
pub use socket::{SocketGuard, bind_unix};
pub use tokens::Tokens;

/// Bytes of a request body at most. The largest body, a `rollout` of 100 backends, is some
/// 20 KiB; 413 beyond.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// What the handlers work with.
pub struct Admin {
    /// The façade.
    pub control: Arc<Control>,
    /// What is told about the process itself.
    pub process: Process,
}

/// What `status` tells about the process; known once everything is bound.
#[derive(Clone, Debug)]
pub struct Process {
    /// When it started.
    pub started: SystemTime,
    /// Where clients connect.
    pub listeners: Vec<ListenerStatus>,
    /// The admin API on TCP, if configured.
    pub admin: Option<ListenerStatus>,
    /// The metrics listener, if configured.
    pub metrics: Option<ListenerStatus>,
}

impl Admin {
    fn status(&self) -> Status {
        Status {
            outcome: Outcome::Done,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_ms: record::unix_millis(self.process.started),
            listeners: self.process.listeners.clone(),
            admin: self.process.admin.clone(),
            metrics: self.process.metrics.clone(),
            pools: self.control.status(),
        }
    }
}

/// The parts of the document that no handler says.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "tidegate admin API",
        description = "Zero-downtime deploys by connection draining. Every answer carries `outcome`; \
                       a status of 200 to 299 to a drain means that the backend is safe to kill, \
                       or, with 202, that the caller asked not to wait."
    ),
    components(schemas(
        Answer,
        EventRecord,
        Status,
        reply::Problem,
        reply::Pools,
        reply::OnePool,
        reply::History
    ))
)]
struct Document;

/// The routes of the admin API; [`serve_unix`] and [`serve_tcp`] put their gates in front.
pub fn router(admin: Admin) -> Router {
    let (router, document) = parts();
    router.with_state(Arc::new(Served {
        admin,
        document: Json(document),
    }))
}

/// The OpenAPI document, as `/openapi.json` answers it.
pub fn document() -> utoipa::openapi::OpenApi {
    parts().1
}

/// The state of the handlers.
struct Served {
    admin: Admin,
    document: Json<utoipa::openapi::OpenApi>,
}

fn parts() -> (Router<Arc<Served>>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(handlers::status))
        .routes(routes!(handlers::pools))
        .routes(routes!(handlers::pool))
        .routes(routes!(handlers::add))
        .routes(routes!(
            handlers::backend,
            handlers::weigh,
            handlers::remove
        ))
        .routes(routes!(handlers::drain))
        .routes(routes!(handlers::ready))
        .routes(routes!(handlers::standby))
        .routes(routes!(handlers::close))
        .routes(routes!(rollouts::rollout))
        .routes(routes!(rollouts::canary))
        .routes(routes!(rollouts::promote))
        .routes(routes!(rollouts::rollback))
        .routes(routes!(rollouts::abort))
        .routes(routes!(rollouts::history))
        .routes(routes!(handlers::pause))
        .routes(routes!(handlers::resume))
        .routes(routes!(handlers::reload))
        .routes(routes!(handlers::events))
        .routes(routes!(handlers::openapi))
        .split_for_parts();
    if let Some(components) = &mut document.components {
        let token = Http::new(HttpAuthScheme::Bearer);
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
    let router = router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    (router, document)
}

async fn unknown_path(uri: Uri) -> Reply {
    let answer = Answer::new(Outcome::Invalid, format!("there is no {:?}", uri.path()))
        .hint("/openapi.json lists the paths");
    Reply::with_status(StatusCode::NOT_FOUND, "no such path", answer)
}

async fn wrong_method(method: Method, uri: Uri) -> Reply {
    let message = format!("{:?} does not take {method}", uri.path());
    let answer =
        Answer::new(Outcome::Invalid, message).hint("the field \"Allow\" says what it takes");
    Reply::with_status(StatusCode::METHOD_NOT_ALLOWED, "wrong method", answer)
}
