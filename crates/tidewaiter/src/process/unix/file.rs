//! Opens files for children.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::process::FileAccess;

/// Opens a file, blocking for the child, without waiting for anybody: neither for the other end of a FIFO nor for the
/// carrier of a modem.
pub(super) fn open(path: &Path, access: FileAccess) -> io::Result<OwnedFd> {
    let access = match access {
        FileAccess::Read => OFlags::RDONLY,
        FileAccess::Write => OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
        FileAccess::Append => OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND,
    };
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mode = Mode::from_bits_truncate(0o666);
    let file = rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, mode))?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind == FileType::Directory {
        return Err(Errno::ISDIR.into());
    }
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}
