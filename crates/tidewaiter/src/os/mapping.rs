//! Whole pages of memory, mapped from the kernel.

#![expect(unsafe_code, reason = "accesses memory by its address")]

use std::io;
use std::ptr::NonNull;

/// Private memory in whole pages.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    pub(crate) fn new(len: usize) -> io::Result<Mapping> {
        // SAFETY: a new private mapping at an address of the kernel's choice does not affect
        // existing memory.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("mappings are not at zero");
        Ok(Mapping { start, len })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Sets whether children made by `fork` find the memory zeroed; if so, the kernel copies
    /// nothing for them.
    pub(crate) fn wipe_in_children(&self, wipe: bool) -> io::Result<()> {
        let advice = if wipe {
            libc::MADV_WIPEONFORK
        } else {
            libc::MADV_KEEPONFORK
        };
        // SAFETY: the range is this mapping's, and the call changes nothing for this process.
        let refused = unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, advice) };
        if refused != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        debug_assert!(offset <= self.len, "{offset} of {}", self.len);
        // SAFETY: callers stay within the mapping, which is one allocation (asserted when debugging).
        unsafe { self.start.add(offset) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping that `new` made, and its owner is being dropped: no
        // pointer into it is used again.
        let refused = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(refused, 0, "a mapping can be unmapped");
    }
}
