//! One turn of the port: starting operations, and processing their ends.

use std::io;
use std::time::Duration;

use windows_sys::Win32::Foundation::ERROR_OPERATION_ABORTED;

use super::Iocp;
use super::entry::{Entry, Source};
use super::queue::{Packet, milliseconds};
use super::record::{OsResult, Record, Started};
use crate::os::Address;
use crate::port::admission::invalid;
use crate::port::chunks::Chunks;
use crate::port::table::Key;
use crate::port::{BATCH_MAX, Completion, Failure, Operation, Outcome, Request, RequestKind};

/// The most consecutive turns that skip dequeuing packets.
const SKIPPED_TURNS_MAX: u32 = 32;

type Ended = Result<Outcome, Failure>;

impl Iocp {
    /// Processes ready records and up to a batch of packets; waits for the first packet only if
    /// there is nothing else to do. Returns whether a waker was used.
    pub(super) fn turn(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        // Completions are delivered first, so that a turn holds little more than one batch.
        let room = BATCH_MAX.saturating_sub(self.done.len());
        if room == 0 {
            return Ok(false);
        }
        self.finish_ready(room);
        if self.done.is_empty() || self.batch.skipped_turns == SKIPPED_TURNS_MAX {
            self.resume_receives();
            self.finish_ready(room);
        }
        // Dequeuing is a system call, which a turn skips while it has enough other work.
        let busy = !self.ready.is_empty() || !self.done.is_empty();
        if busy && self.batch.skipped_turns < SKIPPED_TURNS_MAX {
            self.batch.skipped_turns += 1;
            return Ok(false);
        }
        self.batch.skipped_turns = 0;
        let mut woken = self.queue.take_missed();
        let patience = match busy || woken {
            true => 0,
            false => milliseconds(timeout),
        };
        let room = BATCH_MAX.saturating_sub(self.done.len());
        let count = self.batch.fill(&self.queue, room, patience)?;
        for index in 0..count {
            match self.batch.packet(index) {
                Packet::Wake => {
                    self.waker.acknowledge();
                    woken = true;
                }
                Packet::Wait { operation } => self.finish_wait(operation),
                Packet::Vacancy { overlapped } => self.vacancy(overlapped),
                Packet::Poll { operation } => self.finish_poll(operation),
                Packet::Changes { overlapped } => self.finish_changes(overlapped),
                Packet::Job { process } => self.end_tree_if_over(process),
                Packet::Io { handle, overlapped } => match self.take_back(handle, overlapped) {
                    Some((record, os_result)) => self.finish(record, os_result),
                    None => self.stale += 1,
                },
            }
        }
        Ok(woken)
    }

    /// Processes records that completed without a packet: at most half of a turn's room, so that
    /// neither kind starves the other.
    fn finish_ready(&mut self, room: usize) {
        for _ in 0..self.ready.len().min(room.div_ceil(2)) {
            let (record, os_result) = self.ready.pop_front().expect("counted just now");
            self.finish(record, os_result);
        }
    }

    /// Takes back the packet's record, if the handle is alive and has lent it.
    fn take_back(
        &mut self,
        handle: Key,
        overlapped: *mut windows_sys::Win32::System::IO::OVERLAPPED,
    ) -> Option<(Box<Record>, OsResult)> {
        let entry = self.handles.get_mut(handle)?;
        let index = (entry.lent_records.iter()).position(|lent| lent.overlapped() == overlapped)?;
        let lent = entry.lent_records.swap_remove(index);
        // SAFETY: the packet with this address, for this very handle, was dequeued just now.
        Some(unsafe { lent.finished() })
    }

