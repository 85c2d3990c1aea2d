//! What only UNIX sockets have.

mod file;
mod lock;

pub(super) use file::SocketFile;

use std::io;

use socket2::Socket;

use super::control::os_address;
use super::options::SocketFileOptions;
use crate::os::UnixAddress;

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
