//! The state that few connections need: values of `get_extra_info`, sockets of Python's, and the end that is still to be told.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use tidewaiter::{Address, FileTransfer, Transport};

use super::{SocketTransport, State};
use crate::core::sockets;

#[derive(Default)]
pub(super) struct Extra {
    /// The values of `get_extra_info` so far.
    values: Option<Py<PyDict>>,
    /// Attributes that the program set.
    pub(super) attributes: Option<Py<PyDict>>,
    /// The socket as Python sees it. Its number is the connection's.
    pub(super) view: Option<Py<PyAny>>,
    /// The exception of which the protocol will be told.
    pub(super) lost_with: Option<Py<PyAny>>,
    /// Set to a result once `connection_made` has returned.
    pub(super) waiter: Option<Py<PyAny>>,
    /// Bytes that came before a pause took effect.
    pub(super) held: Vec<u8>,
    /// The peer of a connection that has ended.
    pub(super) peer: Option<Address>,
    /// The file that is being sent.
    pub(super) file_transfer: Option<FileTransfer>,
}

impl Extra {
    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.values)?;
        visit.call(&self.attributes)?;
        visit.call(&self.view)?;
        visit.call(&self.lost_with)?;
        visit.call(&self.waiter)
    }
}

/// The address in Python's form. A UNIX socket without a name has the empty one.
fn address<'py>(py: Python<'py>, address: &Address) -> PyResult<Bound<'py, PyAny>> {
    let address = sockets::to_python(py, address)?;
    if address.is_none() {
        return Ok(PyString::new(py, "").into_any());
    }
    Ok(address)
}

impl State {
    pub(super) fn with_extra<R>(&self, act: impl FnOnce(&mut Extra) -> R) -> R {
        act(self.extra.borrow_mut().get_or_insert_default())
    }

    pub(super) fn with_extra_if<R>(&self, act: impl FnOnce(&mut Extra) -> R) -> Option<R> {
        self.extra.borrow_mut().as_deref_mut().map(act)
    }

    /// The exception of which the protocol will be told.
    pub(super) fn lost_with<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let extra = self.extra.borrow();
        let lost_with = extra.as_ref()?.lost_with.as_ref()?;
        Some(lost_with.bind(py).clone())
    }

    pub(super) fn is_sending_file(&self) -> bool {
        let extra = self.extra.borrow();
        extra
            .as_ref()
            .is_some_and(|extra| extra.file_transfer.is_some())
    }

    /// The values of `get_extra_info` so far.
    fn values<'py>(&self, py: Python<'py>) -> Bound<'py, PyDict> {
        let known = self.with_extra_if(|extra| extra.values.as_ref().map(|v| v.bind(py).clone()));
        if let Some(Some(values)) = known {
            return values;
        }
        let values = PyDict::new(py);
        self.with_extra(|extra| extra.values = Some(values.clone().unbind()));
        values
    }

    pub(super) fn set_values(&self, values: Bound<'_, PyDict>) {
        let replaced = self.with_extra(|extra| extra.values.replace(values.unbind()));
        drop(replaced);
    }

    /// Finds a value that is not known yet.
    fn find_value<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        match name {
            "socket" => self.socket(py),
            // Windows's own loop has the name of a pipe under this key.
            "addr" => match self.link.borrow().as_ref().and_then(Transport::peer_addr) {
                Some(name @ Address::Pipe(_)) => address(py, &name).map(Some),
                _ => Ok(None),
            },
            "peername" => {
                let open = self.link.borrow().as_ref().map(Transport::peer_addr);
                let peer = match open {
                    Some(peer) => peer,
                    None => self.with_extra_if(|extra| extra.peer.clone()).flatten(),
                };
                peer.map(|peer| address(py, &peer)).transpose()
            }
            "sockname" => {
                let local = self.link.borrow().as_ref().map(Transport::local_addr);
                match local {
                    Some(Ok(local)) => Ok(Some(address(py, &local)?)),
                    _ => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// The socket as Python may see it, until the connection is lost.
    fn socket<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(descriptor) = self.descriptor.get() else {
            return Ok(None);
        };
        let streams = py.import(intern!(py, "tidewaiter.asyncio._streams"))?;
        let known = self.with_extra(|extra| extra.view.as_ref().map(|view| view.clone_ref(py)));
        let view = match known {
            Some(view) => view.into_bound(py),
            None => {
                let view = streams.call_method1(intern!(py, "view"), (descriptor,))?;
                self.with_extra(|extra| extra.view = Some(view.clone().unbind()));
                view
            }
        };
        streams
            .call_method1(intern!(py, "shown"), (view,))
            .map(Some)
    }
}

#[pymethods]
impl SocketTransport {
    #[pyo3(signature = (name, default=None))]
    fn get_extra_info<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let state = slf.get().state(slf.py());
        state.transport()?;
        let known = state.values(slf.py());
        if let Some(value) = known.get_item(name)? {
            return Ok(Some(value));
        }
        let Ok(text) = name.extract::<&str>() else {
            return Ok(default);
        };
        match state.find_value(slf.py(), text)? {
            Some(value) => {
                known.set_item(name, &value)?;
                Ok(Some(value))
            }
            None => Ok(default),
        }
    }
}
