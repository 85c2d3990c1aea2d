//! `cargo xtask setup`: installs everything that the lanes need. Each lane also installs its own part, so
//! `cargo xtask test` alone is enough. A part that cannot be installed is named, and the rest goes on.

use crate::context::Context;
use crate::install::{Tool, component, tools};
use crate::paths;
use crate::python;
use crate::runner::Stop;
use crate::wine::Wine;

/// What links the Rust programs: cargo's own need.
const LINKER: Tool = Tool {
    program: "cc",
    packages: &["gcc", "libc6-dev"],
};

/// Sets up everything, says what it could not, and returns whether that was nothing.
pub(crate) fn run(context: &Context) -> bool {
    println!("== setup");
    let parts = [
        ("linker", tools(context, &[LINKER])),
        ("rustfmt", component("rustfmt", "cargo-fmt")),
        ("clippy", component("clippy", "cargo-clippy")),
        ("Windows lane", Wine::ready(context).map(drop)),
        ("hot paths", paths::ready(context)),
        ("Python lanes", python::ready(context)),
        ("Windows Python", python::windows_ready(context).map(drop)),
    ];
    let mut complete = true;
    for (name, part) in parts {
        complete &= match part {
            Ok(()) => report(name, "ready", true),
            Err(Stop::Foreign(reason)) => report(name, &format!("not for this OS: {reason}"), true),
            Err(Stop::Failed(reason)) => report(name, &reason, false),
            Err(Stop::Missing { what, remedy }) => {
                report(name, &format!("{what} (to get it: {remedy})"), false)
            }
        };
    }
    complete
}

fn report(name: &str, text: &str, fine: bool) -> bool {
    println!("{name}: {text}");
    fine
}
