//! How a process ended, and what can be sent to it.

use std::fmt;

/// How a child process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It exited by itself with this code: 0 to 255 on Unix, any 32 bits on Windows (where a process
    /// that was terminated has the code its killer chose).
    Code(u32),
    /// It was killed by this signal (Unix).
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether memory was dumped.
        core_dumped: bool,
    },
    /// It ended, but somebody else took note of how: the status is lost (Unix, where the host program
    /// ignores SIGCHLD or reaps all children).
    Unknown,
}

impl ExitStatus {
    /// Whether the process exited by itself with the code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// The code it exited with, if it exited by itself.
    #[must_use]
    pub fn code(self) -> Option<u32> {
        match self {
            ExitStatus::Code(code) => Some(code),
            _ => None,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Windows's own failures (0xC0000005…) are known by their hexadecimal form.
            ExitStatus::Code(code) if *code > 0xFFFF => write!(f, "exit code {code:#x}"),
            ExitStatus::Code(code) => write!(f, "exit code {code}"),
            ExitStatus::Signal {
                number,
                core_dumped: false,
            } => write!(f, "signal {number}"),
            ExitStatus::Signal {
                number,
                core_dumped: true,
            } => {
                write!(f, "signal {number} (core dumped)")
            }
            ExitStatus::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// What can be sent to a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// Interrupt, as Ctrl-C does: SIGINT; on Windows Ctrl-Break, which reaches only a process that was
    /// started in a group of its own and shares our console.
    Interrupt,
    /// Ask to end: SIGTERM; on Windows the same as [`Signal::Interrupt`].
    Terminate,
    /// End now, without asking: SIGKILL; on Windows `TerminateProcess`, or `TerminateJobObject` for the
    /// tree, with exit code 1.
    Kill,
    /// Any signal by its number (Unix only).
    Number(i32),
}

/// Who gets a [`Signal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignalTarget {
    /// The child alone.
    Process,
    /// The child and its descendants: its process group on Unix (if it was started in its own one),
    /// its job on Windows.
    Tree,
}
