//! Receiving datagrams: a busy socket posts several receives, any other waits without memory.
//!
//! Every receive has room for the largest datagram, so that none is cut short. A wait looks at the next datagram without
//! taking it; what has arrived is then received by calls that do not wait.

use std::io;

use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_OPERATION_ABORTED, ERROR_SUCCESS};
use windows_sys::Win32::Networking::WinSock::{
    WSAECONNREFUSED, WSAECONNRESET, WSAEHOSTDOWN, WSAEHOSTUNREACH, WSAEMSGSIZE, WSAENETDOWN,
    WSAENETRESET, WSAENETUNREACH, WSAETIMEDOUT,
};

use super::Iocp;
use super::call::socket_error;
use super::datagram_socket::{Arrival, DatagramSocket};
use super::entry::Source;
use super::record::{OsResult, Record};
use crate::port::datagram::{DatagramError, Datagrams, Message};
use crate::port::table::Key;
use crate::port::{Chunks, Completion, Failure, Operation, Outcome};

/// The number of receives that a busy socket posts. Once all are filled, calls that do not wait take the rest: that keeps the
/// order, and costs less than a receive that has to wait.
const POSTED: usize = 2;
/// The most datagrams that are received after one wait, and the most in one completion.
const TAKEN_MAX: usize = 32;

/// The name of the call that receives, in errors.
const CALL: &str = "WSARecvFrom";

impl Iocp {
    /// Begins a receive, or continues it with one of its records.
    pub(super) fn receive_datagrams(&mut self, record: Box<Record>) {
        let operation = record.operation;
        if !self.holds_datagram_memory(operation) {
            return self.wait_for_datagram(record);
        }
        self.post_receive(record);
        while self.datagrams_of(operation).records < POSTED {
            self.datagrams_of(operation).records += 1;
            let record = self.records.take(operation);
            self.post_receive(record);
        }
    }

    /// Whether a receive may hold memory in advance: if its socket is busy, and while there is room.
    fn holds_datagram_memory(&mut self, operation: Key) -> bool {
        let entry = self.entry_of(operation);
        if let Some(index) = entry.eager_index {
            self.receive_memory.note_busy(index);
            return true;
        }
        if !entry.traffic.is_busy() {
            return false;
        }
        if let Some(index) = self.receive_memory.add_datagrams(operation, POSTED) {
            self.entry_of_mut(operation).eager_index = Some(index);
            return true;
        }
        if let Some(idle) = self.receive_memory.next_idle() {
            self.remove_eager(idle);
            self.entry_of(idle).cancel(idle);
        }
        false
    }

    fn post_receive(&mut self, mut record: Box<Record>) {
        let operation = record.operation;
        record.lease = Some(self.receive_memory.lease_for_datagram());
        let socket = self.datagrams_of(operation);
        socket.posted += 1;
        let started = socket.post_receive(record);
        self.note_started(operation, started);
    }

    /// Waits without memory. One record suffices for that: the others end here.
    fn wait_for_datagram(&mut self, mut record: Box<Record>) {
        let operation = record.operation;
        record.lease = None;
        record.message = None;
        let socket = self.datagrams_of(operation);
        if socket.records > 1 {
            socket.records -= 1;
            return self.records.put(record);
        }
        let started = socket.post_wait(record);
        self.note_started(operation, started);
    }

    /// Handles the end of a call that received or waited.
    pub(super) fn finish_receive_datagrams(&mut self, mut record: Box<Record>, result: OsResult) {
        let operation = record.operation;
        let lease = record.lease.take();
        if lease.is_some() {
            self.datagrams_of(operation).posted -= 1;
        }
        let goes_on = match lease {
            // Another receive has taken the memory: nothing has arrived.
            Some(_) if result.code == ERROR_OPERATION_ABORTED => {
                return self.wait_for_datagram(record);
            }
            Some(lease) => {
                let socket = self.datagrams_of(operation);
                let all_are_filled = socket.posted == 0;
                let arrival = socket.arrival(&record, lease, result);
                self.take_datagram(operation, arrival)
                    && (!all_are_filled
                        || self.is_ending(operation)
                        || self.take_datagrams(operation, ERROR_SUCCESS))
            }
            // A cancelled receive leaves in the OS what has arrived.
            None if self.is_ending(operation) => true,
            None => self.take_datagrams(operation, result.code),
        };
        if !goes_on || self.is_ending(operation) {
            self.records.put(record);
            return self.end_if_idle(operation);
        }
        self.resting_receives.push_back(record);
    }

