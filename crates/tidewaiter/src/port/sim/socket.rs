//! Sockets of the simulated network on their way into a port.

use std::fmt;
use std::sync::Arc;

use super::shared_world::SharedWorld;
use super::world::network::End;
use crate::port::CloseMode;
use crate::port::socket::PortSocket;

/// A connected socket of the simulated network that belongs to no port. Dropping it closes it.
pub(crate) struct SimSocket {
    pub(super) shared: Arc<SharedWorld>,
    /// `None` once a port has adopted it.
    pub(super) end: Option<End>,
}

impl PortSocket for SimSocket {}

impl Drop for SimSocket {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            self.shared
                .change(|world| world.close_end(end, CloseMode::Graceful));
        }
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            Some(end) => {
                let (local, peer) = self.shared.lock().addresses(end);
                write!(f, "SimSocket({local} to {peer})")
            }
            None => f.write_str("SimSocket(adopted)"),
        }
    }
}
