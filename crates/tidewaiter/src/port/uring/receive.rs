//! Receives: from sockets and pipes, into the ring's buffers or, in a surge, into large memory.

use std::os::fd::BorrowedFd;
use std::rc::Rc;

use io_uring::{opcode, squeue, types};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::super::buffer::Pool;
use super::super::table::Key;
use super::super::unix_socket::How;
use super::super::{Completion, Outcome};
use super::buffers::{BufferRing, GROUP};
use super::next::{Next, errno, failed, poll_first, start_after_poll};
use super::pending::{Pending, Stage, Work};
use super::ring::{AT_POSITION, Cqe};

/// The most large pieces of memory that one wait receives into, and steps in which it sends files. The program processes these before
/// more are received, so that the same memory serves again.
pub(super) const WIDE_MAX: usize = 4;

/// The port's own memory to receive into, and the number of large pieces that this wait has received or sent.
pub(super) struct Wide {
    /// For receiving while the program holds all buffers of the ring.
    pub(super) usual: Rc<Pool>,
    /// For surges: large pieces.
    pub(super) pool: Rc<Pool>,
    pub(super) taken: usize,
}

impl Wide {
    /// The memory for a socket that is received from by plain calls. A packet must fit, and the pool keeps few pieces of that
    /// size, so each counts.
    pub(super) fn for_messages(&mut self, how: How) -> &Rc<Pool> {
        if how.packets {
            self.taken += 1;
            return &self.pool;
        }
        &self.usual
    }
}

pub(super) fn start(descriptor: types::Fd, pipe: bool, multishot: bool) -> squeue::Entry {
    // A length of zero means the whole of the buffer that the kernel selects.
    let nowhere = std::ptr::null_mut();
    match (pipe, multishot) {
        (false, true) => opcode::RecvMulti::new(descriptor, GROUP).build(),
        (true, true) => opcode::ReadMulti::new(descriptor, 0, GROUP)
            .offset(AT_POSITION)
            .build(),
        (false, false) => opcode::Recv::new(descriptor, nowhere, 0)
            .buf_group(GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT),
        (true, false) => opcode::Read::new(descriptor, nowhere, 0)
            .offset(AT_POSITION)
            .buf_group(GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT),
    }
}

pub(super) fn finish(pending: &mut Pending, cqe: Cqe, buffers: &Rc<BufferRing>) -> Next {
    let received = received(cqe, buffers);
    if let Some(Outcome::Received(buffer)) = &received {
        note_surge(
            pending,
            buffer.len(),
            buffers.bytes(),
            cqe.has_more_behind(),
        );
        if cqe.more() {
            return Next::GoOn(received);
        }
        if pending.is_wide() {
            pending.stage = Stage::Polling;
        }
        return Next::Again(received);
    }
    let (by_us, wide) = (!pending.cancelled, pending.is_wide());
    match (errno(cqe), &mut pending.work) {
        _ if cqe.more() => Next::GoOn(None),
        (None, _) => Next::End(Ok(Outcome::EndOfFile)),
        // A pseudo-terminal reports EIO when the other end is closed.
        (Some(libc::EIO), Work::Receive { pipe: true, .. }) => Next::End(Ok(Outcome::EndOfFile)),
        (Some(libc::EINTR), _) => Next::Again(None),
        (Some(libc::ENOBUFS), _) if buffers.replenish() => Next::Again(None),
        // No buffer was left. The kernel reports this even if there is no data, so wait for data
        // first.
        (Some(libc::ENOBUFS | libc::EAGAIN), _) => poll_first(pending),
        // Cancelled by the port, because of a surge or before a fork.
        (Some(libc::ECANCELED), _) if by_us && wide => poll_first(pending),
        (Some(libc::ECANCELED), _) if by_us => Next::Again(None),
        // Some readable descriptors do not support multishot reads.
        (Some(libc::EBADFD), Work::Receive { multishot, .. }) if *multishot => {
            *multishot = false;
            Next::Again(None)
        }
        (Some(errno), _) => failed(pending, errno),
    }
}

