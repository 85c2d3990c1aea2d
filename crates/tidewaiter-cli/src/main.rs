//! The `tidewaiter` command: a process per connection, on every OS.
//!
//! `args` parses the command line, `plan` checks it and turns it into typed values, and `commands` executes it.
//! The command uses only the library's public interface.

mod args;
mod commands;
mod confine;
mod failure;
mod identity;
mod log;
mod place;
mod plan;
mod quantity;

use std::process::ExitCode;

use failure::Failure;
use plan::Plan;

fn main() -> ExitCode {
    let outcome = args::parse().and_then(plan::plan).and_then(run);
    log::finish();
    match outcome {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(plan: Plan) -> Result<ExitCode, Failure> {
    match plan {
        Plan::Serve(plan) => commands::serve::run(*plan),
        Plan::Connect(plan) => commands::connect::run(plan),
        Plan::Info { port } => Ok(commands::info::run(port)),
    }
}
