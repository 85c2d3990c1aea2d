//! Attributes that programs set on transports, as they may on asyncio's.
//!
//! Each name gets a descriptor on the class. A method that finds missing attributes, `__getattr__`, would have the
//! interpreter look up methods such as `write` in its slow way.

use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::{SocketTransport, State};

/// Finds an attribute of transports that a program has set on at least one of them.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
struct Attribute {
    name: Py<PyString>,
}

impl Attribute {
    fn missing(&self, py: Python<'_>) -> PyErr {
        let name = self.name.bind(py);
        let message = format!("'SocketTransport' object has no attribute '{name}'");
        PyAttributeError::new_err(message)
    }
}

#[pymethods]
impl Attribute {
    fn __get__<'py>(
        slf: &Bound<'py, Self>,
        transport: Option<&Bound<'py, SocketTransport>>,
        _class: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let Some(transport) = transport else {
            return Ok(slf.as_any().clone());
        };
        let name = slf.get().name.bind(py);
        let attributes = transport.get().state(py).attributes(py);
        let found = attributes.map(|attributes| attributes.get_item(name));
        let found = found.transpose()?.flatten();
        found.ok_or_else(|| slf.get().missing(py))
    }

    fn __set__(
        &self,
        transport: &Bound<'_, SocketTransport>,
        value: Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = transport.py();
        let state = transport.get().state(py);
        let attributes = state.attributes(py).unwrap_or_else(|| {
            let attributes = PyDict::new(py);
            let kept = attributes.clone().unbind();
            state.with_extra(|extra| extra.attributes = Some(kept));
            attributes
        });
        attributes.set_item(&self.name, value)
    }

    fn __delete__(&self, transport: &Bound<'_, SocketTransport>) -> PyResult<()> {
        let py = transport.py();
        match transport.get().state(py).attributes(py) {
            Some(attributes) if attributes.contains(&self.name)? => attributes.del_item(&self.name),
            _ => Err(self.missing(py)),
        }
    }
}

impl State {
    /// The attributes that the program has set.
    fn attributes<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyDict>> {
        let extra = self.extra.borrow();
        let attributes = extra.as_ref()?.attributes.as_ref()?;
        Some(attributes.bind(py).clone())
    }
}

/// The descriptor of an attribute. Raises if the class itself has one of this name.
fn of_class<'py>(
    transport: &Bound<'py, SocketTransport>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, Attribute>>> {
    let Some(found) = transport.get_type().getattr_opt(name)? else {
        return Ok(None);
    };
    found.cast_into().map(Some).map_err(|_| {
        let message = format!("'SocketTransport' object attribute '{name}' is read-only");
        PyAttributeError::new_err(message)
    })
}

#[pymethods]
impl SocketTransport {
    /// Sets an attribute that the class does not have.
    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        value: Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let attribute = match of_class(slf, name)? {
            Some(attribute) => attribute,
            None => {
                let kept = name.clone().unbind();
                let attribute = Bound::new(slf.py(), Attribute { name: kept })?;
                slf.get_type().setattr(name, &attribute)?;
                attribute
            }
        };
        attribute.get().__set__(slf, value)
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        match of_class(slf, name)? {
            Some(attribute) => attribute.get().__delete__(slf),
            None => Err(PyAttributeError::new_err(name.clone().unbind())),
        }
    }
}
