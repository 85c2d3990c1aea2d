//! Terminals that no reactor knows, and that no reactor may touch.

#![cfg(unix)]

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::FdFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};

/// Longer than any byte takes through a terminal; only a failure waits this long.
const PATIENCE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};

/// Both ends of a terminal, which passes every byte on as it is.
pub(crate) struct Terminal([File; 2]);

impl Terminal {
    pub(crate) fn open() -> io::Result<Terminal> {
        let terminal = Terminal::open_cooked()?;
        let mut modes = tcgetattr(&terminal.0[1])?;
        modes.make_raw();
        tcsetattr(&terminal.0[1], OptionalActions::Now, &modes)?;
        Ok(terminal)
    }

    /// As [`open`](Terminal::open), in the usual mode: lines, with an echo.
    pub(crate) fn open_cooked() -> io::Result<Terminal> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        rustix::io::fcntl_setfd(&master, FdFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, Mode::empty())?;
        Ok(Terminal([master.into(), slave.into()]))
    }

    /// Gives up its ends, the controlling one first.
    pub(crate) fn into_ends(self) -> [File; 2] {
        self.0
    }

    /// Closes the terminal. Returns an error if other code has touched it.
    pub(crate) fn close(mut self) -> io::Result<()> {
        for end in &self.0 {
            let size = tcgetwinsize(end)?;
            if size.ws_row != 0 || size.ws_col != 0 {
                return Err(io::Error::other(format!("{end:?} was changed")));
            }
        }
        let [master, slave] = &mut self.0;
        exchange(master, slave)?;
        exchange(slave, master)
    }
}

/// Sends a byte that must arrive, and nothing else with it.
fn exchange(from: &mut File, to: &mut File) -> io::Result<()> {
    from.write_all(b"!")?;
    if poll(&mut [PollFd::new(to, PollFlags::IN)], Some(&PATIENCE))? == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    let mut byte = [0; 2];
    let count = to.read(&mut byte)?;
    match &byte[..count] {
        b"!" => Ok(()),
        other => Err(io::Error::new(ErrorKind::InvalidData, format!("{other:?}"))),
    }
}
