//! Child processes for programs that have a runtime already, or none.
//!
//! All children of a process share one thread, on which a [`tidewaiter`] reactor waits at the completion port: for their
//! exits and for their pipes. There is no thread per child and none per pipe, on any system. What a program holds are
//! handles that may go to any thread, be awaited in any runtime, and be dropped at any time:
//!
//! - [`Child`] starts a program, awaits its end, and has its pipes;
//! - [`ChildPipe`] reads and writes one of them, by `futures-io`'s traits and, with the feature `tokio`, by tokio's;
//!   [`BlockingPipe`] does so by those of `std::io`;
//! - [`Tree`] signals and kills the child with all its descendants, from any thread, while others wait.
//!
//! ```
//! use tidewaiter_process::{Child, Command};
//!
//! # if cfg!(unix) {
//! let command = Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]);
//! let output = Child::spawn(&command)?.output_blocking();
//! assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
//! assert_eq!(output.status.code(), Some(3));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod child;
mod exit;
mod pipe;
mod thread;
mod tree;
mod waiting;

pub use child::{Child, Output};
pub use pipe::{BlockingPipe, ChildPipe};
pub use tidewaiter::process::{
    Command, ExitStatus, Limits, Signal, SignalTarget, SpawnError, Stdio, Terminal, TerminalSize,
    Usage,
};
pub use tree::Tree;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;
