//! The child's standard streams: which handles it gets, and our ends of its pipes.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_PIPE_BUSY, HANDLE, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE,
    SetHandleInformation,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_INBOUND, PIPE_ACCESS_OUTBOUND,
};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_WAIT,
};

use super::check;
use crate::process::{ChildPipe, PipeDirection, Stdio};

const PIPE_BYTES: u32 = 64 * 1024;

/// How many names to try for a pipe before giving up: more collisions than this are no coincidence.
const NAME_ATTEMPTS: usize = 16;

/// The child's standard streams, and our ends of the pipes among them.
#[derive(Debug)]
pub(super) struct Streams {
    /// Not inheritable. `None` for standard error that is the same as output, and where we have no such stream
    /// ourselves.
    handles: [Option<OwnedHandle>; 3],
    merged: bool,
    /// Our ends, for overlapped use.
    pub(super) ours: Vec<ChildPipe>,
}

impl Streams {
    /// Opens the standard streams.
    ///
    /// # Errors
    ///
    /// The OS's error.
    pub(super) fn of(stdio: [Stdio; 3]) -> io::Result<Streams> {
        let mut streams = Streams {
            handles: [None, None, None],
            merged: false,
            ours: Vec::new(),
        };
        for (stream, stdio) in stdio.into_iter().enumerate() {
            let number = u32::try_from(stream).expect("there are three");
            if let Some(direction) = stdio.direction(number) {
                let (ours, theirs) = pipe(direction == PipeDirection::ToChild)?;
                streams.ours.push(ChildPipe {
                    child_fd: number,
                    direction,
                    pipe: ours,
                });
                streams.handles[stream] = Some(theirs.into());
                continue;
            }
            streams.handles[stream] = match stdio {
                Stdio::Null => {
                    let null = File::options().read(true).write(true).open("NUL")?;
                    Some(null.into())
                }
                Stdio::Inherit => inherited(stream)?,
                Stdio::Stdout => {
                    streams.merged = true;
                    None
                }
                _ => None,
            };
        }
        Ok(streams)
    }

    /// The handles that the child gets as standard input, output and error.
    pub(super) fn numbers(&self) -> [HANDLE; 3] {
        let mut numbers = self.handles.each_ref().map(|handle| {
            handle
                .as_ref()
                .map_or(ptr::null_mut(), AsRawHandle::as_raw_handle)
        });
        if self.merged {
            numbers[2] = numbers[1];
        }
        numbers
    }

    /// The handles that the child inherits, each of them once.
    pub(super) fn list(&self) -> Vec<BorrowedHandle<'_>> {
        self.handles
            .iter()
            .flatten()
            .map(AsHandle::as_handle)
            .collect()
    }
}

/// Copies our own standard stream, if we have one.
fn inherited(stream: usize) -> io::Result<Option<OwnedHandle>> {
    let number = [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, STD_ERROR_HANDLE][stream];
    // SAFETY: the call only returns a number.
    let handle = unsafe { GetStdHandle(number) };
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Ok(None);
    }
    // SAFETY: a standard handle of the process stays open as long as it is one, and the next line duplicates it
    // at once.
    let handle = unsafe { BorrowedHandle::borrow_raw(handle) };
    handle.try_clone_to_owned().map(Some)
}

/// Makes handles inheritable for as long as this lives. A process that another thread starts meanwhile, without
/// a list of handles, inherits them as well, so this must not live longer than the call that starts our child.
pub(super) struct Inheritable<'a>(&'a [BorrowedHandle<'a>]);

impl<'a> Inheritable<'a> {
    pub(super) fn make(handles: &'a [BorrowedHandle<'a>]) -> io::Result<Inheritable<'a>> {
        // Constructed first, so that its drop undoes a partial change after an error below.
        let inheritable = Inheritable(handles);
        for &handle in handles {
            set_inheritable(handle, true)?;
        }
        Ok(inheritable)
    }
}

impl Drop for Inheritable<'_> {
    fn drop(&mut self) {
        for &handle in self.0 {
            // Cannot fail: the handle is open, and setting the flag was allowed.
            let _ = set_inheritable(handle, false);
        }
    }
}

fn set_inheritable(handle: BorrowedHandle<'_>, inheritable: bool) -> io::Result<()> {
    let flags = match inheritable {
        true => HANDLE_FLAG_INHERIT,
        false => 0,
    };
    // SAFETY: the handle is open while it is borrowed.
    check(unsafe { SetHandleInformation(handle.as_raw_handle(), HANDLE_FLAG_INHERIT, flags) })
}

/// Makes a pipe: our end, overlapped, and the child's, synchronous as ordinary programs need it.
#[expect(
    clippy::disallowed_methods,
    reason = "random by design: no other process may guess the names"
)]
fn pipe(we_write: bool) -> io::Result<(OwnedHandle, File)> {
    let mut attempts = NAME_ATTEMPTS;
    loop {
        attempts -= 1;
        let name = format!(
            r"\\.\pipe\tidewaiter-{}-{:016x}",
            std::process::id(),
            // Each `RandomState` hashes with new keys; the first of a thread has random ones.
            RandomState::new().hash_one(attempts)
        );
        let made = named_pipe(&name, we_write).and_then(|ours| {
            let theirs = File::options()
                .read(we_write)
                .write(!we_write)
                .open(&name)?;
            Ok((ours, theirs))
        });
        match made {
            Err(error) if attempts > 0 && is_taken(&error) => {}
            result => return result,
        }
    }
}

/// Whether another process has a pipe of that name, or opened ours before us.
fn is_taken(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    matches!(code, Some(ERROR_ACCESS_DENIED | ERROR_PIPE_BUSY))
}

fn named_pipe(name: &str, we_write: bool) -> io::Result<OwnedHandle> {
    let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let access = if we_write {
        PIPE_ACCESS_OUTBOUND
    } else {
        PIPE_ACCESS_INBOUND
    };
    // SAFETY: `name` is null-terminated; without security attributes the handle is not inherited.
    let handle = unsafe {
        CreateNamedPipeW(
            name.as_ptr(),
            access | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            1,
            PIPE_BYTES,
            PIPE_BYTES,
            0,
            ptr::null(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: we just made the pipe, and own it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}
