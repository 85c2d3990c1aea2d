//! The loop.

mod inbox;
mod timers;
mod workers;
