//! Attributes that programs set on transports, as they may on asyncio's.
//!
//! Each name gets a descriptor on the class. A method that finds missing attributes, `__getattr__`, would have the
//! interpreter look up methods such as `write` in its slow way. The name of a method gets a descriptor, too, once a
//! program replaces that method of a transport. Our own code calls the method that was replaced.

use pyo3::exceptions::{PyAttributeError, PyKeyError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::{SocketTransport, State};

/// Finds an attribute of transports that a program has set on at least one of them.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
struct Attribute {
    name: Py<PyString>,
    /// The method that a transport has unless the program replaced it.
    method: Option<Py<PyAny>>,
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
        class: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let method = slf.get().method.as_ref().map(|method| method.bind(py));
        let Some(transport) = transport else {
            return Ok(method.unwrap_or(slf.as_any()).clone());
        };
        let name = slf.get().name.bind(py);
        let attributes = transport.get().state(py).attributes(py);
        let found = attributes.map(|attributes| attributes.get_item(name));
        match (found.transpose()?.flatten(), method) {
            (Some(found), _) => Ok(found),
            (None, Some(method)) => method.call_method1(intern!(py, "__get__"), (transport, class)),
            (None, None) => Err(slf.get().missing(py)),
        }
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

/// Whether the interpreter gives the name a meaning.
fn is_special(name: &Bound<'_, PyString>) -> bool {
    name.to_string_lossy().starts_with("__")
}

/// Finds a member of the class by its name, without calling its descriptor.
fn of_class<'py>(
    transport: &Bound<'py, SocketTransport>,
    name: &Bound<'py, PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let class = transport.get_type();
    if is_special(name) {
        return class.getattr_opt(name);
    }
    let members = class.getattr(intern!(name.py(), "__dict__"))?;
    match members.get_item(name) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_instance_of::<PyKeyError>(name.py()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Adds a descriptor to the class. `found` is what the class has: nothing, or a method. Raises for anything else, and
/// for what the interpreter gives a meaning.
fn add_to_class<'py>(
    transport: &Bound<'py, SocketTransport>,
    name: &Bound<'py, PyString>,
    found: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, Attribute>> {
    let py = name.py();
    let is_method = |found: &Bound<'py, PyAny>| !is_special(name) && found.is_callable();
    if found.as_ref().is_some_and(|found| !is_method(found)) {
        let message = format!("'SocketTransport' object attribute '{name}' is read-only");
        return Err(PyAttributeError::new_err(message));
    }
    let attribute = Attribute {
        name: name.clone().unbind(),
        method: found.map(Bound::unbind),
    };
    let attribute = Bound::new(py, attribute)?;
    transport.get_type().setattr(name, &attribute)?;
    Ok(attribute)
}

#[pymethods]
impl SocketTransport {
    /// Sets an attribute that the class does not have, or replaces a method.
    fn __setattr__(
        slf: &Bound<'_, Self>,
        name: &Bound<'_, PyString>,
        value: Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let attribute = match of_class(slf, name)?.map(Bound::cast_into::<Attribute>) {
            Some(Ok(attribute)) => attribute,
            Some(Err(other)) => add_to_class(slf, name, Some(other.into_inner()))?,
            None => add_to_class(slf, name, None)?,
        };
        attribute.get().__set__(slf, value)
    }

    fn __delattr__(slf: &Bound<'_, Self>, name: &Bound<'_, PyString>) -> PyResult<()> {
        match of_class(slf, name)?.map(Bound::cast_into::<Attribute>) {
            Some(Ok(attribute)) => attribute.get().__delete__(slf),
            _ => Err(PyAttributeError::new_err(name.clone().unbind())),
        }
    }
}
