//! The Python class `TlsPump`: what asyncio's `SSLProtocol` does for each message of a connection whose handshake is over.
//!
//! The protocol keeps all of its state in its attributes. A pump reads them and does the work of the protocol's methods
//! in their most frequent case. It calls these methods in every other case.

use pyo3::exceptions::PyException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PySlice, PyString, PyTuple, PyWeakrefReference};

use super::transport::SocketTransport;
use crate::core::context;
use crate::core::lock::Locked;

/// The longest plain text of one TLS record.
const RECORD_BYTES: usize = 16 * 1024;

const FATAL: &str = "Fatal error on SSL protocol";

/// The objects of Python's `ssl` module for one connection.
struct Engine {
    /// The public object, which the protocol has.
    object: Py<PyAny>,
    /// The object below it, which calls OpenSSL.
    below: Py<PyAny>,
    incoming: Py<PyAny>,
    outgoing: Py<PyAny>,
}

struct State {
    protocol: Py<PyAny>,
    /// The attributes of `protocol`.
    attributes: Py<PyDict>,
    /// How many these were at first. With more of them, the program has replaced a method.
    attribute_count: usize,
    /// A weak reference to the transport that the program sees.
    program_side: Py<PyWeakrefReference>,
    engine: Engine,
    /// The protocol's state between handshake and shutdown.
    wrapped: Py<PyAny>,
    /// The exceptions by which OpenSSL asks for more data.
    again: Py<PyTuple>,
}

/// The traffic of one TLS connection.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct TlsPump(Locked<State>);

/// The plain text of one delivery, as asyncio's protocol collects it.
#[derive(Default)]
struct PlainText<'py> {
    pieces: Vec<Bound<'py, PyBytes>>,
    /// The peer has closed its side.
    ended: bool,
}

impl<'py> PlainText<'py> {
    fn joined(mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.pieces.len() <= 1 {
            return Ok(self.pieces.pop().map(Bound::into_any));
        }
        let joined = PyBytes::new(py, b"").call_method1(intern!(py, "join"), (self.pieces,))?;
        Ok(Some(joined))
    }
}

/// The state of asyncio's protocols between handshake and shutdown.
pub(super) fn wrapped(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static WRAPPED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let wrapped = WRAPPED.get_or_try_init(py, || {
        let states = py.import("asyncio.sslproto")?.getattr("SSLProtocolState")?;
        states.getattr("WRAPPED").map(Bound::unbind)
    })?;
    Ok(wrapped.bind(py))
}

fn pending(bio: &Bound<'_, PyAny>) -> PyResult<usize> {
    bio.getattr(intern!(bio.py(), "pending"))?.extract()
}

