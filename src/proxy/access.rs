//! The one record of each exchange: into the metrics, and into the access log if that is on.

use std::sync::Arc;

use super::context::{Record, Recorder};
use super::failure::Failure;
use crate::metrics::{BackendMetrics, Metrics};

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
                judge(handles, record, failure);
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

/// Says what of a failed exchange is held against the backend, beside its status.
fn judge(handles: &BackendMetrics, record: &Record<'_>, failure: Failure) {
    let is_the_backends = failure.is_the_backends();
    // Another status is that of an answer which had begun.
    let is_in_its_stead = record.status == failure.status();
    if is_in_its_stead && record.status >= 500 && (record.is_told || !is_the_backends) {
        handles.excuse();
    } else if is_the_backends && record.status < 500 && !record.is_tunnel {
        handles.broke_off();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Tally;
    use crate::metrics::Build;
    use crate::pool::Pools;
    use crate::pool::testing::backend;
    use std::time::Duration;

    /// What failed, the status that went out, and what is held against the backend by it: answers,
    /// errors.
    const FAILED: [(Failure, u16, (u64, u64)); 19] = [
        (Failure::ConnectFailed, 502, (1, 1)),
        (Failure::ConnectTimeout, 504, (1, 1)),
        (Failure::UpstreamReset, 502, (1, 1)),
        (Failure::UpstreamReset, 200, (1, 1)),
        (Failure::UpstreamTimeout, 504, (1, 1)),
        (Failure::BodyTimeout, 504, (1, 1)),
        (Failure::BodyTimeout, 200, (1, 1)),
        (Failure::BadResponse, 502, (1, 1)),
        (Failure::BadRequest, 400, (1, 0)),
        (Failure::ClientBodyTimeout, 408, (1, 0)),
        (Failure::ClientBodyTimeout, 200, (1, 0)),
        (Failure::ClientGone, 499, (0, 0)),
        (Failure::ClientGone, 200, (0, 0)),
        (Failure::DrainClosed, 503, (0, 0)),
        (Failure::DrainClosed, 200, (1, 0)),
        // The head with which the app itself had answered.
        (Failure::DrainClosed, 500, (1, 1)),
        (Failure::NoBackend, 503, (0, 0)),
        (Failure::HeldTooLong, 503, (0, 0)),
        (Failure::Internal, 500, (0, 0)),
    ];

    fn tally(failure: Failure, status: u16, is_told: bool, is_tunnel: bool) -> (u64, u64) {
        let build = Build {
            version: "0",
            revision: None,
        };
        let metrics = Metrics::new(Arc::new(Pools::new()), build, &Failure::WORDS);
        let backend = backend(1);
        let record = Record {
            logged: None,
            pool: None,
            backend: Some(&backend),
            status,
            failure: Some(failure),
            tries: 1,
            took: Duration::ZERO,
            is_told,
            is_tunnel,
            bytes_up: 0,
            bytes_down: 0,
        };
        count(&metrics, &record);
        let Tally { answers, errors } = backend.tally();
        (answers, errors)
    }

    #[test]
    fn only_what_the_backend_did_is_held_against_it() {
        for (failure, status, expected) in FAILED {
            assert_eq!(
                tally(failure, status, false, false),
                expected,
                "{failure:?}"
            );
        }
    }

    /// The try that failed was counted when it did.
    #[test]
    fn what_was_told_before_is_not_counted_again() {
        for (failure, status, _) in FAILED.iter().filter(|(_, status, _)| *status >= 502) {
            let told = tally(*failure, *status, true, false);
            assert_eq!(told, (0, 0), "{failure:?}");
        }
    }

    /// However it ends, and many end roughly.
    #[test]
    fn a_tunnel_is_an_answer_and_no_error() {
        for failure in [
            Failure::UpstreamReset,
            Failure::TunnelTimeout,
            Failure::DrainClosed,
        ] {
            assert_eq!(tally(failure, 101, false, true), (1, 0), "{failure:?}");
        }
    }
}
