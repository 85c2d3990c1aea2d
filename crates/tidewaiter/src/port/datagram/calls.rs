//! A port's calls on datagram sockets.

use std::io;

use super::super::calls::{Control, Offer, Open, Query};
use super::super::gate::Call;
use super::super::{Handle, Port};
use super::{DatagramBatch, DatagramOptions, Multicast, MulticastSettings};
use crate::os::Address;

impl Port {
    /// Opens a datagram socket, bound or connected or both: UDP, or on Unix a datagram socket of the UNIX family. Submit
    /// [`Request::ReceiveDatagrams`](super::super::Request::ReceiveDatagrams) and
    /// [`Request::SendDatagrams`](super::super::Request::SendDatagrams).
    ///
    /// # Errors
    ///
    /// The OS's error, such as [`AddrInUse`](io::ErrorKind::AddrInUse),
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) or
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied). [`InvalidInput`](io::ErrorKind::InvalidInput) without any
    /// address. [`Unsupported`](io::ErrorKind::Unsupported) for an address or an option that this port does not support.
    pub fn open_datagrams(&mut self, options: &DatagramOptions) -> io::Result<Handle> {
        options.check()?;
        self.gate.pass(Call::Act)?.open(Open::Datagrams(options))
    }

    /// Connects a datagram socket to `peer`, or takes back the connection (`None`). Datagrams of others that arrived
    /// before are still received.
    ///
    /// # Errors
    ///
    /// The OS's error; [`NotFound`](io::ErrorKind::NotFound) for a closed handle;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a handle that is no datagram socket.
    pub fn set_peer(&mut self, handle: Handle, peer: Option<&Address>) -> io::Result<()> {
        let control = Control::SetPeer(peer);
        self.gate.pass(Call::Act)?.control(handle, control)
    }

    /// Changes what a UDP socket receives from or sends to multicast groups.
    ///
    /// # Errors
    ///
    /// As [`set_peer`](Port::set_peer).
    pub fn set_multicast(&mut self, handle: Handle, change: Multicast) -> io::Result<()> {
        let control = Control::Multicast(change);
        self.gate.pass(Call::Act)?.control(handle, control)
    }

    /// How a UDP socket sends to multicast groups.
    ///
    /// # Errors
    ///
    /// As [`set_peer`](Port::set_peer).
    pub fn multicast_settings(&self, handle: Handle) -> io::Result<MulticastSettings> {
        Ok(self.gate.query(handle, Query::Multicast)?.multicast())
    }

    /// Sends what the OS takes of the batch at once, without an operation: what is left in the batch is to be submitted.
    /// Sends nothing while a send is under way on `handle`. Returns the number of bytes that the OS took.
    pub(crate) fn send_datagrams_now(
        &mut self,
        handle: Handle,
        batch: &mut DatagramBatch,
    ) -> usize {
        let driver = self.gate.pass(Call::TryNow);
        let sent = driver.map(|driver| driver.send_now(handle, Offer::Datagrams(batch)));
        // A datagram that fails is in the batch, and nothing else does.
        sent.map_or(0, |sent| sent.unwrap_or(0))
    }
}
