//! Sockets of the simulated network on their way into a port.

use std::fmt;
use std::sync::Arc;

use super::entry::Source;
use super::shared_world::SharedWorld;
use super::world::network::End;
use super::world::pipes::PipeEnd;
use crate::port::CloseMode;
use crate::port::socket::PortSocket;

/// A connected socket or named pipe of the simulated world that belongs to no port. Dropping it closes it.
pub(crate) struct SimSocket {
    pub(super) shared: Arc<SharedWorld>,
    /// `None` once a port has adopted it.
    pub(super) end: Option<SimEnd>,
}

/// Our end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum SimEnd {
    Stream(End),
    Pipe(PipeEnd),
}

impl SimEnd {
    pub(super) fn source(self) -> Source {
        match self {
            SimEnd::Stream(end) => Source::Stream(end),
            SimEnd::Pipe(end) => Source::NamedPipe(end),
        }
    }
}

impl PortSocket for SimSocket {
    fn keeps_messages(&self) -> bool {
        match self.end {
            Some(SimEnd::Stream(end)) => self.shared.lock().has_packets(end),
            Some(SimEnd::Pipe(end)) => self.shared.lock().receives_messages(end),
            None => false,
        }
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            self.shared
                .change(|world| end.source().close(world, CloseMode::Graceful));
        }
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            Some(SimEnd::Stream(end)) => {
                let world = self.shared.lock();
                let (local, peer) = world.addresses(end);
                write!(f, "SimSocket({local} to {peer})")
            }
            Some(SimEnd::Pipe(end)) => {
                let name = self.shared.lock().name_of_pipe_end(end);
                write!(f, "SimSocket({name})")
            }
            None => f.write_str("SimSocket(adopted)"),
        }
    }
}
