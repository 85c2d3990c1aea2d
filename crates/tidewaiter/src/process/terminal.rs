//! Describes the terminal of a child.

use crate::os::RawDescriptor;

/// The size of a terminal in characters: by default, 24 rows of 80.
///
/// Systems refuse sizes that they do not have: Windows those with a zero, or above 32767.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TerminalSize {
    /// The number of rows.
    pub rows: u16,
    /// The number of columns.
    pub columns: u16,
}

impl Default for TerminalSize {
    fn default() -> TerminalSize {
        TerminalSize {
            rows: 24,
            columns: 80,
        }
    }
}

/// A terminal for a child. [`Command::terminal`](super::Command::terminal) says what the child gets.
///
/// A size alone stands for a new terminal of that size:
///
/// ```
/// use tidewaiter::process::{Command, Terminal, TerminalSize};
///
/// let size = TerminalSize { rows: 50, columns: 120 };
/// let shell = Command::new("sh").terminal(size);
/// let silent = Command::new("sh").terminal(Terminal::new(size).echo(false));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terminal {
    /// Our descriptors of its two ends. `None`: starting the child opens a new terminal.
    pub(crate) ends: Option<TerminalEnds>,
    pub(crate) size: Option<TerminalSize>,
    pub(crate) echo: Option<bool>,
}

/// The two ends of a pseudo-terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TerminalEnds {
    pub(crate) master: RawDescriptor,
    pub(crate) slave: RawDescriptor,
}

impl Terminal {
    /// A new terminal of this size.
    #[must_use]
    pub fn new(size: TerminalSize) -> Terminal {
        Terminal {
            ends: None,
            size: Some(size),
            echo: None,
        }
    }

    /// Unix. A pseudo-terminal that is already open, given by our descriptors of its two ends. It keeps its size and
    /// its modes. Both ends must be open when the child is started, which copies them; close them afterwards. While our
    /// slave end is open, the end of the child causes no end of file.
    ///
    /// Starting a child with it fails with [`Unsupported`](std::io::ErrorKind::Unsupported) on Windows.
    #[must_use]
    pub fn of(master: RawDescriptor, slave: RawDescriptor) -> Terminal {
        Terminal {
            ends: Some(TerminalEnds { master, slave }),
            size: None,
            echo: None,
        }
    }

    /// Unix. Sets whether the terminal sends back to us what we write to it, as programs that people type to want it: a
    /// new terminal does, by default. A program can change that at any time.
    ///
    /// On Windows, the console echoes what a program reads from it, as long as the program wants that: starting a child
    /// with false fails with [`Unsupported`](std::io::ErrorKind::Unsupported).
    #[must_use]
    pub fn echo(mut self, echo: bool) -> Terminal {
        self.echo = Some(echo);
        self
    }
}

impl From<TerminalSize> for Terminal {
    fn from(size: TerminalSize) -> Terminal {
        Terminal::new(size)
    }
}
