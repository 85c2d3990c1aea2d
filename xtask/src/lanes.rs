//! The lanes: what is checked, in which order, and what each one needs.
//!
//! Every set of compiler flags has its own target folder, so that no lane makes another build again.

use std::path::PathBuf;

use crate::context::{Context, has, output};
use crate::install::{component, rust_target, rustup, toolchain};
use crate::machine::{oldest_rust, ring_allowed};
use crate::paths;
use crate::python;
use crate::runner::{Step, Stop, Tally};
use crate::tidy;
use crate::wine::{self, Wine};

/// Whether `--require-all` insists on a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    /// It needs what not every machine can have: the network, a second toolchain.
    Optional,
}
use Need::{Optional, Required};

/// One line of the summary.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: &'static str,
    pub(crate) need: Need,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&Context) -> Result<Tally, Stop>,
}

const fn lane(
    name: &'static str,
    need: Need,
    what: &'static str,
    run: fn(&Context) -> Result<Tally, Stop>,
) -> Lane {
    Lane {
        name,
        need,
        what,
        run,
    }
}

/// All lanes, cheap ones first.
pub(crate) const LANES: &[Lane] = &[
    lane("fmt", Required, "the code is laid out by rustfmt", fmt),
    lane("tidy", Required, "the rules that no lint knows", tidy_rules),
    lane("clippy", Required, "no warning, in any target", clippy),
    lane(
        "clippy-windows",
        Required,
        "the same, built for Windows",
        clippy_windows,
    ),
    lane(
        "docs",
        Required,
        "the manual builds, and its links lead somewhere",
        docs,
    ),
    lane(
        "tests",
        Required,
        "all tests, each port of this system, the examples",
        tests,
    ),
    lane("uring", Required, "reactor and command on io_uring", uring),
    lane("poll", Required, "reactor and command on readiness", poll),
    lane("doctests", Required, "the manual's examples run", doctests),
    lane(
        "windows",
        Required,
        "all tests on completion ports, under Wine",
        windows,
    ),
    lane(
        "loom",
        Required,
        "every interleaving of wake-ups from other threads",
        loom,
    ),
    lane(
        "asan",
        Required,
        "the real ports under AddressSanitizer",
        asan,
    ),
    lane(
        "paths",
        Required,
        "no hot path takes over 3 % more instructions than recorded",
        paths::check,
    ),
    lane(
        "python-lint",
        Required,
        "the Python files are laid out by ruff, which finds no fault",
        python::lint,
    ),
    lane(
        "python",
        Required,
        "the wheel, its types, its own tests, two applications",
        python::package,
    ),
    lane(
        "twisted-uring",
        Required,
        "Twisted's suites for every reactor, on io_uring",
        python::twisted_uring,
    ),
    lane(
        "twisted-poll",
        Required,
        "Twisted's suites for every reactor, on readiness",
        python::twisted_poll,
    ),
    lane(
        "twisted",
        Required,
        "all of Twisted's tests with our reactor installed",
        python::twisted,
    ),
    lane(
        "twisted-windows",
        Required,
        "the wheel for Windows, its tests and Twisted's, under Wine",
        python::twisted_windows,
    ),
    lane(
        "miri",
        Optional,
        "who owns an operation's memory, and the simulated port",
        miri,
    ),
    lane(
        "msrv",
        Optional,
        "the oldest Rust we promise builds it",
        msrv,
    ),
    lane(
        "cross",
        Optional,
        "macOS, FreeBSD and 64-bit ARM type-check",
        cross,
    ),
    lane(
        "deny",
        Optional,
        "licences and advisories of what we depend on",
        deny,
    ),
];

/// The tests that Miri runs: what owns memory, with a stand-in for the kernel, the simulated port, and
/// the table of keys. Not what holds no unsafe code and is large: timers and chunks take it minutes.
const MIRI_FILTERS: &[&str] = &[
    "port::buffer",
    "port::sim",
    "port::table",
    "port::uring::buffers",
    "port::uring::operation",
];

