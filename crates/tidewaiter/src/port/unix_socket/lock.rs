//! A lock between the servers of one path: a file beside it that a server keeps locked.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// The file may be removed and made again by others while we open it. After this many times, they have the lock.
const ATTEMPTS_MAX: usize = 100;

/// A lock that we hold. Dropping it releases it, unless a copy of this process still holds it.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock for the socket at `path`. The kernel releases it when the process ends.
    pub(super) fn take(path: &Path) -> io::Result<Lock> {
        let mut name = OsString::from(path);
        name.push(".lock");
        for _ in 0..ATTEMPTS_MAX {
            let lock = Lock::open(PathBuf::from(&name))?;
            match flock(&lock.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => break,
                Err(error) => return Err(explain(&lock.path, &error.into())),
            }
            // The server that held the lock may have removed the file after we opened it.
            if lock.is_in_place()? {
                return Ok(lock);
            }
        }
        let message = format!("another server has locked {}", Path::new(&name).display());
        Err(io::Error::new(io::ErrorKind::AddrInUse, message))
    }

    fn open(path: PathBuf) -> io::Result<Lock> {
        // Only our user can open it, so that no other one can keep it locked.
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&path);
        match opened {
            Ok(file) => Ok(Lock { path, file }),
            Err(error) => Err(explain(&path, &error)),
        }
    }

    /// Whether the path still leads to the file that we have locked.
    fn is_in_place(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
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

/// Names the file in an error.
fn explain(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("the lock {}: {error}", path.display()),
    )
}
