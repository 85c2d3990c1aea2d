//! Tells what changes in a directory and below it, on Linux and Windows: `cargo run -p tidewaiter --example directory --
//! PATH`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::io;
use std::path::Path;

use tidewaiter::port::{Change, DirectoryOptions};
use tidewaiter::{DirectoryWatch, Reactor};

/// Passes a line about each change to `tell`, and stops the reactor when the directory is gone.
pub(crate) fn watch(
    reactor: &Reactor,
    path: &Path,
    mut tell: impl FnMut(String) + 'static,
) -> io::Result<DirectoryWatch> {
    let tree = DirectoryOptions::new(path).tree(true);
    reactor.watch_directory(&tree, move |watch, change| {
        tell(match &change {
            Change::Created(path) => format!("created {}", path.display()),
            Change::Removed(path) => format!("removed {}", path.display()),
            Change::Renamed { from, to } => format!("{} is now {}", from.display(), to.display()),
            Change::Modified(path) | Change::AttributesChanged(path) => {
                format!("changed {}", path.display())
            }
            Change::Overflowed => "too much at a time: look for yourself".to_owned(),
            Change::Ended(reason) => format!("that was all: {reason}"),
            other => format!("{other:?}"),
        });
        if matches!(change, Change::Ended(_)) {
            watch.reactor().stop();
        }
    })
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: directory PATH")?;
    let reactor = Reactor::new()?;
    watch(&reactor, path.as_ref(), |line| println!("{line}"))?;
    reactor.run()?;
    Ok(())
}