impl State {
    fn attribute<'py>(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        let attributes = self.attributes.bind(name.py());
        match attributes.get_item(name)? {
            Some(value) => Ok(value),
            None => self.protocol.bind(name.py()).getattr(name),
        }
    }

    fn is_set(&self, name: &Bound<'_, PyString>) -> PyResult<bool> {
        self.attribute(name)?.is_truthy()
    }

    /// Whether the handshake is over, no shutdown has begun, and the protocol is as asyncio made it.
    fn is_wrapped(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.attributes.bind(py).len() == self.attribute_count
            && self.attribute(intern!(py, "_state"))?.is(&self.wrapped)
            && self
                .attribute(intern!(py, "_sslobj"))?
                .is(&self.engine.object))
    }

    /// Whether `receive` can do the work.
    fn can_receive(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.is_wrapped(py)?
            && !self.is_set(intern!(py, "_app_reading_paused"))?
            && !self.is_set(intern!(py, "_app_protocol_is_buffer"))?)
    }

    /// As `SSLProtocol._do_read` after `buffer_updated` for this many bytes.
    fn read(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        let mut plain = self.decrypt(py, count)?;
        let ended = std::mem::take(&mut plain.ended);
        if let Some(data) = plain.joined(py)? {
            let protocol = self.attribute(intern!(py, "_app_protocol"))?;
            let method = intern!(py, "data_received");
            context::method_called(&protocol, method, [&data])?;
        }
        if ended {
            self.call(intern!(py, "_call_eof_received"))?;
            self.call(intern!(py, "_start_shutdown"))?;
        }
        if self.is_set(intern!(py, "_write_backlog"))? {
            self.call(intern!(py, "_do_write"))?;
        } else {
            self.send(py)?;
        }
        self.control_receiving(py)
    }

    /// Reads all plain text that OpenSSL has, of which this many bytes may have come just now.
    fn decrypt<'py>(&self, py: Python<'py>, count: usize) -> PyResult<PlainText<'py>> {
        let mut plain = PlainText::default();
        let below = self.engine.below.bind(py);
        let mut size = count.min(RECORD_BYTES);
        loop {
            let piece = match below.call_method1(intern!(py, "read"), (size,)) {
                Err(error) if error.matches(py, &self.again)? => return Ok(plain),
                piece => piece?.cast_into::<PyBytes>()?,
            };
            if piece.as_bytes().is_empty() {
                plain.ended = true;
                return Ok(plain);
            }
            plain.pieces.push(piece);
            // Another call would raise, at the price of a message.
            if pending(self.engine.incoming.bind(py))? == 0 {
                let left: usize = below.call_method0(intern!(py, "pending"))?.extract()?;
                if left == 0 {
                    return Ok(plain);
                }
            }
            size = RECORD_BYTES;
        }
    }

    /// As `SSLProtocol._write_appdata` without a backlog, for data that is not empty.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        let length = data.as_bytes().len();
        let write = intern!(py, "write");
        let below = self.engine.below.bind(py);
        let mut written = 0;
        while written < length {
            let result = match written {
                0 => context::method_called(below, write, [data.as_any()]),
                _ => {
                    let rest = rest_of(PyMemoryView::from(data)?.as_any(), written)?;
                    context::method_called(below, write, [&rest])
                }
            };
            match result {
                Ok(count) => written += count.extract::<usize>()?,
                Err(error) => {
                    self.keep(py, &rest_of(data.as_any(), written)?)?;
                    if !error.matches(py, &self.again)? {
                        return Err(error);
                    }
                    break;
                }
            }
        }
        self.send(py)
    }

    /// Has the protocol write this later.
    fn keep(&self, py: Python<'_>, rest: &Bound<'_, PyAny>) -> PyResult<()> {
        let backlog = self.attribute(intern!(py, "_write_backlog"))?;
        backlog.call_method1(intern!(py, "append"), (rest,))?;
        let name = intern!(py, "_write_buffer_size");
        let size = self.backlog_bytes(py)? + rest.len()?;
        self.attributes.bind(py).set_item(name, size)
    }

    /// As `SSLProtocol._process_outgoing`.
    fn send(&self, py: Python<'_>) -> PyResult<()> {
        let outgoing = self.engine.outgoing.bind(py);
        let mut left = pending(outgoing)?;
        if left > 0 && !self.is_set(intern!(py, "_ssl_writing_paused"))? {
            let data = outgoing.call_method0(intern!(py, "read"))?;
            let transport = self.attribute(intern!(py, "_transport"))?;
            match transport.cast_exact::<SocketTransport>() {
                Ok(transport) => SocketTransport::write(transport, &data)?,
                Err(_) => drop(transport.call_method1(intern!(py, "write"), (data,))?),
            }
            left = pending(outgoing)?;
        }
        let size = left + self.backlog_bytes(py)?;
        if self.reaches(size, intern!(py, "_outgoing_high_water"))?
            || self.is_set(intern!(py, "_app_writing_paused"))?
        {
            self.call(intern!(py, "_control_app_writing"))?;
        }
        Ok(())
    }

    /// As `SSLProtocol._control_ssl_reading`.
    fn control_receiving(&self, py: Python<'_>) -> PyResult<()> {
        let size = pending(self.engine.incoming.bind(py))?;
        if self.reaches(size, intern!(py, "_incoming_high_water"))?
            || self.is_set(intern!(py, "_ssl_reading_paused"))?
        {
            self.call(intern!(py, "_control_ssl_reading"))?;
        }
        Ok(())
    }

    /// How many written bytes OpenSSL has not taken yet.
    fn backlog_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.attribute(intern!(py, "_write_buffer_size"))?.extract()
    }

    /// Whether so many bytes reach a limit. If that is no common number, the protocol has to find out.
    fn reaches(&self, size: usize, limit: &Bound<'_, PyString>) -> PyResult<bool> {
        let limit = self.attribute(limit)?.extract::<usize>();
        Ok(limit.map_or(true, |limit| size >= limit))
    }

    fn call(&self, method: &Bound<'_, PyString>) -> PyResult<()> {
        let protocol = self.protocol.bind(method.py());
        context::method_called(protocol, method, []).map(drop)
    }

    /// Has the protocol lose the connection for an exception, as its methods do.
    fn told_of_failure(&self, py: Python<'_>, result: PyResult<()>) -> PyResult<()> {
        match result {
            Err(error) if error.is_instance_of::<PyException>(py) => {
                let exception = error.into_value(py);
                let fatal_error = intern!(py, "_fatal_error");
                let arguments = (exception, FATAL);
                self.protocol
                    .call_method1(py, fatal_error, arguments)
                    .map(drop)
            }
            result => result,
        }
    }
}

