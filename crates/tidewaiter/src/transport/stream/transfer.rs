//! The handle of a file that is being sent.

use std::cell::Cell;
use std::fmt;
use std::rc::{Rc, Weak};

use super::Stream;

/// A file that a connection sends, by [`Transport::send_file`](crate::Transport::send_file). Dropping it changes nothing.
#[derive(Clone)]
pub struct FileTransfer {
    stream: Weak<Stream>,
    cancelled: Rc<Cell<bool>>,
}

impl FileTransfer {
    /// A file that is to be sent through this stream, and the mark by which it is known.
    pub(super) fn through(stream: &Rc<Stream>) -> (FileTransfer, Rc<Cell<bool>>) {
        let cancelled = Rc::default();
        let transfer = FileTransfer {
            stream: Rc::downgrade(stream),
            cancelled: Rc::clone(&cancelled),
        };
        (transfer, cancelled)
    }

    /// Sends no more of the file. Its `done` gets [`SendFileError::Cancelled`], from the loop, with the number of bytes that
    /// were sent; what was written behind the file follows them, and the connection goes on. If the peer was promised more
    /// bytes, end it. If the sending ends meanwhile, `done` gets that result; after `done`, this does nothing.
    ///
    /// On Windows Server, where the OS sends the file to a TCP connection, it does not promise that its number is exact after
    /// a cancellation: end the connection there.
    ///
    /// [`SendFileError::Cancelled`]: crate::SendFileError::Cancelled
    pub fn cancel(&self) {
        let Some(stream) = self.stream.upgrade() else {
            return;
        };
        if !self.cancelled.replace(true) {
            let cancelled = Rc::clone(&self.cancelled);
            let reactor = stream.reactor.clone();
            reactor.soon(move |_| stream.cancel_file(&cancelled));
        }
    }
}

impl fmt::Debug for FileTransfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cancelled = self.cancelled.get();
        f.debug_struct("FileTransfer")
            .field("cancelled", &cancelled)
            .finish_non_exhaustive()
    }
}
