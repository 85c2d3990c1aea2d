//! Events of Windows.

#![expect(unsafe_code, reason = "the standard library has no events")]

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::System::Threading::{CreateEventW, ResetEvent, SetEvent};

/// An event without a name.
pub(crate) struct Event(OwnedHandle);

impl Event {
    /// Makes an event that is not set. With `manual`, it stays set until it is reset; otherwise a wait resets
    /// it.
    pub(crate) fn new(manual: bool) -> Event {
        // SAFETY: the call gets neither attributes nor a name.
        let handle = unsafe { CreateEventW(ptr::null(), manual.into(), 0, ptr::null()) };
        assert!(!handle.is_null(), "{}", std::io::Error::last_os_error());
        // SAFETY: the call just made this handle, and nothing else refers to it.
        Event(unsafe { OwnedHandle::from_raw_handle(handle) })
    }

    pub(crate) fn set(&self) {
        // SAFETY: the handle is open.
        assert_ne!(unsafe { SetEvent(self.0.as_raw_handle()) }, 0);
    }

    pub(crate) fn reset(&self) {
        // SAFETY: the handle is open.
        assert_ne!(unsafe { ResetEvent(self.0.as_raw_handle()) }, 0);
    }

    /// The number of its handle.
    pub(crate) fn number(&self) -> u64 {
        self.0.as_raw_handle().addr() as u64
    }
}
