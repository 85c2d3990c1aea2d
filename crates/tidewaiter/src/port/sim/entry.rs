//! The port's handles, and what they are asked.

use std::io;
use std::net::SocketAddr;

use super::world::World;
use super::world::channel::ChannelEnd;
use super::world::network::End;
use crate::port::table::Key;
use crate::port::{CloseMode, RequestKind};

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

/// Whether this kind of handle takes this kind of request.
pub(super) fn suits(source: Source, kind: RequestKind) -> bool {
    match kind {
        RequestKind::Accept => matches!(source, Source::Listener(_)),
        RequestKind::Connect => matches!(source, Source::Bound(_) | Source::Stream(_)),
        RequestKind::Receive => {
            matches!(
                source,
                Source::Bound(_) | Source::Stream(_) | Source::Reader(_)
            )
        }
        RequestKind::Send => {
            matches!(
                source,
                Source::Bound(_) | Source::Stream(_) | Source::Writer(_)
            )
        }
        RequestKind::Exit => matches!(source, Source::Process(_)),
        RequestKind::HangUp => matches!(source, Source::Stream(_) | Source::Writer(_)),
        RequestKind::Watch => false,
        RequestKind::Close => true,
    }
}

pub(super) fn unsuitable(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
