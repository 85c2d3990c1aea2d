//! The port's handles, and what they are asked.

use std::io;

use super::world::World;
use super::world::channel::ChannelEnd;
use super::world::files::Access;
use super::world::network::End;
use super::world::pipes::PipeEnd;
use crate::os::Address;
use crate::port::admission::{
    HandleKind, RequestKinds, closed, invalid, not_a_file, not_a_process, not_a_serial_port,
    not_a_socket, not_a_terminal, not_for_datagrams,
};
use crate::port::calls::{Answer, Control, Query, SignalCall, unsupported};
use crate::port::options::PortKind;
use crate::port::table::Key;
use crate::port::{CloseMode, PipeConnectOptions};

/// The object behind a handle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Listener(Key),
    /// A stream socket that is not connected yet.
    Unconnected(Key),
    Stream(End),
    Datagrams(Key),
    Reader(Key),
    Writer(Key),
    /// A pipe that goes both ways: the channel that we read, and the one that we write to until our side is ended.
    Duplex(Key, Option<Key>),
    Process(Key),
    UnopenedFile,
    File(Key, Access),
    PipeListener(Key),
    /// A client of a named pipe that is not connected yet.
    Unopened(PipeConnectOptions),
    NamedPipe(PipeEnd),
    /// Closed; the completion that reports it is in transit.
    Closed,
}

impl Source {
    /// The kind of handle, which decides the requests that it takes.
    pub(super) fn kind(self, world: &World) -> io::Result<HandleKind> {
        match self {
            Source::Listener(_) | Source::PipeListener(_) => Ok(HandleKind::Listener),
            Source::Unconnected(socket) => Ok(stream_kind(world.unconnected(socket).packets)),
            Source::Stream(end) => Ok(stream_kind(world.has_packets(end))),
            Source::Datagrams(_) => Ok(HandleKind::Datagrams),
            Source::Reader(_) => Ok(HandleKind::PipeReader),
            Source::Writer(_) => Ok(HandleKind::PipeWriter),
            Source::Duplex(..) | Source::NamedPipe(_) => Ok(HandleKind::DuplexPipe),
            Source::Unopened(_) => Ok(HandleKind::UnopenedPipe),
            Source::Process(_) => Ok(HandleKind::Process),
            Source::UnopenedFile => Ok(HandleKind::UnopenedFile),
            Source::File(..) => Ok(HandleKind::File),
            Source::Closed => Err(closed()),
        }
    }

    /// Changes the object behind a handle. Options of sockets have no effect.
    pub(super) fn control(self, world: &mut World, control: Control<'_>) -> io::Result<()> {
        match (self, control) {
            (Source::Process(child), Control::Signal(SignalCall { signal, target, .. })) => {
                world.signal_child(child, signal, target)
            }
            (_, Control::Signal(..)) => Err(not_a_process()),
            (_, Control::Resize(_)) => Err(not_a_terminal()),
            (Source::Datagrams(socket), Control::SetPeer(peer)) => world.set_peer(socket, peer),
            (Source::Datagrams(socket), Control::Multicast(change)) => {
                world.datagram_socket_mut(socket).set_multicast(change)
            }
            (_, Control::SetPeer(_) | Control::Multicast(_)) => Err(not_for_datagrams()),
            (Source::Datagrams(_), Control::ShutdownWrite | Control::HoldEnds(_)) => {
                Err(invalid("the handle is not a stream socket"))
            }
            (_, Control::Serial(_)) => Err(not_a_serial_port()),
            (Source::Stream(end), Control::ShutdownWrite) => world.shutdown_write(end),
            (Source::Unconnected(_), Control::ShutdownWrite) => {
                Err(io::Error::from(io::ErrorKind::NotConnected))
            }
            (Source::Listener(_), Control::ShutdownWrite) => {
                Err(invalid("only stream sockets can be shut down"))
            }
            (
                Source::Listener(_)
                | Source::Unconnected(_)
                | Source::Stream(_)
                | Source::Datagrams(_),
                _,
            ) => Ok(()),
            (Source::Closed, _) => Err(closed()),
            _ => Err(not_a_socket()),
        }
    }

