//! Memory for datagrams, which all sockets share.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::super::datagram::SpareBatches;
use super::super::messages::{Outgoing, SendTray, Tray};
use super::super::table::Key;
use super::buffers::BufferRing;
use super::pinned::Pinned;

/// Memory for datagrams, made once there are any.
#[derive(Default)]
pub(super) struct DatagramMemory {
    /// Whether there was a handle for datagrams. While there was none, nothing here needs a look.
    pub(super) used: bool,
    /// The buffers of the present ring; lost with it.
    pub(super) buffers: Option<Rc<BufferRing>>,
    pub(super) spare: Rc<SpareBatches>,
    pub(super) tray: Option<Box<Tray>>,
    pub(super) send_tray: Option<Box<SendTray>>,
    /// Messages for the kernel to send, kept for reuse.
    pub(super) outgoing: Vec<Pinned<Outgoing>>,
    /// The receives for which the kernel has errors that peers or the network reported.
    pub(super) erring: VecDeque<Key>,
    /// The number of completions before the present wait.
    pub(super) wait_began: usize,
    /// The number of messages that the present wait has copied.
    pub(super) copied: usize,
}

impl DatagramMemory {
    /// Gives the kernel buffers in place of those that are lent. Returns whether it has errors for a receive.
    pub(super) fn prepare(&self) -> bool {
        if let Some(buffers) = &self.buffers {
            buffers.fill_up();
        }
        !self.erring.is_empty()
    }

    /// Gives the kernel buffers that it has run out of; returns whether it has some now.
    ///
    /// The buffers of small messages, which were copied, are back in the ring by now. Without more of them, the kernel
    /// would run out in each wait. It gets more of them at once, because small messages stay in the processor's cache.
    pub(super) fn replenish(&mut self) -> bool {
        let Some(buffers) = &self.buffers else {
            return false;
        };
        if self.copied >= usize::from(buffers.listed_max()) {
            self.copied = 0;
            buffers.list_more();
        }
        buffers.replenish()
    }

    /// Forgets the buffers, because their ring is gone.
    pub(super) fn forget_buffers(&mut self) {
        self.buffers = None;
    }

    /// See [`BufferRing::wipe_in_children`].
    pub(super) fn wipe_in_children(&self, wipe: bool) -> io::Result<()> {
        let buffers = self.buffers.as_ref();
        buffers.map_or(Ok(()), |buffers| buffers.wipe_in_children(wipe))
    }

    pub(super) fn send_tray(&mut self) -> &mut SendTray {
        self.send_tray
            .get_or_insert_with(|| Box::new(SendTray::new()))
    }

    /// Notes that the kernel has errors for a receive.
    pub(super) fn note_erring(&mut self, receiving: Option<Key>) {
        self.erring.extend(receiving);
    }
}
