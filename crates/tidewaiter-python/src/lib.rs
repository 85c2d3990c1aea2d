//! The extension module behind the Python package: a loop, its timers, streams, listeners and children.
//!
//! The module is neutral: Twisted's rules are in `python/tidewaiter/twisted`. It uses the library's public interface
//! alone.

mod alarm;
mod child;
mod context;
mod core;
mod endings;
mod exits;
mod failures;
mod forks;
mod hooks;
mod listener;
mod lock;
mod metrics;
mod records;
mod sockets;
mod stream;
mod timer;
mod watch;

use pyo3::prelude::*;

/// The extension module.
#[pymodule(gil_used = true)]
mod _tidewaiter {
    #[pymodule_export]
    use super::child::Child;
    #[pymodule_export]
    use super::core::Core;
    #[pymodule_export]
    use super::endings::end;
    #[pymodule_export]
    use super::failures::PortFailure;
    #[pymodule_export]
    use super::listener::Listener;
    #[pymodule_export]
    use super::stream::Stream;
    #[pymodule_export]
    use super::timer::DelayedCall;
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::records::begin();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
