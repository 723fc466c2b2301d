//! Descriptors: as many as the system lets us have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are neither client nor upstream connections: listeners, admin, probes, files.
const OTHER_DESCRIPTORS: u64 = 512;

/// Raises the soft limit on open files to the hard one. Says what is wrong if that is too few for
/// `connections_max` clients with a connection to a backend each.
pub(super) fn raise_open_files(connections_max: usize) -> Option<String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let have = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let need = 2 * connections_max as u64 + OTHER_DESCRIPTORS;
    match have {
        Some(have) if have < need => Some(format!(
            "the limit on open files is {have}, client.connections_max needs {need}; raise it (LimitNOFILE) or lower connections_max"
        )),
        _ => None,
    }
}
