//! `cargo xtask bench`: starts the Python programs that compare tidewaiter with others.

use std::path::PathBuf;

use crate::context::{Context, has};
use crate::install::rust_target;
use crate::python;
use crate::runner::{Step, Stop};
use crate::wine::{self, Wine};

const RUNTIMES: &str = "bench/runtimes/compare.py";
const REACTORS: &str = "bench/python/compare.py";
const LOOPS: &str = "bench/loops/compare.py";
/// Measures Windows programs, which need the tools of the Windows lanes.
const UNDER_WINE: &str = "--wine";
/// Options with which a comparison measures nothing.
const WITHOUT_RUNS: [&str; 4] = ["--list", "--report", "--help", "-h"];

/// Passes `options` to the comparison of runtimes or, after the word `python`, to that of Twisted reactors; after
/// `asyncio`, to that of asyncio's loops.
pub(crate) fn run(context: &Context, options: &[String]) -> Result<bool, String> {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    prepared(context, &options)
        .map_err(message)?
        .env("CARGO_TARGET_DIR", &context.target)
        .run_openly()
}

/// Installs what a run with these options needs, and returns its command.
fn prepared(context: &Context, options: &[&str]) -> Result<Step, Stop> {
    let (program, options) = match options.split_first() {
        Some((&"python", rest)) => (REACTORS, rest),
        Some((&"asyncio", rest)) => (LOOPS, rest),
        _ => (RUNTIMES, options),
    };
    let run_by = |python: PathBuf| Step::new(context, python, &[program]).args(options);
    if options.iter().any(|option| WITHOUT_RUNS.contains(option)) {
        return interpreter().map(run_by);
    }
    match (program, options.contains(&UNDER_WINE)) {
        (RUNTIMES, false) => interpreter().map(run_by),
        (RUNTIMES, true) => under_wine(context, run_by(interpreter()?)),
        (LOOPS, false) => python::with_uvloops_benchmark(context, run_by(python::bench(context)?)),
        (_, false) => python::bench(context).map(run_by),
        (_, true) => python::bench_under_wine(context, run_by(interpreter()?)),
    }
}

/// Makes `step` use a Wine prefix, and able to build for Windows.
fn under_wine(context: &Context, step: Step) -> Result<Step, Stop> {
    rust_target(wine::TARGET)?;
    Ok(Wine::ready(context)?.environment(step))
}

fn interpreter() -> Result<PathBuf, Stop> {
    let python = ["python3", "python"].into_iter().find(|name| has(name));
    python.map(PathBuf::from).ok_or_else(|| {
        let what = "no `python3` on the path, which the benchmarks need";
        Stop::missing(what, "install Python 3.10 or newer")
    })
}

fn message(stop: Stop) -> String {
    match stop {
        Stop::Failed(reason) | Stop::Foreign(reason) => reason,
        Stop::Missing { what, remedy } => format!("{what} (to get it: {remedy})"),
    }
}
