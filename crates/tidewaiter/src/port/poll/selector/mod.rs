//! The OS's report of which descriptors are ready: from epoll on Linux, from kqueue elsewhere.

#[cfg(target_os = "linux")]
mod epoll;
#[cfg(not(target_os = "linux"))]
mod kqueue;

use crate::port::table::Key;

#[cfg(target_os = "linux")]
pub(super) use epoll::{Selector, accept};
#[cfg(not(target_os = "linux"))]
pub(super) use kqueue::{Selector, accept};

/// The most changes of readiness fetched at once.
const EVENTS_MAX: usize = 256;

/// The reason why a selector's wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// A change of readiness, or the timeout.
    Plainly,
    /// The waker was used.
    Woken,
    /// A signal was handled.
    Interrupted,
}

/// A change of readiness.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readiness {
    pub(super) key: Key,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer has ended, or may have: read until the kernel reports the end.
    pub(super) ended: bool,
    /// The handle has hung up or failed, or may have.
    pub(super) hung_up: bool,
}
