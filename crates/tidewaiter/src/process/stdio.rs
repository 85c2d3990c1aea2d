//! Where a child's descriptors lead.

use crate::os::RawDescriptor;

/// Where one of a child's descriptors leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// A pipe to us, on the port: we write to the child's standard input, and read from every other
    /// descriptor.
    #[default]
    Pipe,
    /// As [`Pipe`](Stdio::Pipe), but made of two connected UNIX sockets, which hold more than a pipe and so
    /// carry large outputs faster. Bytes still go one way only: nothing reads the bytes that the child writes
    /// to its standard input.
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
    /// A copy of our descriptor (Unix) or handle (Windows) of this number, which must be open when the child is
    /// started. Ours stays as it is, and may be closed once the child was started.
    Descriptor(RawDescriptor),
    /// The same as the child's standard output. Not for standard input and output themselves.
    Stdout,
    /// Nowhere: the descriptor is closed (Unix), or a null handle (Windows).
    Closed,
}

impl Stdio {
    /// Returns the direction of the pipe at `child_fd`, or `None` if the descriptor is not a pipe.
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

/// The direction of the bytes in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PipeDirection {
    /// We write, the child reads.
    ToChild,
    /// The child writes, we read.
    FromChild,
}
