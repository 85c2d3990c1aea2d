//! A lock between the servers of one path: a file beside it that a server keeps locked.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::system;

/// A lock that we hold. Dropping it releases it, unless a copy of this process still holds it.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock for the socket at `path`. The OS releases it when the process ends.
    pub(super) fn take(path: &Path) -> io::Result<Lock> {
        let mut name = OsString::from(path);
        name.push(".lock");
        let path = PathBuf::from(name);
        match system::lock_file(&path) {
            Ok(Some(file)) => Ok(Lock { path, _file: file }),
            Ok(None) => {
                let message = format!("another server has locked {}", path.display());
                Err(io::Error::new(io::ErrorKind::AddrInUse, message))
            }
            Err(error) => {
                let message = format!("the lock {}: {error}", path.display());
                Err(io::Error::new(error.kind(), message))
            }
        }
    }

    /// Removes the file. The lock is still held.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            // The next server uses the same file.
            log::debug!("{}: the file stays: {error}", self.path.display());
        }
    }
}
