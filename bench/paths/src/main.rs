//! The hot paths, each alone: `tidewaiter-paths` lists them, `tidewaiter-paths NAME` walks one.
//!
//! It measures nothing itself. `cargo xtask paths` runs it under callgrind, which counts the instructions
//! from the beginning of `meter::counted` to its end. So that everything repeats, the loop's thread does
//! the rest as well, in turn with the loop: it is the other side of a connection, and is not counted then.

mod catalogue;
mod children;
mod clocks;
mod meter;
mod streams;
mod walk;

use std::error::Error;
use std::io::Write;

use catalogue::Path;

/// The result of walking a path.
type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let Some(name) = std::env::args().nth(1) else {
        return list();
    };
    let path = Path::all().into_iter().find(|path| path.name() == name);
    path.ok_or_else(|| format!("no path is named `{name}`"))?
        .walk()
}

/// A line for each path: its name, how many operations are counted, and what one is.
fn list() -> Outcome {
    let mut output = std::io::stdout().lock();
    for path in Path::all() {
        let (name, operations) = (path.name(), path.operations());
        writeln!(output, "{name}\t{operations}\t{}", path.operation())?;
    }
    Ok(())
}
