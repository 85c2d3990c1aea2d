//! Receives datagrams, and the errors that peers and the network report.

use std::io;

use super::super::messages::is_reported;
use super::super::source::Source;
use super::super::{DatagramError, Outcome};
use super::attempt::{Attempt, Tools};
use super::entry::Entry;
use super::pending::{Pending, Work};

/// Each receive counts as at least this many bytes, as for streams.
const RECEIVED_MIN: usize = 8 * 1024;

pub(super) fn attempt(entry: &mut Entry, tools: &mut Tools) -> Attempt {
    let Some(Pending {
        work: Work::ReceiveDatagrams(errors),
        ..
    }) = &mut entry.input
    else {
        unreachable!("it was found to receive datagrams");
    };
    let Source::Datagrams(socket) = &entry.source else {
        unreachable!("no other source receives datagrams");
    };
    // The kernel has said that it has errors, which it keeps apart from the datagrams.
    if errors.is_empty() && entry.ended {
        entry.ended = !socket.take_errors(errors);
    }
    if let Some(error) = errors.pop_front() {
        return told(error);
    }
    let arrived = match tools.pools.tray().receive(socket, errors) {
        Ok(arrived) => arrived,
        Err(error) => return failed(entry, error),
    };
    tools.received += arrived.bytes.max(RECEIVED_MIN);
    entry.readable = !arrived.drained || entry.ended || !errors.is_empty();
    match arrived.datagrams {
        Some(datagrams) => Attempt::More(Outcome::Datagrams(datagrams)),
        None => errors.pop_front().map_or(Attempt::NotReady, told),
    }
}

fn told(error: DatagramError) -> Attempt {
    Attempt::More(Outcome::DatagramError(Box::new(error)))
}

/// The kernel received nothing. No error ends the operation.
fn failed(entry: &mut Entry, error: io::Error) -> Attempt {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            entry.readable = false;
            return Attempt::NotReady;
        }
        // The handle is visited again.
        io::ErrorKind::Interrupted => return Attempt::NotReady,
        _ => {}
    }
    let Source::Datagrams(socket) = &entry.source else {
        unreachable!("no other source receives datagrams");
    };
    let Some(Pending {
        work: Work::ReceiveDatagrams(errors),
        ..
    }) = &mut entry.input
    else {
        unreachable!("it was found to receive datagrams");
    };
    let passes = is_reported(&error) || error.kind() == io::ErrorKind::ConnectionReset;
    if socket.note_failed(error, errors) {
        entry.ended = !socket.take_errors(errors);
    } else {
        entry.readable = passes;
    }
    errors.pop_front().map_or(Attempt::NotReady, told)
}
