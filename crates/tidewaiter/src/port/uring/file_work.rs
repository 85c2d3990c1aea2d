//! Requests about files, with the memory that the kernel needs for them.

use std::os::unix::ffi::OsStringExt;

use super::super::chunks::Chunks;
use super::super::{FileRequest, FileToOpen};
use super::pinned::{Gather, Pinned};

/// A file to open.
#[derive(Debug)]
pub(super) struct Opening {
    /// With a zero at its end.
    pub(super) path: Vec<u8>,
    pub(super) flags: i32,
    pub(super) mode: libc::mode_t,
}

impl Opening {
    pub(super) fn new(file: FileToOpen) -> Opening {
        let mut path = file.path.into_os_string().into_vec();
        path.push(0);
        Opening {
            path,
            flags: file.options.flags().bits().cast_signed(),
            mode: file.options.permissions(),
        }
    }
}

/// A request on a file, and the memory that the kernel needs for it.
#[derive(Debug)]
pub(super) struct FileWork {
    pub(super) request: FileRequest,
    /// For a write of several pieces.
    pub(super) gather: Option<Pinned<Gather>>,
    /// For metadata.
    pub(super) status: Option<Pinned<libc::statx>>,
}

impl FileWork {
    pub(super) fn new(mut request: FileRequest) -> FileWork {
        let mut status = None;
        match &mut request {
            FileRequest::Read { into, .. } => into.clear(),
            FileRequest::Metadata => {
                // SAFETY: a status of zeros is a valid one.
                status = Some(Pinned::new(unsafe { std::mem::zeroed() }));
            }
            _ => {}
        }
        FileWork {
            request,
            gather: None,
            status,
        }
    }

    /// The name of the corresponding system call.
    pub(super) fn call(&self) -> &'static str {
        match self.request {
            FileRequest::Read { .. } => "read",
            FileRequest::Write { .. } => "write",
            FileRequest::Sync { data_only: false } => "fsync",
            FileRequest::Sync { data_only: true } => "fdatasync",
            FileRequest::Metadata => "statx",
            FileRequest::SetLen(_) => "ftruncate",
        }
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self.request, FileRequest::Write { .. })
    }

    /// Takes the bytes that are not written.
    pub(super) fn take_unsent(&mut self) -> Chunks {
        match &mut self.request {
            FileRequest::Write { data, .. } => std::mem::take(data),
            _ => Chunks::new(),
        }
    }
}
