//! Delivers what arrives to the protocol: by `data_received`, or into the buffer of an `asyncio.BufferedProtocol`.

use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PySlice, PyType};
use tidewaiter::Transport;

use super::{SocketTransport, State};
use crate::asyncio::streams::{AsyncioStream, WeakStream};
use crate::asyncio::tls::{self, TlsPump};

/// A protocol, and how it takes bytes.
pub(super) enum Receiver {
    /// By `data_received`.
    Plain(Py<PyAny>),
    /// By `get_buffer` and `buffer_updated`.
    Buffered(Py<PyAny>),
    /// Asyncio's protocol of a stream: the stream takes them.
    Stream(Box<(Py<PyAny>, WeakStream)>),
    /// Asyncio's protocol of TLS, before the handshake is over.
    Handshake(Py<PyAny>),
    /// The same after the handshake: the pump takes them, or else the protocol by its methods.
    Tls(Box<(Py<PyAny>, Py<TlsPump>)>),
}

impl Receiver {
    pub(super) fn new(protocol: Bound<'_, PyAny>) -> PyResult<Receiver> {
        static BUFFERED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static TLS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static OUR_TLS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = protocol.py();
        let class = BUFFERED.import(py, "asyncio", "BufferedProtocol")?;
        if protocol.is_instance(class)? {
            let tls = TLS.import(py, "asyncio.sslproto", "SSLProtocol")?;
            let ours = OUR_TLS.import(py, "tidewaiter.asyncio._tls_protocol", "TlsProtocol")?;
            let class = protocol.get_type();
            if class.is(ours) || class.is(tls) {
                return Ok(Receiver::Handshake(protocol.unbind()));
            }
            return Ok(Receiver::Buffered(protocol.unbind()));
        }
        Ok(Receiver::Plain(protocol.unbind()))
    }

    pub(super) fn protocol<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        match self {
            Receiver::Plain(protocol)
            | Receiver::Buffered(protocol)
            | Receiver::Handshake(protocol) => protocol.bind(py).clone(),
            Receiver::Stream(stream) => stream.0.bind(py).clone(),
            Receiver::Tls(tls) => tls.0.bind(py).clone(),
        }
    }

    fn is_buffered(&self) -> bool {
        !matches!(self, Receiver::Plain(_) | Receiver::Stream(_))
    }

    fn stream(&self) -> Option<&WeakStream> {
        match self {
            Receiver::Stream(stream) => Some(&stream.1),
            _ => None,
        }
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self {
            Receiver::Plain(protocol)
            | Receiver::Buffered(protocol)
            | Receiver::Handshake(protocol) => visit.call(protocol),
            Receiver::Stream(stream) => visit.call(&stream.0),
            Receiver::Tls(tls) => {
                visit.call(&tls.0)?;
                visit.call(&tls.1)
            }
        }
    }
}

const DATA_RECEIVED: &str = "Fatal error: protocol.data_received() call failed.";
const BUFFER_UPDATED: &str = "Fatal error: protocol.buffer_updated() call failed.";

/// An exception of a protocol's, and which of its calls raised it.
struct Failed {
    message: &'static str,
    error: PyErr,
}

fn failed(message: &'static str) -> impl FnOnce(PyErr) -> Failed {
    move |error| Failed { message, error }
}

/// Passes `data` to the protocol. What a pause in the middle leaves over waits for `resume_reading`. Fails only if the
/// loop has to end for the exception.
pub(super) fn deliver(transport: &Bound<'_, SocketTransport>, mut data: &[u8]) -> PyResult<()> {
    let state = transport.get().state(transport.py());
    while !data.is_empty() && !state.closing.get() {
        match state.deliver_once(transport, data) {
            Ok(taken) => data = &data[taken..],
            Err(Failed { message, error }) => {
                return SocketTransport::fatal_error(transport, error, message);
            }
        }
        if state.paused.get() && !data.is_empty() && !state.closing.get() {
            state.hold(data);
            return Ok(());
        }
    }
    Ok(())
}

impl State {
    /// Makes one delivery, and returns how many bytes it took.
    fn deliver_once(
        &self,
        transport: &Bound<'_, SocketTransport>,
        data: &[u8],
    ) -> Result<usize, Failed> {
        let py = transport.py();
        if let Some(stream) = self.stream() {
            stream.feed(py, data).map_err(failed(DATA_RECEIVED))?;
            return Ok(data.len());
        }
        if let Some(pump) = self.pump(py) {
            let received = pump.get().receive(self.context.bind(py), data);
            if received.map_err(failed(BUFFER_UPDATED))? {
                return Ok(data.len());
            }
        }
        let (protocol, buffered) = match &*self.receiver.borrow() {
            Some(receiver) => (receiver.protocol(py), receiver.is_buffered()),
            None => return Ok(data.len()),
        };
        if buffered {
            let taken = self.fill_buffer(&protocol, data)?;
            self.begin_tls(py).map_err(failed(BUFFER_UPDATED))?;
            return Ok(taken);
        }
        let bytes = PyBytes::new(py, data);
        self.call(&protocol, intern!(py, "data_received"), [bytes.as_any()])
            .map_err(failed(DATA_RECEIVED))?;
        Ok(data.len())
    }

    /// The stream that takes what arrives, if one does.
    pub(super) fn stream(&self) -> Option<WeakStream> {
        let receiver = self.receiver.borrow();
        receiver.as_ref()?.stream().cloned()
    }

    /// The pump of a connection with TLS, once the handshake is over.
    fn pump(&self, py: Python<'_>) -> Option<Py<TlsPump>> {
        match &*self.receiver.borrow() {
            Some(Receiver::Tls(tls)) => Some(tls.1.clone_ref(py)),
            _ => None,
        }
    }

