//! Windows has no socket activation.

use std::io;

use super::Activated;

pub(super) fn activated() -> io::Result<Vec<Activated>> {
    let message = "Windows has no socket activation";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}
