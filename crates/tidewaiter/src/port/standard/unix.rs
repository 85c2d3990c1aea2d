//! Relays between a shared descriptor and a pipe, and what becomes of the descriptor.

#![expect(
    unsafe_code,
    reason = "descriptors by number, and the signal mask of a thread"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::{Errno, retry_on_intr};

use super::{RELAY_BYTES, StandardStream, Written, start};
use crate::os::duplicate;

/// A relay that reads ends by itself, as soon as the pipe has no reader.
pub(super) struct Reading;

pub(super) fn number(stream: StandardStream) -> Option<RawFd> {
    Some(match stream {
        StandardStream::Input => 0,
        StandardStream::Output => 1,
    })
}

/// Copies the descriptor, above the numbers of the standard streams. Without one that is open: the null device.
pub(super) fn copy_of(descriptor: Option<RawFd>) -> io::Result<OwnedFd> {
    match duplicate(descriptor.unwrap_or(-1)) {
        // The process was started without the stream.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
            Ok(rustix::io::fcntl_dupfd_cloexec(null()?, 3)?)
        }
        copied => copied,
    }
}

fn null() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, Mode::empty())?)
}

/// Makes a pipe: its reader and its writer. No child inherits them.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// Starts a thread that reads from the stream; returns the pipe that it writes to.
pub(super) fn relay_reads(theirs: OwnedFd) -> io::Result<(OwnedFd, Reading)> {
    let (ours, pipe) = pipe()?;
    start("tidewaiter-input", move || {
        block_sigpipe();
        if let Err(error) = read_all(&theirs, &pipe) {
            log::warn!("a stream of this process cannot be read: {error}");
        }
    })?;
    Ok((ours, Reading))
}

/// Starts a thread that writes to the stream; returns the pipe that it reads from.
pub(super) fn relay_writes(theirs: OwnedFd, written: Written) -> io::Result<OwnedFd> {
    let (pipe, ours) = pipe()?;
    start("tidewaiter-output", move || {
        block_sigpipe();
        let result = write_all_of(&pipe, &theirs);
        drop(theirs);
        // Reported before the port finds that nobody reads the pipe.
        written(result);
        drop(pipe);
    })?;
    Ok(ours)
}

/// Moves all bytes to the pipe, until there are no more, or nobody reads them.
fn read_all(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut memory = vec![0; RELAY_BYTES];
    loop {
        // Bytes that nobody will read are left to others.
        let mut asked = [
            PollFd::new(from, PollFlags::IN),
            PollFd::new(to, PollFlags::empty()),
        ];
        retry_on_intr(|| poll(&mut asked, None))?;
        if asked[1]
            .revents()
            .intersects(PollFlags::ERR | PollFlags::HUP)
        {
            return Ok(());
        }
        match rustix::io::read(from, &mut memory) {
            // A terminal that is gone reports EIO.
            Ok(0) | Err(Errno::IO) => return Ok(()),
            Ok(count) if write_all(to.as_fd(), &memory[..count]).is_err() => return Ok(()),
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Moves all bytes from the pipe.
fn write_all_of(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let mut memory = vec![0; RELAY_BYTES];
    loop {
        match retry_on_intr(|| rustix::io::read(from, &mut memory))? {
            0 => return Ok(()),
            count => write_all(to.as_fd(), &memory[..count])?,
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        match rustix::io::write(to, data) {
            Ok(count) => data = &data[count..],
            Err(Errno::INTR) => {}
            // Somebody else has set the description that we share not to block.
            Err(Errno::AGAIN) => {
                retry_on_intr(|| poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A pipe without a reader is an error of this thread, and does not end the process.
fn block_sigpipe() {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was initialised above.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE) };
    // SAFETY: the set is initialised, and the former mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
}

pub(super) fn give_up(stream: StandardStream) -> io::Result<()> {
    let number = match stream {
        StandardStream::Input => libc::STDIN_FILENO,
        StandardStream::Output => libc::STDOUT_FILENO,
    };
    // SAFETY: a process does not close the number of a standard stream without putting another object there; if it
    // did, the calls below fail.
    let theirs = unsafe { BorrowedFd::borrow_raw(number) };
    let kind = FileType::from_raw_mode(fstat(theirs)?.st_mode);
    if !matches!(kind, FileType::Fifo | FileType::Socket) {
        return Ok(());
    }
    let null = null()?;
    match stream {
        StandardStream::Input => rustix::stdio::dup2_stdin(null)?,
        StandardStream::Output => rustix::stdio::dup2_stdout(null)?,
    }
    Ok(())
}
