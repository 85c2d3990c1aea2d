//! Interests and readiness of watched descriptors.

use std::io;

use crate::os::RawDescriptor;

/// Which kinds of readiness a watch reports: see [`Port::watch`](super::Port::watch).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interest {
    /// Whether to report that a read would not block.
    pub readable: bool,
    /// Whether to report that a write would not block.
    pub writable: bool,
}

impl Interest {
    /// Reads only.
    pub const READABLE: Interest = Interest {
        readable: true,
        writable: false,
    };
    /// Writes only.
    pub const WRITABLE: Interest = Interest {
        readable: false,
        writable: true,
    };
    /// Neither: only hang-ups and errors, which are always reported (with kqueue, nothing at all).
    pub const NONE: Interest = Interest {
        readable: false,
        writable: false,
    };
}

/// The readiness of a watched descriptor: see [`Outcome::Ready`](super::Outcome::Ready).
///
/// ```
/// use tidewaiter::port::{Interest, Readiness};
///
/// /// Goes on with the library's own reads and writes.
/// fn on_ready(ready: Readiness) {
///     if ready.only(Interest::READABLE).readable {
///         println!("there is something to read");
///     }
///     if ready.hang_up || ready.error {
///         println!("it is over");
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Readiness {
    /// A read would not block: there are bytes, a connection to accept, or the end of file.
    pub readable: bool,
    /// A write would not block.
    pub writable: bool,
    /// Both directions have ended, or the other end of a pipe is gone.
    pub hang_up: bool,
    /// The OS holds an error for the descriptor; a read or write returns it.
    pub error: bool,
    /// Windows: the owner has closed the socket, so the watch has ended. Other systems do not tell.
    pub closed: bool,
}

impl Readiness {
    /// Keeps the readiness that `interest` asks for, and always hang-ups, errors and a close.
    #[must_use]
    pub fn only(self, interest: Interest) -> Readiness {
        Readiness {
            readable: self.readable && interest.readable,
            writable: self.writable && interest.writable,
            ..self
        }
    }

    /// Whether nothing is ready.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Readiness::default()
    }
}

/// The error of a second watch of a descriptor.
pub(super) fn already_watched(descriptor: RawDescriptor) -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("descriptor {descriptor} is watched already"),
    )
}
