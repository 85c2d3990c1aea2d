//! One turn: what the kernel gets for each operation, and what follows each of its completions.

use std::io;

use io_uring::{opcode, squeue, types};

use super::super::table::Key;
use super::super::{CloseMode, Completion, Failure, Outcome, RequestKind};
use super::life::Phase;
use super::next::{Next, start_after_poll};
use super::pending::{Pending, Stage, Work};
use super::pinned::{Gather, Pinned};
use super::receive::WIDE_MAX;
use super::ring::{Cqe, IMMEDIATE, poll};
use super::watch::FOREIGN;
use super::{
    Uring, WAKE, accept, child, connect, file, hang_up, messages, receive, receive_datagrams, send,
    send_datagrams, send_file,
};

/// Marks the user data of a cancellation, which also carries the operation's key. The bit is the
/// highest of the key's index, and would be needed only with 2^31 operations at once.
const CANCELLING: u64 = 1 << 31;

/// The submission entries for an operation's current `stage`.
///
/// They point to memory that the operation owns on the heap, so it may move, but must be neither dropped nor changed until
/// the completion.
impl Pending {
    /// Builds the entry, whatever the work.
    #[cfg(test)]
    pub(super) fn submission(&mut self, spare: &mut Vec<Pinned<Gather>>) -> squeue::Entry {
        self.transfer(spare)
            .unwrap_or_else(|| self.other_submission())
    }

    /// Builds the entry of a stream's receive or send; `None` for other work, and for sends that wait for room or are immediate.
    /// `spare` holds lists for vectored sends.
    #[inline(always)]
    fn transfer(&mut self, spare: &mut Vec<Pinned<Gather>>) -> Option<squeue::Entry> {
        let descriptor = types::Fd(self.descriptor);
        match &mut self.work {
            Work::Receive { .. } if self.stage == Stage::Polling => {
                Some(poll(descriptor, libc::POLLIN))
            }
            _ if self.stage != Stage::Started => None,
            Work::Receive {
                pipe, multishot, ..
            } => Some(receive::start(descriptor, *pipe, *multishot)),
            Work::Send {
                pipe,
                chunks,
                gather,
            } => Some(send::start(descriptor, 0, *pipe, chunks, gather, spare)),
            _ => None,
        }
    }

    /// Builds the entry of a send that completes while the kernel takes it.
    fn immediate_send(&mut self, spare: &mut Vec<Pinned<Gather>>) -> squeue::Entry {
        let descriptor = types::Fd(self.descriptor);
        match &mut self.work {
            Work::Send { chunks, gather, .. } => {
                send::start(descriptor, IMMEDIATE, None, chunks, gather, spare)
            }
            Work::SendDatagrams { message, .. } => {
                send_datagrams::start(descriptor, IMMEDIATE, message.as_ref())
            }
            _ => unreachable!("only sends are immediate"),
        }
    }

    /// Builds the entry of work for which there is no [`transfer`](Pending::transfer).
    fn other_submission(&mut self) -> squeue::Entry {
        let descriptor = types::Fd(self.descriptor);
        if self.stage == Stage::Polling {
            let events = match &self.work {
                Work::Send { .. }
                | Work::SendMessages { .. }
                | Work::SendDatagrams { .. }
                | Work::SendFile(_)
                | Work::Connect(_) => libc::POLLOUT,
                Work::File(work) if work.is_write() => libc::POLLOUT,
                _ => libc::POLLIN,
            };
            return poll(descriptor, events);
        }
        match &mut self.work {
            Work::Accept { one } => accept::start(descriptor, *one),
            Work::Connect(peer) => connect::start(descriptor, peer),
            Work::ReceiveDatagrams { .. } => receive_datagrams::start(descriptor),
            Work::SendDatagrams { message, .. } => {
                send_datagrams::start(descriptor, 0, message.as_ref())
            }
            Work::OpenFile(opening) => file::start_opening(descriptor, opening),
            Work::File(work) => file::start(descriptor, work),
            Work::Exit(mark) => child::start(descriptor, *mark),
            Work::HangUp { .. } => hang_up::start(descriptor),
            Work::ReceiveMessages(_) | Work::SendMessages { .. } => {
                unreachable!("the ring only polls for such work")
            }
            Work::Receive { .. }
            | Work::Send { .. }
            | Work::SendFile(_)
            | Work::Watch
            | Work::Close => {
                unreachable!("the ring never gets such work, or it is a transfer")
            }
        }
    }
}

