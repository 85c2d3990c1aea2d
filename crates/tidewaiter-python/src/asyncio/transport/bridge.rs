//! Passes the library's callbacks on to a transport's Python object.

use std::rc::Rc;

use pyo3::intern;
use pyo3::prelude::*;
use tidewaiter::{Protocol, Reason, Transport};

use super::{SocketTransport, delivery};
use crate::core::slot::Slot;

/// Makes the Python object for an accepted connection.
pub(in crate::asyncio) trait Accept {
    /// `None` if there is none: the connection is then closed.
    fn accept(&self, transport: &Transport) -> Option<Slot<SocketTransport>>;
}

/// The protocol of every connection: finds the transport's Python object and calls it.
pub(in crate::asyncio) enum Bridge {
    /// An accepted connection before it is made.
    Accepted(Rc<dyn Accept>),
    To(Slot<SocketTransport>),
    Nowhere,
}

impl Bridge {
    /// Calls the transport's object. A report of a slow callback names `method`.
    fn call(
        &self,
        method: &str,
        call: impl for<'py> FnOnce(&Bound<'py, SocketTransport>) -> PyResult<()>,
    ) {
        if let Bridge::To(slot) = self {
            slot.call(method, |transport| {
                call(transport)?;
                Ok(transport.py().None().into_bound(transport.py()))
            });
        }
    }
}

impl Protocol for Bridge {
    fn connection_made(&mut self, link: &Transport) {
        if let Bridge::Accepted(accept) = self {
            *self = match Rc::clone(accept).accept(link) {
                Some(slot) => Bridge::To(slot),
                None => {
                    link.release_connection();
                    Bridge::Nowhere
                }
            };
        }
        self.call("connection_made", SocketTransport::begun);
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.call("data_received", |transport| {
            delivery::deliver(transport, data)
        });
    }

    fn read_connection_lost(&mut self, _: &Transport) {
        self.call("eof_received", |transport| {
            let py = transport.py();
            if let Some(stream) = transport.get().state(py).stream() {
                stream.end(py, None)?;
            }
            let eof_received = intern!(py, "eof_received");
            match transport.get().call_protocol0(py, eof_received) {
                Ok(stays) if stays.is_truthy()? => Ok(()),
                Ok(_) => SocketTransport::close(transport),
                Err(error) => {
                    let message = "Fatal error: protocol.eof_received() call failed.";
                    SocketTransport::fatal_error(transport, error, message)
                }
            }
        });
    }

    fn connection_lost(&mut self, link: &Transport, reason: Reason) {
        self.call("connection_lost", |transport| {
            SocketTransport::ended(transport, link, &reason)
        });
    }
}
