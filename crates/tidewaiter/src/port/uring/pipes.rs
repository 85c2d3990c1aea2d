//! Writing to pipes whose reader may be gone, without dying of SIGPIPE.
//!
//! Sockets have `MSG_NOSIGNAL`. For pipes, Linux 6.18 and later have `RWF_NOSIGNAL`. On earlier ones
//! nothing is to do where the program ignores the signal, as Rust's and Python's do from the start;
//! in any other one the signal is blocked on the port's thread, which is the one that the kernel
//! sends it to. The disposition, which belongs to the whole process, is left alone.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;

use rustix::io::{Errno, ReadWriteFlags};
use rustix::pipe::{PipeFlags, pipe_with};

/// The flags that writes to pipes carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriteFlags(pub(super) i32);

const RWF_NOSIGNAL: u32 = 0x100;

/// Finds out how pipes can be written to on this thread, and sees to it that they can.
pub(super) fn write_flags() -> io::Result<WriteFlags> {
    if knows_no_signal()? {
        return Ok(WriteFlags(RWF_NOSIGNAL.cast_signed()));
    }
    block_unless_ignored()?;
    Ok(WriteFlags(0))
}

/// Tries the flag on a pipe that nobody else knows.
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
    // SAFETY: with no new action this only writes the present one, which there is room for.
    let failed = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above succeeded; besides, an action of zeros is a valid one.
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
