//! The parts of asyncio's event loop that must be fast, on the neutral loop.

mod calls;
pub(crate) mod face;
pub(crate) mod handle;
