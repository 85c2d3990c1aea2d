//! How a path is walked.

use crate::Outcome;
use crate::meter::Meter;

/// Walks a path for one round.
pub(crate) type Walk = Box<dyn FnMut(Meter) -> Outcome>;
