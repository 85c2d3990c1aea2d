//! Receives and sends that keep messages apart, or pass descriptors: by plain calls, once a poll tells that they can be
//! made. Such messages are rare, and these need no memory that the kernel holds on to.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::SendFlags;

use super::super::buffer::Pool;
use super::super::unix_socket::{self, How};
use super::super::{Failure, Outcome};
use super::next::{Next, errno, failed};
use super::pending::{Pending, Work};
use super::ring::Cqe;

pub(super) fn receive(pending: &Pending, how: How, cqe: Cqe, pool: &Rc<Pool>) -> Next {
    if let Some(next) = without_poll(pending, cqe) {
        return next;
    }
    // SAFETY: the handle's descriptor stays open until its last operation has completed.
    let socket = unsafe { BorrowedFd::borrow_raw(pending.descriptor) };
    match unix_socket::receive(socket, pool.lease(), how) {
        Ok(Some(Outcome::EndOfFile)) => Next::End(Ok(Outcome::EndOfFile)),
        Ok(received) => Next::Again(received),
        Err(failure) => Next::End(Err(failure)),
    }
}

pub(super) fn send(pending: &mut Pending, cqe: Cqe) -> Next {
    if let Some(next) = without_poll(pending, cqe) {
        return next;
    }
    // SAFETY: the handle's descriptor stays open until its last operation has completed.
    let socket = unsafe { BorrowedFd::borrow_raw(pending.descriptor) };
    let Work::SendMessages { packets, chunks } = &mut pending.work else {
        unreachable!("only such sends are finished here");
    };
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match unix_socket::send(socket, *packets, chunks, flags) {
        Ok(bytes) => Next::End(Ok(Outcome::Sent { bytes })),
        Err(Errno::AGAIN) => Next::Again(None),
        Err(error) => Next::End(Err(Failure::os("sendmsg", error.into()))),
    }
}

/// The next step if the poll did not end with readiness.
fn without_poll(pending: &Pending, cqe: Cqe) -> Option<Next> {
    match errno(cqe) {
        // Cancelled by the port, before a fork.
        Some(libc::ECANCELED) if !pending.cancelled => Some(Next::Again(None)),
        Some(errno) => Some(failed(pending, errno)),
        None if pending.cancelled => Some(Next::End(Err(Failure::Cancelled))),
        None => None,
    }
}
