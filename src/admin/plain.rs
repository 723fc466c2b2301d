//! What the metrics listener answers, to anyone who reaches it:
//!
//! - `/metrics`: the Prometheus text format;
//! - `/healthz`: 200 while the process runs;
//! - `/readyz`: 200 while it takes new requests, else 503.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

/// Content type of the text format.
const METRICS: &str = "text/plain; version=0.0.4";

/// The routes; `metrics` renders them, `ready` says whether new requests are taken.
pub fn router(
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    ready: Arc<dyn Fn() -> bool + Send + Sync>,
) -> Router {
    // Rendering hundreds of backends takes milliseconds: not on a thread that others wait for.
    let metrics = move || async move {
        match tokio::task::spawn_blocking(move || metrics()).await {
            Ok(text) => ([(header::CONTENT_TYPE, METRICS)], text).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    };
    let readyz = move || async move {
        match ready() {
            true => (StatusCode::OK, "ready\n").into_response(),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
        }
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
}
