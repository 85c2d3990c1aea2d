//! Serves shared streams directly. Pipes and terminals are opened anew: the new description does not block, and the
//! one that others share is left alone. The calls on sockets do not block, however a socket is set. The ring waits for
//! files.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, fstatfs, major, minor};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{SocketType, sockopt};
use rustix::termios::isatty;

use super::Side;
use crate::port::socket::SocketRepr;
use crate::port::{PortKind, Resource, Socket};

/// The file system of pipes without a name.
const PIPEFS: u64 = 0x5049_5045;

/// The device of pseudo-terminals' masters. Opening it makes another terminal.
const MASTERS: (u32, u32) = (5, 2);

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Returns the stream as the port can serve it, and whether it can hang up. `None` if the port cannot.
pub(super) fn share(
    theirs: &OwnedFd,
    side: Side,
    port: PortKind,
) -> io::Result<Option<(Resource, bool)>> {
    let stat = fstat(theirs)?;
    let (ours, hangs_up) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo => (reopened_pipe(theirs, side), true),
        FileType::CharacterDevice if (major(stat.st_rdev), minor(stat.st_rdev)) != MASTERS => {
            (reopened(theirs, side), isatty(theirs))
        }
        FileType::RegularFile if port == PortKind::Uring => {
            (Some(fcntl_dupfd_cloexec(theirs, 3)?), false)
        }
        FileType::Socket if is_connection(theirs) => {
            let socket = fcntl_dupfd_cloexec(theirs, 3)?;
            let socket = Socket(SocketRepr::Plain(socket.into()));
            return Ok(Some((Resource::Socket(socket), true)));
        }
        _ => (None, false),
    };
    let resource = ours.map(match side {
        Side::Read => Resource::PipeReader,
        Side::Write => Resource::PipeWriter,
    });
    Ok(resource.map(|resource| (resource, hangs_up)))
}

/// Opens the object behind a descriptor again. Fails without `/proc`, and for objects of another user.
fn reopened(theirs: &OwnedFd, side: Side) -> Option<OwnedFd> {
    let access = match side {
        Side::Read => OFlags::RDONLY,
        Side::Write => OFlags::WRONLY,
    };
    let path = format!("/proc/self/fd/{}", theirs.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(ours) => Some(ours),
        Err(error) => {
            log::debug!("a stream cannot be opened again: {error}");
            None
        }
    }
}

fn reopened_pipe(theirs: &OwnedFd, side: Side) -> Option<OwnedFd> {
    let ours = reopened(theirs, side)?;
    // A named pipe that is opened after its last writer has left never reports its end to a poll.
    let has_name = fstatfs(theirs).map_or(true, |fs| u64::try_from(fs.f_type) != Ok(PIPEFS));
    (side == Side::Write || !has_name || !has_hung_up(theirs)).then_some(ours)
}

fn has_hung_up(theirs: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(theirs, PollFlags::empty())];
    !matches!(poll(&mut asked, Some(&NOW)), Ok(0) | Err(Errno::INTR))
}

/// Whether a socket is a connection, whose bytes are a stream.
fn is_connection(theirs: &OwnedFd) -> bool {
    sockopt::socket_type(theirs) == Ok(SocketType::STREAM)
        && sockopt::socket_acceptconn(theirs) == Ok(false)
}
