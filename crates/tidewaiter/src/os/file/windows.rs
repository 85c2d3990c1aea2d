//! Files on Windows, opened for overlapped I/O, so that the port can read and write them.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;

use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;

use super::FileOptions;

pub(super) fn open(path: &Path, options: &FileOptions) -> io::Result<File> {
    OpenOptions::new()
        .read(options.reads())
        .write(options.write)
        .append(options.append)
        .truncate(options.truncate && !options.create_new)
        .create(options.create)
        .create_new(options.create_new)
        .custom_flags(FILE_FLAG_OVERLAPPED)
        .open(path)
}

/// Refuses: only the port reads a file that was opened for overlapped I/O.
pub(super) fn read_at(_file: &File, _offset: u64, _memory: &mut [u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refuses: only the port writes a file that was opened for overlapped I/O.
pub(super) fn write_at(_file: &File, _offset: u64, _data: &[u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Refuses, as [`write_at`] does.
pub(super) fn append(_file: &File, _data: &[u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn mode(_metadata: &Metadata) -> Option<u32> {
    None
}
