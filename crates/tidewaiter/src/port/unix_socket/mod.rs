//! The features that only UNIX sockets have.

mod credentials;
mod file;
mod lock;
#[cfg(unix)]
mod messages;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub(super) use credentials::peer_credentials;
pub(super) use file::SocketFile;
#[cfg(unix)]
pub(super) use messages::{How, receive, send};
#[cfg(windows)]
pub(super) use windows::reported_address;

use std::io;

#[cfg(unix)]
use rustix::net::RecvFlags;
use socket2::Socket;

#[cfg(unix)]
use self::unix as system;
#[cfg(windows)]
use self::windows as system;
use super::control::os_address;
use super::options::SocketFileOptions;
use crate::os::UnixAddress;

/// Has the OS close received descriptors on exec.
#[cfg(all(unix, not(target_vendor = "apple")))]
const RECEIVE_FLAGS: RecvFlags = RecvFlags::CMSG_CLOEXEC;
/// This OS cannot close received descriptors on exec by itself.
#[cfg(target_vendor = "apple")]
const RECEIVE_FLAGS: RecvFlags = RecvFlags::empty();

/// Binds a UNIX socket. Returns its file, if the address is a path.
pub(super) fn bind(
    socket: &Socket,
    address: &UnixAddress,
    options: &SocketFileOptions,
) -> io::Result<Option<SocketFile>> {
    let os_address = os_address(&address.clone().into())?;
    match address.as_pathname() {
        Some(path) => SocketFile::bind(socket, path, &os_address, options).map(Some),
        None => {
            socket.bind(&os_address)?;
            Ok(None)
        }
    }
}