    /// Starts a new operation; a failure to start ends it.
    pub(super) fn start(&mut self, operation: Key, request: Request) {
        match request {
            Request::Accept => self.start_accepting(operation, false),
            Request::AcceptOne => self.start_accepting(operation, true),
            Request::Exit => self.start_exit(operation),
            Request::Receive => {
                let record = self.records.take(operation);
                self.start_receive(record);
            }
            Request::Send(chunks) => {
                let mut record = self.records.take(operation);
                record.chunks = chunks;
                self.start_send(record);
            }
            Request::Connect(peer) => match (self.source_of(operation).0, *peer) {
                (Source::Stream(_), peer @ (Address::Ip(_) | Address::Unix(_))) => {
                    self.start_connect(operation, &peer);
                }
                (Source::Unopened(_), Address::Pipe(name)) => {
                    self.start_pipe_connect(operation, &name);
                }
                _ => {
                    let error = invalid("the handle is for addresses of another kind");
                    self.end(operation, Err(Failure::os("connect", error)));
                }
            },
            Request::ReceiveDatagrams => {
                let handle = self.handle_of(operation);
                self.tell_errors(handle);
                self.datagrams_of(operation).records = 1;
                let record = self.records.take(operation);
                self.receive_datagrams(record);
            }
            Request::SendDatagrams(batch) => self.start_send_datagrams(operation, batch),
            Request::File(request) => self.start_file(operation, *request),
            Request::SendFile(part) => self.start_sending(operation, *part),
            Request::HangUp => self.start_hang_up(operation),
            Request::OpenFile(_) => unreachable!("`admit` refuses it"),
            Request::ReceiveWithDescriptors => unreachable!("`admit` refuses it"),
        }
    }

    /// The kind of an operation, if it is under way.
    pub(super) fn kind_of(&self, operation: Key) -> Option<RequestKind> {
        let pending = self.operations.get(operation);
        pending.map(|pending| pending.kind)
    }

    /// The handle of an operation under way.
    pub(super) fn handle_of(&self, operation: Key) -> Key {
        self.operations
            .get(operation)
            .expect("an operation lives until its last record is back")
            .handle
    }

    /// The entry of the operation's handle.
    pub(super) fn entry_of(&self, operation: Key) -> &Entry {
        let handle = self.handles.get(self.handle_of(operation));
        handle.expect("a handle lives until its last operation has ended")
    }

    pub(super) fn entry_of_mut(&mut self, operation: Key) -> &mut Entry {
        let handle = self.handles.get_mut(self.handle_of(operation));
        handle.expect("a handle lives until its last operation has ended")
    }

    /// The source and skip mode of the operation's handle.
    pub(super) fn source_of(&self, operation: Key) -> (&Source, bool) {
        let entry = self.entry_of(operation);
        (&entry.source, entry.skip)
    }

    /// Accounts for a record that a call has taken.
    pub(super) fn note_started(&mut self, operation: Key, started: Started) {
        let pending = self.operations.get_mut(operation).expect("just started");
        pending.records += 1;
        match started {
            Started::UnderWay(lent) => {
                let entry = self
                    .handles
                    .get_mut(pending.handle)
                    .expect("it has operations");
                entry.lent_records.push(lent);
            }
            Started::Finished(record, os_result) => self.ready.push_back((record, os_result)),
        }
    }

