//! Ends the loop's wait when Python's signal handler writes to its wake-up socket.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::rc::{Rc, Weak};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use tidewaiter::port::RawDescriptor;
use tidewaiter::{Address, Protocol, Reason, Transport, UnixAddress};

use crate::core::class::Core;
use crate::core::event_loop::Loop;
use crate::core::failures::{os_error, refused};
use crate::core::sockets;
use crate::core::table::Key;

/// Passes the received bytes on. Even if nothing wants them, their arrival has ended the wait.
///
/// This runs no Python code, because Python would raise `KeyboardInterrupt` in it, where no code could catch that. It
/// queues a call, from which the exception can leave the loop.
struct Alarm {
    home: Weak<Loop>,
    /// The place of the callback in the loop's table.
    callback: Option<Key>,
}

impl Protocol for Alarm {
    fn data_received(&mut self, _: &Transport, bytes: &[u8]) {
        let (Some(key), Some(event_loop)) = (self.callback, self.home.upgrade()) else {
            return;
        };
        Python::attach(|py| {
            let Some(callback) = event_loop.objects.get(py, key) else {
                return;
            };
            let bytes = PyBytes::new(py, bytes).into_any();
            if let Ok(call) = PyTuple::new(py, [callback, bytes]) {
                event_loop.make_soon(call.into_any().unbind(), make);
            }
        });
    }

    fn connection_lost(&mut self, _: &Transport, _: Reason) {
        if let (Some(key), Some(event_loop)) = (self.callback, self.home.upgrade()) {
            let callback = event_loop.objects.remove(key);
            Python::attach(|_| drop(callback));
        }
    }
}

/// Calls a callback with the bytes for it.
fn make(_: &Loop, call: &Bound<'_, PyAny>) -> PyResult<()> {
    let (callback, bytes): (Bound<'_, PyAny>, Bound<'_, PyAny>) = call.extract()?;
    callback.call1((bytes,)).map(drop)
}

fn peer(socket: &TcpStream) -> PyResult<Address> {
    match socket.peer_addr() {
        Ok(address) => Ok(address.into()),
        // The address is of another kind than IP's.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(UnixAddress::unnamed().into()),
        Err(error) => Err(os_error("wake-up socket", &error)),
    }
}

#[pymethods]
impl Core {
    /// Takes over the connected stream socket with this number. Bytes that arrive on it end the current or next wait,
    /// and are passed to `callback`, if there is one. The socket is closed when its peer is.
    #[pyo3(signature = (descriptor, callback=None))]
    fn wake_on(
        &self,
        py: Python<'_>,
        descriptor: RawDescriptor,
        callback: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let socket = sockets::stream(descriptor)?;
        let event_loop = self.enter(py)?;
        let peer = peer(&socket)?;
        let callback = callback.map(|callback| event_loop.objects.insert(callback));
        let alarm = Alarm {
            home: Rc::downgrade(&event_loop),
            callback,
        };
        let adopted = event_loop.reactor.adopt_stream(socket, peer, alarm);
        if let (Err(_), Some(key)) = (&adopted, callback) {
            drop(event_loop.objects.remove(key));
        }
        adopted
            .map(drop)
            .map_err(|error| refused("wake-up socket", &error))
    }
}
