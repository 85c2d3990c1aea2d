//! Files: how to open one, and what can be done with one by calls that may block.
//!
//! A port that performs an operation by itself does not use the calls; a reactor makes them on a thread of its pool.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(all(unix, not(target_os = "linux")))]
mod other;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as sys;
#[cfg(windows)]
use windows as sys;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

#[cfg(target_os = "linux")]
pub(crate) use linux::{SENDS, send};
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) use other::{SENDS, send};

/// An open file of the OS. An operation under way shares it, so that the file stays open as long as the OS uses it.
pub(crate) type OsFile = Arc<File>;

/// How to open a file: for reading, unless something else is asked for.
///
/// ```
/// use tidewaiter::FileOptions;
///
/// let read = FileOptions::new();
/// let replace = FileOptions::new().write(true).create(true).truncate(true);
/// let log = FileOptions::new().append(true).create(true);
/// # let _ = (read, replace, log);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    read: Option<bool>,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    mode: u32,
}

impl Default for FileOptions {
    fn default() -> FileOptions {
        FileOptions::new()
    }
}

impl FileOptions {
    /// Opens an existing file for reading.
    #[must_use]
    pub const fn new() -> FileOptions {
        FileOptions {
            read: None,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: 0o666,
        }
    }

    /// Sets whether the file can be read: true by default if it is opened neither to write nor to append.
    #[must_use]
    pub const fn read(mut self, read: bool) -> FileOptions {
        self.read = Some(read);
        self
    }

    /// Sets whether the file can be written at any offset: false by default.
    #[must_use]
    pub const fn write(mut self, write: bool) -> FileOptions {
        self.write = write;
        self
    }

    /// Sets whether every write goes to the end of the file, wherever that is by then, also if other programs append
    /// to it: false by default. Such a file takes appends, and no writes at an offset.
    #[must_use]
    pub const fn append(mut self, append: bool) -> FileOptions {
        self.append = append;
        self
    }

    /// Sets whether the file is emptied: false by default. Needs [`write`](FileOptions::write).
    #[must_use]
    pub const fn truncate(mut self, truncate: bool) -> FileOptions {
        self.truncate = truncate;
        self
    }

    /// Sets whether the file is created if it does not exist: false by default. Needs [`write`](FileOptions::write) or
    /// [`append`](FileOptions::append).
    #[must_use]
    pub const fn create(mut self, create: bool) -> FileOptions {
        self.create = create;
        self
    }

    /// Sets whether the file is created, and opening it fails if it exists: false by default. Needs
    /// [`write`](FileOptions::write) or [`append`](FileOptions::append).
    #[must_use]
    pub const fn create_new(mut self, create_new: bool) -> FileOptions {
        self.create_new = create_new;
        self
    }

    /// Sets the permissions of a file that is created, less the process's umask: `0o666` by default. Windows has no
    /// such permissions, and ignores them.
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> FileOptions {
        self.mode = mode;
        self
    }

    /// Whether every write goes to the end.
    pub(crate) const fn appends(&self) -> bool {
        self.append
    }

    pub(crate) const fn reads(&self) -> bool {
        match self.read {
            Some(read) => read,
            None => !self.writes_any(),
        }
    }

    pub(crate) const fn writes_any(&self) -> bool {
        self.write || self.append
    }

    pub(crate) const fn truncates(&self) -> bool {
        self.truncate
    }

    pub(crate) const fn creates(&self) -> bool {
        self.create
    }

    pub(crate) const fn creates_new(&self) -> bool {
        self.create_new
    }

    /// Refuses options that contradict each other, in the same words on every system.
    pub(crate) fn check(&self) -> io::Result<()> {
        let problem = if !self.reads() && !self.writes_any() {
            "a file is opened to read, to write or to append"
        } else if self.append && (self.write || self.truncate) {
            "a file that is opened to append is neither written at an offset nor emptied"
        } else if (self.truncate || self.create || self.create_new) && !self.writes_any() {
            "only a file that is opened to write or to append is created or emptied"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
    }

    /// The flags of `open(2)`.
    #[cfg(unix)]
    pub(crate) fn flags(&self) -> rustix::fs::OFlags {
        sys::flags(self)
    }

    /// The permissions of a file that is created.
    #[cfg(unix)]
    pub(crate) const fn permissions(&self) -> u32 {
        self.mode
    }
}

/// The kinds of objects that paths name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else, such as a device or a named pipe.
    Other,
}

