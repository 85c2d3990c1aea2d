//! The simulated port.

/// A connected socket of the simulated network, known to no port.
#[derive(Debug)]
pub(crate) struct SimSocket {}
