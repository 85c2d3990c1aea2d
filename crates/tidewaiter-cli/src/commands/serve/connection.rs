//! The connection of a session: the server passes on its bytes, or COMMAND has it as its own.

use std::cell::RefCell;
use std::io;
use std::time::Duration;

use tidewaiter::port::{PeerCredentials, Socket, SocketOption};
use tidewaiter::process::{Command, Stdio};
use tidewaiter::{Address, Transport};

use super::peer::Peer;

/// Idle time after which the kernel probes whether the client is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A client's connection.
pub(super) enum Connection {
    /// The server passes on what arrives on either side.
    Joined(Transport),
    /// It becomes COMMAND's standard input and output. Empty once COMMAND has it, or it is closed.
    HandedOver(RefCell<Option<Socket>>),
    /// There is none: the server passes on the datagrams of one peer.
    Datagrams(Peer),
}

impl Connection {
    pub(super) fn transport(&self) -> Option<&Transport> {
        match self {
            Connection::Joined(transport) => Some(transport),
            Connection::HandedOver(_) | Connection::Datagrams(_) => None,
        }
    }

    pub(super) fn datagrams(&self) -> Option<&Peer> {
        match self {
            Connection::Datagrams(peer) => Some(peer),
            Connection::Joined(_) | Connection::HandedOver(_) => None,
        }
    }

    /// Whether COMMAND has the connection, so that the server does not see its bytes.
    pub(super) fn is_handed_over(&self) -> bool {
        matches!(self, Connection::HandedOver(_))
    }

    /// Drops a socket that COMMAND has by now, or that no COMMAND will have, or lets go of a peer.
    pub(super) fn release(&self) {
        match self {
            Connection::Joined(_) => {}
            Connection::HandedOver(socket) => drop(socket.take()),
            Connection::Datagrams(peer) => peer.forget(),
        }
    }

    /// Sets the options of the socket.
    pub(super) fn set_options(&self, no_delay: bool) -> io::Result<()> {
        match self {
            Connection::Joined(transport) => {
                transport.set_no_delay(no_delay)?;
                transport.set_keep_alive(Some(KEEP_ALIVE))
            }
            Connection::HandedOver(socket) => match &*socket.borrow() {
                Some(socket) => {
                    socket.set_option(SocketOption::NoDelay(no_delay))?;
                    socket.set_option(SocketOption::KeepAlive(Some(KEEP_ALIVE)))
                }
                None => Ok(()),
            },
            Connection::Datagrams(_) => Ok(()),
        }
    }

    /// Our own address, if the connection is ours.
    pub(super) fn local_addr(&self) -> Option<Address> {
        match self {
            Connection::Joined(transport) => transport.local_addr().ok(),
            Connection::HandedOver(socket) => socket.borrow().as_ref()?.local_addr().ok(),
            Connection::Datagrams(peer) => peer.local_addr(),
        }
    }

    /// The process and user at the other end, if the system tells.
    pub(super) fn peer_credentials(&self) -> Option<PeerCredentials> {
        self.transport()?.peer_credentials().ok()
    }

    /// Gives the connection to COMMAND, if it is to have it.
    pub(super) fn give(&self, command: Command) -> Command {
        let Connection::HandedOver(socket) = self else {
            return command;
        };
        let number = socket.borrow().as_ref().and_then(Socket::raw_descriptor);
        match number {
            Some(number) => command
                .stdin(Stdio::Descriptor(number))
                .stdout(Stdio::SameAs(0)),
            None => command,
        }
    }
}
