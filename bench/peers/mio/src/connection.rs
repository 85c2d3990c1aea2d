//! One connection. It reads into the loop's buffer, and stores only data that it could not send.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

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
    pub(crate) stream: TcpStream,
    /// Data that could not be sent. The connection reads no more until it is sent.
    unsent: Vec<u8>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            unsent: Vec::new(),
        }
    }

    /// Reads and writes until the socket blocks, because the poller is edge-triggered.
    pub(crate) fn advance(&mut self, role: Role, buffer: &mut [u8]) -> io::Result<Next> {
        match role {
            Role::Echo => self.echo(buffer),
            Role::Sink => self.sink(buffer),
            Role::Source => self.source(buffer),
            Role::Both => self.both(buffer),
        }
    }

    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<Next> {
        if !self.flush()? {
            return Ok(Next::Wait);
        }
        while let Some(count) = unless_blocked(self.stream.read(buffer))? {
            if count == 0 {
                return Ok(Next::Close);
            }
            if !self.send(&buffer[..count])? {
                return Ok(Next::Wait);
            }
            // A short read has emptied the socket, so the poller will report the next data.
            if count < buffer.len() {
                return Ok(Next::Wait);
            }
        }
        Ok(Next::Wait)
    }

    fn sink(&mut self, buffer: &mut [u8]) -> io::Result<Next> {
        while let Some(count) = unless_blocked(self.stream.read(buffer))? {
            if count == 0 {
                return Ok(Next::Close);
            }
            if count < buffer.len() {
                break;
            }
        }
        Ok(Next::Wait)
    }

    fn source(&mut self, buffer: &[u8]) -> io::Result<Next> {
        while unless_blocked(self.stream.write(buffer))?.is_some() {}
        Ok(Next::Wait)
    }

    /// Alternates between writing and reading until both block.
    fn both(&mut self, buffer: &mut [u8]) -> io::Result<Next> {
        loop {
            let sent = unless_blocked(self.stream.write(buffer))?;
            let count = unless_blocked(self.stream.read(buffer))?;
            match (sent, count) {
                (_, Some(0)) => return Ok(Next::Close),
                (None, None) => return Ok(Next::Wait),
                _ => {}
            }
        }
    }

    /// Sends the rest; returns whether all of it is sent.
    fn flush(&mut self) -> io::Result<bool> {
        if self.unsent.is_empty() {
            return Ok(true);
        }
        let unsent = std::mem::take(&mut self.unsent);
        self.send(&unsent)
    }

    fn send(&mut self, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            match unless_blocked(self.stream.write(bytes))? {
                Some(count) => bytes = &bytes[count..],
                None => {
                    self.unsent = bytes.to_vec();
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Turns an error that means that the socket is not ready into `None`.
fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}
