//! Ending pipes, and looking into them.

use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::System::Pipes::{DisconnectNamedPipe, PeekNamedPipe};

/// Ends the pipe, even if other processes hold its other end: reads under way and later ones find the end of file, and writes a broken
/// pipe. Discards the bytes in the pipe.
pub(super) fn disconnect(pipe: &OwnedHandle) {
    // Fails only if the pipe has ended already.
    // SAFETY: the handle is open.
    unsafe { DisconnectNamedPipe(pipe.as_raw_handle()) };
}

/// Ends a pipe that we read, unless there are bytes in it.
pub(super) fn disconnect_if_empty(pipe: &OwnedHandle) {
    if peek(pipe) == Some(0) {
        disconnect(pipe);
    }
}

/// The number of bytes in a pipe that we read; `None` if it has ended.
pub(super) fn peek(pipe: &OwnedHandle) -> Option<u32> {
    let mut bytes = 0;
    // SAFETY: the handle is open, and `bytes` has room for the number. Null pointers ask for nothing else.
    let peeked = unsafe {
        PeekNamedPipe(
            pipe.as_raw_handle(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            &raw mut bytes,
            ptr::null_mut(),
        )
    };
    (peeked != 0).then_some(bytes)
}
