//! The extension module behind the Python package: the loop in `core/`, and the objects of Twisted's reactor on it in
//! `twisted/`.
//!
//! It uses the library's public interface alone.

mod core;
mod twisted;

use pyo3::prelude::*;

/// The extension module.
#[pymodule(gil_used = true)]
mod _tidewaiter {
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
        super::core::records::begin();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