impl Uring {
    /// Submits the operation's current stage, now or once the port may submit.
    pub(super) fn start(&mut self, key: Key) {
        if self.phase != Phase::Active {
            return;
        }
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("only live operations are started");
        let Some(entry) = pending.transfer(&mut self.spare) else {
            return self.start_rare(key);
        };
        pending.lent = true;
        self.push(key, entry);
    }

    /// Submits work other than a stream's. It stays out of line, so that streams do not pay for it.
    #[inline(never)]
    fn start_rare(&mut self, key: Key) {
        if self.datagrams.used && !self.prepare_datagrams(key) {
            return;
        }
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("only live operations are started");
        pending.lent = true;
        if pending.stage == Stage::Immediate {
            pending.stage = Stage::Started;
            let entry = pending.immediate_send(&mut self.spare);
            let word = key.to_u64();
            let (entry, failure) = (entry.user_data(word), word | CANCELLING);
            // SAFETY: as in `push`.
            return unsafe { self.ring_mut().push_immediate(entry, failure) };
        }
        let entry = pending.other_submission();
        self.push(key, entry);
    }

    #[inline(always)]
    fn push(&mut self, key: Key, entry: squeue::Entry) {
        let entry = entry.user_data(key.to_u64());
        // SAFETY: the entry points to memory that the operation owns on the heap, and the operation
        // stays in the table, unchanged, until its last completion.
        unsafe { self.ring_mut().push(entry) };
    }

    pub(super) fn push_cancel(&mut self, key: Key) {
        self.ring_mut().await_all();
        let word = key.to_u64();
        debug_assert_eq!(word & CANCELLING, 0, "fewer than 2^31 operations at once");
        let entry = opcode::AsyncCancel::new(word)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(word | CANCELLING);
        // SAFETY: a cancellation has no addresses.
        unsafe { self.ring_mut().push(entry) };
    }

