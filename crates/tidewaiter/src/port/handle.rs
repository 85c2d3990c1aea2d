//! The names of a port's handles and operations.

use super::table::Key;

/// A socket, pipe or process that belongs to a port.
///
/// A handle is never valid twice: one that was closed stays closed, even when the OS uses its number again.
/// A handle means something only to the port that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(pub(crate) Key);

/// A submitted operation: see [`Port::cancel`](super::Port::cancel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation(pub(crate) Key);

/// A number that the submitter chooses and finds in the completions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// How a handle is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseMode {
    /// The OS still sends the bytes that it already took; a send under way is cancelled.
    ///
    /// The OS may nevertheless reset a TCP connection, and drop what it still has to send, if received
    /// bytes were left unread or more arrive after the close. To prevent that, call
    /// [`Port::shutdown_write`](super::Port::shutdown_write) and receive until the end of file before closing.
    Graceful,
    /// The OS resets a TCP connection: the peer sees an error, and bytes not yet sent are dropped. For
    /// everything else, this does the same as `Graceful`.
    Reset,
}
