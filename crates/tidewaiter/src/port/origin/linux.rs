//! Memory that the kernel wipes in children made by `fork` tells, without a system call.

#![expect(unsafe_code, reason = "memory by its address")]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::mapping::Mapping;

pub(super) struct Origin {
    /// Its first byte is true in this process, and false in a copy.
    page: Mapping,
}

// SAFETY: the mapping is only ever used as an atomic.
unsafe impl Send for Origin {}
// SAFETY: as above.
unsafe impl Sync for Origin {}

impl Origin {
    pub(super) fn here() -> io::Result<Origin> {
        let page = Mapping::new(size_of::<AtomicBool>())?;
        // Before Linux 4.14 there is no such memory: copies take themselves for the original.
        if let Err(error) = page.wipe_in_children(true) {
            log::debug!("port: copies of this process cannot be told apart: {error}");
        }
        let origin = Origin { page };
        origin.renew();
        Ok(origin)
    }

    /// Whether this process is a copy of the one that the port belongs to.
    pub(super) fn is_elsewhere(&self) -> bool {
        !self.mark().load(Ordering::Relaxed)
    }

    /// The port belongs to this process from here on.
    pub(super) fn renew(&self) {
        self.mark().store(true, Ordering::Relaxed);
    }

    fn mark(&self) -> &AtomicBool {
        let start = self.page.start().as_ptr().cast();
        // SAFETY: the mapping has room for it, is aligned to a page, lives as long as `self`, and is used
        // as this atomic alone; zero, as which the kernel makes it, is one of its values.
        unsafe { AtomicBool::from_ptr(start) }
    }
}