/// The same, of Windows's port; Miri needs no Windows for that.
const MIRI_FILTERS_WINDOWS: &[&str] = &["port::iocp::operation"];

/// Systems that nothing here can run, but that the library must build for.
const CROSS_TARGETS: &[&str] = &[
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
    "x86_64-unknown-freebsd",
    "aarch64-unknown-linux-gnu",
];

/// The tests themselves; their documentation's examples are a lane of their own.
const TEST_KINDS: &[&str] = &["--no-fail-fast", "--lib", "--bins", "--tests", "--examples"];

/// Programs with Python's extension in them would need Python's library to link: it is tested as a wheel.
const WITHOUT_PYTHON: &[&str] = &["--exclude", "tidewaiter-python"];

fn folder(context: &Context, name: &str) -> PathBuf {
    context.target.join(name)
}

fn fmt(context: &Context) -> Result<Tally, Stop> {
    component("rustfmt", "cargo-fmt")?;
    Step::cargo(context, &["fmt", "--all", "--check"]).run(context)
}

fn tidy_rules(context: &Context) -> Result<Tally, Stop> {
    match tidy::run(&context.root) {
        Ok(true) => Ok(Tally::default()),
        Ok(false) => Err(Stop::Failed("see the breaches above".to_owned())),
        Err(message) => Err(Stop::Failed(message)),
    }
}

fn clippy(context: &Context) -> Result<Tally, Stop> {
    component("clippy", "cargo-clippy")?;
    Step::cargo(
        context,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
    .run(context)
}

fn clippy_windows(context: &Context) -> Result<Tally, Stop> {
    component("clippy", "cargo-clippy")?;
    rust_target(wine::TARGET)?;
    Step::cargo(
        context,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--target",
            wine::TARGET,
        ],
    )
    .args(&["--", "-D", "warnings"])
    .run(context)
}

