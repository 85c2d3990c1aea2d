//! Opens pseudo-terminals.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::process::Uid;
use rustix::pty::{grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::numbers::{above_standard_streams, duplicate};
use crate::process::calls;
use crate::process::{Terminal, TerminalEnds, TerminalSize};

/// The two ends of a terminal. Both are numbered above the standard streams and closed on execution.
pub(super) struct Ends {
    /// Our end, non-blocking.
    pub(super) master: OwnedFd,
    pub(super) slave: OwnedFd,
}

/// Opens a new terminal, or copies the one given.
///
/// A new terminal belongs to the user `owner`, if given, so that the child's programs can open it by name.
pub(super) fn open(terminal: Terminal, owner: Option<u32>) -> io::Result<Ends> {
    let ends = match terminal.ends {
        Some(TerminalEnds { master, slave }) => Ends {
            master: duplicate(master, 3)?,
            slave: duplicate(slave, 3)?,
        },
        None => {
            let ends = make()?;
            // Starting the child refuses the highest number, which is no user.
            if let Some(owner) = owner.filter(|owner| *owner != u32::MAX) {
                give(&ends.slave, owner);
            }
            ends
        }
    };
    if let Some(size) = terminal.size {
        resize_terminal(&ends.slave, size)?;
    }
    if let Some(echo) = terminal.echo {
        let mut modes = tcgetattr(&ends.slave)?;
        modes.local_modes.set(LocalModes::ECHO, echo);
        tcsetattr(&ends.slave, OptionalActions::Now, &modes)?;
    }
    rustix::io::ioctl_fionbio(&ends.master, true)?;
    Ok(ends)
}

/// Makes a user the owner of a terminal. Where we may not, the child still has it as its controlling terminal.
fn give(slave: &OwnedFd, owner: u32) {
    let given = rustix::fs::fchown(slave, Some(Uid::from_raw(owner)), None);
    if let Err(error) = given {
        log::debug!("the terminal of a child does not become its user's: {error}");
    }
}

/// Sets the size of a terminal, given by either end. The foreground group of a terminal whose size changes gets SIGWINCH.
pub(crate) fn resize_terminal(terminal: impl AsFd, size: TerminalSize) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}

fn make() -> io::Result<Ends> {
    let master = above_standard_streams(openpt(calls::TERMINAL_FLAGS)?)?;
    // `openpt` does not take close-on-exec on every system.
    rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, Mode::empty())?;
    Ok(Ends {
        master,
        slave: above_standard_streams(slave)?,
    })
}
