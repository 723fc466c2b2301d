//! What pingora's streams do not offer of the sockets under them.
//!
//! A stream only says the number of its descriptor, so the descriptor is borrowed by that number:
//! the one place of the project with `unsafe`, in [`with_fd`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::time::Duration;

use pingora::protocols::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;

/// Bytes that the kernel takes before it could send them (TCP_NOTSENT_LOWAT).
const UNSENT_MAX: u32 = 128 * 1024;

/// Bounds what waits in the kernel to be sent on this TCP socket, or on those accepted from it, to
/// 128 KiB beyond what is on its way. Without that a socket becomes writable only when a third
/// of its send buffer is free, which may be megabytes: a slow reader would seem to take nothing for
/// longer than any clock allows. It saves the memory too.
pub fn bound_unsent(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_MAX)
}

/// The same for a connection that was dialled.
pub(super) fn bound_unsent_of(stream: &Stream) {
    // Fails for a unix socket, which has no such bound.
    with_fd(stream, |fd| bound_unsent(&fd).ok());
}

/// Makes the end of the connection a reset, which nobody takes for an orderly end (SO_LINGER of 0).
pub(super) fn reset_on_close(stream: &Stream) {
    // Fails for a unix socket, whose end cannot be told from a cut then.
    with_fd(stream, |fd| {
        SockRef::from(&fd).set_linger(Some(Duration::ZERO)).ok()
    });
}

/// Whether the other side has closed its sending half or all of the connection, however much that it
/// sent before is still unread.
pub(super) fn has_left(stream: &Stream) -> bool {
    let left = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let seen = with_fd(stream, |fd| {
        let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let count = poll(&mut asked, Some(&at_once));
        count.is_ok_and(|count| count > 0 && asked[0].revents().intersects(left))
    });
    seen == Some(true)
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
