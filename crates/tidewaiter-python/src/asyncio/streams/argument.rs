//! What a program gives to a reader's methods: sizes and separators.

use std::borrow::Cow;

use pyo3::Borrowed;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyInt, PyTuple};

/// The size or the separator that a program gave.
pub(super) enum Argument {
    Missing,
    Size(i64),
    /// To be checked once the call is awaited.
    Object(Py<PyAny>),
}

impl<'py> FromPyObject<'_, 'py> for Argument {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Argument> {
        if given.is_exact_instance_of::<PyInt>()
            && let Ok(size) = given.extract::<i64>()
        {
            return Ok(Argument::Size(size));
        }
        Ok(Argument::Object(given.to_owned().unbind()))
    }
}

impl Argument {
    pub(super) fn clone_ref(&self, py: Python<'_>) -> Argument {
        match self {
            Argument::Missing => Argument::Missing,
            Argument::Size(size) => Argument::Size(*size),
            Argument::Object(given) => Argument::Object(given.clone_ref(py)),
        }
    }

    pub(super) fn size(&self, py: Python<'_>) -> PyResult<i64> {
        match self {
            Argument::Missing => Ok(-1),
            Argument::Size(size) => Ok(*size),
            Argument::Object(given) => checked_size(given.bind(py)),
        }
    }

    /// As Python's object, if there is one.
    pub(super) fn object<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self {
            Argument::Missing => Ok(None),
            Argument::Size(size) => Ok(Some(size.into_pyobject(py)?.into_any())),
            Argument::Object(given) => Ok(Some(given.bind(py).clone())),
        }
    }
}

/// The size that a program gave. Fails as asyncio does if it is no number.
fn checked_size(given: &Bound<'_, PyAny>) -> PyResult<i64> {
    if let Ok(size) = given.extract::<i64>() {
        return Ok(size);
    }
    let negative = given.lt(0)?;
    if given.hasattr(intern!(given.py(), "__index__"))? {
        return Ok(if negative { -1 } else { i64::MAX });
    }
    let message = "slice indices must be integers or None or have an __index__ method";
    Err(PyTypeError::new_err(message))
}

/// The separators that a program gave, the shortest first. Fails as asyncio does if it gave something else.
pub(super) fn separators<'a>(given: &'a Bound<'_, PyAny>) -> PyResult<Vec<Cow<'a, [u8]>>> {
    let py = given.py();
    let mut found: Vec<Cow<'a, [u8]>> = Vec::new();
    match given.cast::<PyTuple>() {
        Ok(several) if py.version_info() >= (3, 13) => {
            for one in several.iter() {
                found.push(Cow::Owned(separator(&one)?.into_owned()));
            }
            found.sort_by_key(|one| one.len());
        }
        _ => found.push(separator(given)?),
    }
    match found.first() {
        None => {
            let message = "Separator should contain at least one element";
            Err(PyValueError::new_err(message))
        }
        Some(shortest) if shortest.is_empty() => {
            let message = "Separator should be at least one-byte string";
            Err(PyValueError::new_err(message))
        }
        Some(_) => Ok(found),
    }
}

fn separator<'a>(given: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(Cow::Borrowed(bytes.as_bytes()));
    }
    let py = given.py();
    // These fail for what is no separator.
    let length = given.len()?;
    if length > 0 {
        PyByteArray::new(py, b"").call_method1(intern!(py, "find"), (given,))?;
    }
    let bytes = py.get_type::<PyBytes>().call1((given,))?;
    Ok(Cow::Owned(bytes.extract()?))
}
