//! The client side of the benchmarks: one thread, many connections or UDP sockets, any server.
//!
//! It prints a line `measuring` when the measured time begins, and a line of JSON when it ends. The program that
//! started it reads the server's CPU time at these two moments.

mod address;
mod args;
mod connection;
mod exchange;
mod histogram;
mod link;
mod load;
mod one_way;
mod plan;
mod tally;
mod udp;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::address::Address;
use crate::args::{Args, Mode};
use crate::load::Load;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
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

fn run(args: &Args) -> io::Result<()> {
    match (&args.address, args.mode) {
        (Address::Tcp(_) | Address::Unix(_), _) => Load::new(args)?.run(),
        (Address::Udp(address), Mode::Echo | Mode::Idle) => exchange::run(args, *address),
        (Address::Udp(address), Mode::Send | Mode::Receive) => one_way::run(args, *address),
        (Address::Udp(_), Mode::Both | Mode::Churn | Mode::Fetch | Mode::Redis) => Err(
            io::Error::new(io::ErrorKind::Unsupported, "this mode needs connections"),
        ),
    }
}

fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{line}")?;
    output.flush()
}
