//! What a child's descriptors are.

use crate::port::RawDescriptor;

/// What one of a child's descriptors is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// A pipe to us, on the port: we write to the child's standard input, and read from every other
    /// descriptor.
    #[default]
    Pipe,
    /// As [`Pipe`](Stdio::Pipe), but each end is one of a pair of connected UNIX sockets, which hold more
    /// and so bring large outputs faster. Bytes go one way all the same: what the child writes to its
    /// standard input is never read.
    ///
    /// The child can tell: `/dev/stdout` and its like cannot be opened when they are sockets. On Windows,
    /// and in a simulation, it is a pipe.
    Socket,
    /// A pipe that we write to and the child reads, whatever the descriptor's number.
    PipeToChild,
    /// A pipe that the child writes to and we read, whatever the descriptor's number.
    PipeFromChild,
    /// The null device.
    Null,
    /// Our own descriptor of that number; closed if ours is.
    Inherit,
    /// Our descriptor of this number (Unix), which must be open when the child is started. The child
    /// gets a copy; nothing else is done with ours, and it may be closed once the child was started.
    Descriptor(RawDescriptor),
    /// Any but standard input and output: wherever standard output leads.
    Stdout,
    /// Nothing: it is closed (Unix), or a null handle (Windows).
    Closed,
}

impl Stdio {
    /// Which way bytes go through the pipe at `child_fd`, if it is one.
    pub(crate) fn direction(self, child_fd: u32) -> Option<PipeDirection> {
        match self {
            Stdio::Pipe | Stdio::Socket if child_fd == 0 => Some(PipeDirection::ToChild),
            Stdio::Pipe | Stdio::Socket => Some(PipeDirection::FromChild),
            Stdio::PipeToChild => Some(PipeDirection::ToChild),
            Stdio::PipeFromChild => Some(PipeDirection::FromChild),
            _ => None,
        }
    }
}

/// Which way bytes go through a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PipeDirection {
    /// We write, the child reads.
    ToChild,
    /// The child writes, we read.
    FromChild,
}
