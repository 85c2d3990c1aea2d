//! The terminal of this process: its size, its mode, and the signal that its size has changed.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::SigId;
use signal_hook::consts::SIGWINCH;
use signal_hook::low_level;

use super::numbers::duplicate;
use crate::process::TerminalSize;

pub(crate) struct Terminal(OwnedFd);

impl Terminal {
    pub(crate) fn find() -> Option<Terminal> {
        let standard = [libc::STDIN_FILENO, libc::STDOUT_FILENO];
        let mut copies = standard
            .iter()
            .filter_map(|number| duplicate(*number, 3).ok());
        copies.find(|copy| isatty(copy)).map(Terminal)
    }

    pub(crate) fn size(&self) -> io::Result<TerminalSize> {
        let size = tcgetwinsize(&self.0)?;
        Ok(TerminalSize {
            rows: size.ws_row,
            columns: size.ws_col,
        })
    }

    pub(crate) fn mode(&self) -> io::Result<Mode> {
        Ok(Mode {
            terminal: self.0.try_clone()?,
            before: tcgetattr(&self.0)?,
        })
    }
}

/// The mode of the terminal before it was made raw.
pub(crate) struct Mode {
    terminal: OwnedFd,
    before: Termios,
}

impl Mode {
    pub(crate) fn make_raw(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        Ok(tcsetattr(&self.terminal, OptionalActions::Now, &raw)?)
    }

    pub(crate) fn restore(&self) -> io::Result<()> {
        Ok(tcsetattr(
            &self.terminal,
            OptionalActions::Now,
            &self.before,
        )?)
    }
}

/// Has `restore` called when the process exits.
pub(crate) fn at_exit(restore: fn()) {
    static RESTORE: OnceLock<fn()> = OnceLock::new();
    extern "C" fn run() {
        if let Some(restore) = RESTORE.get() {
            restore();
        }
    }
    RESTORE.get_or_init(|| restore);
    // SAFETY: the function may be called at any time, and never unwinds.
    if unsafe { libc::atexit(run) } != 0 {
        log::warn!("the mode of the terminal will not be restored at exit");
    }
}

/// The signals of changed sizes.
pub(crate) struct Resizes {
    signals: UnixStream,
    action: SigId,
}

impl Resizes {
    /// Listens. `None` on systems without such a signal.
    pub(crate) fn listen() -> io::Result<Option<Resizes>> {
        let (signals, to) = UnixStream::pair()?;
        signals.set_nonblocking(true)?;
        let action = low_level::pipe::register(SIGWINCH, to)?;
        Ok(Some(Resizes { signals, action }))
    }

    /// Readable once a signal has come.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.signals.as_raw_fd()
    }

    /// Takes the signals that have come.
    pub(crate) fn take(&self) {
        let mut bytes = [0; 64];
        while (&self.signals)
            .read(&mut bytes)
            .is_ok_and(|count| count > 0)
        {}
    }
}

impl Drop for Resizes {
    fn drop(&mut self) {
        low_level::unregister(self.action);
    }
}
