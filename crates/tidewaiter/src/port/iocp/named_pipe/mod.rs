//! Named pipes: servers, whose every connection is an instance of the pipe of its own, and clients.
//!
//! An instance is on no completion port before it is adopted: Windows would not let it move to another one afterwards.
//! So a listener waits for clients by an event object, which all its waiting instances share.

mod accept;
mod access;
mod client;
mod connect;
mod listener;
mod messages;
mod vacancy;

use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle};

use windows_sys::Win32::System::Pipes::{GetNamedPipeClientProcessId, GetNamedPipeServerProcessId};

pub(super) use client::Unopened;
use listener::Accepted;
pub(super) use listener::PipeListener;
use messages::Messages;
pub(super) use messages::has_message;
pub(super) use vacancy::Vacancies;

use super::pipe::disconnect;
use crate::os::{Address, PipeName, RawDescriptor};
use crate::port::socket::PortSocket;
use crate::port::{PeerCredentials, PipeMode};

/// A connected named pipe, or an instance that a client may connect to.
#[derive(Debug)]
pub(super) struct NamedPipe {
    /// Declared before the end, whose drop tells the listener that this handle is closed.
    pub(super) pipe: OwnedHandle,
    name: PipeName,
    end: End,
    /// The messages that are being received; `None` if the pipe carries bytes.
    pub(super) messages: Option<Messages>,
}

/// Which end of a named pipe.
#[derive(Debug)]
enum End {
    Client,
    /// The server's. `None`: not accepted yet.
    Server {
        _accepted: Option<Accepted>,
    },
}

impl NamedPipe {
    fn new(pipe: OwnedHandle, name: PipeName, end: End, mode: PipeMode) -> NamedPipe {
        let messages = match mode {
            PipeMode::Bytes => None,
            PipeMode::Messages { received_max } => Some(Messages::new(received_max)),
        };
        NamedPipe {
            pipe,
            name,
            end,
            messages,
        }
    }

    /// Whether operations that succeed at once may post no packet. Not with messages: Windows does not say whether a part of
    /// a message counts as a success.
    pub(super) fn may_skip_packets(&self) -> bool {
        self.messages.is_none()
    }

    /// Drops the bytes in transit, as the reset of a connection does. Only a server can.
    pub(super) fn reset(&self) {
        if let End::Server { .. } = self.end {
            disconnect(&self.pipe);
        }
    }

    /// The process at the other end.
    pub(super) fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        let ask = match self.end {
            End::Client => GetNamedPipeServerProcessId,
            End::Server { .. } => GetNamedPipeClientProcessId,
        };
        let mut process = 0;
        // SAFETY: the handle is open, and the call writes the number within its size.
        let told = unsafe { ask(self.pipe.as_raw_handle(), &raw mut process) };
        match told {
            0 => Err(io::Error::last_os_error()),
            _ => Ok(PeerCredentials {
                process: Some(process),
                user: None,
                group: None,
            }),
        }
    }

    /// The address of both ends: a client has no name of its own.
    pub(super) fn address(&self) -> Address {
        self.name.clone().into()
    }
}

/// A connection that no port has adopted.
impl PortSocket for NamedPipe {
    fn local_addr(&self) -> Option<Address> {
        Some(self.address())
    }

    fn keeps_messages(&self) -> bool {
        self.messages.is_some()
    }

    fn raw_descriptor(&self) -> Option<RawDescriptor> {
        Some(self.pipe.as_raw_handle().addr() as RawDescriptor)
    }
}