    /// Processes the end of one of Windows's operations, and continues the port's operation.
    fn finish(&mut self, mut record: Box<Record>, os_result: OsResult) {
        let operation = record.operation;
        let pending = self
            .operations
            .get_mut(operation)
            .expect("an operation lives until its last record is back");
        pending.records -= 1;
        pending.unsent = std::mem::take(&mut record.chunks);
        let (cancelled, kind) = (pending.ending.is_some(), pending.kind);
        // The records of a receive of datagrams share its place in the list.
        let was_eager = kind != RequestKind::ReceiveDatagrams && self.remove_eager(operation);
        // Windows also reports what a send had sent before it was cancelled; datagrams that were not sent are returned.
        let says_more = match kind {
            RequestKind::Send => os_result.bytes > 0,
            RequestKind::SendDatagrams | RequestKind::SendFile => true,
            _ => false,
        };
        // After our own cancellation this code is no error; otherwise it is one.
        if cancelled && os_result.code == ERROR_OPERATION_ABORTED && !says_more {
            self.records.put(record);
            return self.end_if_idle(operation);
        }
        match kind {
            RequestKind::Accept => self.finish_accept(record, os_result),
            RequestKind::Connect => self.finish_connect(record, os_result),
            RequestKind::Receive => self.finish_receive(record, os_result, was_eager),
            RequestKind::Send => self.finish_send(record, os_result),
            RequestKind::ReceiveDatagrams => self.finish_receive_datagrams(record, os_result),
            RequestKind::SendDatagrams => self.finish_send_datagrams(record, os_result),
            RequestKind::File => self.finish_file(record, os_result),
            RequestKind::SendFile => self.finish_sending(record, os_result),
            RequestKind::Exit
            | RequestKind::HangUp
            | RequestKind::OpenFile
            | RequestKind::Watch
            | RequestKind::Close => unreachable!("these operations have no records"),
        }
    }

    /// Processes the packet of a wait.
    fn finish_wait(&mut self, operation: Key) {
        match self.operations.get(operation) {
            Some(pending) if pending.kind == RequestKind::Connect => {
                self.pipe_was_opened(operation);
            }
            Some(pending) if pending.wait.is_some() => match pending.kind {
                RequestKind::Watch => self.signalled(operation),
                RequestKind::Accept => self.accept_on_pipe(operation),
                _ => self.finish_exit(operation),
            },
            _ => self.stale += 1,
        }
    }

    pub(super) fn is_ending(&self, operation: Key) -> bool {
        let pending = self.operations.get(operation);
        pending.is_some_and(|pending| pending.ending.is_some())
    }

    /// Reports a completion of a multishot operation.
    pub(super) fn report(&mut self, operation: Key, outcome: Outcome) {
        let pending = self.operations.get(operation).expect("it goes on");
        self.done.push_back(Completion {
            token: pending.token,
            operation: Operation(operation),
            kind: pending.kind,
            result: Ok(outcome),
            more: true,
            unsent: Chunks::new(),
        });
    }

    /// Makes an operation end with `failure` once its other records have returned.
    pub(super) fn fail(&mut self, operation: Key, failure: Failure) {
        let Some(pending) = self.operations.get_mut(operation) else {
            return;
        };
        if pending.ending.is_none() {
            pending.ending = Some(failure);
            let entry = self.handles.get(pending.handle).expect("it has operations");
            entry.cancel(operation);
        }
        self.end_if_idle(operation);
    }

    /// Ends an operation that is ending and has no record left.
    pub(super) fn end_if_idle(&mut self, operation: Key) {
        let Some(pending) = self.operations.get_mut(operation) else {
            return;
        };
        if pending.records == 0
            && let Some(failure) = pending.ending.take()
        {
            self.end(operation, Err(failure));
        }
    }

    pub(super) fn end_with(&mut self, record: Box<Record>, result: Ended) {
        let operation = record.operation;
        self.records.put(record);
        self.end(operation, result);
    }

    /// Queues the last completion of an operation.
    pub(super) fn end(&mut self, operation: Key, result: Ended) {
        if self.kind_of(operation) == Some(RequestKind::ReceiveDatagrams) {
            self.remove_eager(operation);
        }
        let mut pending = self.operations.remove(operation).expect("it ends once");
        // The wait must end before its process's handle is closed.
        pending.wait = None;
        let entry = self
            .handles
            .get_mut(pending.handle)
            .expect("it has operations");
        entry.under_way.remove(pending.kind);
        entry.operations.retain(|&other| other != operation);
        self.done.push_back(Completion {
            token: pending.token,
            operation: Operation(operation),
            kind: pending.kind,
            result,
            more: false,
            unsent: pending.unsent,
        });
        self.close_if_idle(pending.handle);
    }
}
