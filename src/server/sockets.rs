//! The listening sockets: bound all together, before anything runs.
//!
//! pingora would bind its listeners itself, retry a taken port for half a minute and then panic.
//! Bound here, a taken port is a clear error at once, and port 0 becomes a known port. pingora
//! takes them over by descriptor ([`hand_over`]).
//!
//! Each worker has a socket of its own on every address (SO_REUSEPORT), and the kernel deals new connections
//! out among them: a connection is known to the reactor of the worker that serves it, and to no other. With one
//! socket for all, the worker that accepts would have to wake another one for each byte that comes.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::Fds;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted, of each socket, as far as the kernel's `net.core.somaxconn` allows (4096 unless it
/// was changed). pingora raises that of client sockets to 65535 when a worker takes them over.
const BACKLOG_MAX: i32 = 4096;

/// A listening socket and where it listens.
pub(super) struct Bound {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
}

/// The sockets of an address that clients connect to, one for each worker.
pub(super) struct ClientSockets {
    pub(super) listeners: Vec<TcpListener>,
    pub(super) address: SocketAddr,
}

/// All TCP sockets of the proxy.
pub(super) struct Sockets {
    pub(super) clients: Vec<ClientSockets>,
    pub(super) admin: Option<Bound>,
    pub(super) metrics: Option<Bound>,
}

impl Sockets {
    pub(super) fn bind(
        clients: &[SocketAddr],
        workers: usize,
        admin: Option<SocketAddr>,
        metrics: Option<SocketAddr>,
    ) -> Result<Self, String> {
        let shared = |&address| {
            let (listeners, address) = told("listeners", address, share(address, workers))?;
            Ok::<_, String>(ClientSockets { listeners, address })
        };
        let bound = |key, address| {
            let (mut listeners, address) = told(key, address, share(address, 1))?;
            let listener = listeners.pop();
            Ok::<_, String>(listener.map(|listener| Bound { listener, address }))
        };
        let one = |key, address: Option<_>| address.map_or(Ok(None), |address| bound(key, address));
        Ok(Self {
            clients: clients.iter().map(shared).collect::<Result<_, _>>()?,
            admin: one("admin.address", admin)?,
            metrics: one("metrics.address", metrics)?,
        })
    }
}

/// So many sockets that listen on one address, and which that is if its port was 0.
///
/// The first is bound and listens as one that shares its port with nobody, and so is refused where anybody listens,
/// also another tidegate, which would silently get a part of the connections otherwise. Only then it shares: one that
/// was bound meanwhile and does not listen yet is refused when it wants to.
fn share(address: SocketAddr, count: usize) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    let first = bind(address, false)?;
    first.listen(BACKLOG_MAX)?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    if count > 1 {
        sockets[0].set_reuse_port(true)?;
    }
    for _ in 1..count {
        let other = bind(address, true)?;
        other.listen(BACKLOG_MAX)?;
        sockets.push(other);
    }
    Ok((
        sockets.into_iter().map(TcpListener::from).collect(),
        address,
    ))
}

fn bind(address: SocketAddr, shares_port: bool) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    // What is left of connections of a process that ended does not take the port (TIME_WAIT).
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares_port)?;
    // Accepted sockets inherit it.
    crate::proxy::bound_unsent(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn told<T>(key: &str, address: SocketAddr, bound: io::Result<T>) -> Result<T, String> {
    bound.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => " (another process listens there; `ss -ltnp` says which)",
            io::ErrorKind::PermissionDenied => {
                " (a port below 1024 needs root or CAP_NET_BIND_SERVICE)"
            }
            io::ErrorKind::AddrNotAvailable => " (this machine does not have that address)",
            _ => "",
        };
        format!("{key}: cannot listen on {address}: {error}{hint}")
    })
}

/// Gives the sockets of one worker to pingora: the table it takes them from, and the listeners that ask for them.
pub(super) fn hand_over(
    sockets: Vec<(TcpListener, SocketAddr)>,
) -> (pingora::server::ListenFds, Vec<ListenerConfig>) {
    let mut table = Fds::new();
    let mut listeners = Vec::new();
    for (listener, address) in sockets {
        let name = address.to_string();
        listeners.push(ListenerConfig::tcp(name.clone()).l4_buffer(L4BufferSettings::unbuffered()));
        table.add(name, listener.into_raw_fd());
    }
    (Arc::new(parking_lot::Mutex::new(table)), listeners)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn connections_are_dealt_out_among_the_workers() {
        let (listeners, address) = share(ANY, 2).unwrap();
        let clients: Vec<_> = (0..64)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let mut counts = [0; 2];
        let deadline = Instant::now() + Duration::from_secs(10);
        // The last of them may be known to their clients a moment before they can be accepted.
        while counts[0] + counts[1] < clients.len() {
            assert!(Instant::now() < deadline, "{counts:?}");
            for (listener, count) in listeners.iter().zip(&mut counts) {
                *count += usize::from(listener.accept().is_ok());
            }
        }
        // 2^-63 is the chance that one gets all.
        assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    }

    /// Both were bound before either listened, and both shared the port then.
    #[test]
    fn of_two_that_start_at_once_one_is_refused() {
        let rival = bind(ANY, false).unwrap();
        let address = rival.local_addr().unwrap().as_socket().unwrap();
        let (_listeners, _) = share(address, 2).unwrap();
        let error = rival.listen(BACKLOG_MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    /// Two proxies that share a port would each get a part of the clients, and nobody would be told.
    #[test]
    fn a_port_that_is_listened_on_is_refused_although_it_is_shared_among_workers() {
        for count in [1, 2] {
            let (_listeners, address) = share(ANY, 2).unwrap();
            let error = share(address, count).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn a_port_without_a_share_for_others_is_refused() {
        let (_listeners, address) = share(ANY, 1).unwrap();
        assert_eq!(
            share(address, 2).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }
}
