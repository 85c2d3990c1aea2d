//! Receives datagrams: into a ring of buffers of their own or, where the kernel has no buffer left and from UNIX sockets,
//! into the port's own memory.

use std::io;
use std::rc::Rc;

use io_uring::types::{self, RecvMsgOut};
use io_uring::{opcode, squeue};

use super::super::datagram::{Datagrams, Message};
use super::super::messages::{Tray, record, too_large};
use super::super::table::Key;
use super::super::{Completion, Operation, Outcome};
use super::Uring;
use super::buffers::{BufferRing, DATAGRAM_GROUP};
use super::message_form::{BUFFER_BYTES, PAYLOAD, form};
use super::next::{Next, errno, failed};
use super::pending::{Stage, Work};
use super::ring::Cqe;

/// The most messages in one completion.
const MESSAGES_MAX: usize = 32;

pub(super) fn start(descriptor: types::Fd) -> squeue::Entry {
    opcode::RecvMsgMulti::new(descriptor, form(), DATAGRAM_GROUP).build()
}

impl Uring {
    /// Prepares an operation that is to be submitted, if it is of datagrams; returns false if it has ended by this.
    pub(super) fn prepare_datagrams(&mut self, key: Key) -> bool {
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("it is being started");
        match (&pending.work, pending.stage) {
            (Work::ReceiveDatagrams { into_buffers, .. }, Stage::Started) => {
                let into_buffers = *into_buffers;
                self.prepare_receiving_datagrams(key, into_buffers);
                true
            }
            (Work::SendDatagrams { .. }, Stage::Started | Stage::Immediate) => {
                self.prepare_sending_datagrams(key)
            }
            _ => true,
        }
    }

    fn prepare_receiving_datagrams(&mut self, key: Key, into_buffers: bool) {
        if into_buffers && self.datagrams.buffers.is_none() {
            match BufferRing::register_for_datagrams(self.ring_mut(), BUFFER_BYTES) {
                Ok(buffers) => self.datagrams.buffers = Some(buffers),
                Err(error) => log::debug!("io_uring has no buffers for datagrams: {error}"),
            }
        }
        let pending = self.operations.get_mut(key).expect("it is being started");
        if !into_buffers || self.datagrams.buffers.is_none() {
            pending.stage = Stage::Polling;
        }
    }

    pub(super) fn finish_receiving_datagrams(
        &mut self,
        key: Key,
        cqe: Cqe,
        completions: &mut Vec<Completion>,
    ) -> Next {
        let pending = self.operations.get(key).expect("it was there a moment ago");
        match (pending.stage, cqe.buffer()) {
            (Stage::Polling, _) => self.finish_poll_for_datagrams(key, cqe),
            (Stage::Started, Some(id)) if cqe.result >= 0 => {
                self.take_message(key, id, cqe, completions);
                if cqe.more() {
                    Next::GoOn(None)
                } else {
                    Next::Again(None)
                }
            }
            (_, id) => {
                if let (Some(id), Some(buffers)) = (id, &self.datagrams.buffers) {
                    buffers.untaken(id);
                }
                self.receive_failed(key, cqe)
            }
        }
    }

    /// Takes a message out of the buffer `id`. Adds it to the last completion if that is of the same operation.
    fn take_message(&mut self, key: Key, id: u16, cqe: Cqe, completions: &mut Vec<Completion>) {
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("it was there a moment ago");
        let socket = self.handles.get(pending.handle);
        let socket = socket
            .expect("a handle outlives its operations")
            .datagrams();
        let Some(buffers) = &self.datagrams.buffers else {
            return self.stale += 1;
        };
        let Work::ReceiveDatagrams { errors, .. } = &mut pending.work else {
            unreachable!("only receives of datagrams are finished here");
        };
        let memory = buffers.filled(id, cqe.result.unsigned_abs() as usize);
        let Ok(message) = RecvMsgOut::parse(&memory, form()) else {
            log::error!(
                "io_uring: a message of {} bytes has no header",
                memory.len()
            );
            return;
        };
        let (sender, segment, info) = record(message.name_data(), message.control_data());
        if message.is_payload_truncated() {
            errors.push_back(too_large(sender));
            self.datagrams.erring.push_back(key);
            return;
        }
        if Datagrams::copies(memory.len() - PAYLOAD) {
            self.datagrams.copied += 1;
        }
        let message = Message {
            start: PAYLOAD,
            segment,
            sender,
            info: socket.tells_packet_info().then_some(info),
            memory,
        };
        let here = self.datagrams.wait_began < completions.len();
        if let Some(Completion {
            operation,
            result: Ok(Outcome::Datagrams(datagrams)),
            ..
        }) = completions.last_mut()
            && here
            && *operation == Operation(key)
            && datagrams.messages() < MESSAGES_MAX
        {
            datagrams.push(message);
            return;
        }
        let mut datagrams = Datagrams::new(&self.datagrams.spare);
        datagrams.push(message);
        completions.push(pending.completion(key, Outcome::Datagrams(datagrams)));
    }

