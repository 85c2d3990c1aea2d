//! What reactors promise, on whatever port the including file opens.

mod backpressure;
mod lifecycle;
mod panics;
mod processes;
mod streams;
mod support;
mod timers;
