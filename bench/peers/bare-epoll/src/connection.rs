//! One connection. It reads into the loop's buffer, and stores only data that it could not send.

use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// The behaviour of all connections of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Echo,
    Sink,
    Source,
    Both,
}

/// The next step of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Wait,
    Close,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    unsent: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Connection {
        Connection {
            socket,
            unsent: Vec::new(),
        }
    }

    /// Whether the connection waits until it can send again.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Does at most one read and one write. The epoll is level-triggered, and reports the rest again.
    pub(crate) fn advance(&mut self, role: Role, buffer: &mut [u8]) -> Result<Next, Errno> {
        if self.is_blocked() {
            let sent = self.send(&self.unsent)?;
            self.unsent.drain(..sent);
            return Ok(Next::Wait);
        }
        if role == Role::Source {
            self.send(buffer)?;
            return Ok(Next::Wait);
        }
        let Some(count) = self.receive(buffer)? else {
            return Ok(Next::Wait);
        };
        if count == 0 {
            return Ok(Next::Close);
        }
        if role == Role::Echo {
            let sent = self.send(&buffer[..count])?;
            self.unsent.extend_from_slice(&buffer[sent..count]);
        }
        Ok(Next::Wait)
    }

    /// Does a read, a write, or one of each.
    pub(crate) fn both(&self, ready: EventFlags, buffer: &mut [u8]) -> Result<Next, Errno> {
        if ready.contains(EventFlags::OUT) {
            self.send(buffer)?;
        }
        if ready.contains(EventFlags::IN) && self.receive(buffer)? == Some(0) {
            return Ok(Next::Close);
        }
        Ok(Next::Wait)
    }

    /// Receives data; `None` if there is none yet.
    fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>, Errno> {
        match recv(&self.socket, buffer, RecvFlags::empty()) {
            Err(Errno::AGAIN) => Ok(None),
            other => Ok(Some(other?.0)),
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match send(&self.socket, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN) => Ok(0),
            other => other,
        }
    }
}
