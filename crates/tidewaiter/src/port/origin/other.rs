//! The number of the process tells.

use std::cell::Cell;
use std::io;

pub(super) struct Origin {
    process: Cell<u32>,
}

impl Origin {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the same signature as on Linux, where it can fail"
    )]
    pub(super) fn here() -> io::Result<Origin> {
        Ok(Origin {
            process: Cell::new(std::process::id()),
        })
    }

    /// Whether this process is a copy of the one that the port belongs to.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.process.get() != std::process::id()
    }

    /// The port belongs to this process from here on.
    pub(super) fn renew(&self) {
        self.process.set(std::process::id());
    }
}
