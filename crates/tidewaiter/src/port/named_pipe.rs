//! The calls of a port for named pipes.

use std::io;

use super::admission::check_streams_to;
use super::calls::Open;
use super::gate::Call;
use super::pipe_options::PipeConnectOptions;
use super::{Handle, Port};
use crate::os::PipeName;

impl Port {
    /// Opens a client of a named pipe. This does not connect: submit [`Request::Connect`](super::Request::Connect). While all instances of the pipe
    /// have clients, the connect waits for a free one.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) on ports that do not connect to named pipes: all but those of Windows and
    /// of simulations.
    pub fn open_pipe(
        &mut self,
        name: &PipeName,
        options: &PipeConnectOptions,
    ) -> io::Result<Handle> {
        let driver = self.gate.pass(Call::Act)?;
        let port = driver.status().info.kind;
        check_streams_to(port, "connect to", &name.clone().into())?;
        driver.open(Open::Pipe(*options))
    }
}
