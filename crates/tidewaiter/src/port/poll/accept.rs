//! Accepts: many connections by one request, or a single one.

use std::io;

use rustix::io::Errno;
use socket2::Socket;

use super::super::socket::Socket as FreeSocket;
use super::super::source::Source;
use super::super::{Failure, Outcome};
use super::attempt::{Attempt, Called};
use super::entry::Entry;
use super::selector;
use crate::os::Address;

/// The most connections accepted from one listener before other handles get their turn.
pub(super) const ACCEPTS_MAX: usize = 32;

pub(super) fn attempt(entry: &mut Entry) -> Attempt {
    let Source::Listener(listener) = &entry.source else {
        unreachable!("`check` lets no other source accept");
    };
    match accept(&listener.socket) {
        Ok(Some((socket, peer))) => Attempt::More(Outcome::Accepted {
            socket: FreeSocket::accepted(socket, &peer),
            peer,
        }),
        Ok(None) => {
            entry.readable = false;
            Attempt::NotReady
        }
        // Still readable: the backlog remains for a later operation.
        Err(failure) => Attempt::Last(Err(failure)),
    }
}

/// Accepts a connection, if there is one that is still alive.
fn accept(listener: &Socket) -> Called<(Socket, Address)> {
    loop {
        match selector::accept(listener) {
            Ok(accepted) => return Ok(Some(accepted)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if died_waiting(&error) => {}
            Err(error) => return Err(Failure::os("accept", error)),
        }
    }
}

/// Whether it was the connection that failed, before it could be accepted; the next one may be
/// alive. Linux also reports network errors as errors of `accept`.
fn died_waiting(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::INTR
                | Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NOPROTOOPT
        )
    ) || error.kind() == io::ErrorKind::ConnectionAborted
}
