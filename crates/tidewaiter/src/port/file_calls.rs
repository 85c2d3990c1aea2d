//! The calls of a port about files.

use std::io;

use super::calls::{Open, Query};
use super::file::FileCall;
use super::gate::Call;
use super::{Handle, Port};
use crate::os::OsFile;

impl Port {
    /// Whether the port performs this call on files by itself.
    pub(crate) fn performs(&self, call: FileCall) -> bool {
        self.gate.status().file_calls.contain(call)
    }

    /// Makes the handle of a file that is still to be opened: submit [`Request::OpenFile`](super::Request::OpenFile).
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) where the port opens no files.
    pub fn unopened_file(&mut self) -> io::Result<Handle> {
        self.gate.pass(Call::Act)?.open(Open::UnopenedFile)
    }

    /// The OS's file behind a handle, for calls that the port does not perform by itself.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a handle that is no open file of the OS.
    pub(crate) fn os_file(&self, handle: Handle) -> io::Result<OsFile> {
        Ok(self.gate.query(handle, Query::File)?.file())
    }
}
