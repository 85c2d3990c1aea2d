//! The server's loop.

use std::io::{self, ErrorKind};

use bench_common::net::{self, PIECE_BYTES};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use crate::connection::{Connection, Next, Role};

const LISTENER: Token = Token(usize::MAX);

pub(crate) fn serve(role: Role) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::from_std(net::listener()?);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut connections = Slab::new();
    let mut buffer = vec![b'x'; PIECE_BYTES];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, poll.registry(), &mut connections)?;
                continue;
            }
            let Token(at) = event.token();
            let next = connections[at].advance(role, &mut buffer);
            // Close a connection that has failed like one that has ended.
            if !matches!(next, Ok(Next::Wait)) {
                let mut connection: Connection = connections.remove(at);
                poll.registry().deregister(&mut connection.stream)?;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    registry: &Registry,
    connections: &mut Slab<Connection>,
) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((mut stream, _peer)) => {
                let place = connections.vacant_entry();
                let interest = Interest::READABLE | Interest::WRITABLE;
                registry.register(&mut stream, Token(place.key()), interest)?;
                place.insert(Connection::new(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
