//! The lanes of the Python package: it is built as its users get it, as a wheel, and tested installed.

mod environment;
mod windows;

use std::path::PathBuf;

use crate::context::Context;
use crate::runner::{Step, Stop, Tally};
use crate::wine::{self, Wine};
use environment::{CRATE, Environment, Requirements, emptied, folder, only_file};
pub(crate) use windows::{bench_under_wine, ready as windows_ready, twisted_windows};

/// So that the same source gives the same wheel: the start of the zip format's time, in seconds.
const WHEEL_TIME: &str = "315532800";

/// The package's own tests, and those that run Twisted's.
const TESTS: &str = "crates/tidewaiter-python/tests";
const CONFORMANCE: &str = "crates/tidewaiter-python/tests/conformance";

/// The profile of what is tested.
const DEBUG: &str = "dev";

/// That of what is measured.
const RELEASE: &str = "release";

/// How many of Twisted's tests pass on its own reactor, rounded down: fewer means that some got lost.
const BUILDER_TESTS: &str = "290";
const GLOBAL_TESTS: &str = "9500";

/// The Python in an environment that has the package as it is released, and those it is compared with.
pub(crate) fn bench(context: &Context) -> Result<PathBuf, Stop> {
    let wheel = wheel(context, RELEASE, None)?;
    Environment::ready(context, "bench", Some(&wheel)).map(|python| python.interpreter())
}

/// Downloads all that the lanes on this system need.
pub(crate) fn ready(context: &Context) -> Result<(), Stop> {
    tools(context)?;
    Requirements::read(context, "test")?
        .downloaded(context)
        .map(drop)
}

/// The Python files are laid out by ruff, and it finds nothing in them.
pub(crate) fn lint(context: &Context) -> Result<Tally, Stop> {
    let tools = tools(context)?;
    tools
        .program(context, "ruff", &["format", "--check", "."])
        .run(context)?;
    tools.program(context, "ruff", &["check", "."]).run(context)
}

/// The wheel installs, its types are true, its tests pass, the examples run.
pub(crate) fn package(context: &Context) -> Result<Tally, Stop> {
    let wheel = wheel(context, DEBUG, None)?;
    tools(context)?
        .program(context, "abi3audit", &["--strict", "--summary"])
        .path(&wheel)
        .run(context)?;
    let python = installed(context)?;
    check_types(context, &python)?;
    python
        .python(context, &[TESTS])
        .run(context)
        .and_then(Tally::at_least_one)
}

/// The extension is what its stub says, and users who check their types strictly can use the package. What
/// stands behind its public modules derives from parts of Twisted that have no types.
fn check_types(context: &Context, python: &Environment) -> Result<(), Stop> {
    let cache = folder(context, "mypy-cache");
    python
        .python(context, &["-m", "mypy.stubtest", "tidewaiter._tidewaiter"])
        .run(context)?;
    python
        .python(
            context,
            &["-m", "mypy", "--strict", "--allow-untyped-calls"],
        )
        .args(&["--follow-imports=silent", "--cache-dir"])
        .path(&cache)
        .args(&["-m", "tidewaiter", "-m", "tidewaiter.twisted"])
        .run(context)?;
    Ok(())
}

/// Twisted's suites for every reactor, with ours on io_uring.
pub(crate) fn twisted_uring(context: &Context) -> Result<Tally, Stop> {
    crate::machine::ring_allowed()?;
    builder(context, "uring")
}

/// The same on readiness.
pub(crate) fn twisted_poll(context: &Context) -> Result<Tally, Stop> {
    not_windows()?;
    builder(context, "poll")
}

fn builder(context: &Context, port: &str) -> Result<Tally, Stop> {
    let python = installed(context)?;
    python
        .python(context, &[CONFORMANCE, "layout", "tidewaiter"])
        .env("TIDEWAITER_PORT", port)
        .run(context)?;
    conformance(context, &python, "builder", BUILDER_TESTS)
        .env("TIDEWAITER_PORT", port)
        .run(context)
}

/// All of Twisted's tests, with our reactor installed.
pub(crate) fn twisted(context: &Context) -> Result<Tally, Stop> {
    not_windows()?;
    let python = installed(context)?;
    conformance(context, &python, "global", GLOBAL_TESTS).run(context)
}

fn not_windows() -> Result<(), Stop> {
    if cfg!(windows) {
        return Err(Stop::Foreign(
            "compares with Twisted's epoll reactor".to_owned(),
        ));
    }
    Ok(())
}

fn conformance(context: &Context, python: &Environment, suite: &str, least: &str) -> Step {
    python.python(
        context,
        &[
            CONFORMANCE,
            suite,
            "tidewaiter",
            "--peer",
            "epoll",
            "--at-least",
            least,
        ],
    )
}

fn tools(context: &Context) -> Result<Environment, Stop> {
    Environment::ready(context, "tools", None)
}

/// An environment with the wheel in it.
fn installed(context: &Context) -> Result<Environment, Stop> {
    Environment::ready(context, "test", Some(&wheel(context, DEBUG, None)?))
}

/// Builds the package as its users get it, but for the profile: for this system, or for Windows.
fn wheel(context: &Context, profile: &str, wine: Option<&Wine>) -> Result<PathBuf, Stop> {
    let tools = tools(context)?;
    let out = folder(context, wine.map_or("wheel", |_| "windows-dist"));
    emptied(&out)?;
    // A check for old Linux systems would refuse what a newer one has linked.
    let build = [
        "build",
        "--profile",
        profile,
        "--auditwheel",
        "skip",
        "--manifest-path",
    ];
    let step = tools
        .program(context, "maturin", &build)
        .path(&context.root.join(CRATE).join("Cargo.toml"))
        .args(&["--out"])
        .path(&out)
        .env("SOURCE_DATE_EPOCH", WHEEL_TIME)
        // maturin tells PyO3's build script about the interpreter, which would build it again elsewhere.
        .env("CARGO_TARGET_DIR", folder(context, "build"));
    let step = match wine {
        Some(wine) => wine.compiler(step).args(&["--target", wine::TARGET]),
        None => step.args(&["--interpreter"]).path(&tools.interpreter()),
    };
    step.run(context)?;
    only_file(&out)
}
