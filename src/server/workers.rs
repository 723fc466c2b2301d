//! The workers: threads that accept clients and serve them.
//!
//! A worker is a thread with pingora's runtime of one thread, a reactor, and a socket of its own on each
//! address. It accepts until the proxy stops, and serves what it accepted until the process ends. One that
//! stops to accept before is a fault, which ends the process ([`super`]).

use std::net::{SocketAddr, TcpListener};

use pingora::services::Service as _;
use pingora::services::listening::Service;
use pingora_runtime::Runtime as PingoraRuntime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::sockets::{ClientSockets, hand_over};
use crate::config::Config;
use crate::proxy::Front;

/// How many there are to be.
pub(super) fn workers(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    config.workers.unwrap_or_else(cores)
}

/// The workers that accept; each is there until its listeners are closed.
pub(super) type Closed = JoinSet<()>;

/// Serves clients, by one worker for each of an address' sockets, until `stopping` says so. The workers live as
/// long as the process: exchanges go on after the listeners are closed.
pub(super) fn accept_clients(
    front: Front,
    addresses: Vec<ClientSockets>,
    stopping: &watch::Receiver<bool>,
) -> Closed {
    let workers = addresses.iter().map(|shared| shared.listeners.len()).max();
    let mut of_workers: Vec<Vec<_>> = (0..workers.unwrap_or(0)).map(|_| Vec::new()).collect();
    for shared in addresses {
        for (of_worker, listener) in of_workers.iter_mut().zip(shared.listeners) {
            of_worker.push((listener, shared.address));
        }
    }
    let mut sweep = Some(front.sweep());
    let mut closed = Closed::new();
    for sockets in of_workers {
        // One thread each: of several, pingora would serve a connection in another than that which accepts it.
        let runtime = PingoraRuntime::new_no_steal(1, "worker");
        let handle = runtime.get_handle().clone();
        // Dropping it would end its exchanges, and count them as given back, so it is never dropped.
        std::mem::forget(runtime);
        sweep.take().map(|sweep| handle.spawn(sweep));
        let serving = serve_clients(front.clone(), sockets, stopping.clone());
        let serving = handle.spawn(serving);
        // An error is a panic, which was logged.
        closed.spawn(async move { drop(serving.await) });
    }
    closed
}

/// Accepts in this worker until the listeners are closed.
async fn serve_clients(
    front: Front,
    sockets: Vec<(TcpListener, SocketAddr)>,
    stopping: watch::Receiver<bool>,
) {
    let (table, listeners) = hand_over(sockets);
    let mut service = Service::new("clients".to_owned(), front);
    for listener in listeners {
        service.add_listener(listener);
    }
    service.start_service(Some(table), stopping, 1).await;
}
