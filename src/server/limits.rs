//! Descriptors: as many as the system lets us have, and some kept for those who are no clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::spec::ClientSpec;

/// Descriptors that are neither connections of clients or to backends nor a worker's: admin, probes, files.
const RESERVE: u64 = 512;

/// Descriptors of a worker's runtime: epoll and a second one of it, what wakes it, and signals.
const OF_WORKER: u64 = 4;

/// Raises the soft limit on open files to the hard one. If that is too few for as many clients as
/// the configuration allows, with a connection to a backend each, fewer are allowed: a flood must
/// not take the descriptors of the admin API and the probes.
pub(super) fn keep_a_reserve(client: &mut ClientSpec, workers: usize, listeners: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let have = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let Some(have) = have else {
        return;
    };
    let of_workers = workers as u64 * (listeners as u64 + OF_WORKER);
    let fit = have.saturating_sub(RESERVE + of_workers) / 2;
    let fit = usize::try_from(fit).unwrap_or(usize::MAX);
    let wanted = client.connections_max;
    if fit < wanted {
        client.connections_max = fit.max(1);
        tracing::warn!(
            "the limit on open files is {have}: {fit} client connections are allowed instead of {wanted}; raise it (LimitNOFILE) or lower client.connections_max"
        );
    }
}
