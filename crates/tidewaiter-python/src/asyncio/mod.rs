//! The parts of asyncio's event loop that must be fast, on the neutral loop.

mod calls;
pub(crate) mod child;
pub(crate) mod child_pipe;
pub(crate) mod datagrams;
mod exceptions;
pub(crate) mod face;
pub(crate) mod handle;
pub(crate) mod named_pipes;
mod owner;
pub(crate) mod pipes;
pub(crate) mod server;
pub(crate) mod streams;
mod tasks;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod watch;
