//! The hot paths, each on its own: `tidewaiter-paths` lists them, `tidewaiter-paths NAME` runs one.
//!
//! The program does not measure anything itself. `cargo xtask paths` runs it under callgrind, which counts the
//! instructions inside `meter::counted`. To make counts repeatable, one thread does everything: it alternates between
//! turns of the loop, which count, and the other end of the connection, which does not.

mod catalogue;
mod children;
mod clocks;
mod datagrams;
mod meter;
mod streams;
mod walk;

use std::error::Error;
use std::io::Write;

use catalogue::Path;

/// The result of running a path.
type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let Some(name) = std::env::args().nth(1) else {
        return list();
    };
    let path = Path::all().into_iter().find(|path| path.name() == name);
    path.ok_or_else(|| format!("unknown path `{name}`"))?.walk()
}

/// Prints a line for each path: its name, the number of counted operations, and the description of one.
fn list() -> Outcome {
    let mut output = std::io::stdout().lock();
    for path in Path::all() {
        let (name, operations) = (path.name(), path.operations());
        writeln!(output, "{name}\t{operations}\t{}", path.operation())?;
    }
    Ok(())
}
