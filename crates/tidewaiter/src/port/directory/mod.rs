//! Changes in directories.

mod calls;
#[cfg(any(target_os = "linux", windows))]
mod report;

use std::io;
use std::path::PathBuf;

#[cfg(any(target_os = "linux", windows))]
pub(super) use report::changed;

/// A directory to watch: see [`Port::watch_directory`](super::Port::watch_directory).
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// The directory.
    pub(super) path: PathBuf,
    /// Whether everything below it is watched too.
    pub(super) tree: bool,
}

impl DirectoryOptions {
    /// The directory at `path`, without the directories in it.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> DirectoryOptions {
        DirectoryOptions {
            path: path.into(),
            tree: false,
        }
    }

    /// Sets whether the directories in it are watched too, and those in them: false by default. Links to directories are
    /// not followed.
    ///
    /// Windows does this by itself. Linux watches single directories only, so the port reads the whole tree when the watch
    /// begins, and each directory that appears; what it finds in a new one counts as created.
    #[must_use]
    pub fn tree(mut self, tree: bool) -> DirectoryOptions {
        self.tree = tree;
        self
    }
}

/// A change in a watched directory. Paths begin at the watched directory, and have exactly the OS's bytes (on Windows:
/// UTF-16 units).
#[derive(Debug)]
#[non_exhaustive]
pub enum Change {
    /// Something was created, or moved here from outside.
    Created(PathBuf),
    /// Something was removed, or moved to the outside.
    Removed(PathBuf),
    /// The contents of a file changed. On Windows, also attributes, and a directory in which something changed.
    Modified(PathBuf),
    /// The mode, the owner, the times or other attributes changed; on Windows, this is [`Modified`](Change::Modified).
    AttributesChanged(PathBuf),
    /// Something was renamed, or moved within what is watched. On Windows, a move to another directory is reported as
    /// [`Removed`](Change::Removed) and [`Created`](Change::Created); so is, on Linux, a rename between whose two
    /// halves another change was recorded.
    Renamed {
        /// The old path.
        from: PathBuf,
        /// The new path.
        to: PathBuf,
    },
    /// The OS dropped changes, because too many came at a time. Read the directory again.
    Overflowed,
    /// The watch has ended. [`NotFound`](io::ErrorKind::NotFound) means that the directory was removed, on Linux also that
    /// it was moved; otherwise this is the OS's error.
    Ended(io::Error),
}

/// The error of a watched directory that is gone.
pub(super) fn gone() -> io::Error {
    let message = "the watched directory was removed or moved";
    io::Error::new(io::ErrorKind::NotFound, message)
}
