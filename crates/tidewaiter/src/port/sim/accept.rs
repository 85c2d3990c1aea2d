//! Accepting connections.

use std::io;
use std::sync::Arc;

use super::SimSocket;
use super::shared_world::SharedWorld;
use super::world::World;
use crate::port::socket::SocketRepr;
use crate::port::table::Key;
use crate::port::{Outcome, Socket};

/// Accepts a connection, if one waits.
pub(super) fn attempt_accept(
    world: &mut World,
    listener: Key,
    shared: &Arc<SharedWorld>,
) -> Option<io::Result<Outcome>> {
    let accepted = world.accept(listener)?;
    Some(accepted.map(|end| {
        let (_, peer) = world.addresses(end);
        let socket = SimSocket {
            shared: Arc::clone(shared),
            end: Some(end),
        };
        let socket = Socket(SocketRepr::Own(Box::new(socket)));
        let peer = peer.into();
        Outcome::Accepted { socket, peer }
    }))
}
