//! Files that futures read and write.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::waiting::{Taker, value};
use crate::error::FileError;
use crate::os::{FileMetadata, FileOptions};
use crate::reactor::Reactor;
use crate::transport::{self, FileOperation};

/// An open file that futures read and write. Clones are the same file; it is closed when the last one is dropped and its
/// operations have ended.
///
/// Operations begin when their futures are first polled, and any number may be under way at once: see
/// [`tidewaiter::File`](crate::File). Each owns its memory until it has ended, whatever becomes of its future. Dropping
/// the future of a read cancels it. A write, an append or another change that has begun is made even so.
///
/// ```
/// use tidewaiter::FileOptions;
/// use tidewaiter::io::File;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let path = std::env::temp_dir().join(format!("tasks-{}.txt", std::process::id()));
/// let create = FileOptions::new().read(true).write(true).create(true);
/// let read = reactor.block_on(async {
///     let file = File::open(&reactor, &path, create).await?;
///     file.write_at(0, "hello, world").await?;
///     file.sync().await?;
///     assert_eq!(file.metadata().await?.len, 12);
///     file.read_at(7, 100).await
/// })??;
/// assert_eq!(read, b"world");
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct File {
    file: transport::File,
}

impl File {
    /// Opens the file at `path`, as [`Reactor::open_file`] does. Dropping the future gives up.
    ///
    /// # Errors
    ///
    /// The OS's error, inside of an [`io::Error`] that names the path.
    pub async fn open(
        reactor: &Reactor,
        path: impl Into<PathBuf>,
        options: FileOptions,
    ) -> io::Result<File> {
        let (giver, file) = value();
        let opening = reactor.open_file(path, options, move |_, file| giver.give(file));
        let opening = Cancelling(opening);
        let file = finished(file).await?;
        drop(opening);
        Ok(File { file })
    }

    /// Reads up to `len` bytes at `offset`. Fewer come as the OS sees fit; none at the end of the file.
    ///
    /// # Errors
    ///
    /// The OS's error, inside of an [`io::Error`] that names the path.
    pub async fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.read_into(offset, Vec::with_capacity(len)).await
    }

    /// As [`read_at`](File::read_at), into memory of the caller's: as many bytes as it has capacity for. What it holds is
    /// replaced. If the future is dropped, the memory is lost.
    ///
    /// # Errors
    ///
    /// As [`read_at`](File::read_at).
    pub async fn read_into(&self, offset: u64, memory: Vec<u8>) -> io::Result<Vec<u8>> {
        let (giver, bytes) = value();
        let reading = self
            .file
            .read_into(offset, memory, move |_, bytes| giver.give(bytes));
        let reading = Cancelling(reading);
        let bytes = finished(bytes).await;
        drop(reading);
        bytes
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    ///
    /// As [`read_at`](File::read_at). [`FileError::Os`] inside tells how many bytes were written before.
    pub async fn write_at(&self, offset: u64, data: impl Into<Bytes>) -> io::Result<()> {
        let (giver, done) = value();
        self.file
            .write_at(offset, data, move |_, result| giver.give(result));
        finished(done).await
    }

    /// Writes all of `data` at the end of a file that was [opened to append](FileOptions::append), after what was appended
    /// before.
    ///
    /// # Errors
    ///
    /// As [`write_at`](File::write_at).
    pub async fn append(&self, data: impl Into<Bytes>) -> io::Result<()> {
        let (giver, done) = value();
        self.file.append(data, move |_, result| giver.give(result));
        finished(done).await
    }

    /// Waits until everything that was written before is on the disk (`fsync`).
    ///
    /// # Errors
    ///
    /// As [`read_at`](File::read_at).
    pub async fn sync(&self) -> io::Result<()> {
        let (giver, done) = value();
        self.file.sync(move |_, result| giver.give(result));
        finished(done).await
    }

    /// As [`sync`](File::sync), without such metadata as the time of the last write (`fdatasync`).
    ///
    /// # Errors
    ///
    /// As [`read_at`](File::read_at).
    pub async fn sync_data(&self) -> io::Result<()> {
        let (giver, done) = value();
        self.file.sync_data(move |_, result| giver.give(result));
        finished(done).await
    }

    /// The file's length and the like.
    ///
    /// # Errors
    ///
    /// As [`read_at`](File::read_at).
    pub async fn metadata(&self) -> io::Result<FileMetadata> {
        let (giver, metadata) = value();
        self.file.metadata(move |_, result| giver.give(result));
        finished(metadata).await
    }

    /// Cuts the file off at `len` bytes, or extends it with zeros.
    ///
    /// # Errors
    ///
    /// As [`read_at`](File::read_at).
    pub async fn set_len(&self, len: u64) -> io::Result<()> {
        let (giver, done) = value();
        self.file.set_len(len, move |_, result| giver.give(result));
        finished(done).await
    }

    /// The path under which the file was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The same file for callbacks: for [`send_file`](crate::Transport::send_file) and more.
    #[must_use]
    pub fn callbacks(&self) -> &transport::File {
        &self.file
    }
}

/// A file that was opened or [adopted](Reactor::adopt_file) in callback style.
impl From<transport::File> for File {
    fn from(file: transport::File) -> File {
        File { file }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

/// Waits for the end of an operation.
async fn finished<T>(taker: Taker<Result<T, FileError>>) -> io::Result<T> {
    let result = taker.take().await;
    Ok(result.unwrap_or(Err(FileError::Stopped))?)
}

/// An operation that dropping cancels.
struct Cancelling(FileOperation);

impl Drop for Cancelling {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
