//! What a child's descriptors are.

use crate::port::RawDescriptor;

/// Where one of a child's descriptors leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// A pipe to us, on the port: we write to the child's standard input, and read from every other
    /// descriptor.
    #[default]
    Pipe,
    /// As [`Pipe`](Stdio::Pipe), but made of two connected UNIX sockets, which hold more than a pipe and so
    /// carry large outputs faster. Bytes go one way all the same: nobody reads what the child writes to its
    /// standard input.
    ///
    /// A program can notice the difference: it cannot open `/dev/stdout` and the like if that is a socket. On
    /// Windows and in simulations, this is a pipe.
    Socket,
    /// A pipe that we write to and the child reads, whatever the descriptor's number.
    PipeToChild,
    /// A pipe that the child writes to and we read, whatever the descriptor's number.
    PipeFromChild,
    /// The null device.
    Null,
    /// Our own descriptor of the same number; closed if ours is closed. The null device in simulations.
    Inherit,
    /// A copy of our descriptor of this number (Unix), which must be open when the child is started. Ours stays
    /// as it is, and may be closed once the child was started.
    Descriptor(RawDescriptor),
    /// Wherever the child's standard output leads. Not for standard input and output themselves.
    Stdout,
    /// Nowhere: the descriptor is closed (Unix), or a null handle (Windows).
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
