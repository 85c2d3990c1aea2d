//! A port's answers to questions about a handle. They come at once, and change nothing.

use std::io;

use super::calls::Query;
use super::{Handle, PeerCredentials, Port};
use crate::os::{Address, RawDescriptor};
use crate::process::Usage;

impl Port {
    /// The address that a socket is bound to.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) for a closed handle;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a handle that is no socket, or whose socket has an address
    /// that is no [`Address`]; otherwise the OS's error.
    pub fn local_addr(&self, handle: Handle) -> io::Result<Address> {
        let answer = self.gate.query(handle, Query::LocalAddress)?;
        Ok(answer.address())
    }

    /// The address that a socket is connected to.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Port::local_addr), and [`NotConnected`](io::ErrorKind::NotConnected).
    pub fn peer_addr(&self, handle: Handle) -> io::Result<Address> {
        let answer = self.gate.query(handle, Query::PeerAddress)?;
        Ok(answer.address())
    }

    /// The number of bytes that the OS has taken to send and the peer's system has not acknowledged: a peer
    /// that does not read lets it grow. An end of the sending side may count as one byte.
    ///
    /// # Errors
    ///
    /// As [`peer_addr`](Port::peer_addr), and [`Unsupported`](io::ErrorKind::Unsupported) on Windows and macOS,
    /// which do not report it.
    pub fn unacknowledged(&self, handle: Handle) -> io::Result<usize> {
        let answer = self.gate.query(handle, Query::Unacknowledged)?;
        Ok(answer.bytes())
    }

    /// What a child process used of the machine, once [`Outcome::Exited`](super::Outcome::Exited) has reported its end. `None` before that,
    /// if its status is [unknown](crate::process::ExitStatus::Unknown), and in simulations.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) for a closed handle; [`InvalidInput`](io::ErrorKind::InvalidInput) for
    /// a handle that is no process; otherwise the OS's error.
    pub fn usage(&self, process: Handle) -> io::Result<Option<Usage>> {
        Ok(self.gate.query(process, Query::Usage)?.usage())
    }

    /// The OS's number of a socket or pipe, for inspection or for options that the port does not know. The
    /// port still owns it: do not close it, and do not keep it. The OS may give the number to something else
    /// as soon as [`close`](Port::close) was called.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) once the handle is closed or being closed;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a process, and in simulations.
    pub fn raw_descriptor(&self, handle: Handle) -> io::Result<RawDescriptor> {
        let answer = self.gate.query(handle, Query::RawDescriptor)?;
        Ok(answer.raw_descriptor())
    }

    /// The process and the user at the other end of a UNIX socket, or the process at the other end of a named pipe.
    ///
    /// # Errors
    ///
    /// As [`peer_addr`](Port::peer_addr); [`InvalidInput`](io::ErrorKind::InvalidInput) also for a socket of another kind,
    /// and [`Unsupported`](io::ErrorKind::Unsupported) where the OS does not tell.
    pub fn peer_credentials(&self, handle: Handle) -> io::Result<PeerCredentials> {
        let answer = self.gate.query(handle, Query::PeerCredentials)?;
        Ok(answer.credentials())
    }
}