    /// Answers a question about the object behind a handle.
    pub(super) fn query(self, world: &World, query: Query) -> io::Result<Answer> {
        match (self, query) {
            (_, Query::RawDescriptor) => Err(invalid("simulated handles have no descriptor")),
            (Source::Process(_), Query::Usage) => Ok(Answer::Usage(None)),
            (_, Query::Usage) => Err(not_a_process()),
            (_, Query::ModemLines) => Err(not_a_serial_port()),
            (_, Query::File) => Err(not_a_file()),
            (Source::Listener(listener), Query::LocalAddress) => {
                Ok(Answer::Address(world.listener(listener).address.clone()))
            }
            (Source::Unconnected(socket), Query::LocalAddress) => {
                Ok(Answer::Address(world.unconnected(socket).local.clone()))
            }
            (Source::Stream(end), Query::LocalAddress) => {
                Ok(Answer::Address(world.addresses(end).0.clone()))
            }
            (Source::Stream(end), Query::PeerAddress) => {
                Ok(Answer::Address(world.addresses(end).1.clone()))
            }
            (Source::Stream(end), Query::Unacknowledged) => {
                Ok(Answer::Bytes(world.unacknowledged(end)))
            }
            (Source::Stream(end), Query::PeerCredentials)
                if matches!(world.addresses(end).0, Address::Ip(_)) =>
            {
                Err(invalid("only the peers of UNIX sockets have credentials"))
            }
            (Source::Stream(_) | Source::NamedPipe(_), Query::PeerCredentials) => {
                Err(unsupported(PortKind::Sim, "tell", "credentials"))
            }
            (Source::Datagrams(socket), Query::LocalAddress) => {
                Ok(Answer::Address(world.datagram_socket(socket).local.clone()))
            }
            (Source::Datagrams(socket), Query::PeerAddress) => {
                let peer = world.datagram_socket(socket).peer.clone();
                let peer = peer.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
                peer.map(Answer::Address)
            }
            (Source::Datagrams(socket), Query::Multicast) => {
                let settings = world.datagram_socket(socket).multicast_settings()?;
                Ok(Answer::Multicast(settings))
            }
            (_, Query::Multicast) => Err(not_for_datagrams()),
            (Source::Datagrams(_), _) => Err(invalid("the handle is not a stream socket")),
            (Source::Unconnected(_) | Source::Listener(_), _) => {
                Err(io::Error::from(io::ErrorKind::NotConnected))
            }
            (Source::PipeListener(listener), Query::LocalAddress) => {
                Ok(Answer::Address(world.pipe_name(listener).into()))
            }
            (Source::NamedPipe(end), Query::LocalAddress | Query::PeerAddress) => {
                Ok(Answer::Address(world.name_of_pipe_end(end).into()))
            }
            (Source::Closed, _) => Err(closed()),
            _ => Err(not_a_socket()),
        }
    }

    /// Closes the object behind a handle.
    pub(super) fn close(self, world: &mut World, mode: CloseMode) {
        match self {
            Source::Listener(listener) => world.close_listener(listener),
            Source::Unconnected(socket) => world.close_unconnected(socket),
            Source::Stream(end) => world.close_end(end, mode),
            Source::Datagrams(socket) => world.close_datagrams(socket),
            Source::Reader(channel) => world.release_channel(channel, ChannelEnd::Reader),
            Source::Writer(channel) => world.release_channel(channel, ChannelEnd::Writer),
            Source::Duplex(reads, writes) => {
                world.release_channel(reads, ChannelEnd::Reader);
                if let Some(writes) = writes {
                    world.release_channel(writes, ChannelEnd::Writer);
                }
            }
            Source::Process(child) => world.unwatch_child(child),
            Source::File(file, _) => world.close_file(file),
            Source::PipeListener(listener) => world.close_pipe_listener(listener),
            Source::NamedPipe(end) => world.close_pipe_end(end, mode),
            Source::Unopened(_) | Source::UnopenedFile | Source::Closed => {}
        }
    }
}

fn stream_kind(packets: bool) -> HandleKind {
    match packets {
        true => HandleKind::Packets,
        false => HandleKind::Stream,
    }
}

/// A handle that is open or being closed.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) source: Source,
    pub(super) closing: bool,
    /// The kinds of operations whose last completion has not been delivered.
    pub(super) under_way: RequestKinds,
}
