//! What reactors promise, on whatever port the including file opens.

mod lifecycle;
mod streams;
mod support;
mod timers;
