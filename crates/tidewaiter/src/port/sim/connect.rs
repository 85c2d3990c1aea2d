//! Connecting.

use std::io;

use super::entry::Source;
use super::pending::{Pending, Work};
use super::world::World;
use super::world::network::ConnectResult;
use crate::os::{Address, PipeName};
use crate::port::admission::invalid;
use crate::port::table::Key;
use crate::port::{Outcome, PipeConnectOptions};

/// Connects a handle to `peer`, unless it has to wait.
pub(super) fn attempt_connect(
    world: &mut World,
    pending: &mut Pending,
    source: &mut Source,
    peer: &Address,
) -> Option<io::Result<Outcome>> {
    match (*source, peer) {
        (Source::Unopened(options), Address::Pipe(name)) => {
            attempt_connect_to_pipe(world, pending, source, options, name)
        }
        (Source::Unconnected(socket), Address::Ip(_) | Address::Unix(_)) => {
            attempt_connect_socket(world, pending, source, socket, peer)
        }
        (Source::Unopened(_) | Source::Unconnected(_), _) => {
            let problem = "the handle is for addresses of another kind";
            Some(Err(invalid(problem)))
        }
        _ => Some(Err(invalid("the socket is already connected"))),
    }
}

/// Opens a named pipe, unless all its instances have clients.
fn attempt_connect_to_pipe(
    world: &mut World,
    pending: &mut Pending,
    source: &mut Source,
    options: PipeConnectOptions,
    name: &PipeName,
) -> Option<io::Result<Outcome>> {
    if world.random.chance(world.faults.silences) {
        pending.work = Work::UnansweredConnect;
        return None;
    }
    let connected = world.try_connect_to_pipe(name, options).transpose()?;
    Some(connected.map(|end| {
        *source = Source::NamedPipe(end);
        Outcome::Connected
    }))
}

/// Connects a socket, unless the listener's backlog is full.
fn attempt_connect_socket(
    world: &mut World,
    pending: &mut Pending,
    source: &mut Source,
    socket: Key,
    peer: &Address,
) -> Option<io::Result<Outcome>> {
    match world.try_connect(socket, peer) {
        Ok(ConnectResult::Connected(end)) => {
            *source = Source::Stream(end);
            Some(Ok(Outcome::Connected))
        }
        Ok(ConnectResult::BacklogFull) => None,
        Ok(ConnectResult::Unanswered) => {
            pending.work = Work::UnansweredConnect;
            None
        }
        Err(error) => Some(Err(error)),
    }
}
