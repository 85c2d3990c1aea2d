//! Connecting.

use std::io;
use std::net::SocketAddr;

use super::entry::Source;
use super::pending::{Pending, Work};
use super::world::World;
use super::world::network::ConnectResult;
use crate::os::PipeName;
use crate::port::{Outcome, PipeConnectOptions};

/// Opens a named pipe, unless all its instances have clients.
pub(super) fn attempt_connect_to_pipe(
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

/// Connects a bound socket, unless the listener's backlog is full.
pub(super) fn attempt_connect(
    world: &mut World,
    pending: &mut Pending,
    source: &mut Source,
    local: SocketAddr,
    peer: SocketAddr,
) -> Option<io::Result<Outcome>> {
    match world.try_connect(local, peer) {
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
