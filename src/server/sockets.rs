//! The listening sockets: bound all together, before anything runs.
//!
//! pingora would bind its listeners itself, retry a taken port for half a minute and then panic.
//! Bound here, a taken port is a clear error at once, and port 0 becomes a known port. pingora
//! takes them over by descriptor ([`Sockets::hand_over`]).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::Fds;

/// A listening socket and where it listens.
pub(super) struct Bound {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
}

/// All TCP sockets of the proxy.
pub(super) struct Sockets {
    pub(super) clients: Vec<Bound>,
    pub(super) admin: Option<Bound>,
    pub(super) metrics: Option<Bound>,
}

impl Sockets {
    pub(super) fn bind(
        clients: &[SocketAddr],
        admin: Option<SocketAddr>,
        metrics: Option<SocketAddr>,
    ) -> Result<Self, String> {
        let clients = clients.iter().map(|&address| bind("listeners", address));
        Ok(Self {
            clients: clients.collect::<Result<_, _>>()?,
            admin: admin
                .map(|address| bind("admin.address", address))
                .transpose()?,
            metrics: metrics
                .map(|address| bind("metrics.address", address))
                .transpose()?,
        })
    }
}

fn bind(what: &str, address: SocketAddr) -> Result<Bound, String> {
    let bound = || -> io::Result<Bound> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        // Accepted sockets inherit it.
        crate::proxy::bound_unsent(&listener)?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    };
    bound().map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => " (another process listens there; `ss -ltnp` says which)",
            io::ErrorKind::PermissionDenied => {
                " (a port below 1024 needs root or CAP_NET_BIND_SERVICE)"
            }
            io::ErrorKind::AddrNotAvailable => " (this machine does not have that address)",
            _ => "",
        };
        format!("{what}: cannot listen on {address}: {error}{hint}")
    })
}

/// Gives the sockets to pingora: the table it takes them from, and the listeners that ask for them.
pub(super) fn hand_over(sockets: Vec<Bound>) -> (pingora::server::ListenFds, Vec<ListenerConfig>) {
    let mut table = Fds::new();
    let mut listeners = Vec::new();
    for bound in sockets {
        let name = bound.address.to_string();
        listeners.push(ListenerConfig::tcp(name.clone()).l4_buffer(L4BufferSettings::unbuffered()));
        table.add(name, bound.listener.into_raw_fd());
    }
    (Arc::new(parking_lot::Mutex::new(table)), listeners)
}
