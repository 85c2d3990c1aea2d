//! Sending datagrams: at once, as long as Windows takes them, and otherwise one that waits for room.

use std::io;
use std::net::SocketAddr;
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_OPERATION_ABORTED, ERROR_SUCCESS};
use windows_sys::Win32::Networking::WinSock::{
    WSAEAFNOSUPPORT, WSAECONNREFUSED, WSAECONNRESET, WSAEHOSTUNREACH, WSAENETRESET, WSAENETUNREACH,
    WSAEWOULDBLOCK, WSAMSG, WSASendMsg, WSASendTo,
};
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::Iocp;
use super::call::{datagram_called, last_socket_error, socket_error};
use super::datagram_socket::DatagramSocket;
use super::entry::Source;
use super::extension::raw;
use super::message::MessageMemory;
use super::record::{OsResult, Record, Started};
use crate::os::Address;
use crate::port::datagram::{DatagramBatch, DatagramError, Run};
use crate::port::table::Key;
use crate::port::{Outcome, RequestKind};

/// The most datagrams, and bytes, that Windows gets as one piece to cut.
const SEGMENTS_MAX: usize = 512;
const RUN_BYTES_MAX: usize = 65_507;
/// The most datagrams that one operation sends.
const SENT_MAX: usize = 256;
/// The most errors that a socket keeps for its next receive.
const ERRORS_MAX: usize = 16;

/// The name of the call that sends, in errors.
const CALL: &str = "WSASendTo";

impl Iocp {
    /// Sends what Windows takes at once. If it takes nothing, the first datagram waits for room.
    pub(super) fn start_send_datagrams(&mut self, operation: Key, mut batch: DatagramBatch) {
        let count = batch.len();
        self.datagrams_of(operation).send_now(&mut batch);
        self.tell_errors(self.handle_of(operation));
        if batch.len() == count {
            return self.wait_for_room(operation, batch);
        }
        let mut record = self.records.take(operation);
        record.batch = batch;
        let done = OsResult {
            code: ERROR_SUCCESS,
            bytes: 0,
        };
        // The operation is under way until its completion is delivered.
        self.note_started(operation, Started::Finished(record, done));
    }

    /// Sends the first datagram once Windows has room for it.
    pub(super) fn wait_for_room(&mut self, operation: Key, batch: DatagramBatch) {
        let mut record = self.records.take(operation);
        record.batch = batch;
        let started = self.datagrams_of(operation).post_send(record);
        self.note_started(operation, started);
    }

    /// Handles the end of a send, which may have waited for room.
    pub(super) fn finish_send_datagrams(&mut self, mut record: Box<Record>, result: OsResult) {
        let mut batch = std::mem::take(&mut record.batch);
        let waited = record.message.is_some();
        match result.code {
            ERROR_SUCCESS if waited => batch.note_sent(1),
            ERROR_SUCCESS => {}
            // A cancelled send returns its datagrams.
            ERROR_OPERATION_ABORTED if self.is_ending(record.operation) => {}
            code => note_failed(&mut batch, socket_error(code)),
        }
        self.end_with(record, Ok(Outcome::DatagramsSent(batch)));
    }

    /// Sends what Windows takes at once, unless a send is under way. Returns the number of bytes.
    pub(super) fn send_datagrams_now(&mut self, handle: Key, batch: &mut DatagramBatch) -> usize {
        let is_sending = self
            .under_way_on(handle, RequestKind::SendDatagrams)
            .is_some();
        let entry = self.handles.get_mut(handle);
        let entry = entry.filter(|entry| entry.closing.is_none() && !is_sending);
        let Some(Source::Datagrams(socket)) = entry.map(|entry| &mut entry.source) else {
            return 0;
        };
        let bytes = socket.send_now(batch);
        self.tell_errors(handle);
        bytes
    }

    /// Tells the receive of a socket, if one is under way, the errors that sends have met.
    pub(super) fn tell_errors(&mut self, handle: Key) {
        let Some(receive) = self.under_way_on(handle, RequestKind::ReceiveDatagrams) else {
            return;
        };
        while let Some(error) = self.datagrams_of(receive).errors.pop_front() {
            self.report_datagram_error(receive, error);
        }
    }

    /// The operation of this kind that is under way on a handle, if there is one.
    fn under_way_on(&self, handle: Key, kind: RequestKind) -> Option<Key> {
        let operations = self.handles.get(handle)?.operations.iter().copied();
        let mut of_kind = operations.filter(|&operation| self.kind_of(operation) == Some(kind));
        of_kind.next()
    }
}

