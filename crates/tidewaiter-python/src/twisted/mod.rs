//! The parts of Twisted's reactor that must be fast: its transports, listeners, children and delayed calls, on the
//! neutral loop.

pub(crate) mod child;
pub(crate) mod context;
pub(crate) mod listener;
pub(crate) mod stream;
pub(crate) mod timer;
