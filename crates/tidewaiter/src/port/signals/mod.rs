//! Requests to end the program, such as Ctrl-C and SIGTERM, delivered as wake-ups of a port.

#[cfg(test)]
mod tests;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

#[cfg(unix)]
use self::unix::Registration;
#[cfg(windows)]
use self::windows::Registration;
use super::waker::Waker;

/// A request to end the program, from the user or the system.
///
/// On Unix, a signal that the program was started to ignore stays ignored: SIGHUP under `nohup`, SIGINT in a shell's
/// background jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ShutdownSignal {
    /// Ctrl-C: SIGINT, or the console event.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// The terminal is gone: SIGHUP.
    Hangup,
    /// Ctrl-Break (Windows).
    Break,
    /// The console window is being closed (Windows), which leaves a few seconds.
    Close,
    /// The user logs off or the system shuts down (Windows), which leaves a few seconds. A service, or whatever
    /// else runs in session 0, is not asked to end when a user logs off.
    Shutdown,
}

impl ShutdownSignal {
    const ALL: [ShutdownSignal; 6] = [
        ShutdownSignal::Interrupt,
        ShutdownSignal::Terminate,
        ShutdownSignal::Hangup,
        ShutdownSignal::Break,
        ShutdownSignal::Close,
        ShutdownSignal::Shutdown,
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for ShutdownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ShutdownSignal::Interrupt => "interrupt",
            ShutdownSignal::Terminate => "terminate",
            ShutdownSignal::Hangup => "hangup",
            ShutdownSignal::Break => "break",
            ShutdownSignal::Close => "console closed",
            ShutdownSignal::Shutdown => "system shutdown",
        })
    }
}

/// The handler's output. Everything in it is safe to use in a signal handler.
#[derive(Debug)]
struct Inbox {
    /// One bit for each signal that has arrived and has not been taken.
    bits: AtomicU8,
    waker: Waker,
}

impl Inbox {
    fn put(&self, signal: ShutdownSignal) {
        self.bits.fetch_or(signal.bit(), Ordering::Release);
        self.waker.wake();
    }
}

/// Catches requests to end the program for as long as it lives.
///
/// Each watch gets every signal. Dropping the last watch restores the former dispositions.
#[derive(Debug)]
pub(crate) struct SignalWatch {
    inbox: Arc<Inbox>,
    _registration: Registration,
}

impl SignalWatch {
    /// Starts watching; signals wake the port of `waker`.
    ///
    /// # Errors
    ///
    /// The OS's error if it refuses the handler.
    pub(crate) fn install(waker: Waker) -> io::Result<SignalWatch> {
        let inbox = Arc::new(Inbox {
            bits: AtomicU8::new(0),
            waker,
        });
        let registration = Registration::new(&inbox)?;
        Ok(SignalWatch {
            inbox,
            _registration: registration,
        })
    }

    /// Takes a signal that has arrived; several of one kind count as one.
    #[must_use]
    pub(crate) fn take(&self) -> Option<ShutdownSignal> {
        let bits = self.inbox.bits.load(Ordering::Acquire);
        let signal = ShutdownSignal::ALL
            .into_iter()
            .find(|signal| bits & signal.bit() != 0)?;
        self.inbox.bits.fetch_and(!signal.bit(), Ordering::AcqRel);
        Some(signal)
    }
}