    /// Has a pump take what arrives from here on, if the handshake is over, and the protocol is as asyncio made it.
    fn begin_tls(&self, py: Python<'_>) -> PyResult<()> {
        let protocol = match &*self.receiver.borrow() {
            Some(Receiver::Handshake(protocol)) => protocol.clone_ref(py),
            _ => return Ok(()),
        };
        if !protocol
            .getattr(py, intern!(py, "_state"))?
            .is(tls::wrapped(py)?)
        {
            return Ok(());
        }
        let adopt = intern!(py, "_adopt_tls");
        let pump = self.home.call_method1(py, adopt, (&protocol,))?;
        let receiver = match pump.extract::<Option<Py<TlsPump>>>(py)? {
            Some(pump) => Receiver::Tls(Box::new((protocol, pump))),
            None => Receiver::Buffered(protocol),
        };
        let replaced = self.receiver.replace(Some(receiver));
        drop(replaced);
        Ok(())
    }

    fn fill_buffer(&self, protocol: &Bound<'_, PyAny>, data: &[u8]) -> Result<usize, Failed> {
        let py = protocol.py();
        let buffer = self
            .buffer_of(protocol, data.len())
            .map_err(failed("Fatal error: protocol.get_buffer() call failed."))?;
        let taken =
            copy_into(&buffer, data).map_err(failed("Fatal read error on socket transport"))?;
        let updated = || {
            let taken = taken.into_pyobject(py)?;
            self.call(protocol, intern!(py, "buffer_updated"), [taken.as_any()])
        };
        updated().map_err(failed(BUFFER_UPDATED))?;
        Ok(taken)
    }

    fn buffer_of<'py>(
        &self,
        protocol: &Bound<'py, PyAny>,
        wanted: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = protocol.py();
        let wanted = wanted.into_pyobject(py)?;
        let buffer = self.call(protocol, intern!(py, "get_buffer"), [wanted.as_any()])?;
        if buffer.len()? == 0 {
            let message = "get_buffer() returned an empty buffer";
            return Err(PyRuntimeError::new_err(message));
        }
        Ok(buffer)
    }

    /// Keeps bytes that came before a pause took effect.
    fn hold(&self, data: &[u8]) {
        self.with_extra(|extra| extra.held.extend_from_slice(data));
    }

    /// Reads again after a pause: first what is held.
    pub(super) fn read_on(
        &self,
        transport: &Bound<'_, SocketTransport>,
        link: &Transport,
    ) -> PyResult<()> {
        if self.has_held() {
            let py = transport.py();
            let deliver_held = transport.getattr(intern!(py, "_deliver_held"))?;
            let call_soon = intern!(py, "call_soon");
            return self
                .home
                .call_method1(py, call_soon, (deliver_held,))
                .map(drop);
        }
        link.resume_producing();
        Ok(())
    }

    fn has_held(&self) -> bool {
        let extra = self.extra.borrow();
        extra.as_ref().is_some_and(|extra| !extra.held.is_empty())
    }
}

impl SocketTransport {
    /// Has a stream take what arrives, if the protocol is asyncio's own for one.
    pub(super) fn deliver_to_stream(
        transport: &Bound<'_, Self>,
        protocol: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if let Some(stream) = AsyncioStream::of(transport, protocol)? {
            let receiver = Receiver::Stream(Box::new((protocol.clone().unbind(), stream)));
            let state = transport.get().state(transport.py());
            let replaced = state.receiver.replace(Some(receiver));
            drop(replaced);
        }
        Ok(())
    }

    /// Has the protocol itself take what arrives.
    pub(in crate::asyncio) fn deliver_plainly(&self, py: Python<'_>) {
        let state = self.state(py);
        if state.stream().is_some()
            && let Some(protocol) = self.protocol_of(py)
        {
            let plain = Receiver::Plain(protocol.unbind());
            let replaced = state.receiver.replace(Some(plain));
            drop(replaced);
        }
    }

    /// Whether a stream takes what arrives, and its writer need not wait.
    pub(in crate::asyncio) fn is_writable(&self, py: Python<'_>) -> bool {
        let state = self.state(py);
        let receiver = state.receiver.borrow();
        let stream = receiver.as_ref().and_then(Receiver::stream);
        stream.is_some() && !state.closing.get() && !state.write_flow.is_paused()
    }
}

/// Copies the beginning of `data` into a writable buffer of Python's, and returns how many bytes it took.
fn copy_into(buffer: &Bound<'_, PyAny>, data: &[u8]) -> PyResult<usize> {
    let py = buffer.py();
    let bytes = if buffer.is_exact_instance_of::<PyByteArray>() {
        buffer.clone()
    } else {
        let view = PyMemoryView::from(buffer)?;
        view.call_method1(intern!(py, "cast"), (intern!(py, "B"),))?
    };
    let taken = bytes.len()?.min(data.len());
    let end = isize::try_from(taken)?;
    bytes.set_item(
        PySlice::new(py, 0, end, 1),
        PyBytes::new(py, &data[..taken]),
    )?;
    Ok(taken)
}

#[pymethods]
impl SocketTransport {
    /// Delivers what a pause left over, and reads on.
    fn _deliver_held(slf: &Bound<'_, Self>) -> PyResult<()> {
        let state = slf.get().state(slf.py());
        let link = state.transport()?;
        if !state.is_reading() {
            return Ok(());
        }
        let held = state.with_extra(|extra| std::mem::take(&mut extra.held));
        deliver(slf, &held)?;
        match link {
            Some(link) if state.is_reading() => {
                link.resume_producing();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
