//! The client side of the benchmarks: one thread, many connections, any server.
//!
//! It prints a line `measuring` when the measured time begins, and a line of JSON when it ends. The program that
//! started it reads the server's CPU time at these two moments.

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
            // If standard error is closed, the exit code still reports the failure.
            let _ = writeln!(
                std::io::stderr(),
                "tidewaiter-load: {}: {error}",
                args.address
            );
            ExitCode::FAILURE
        }
    }
}
