//! Receiving messages: whole ones, however large.

use std::io;

use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_SUCCESS};

use crate::port::buffer::{Buffer, Lease};
use crate::port::iocp::record::OsResult;

/// The message that is being received.
#[derive(Debug)]
pub(in super::super) struct Messages {
    max: usize,
    /// The beginning of a message that did not fit into the memory for it.
    beginning: Vec<u8>,
}

impl Messages {
    pub(super) fn new(max: usize) -> Messages {
        Messages {
            max,
            beginning: Vec::new(),
        }
    }

    /// Takes what a successful read brought into `lease`. Returns the message if it is whole, and `None` if more of it is to
    /// be read.
    ///
    /// # Errors
    ///
    /// The message is too long.
    pub(in super::super) fn receive(
        &mut self,
        lease: Option<Lease>,
        result: OsResult,
    ) -> io::Result<Option<Buffer>> {
        let bytes = result.bytes;
        if self.beginning.len().saturating_add(bytes) > self.max {
            return Err(self.too_long());
        }
        match (lease, result.code) {
            (Some(lease), ERROR_SUCCESS) if self.beginning.is_empty() => {
                Ok(Some(lease.filled(bytes)))
            }
            (lease, code) => {
                if let Some(lease) = lease {
                    self.beginning.extend_from_slice(&lease.filled(bytes));
                }
                // A read without memory has succeeded: the message is empty, or ends where its beginning did.
                let is_whole = code != ERROR_MORE_DATA;
                Ok(is_whole.then(|| Buffer::from(std::mem::take(&mut self.beginning))))
            }
        }
    }

    fn too_long(&self) -> io::Error {
        let message = format!("a message has more than {} bytes", self.max);
        io::Error::new(io::ErrorKind::InvalidData, message)
    }
}

/// Whether the read has brought at least a part of a message.
pub(in super::super) fn has_message(result: OsResult) -> bool {
    matches!(result.code, ERROR_SUCCESS | ERROR_MORE_DATA)
}
