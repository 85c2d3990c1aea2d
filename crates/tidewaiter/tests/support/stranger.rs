//! Connections that no reactor knows, and that no reactor may touch.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use tidewaiter::port::RawDescriptor;

use super::number::number;

/// Longer than any step takes on loopback; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Both ends of a connection.
pub(crate) struct Stranger([TcpStream; 2]);

impl Stranger {
    pub(crate) fn open() -> io::Result<Stranger> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, peer) = listener.accept()?;
        if peer != client.local_addr()? {
            return Err(io::Error::other("somebody else has connected"));
        }
        for end in [&client, &server] {
            end.set_read_timeout(Some(PATIENCE))?;
        }
        Ok(Stranger([client, server]))
    }

    /// The numbers of the ends.
    pub(crate) fn numbers(&self) -> [RawDescriptor; 2] {
        self.0.each_ref().map(number)
    }

    /// Closes the connection. Returns an error if other code has touched it.
    pub(crate) fn close(mut self) -> io::Result<()> {
        for end in &self.0 {
            let socket = SockRef::from(end);
            let changed = socket.keepalive()? || socket.tcp_nodelay()?;
            if changed || socket.linger()?.is_some() || socket.take_error()?.is_some() {
                return Err(io::Error::other(format!("{end:?} was changed")));
            }
        }
        let [client, server] = &mut self.0;
        exchange(client, server)?;
        exchange(server, client)
    }
}

/// Sends a byte that must arrive, and nothing else with it.
fn exchange(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    from.write_all(b"!")?;
    let mut byte = [0; 2];
    let count = to.read(&mut byte)?;
    match &byte[..count] {
        b"!" => Ok(()),
        other => Err(io::Error::new(ErrorKind::InvalidData, format!("{other:?}"))),
    }
}
