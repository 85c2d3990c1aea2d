//! Connecting.

use std::io;
use std::net::SocketAddr;

use super::entry::Source;
use super::pending::{Pending, Task};
use super::world::World;
use super::world::network::Dialled;
use crate::port::Outcome;

/// Connects a bound socket, unless the listener's backlog is full.
pub(super) fn attempt_connect(
    world: &mut World,
    pending: &mut Pending,
    source: &mut Source,
    local: SocketAddr,
    peer: SocketAddr,
) -> Option<io::Result<Outcome>> {
    match world.dial(local, peer) {
        Ok(Dialled::Connected(end)) => {
            *source = Source::Stream(end);
            Some(Ok(Outcome::Connected))
        }
        Ok(Dialled::Waiting) => None,
        Ok(Dialled::Silence) => {
            pending.task = Task::Silence;
            None
        }
        Err(error) => Some(Err(error)),
    }
}