    /// The kernel received nothing. Only a cancellation ends the operation.
    fn receive_failed(&mut self, key: Key, cqe: Cqe) -> Next {
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("it was there a moment ago");
        if cqe.more() {
            return Next::GoOn(None);
        }
        let Some(errno) = errno(cqe) else {
            return Next::Again(None);
        };
        match errno {
            libc::ECANCELED if pending.cancelled => failed(pending, errno),
            libc::ECANCELED | libc::EINTR => Next::Again(None),
            libc::ENOBUFS if self.datagrams.replenish() => Next::Again(None),
            libc::ENOBUFS | libc::EAGAIN => {
                pending.stage = Stage::Polling;
                Next::Again(None)
            }
            // The kernel does not receive many datagrams by one request.
            libc::EINVAL | libc::EOPNOTSUPP => {
                if let Work::ReceiveDatagrams { into_buffers, .. } = &mut pending.work {
                    *into_buffers = false;
                }
                Next::Again(None)
            }
            errno => self.note_failed(key, io::Error::from_raw_os_error(errno)),
        }
    }

    /// Notes the error with which a receive failed. It is told with those in the kernel's queue.
    fn note_failed(&mut self, key: Key, error: io::Error) -> Next {
        self.datagrams.note_erring(Some(key));
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("it was there a moment ago");
        let socket = self.handles.get(pending.handle);
        let socket = socket
            .expect("a handle outlives its operations")
            .datagrams();
        if let Work::ReceiveDatagrams { errors, .. } = &mut pending.work {
            socket.note_failed(error, errors);
        }
        Next::Again(None)
    }

    /// The socket is readable, or has errors: receives into the port's own memory.
    fn finish_poll_for_datagrams(&mut self, key: Key, cqe: Cqe) -> Next {
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("it was there a moment ago");
        match errno(cqe) {
            Some(libc::ECANCELED) if !pending.cancelled => return Next::Again(None),
            Some(errno) => return failed(pending, errno),
            None => {}
        }
        let Work::ReceiveDatagrams {
            into_buffers,
            errors,
        } = &mut pending.work
        else {
            unreachable!("only receives of datagrams are finished here");
        };
        let has_buffers = |all: &Rc<BufferRing>| !all.is_exhausted();
        if *into_buffers && self.datagrams.buffers.as_ref().is_some_and(has_buffers) {
            pending.stage = Stage::Started;
        }
        let socket = self.handles.get(pending.handle);
        let socket = socket
            .expect("a handle outlives its operations")
            .datagrams();
        let tray = self
            .datagrams
            .tray
            .get_or_insert_with(|| Box::new(Tray::new()));
        let arrived = tray.receive(socket, errors);
        if !errors.is_empty() || cqe.result & i32::from(libc::POLLERR) != 0 {
            self.datagrams.erring.push_back(key);
        }
        match arrived {
            Ok(arrived) => Next::Again(arrived.datagrams.map(Outcome::Datagrams)),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Next::Again(None),
                _ => self.note_failed(key, error),
            },
        }
    }

    /// Delivers the errors of single datagrams, and those that peers and the network reported.
    pub(super) fn deliver_errors(&mut self, limit: usize, completions: &mut Vec<Completion>) {
        while completions.len() < limit
            && let Some(key) = self.datagrams.erring.pop_front()
        {
            // The receive may have ended meanwhile.
            let Some(pending) = self.operations.get_mut(key) else {
                continue;
            };
            let Work::ReceiveDatagrams { errors, .. } = &mut pending.work else {
                continue;
            };
            let socket = self.handles.get(pending.handle);
            let socket = socket
                .expect("a handle outlives its operations")
                .datagrams();
            let over = socket.take_errors(errors);
            let told = std::iter::from_fn(|| errors.pop_front());
            let told: Vec<_> = told.take(limit - completions.len()).collect();
            if !over || !errors.is_empty() {
                self.datagrams.erring.push_back(key);
            }
            let told = told
                .into_iter()
                .map(|error| Outcome::DatagramError(Box::new(error)));
            completions.extend(told.map(|outcome| pending.completion(key, outcome)));
        }
    }
}