    pub(super) fn cancel_key(&mut self, key: Key) -> bool {
        match self.operations.get_mut(key) {
            None => false,
            Some(pending) if pending.cancelled || matches!(pending.work, Work::Close) => true,
            Some(pending) if matches!(pending.work, Work::Watch) => {
                self.end_watch(key);
                true
            }
            Some(pending) => {
                pending.cancelled = true;
                if pending.lent {
                    self.push_cancel(key);
                }
                true
            }
        }
    }

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
        if self.datagrams.used {
            self.deliver_errors(limit, completions);
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

    #[inline(always)]
    fn finish_operation(&mut self, cqe: Cqe, limit: usize, completions: &mut Vec<Completion>) {
        let key = Key::from_u64(cqe.user_data);
        let Some(pending) = self.operations.get_mut(key).filter(|one| one.lent) else {
            return self.finish_stale(cqe);
        };
        pending.lent = cqe.more();
        // `follow` is compiled for each of these, so that the bytes of a stream move once.
        match (pending.stage, &pending.work) {
            (Stage::Started, Work::Receive { .. }) => {
                let next = receive::finish(pending, cqe, &self.buffers);
                self.follow(key, cqe, next, completions);
            }
            (Stage::Started, Work::Send { .. }) => {
                let next = send::finish(pending, cqe);
                self.follow(key, cqe, next, completions);
            }
            _ => {
                let next = self.finish_other(key, cqe, limit, completions);
                self.follow(key, cqe, next, completions);
            }
        }
    }

    #[cold]
    fn finish_stale(&mut self, cqe: Cqe) {
        self.stale += 1;
        if let Some(id) = cqe.buffer() {
            self.buffers.untaken(id);
        }
    }

    /// Processes a completion that is none of a stream's receive or send. It stays out of line, so that these do not pay for
    /// it.
    #[inline(never)]
    fn finish_other(
        &mut self,
        key: Key,
        cqe: Cqe,
        limit: usize,
        completions: &mut Vec<Completion>,
    ) -> Next {
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("it was there a moment ago");
        match (pending.stage, &pending.work) {
            (Stage::Started, Work::Accept { .. }) => accept::finish(pending, cqe),
            (Stage::Started, Work::Connect(_)) => connect::finish(pending, cqe),
            (Stage::Polling, Work::Connect(_)) => connect::finish_poll(pending, &self.handles, cqe),
            (_, Work::Exit(_)) => child::finish(pending, &self.handles, cqe),
            (_, Work::HangUp { .. }) => hang_up::finish(pending, &self.handles, cqe),
            (Stage::Polling, Work::Receive { .. }) if pending.is_wide() => {
                receive::finish_wide(pending, key, cqe, &mut self.wide, limit, completions)
            }
            (Stage::Polling, Work::Receive { .. }) => {
                let pool = self.buffers.is_exhausted().then_some(&self.wide.usual);
                receive::finish_poll(pending, cqe, pool)
            }
            (Stage::Polling, Work::Accept { .. } | Work::Send { .. }) => {
                start_after_poll(pending, cqe)
            }
            (_, Work::ReceiveDatagrams { .. }) => {
                self.finish_receiving_datagrams(key, cqe, completions)
            }
            (Stage::Started, Work::SendDatagrams { .. }) => self.finish_sending_datagrams(key, cqe),
            (Stage::Started, Work::File(_)) => file::finish(pending, cqe),
            (Stage::Started, Work::OpenFile(_)) => {
                file::finish_opening(pending, &mut self.handles, cqe)
            }
            (_, Work::SendFile(_)) => {
                self.wide.taken += 1;
                send_file::finish_poll(pending, &self.handles, cqe)
            }
            (_, Work::ReceiveMessages(how)) => {
                let pool = self.wide.for_messages(*how);
                messages::receive(pending, *how, cqe, pool)
            }
            (_, Work::SendMessages { .. }) => messages::send(pending, cqe),
            (Stage::Polling, _) => start_after_poll(pending, cqe),
            (Stage::Started | Stage::Immediate, _) => {
                unreachable!("the kernel never gets such work, or it is of a stream")
            }
        }
    }

    /// Takes the step that follows a completion from the kernel.
    #[inline(always)]
    fn follow(&mut self, key: Key, cqe: Cqe, next: Next, completions: &mut Vec<Completion>) {
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("it was there a moment ago");
        match next {
            Next::End(Err(Failure::Cancelled))
                if self.phase == Phase::Suspending && !pending.cancelled =>
            {
                pending.park();
            }
            Next::GoOn(outcome) => {
                if let Some(outcome) = outcome {
                    completions.push(pending.completion(key, outcome));
                }
                if cqe.more() && pending.is_to_be_taken_back() {
                    self.push_cancel(key);
                }
            }
            Next::Again(outcome) => {
                if let Some(outcome) = outcome {
                    completions.push(pending.completion(key, outcome));
                }
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
        let kind = pending.kind;
        let surging = pending.is_wide();
        match pending.work {
            Work::Send {
                gather: Some(gather),
                ..
            } if self.spare.len() < super::SPARE_MAX => self.spare.push(gather),
            Work::SendDatagrams {
                message: Some(message),
                ..
            } if self.datagrams.outgoing.len() < super::SPARE_MAX => {
                self.datagrams.outgoing.push(message);
            }
            _ => {}
        }
        let entry = self
            .handles
            .get_mut(pending.handle)
            .expect("a handle outlives its operations");
        if kind == RequestKind::Receive {
            entry.surging = surging;
        }
        entry.forget(key, kind);
        if entry.closing.is_some() {
            self.close_if_idle(pending.handle);
        }
    }

    /// Closes a handle that is being closed, once its last operation has completed.
    pub(super) fn close_if_idle(&mut self, key: Key) {
        let Some(entry) = self.handles.get(key) else {
            return;
        };
        let Some(closing) = entry.closing.filter(|_| entry.is_idle()) else {
            return;
        };
        let entry = self.handles.remove(key).expect("it was there a moment ago");
        if closing.mode == CloseMode::Reset {
            entry.source.drop_unsent();
        }
        self.children.note_closed(&entry.source);
        drop(entry);
        let pending = self.operations.remove(closing.operation);
        let mut pending = pending.expect("closing is under way until here");
        let completion = pending.last(closing.operation, Ok(Outcome::Closed));
        self.due.push_back(completion);
    }

    fn finish_wake(&mut self, cqe: Cqe) {
        self.bell.waker.acknowledge();
        self.bell.rung = true;
        self.bell.watched = cqe.more();
        self.watch_waker();
    }

    /// Only failures to cancel are reported, and that an immediate send has failed or sent a part, which its own completion
    /// tells. Usually the operation has completed or is about to, so there is nothing to do. But the kernel may have missed
    /// it while moving it from one list to another: cancel it again.
    fn finish_cancel(&mut self, cqe: Cqe) {
        let key = Key::from_u64(cqe.user_data & !CANCELLING);
        let lent = self.operations.get(key).is_some_and(|one| one.lent);
        if cqe.result == -libc::ENOENT && lent {
            self.push_cancel(key);
        }
    }
}
