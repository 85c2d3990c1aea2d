//! Turns the kernel's completions into the port's.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::super::buffer::Pool;
use super::super::socket::{Socket, SocketRepr};
use super::super::table::{Key, Table};
use super::super::{Completion, Failure, Outcome, control};
use super::buffers::BufferRing;
use super::entry::Entry;
use super::life::Phase;
use super::pending::{Pending, Stage, Work};
use super::ring::Cqe;
use super::watch::FOREIGN;
use super::{CANCELLING, Uring, WAKE, Wide};

/// The most large pieces of memory that one wait receives into. The program processes these before
/// more are received, so that the same memory serves again.
const WIDE_MAX: usize = 4;

/// The step that follows a completion from the kernel.
enum Next {
    /// Report the outcome, if there is one; the kernel continues the operation.
    GoOn(Option<Outcome>),
    /// Report the outcome, if there is one, then submit the operation's current stage again.
    Again(Option<Outcome>),
    /// Report the last completion.
    End(Result<Outcome, Failure>),
}

impl Next {
    /// The number of bytes that the outcome reports.
    fn received(&self) -> usize {
        match self {
            Next::Again(Some(Outcome::Received(piece))) => piece.len(),
            _ => 0,
        }
    }
}

impl Uring {
    fn deliver_due(&mut self, limit: usize, completions: &mut Vec<Completion>) {
        if self.due.is_empty() {
            return;
        }
        let room = limit.saturating_sub(completions.len());
        completions.extend(self.due.drain(..room.min(self.due.len())));
    }

    /// Moves completions out of the ring until there are `limit` in all.
    pub(super) fn reap(
        &mut self,
        limit: usize,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.deliver_due(limit, completions);
        let foreign_ready = self.is_foreign_ready();
        if foreign_ready {
            self.collect_foreign(limit, completions)?;
        }
        self.wide.taken = 0;
        while completions.len() < limit
            && self.wide.taken < WIDE_MAX
            && let Some(cqe) = self.ring_mut().next()
        {
            self.finish(cqe, limit, completions);
        }
        self.deliver_due(limit, completions);
        if !foreign_ready && self.is_foreign_ready() {
            self.collect_foreign(limit, completions)?;
        }
        Ok(())
    }

    /// Processes one completion from the kernel. Appends to `completions`, which must have room for
    /// at least one within `limit`; any further completions that result are delivered next.
    pub(super) fn finish(&mut self, cqe: Cqe, limit: usize, completions: &mut Vec<Completion>) {
        if cqe.user_data == WAKE {
            self.finish_wake(cqe);
        } else if cqe.user_data == FOREIGN {
            self.finish_foreign();
        } else if cqe.user_data & CANCELLING != 0 {
            self.finish_cancel(cqe);
        } else {
            self.finish_operation(cqe, limit, completions);
        }
    }

    fn finish_operation(&mut self, cqe: Cqe, limit: usize, completions: &mut Vec<Completion>) {
        let key = Key::from_u64(cqe.user_data);
        let Some(pending) = self.operations.get_mut(key).filter(|one| one.lent) else {
            self.stale += 1;
            if let Some(id) = cqe.buffer() {
                self.buffers.untaken(id);
            }
            return;
        };
        pending.lent = cqe.more();
        let next = match (pending.stage, &pending.work) {
            (Stage::Started, Work::Receive { .. }) => {
                let received = received(cqe, &self.buffers);
                finish_receive(pending, cqe, received, &self.buffers)
            }
            (Stage::Started, Work::Send { .. }) => finish_send(pending, cqe),
            (Stage::Started, Work::Accept { .. }) => finish_accept(pending, cqe),
            (Stage::Started, Work::Connect(_)) => finish_connect(pending, cqe),
            (Stage::Polling, Work::Connect(_)) => finish_connecting(pending, &self.handles, cqe),
            (_, Work::Exit(_)) => finish_exit(pending, &self.handles, cqe),
            (_, Work::HangUp { .. }) => finish_hang_up(pending, &self.handles, cqe),
            (Stage::Polling, Work::Receive { .. }) if pending.is_wide() => {
                finish_wide(pending, key, cqe, &mut self.wide, limit, completions)
            }
            (Stage::Polling, Work::Receive { .. }) => {
                let pool = self.buffers.is_exhausted().then_some(&self.pool);
                finish_poll(pending, cqe, pool)
            }
            (Stage::Polling, _) => start_after_poll(pending, cqe),
            (Stage::Started, Work::Watch | Work::Close) => {
                unreachable!("the kernel never gets such work")
            }
        };
        let cancelled = matches!(next, Next::End(Err(Failure::Cancelled)));
        if cancelled && self.phase == Phase::Suspending && !pending.cancelled {
            pending.park();
            return;
        }
        if cqe.more() && pending.is_to_be_taken_back() {
            self.push_cancel(key);
        }
        self.report(key, next, completions);
    }