impl TlsPump {
    /// Takes bytes that the connection has received. Returns false if the protocol has to take them itself. `context` is
    /// that of its calls.
    pub(super) fn receive(&self, context: &Bound<'_, PyAny>, data: &[u8]) -> PyResult<bool> {
        let py = context.py();
        let state = self.0.get(py);
        let Some(functions) = context::functions(py) else {
            return Ok(false);
        };
        if !state.can_receive(py)? {
            return Ok(false);
        }
        let bytes = PyBytes::new(py, data);
        let incoming = state.engine.incoming.bind(py);
        context::method_called(incoming, intern!(py, "write"), [bytes.as_any()])?;
        functions.within(context, || {
            state.told_of_failure(py, state.read(py, data.len()))
        })?;
        Ok(true)
    }
}

#[pymethods]
impl TlsPump {
    /// Makes the pump of a protocol that has done its handshake, and whose attributes are these.
    #[new]
    fn new(protocol: Bound<'_, PyAny>, attributes: Bound<'_, PyDict>) -> PyResult<TlsPump> {
        let again = protocol
            .py()
            .import("asyncio.sslproto")?
            .getattr("SSLAgainErrors")?;
        let object = protocol.getattr("_sslobj")?;
        let transport = protocol.getattr("_app_transport")?;
        let engine = Engine {
            below: object.getattr("_sslobj")?.unbind(),
            incoming: protocol.getattr("_incoming")?.unbind(),
            outgoing: protocol.getattr("_outgoing")?.unbind(),
            object: object.unbind(),
        };
        Ok(TlsPump(Locked::new(State {
            attribute_count: attributes.len(),
            attributes: attributes.unbind(),
            program_side: PyWeakrefReference::new(&transport)?.unbind(),
            wrapped: wrapped(protocol.py())?.clone().unbind(),
            again: again.cast_into::<PyTuple>()?.unbind(),
            protocol: protocol.unbind(),
            engine,
        })))
    }

    /// As `write` of the transport that the program sees.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        let state = self.0.get(py);
        if let Ok(bytes) = data.cast_exact::<PyBytes>()
            && !bytes.as_bytes().is_empty()
            && state.is_wrapped(py)?
            && !state.is_set(intern!(py, "_write_backlog"))?
        {
            return state.told_of_failure(py, state.write(py, bytes));
        }
        match state.program_side.bind(py).upgrade() {
            Some(transport) => {
                let write = transport.get_type().getattr(intern!(py, "write"))?;
                write.call1((transport, data)).map(drop)
            }
            // The connection is lost, and the protocol drops the data.
            None => {
                let method = intern!(py, "_write_appdata");
                state
                    .protocol
                    .call_method1(py, method, ((data,),))
                    .map(drop)
            }
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let state = self.0.visited();
        visit.call(&state.protocol)?;
        visit.call(&state.attributes)?;
        visit.call(&state.engine.object)?;
        visit.call(&state.engine.below)
    }
}

/// `data[start:]`.
fn rest_of<'py>(data: &Bound<'py, PyAny>, start: usize) -> PyResult<Bound<'py, PyAny>> {
    let py = data.py();
    let end = data.len()?;
    data.get_item(PySlice::new(py, start.try_into()?, end.try_into()?, 1))
}
