//! The files of UNIX sockets on Unix: what identifies one, its mode and owner, and how one is locked.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use socket2::{SockAddr, Socket};

use super::super::options::SocketFileOptions;

/// The file of a lock may be removed and made again by others while we open it. After this many times, they have the lock.
const ATTEMPTS_MAX: usize = 100;

/// The device and the number of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(path: &Path) -> io::Result<Identity> {
        let file = fs::symlink_metadata(path)?;
        Ok(Identity(file.dev(), file.ino()))
    }
}

/// Whether the file is that of a socket.
pub(super) fn is_socket(path: &Path) -> io::Result<bool> {
    Ok(fs::symlink_metadata(path)?.file_type().is_socket())
}

/// Prepares a socket that is about to be bound: on Linux, its file is made with the socket's own mode. Other systems may
/// refuse; `give_away` sets the mode there.
pub(super) fn prepare(socket: &Socket, options: &SocketFileOptions) -> io::Result<()> {
    if let Some(mode) = options.mode {
        let socket = File::from(socket.as_fd().try_clone_to_owned()?);
        let _ = socket.set_permissions(Permissions::from_mode(mode));
    }
    Ok(())
}

/// Sets the owner and the mode of the file. A stream socket accepts nobody before it listens, so nobody can connect with
/// another mode.
pub(super) fn give_away(path: &Path, options: &SocketFileOptions) -> io::Result<()> {
    if options.owner.is_some() || options.group.is_some() {
        lchown(path, options.owner, options.group)?;
    }
    let Some(mode) = options.mode else {
        return Ok(());
    };
    // The umask may have taken bits away.
    let is_set = fs::symlink_metadata(path)?.permissions().mode() & 0o7777 == mode;
    if !is_set {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Tries to connect, to find out whether a server is there.
pub(super) fn try_to_connect(caller: &Socket, address: &SockAddr) -> io::Result<()> {
    caller.set_nonblocking(true)?;
    caller.connect(address)
}

/// Opens the file and locks it; `None` if another process has locked it.
pub(super) fn lock_file(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..ATTEMPTS_MAX {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // The server that held the lock may have removed the file after we opened it.
        if is_in_place(&file, path)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn open(path: &Path) -> io::Result<File> {
    // Only our user can open it, so that no other one can keep it locked.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
}

/// Whether the path still leads to the file that we have locked.
fn is_in_place(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