fn docs(context: &Context) -> Result<Tally, Stop> {
    // The command has no manual but its help, and would write it over the library's.
    Step::cargo(context, &["doc", "-p", "tidewaiter", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run(context)
}

fn tests(context: &Context) -> Result<Tally, Stop> {
    Step::cargo(context, &["test", "--workspace"])
        .args(WITHOUT_PYTHON)
        .args(TEST_KINDS)
        .run(context)
        .and_then(Tally::at_least_one)
}

fn uring(context: &Context) -> Result<Tally, Stop> {
    ring_allowed()?;
    on_port(context, "uring")
}

fn poll(context: &Context) -> Result<Tally, Stop> {
    if cfg!(windows) {
        return Err(Stop::Foreign("Windows has completion ports".to_owned()));
    }
    on_port(context, "poll")
}

/// The tests of the layers above the port take their port from the environment, as users do.
fn on_port(context: &Context, port: &str) -> Result<Tally, Stop> {
    Step::cargo(context, &["test", "--workspace", "--exclude", "xtask"])
        .args(WITHOUT_PYTHON)
        .args(TEST_KINDS)
        .env("TIDEWAITER_PORT", port)
        .run(context)
        .and_then(Tally::at_least_one)
}

fn doctests(context: &Context) -> Result<Tally, Stop> {
    Step::cargo(context, &["test", "--workspace", "--doc", "--no-fail-fast"])
        .args(WITHOUT_PYTHON)
        .run(context)
}

fn windows(context: &Context) -> Result<Tally, Stop> {
    let wine = Wine::ready(context)?;
    let outcome = wine
        .cargo(context, &["test", "--workspace", "--exclude", "xtask"])
        .args(WITHOUT_PYTHON)
        .args(TEST_KINDS)
        .run(context);
    wine.stop(context);
    outcome.and_then(Tally::at_least_one)
}

fn loom(context: &Context) -> Result<Tally, Stop> {
    // Optimised, since it runs every interleaving; but nobody keeps the program.
    Step::cargo(
        context,
        &["test", "-p", "tidewaiter", "--lib", "--release", "loom_"],
    )
    .env("RUSTFLAGS", "--cfg loom")
    .env("CARGO_TARGET_DIR", folder(context, "loom"))
    .env("CARGO_PROFILE_RELEASE_LTO", "off")
    .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
    .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
    .run(context)
    .and_then(Tally::at_least_one)
}

fn asan(context: &Context) -> Result<Tally, Stop> {
    if !context.host.ends_with("-linux-gnu") {
        return Err(Stop::Foreign(format!("not set up for {}", context.host)));
    }
    let cargo = |leaks: u8, arguments: &[&str]| {
        Step::cargo(
            context,
            &["test", "-p", "tidewaiter", "--target", &context.host],
        )
        .args(arguments)
        // The sanitizer is in stable compilers, behind the switch that is not.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("CARGO_TARGET_DIR", folder(context, "asan"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("ASAN_OPTIONS", format!("detect_leaks={leaks}"))
    };
    // Looking for leaks takes ptrace, which containers may forbid: then even listing tests fails.
    let leaks = u8::from(cargo(1, &["--lib", "--", "--list"]).succeeds());
    println!(
        "leaks are {}looked for",
        if leaks == 1 { "" } else { "not " }
    );
    // That one leaks what the kernel may still write to, and shows that it is no worse.
    let leaky = ["--", "--skip", "dropping_on_another_thread_neither_hangs"];
    cargo(leaks, &["--no-fail-fast", "--lib", "--tests"])
        .args(if leaks == 1 { &leaky } else { &[] })
        .run(context)
        .and_then(Tally::at_least_one)
}

fn miri(context: &Context) -> Result<Tally, Stop> {
    let nightly = ["run", "nightly", "cargo"];
    let run = |arguments: &[&str]| {
        Step::new(context, "rustup", &nightly)
            .args(arguments)
            .env("CARGO_TARGET_DIR", folder(context, "miri"))
    };
    if output("rustup", &["run", "nightly", "rustc", "--version"]).is_none() {
        return Err(Stop::missing(
            "no nightly Rust",
            "rustup toolchain install nightly",
        ));
    }
    if !run(&["miri", "--version"]).succeeds() || !run(&["miri", "setup"]).succeeds() {
        rustup(&[
            "component",
            "add",
            "--toolchain",
            "nightly",
            "miri",
            "rust-src",
        ])?;
        run(&["miri", "setup"]).run(context).map_err(|_| {
            let remedy = "rustup component add --toolchain nightly miri rust-src";
            Stop::missing("no Miri for the nightly Rust", remedy)
        })?;
    }
    let test = |target: &str, filters: &[&str]| {
        run(&["miri", "test", "-p", "tidewaiter", "--lib"])
            .args(&["--target", target, "--"])
            .args(filters)
            .run(context)
            .and_then(Tally::at_least_one)
    };
    let mut tally = test(&context.host, MIRI_FILTERS)?;
    tally += test(wine::TARGET, MIRI_FILTERS_WINDOWS)?;
    Ok(tally)
}

fn msrv(context: &Context) -> Result<Tally, Stop> {
    let version = oldest_rust(context)?;
    toolchain(&version)?;
    Step::new(
        context,
        "rustup",
        &["run", &version, "cargo", "check", "--workspace"],
    )
    .env("CARGO_TARGET_DIR", folder(context, "msrv"))
    .run(context)
}

fn cross(context: &Context) -> Result<Tally, Stop> {
    let mut absent = None;
    for target in CROSS_TARGETS {
        if let Err(stop) = rust_target(target) {
            println!("no Rust target {target}");
            absent = Some(stop);
            continue;
        }
        Step::cargo(
            context,
            &["check", "-p", "tidewaiter", "--lib", "--target", target],
        )
        .run(context)?;
    }
    absent.map_or(Ok(Tally::default()), Err)
}

fn deny(context: &Context) -> Result<Tally, Stop> {
    if !has("cargo-deny") {
        return Err(Stop::missing(
            "no cargo-deny",
            "cargo install --locked cargo-deny",
        ));
    }
    Step::cargo(context, &["deny", "--all-features", "check"]).run(context)
}
