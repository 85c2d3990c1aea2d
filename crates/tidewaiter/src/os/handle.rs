//! Handles of Windows that are given by number.

#![expect(unsafe_code, reason = "a number becomes a handle")]

use std::io;
use std::os::windows::io::{BorrowedHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::ERROR_INVALID_HANDLE;

use super::RawDescriptor;

/// Duplicates the handle, so that the object stays open, whatever its owner does. The copy is not inheritable.
///
/// # Errors
///
/// The number is no handle of this process.
pub(crate) fn duplicate(handle: RawDescriptor) -> io::Result<OwnedHandle> {
    // Zero is no handle, and all bits set is the pseudo-handle of this process.
    let address = match usize::try_from(handle) {
        Ok(address) if !matches!(address, 0 | usize::MAX) => address,
        _ => {
            let code = ERROR_INVALID_HANDLE.cast_signed();
            return Err(io::Error::from_raw_os_error(code));
        }
    };
    // SAFETY: the handle is only passed to `DuplicateHandle`, which fails if it is not open.
    let theirs = unsafe { BorrowedHandle::borrow_raw(ptr::with_exposed_provenance_mut(address)) };
    theirs.try_clone_to_owned()
}
