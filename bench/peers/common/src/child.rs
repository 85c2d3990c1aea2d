//! Children: short ones that are spawned and reaped, and one that writes.

use std::io::Write;
use std::path::PathBuf;

use crate::net::PIECE_BYTES;
use crate::system::{self, CHILDREN, WRITTEN_BYTES};
use crate::tell;
use crate::watch::Watch;

/// The argument that makes a peer a child which writes.
pub const WRITER: &str = "write-to-stdout";
/// Children before the measured ones.
const WARM_UP: usize = CHILDREN / 16;

/// Counts children that come and go, and says when to spawn another.
#[derive(Debug)]
pub struct Count {
    spawned: usize,
    reaped: usize,
    watch: Watch,
}

impl Default for Count {
    fn default() -> Count {
        Count {
            spawned: 0,
            reaped: 0,
            watch: Watch::new(),
        }
    }
}

impl Count {
    /// Whether there is another child to be spawned.
    pub fn takes_another(&mut self) -> bool {
        let more = self.spawned < WARM_UP + CHILDREN;
        self.spawned += usize::from(more);
        more
    }

    /// A child is reaped. Returns whether it was the last, and tells the result then.
    pub fn reaped(&mut self) -> bool {
        self.reaped += 1;
        if self.reaped == WARM_UP {
            tell::begin();
            self.watch = Watch::new();
        }
        let last = self.reaped == WARM_UP + CHILDREN;
        if last {
            let children = CHILDREN as f64;
            tell::result(&[
                ("value", self.watch.cpu_us() / children),
                ("rate", children / self.watch.wall_us() * 1e6),
                ("operations", children),
            ]);
        }
        last
    }
}

/// Counts what the writing child writes.
#[derive(Debug, Default)]
pub struct Received {
    bytes: usize,
    watch: Option<Watch>,
}

impl Received {
    /// So much came.
    pub fn add(&mut self, bytes: usize) {
        self.watch.get_or_insert_with(|| {
            tell::begin();
            Watch::new()
        });
        self.bytes += bytes;
    }

    /// The output has ended.
    ///
    /// # Panics
    ///
    /// When not all that was written has come.
    pub fn end(&self) {
        assert_eq!(self.bytes, WRITTEN_BYTES, "all of the child's output comes");
        let watch = self.watch.as_ref().expect("something came");
        let gib = self.bytes as f64 / f64::from(1 << 30);
        let rate = gib * 1024.0 / watch.wall_us() * 1e6;
        tell::result(&[
            ("value", rate),
            ("rate", rate),
            ("operations", gib * 1024.0),
            ("cpu_s_per_gib", watch.cpu_us() / 1e6 / gib),
        ]);
    }
}

/// The shortest program, by its path: nobody has to look for it.
#[must_use]
pub fn brief() -> PathBuf {
    system::brief()
}

/// The writing child is this program again, with [`WRITER`] as its argument.
///
/// # Panics
///
/// When the OS does not tell where this program is.
#[must_use]
pub fn writer() -> PathBuf {
    std::env::current_exe().expect("the OS knows where a program is")
}

/// What the writing child does, on another core than its parent, which is held to the first.
#[expect(
    clippy::disallowed_methods,
    reason = "a child has nothing to put in order"
)]
pub(crate) fn write_and_exit() -> ! {
    system::move_to_second_core();
    let piece = [b'x'; PIECE_BYTES];
    let mut output = std::io::stdout().lock();
    let mut pieces = 0..WRITTEN_BYTES / PIECE_BYTES;
    let written = pieces.try_for_each(|_| output.write_all(&piece));
    std::process::exit(i32::from(written.is_err()))
}
