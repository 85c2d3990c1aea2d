//! Receives, from sockets and pipes.

use std::os::fd::AsFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::RecvFlags;

use super::super::buffer::Lease;
use super::super::source::Source;
use super::super::{Failure, Outcome};
use super::attempt::{Attempt, Called, Tools};
use super::entry::Entry;

/// Each receive counts as at least this many bytes: the state that the kernel and the port keep for
/// a connection also enters the processor's cache, and is used again when the answer is sent.
const RECEIVED_MIN: usize = 8 * 1024;

#[inline(always)]
pub(super) fn attempt(entry: &mut Entry, tools: &mut Tools) -> Attempt {
    let mut lease = tools.pools.lease(&entry.source, entry.surge.is_wide());
    match receive(&entry.source, &mut lease) {
        Ok(None) => {
            entry.readable = false;
            Attempt::NotReady
        }
        Ok(Some(0)) => Attempt::Last(match entry.broken {
            Some(error) => Err(Failure::os("recv", error.into())),
            None => Ok(Outcome::EndOfFile),
        }),
        Ok(Some(length)) => {
            let drained = length < lease.capacity() && entry.short_is_all && !entry.ended;
            entry.readable = !drained;
            tools.received += if entry.surge.is_wide() {
                lease.capacity()
            } else {
                length.max(RECEIVED_MIN)
            };
            match &entry.source {
                Source::Reader(pipe) => {
                    entry.surge.note(pipe.as_fd(), length, lease.capacity());
                }
                _ => entry
                    .surge
                    .note_connection(length, length == lease.capacity()),
            }
            Attempt::More(Outcome::Received(lease.filled(length)))
        }
        Err(failure) => Attempt::Last(Err(failure)),
    }
}

#[inline(always)]
fn receive(source: &Source, lease: &mut Lease) -> Called<usize> {
    let memory = lease.as_mut_slice();
    let (call, received) = match source {
        Source::Stream(socket) | Source::Duplex(socket) => (
            "recv",
            // A socket that others share may block.
            retry_on_intr(|| rustix::net::recv(socket, &mut *memory, RecvFlags::DONTWAIT))
                .map(|(length, _)| length),
        ),
        _ => (
            "read",
            retry_on_intr(|| rustix::io::read(source, &mut *memory)),
        ),
    };
    match received {
        Ok(length) => Ok(Some(length)),
        Err(Errno::AGAIN) => Ok(None),
        // A pseudo-terminal reports EIO when the other end is closed.
        Err(Errno::IO) if matches!(source, Source::Reader(_) | Source::Serial(_)) => Ok(Some(0)),
        Err(error) => Err(Failure::os(call, error.into())),
    }
}
