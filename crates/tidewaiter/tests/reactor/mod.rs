//! What reactors promise, on whatever port the including file opens.

mod streams;
mod support;