impl DatagramSocket {
    /// Sends datagrams until Windows takes no more, or enough are sent. The batch keeps the errors of those that it
    /// refused. Returns the number of bytes sent.
    fn send_now(&mut self, batch: &mut DatagramBatch) -> usize {
        let (mut bytes, count) = (0, batch.len());
        // An error that may concern an earlier datagram: it does if the call succeeds when it is made again.
        let mut doubtful: Option<io::Error> = None;
        while count - batch.len() < SENT_MAX {
            let next = batch.runs().next();
            let Some(run) = next.map(|run| run.first(self.datagrams_at_once(run))) else {
                break;
            };
            match self.try_send(run) {
                Ok(()) => {
                    bytes += run.bytes.len();
                    let sent = run.count();
                    self.keep(doubtful.take());
                    batch.note_sent(sent);
                }
                Err(error) if error.raw_os_error() == Some(WSAEWOULDBLOCK) => {
                    self.keep(doubtful.take());
                    break;
                }
                Err(error) if doubtful.is_none() && may_be_earlier(&error) => {
                    doubtful = Some(error);
                }
                Err(_) if run.count() > 1 => self.cut_no_more(),
                Err(error) => {
                    doubtful = None;
                    note_failed(batch, error);
                }
            }
        }
        self.keep(doubtful);
        bytes
    }

    /// Keeps an error for the receive, which tells it. Drops it if there are many.
    fn keep(&mut self, error: Option<io::Error>) {
        if let Some(error) = error
            && self.errors.len() < ERRORS_MAX
        {
            self.errors.push_back(DatagramError::new(CALL, None, error));
        }
    }

    /// How many datagrams of a run Windows takes in one call: several if it cuts them.
    fn datagrams_at_once(&self, run: Run<'_>) -> usize {
        match self.cuts_runs() && run.segment > 0 {
            true => (RUN_BYTES_MAX / run.segment).clamp(1, SEGMENTS_MAX),
            false => 1,
        }
    }

    fn try_send(&self, run: Run<'_>) -> io::Result<()> {
        let receiver = self.receiver(run.to)?;
        let segment = (run.count() > 1).then(|| u32::try_from(run.segment).unwrap_or(u32::MAX));
        let mut memory = MessageMemory::default();
        let message = memory.describe_send(run.bytes, receiver, segment);
        let mut bytes = 0;
        // SAFETY: the memory and the bytes live until the call is over, which does not wait.
        match unsafe { self.send(message, &raw mut bytes, ptr::null_mut()) } {
            true => Ok(()),
            false => Err(socket_error(last_socket_error())),
        }
    }

    /// Sends the first datagram of the record's batch, and waits for room.
    fn post_send(&self, mut record: Box<Record>) -> Started {
        let memory = record.message.get_or_insert_default();
        let run = record
            .batch
            .runs()
            .next()
            .expect("`admit` refuses an empty batch");
        let run = run.first(1);
        // `send_now` has refused what the socket cannot reach.
        let receiver = self.receiver(run.to).unwrap_or_default();
        let message = memory.describe_send(run.bytes, receiver, None);
        let lent = record.lend();
        // SAFETY: the lent record owns the memory, the bytes and the OVERLAPPED; the socket stays open until the packet.
        let succeeded = unsafe { self.send(message, ptr::null_mut(), lent.overlapped()) };
        datagram_called(lent, succeeded)
    }

    /// Calls WSASendMsg if there are control messages, otherwise WSASendTo. Returns whether it succeeded.
    ///
    /// # Safety
    ///
    /// The message points to memory that lives until the call, or with an OVERLAPPED its operation, is over.
    unsafe fn send(
        &self,
        message: *const WSAMSG,
        bytes: *mut u32,
        overlapped: *mut OVERLAPPED,
    ) -> bool {
        let socket = raw(&self.socket);
        // SAFETY: the caller vouches for the message.
        let WSAMSG {
            name,
            namelen,
            lpBuffers: buffers,
            Control: control,
            ..
        } = unsafe { *message };
        let failed = if control.len > 0 {
            // SAFETY: the caller vouches for the memory.
            unsafe { WSASendMsg(socket, message, 0, bytes, overlapped, None) }
        } else {
            // SAFETY: as above; there is one buffer.
            unsafe {
                WSASendTo(
                    socket, buffers, 1, bytes, 0, name, namelen, overlapped, None,
                )
            }
        };
        failed == 0
    }

    /// The address to send to in the form that the socket takes; `None` is the peer that it is connected to.
    fn receiver(&self, to: Option<&Address>) -> io::Result<Option<SocketAddr>> {
        let Some(to) = to else {
            return Ok(None);
        };
        match to.socket_addr() {
            Some(SocketAddr::V4(v4)) if self.is_v6 => {
                let mapped = v4.ip().to_ipv6_mapped();
                Ok(Some(SocketAddr::from((mapped, v4.port()))))
            }
            Some(to) if to.is_ipv6() == self.is_v6 => Ok(Some(to)),
            _ => Err(io::Error::from_raw_os_error(WSAEAFNOSUPPORT)),
        }
    }
}

/// Notes that the first datagram could not be sent.
fn note_failed(batch: &mut DatagramBatch, error: io::Error) {
    let to = batch.runs().next().and_then(|run| run.to.cloned());
    batch.note_failed(DatagramError::new(CALL, to, error));
}

/// Whether the error of a send may concern a datagram that was sent before.
fn may_be_earlier(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(WSAECONNREFUSED | WSAECONNRESET | WSAENETRESET | WSAEHOSTUNREACH | WSAENETUNREACH)
    )
}