    /// Takes what has arrived after a call ended with `code`. Returns whether the operation goes on.
    fn take_datagrams(&mut self, operation: Key, code: u32) -> bool {
        // Windows tells an error here, and again to the call that takes it; Wine tells it once.
        let mut told = match code {
            ERROR_SUCCESS | ERROR_MORE_DATA => None,
            code => Some(code),
        };
        for _ in 0..TAKEN_MAX {
            let lease = self.receive_memory.lease_for_datagram();
            let arrival = self.datagrams_of(operation).receive_now(lease);
            if let Some(code) = told.take()
                && !matches!(&arrival, Arrival::Failed(error, _) if is_the_same(error, code))
                && !self.take_datagram(operation, Arrival::Failed(socket_error(code), None))
            {
                return false;
            }
            if matches!(arrival, Arrival::Nothing) {
                break;
            }
            if !self.take_datagram(operation, arrival) {
                return false;
            }
        }
        true
    }

    /// Reports a datagram, or an error. Returns false if the error ends the operation.
    fn take_datagram(&mut self, operation: Key, arrival: Arrival) -> bool {
        match arrival {
            Arrival::Nothing => {}
            Arrival::Datagram(message) => {
                let turn = self.receive_memory.turns;
                let bytes = message.memory.len();
                let entry = self.entry_of_mut(operation);
                entry.traffic.note(turn, bytes, false);
                self.report_datagram(operation, message);
            }
            Arrival::Failed(error, peer) if concerns_a_datagram(&error) => {
                let peer = peer.map(Into::into);
                self.report_datagram_error(operation, DatagramError::new(CALL, peer, error));
            }
            Arrival::Failed(error, _) => {
                self.fail(operation, Failure::os(CALL, error));
                return false;
            }
        }
        true
    }

    /// Reports a datagram: in the last completion, if that is of this receive and has room.
    fn report_datagram(&mut self, operation: Key, message: Message) {
        if let Some(last) = self.done.back_mut()
            && last.operation == Operation(operation)
            && let Ok(Outcome::Datagrams(datagrams)) = &mut last.result
            && datagrams.messages() < TAKEN_MAX
        {
            return datagrams.push(message);
        }
        let mut datagrams = Datagrams::new(&self.receive_memory.spare_datagrams);
        datagrams.push(message);
        self.report(operation, Outcome::Datagrams(datagrams));
    }

    /// Reports an error that does not end the receive.
    pub(super) fn report_datagram_error(&mut self, operation: Key, error: DatagramError) {
        let pending = self.operations.get(operation).expect("it goes on");
        self.done.push_back(Completion {
            token: pending.token,
            operation: Operation(operation),
            kind: pending.kind,
            result: Ok(Outcome::DatagramError(Box::new(error))),
            more: true,
            unsent: Chunks::new(),
        });
    }

    /// The datagram socket of an operation.
    pub(super) fn datagrams_of(&mut self, operation: Key) -> &mut DatagramSocket {
        match &mut self.entry_of_mut(operation).source {
            Source::Datagrams(socket) => socket,
            other => unreachable!("{other:?} exchanges no datagrams"),
        }
    }
}

/// Whether the error concerns a single datagram: one that was sent before, or one that is too large. Others would only
/// come again.
pub(super) fn concerns_a_datagram(error: &io::Error) -> bool {
    const CODES: [i32; 9] = [
        WSAECONNREFUSED,
        WSAECONNRESET,
        WSAEHOSTDOWN,
        WSAEHOSTUNREACH,
        WSAEMSGSIZE,
        WSAENETDOWN,
        WSAENETRESET,
        WSAENETUNREACH,
        WSAETIMEDOUT,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| CODES.contains(&code))
}

fn is_the_same(error: &io::Error, code: u32) -> bool {
    error.raw_os_error() == socket_error(code).raw_os_error()
}
