//! Receives and sends that keep messages apart, or pass descriptors.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::super::unix_socket::{self, How};
use super::super::{Failure, Outcome};
use super::attempt::{Attempt, Tools};
use super::entry::Entry;
use super::pending::{Pending, Work};
use super::sigpipe;

pub(super) fn receive(entry: &mut Entry, how: How, tools: &mut Tools) -> Attempt {
    let lease = tools.pools.lease(&entry.source, false);
    tools.received += lease.capacity();
    // Less than what has room tells nothing: a packet ends, or descriptors begin, before there is nothing left.
    match unix_socket::receive(entry.source.as_fd(), lease, how) {
        Ok(None) => {
            entry.readable = false;
            Attempt::NotReady
        }
        Ok(Some(Outcome::EndOfFile)) => Attempt::Last(match entry.broken {
            Some(error) => Err(Failure::os("recvmsg", error.into())),
            None => Ok(Outcome::EndOfFile),
        }),
        Ok(Some(received)) => Attempt::More(received),
        Err(failure) => Attempt::Last(Err(failure)),
    }
}

pub(super) fn send(entry: &mut Entry) -> Attempt {
    let packets = matches!(entry.source, super::Source::Packets(_));
    let Some(Pending {
        work: Work::SendMessages(chunks),
        ..
    }) = &mut entry.output
    else {
        unreachable!("it was found to be such a send");
    };
    match unix_socket::send(entry.source.as_fd(), packets, chunks, sigpipe::SEND_FLAGS) {
        Ok(bytes) => Attempt::Last(Ok(Outcome::Sent { bytes })),
        Err(Errno::AGAIN) => {
            entry.writable = false;
            Attempt::NotReady
        }
        Err(error) => Attempt::Last(Err(entry.broken_by(error))),
    }
}
