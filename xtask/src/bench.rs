//! `cargo xtask bench`: the comparison with other runtimes, which is a Python program.

use crate::context::{Context, has};
use crate::runner::Step;

const PROGRAM: &str = "bench/runtimes/compare.py";

/// Hands `options` on to the program, which knows them.
pub(crate) fn run(context: &Context, options: &[String]) -> Result<bool, String> {
    let python = ["python3", "python"].into_iter().find(|name| has(name));
    let python =
        python.ok_or("the benchmarks need Python 3.10 or newer: `python3` is not on the path")?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Step::new(context, python, &[PROGRAM])
        .args(&options)
        .env("CARGO_TARGET_DIR", &context.target)
        .run_openly()
}
