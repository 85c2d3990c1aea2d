//! Accepts: many connections by one request, or a single one.

use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use io_uring::{opcode, squeue, types};

use super::super::socket::Socket;
use super::super::{Outcome, control};
use super::next::{Next, errno, failed, poll_first};
use super::pending::{Pending, Work};
use super::ring::Cqe;

pub(super) fn start(descriptor: types::Fd, one: bool) -> squeue::Entry {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    if one {
        // `getpeername` tells the peer's address later.
        return opcode::Accept::new(descriptor, ptr::null_mut(), ptr::null_mut())
            .flags(flags)
            .build();
    }
    opcode::AcceptMulti::new(descriptor).flags(flags).build()
}

pub(super) fn finish(pending: &mut Pending, cqe: Cqe) -> Next {
    let accepted = match errno(cqe) {
        None => accepted(cqe.result),
        Some(libc::EAGAIN) => return poll_first(pending),
        // Linux reports network errors of the new connection here; nobody holds that connection
        // yet.
        Some(
            libc::ECONNABORTED
            | libc::EINTR
            | libc::EPROTO
            | libc::EPERM
            | libc::ENETDOWN
            | libc::ENETUNREACH
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::EHOSTUNREACH
            | libc::ETIMEDOUT,
        ) => None,
        Some(errno) => return failed(pending, errno),
    };
    match (accepted, &pending.work) {
        (Some(accepted), Work::Accept { one: true }) => Next::End(Ok(accepted)),
        (accepted, _) if cqe.more() => Next::GoOn(accepted),
        (accepted, _) => Next::Again(accepted),
    }
}

/// Wraps the new connection; `None` if it is already gone, and with it the peer's address.
fn accepted(descriptor: i32) -> Option<Outcome> {
    // SAFETY: the kernel made this descriptor for us just now, and its completion is its only mention.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let socket = socket2::Socket::from(descriptor);
    let peer = control::peer_addr(&socket).ok()?;
    let socket = Socket::accepted(socket, &peer);
    Some(Outcome::Accepted { socket, peer })
}
