//! `cargo xtask bench`: the comparisons with others, which are Python programs.

use std::path::PathBuf;

use crate::context::{Context, has};
use crate::python;
use crate::runner::{Step, Stop};
use crate::setup::rust_target;
use crate::wine::{self, Wine};

const RUNTIMES: &str = "bench/runtimes/compare.py";
const PYTHON: &str = "bench/python/compare.py";
/// Measures Windows programs, which takes what the Windows lane takes.
const UNDER_WINE: &str = "--wine";
/// With one of these nothing is measured.
const LOOKS: [&str; 4] = ["--list", "--report", "--help", "-h"];

/// Hands `options` on to the program that knows them: after the word `python`, that is Python's.
pub(crate) fn run(context: &Context, options: &[String]) -> Result<bool, String> {
    let step = match options.split_first() {
        Some((word, rest)) if word == "python" => {
            let python = python::bench(context).map_err(told)?;
            Step::new(context, python, &[PYTHON]).args(&borrowed(rest))
        }
        _ => runtimes(context, &borrowed(options))?,
    };
    step.env("CARGO_TARGET_DIR", &context.target).run_openly()
}

fn runtimes(context: &Context, options: &[&str]) -> Result<Step, String> {
    let step = Step::new(context, interpreter()?, &[RUNTIMES]).args(options);
    if options.contains(&UNDER_WINE) && !options.iter().any(|option| LOOKS.contains(option)) {
        return under_wine(context, step).map_err(told);
    }
    Ok(step)
}

/// Sets up what is still missing, and has `step` find it.
fn under_wine(context: &Context, step: Step) -> Result<Step, Stop> {
    rust_target(wine::TARGET)?;
    Ok(Wine::ready(context)?.environment(step))
}

fn interpreter() -> Result<PathBuf, String> {
    let python = ["python3", "python"].into_iter().find(|name| has(name));
    python.map(PathBuf::from).ok_or_else(|| {
        "the benchmarks need Python 3.10 or newer: `python3` is not on the path".to_owned()
    })
}

fn borrowed(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

fn told(stop: Stop) -> String {
    match stop {
        Stop::Failed(reason) | Stop::Foreign(reason) => reason,
        Stop::Missing { what, remedy } => format!("{what} (to get it: {remedy})"),
    }
}
