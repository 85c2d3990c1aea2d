//! Systems whose changes in directories are not reported.

use std::io;
use std::os::fd::BorrowedFd;

use crate::port::directory::DirectoryOptions;
use crate::port::table::Key;
use crate::port::{Completion, Token};

/// No watched directories.
#[derive(Default)]
pub(in super::super) struct Directories;

impl Directories {
    pub(in super::super) fn add(
        &mut self,
        _operation: Key,
        _options: &DirectoryOptions,
        _token: Token,
    ) -> io::Result<()> {
        let message = "this system does not report changes in directories";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    pub(in super::super) fn remove(&mut self, _operation: Key) -> Option<Token> {
        None
    }

    pub(in super::super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    pub(in super::super) fn collect(&mut self) -> Vec<Completion> {
        Vec::new()
    }

    pub(in super::super) fn renew(&mut self) -> io::Result<()> {
        Ok(())
    }
}
