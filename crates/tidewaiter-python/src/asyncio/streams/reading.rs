//! How a reader's methods take bytes: each makes an attempt, and waits for more if that finds too few.

use std::borrow::Cow;
use std::cell::RefCell;

use memchr::memmem;
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::State;

/// The result of an attempt; `None` if it needs more bytes.
type Attempt<'py> = PyResult<Option<Bound<'py, PyAny>>>;

/// Asyncio's exception of this name.
fn asyncios(py: Python<'_>, name: &str, arguments: (Py<PyAny>, Py<PyAny>)) -> PyResult<PyErr> {
    let class = py.import("asyncio.exceptions")?.getattr(name)?;
    Ok(PyErr::from_value(class.call1(arguments)?))
}

fn incomplete(bytes: Bound<'_, PyBytes>, expected: Option<Bound<'_, PyAny>>) -> PyResult<PyErr> {
    let py = bytes.py();
    let expected = expected.into_pyobject(py)?.unbind();
    asyncios(
        py,
        "IncompleteReadError",
        (bytes.into_any().unbind(), expected),
    )
}

fn overrun(py: Python<'_>, message: &str, consumed: usize) -> PyResult<PyErr> {
    let message = message.into_pyobject(py)?.into_any().unbind();
    let consumed = consumed.into_pyobject(py)?.into_any().unbind();
    asyncios(py, "LimitOverrunError", (message, consumed))
}

/// Why a separator was not found.
enum NotFound {
    NeedsMore,
    /// The limit is exceeded. With the message, and how many bytes are known to have no separator.
    Overrun(&'static str, usize),
    Ended,
}

impl State {
    fn take<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyAny>> {
        let taken = self.received.borrow_mut().take(py, count);
        self.resume_if_read(py)?;
        Ok(taken.into_any())
    }

    /// As `StreamReader.read`, for a positive size. A task that was `woken` gets what is left, which may be nothing.
    pub(super) fn read<'py>(&self, py: Python<'py>, size: i64, woken: bool) -> Attempt<'py> {
        let length = self.received.borrow().len(py);
        if length == 0 && !self.eof.get() && !woken {
            return Ok(None);
        }
        let count = usize::try_from(size).map_or(length, |size| size.min(length));
        self.take(py, count).map(Some)
    }

    /// As `StreamReader.read` without a size: collects everything up to the end.
    pub(super) fn read_all<'py>(
        &self,
        py: Python<'py>,
        collected: &RefCell<Vec<u8>>,
    ) -> Attempt<'py> {
        self.check(py)?;
        let more = self.received.take();
        collected.borrow_mut().extend_from_slice(more.bytes(py));
        self.resume_if_read(py)?;
        if !self.eof.get() {
            return Ok(None);
        }
        let all = collected.take();
        Ok(Some(PyBytes::new(py, &all).into_any()))
    }

    /// As `StreamReader.readexactly`, for a positive size. `given` is what the program gave for it.
    pub(super) fn read_exactly<'py>(
        &self,
        py: Python<'py>,
        size: i64,
        given: impl FnOnce() -> PyResult<Option<Bound<'py, PyAny>>>,
    ) -> Attempt<'py> {
        let length = self.received.borrow().len(py);
        match usize::try_from(size) {
            Ok(count) if count <= length => self.take(py, count).map(Some),
            _ if self.eof.get() => {
                let partial = self.received.borrow_mut().take_all(py);
                Err(incomplete(partial, given()?)?)
            }
            _ => Ok(None),
        }
    }

    /// Looks for the separator that ends first, from `offset` on, and returns where it ends. The offset moves past what
    /// need not be searched again.
    fn find(
        &self,
        py: Python<'_>,
        separators: &[Cow<'_, [u8]>],
        offset: &mut usize,
    ) -> Result<usize, NotFound> {
        let received = self.received.borrow();
        let bytes = received.bytes(py);
        let shortest = separators.first().map_or(0, |one| one.len());
        if bytes.len() >= *offset + shortest {
            let found = separators.iter().filter_map(|one| {
                let start = *offset + memmem::find(&bytes[*offset..], one)?;
                Some((start + one.len(), start))
            });
            if let Some((end, start)) = found.min_by_key(|(end, _)| *end) {
                return match start > self.limit {
                    true => Err(NotFound::Overrun(
                        "Separator is found, but chunk is longer than limit",
                        start,
                    )),
                    false => Ok(end),
                };
            }
            let longest = separators.last().map_or(0, |one| one.len());
            *offset = (bytes.len() + 1).saturating_sub(longest);
            if *offset > self.limit {
                let message = "Separator is not found, and chunk exceed the limit";
                return Err(NotFound::Overrun(message, *offset));
            }
        }
        Err(match self.eof.get() {
            true => NotFound::Ended,
            false => NotFound::NeedsMore,
        })
    }

    /// As `StreamReader.readuntil`.
    pub(super) fn read_until<'py>(
        &self,
        py: Python<'py>,
        separators: &[Cow<'_, [u8]>],
        offset: &mut usize,
    ) -> Attempt<'py> {
        match self.find(py, separators, offset) {
            Ok(end) => self.take(py, end).map(Some),
            Err(NotFound::NeedsMore) => Ok(None),
            Err(NotFound::Ended) => {
                let partial = self.received.borrow_mut().take_all(py);
                Err(incomplete(partial, None)?)
            }
            Err(NotFound::Overrun(message, consumed)) => Err(overrun(py, message, consumed)?),
        }
    }

    /// As `StreamReader.readline`.
    pub(super) fn read_line<'py>(&self, py: Python<'py>, offset: &mut usize) -> Attempt<'py> {
        match self.find(py, &[Cow::Borrowed(b"\n")], offset) {
            Ok(end) => self.take(py, end).map(Some),
            Err(NotFound::NeedsMore) => Ok(None),
            Err(NotFound::Ended) => {
                let partial = self.received.borrow_mut().take_all(py);
                Ok(Some(partial.into_any()))
            }
            Err(NotFound::Overrun(message, consumed)) => {
                self.drop_line(py, consumed)?;
                let error = PyValueError::new_err(message);
                let cause = overrun(py, message, consumed)?;
                let context = intern!(py, "__context__");
                error.value(py).setattr(context, cause.value(py))?;
                Err(error)
            }
        }
    }

    /// Drops a line that is longer than the limit, or else all of its beginning.
    fn drop_line(&self, py: Python<'_>, consumed: usize) -> PyResult<()> {
        let mut received = self.received.borrow_mut();
        let count = match received.bytes(py).get(consumed) {
            Some(b'\n') => consumed + 1,
            _ => received.len(py),
        };
        received.skip(py, count);
        drop(received);
        self.resume_if_read(py)
    }
}
