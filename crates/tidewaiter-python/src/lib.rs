//! The extension module behind the Python package: the loop in `core/`, the objects of Twisted's reactor on it in
//! `twisted/`, and those of asyncio's event loop in `asyncio/`.
//!
//! It uses the library's public interface alone.

mod asyncio;
mod core;
mod twisted;

use pyo3::prelude::*;

/// The extension module.
#[pymodule(gil_used = true)]
mod _tidewaiter {
    #[pymodule_export]
    use super::asyncio::child::AsyncioChild;
    #[pymodule_export]
    use super::asyncio::child_pipe::ChildPipe;
    #[pymodule_export]
    use super::asyncio::datagrams::AsyncioDatagrams;
    #[pymodule_export]
    use super::asyncio::face::AsyncioLoop;
    #[pymodule_export]
    use super::asyncio::handle::{Handle, TimerHandle};
    #[pymodule_export]
    use super::asyncio::named_pipes::PipeConnector;
    #[pymodule_export]
    use super::asyncio::pipes::AsyncioPipe;
    #[pymodule_export]
    use super::asyncio::server::StreamListener;
    #[pymodule_export]
    use super::asyncio::streams::AsyncioStream;
    #[pymodule_export]
    use super::asyncio::streams::call::StreamCall;
    #[pymodule_export]
    use super::asyncio::streams::waiter::StreamWaiter;
    #[pymodule_export]
    use super::asyncio::tls::TlsPump;
    #[pymodule_export]
    use super::asyncio::transport::SocketTransport;
    #[pymodule_export]
    use super::asyncio::watch::Descriptors;
    #[pymodule_export]
    use super::core::class::Core;
    #[pymodule_export]
    use super::core::endings::end;
    #[pymodule_export]
    use super::core::failures::PortFailure;
    #[pymodule_export]
    use super::core::watch::Watch;
    #[pymodule_export]
    use super::twisted::child::Child;
    #[pymodule_export]
    use super::twisted::datagrams::Datagrams;
    #[pymodule_export]
    use super::twisted::face::TwistedLoop;
    #[pymodule_export]
    use super::twisted::listener::Listener;
    #[pymodule_export]
    use super::twisted::stream::Stream;
    #[pymodule_export]
    use super::twisted::timer::DelayedCall;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::core::lock::refuse_sub_interpreters(module.py())?;
        super::core::lock::refuse_to_go_without(module.py())?;
        super::core::records::begin();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
