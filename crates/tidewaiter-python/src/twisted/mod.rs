//! The parts of Twisted's reactor that must be fast: its transports, listeners, children and delayed calls, on the
//! neutral loop.

pub(crate) mod child;
mod context;
pub(crate) mod datagrams;
pub(crate) mod face;
pub(crate) mod listener;
mod reactor;
pub(crate) mod stream;
pub(crate) mod timer;
