//! The file of a UNIX socket: how it is made, and removed.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket};

use super::super::options::SocketFileOptions;
use super::lock::Lock;
use super::system::{self, Identity};
use crate::os::Origin;

/// The file of a bound UNIX socket. Dropping it removes the file, but only our own, and not in a copy of this process.
///
/// Drop it before the socket: as long as the socket is open, no other file has the same [`Identity`].
pub(in crate::port) struct SocketFile {
    path: PathBuf,
    /// `None` until the socket is bound.
    identity: Option<Identity>,
    lock: Option<Lock>,
    origin: Origin,
}

impl SocketFile {
    /// Binds `socket` to `address`, which is that of `path`.
    ///
    /// The file of a server that has died is replaced. That takes the lock: without it, one server could mistake another one
    /// that has not begun to listen for a dead one.
    pub(super) fn bind(
        socket: &Socket,
        path: &Path,
        address: &SockAddr,
        options: &SocketFileOptions,
    ) -> io::Result<SocketFile> {
        // Absolute: the program may change its directory before it closes the socket.
        let path = std::path::absolute(path)?;
        let lock = options.lock.then(|| Lock::take(&path)).transpose()?;
        let mut file = SocketFile {
            path,
            identity: None,
            lock,
            origin: Origin::here()?,
        };
        system::prepare(socket, options)?;
        match socket.bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && file.lock.is_some() => {
                remove_dead(&file.path, address, socket)?;
                socket.bind(address)?;
            }
            bound => bound?,
        }
        file.identity = Some(Identity::of(&file.path)?);
        system::give_away(&file.path, options)?;
        Ok(file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.origin.is_elsewhere() {
            return;
        }
        if self
            .identity
            .is_some_and(|ours| Identity::of(&self.path).ok() == Some(ours))
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("{}: cannot be removed: {error}", self.path.display());
        }
        if let Some(lock) = &self.lock {
            lock.remove();
        }
    }
}

/// Removes the file at `path` if it is that of a socket that is dead.
fn remove_dead(path: &Path, address: &SockAddr, socket: &Socket) -> io::Result<()> {
    let in_use = |problem: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, problem));
    match system::is_socket(path) {
        Ok(true) => {}
        Ok(false) => return in_use("there is a file that is no socket"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let caller = Socket::new(Domain::UNIX, socket.r#type()?, None)?;
    match system::try_to_connect(&caller, address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) => in_use("another server is there"),
        // Its backlog is full, or it is of another kind, or we may not connect: it is not known to be dead.
        Err(error) => in_use(&format!("another server may be there: {error}")),
    }
}

impl fmt::Debug for SocketFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketFile({})", self.path.display())
    }
}
