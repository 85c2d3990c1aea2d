//! Ends the loop's wait when Python's signal handler writes to its wake-up socket.

use pyo3::prelude::*;
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Protocol, Transport};

use crate::core::class::Core;
use crate::core::failures::{os_error, refused};
use crate::core::sockets;

/// Discards received bytes: their arrival alone ends the wait.
///
/// This runs no Python code, because Python would raise `KeyboardInterrupt` in it, where no code could catch that.
struct Alarm;

impl Protocol for Alarm {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

#[pymethods]
impl Core {
    /// Takes over the connected TCP socket with this number. Bytes that arrive on it end the current or next wait, and
    /// are discarded. The socket is closed when its peer is.
    fn wake_on(&self, py: Python<'_>, descriptor: RawDescriptor) -> PyResult<()> {
        let socket = sockets::stream(descriptor)?;
        let event_loop = self.enter(py)?;
        let peer = socket
            .peer_addr()
            .map_err(|error| os_error("wake-up socket", &error))?;
        event_loop
            .reactor
            .adopt_stream(socket, peer, Alarm)
            .map_err(|error| refused("wake-up socket", &error))?;
        Ok(())
    }
}
