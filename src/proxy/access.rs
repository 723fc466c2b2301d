//! The one record of each exchange: into the metrics, and into the access log if that is on.

use std::sync::Arc;

use super::context::{Record, Recorder};
use super::failure::Failure;
use crate::metrics::Metrics;

/// A recorder that counts, and logs if `log` says so.
pub(super) fn recorder(metrics: Arc<Metrics>, log: bool) -> Recorder {
    Arc::new(move |record| {
        count(&metrics, record);
        if log {
            write(record);
        }
    })
}

/// An answer of a backend is counted as its response; an error of ours with the backend it befell,
/// else with the pool, else with no pool at all.
fn count(metrics: &Metrics, record: &Record<'_>) {
    match (record.failure, record.backend, record.pool) {
        // A tunnel's length says nothing about how fast answers are.
        (None, Some(backend), _) if record.is_tunnel => {
            metrics.of(backend).responded(record.status);
        }
        (None, Some(backend), _) => metrics.of(backend).observe(record.status, record.took),
        (Some(failure), Some(backend), _) => {
            let handles = metrics.of(backend);
            handles.error(failure as usize);
            if failure != Failure::ClientGone {
                handles.observe(record.status, record.took);
            }
        }
        (Some(failure), None, Some(pool)) => {
            if let Some(pool) = metrics.pool(&pool.name) {
                pool.answered(record.status, failure as usize);
            }
        }
        (Some(failure), None, None) => {
            if failure == Failure::NoRoute {
                metrics.route_missed();
            }
            metrics.unrouted().answered(record.status, failure as usize);
        }
        // Neither a backend nor an error: the client left before anything was decided.
        (None, None, _) => {}
    }
}

/// One line of the access log. Its own target: the log settings turn it on and off, always as JSON.
fn write(record: &Record<'_>) {
    let logged = record.logged;
    tracing::info!(
        target: "tidegate::access",
        method = logged.map(|logged| &*logged.method),
        host = logged.map(|logged| &*logged.host),
        path = logged.map(|logged| &*logged.path),
        client = logged.and_then(|logged| logged.client).map(tracing::field::display),
        status = record.status,
        error = record.failure.map(Failure::word),
        pool = record.pool.map(|pool| pool.name.as_str()),
        backend = record.backend.map(|backend| backend.id().as_str()),
        generation = record.backend.map(|backend| backend.generation()),
        tries = record.tries,
        tunnel = record.is_tunnel,
        bytes_up = record.bytes_up,
        bytes_down = record.bytes_down,
        duration_ms = record.took.as_secs_f64() * 1000.0,
    );
}
