//! Requests on files, and what comes of them.

use std::io;
use std::path::PathBuf;

use super::handle::Handle;
use super::memory::Chunks;
use crate::os::{FileMetadata, FileOptions};

/// A file to open: see [`Request::OpenFile`](super::Request::OpenFile).
#[derive(Clone, Debug)]
pub struct FileToOpen {
    /// The path.
    pub path: PathBuf,
    /// How to open it.
    pub options: FileOptions,
}

impl FileToOpen {
    /// Refuses what no system opens.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.path.as_os_str().as_encoded_bytes().contains(&0) {
            let message = "a path contains no zero byte";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.options.check()
    }
}

/// Something to do with an open file: see [`Request::File`](super::Request::File).
///
/// ```
/// use tidewaiter::FileOptions;
/// use tidewaiter::port::sim::Sim;
/// use tidewaiter::port::{FileOutcome, FileRequest, FileToOpen, Outcome, Request, Token};
///
/// let sim = Sim::new(7); // io_uring opens files, too
/// sim.write_file("notes.txt", b"buy milk");
/// let mut port = sim.port();
/// let file = port.unopened_file()?;
/// let path = "notes.txt".into();
/// let options = FileOptions::new().read(true);
/// port.submit(file, Request::OpenFile(Box::new(FileToOpen { path, options })), Token(1))?;
/// let mut completions = Vec::new();
/// while completions.is_empty() {
///     port.wait(None, &mut completions)?;
/// }
/// completions.clear();
/// let into = Vec::with_capacity(100);
/// let read = FileRequest::Read { offset: 4, into };
/// port.submit(file, Request::File(Box::new(read)), Token(2))?;
/// while completions.is_empty() {
///     port.wait(None, &mut completions)?;
/// }
/// match completions.remove(0).result {
///     Ok(Outcome::File(FileOutcome::Read(bytes))) => assert_eq!(bytes, b"milk"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum FileRequest {
    /// Reads. Completes with [`FileOutcome::Read`].
    Read {
        /// Where to read.
        offset: u64,
        /// Memory for the bytes: as many as it has capacity for are read, or fewer. Its contents are replaced.
        into: Vec<u8>,
    },
    /// Writes. Completes with [`FileOutcome::Written`] once some or all of the bytes are written; the others are in
    /// [`Completion::unsent`](super::Completion::unsent), however the operation ended. The bytes must not be empty.
    Write {
        /// Where to write. `None`: at the end of the file, which must have been
        /// [opened to append](FileOptions::append).
        offset: Option<u64>,
        /// The bytes.
        data: Chunks,
    },
    /// Waits until everything written before is on the disk. Completes with [`FileOutcome::Done`].
    Sync {
        /// Whether to leave out metadata that reading does not need, such as the time of the last write.
        data_only: bool,
    },
    /// Asks for the file's length and the like. Completes with [`FileOutcome::Metadata`].
    Metadata,
    /// Cuts the file off, or extends it with zeros. Completes with [`FileOutcome::Done`].
    SetLen(u64),
}

impl FileRequest {
    /// The call that performs the request.
    pub(crate) fn call(&self) -> FileCall {
        match self {
            FileRequest::Read { .. } => FileCall::Read,
            FileRequest::Write { .. } => FileCall::Write,
            FileRequest::Sync { .. } => FileCall::Sync,
            FileRequest::Metadata => FileCall::Metadata,
            FileRequest::SetLen(_) => FileCall::SetLen,
        }
    }

    /// Whether it is to write, but no bytes.
    pub(super) fn writes_nothing(&self) -> bool {
        matches!(self, FileRequest::Write { data, .. } if data.is_empty())
    }

    /// The bytes to write that are left.
    pub(super) fn into_unsent(self) -> Chunks {
        match self {
            FileRequest::Write { data, .. } => data,
            _ => Chunks::new(),
        }
    }
}

/// The outcome of a [`FileRequest`].
#[derive(Debug)]
#[non_exhaustive]
pub enum FileOutcome {
    /// These bytes were read. Fewer than asked for do not mean that the file ends there; none do, if any were asked for.
    Read(Vec<u8>),
    /// This many bytes were written: at least one.
    Written {
        /// How many.
        bytes: usize,
    },
    /// The file's metadata.
    Metadata(Box<FileMetadata>),
    /// It is done.
    Done,
}

/// A part of a file to send: see [`Request::SendFile`](super::Request::SendFile).
///
/// ```
/// use tidewaiter::port::{FilePart, Handle, Operation, Port, Request, Token};
///
/// /// Sends a file of which `sent` bytes went out before.
/// fn send_rest(
///     port: &mut Port,
///     socket: Handle,
///     file: Handle,
///     sent: u64,
/// ) -> std::io::Result<Operation> {
///     let part = FilePart { file, offset: sent, len: u64::MAX };
///     port.submit(socket, Request::SendFile(Box::new(part)), Token(1))
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePart {
    /// The handle of the open file.
    pub file: Handle,
    /// Where the part begins.
    pub offset: u64,
    /// How many bytes it has: at least one. More than the file has mean all of them.
    pub len: u64,
}

/// A call on files that a port may perform by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileCall {
    Open,
    Read,
    Write,
    Sync,
    Metadata,
    SetLen,
    /// [`Request::SendFile`](super::Request::SendFile).
    Send,
}

impl FileCall {
    /// Its name in errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FileCall::Open => "open",
            FileCall::Read => "read",
            FileCall::Write => "write",
            FileCall::Sync => "fsync",
            FileCall::Metadata => "stat",
            FileCall::SetLen => "ftruncate",
            FileCall::Send => "sendfile",
        }
    }
}

/// The calls on files that a port performs by itself. The reactor performs the others on its threads, or by other
/// calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileCalls(u8);

impl FileCalls {
    pub(super) const fn of(calls: &[FileCall]) -> FileCalls {
        let (mut set, mut at) = (FileCalls(0), 0);
        while at < calls.len() {
            set.insert(calls[at]);
            at += 1;
        }
        set
    }

    pub(super) const fn insert(&mut self, call: FileCall) {
        self.0 |= 1 << call as u8;
    }

    pub(crate) const fn contain(self, call: FileCall) -> bool {
        self.0 & 1 << call as u8 != 0
    }
}
