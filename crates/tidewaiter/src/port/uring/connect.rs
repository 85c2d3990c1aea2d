//! Connects.

use io_uring::{opcode, squeue, types};
use socket2::SockAddr;

use super::super::table::Table;
use super::super::{Failure, Outcome};
use super::entry::Entry;
use super::next::{Next, errno, failed};
use super::pending::Pending;
use super::pinned::Pinned;
use super::ring::Cqe;

pub(super) fn start(descriptor: types::Fd, peer: &Pinned<SockAddr>) -> squeue::Entry {
    let address = peer.get();
    opcode::Connect::new(descriptor, address.as_ptr().cast(), address.len()).build()
}

pub(super) fn finish(pending: &Pending, cqe: Cqe) -> Next {
    match errno(cqe) {
        None => Next::End(Ok(Outcome::Connected)),
        Some(errno) => failed(pending, errno),
    }
}

/// Finishes a connect that the port cancelled while the kernel went on connecting. The socket is
/// now writable, so its state tells the result.
pub(super) fn finish_poll(pending: &Pending, handles: &Table<Entry>, cqe: Cqe) -> Next {
    if let Some(errno) = errno(cqe) {
        return failed(pending, errno);
    }
    let entry = handles
        .get(pending.handle)
        .expect("a handle outlives its operations");
    let socket = entry.socket().expect("only sockets connect");
    match socket.take_error() {
        Ok(None) => Next::End(Ok(Outcome::Connected)),
        Ok(Some(error)) | Err(error) => Next::End(Err(Failure::os(pending.work.call(), error))),
    }
}