    fn report(&mut self, key: Key, next: Next, completions: &mut Vec<Completion>) {
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("it was there a moment ago");
        match next {
            Next::GoOn(outcome) => {
                completions.extend(outcome.map(|outcome| pending.completion(key, outcome)));
            }
            Next::Again(outcome) => {
                completions.extend(outcome.map(|outcome| pending.completion(key, outcome)));
                if pending.cancelled {
                    self.due
                        .push_back(pending.last(key, Err(Failure::Cancelled)));
                    self.retire(key);
                } else {
                    self.start(key);
                }
            }
            Next::End(result) => {
                completions.push(pending.last(key, result));
                self.retire(key);
            }
        }
    }

    /// Removes an operation whose last completion has been reported.
    pub(super) fn retire(&mut self, key: Key) {
        let pending = self
            .operations
            .remove(key)
            .expect("it was there a moment ago");
        if let Work::Send {
            gather: Some(gather),
            ..
        } = pending.work
            && self.spare.len() < super::SPARE_MAX
        {
            self.spare.push(gather);
        }
        let state = self
            .handles
            .get_mut(pending.handle)
            .expect("a handle outlives its operations");
        state.forget(key);
        if state.closing.is_some() {
            self.close_if_idle(pending.handle);
        }
    }

    fn finish_wake(&mut self, cqe: Cqe) {
        self.bell.waker.acknowledge();
        self.bell.rung = true;
        self.bell.watched = cqe.more();
        self.watch_waker();
    }

    /// Only failures to cancel are reported. Usually the operation has completed or is about to, so
    /// there is nothing to do. But the kernel may have missed it while moving it from one list to
    /// another: cancel it again.
    fn finish_cancel(&mut self, cqe: Cqe) {
        let key = Key::from_u64(cqe.user_data & !CANCELLING);
        let lent = self.operations.get(key).is_some_and(|one| one.lent);
        if cqe.result == -libc::ENOENT && lent {
            self.push_cancel(key);
        }
    }
}

/// The error that a completion reports, if any.
fn errno(cqe: Cqe) -> Option<i32> {
    (cqe.result < 0).then_some(-cqe.result)
}

/// Ends the operation with a failure.
fn failed(pending: &Pending, errno: i32) -> Next {
    Next::End(Err(match errno {
        libc::ECANCELED => Failure::Cancelled,
        _ => Failure::os(pending.work.call(), io::Error::from_raw_os_error(errno)),
    }))
}

/// Waits until the operation can be tried again.
fn poll_first(pending: &mut Pending) -> Next {
    pending.stage = Stage::Polling;
    Next::Again(None)
}

