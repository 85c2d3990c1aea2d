//! What is watched of things that belong to others, and what is reported of them.

#[cfg(doc)]
use super::{Outcome, Port};

/// Which kinds of readiness are to be reported: see [`Port::watch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Interest {
    /// That a read would not block.
    pub readable: bool,
    /// That a write would not block.
    pub writable: bool,
}

impl Interest {
    /// Readable, and nothing else.
    pub const READABLE: Interest = Interest {
        readable: true,
        writable: false,
    };
    /// Writable, and nothing else.
    pub const WRITABLE: Interest = Interest {
        readable: false,
        writable: true,
    };
    /// Neither: only what is always reported.
    pub const NONE: Interest = Interest {
        readable: false,
        writable: false,
    };
}

/// What is ready: see [`Outcome::Ready`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Readiness {
    /// A read would not block: there are bytes, a connection, or the end.
    pub readable: bool,
    /// A write would not block.
    pub writable: bool,
    /// Both directions have ended, or the other end of a pipe is gone.
    pub hang_up: bool,
    /// There is an error to be fetched.
    pub error: bool,
}

impl Readiness {
    /// As much of it as `interest` asks for; hang-ups and errors always are.
    #[must_use]
    pub fn only(self, interest: Interest) -> Readiness {
        Readiness {
            readable: self.readable && interest.readable,
            writable: self.writable && interest.writable,
            ..self
        }
    }

    /// Whether there is nothing to report.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Readiness::default()
    }
}
