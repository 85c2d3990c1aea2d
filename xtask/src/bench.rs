//! `cargo xtask bench`: the comparisons with others, which are Python programs.

use std::path::PathBuf;

use crate::context::{Context, has};
use crate::python;
use crate::runner::{Step, Stop};

const RUNTIMES: &str = "bench/runtimes/compare.py";
const PYTHON: &str = "bench/python/compare.py";

/// Hands `options` on to the program that knows them: after the word `python`, that is Python's.
pub(crate) fn run(context: &Context, options: &[String]) -> Result<bool, String> {
    let (program, python, options) = match options.split_first() {
        Some((word, rest)) if word == "python" => {
            (PYTHON, python::bench(context).map_err(told)?, rest)
        }
        _ => (RUNTIMES, interpreter()?, options),
    };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Step::new(context, python, &[program])
        .args(&options)
        .env("CARGO_TARGET_DIR", &context.target)
        .run_openly()
}

fn interpreter() -> Result<PathBuf, String> {
    let python = ["python3", "python"].into_iter().find(|name| has(name));
    python.map(PathBuf::from).ok_or_else(|| {
        "the benchmarks need Python 3.10 or newer: `python3` is not on the path".to_owned()
    })
}

fn told(stop: Stop) -> String {
    match stop {
        Stop::Failed(reason) | Stop::Foreign(reason) => reason,
        Stop::Missing { what, remedy } => format!("{what} (to get it: {remedy})"),
    }
}
