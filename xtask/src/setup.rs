//! `cargo xtask setup`: installs everything that the lanes need. `cargo xtask test` does not depend on it, because
//! each lane installs its own part. If one part cannot be installed, the setup names it and goes on.

use crate::context::Context;
use crate::install::{Tool, component, tools};
use crate::lanes::daemons_ready;
use crate::paths;
use crate::python;
use crate::runner::Stop;
use crate::wine::Wine;

/// The linker that cargo itself needs.
const LINKER: Tool = Tool {
    program: "cc",
    packages: &["gcc", "libc6-dev"],
};

/// Installs everything, reports each part, and returns whether all parts are ready.
pub(crate) fn run(context: &Context) -> bool {
    println!("== setup");
    let parts = [
        ("linker", tools(context, &[LINKER])),
        ("rustfmt", component("rustfmt", "cargo-fmt")),
        ("clippy", component("clippy", "cargo-clippy")),
        ("Windows lane", Wine::ready(context).map(drop)),
        ("daemons", daemons_ready(context)),
        ("hot paths", paths::ready(context)),
        ("Python lanes", python::ready(context)),
        ("PostgreSQL", python::postgresql(context)),
        ("asyncio suites", python::asyncio_ready(context)),
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

fn report(name: &str, text: &str, ready: bool) -> bool {
    println!("{name}: {text}");
    ready
}
