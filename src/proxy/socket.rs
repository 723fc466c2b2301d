//! What pingora's streams do not offer of the sockets under them.
//!
//! A stream only says the number of its descriptor, so the descriptor is borrowed by that number:
//! the one place of the project with `unsafe`, in [`with_fd`].

use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use pingora::protocols::Stream;
use rustix::net::{RecvFlags, recv, sockopt};

/// Makes the end of the connection a reset, which nobody takes for an orderly end (SO_LINGER of 0).
pub(super) fn reset_on_close(stream: &Stream) {
    with_fd(stream, |fd| {
        // Fails for a unix socket, whose end cannot be told from a cut then.
        let _ = sockopt::set_socket_linger(fd, Some(Duration::ZERO));
    });
}

/// Whether the other side has neither closed nor sent anything, asked of the kernel: tokio knows
/// only what its reactor has seen, which may be a moment ago.
pub(super) fn is_silent(stream: &Stream) -> bool {
    let peeked = with_fd(stream, |fd| {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(fd, &mut byte[..], flags).map(|_| ())
    });
    peeked == Some(Err(rustix::io::Errno::AGAIN))
}

fn with_fd<T>(stream: &Stream, use_it: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
    let fd: RawFd = stream.id();
    if fd < 0 {
        return None;
    }
    // SAFETY: the stream owns the descriptor and closes it when it is dropped; it is borrowed here
    // for longer than the descriptor is used, and -1, which is none, was sorted out above.
    #[allow(unsafe_code)]
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    Some(use_it(fd))
}
