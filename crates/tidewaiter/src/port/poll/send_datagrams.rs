//! Sends datagrams, several in one call.

use super::super::Outcome;
use super::super::datagram::DatagramBatch;
use super::super::source::Source;
use super::super::table::Key;
use super::PollPort;
use super::attempt::{Attempt, Pools, Tools};
use super::entry::Entry;
use super::pending::{Pending, Work};

impl PollPort {
    /// Sends what the OS takes now. It stays out of line, so that streams do not pay for it.
    #[inline(never)]
    pub(super) fn send_datagrams_now(&mut self, handle: Key, batch: &mut DatagramBatch) -> usize {
        let Some(entry) = self.handles.get_mut(handle) else {
            return 0;
        };
        let bytes = entry.send_datagrams_now(batch, &self.pools);
        self.queue_if_ready(handle);
        bytes
    }
}

impl Entry {
    /// Sends what the OS takes now; nothing if a send is under way or the socket is known to be full. Returns the number
    /// of bytes.
    fn send_datagrams_now(&mut self, batch: &mut DatagramBatch, pools: &Pools) -> usize {
        if self.output.is_some() || self.watched && !self.writable {
            return 0;
        }
        let Source::Datagrams(socket) = &self.source else {
            return 0;
        };
        let sent = pools.send_tray().send(socket, batch);
        self.writable = !sent.full;
        self.readable |= sent.has_errors;
        self.ended |= sent.has_errors;
        sent.bytes
    }
}

pub(super) fn attempt(entry: &mut Entry, tools: &mut Tools) -> Attempt {
    let Some(Pending {
        work: Work::SendDatagrams(batch),
        ..
    }) = &mut entry.output
    else {
        unreachable!("it was found to send datagrams");
    };
    let Source::Datagrams(socket) = &entry.source else {
        unreachable!("no other source sends datagrams");
    };
    let sent = tools.pools.send_tray().send(socket, batch);
    entry.writable = !sent.full;
    entry.readable |= sent.has_errors;
    entry.ended |= sent.has_errors;
    if sent.datagrams == 0 {
        return Attempt::NotReady;
    }
    Attempt::Last(Ok(Outcome::DatagramsSent(std::mem::take(batch))))
}
