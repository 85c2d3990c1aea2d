//! Events in the life of a simulated process.

use crate::process::Signal;

/// An event in the life of a simulated process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The process was started: always the first event.
    Started,
    /// Bytes arrived at its standard input. Each arrival is announced once: bytes left unread are
    /// announced again only when more arrive.
    Input,
    /// No writer of its standard input is left, or it was started without one. Bytes may be left to read.
    InputEnded,
    /// An output that the process found full has room again, or lost its last reader: continue writing.
    Room,
    /// The timer set by [`Process::set_timer`](crate::port::sim::Process::set_timer) has expired.
    Timer,
}

/// An event or signal to deliver to a process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Delivery {
    Event(Event),
    Signal(Signal),
}
