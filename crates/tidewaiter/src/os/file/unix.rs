//! Files on Unix.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;

use super::FileOptions;

/// The permission bits of a mode; the others are the kind of the file.
const PERMISSIONS: u32 = 0o7777;

/// Our type of the permissions, in the kernel's type.
fn mode_of(options: &FileOptions) -> Mode {
    #[expect(
        clippy::allow_attributes,
        reason = "the kernel's type has 16 or 32 bits, by the system"
    )]
    #[allow(clippy::cast_possible_truncation, reason = "permissions have 12 bits")]
    Mode::from_bits_truncate((options.mode & PERMISSIONS) as rustix::fs::RawMode)
}

pub(super) fn flags(options: &FileOptions) -> OFlags {
    let mut flags = OFlags::CLOEXEC;
    flags |= match (options.reads(), options.writes_any()) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    for (is_set, flag) in [
        (options.append, OFlags::APPEND),
        (options.truncate && !options.create_new, OFlags::TRUNC),
        (options.create || options.create_new, OFlags::CREATE),
        (options.create_new, OFlags::EXCL),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    flags
}

pub(super) fn open(path: &Path, options: &FileOptions) -> io::Result<File> {
    let opened = retry_on_intr(|| rustix::fs::open(path, flags(options), mode_of(options)))?;
    Ok(opened.into())
}

pub(super) fn read_at(file: &File, offset: u64, memory: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| file.read_at(memory, offset))
}

pub(super) fn write_at(file: &File, offset: u64, data: &[u8]) -> io::Result<usize> {
    uninterrupted(|| file.write_at(data, offset))
}

pub(super) fn append(mut file: &File, data: &[u8]) -> io::Result<usize> {
    uninterrupted(|| file.write(data))
}

pub(super) fn mode(metadata: &Metadata) -> Option<u32> {
    Some(metadata.mode() & PERMISSIONS)
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
