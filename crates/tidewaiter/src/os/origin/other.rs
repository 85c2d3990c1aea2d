//! Tells a forked copy from its original by the process id.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) struct Origin {
    process: AtomicU32,
}

impl Origin {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same signature as on Linux, where it can fail"
    )]
    pub(crate) fn here() -> io::Result<Origin> {
        Ok(Origin {
            process: AtomicU32::new(std::process::id()),
        })
    }

    /// Whether this process is a copy of the one that the port belongs to.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.process.load(Ordering::Relaxed) != std::process::id()
    }

    /// Makes the port belong to this process from now on.
    pub(crate) fn renew(&self) {
        self.process.store(std::process::id(), Ordering::Relaxed);
    }
}
