//! A reactor on completion ports: sockets and child processes through one loop, on Windows and Unix.

#![deny(unsafe_code)]

pub mod endpoint;
pub mod port;
pub mod process;
pub mod reactor;
