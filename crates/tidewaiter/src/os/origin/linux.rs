//! Tells a forked copy from its original without a system call, by memory that the kernel wipes in
//! children.

#![expect(unsafe_code, reason = "accesses memory by its address")]

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::os::Mapping;

pub(crate) struct Origin {
    /// The first byte is 1 in this process, and 0 in a copy.
    page: Mapping,
}

// SAFETY: the mapping is only ever used as an atomic.
unsafe impl Send for Origin {}
// SAFETY: as above.
unsafe impl Sync for Origin {}

impl Origin {
    pub(crate) fn here() -> io::Result<Origin> {
        let page = Mapping::new(size_of::<AtomicBool>())?;
        // Linux before 4.14 has no such memory: a copy then takes itself for the original.
        if let Err(error) = page.wipe_in_children(true) {
            log::debug!("port: copies of this process cannot be told apart: {error}");
        }
        let origin = Origin { page };
        origin.renew();
        Ok(origin)
    }

    /// Whether this process is a copy of the one that the port belongs to.
    pub(crate) fn is_elsewhere(&self) -> bool {
        !self.mark().load(Ordering::Relaxed)
    }

    /// Makes the port belong to this process from now on.
    pub(crate) fn renew(&self) {
        self.mark().store(true, Ordering::Relaxed);
    }

    fn mark(&self) -> &AtomicBool {
        let start = self.page.start().as_ptr().cast();
        // SAFETY: the mapping has room for it, is aligned to a page, lives as long as `self`, and
        // is only used as this atomic; its initial zero is a valid value.
        unsafe { AtomicBool::from_ptr(start) }
    }
}
