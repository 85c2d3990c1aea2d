//! Sends datagrams: one message by an operation of the kernel, several by one call.

use io_uring::{opcode, squeue, types};

use super::super::datagram::{DatagramBatch, DatagramError};
use super::super::messages::{Outgoing, SendTray, is_reported};
use super::super::table::Key;
use super::super::{Handle, Outcome};
use super::Uring;
use super::next::{Next, errno, poll_first};
use super::pending::{Stage, Work};
use super::pinned::Pinned;
use super::ring::Cqe;
use super::send::MSG_NOSIGNAL;

/// `flags`: 0, or those of an [immediate](super::ring::IMMEDIATE) send.
pub(super) fn start(
    descriptor: types::Fd,
    flags: i32,
    message: Option<&Pinned<Outgoing>>,
) -> squeue::Entry {
    let message = message.expect("it was prepared");
    opcode::SendMsg::new(descriptor, message.as_ptr().cast::<libc::msghdr>())
        .flags((MSG_NOSIGNAL | flags).cast_unsigned())
        .build()
}

impl Uring {
    /// Sends what the OS takes now; nothing if a send is under way. Returns the number of bytes.
    pub(super) fn send_datagrams_now(
        &mut self,
        handle: Handle,
        batch: &mut DatagramBatch,
    ) -> usize {
        let entry = self.handles.get(handle.0);
        let Some(entry) = entry.filter(|entry| entry.closing.is_none() && entry.sending.is_none())
        else {
            return 0;
        };
        let (socket, receiving) = (entry.datagrams(), entry.receiving);
        let sent = self.datagrams.send_tray().send(socket, batch);
        if sent.has_errors {
            self.datagrams.note_erring(receiving);
        }
        sent.bytes
    }

    /// Prepares a send of datagrams: lists a single message for the kernel, or sends several at once, without the ring.
    /// Returns false if the operation has ended by this.
    pub(super) fn prepare_sending_datagrams(&mut self, key: Key) -> bool {
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("it is being started");
        let entry = self.handles.get(pending.handle);
        let entry = entry.expect("a handle outlives its operations");
        let socket = entry.datagrams();
        let Work::SendDatagrams {
            batch,
            message,
            count,
        } = &mut pending.work
        else {
            unreachable!("only sends of datagrams are prepared here");
        };
        let spare = &mut self.datagrams.outgoing;
        let listed = message
            .get_or_insert_with(|| spare.pop().unwrap_or_else(|| Pinned::new(Outgoing::new())))
            .list(socket, batch);
        if listed == Some(batch.len()) {
            *count = batch.len();
            return true;
        }
        let tray = self
            .datagrams
            .send_tray
            .get_or_insert_with(|| Box::new(SendTray::new()));
        let sent = tray.send(socket, batch);
        let receiving = entry.receiving;
        if sent.has_errors {
            self.datagrams.note_erring(receiving);
        }
        if sent.datagrams == 0 {
            pending.stage = Stage::Polling;
            return true;
        }
        let batch = std::mem::take(batch);
        let completion = pending.last(key, Ok(Outcome::DatagramsSent(batch)));
        self.due.push_back(completion);
        self.retire(key);
        false
    }

    /// The kernel has sent the message, or has not.
    pub(super) fn finish_sending_datagrams(&mut self, key: Key, cqe: Cqe) -> Next {
        let pending = self.operations.get_mut(key);
        let pending = pending.expect("it was there a moment ago");
        let entry = self.handles.get(pending.handle);
        let entry = entry.expect("a handle outlives its operations");
        let socket = entry.datagrams();
        let cancelled = pending.cancelled;
        let Work::SendDatagrams { batch, count, .. } = &mut pending.work else {
            unreachable!("only sends of datagrams are finished here");
        };
        match errno(cqe) {
            None => batch.note_sent(*count),
            Some(libc::EAGAIN) => return poll_first(pending),
            Some(libc::EINTR) => return Next::Again(None),
            Some(libc::ECANCELED) if !cancelled => return Next::Again(None),
            Some(libc::ECANCELED) => {}
            Some(errno) => {
                let error = std::io::Error::from_raw_os_error(errno);
                if socket.is_udp() && is_reported(&error) && !cancelled {
                    // Maybe not this datagram failed, but an earlier one: a call tells.
                    self.datagrams.note_erring(entry.receiving);
                    self.datagrams.send_tray().send(socket, batch);
                } else if *count > 1 {
                    socket.cut_no_more(batch, &error);
                    return Next::Again(None);
                } else {
                    let to = batch.runs().next().and_then(|run| run.to.cloned());
                    batch.note_failed(DatagramError::new("sendmsg", to, error));
                }
            }
        }
        Next::End(Ok(Outcome::DatagramsSent(std::mem::take(batch))))
    }
}
