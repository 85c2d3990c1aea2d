//! Connects: started once, and finished when the socket becomes writable.

use std::io;

use rustix::io::Errno;
use socket2::SockAddr;

use super::super::source::Source;
use super::super::{Failure, Outcome};
use super::attempt::Attempt;
use super::entry::Entry;

pub(super) fn start(entry: &mut Entry, peer: io::Result<SockAddr>) -> Attempt {
    let (Source::Stream(socket) | Source::Packets(socket)) = &entry.source else {
        unreachable!("`check` lets no other source connect");
    };
    // Earlier reports are about the unconnected socket, for example that it has hung up, and no
    // longer hold.
    entry.readable = false;
    entry.writable = false;
    entry.ended = false;
    entry.hung_up = false;
    match peer.and_then(|peer| socket.connect(&peer)) {
        Ok(()) => {
            entry.writable = true;
            Attempt::Last(Ok(Outcome::Connected))
        }
        Err(error) if is_in_progress(&error) => Attempt::NotReady,
        Err(error) => Attempt::Last(Err(Failure::os("connect", error))),
    }
}

pub(super) fn finish(entry: &mut Entry) -> Attempt {
    let (Source::Stream(socket) | Source::Packets(socket)) = &entry.source else {
        unreachable!("`check` lets no other source connect");
    };
    match socket
        .take_error()
        .and_then(|error| error.map_or(Ok(()), Err))
    {
        Ok(()) => {}
        Err(error) => return Attempt::Last(Err(Failure::os("connect", error))),
    }
    // No error and no peer: the report predates the connect.
    match socket.peer_addr() {
        Ok(_) => Attempt::Last(Ok(Outcome::Connected)),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            entry.writable = false;
            Attempt::NotReady
        }
        Err(error) => Attempt::Last(Err(Failure::os("connect", error))),
    }
}

/// An interrupted connect continues in the background, just as a non-blocking one does.
fn is_in_progress(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::INPROGRESS | Errno::INTR)
    )
}
