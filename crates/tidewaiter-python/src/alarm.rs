//! What ends the loop's wait when Python's signal handler has something to tell.

use pyo3::prelude::*;
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Protocol, Transport};

use crate::core::Core;
use crate::failures::{os_error, refused};
use crate::sockets;

/// Of what comes, only that it comes matters: it ends the wait.
///
/// Nothing of Python runs here, so that no `KeyboardInterrupt` is raised where nobody waits for it.
struct Alarm;

impl Protocol for Alarm {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

#[pymethods]
impl Core {
    /// Takes over the connected TCP socket with that number: whatever comes there is dropped, but ends the
    /// current or next wait. It is closed when its other end is.
    fn wake_on(&self, py: Python<'_>, descriptor: RawDescriptor) -> PyResult<()> {
        let socket = sockets::stream(descriptor)?;
        let inside = self.enter(py)?;
        let peer = socket
            .peer_addr()
            .map_err(|error| os_error("a socket to wake by", &error))?;
        inside
            .reactor
            .adopt_tcp(socket, peer, Alarm)
            .map_err(|error| refused("a socket to wake by", &error))?;
        Ok(())
    }
}
