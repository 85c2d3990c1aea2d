//! Writes to pipes whose reader may be gone, without dying of SIGPIPE.
//!
//! Sockets have `MSG_NOSIGNAL`. For pipes, Linux 6.18 and later have `RWF_NOSIGNAL`. On earlier
//! kernels nothing is needed if the program ignores the signal, as Rust and Python programs do by
//! default. Otherwise the port blocks the signal on its thread, which is where the kernel sends it.
//! The port leaves the disposition alone, as it belongs to the whole process.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use rustix::io::{Errno, ReadWriteFlags};
use rustix::pipe::{PipeFlags, pipe_with};

/// The flags for writes to pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriteFlags(pub(super) i32);

const RWF_NOSIGNAL: u32 = 0x100;

/// Finds out how this thread can write to pipes, and blocks SIGPIPE if needed.
pub(super) fn write_flags() -> io::Result<WriteFlags> {
    if knows_no_signal()? {
        return Ok(WriteFlags(RWF_NOSIGNAL.cast_signed()));
    }
    block_unless_ignored()?;
    Ok(WriteFlags(0))
}

/// Tries the flag on a private pipe.
fn knows_no_signal() -> io::Result<bool> {
    let (_reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let flags = ReadWriteFlags::from_bits_retain(RWF_NOSIGNAL);
    match rustix::io::pwritev2(&writer, &[IoSlice::new(b"?")], u64::MAX, flags) {
        Ok(_) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::PERM) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn block_unless_ignored() -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the current one, for which there is room.
    let failed = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above succeeded; besides, an action of zeros is valid.
    let action = unsafe { action.assume_init() };
    if action.sa_sigaction == libc::SIG_IGN {
        return Ok(());
    }
    let mut signals = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: there is room for the set that this writes.
    unsafe { libc::sigemptyset(signals.as_mut_ptr()) };
    // SAFETY: the set has just been made.
    unsafe { libc::sigaddset(signals.as_mut_ptr(), libc::SIGPIPE) };
    let nowhere = std::ptr::null_mut();
    // SAFETY: the set is only read, and the former mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, signals.as_ptr(), nowhere) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
