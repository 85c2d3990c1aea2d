//! The Python objects above one of the loop's sockets or pipes: asyncio's transport, which owns it, and the protocol.

use std::borrow::Cow;
use std::cell::RefCell;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyString};

use crate::asyncio::exceptions::report;
use crate::asyncio::face::AsyncioLoop;
use crate::core::context;

/// A transport of Python's, and its protocol, until the protocol was told of the end.
pub(super) struct Owner {
    home: Py<AsyncioLoop>,
    /// The context of the protocol's callbacks.
    context: Py<PyAny>,
    transport: RefCell<Option<Py<PyAny>>>,
    protocol: RefCell<Option<Py<PyAny>>>,
}

impl Owner {
    pub(super) fn new(
        home: &Bound<'_, AsyncioLoop>,
        transport: Py<PyAny>,
        protocol: Py<PyAny>,
    ) -> PyResult<Owner> {
        Ok(Owner {
            home: home.clone().unbind(),
            context: context::copy_of_current(home.py())?.unbind(),
            transport: RefCell::new(Some(transport)),
            protocol: RefCell::new(Some(protocol)),
        })
    }

    pub(super) fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let protocol = self.protocol.borrow();
        protocol.as_ref().map(|protocol| protocol.bind(py).clone())
    }

    pub(super) fn set_protocol(&self, protocol: Py<PyAny>) {
        let replaced = self.protocol.replace(Some(protocol));
        drop(replaced);
    }

    pub(super) fn transport<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let transport = self.transport.borrow();
        transport
            .as_ref()
            .map(|transport| transport.bind(py).clone())
    }

    /// The protocol; raises once it was told of the end.
    pub(super) fn open_protocol<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let protocol = self.protocol(py);
        protocol.ok_or_else(|| PyValueError::new_err("the transport is closed"))
    }

    /// Calls a method of the protocol in the transport's context.
    pub(super) fn call<'py, const N: usize>(
        &self,
        name: &Bound<'py, PyString>,
        args: [&Bound<'py, PyAny>; N],
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = name.py();
        context::call_method(self.context.bind(py), &self.open_protocol(py)?, name, args)
    }

    /// Tells the transport of something, in its context.
    pub(super) fn tell(&self, what: &Bound<'_, PyString>, about: Option<PyErr>) -> PyResult<()> {
        let py = what.py();
        let Some(transport) = self.transport(py) else {
            return Ok(());
        };
        let about = match about {
            Some(error) => error.into_value(py).into_bound(py).into_any(),
            None => py.None().into_bound(py),
        };
        context::call_method(self.context.bind(py), &transport, what, [&about]).map(drop)
    }

    /// Reports an exception of the protocol's `method` to the loop's exception handler. Fails if it is to leave the loop.
    pub(super) fn report(&self, py: Python<'_>, method: &str, error: PyErr) -> PyResult<()> {
        let message = format!("Exception in callback {method}()");
        let (transport, protocol) = (self.transport(py), self.protocol(py));
        let about = [
            ("transport", transport.as_ref()),
            ("protocol", protocol.as_ref()),
        ];
        report(&self.home, py, &message, error, &about)
    }

    /// Tells the transport, for the last time, that it has ended.
    pub(super) fn tell_ended(&self, py: Python<'_>, error: Option<PyErr>) -> PyResult<()> {
        let told = self.tell(intern!(py, "_ended"), error);
        let told = told.or_else(|error| self.report(py, "connection_lost", error));
        self.clear();
        told
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.home)?;
        visit.call(&self.context)?;
        for object in [&self.transport, &self.protocol] {
            if let Ok(object) = object.try_borrow() {
                visit.call(&*object)?;
            }
        }
        Ok(())
    }

    pub(super) fn clear(&self) {
        let cleared = (self.transport.take(), self.protocol.take());
        drop(cleared);
    }
}

/// The bytes of what an application writes.
pub(super) fn bytes_of<'a>(data: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(Cow::Borrowed(bytes.as_bytes()));
    }
    if let Ok(bytes) = data.cast::<PyByteArray>() {
        return Ok(Cow::Owned(bytes.to_vec()));
    }
    if !data.is_instance_of::<PyMemoryView>() {
        let name = data.get_type().name()?;
        let message = format!("data argument must be a bytes-like object, not '{name}'");
        return Err(PyTypeError::new_err(message));
    }
    let bytes = data.call_method0(intern!(data.py(), "tobytes"))?;
    Ok(Cow::Owned(bytes.extract()?))
}
