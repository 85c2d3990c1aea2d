//! The timeouts of a connection.

use std::fmt;
use std::time::Duration;

/// A timeout of a connection that has passed: see [`Protocol::timed_out`](super::Protocol::timed_out).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionTimeout {
    /// Nothing was received or sent for this long: see [`Transport::set_idle_timeout`](super::Transport::set_idle_timeout).
    Idle(Duration),
    /// Nothing was received for this long: see [`Transport::set_read_timeout`](super::Transport::set_read_timeout).
    Read(Duration),
}

impl fmt::Display for ConnectionTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectionTimeout::Idle(period) => {
                write!(f, "nothing was received or sent for {period:?}")
            }
            ConnectionTimeout::Read(period) => write!(f, "nothing was received for {period:?}"),
        }
    }
}
