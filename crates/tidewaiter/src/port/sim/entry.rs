//! The port's handles, and what they are asked.

use std::io;
use std::net::SocketAddr;

use super::world::World;
use super::world::channel::ChannelEnd;
use super::world::network::End;
use crate::port::CloseMode;
use crate::port::admission::{HandleKind, closed};
use crate::port::table::Key;

/// The object behind a handle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Listener(Key),
    /// An unconnected socket, bound to this address.
    Bound(SocketAddr),
    Stream(End),
    Reader(Key),
    Writer(Key),
    Process(Key),
    /// Closed; the completion that reports it is in transit.
    Closed,
}

impl Source {
    /// The kind of handle, which decides the requests that it takes.
    pub(super) fn kind(self) -> io::Result<HandleKind> {
        match self {
            Source::Listener(_) => Ok(HandleKind::Listener),
            Source::Bound(_) | Source::Stream(_) => Ok(HandleKind::Stream),
            Source::Reader(_) => Ok(HandleKind::PipeReader),
            Source::Writer(_) => Ok(HandleKind::PipeWriter),
            Source::Process(_) => Ok(HandleKind::Process),
            Source::Closed => Err(closed()),
        }
    }

    /// Closes the object behind a handle.
    pub(super) fn close(self, world: &mut World, mode: CloseMode) {
        match self {
            Source::Listener(listener) => world.close_listener(listener),
            Source::Bound(address) => world.unbind(address),
            Source::Stream(end) => world.close_end(end, mode),
            Source::Reader(channel) => world.release_channel(channel, ChannelEnd::Reader),
            Source::Writer(channel) => world.release_channel(channel, ChannelEnd::Writer),
            Source::Process(child) => world.unwatch_child(child),
            Source::Closed => {}
        }
    }
}

/// A handle that is open or being closed.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) closing: bool,
}
