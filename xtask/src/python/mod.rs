//! The lanes of the Python package. They build it as a wheel, as users get it, and test it installed.

mod asyncio;
mod environment;
mod windows;

use std::path::PathBuf;

use crate::context::Context;
use crate::install::Tool;
use crate::runner::{Step, Stop, Tally};
use crate::wine::{self, Wine};
pub(crate) use asyncio::{
    cpython as asyncio_cpython, long_suites as asyncio_long, ready as asyncio_ready,
    short_suites as asyncio_short,
};
use environment::{CRATE, Environment, Requirements, emptied, folder, only_file};
pub(crate) use windows::{
    asyncio_windows, bench_under_wine, ready as windows_ready, twisted_windows,
};

/// The time stamp of all files in a wheel, so that builds are reproducible: the earliest that a zip file can hold.
const WHEEL_TIME: &str = "315532800";

/// The package's own tests, and the programs that run Twisted's tests.
const TESTS: &str = "crates/tidewaiter-python/tests";
const CONFORMANCE: &str = "crates/tidewaiter-python/tests/conformance";

/// The cargo profile for tests.
const DEBUG: &str = "dev";

/// The cargo profile for measurements.
const RELEASE: &str = "release";

/// Numbers of Twisted's tests that pass on its own reactor, rounded down. Fewer mean that tests did not run.
const BUILDER_TESTS: &str = "290";
const GLOBAL_TESTS: &str = "9500";

/// The Python of an environment with the package in release mode, and with the packages that it is compared with.
pub(crate) fn bench(context: &Context) -> Result<PathBuf, Stop> {
    let wheel = wheel(context, RELEASE, None)?;
    Environment::ready(context, "bench", Some(&wheel)).map(|python| python.interpreter())
}

/// Gives a comparison of asyncio's loops what uvloop's own benchmark takes. uvloop does not run on Windows.
pub(crate) fn with_uvloops_benchmark(context: &Context, step: Step) -> Result<Step, Stop> {
    if cfg!(windows) {
        return Ok(step);
    }
    Ok(step.env("UVLOOP_SOURCE", asyncio::uvloops_source(context)?))
}

/// Downloads all packages that the lanes on this system need.
pub(crate) fn ready(context: &Context) -> Result<(), Stop> {
    tools(context)?;
    Requirements::read(context, "test")?
        .downloaded(context)
        .map(drop)
}

/// Ensures that PostgreSQL is installed, with which psycopg is tested.
pub(crate) fn postgresql(context: &Context) -> Result<(), Stop> {
    let tool = Tool {
        program: "pg_lsclusters",
        packages: &["postgresql"],
    };
    crate::install::tools(context, &[tool])
}

/// Checks the format of all Python files, and lints them.
pub(crate) fn lint(context: &Context) -> Result<Tally, Stop> {
    let tools = tools(context)?;
    tools
        .program(context, "ruff", &["format", "--check", "."])
        .run(context)?;
    tools.program(context, "ruff", &["check", "."]).run(context)
}

/// Checks that the wheel installs, its type stubs match it, its tests pass, and the examples run.
pub(crate) fn package(context: &Context) -> Result<Tally, Stop> {
    let wheel = wheel(context, DEBUG, None)?;
    tools(context)?
        .program(context, "abi3audit", &["--strict", "--summary"])
        .path(&wheel)
        .run(context)?;
    let python = installed(context)?;
    check_types(context, &python)?;
    if postgresql(context).is_err() {
        println!("without PostgreSQL, psycopg is not tested");
    }
    python
        .python(context, &[TESTS])
        .run(context)
        .and_then(Tally::at_least_one)
}

/// Checks that the stub matches the extension, and that users can use the public modules under mypy's strict checks.
/// The private modules are exempt, because they derive from parts of Twisted that have no types.
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
        .args(&["-m", "tidewaiter"])
        .args(&["-m", "tidewaiter.asyncio", "-m", "tidewaiter.twisted"])
        .run(context)?;
    Ok(())
}

/// Runs Twisted's suites for all reactors with ours on io_uring.
pub(crate) fn twisted_uring(context: &Context) -> Result<Tally, Stop> {
    crate::machine::ring_allowed()?;
    builder(context, "uring")
}

/// Runs Twisted's suites for all reactors with ours on the poll port.
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

/// Runs all of Twisted's tests with our reactor installed.
pub(crate) fn twisted(context: &Context) -> Result<Tally, Stop> {
    not_windows()?;
    let python = installed(context)?;
    conformance(context, &python, "global", GLOBAL_TESTS).run(context)
}

fn not_windows() -> Result<(), Stop> {
    if cfg!(windows) {
        return Err(Stop::Foreign(
            "Windows has no epoll reactor to compare with".to_owned(),
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

/// An environment for tests, with the wheel installed.
fn installed(context: &Context) -> Result<Environment, Stop> {
    Environment::ready(context, "test", Some(&wheel(context, DEBUG, None)?))
}

/// Builds the wheel in a profile: for this system, or for Windows if `wine` is given.
fn wheel(context: &Context, profile: &str, wine: Option<&Wine>) -> Result<PathBuf, Stop> {
    let tools = tools(context)?;
    let out = folder(context, wine.map_or("wheel", |_| "windows-dist"));
    emptied(&out)?;
    // Skip the check for compatibility with old Linux systems: this wheel is linked on, and only for, this machine.
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
        // maturin sets variables for PyO3's build script. In a shared target folder, other lanes would rebuild PyO3.
        .env("CARGO_TARGET_DIR", folder(context, "build"));
    let step = match wine {
        Some(wine) => wine.compiler(step).args(&["--target", wine::TARGET]),
        None => step.args(&["--interpreter"]).path(&tools.interpreter()),
    };
    step.run(context)?;
    only_file(&out)
}