/// Returns the buffer that the kernel filled, if any; puts back one that it took but did not use.
fn received(cqe: Cqe, buffers: &std::rc::Rc<BufferRing>) -> Option<Outcome> {
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

fn finish_receive(
    pending: &mut Pending,
    cqe: Cqe,
    received: Option<Outcome>,
    buffers: &BufferRing,
) -> Next {
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

fn finish_send(pending: &mut Pending, cqe: Cqe) -> Next {
    match (errno(cqe), usize::try_from(cqe.result).unwrap_or(0)) {
        (None, 0) | (Some(libc::EAGAIN), _) => poll_first(pending),
        (Some(libc::EINTR), _) => Next::Again(None),
        (Some(errno), _) => failed(pending, errno),
        (None, bytes) => {
            let Work::Send { chunks, .. } = &mut pending.work else {
                unreachable!("only sends are finished here");
            };
            chunks.note_sent(bytes);
            Next::End(Ok(Outcome::Sent { bytes }))
        }
    }
}

fn finish_accept(pending: &mut Pending, cqe: Cqe) -> Next {
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
    let socket = Socket(SocketRepr::Plain(socket));
    Some(Outcome::Accepted { socket, peer })
}

fn finish_connect(pending: &mut Pending, cqe: Cqe) -> Next {
    match errno(cqe) {
        None => Next::End(Ok(Outcome::Connected)),
        Some(errno) => failed(pending, errno),
    }
}

/// Finishes a connect that the port cancelled while the kernel went on connecting. The socket is
/// now writable, so its state tells the result.
fn finish_connecting(pending: &Pending, handles: &Table<Entry>, cqe: Cqe) -> Next {
    if let Some(errno) = errno(cqe) {
        return failed(pending, errno);
    }
    let state = handles
        .get(pending.handle)
        .expect("a handle outlives its operations");
    let socket = state.socket().expect("only sockets connect");
    match socket.take_error() {
        Ok(None) => Next::End(Ok(Outcome::Connected)),
        Ok(Some(error)) | Err(error) => Next::End(Err(Failure::os(pending.work.call(), error))),
    }
}

fn finish_exit(pending: &Pending, handles: &Table<Entry>, cqe: Cqe) -> Next {
    match errno(cqe) {
        // Somebody else reaped the child, or we did for another request.
        None | Some(libc::ECHILD) => {}
        Some(errno) => return failed(pending, errno),
    }
    let state = handles
        .get(pending.handle)
        .expect("a handle outlives its operations");
    match state.process().try_wait() {
        Ok(Some(status)) => Next::End(Ok(Outcome::Exited(status))),
        // Process descriptors can wake spuriously.
        Ok(None) => Next::Again(None),
        Err(error) => Next::End(Err(Failure::os("waitid", error))),
    }
}

fn finish_hang_up(pending: &mut Pending, handles: &Table<Entry>, cqe: Cqe) -> Next {
    let Work::HangUp { seen } = &mut pending.work else {
        unreachable!("only waits for hang-ups are finished here");
    };
    let hang_up = i32::from(libc::POLLHUP | libc::POLLERR);
    *seen |= errno(cqe).is_none() && cqe.result & hang_up != 0;
    match (*seen, cqe.more(), errno(cqe)) {
        (_, true, _) => Next::GoOn(None),
        (false, false, Some(errno)) => failed(pending, errno),
        (false, false, None) => Next::Again(None),
        (true, false, _) => {
            let state = handles
                .get(pending.handle)
                .expect("a handle outlives its operations");
            Next::End(hung_up(state.socket().ok()))
        }
    }
}

/// Returns how a connection has ended: by a reset, or in order.
fn hung_up(socket: Option<&socket2::Socket>) -> Result<Outcome, Failure> {
    match socket.map_or(Ok(None), socket2::Socket::take_error) {
        Ok(None) => Ok(Outcome::HungUp),
        Ok(Some(error)) | Err(error) => Err(Failure::os("poll", error)),
    }
}

/// The descriptor is ready: starts the operation itself.
fn start_after_poll(pending: &mut Pending, cqe: Cqe) -> Next {
    if let Some(errno) = errno(cqe) {
        return failed(pending, errno);
    }
    pending.stage = Stage::Started;
    Next::Again(None)
}

/// The descriptor is readable: receives.
///
/// A `pool` is passed if the port is to receive into memory of its own: because the pipe is wide,
/// or because the program holds every buffer of the ring and may keep them forever.
fn finish_poll(pending: &mut Pending, cqe: Cqe, pool: Option<&std::rc::Rc<Pool>>) -> Next {
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
fn finish_wide(
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
fn receive_directly(pending: &mut Pending, pool: &std::rc::Rc<Pool>) -> Next {
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
