//! The model of a random program: its bytes, handles and operations.

use tidewaiter::port::sim::programs;
use tidewaiter::port::{Handle, Operation, RequestKind};
use tidewaiter::{Address, UnixAddress};

/// The address of a UNIX socket.
pub(crate) fn path(path: &str) -> Address {
    let path = UnixAddress::from_pathname(path);
    path.expect("a good path").into()
}

/// A flow of bytes in one direction, from a sender to a receiver.
#[derive(Debug)]
pub(crate) struct Flow {
    /// The number of its pattern of bytes. `None`: the bytes of a flood.
    pub(crate) pattern: Option<usize>,
    pub(crate) sent: usize,
    pub(crate) received: usize,
    /// Whether the receiver saw the end of file.
    pub(crate) ended: bool,
    /// The child in between: bytes may be lost unless it exits with 0.
    pub(crate) child: Option<usize>,
}

impl Flow {
    pub(crate) fn byte_at(&self, place: usize) -> u8 {
        match self.pattern {
            Some(pattern) => ((place * 31) ^ (place >> 5) ^ (pattern * 7)).to_le_bytes()[0],
            None => programs::Flood::byte_at(place),
        }
    }

    /// Checks what has arrived; with `whole`, nothing may be lost before an end of file.
    pub(crate) fn check(&self, whole: bool) {
        assert!(self.received <= self.sent, "bytes out of nowhere: {self:?}");
        if self.ended && whole {
            assert_eq!(self.received, self.sent, "bytes were lost: {self:?}");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The number of its address.
    Listener(usize),
    /// A stream, or a socket of sequenced packets.
    Socket {
        packets: bool,
    },
    Pipe,
    Process(usize),
}

/// A handle, and its state in the model.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) port: usize,
    pub(crate) handle: Handle,
    pub(crate) kind: Kind,
    /// The flow received on this handle, and the one sent on it.
    pub(crate) incoming: Option<usize>,
    pub(crate) outgoing: Option<usize>,
    pub(crate) receiving: bool,
    pub(crate) sending: bool,
    /// An operation failed, so others may, too.
    pub(crate) failed: bool,
}

impl Item {
    pub(crate) fn pending(&self, index: usize, operation: Operation, kind: RequestKind) -> Pending {
        Pending {
            port: self.port,
            operation,
            kind,
            item: index,
            incoming: self.incoming,
            outgoing: self.outgoing,
            child: match self.kind {
                Kind::Process(child) => Some(child),
                _ => None,
            },
        }
    }
}

/// An operation under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) port: usize,
    pub(crate) operation: Operation,
    pub(crate) kind: RequestKind,
    pub(crate) item: usize,
    /// The flows of its handle, which may be closed by the time it completes.
    pub(crate) incoming: Option<usize>,
    pub(crate) outgoing: Option<usize>,
    pub(crate) child: Option<usize>,
}
