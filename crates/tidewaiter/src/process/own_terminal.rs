//! The terminal of this process itself.

use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use super::{TerminalSize, own};

/// The terminal of this process: the one at its standard input, or else at its standard output. On Windows, the console.
///
/// ```no_run
/// use tidewaiter::process::OwnTerminal;
///
/// if let Some(terminal) = OwnTerminal::find() {
///     let size = terminal.size()?;
///     let raw = terminal.make_raw()?;
///     // Each key arrives at once, and nothing is echoed.
///     drop(raw);
///     println!("{} rows", size.rows);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct OwnTerminal(own::Terminal);

impl OwnTerminal {
    /// Returns the terminal; `None` if neither stream is one.
    #[must_use]
    pub fn find() -> Option<OwnTerminal> {
        own::Terminal::find().map(OwnTerminal)
    }

    /// Its size now. See [`Reactor::on_resize`](crate::Reactor::on_resize) for its changes.
    ///
    /// # Errors
    ///
    /// The OS's error; [`InvalidData`](io::ErrorKind::InvalidData) if the terminal does not know its size.
    pub fn size(&self) -> io::Result<TerminalSize> {
        let size = self.0.size()?;
        if size.rows == 0 || size.columns == 0 {
            let message = "the terminal does not know its size";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(size)
    }

    /// Makes the terminal raw: each key arrives at once and as it is, Ctrl-C included, nothing is echoed, and what is
    /// written is shown as it is. On Windows, keys and what is written are control sequences, as elsewhere.
    ///
    /// The former mode is restored when the result is dropped, which a panic and the end of a reactor that a signal
    /// stopped lead to, and at [`std::process::exit`]: on Windows, if the thread that made it raw exits. It is not restored
    /// after a panic that aborts, nor when a signal ends the process at once: SIGKILL, and those that no reactor handles.
    ///
    /// On Windows, do this before [`Reactor::standard_io`](crate::Reactor::standard_io): a read that waits for a line
    /// goes on waiting for it.
    ///
    /// # Errors
    ///
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) if it is raw already; the OS's error.
    pub fn make_raw(&self) -> io::Result<RawMode> {
        static AT_EXIT: Once = Once::new();
        let mut saved = saved();
        if saved.is_some() {
            let message = "the terminal of this process is raw already";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
        }
        let mode = self.0.mode()?;
        AT_EXIT.call_once(|| own::at_exit(restore_at_exit));
        let made = mode.make_raw();
        // Even after an error, a part may have changed.
        *saved = Some(mode);
        drop(saved);
        let raw = RawMode { _private: () };
        made.map(|()| raw)
    }
}

impl fmt::Debug for OwnTerminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnTerminal").finish_non_exhaustive()
    }
}

/// While this lives, the terminal of the process is raw: see [`OwnTerminal::make_raw`].
///
/// ```
/// use tidewaiter::process::{OwnTerminal, RawMode};
///
/// let terminal = OwnTerminal::find();
/// let raw: Option<RawMode> = terminal.and_then(|terminal| terminal.make_raw().ok());
/// println!("keys arrive one by one: {}", raw.is_some());
/// drop(raw); // as before
/// ```
#[derive(Debug)]
#[must_use = "the terminal is raw as long as this lives"]
pub struct RawMode {
    _private: (),
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(mode) = saved().take()
            && let Err(error) = mode.restore()
        {
            log::warn!("the mode of the terminal was not restored: {error}");
        }
    }
}

/// The mode to restore: a terminal belongs to the process as a whole.
static SAVED: Mutex<Option<own::Mode>> = Mutex::new(None);

fn saved() -> MutexGuard<'static, Option<own::Mode>> {
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn restore_at_exit() {
    // Another thread that holds the lock restores the mode itself. An error has nobody left to hear of it.
    if let Ok(mut saved) = SAVED.try_lock() {
        let _ = saved.take().map(|mode| mode.restore());
    }
}
