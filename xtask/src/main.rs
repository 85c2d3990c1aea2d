//! What CI runs, runnable by anyone: `cargo xtask COMMAND`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command's report is its standard output, and its complaint the standard error"
)]

mod bench;
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

  test    set up what is needed and run every lane this machine can run
          --require-all    a required lane that cannot run is a failure
          --only A,B       these lanes alone
          --list           name the lanes, run nothing
          --install        install system packages too (as root it does so anyway)
  tidy    check the rules of the code that no lint knows
  bench   compare with other runtimes; `bench python`: with other reactors; `--help` tells more
  paths   compare the hot paths' instructions with the record; `paths --help` tells more
  setup   install what the lanes need: system packages, Rust targets, the Wine prefix
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
        other => Err(format!("no command is named `{other}`\n\n{USAGE}")),
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
        Some(option) => Err(format!("this command takes no `{option}`\n\n{USAGE}")),
    }
}

/// What could not be set up is not an end: the lane that needs it says so, by name, and fails.
fn ci() -> Result<bool, String> {
    let context = Context::find(true)?;
    setup::run(&context);
    test::run(&context, &test::Options::everything())
}