/// The metadata of an open file.
///
/// ```
/// use tidewaiter::io::File;
/// use tidewaiter::{FileKind, FileOptions, Reactor};
///
/// let reactor = Reactor::new()?;
/// let metadata = reactor.block_on(async {
///     let program = std::env::current_exe()?;
///     let file = File::open(&reactor, program, FileOptions::new().read(true)).await?;
///     file.metadata().await
/// })??;
/// assert!(metadata.len > 0 && metadata.kind == FileKind::File);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileMetadata {
    /// The number of bytes in the file.
    pub len: u64,
    /// Its kind.
    pub kind: FileKind,
    /// When it was last written; `None` if the system does not tell.
    pub modified: Option<SystemTime>,
    /// Unix: the permissions, without the kind of the file. `None` on Windows.
    pub mode: Option<u32>,
}

impl FileMetadata {
    pub(crate) fn new(len: u64, kind: FileKind) -> FileMetadata {
        FileMetadata {
            len,
            kind,
            modified: None,
            mode: None,
        }
    }
}

/// Opens a file, in such a way that every port can adopt it.
pub(crate) fn open(path: &Path, options: &FileOptions) -> io::Result<OsFile> {
    options.check()?;
    sys::open(path, options).map(Arc::new)
}

/// Reads at `offset` into `memory`, as many bytes as it has capacity for or fewer: none at the end of the file. What
/// was in `memory` is dropped.
pub(crate) fn read_at(file: &OsFile, offset: u64, memory: &mut Vec<u8>) -> io::Result<()> {
    memory.clear();
    // Zeroed, because no safe call reads into memory that is not initialised.
    memory.resize(memory.capacity(), 0);
    let count = sys::read_at(file, offset, memory);
    memory.truncate(count.as_ref().map_or(0, |count| *count));
    count.map(drop)
}

/// Writes some of `data` at `offset`; without one, at the end of a file that was opened to append. Returns how many
/// bytes.
pub(crate) fn write(file: &OsFile, offset: Option<u64>, data: &[u8]) -> io::Result<usize> {
    match offset {
        Some(offset) => sys::write_at(file, offset, data),
        None => sys::append(file, data),
    }
}

/// Waits until what was written is on the disk: with `data_only`, without such metadata as the time of the last write.
pub(crate) fn sync(file: &OsFile, data_only: bool) -> io::Result<()> {
    if data_only {
        file.sync_data()
    } else {
        file.sync_all()
    }
}

pub(crate) fn metadata(file: &OsFile) -> io::Result<FileMetadata> {
    let found = file.metadata()?;
    let kind = match found.file_type() {
        kind if kind.is_file() => FileKind::File,
        kind if kind.is_dir() => FileKind::Directory,
        _ => FileKind::Other,
    };
    Ok(FileMetadata {
        len: found.len(),
        kind,
        modified: found.modified().ok(),
        mode: sys::mode(&found),
    })
}

#[cfg(test)]
mod tests {
    use super::FileOptions;

    #[test]
    fn contradictions_are_refused_and_the_default_is_to_read() {
        assert!(FileOptions::new().check().is_ok());
        assert!(FileOptions::new().reads() && !FileOptions::new().write(true).reads());
        for refused in [
            FileOptions::new().read(false),
            FileOptions::new().append(true).write(true),
            FileOptions::new().append(true).truncate(true),
            FileOptions::new().create(true),
            FileOptions::new().create_new(true),
            FileOptions::new().truncate(true),
        ] {
            assert!(refused.check().is_err(), "{refused:?}");
        }
    }
}
