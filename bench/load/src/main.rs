//! The client side of the benchmarks: one thread, many connections, any server.
//!
//! It prints a line `measuring` when the measured time begins and one line of JSON when it ends, so that who
//! started it can read the server's CPU time at the same two moments.

mod args;
mod connection;
mod histogram;
mod link;
mod load;
mod tally;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::load::Load;

fn main() -> ExitCode {
    let args = Args::parse();
    match Load::new(&args).and_then(Load::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told when even this cannot be written.
            let _ = writeln!(
                std::io::stderr(),
                "tidewaiter-load: {}: {error}",
                args.address
            );
            ExitCode::FAILURE
        }
    }
}
