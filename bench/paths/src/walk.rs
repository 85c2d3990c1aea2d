//! The type of a prepared path.

use crate::Outcome;
use crate::meter::Meter;

/// Runs one round of a path.
pub(crate) type Walk = Box<dyn FnMut(Meter) -> Outcome>;
