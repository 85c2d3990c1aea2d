//! The console of a child on Windows.

/// The console of a child on Windows. Programs with a graphical interface have none, whatever is chosen.
///
/// ```
/// use tidewaiter::process::{Command, Console};
///
/// let command = Command::new("ping").console(Console::Hidden);
/// # let _ = command;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Console {
    /// Ours. If we have none, as services and graphical programs, Windows opens a new one, and shows it.
    #[default]
    Ours,
    /// Ours. If we have none, a new one that is not shown.
    Hidden,
    /// A new one, with a window of its own (`CREATE_NEW_CONSOLE`).
    New,
    /// None (`DETACHED_PROCESS`).
    None,
}
