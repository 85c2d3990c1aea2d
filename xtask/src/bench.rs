//! `cargo xtask bench`: the comparison with other runtimes, which is a Python program.

use crate::context::{Context, has};
use crate::runner::{Step, Stop};
use crate::setup::rust_target;
use crate::wine::{self, Wine};

const PROGRAM: &str = "bench/runtimes/compare.py";
/// Measures Windows programs, which takes what the Windows lane takes.
const UNDER_WINE: &str = "--wine";
/// With one of these nothing is measured.
const LOOKS: [&str; 4] = ["--list", "--report", "--help", "-h"];

/// Hands `options` on to the program, which knows them.
pub(crate) fn run(context: &Context, options: &[String]) -> Result<bool, String> {
    let python = ["python3", "python"].into_iter().find(|name| has(name));
    let python =
        python.ok_or("the benchmarks need Python 3.10 or newer: `python3` is not on the path")?;
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let step = Step::new(context, python, &[PROGRAM])
        .args(&options)
        .env("CARGO_TARGET_DIR", &context.target);
    if options.contains(&UNDER_WINE) && !options.iter().any(|option| LOOKS.contains(option)) {
        return under_wine(context, step).map_err(reason)?.run_openly();
    }
    step.run_openly()
}

/// Sets up what is still missing, and has `step` find it.
fn under_wine(context: &Context, step: Step) -> Result<Step, Stop> {
    rust_target(wine::TARGET)?;
    Ok(Wine::ready(context)?.environment(step))
}

fn reason(stop: Stop) -> String {
    match stop {
        Stop::Failed(reason) | Stop::Foreign(reason) => reason,
        Stop::Missing { what, remedy } => format!("{what} (to get it: {remedy})"),
    }
}
