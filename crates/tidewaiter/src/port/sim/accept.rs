//! Accepting connections.

use std::io;
use std::sync::Arc;

use super::SimSocket;
use super::shared_world::SharedWorld;
use super::socket::SimEnd;
use super::world::World;
use crate::os::Address;
use crate::port::socket::SocketRepr;
use crate::port::table::Key;
use crate::port::{Outcome, Socket};

/// Accepts a connection over a named pipe, if one waits.
pub(super) fn attempt_accept_on_pipe(
    world: &mut World,
    listener: Key,
    shared: &Arc<SharedWorld>,
) -> Option<io::Result<Outcome>> {
    let accepted = world.accept_on_pipe(listener)?;
    Some(accepted.map(|end| {
        let peer = world.name_of_pipe_end(end).into();
        accepted_socket(SimEnd::Pipe(end), peer, shared)
    }))
}

/// Accepts a connection, if one waits.
pub(super) fn attempt_accept(
    world: &mut World,
    listener: Key,
    shared: &Arc<SharedWorld>,
) -> Option<io::Result<Outcome>> {
    let accepted = world.accept(listener)?;
    Some(accepted.map(|end| {
        let (_, peer) = world.addresses(end);
        accepted_socket(SimEnd::Stream(end), peer.clone(), shared)
    }))
}

fn accepted_socket(end: SimEnd, peer: Address, shared: &Arc<SharedWorld>) -> Outcome {
    let socket = SimSocket {
        shared: Arc::clone(shared),
        end: Some(end),
    };
    let socket = Socket(SocketRepr::Own(Box::new(socket)));
    Outcome::Accepted { socket, peer }
}
