//! The poll backend.

use std::io;

use super::{Driver, PortOptions};

/// Opens the port, or says why that is refused.
pub(super) fn open(_options: &PortOptions, _reason: String) -> io::Result<Box<dyn Driver>> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
