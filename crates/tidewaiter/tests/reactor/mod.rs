//! What reactors promise, on whatever port the including file opens.

mod backpressure;
mod connecting;
mod lifecycle;
mod listening;
mod panics;
mod processes;
mod stopping;
mod streams;
mod support;
mod timers;