/// Returns the buffer that the kernel filled, if any; puts back one that it took but did not use.
fn received(cqe: Cqe, buffers: &Rc<BufferRing>) -> Option<Outcome> {
    let id = cqe.buffer()?;
    match usize::try_from(cqe.result) {
        Ok(len) if len > 0 => Some(Outcome::Received(buffers.filled(id, len))),
        _ => {
            buffers.untaken(id);
            None
        }
    }
}

/// Records how many bytes a receive delivered, and whether there are more.
fn note_surge(pending: &mut Pending, len: usize, bytes_max: usize, more: bool) {
    let Work::Receive { pipe, surge, .. } = &mut pending.work else {
        unreachable!("only receives are noted");
    };
    if *pipe {
        // SAFETY: the handle's descriptor stays open until its last operation has completed.
        let pipe = unsafe { BorrowedFd::borrow_raw(pending.descriptor) };
        surge.note(pipe, len, bytes_max);
    } else {
        surge.note_connection(len, more);
    }
}

/// The descriptor is readable: receives.
///
/// A `pool` is passed if the port is to receive into memory of its own: because the pipe is wide,
/// or because the program holds every buffer of the ring and may keep them forever.
#[inline(always)]
pub(super) fn finish_poll(pending: &mut Pending, cqe: Cqe, pool: Option<&Rc<Pool>>) -> Next {
    match (errno(cqe), pool) {
        // The cancellation was meant for an earlier multishot that had already ended, or it
        // precedes a fork.
        (Some(libc::ECANCELED), _) if !pending.cancelled => Next::Again(None),
        (None, Some(pool)) if !pending.cancelled => receive_directly(pending, pool),
        _ => start_after_poll(pending, cqe),
    }
}

/// Finishes a poll during a surge by receiving directly, several times if there is more.
///
/// While receives fill whole pieces of memory, there is probably more data, so the port receives
/// again at once. Asking the kernel for readiness would cost a turn for each piece. `WIDE_MAX`
/// bounds the number of pieces.
#[inline(always)]
pub(super) fn finish_wide(
    pending: &mut Pending,
    key: Key,
    cqe: Cqe,
    wide: &mut Wide,
    limit: usize,
    completions: &mut Vec<Completion>,
) -> Next {
    let mut next = finish_poll(pending, cqe, Some(&wide.pool));
    wide.taken += 1;
    while wide.taken < WIDE_MAX
        && completions.len() + 1 < limit
        && next.received() == wide.pool.capacity()
    {
        let more = receive_directly(pending, &wide.pool);
        wide.taken += 1;
        if let Next::Again(Some(piece)) = std::mem::replace(&mut next, more) {
            completions.push(pending.completion(key, piece));
        }
    }
    next
}

/// Receives into the port's own memory without blocking, then waits for more.
fn receive_directly(pending: &mut Pending, pool: &Rc<Pool>) -> Next {
    let pipe = matches!(pending.work, Work::Receive { pipe: true, .. });
    // SAFETY: the handle's descriptor stays open until its last operation has completed.
    let descriptor = unsafe { BorrowedFd::borrow_raw(pending.descriptor) };
    let mut lease = pool.lease();
    let result = if pipe {
        rustix::io::read(descriptor, lease.as_mut_slice())
    } else {
        rustix::net::recv(descriptor, lease.as_mut_slice(), RecvFlags::DONTWAIT).map(|(len, _)| len)
    };
    match result {
        Ok(0) => Next::End(Ok(Outcome::EndOfFile)),
        Err(Errno::IO) if pipe => Next::End(Ok(Outcome::EndOfFile)),
        Ok(len) => {
            if !pipe {
                note_direct(pending, len, len == lease.capacity());
            }
            Next::Again(Some(Outcome::Received(lease.filled(len))))
        }
        Err(Errno::AGAIN | Errno::INTR) => Next::Again(None),
        Err(errno) => failed(pending, errno.raw_os_error()),
    }
}

/// Records `len` bytes received directly. Once the surge is over, the kernel receives again.
fn note_direct(pending: &mut Pending, len: usize, more: bool) {
    let Work::Receive {
        surge, taken_back, ..
    } = &mut pending.work
    else {
        unreachable!("only receives are noted");
    };
    let was_wide = surge.is_wide();
    surge.note_connection(len, more);
    if was_wide && !surge.is_wide() {
        *taken_back = false;
        pending.stage = Stage::Started;
    }
}
