//! Everything that CI runs, for any developer to run: `cargo xtask COMMAND`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this command reports on standard output, and prints errors on standard error"
)]

mod bench;
mod beside;
mod context;
mod install;
mod lanes;
mod machine;
mod paths;
mod python;
mod runner;
mod setup;
mod test;
mod tidy;
mod wine;

use std::process::ExitCode;

use context::Context;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test    install what the lanes need, and run every lane that this machine can run
          --require-all    fail if a required lane cannot run
          --only A,B       run only these lanes
          --list           list the lanes and run nothing
          --install        also install system packages (always on for root)
  tidy    check rules of the code that no lint covers
  bench   compare with other runtimes; `bench python` with Twisted's reactors, `bench asyncio` with asyncio's loops;
          see `bench --help`
  paths   compare the instruction counts of the hot paths with the record; see `paths --help`
  setup   install everything that the lanes need: system packages, Rust targets, the Wine prefix
  ci      setup, then test --require-all
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, options)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = match command.as_str() {
        "test" => test::Options::parse(options)
            .and_then(|options| test::run(&Context::find(options.install)?, &options)),
        "tidy" => no_options(options).and_then(|()| tidy::run(&Context::find(false)?.root)),
        "bench" => Context::find(false).and_then(|context| bench::run(&context, options)),
        "paths" => Context::find(false).and_then(|context| paths::run(&context, options)),
        "setup" => no_options(options).and_then(|()| Ok(setup::run(&Context::find(true)?))),
        "ci" => no_options(options).and_then(|()| ci()),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(true)
        }
        other => Err(format!("unknown command `{other}`\n\n{USAGE}")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}

fn no_options(options: &[String]) -> Result<(), String> {
    match options.first() {
        None => Ok(()),
        Some(option) => Err(format!("unexpected argument `{option}`\n\n{USAGE}")),
    }
}

/// Runs all lanes even if the setup is incomplete: the lane that lacks something fails and names it.
fn ci() -> Result<bool, String> {
    let context = Context::find(true)?;
    setup::run(&context);
    test::run(&context, &test::Options::everything())
}
