//! The lanes: the checks in their order, and whether each is required.
//!
//! Each set of compiler flags has its own target folder, so that the lanes do not rebuild for one another.

use std::path::PathBuf;

use crate::context::{Context, has, output};
use crate::install::{Tool, component, rust_target, rustup, toolchain, tools};
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
    /// The lane needs something that not every machine can have, such as the network or a second toolchain.
    Optional,
}
use Need::{Optional, Required};

/// A check with a name, one line in the summary.
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

/// All lanes, cheap ones first. Those that run beside others keep this order, too.
pub(crate) const LANES: &[Lane] = &[
    lane("fmt", Required, "rustfmt formats the code", fmt),
    lane("tidy", Required, "rules that no lint covers", tidy_rules),
    lane(
        "builds",
        Optional,
        "the tests of `windows` and `asan` are built, for these to find them",
        builds,
    ),
    lane("clippy", Required, "no warnings, in any target", clippy),
    lane(
        "clippy-windows",
        Required,
        "the same, built for Windows",
        clippy_windows,
    ),
    lane(
        "docs",
        Required,
        "the documentation builds without broken links",
        docs,
    ),
    lane(
        "tests",
        Required,
        "all tests, on every port of this system, and the examples",
        tests,
    ),
    lane("uring", Required, "reactor and command on io_uring", uring),
    lane("poll", Required, "reactor and command on readiness", poll),
    lane(
        "daemons",
        Required,
        "git, rsync and ssh daemons serve their clients behind the command",
        daemons,
    ),
    lane(
        "doctests",
        Required,
        "the examples in the documentation run",
        doctests,
    ),
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
        "no hot path takes more than 3 % more instructions than recorded",
        paths::check,
    ),
    lane(
        "python-lint",
        Required,
        "ruff formats the Python files, and finds no fault in them",
        python::lint,
    ),
    lane(
        "python",
        Required,
        "the wheel, its types, its own tests, applications of Twisted and asyncio",
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
        "asyncio",
        Required,
        "CPython's own tests for every asyncio loop, on each port, with each Python here",
        python::asyncio_cpython,
    ),
    lane(
        "asyncio-suites",
        Required,
        "tests of uvloop and httpcore, and Twisted's on asyncio's reactor, on our loop",
        python::asyncio_short,
    ),
    lane(
        "asyncio-windows",
        Required,
        "CPython's own tests for every asyncio loop, under Wine",
        python::asyncio_windows,
    ),
    lane(
        "asyncio-long",
        Required,
        "tests of aiohttp, anyio, httpx and uvicorn on our loop",
        python::asyncio_long,
    ),
    lane(
        "miri",
        Optional,
        "ownership of operations' memory, and the simulated port",
        miri,
    ),
    lane(
        "msrv",
        Optional,
        "the workspace builds with the oldest Rust that we support",
        msrv,
    ),
    lane(
        "cross",
        Optional,
        "macOS, FreeBSD and 64-bit ARM type-check without warnings",
        cross,
    ),
    lane(
        "peers",
        Required,
        "the programs that the benchmarks compare build",
        peers,
    ),
    lane(
        "deny",
        Optional,
        "licences and advisories of our dependencies",
        deny,
    ),
];

/// Tests that Miri runs: ownership of memory, with a stand-in for the kernel, the simulated port, and the table of
/// handles. Timers and chunks are left out, because they have no unsafe code and take Miri minutes.
const MIRI_FILTERS: &[&str] = &[
    "port::memory::buffer",
    "port::sim",
    "port::table",
    "port::uring::buffers",
    "port::uring::pinned",
];

/// The same for the port of Windows. Miri can run them on any system.
const MIRI_FILTERS_WINDOWS: &[&str] = &["port::iocp::record"];

/// Systems that the library must build for, although CI does not run its tests there.
const CROSS_TARGETS: &[&str] = &[
    "x86_64-apple-darwin",
    "aarch64-apple-darwin",
    "x86_64-unknown-freebsd",
    "aarch64-unknown-linux-gnu",
];

/// Tests that leak memory on purpose: the kernel may still write to it, or its drop panics each time.
const LEAKY: &[&str] = &[
    "dropping_on_another_thread_neither_hangs",
    "a_port_dropped_by_another_thread_than_its_own_frees_nothing",
    "a_payload_that_panics_whenever_it_is_dropped_is_leaked",
];

/// A test that AddressSanitizer breaks: it reserves more address space than the test's child may have.
const SMALL: &str = "a_child_gets_no_more_memory_than_its_limit";

/// Daemons that inetd would start, and their clients. The tests of the other lanes leave out those that are missing.
const DAEMONS: &[Tool] = &[
    Tool {
        program: "git",
        packages: &["git"],
    },
    Tool {
        program: "rsync",
        packages: &["rsync"],
    },
    Tool {
        program: "ssh",
        packages: &["openssh-client"],
    },
    Tool {
        program: "/usr/sbin/sshd",
        packages: &["openssh-server"],
    },
];

/// All kinds of tests but doctests, which have their own lane.
const TEST_KINDS: &[&str] = &["--no-fail-fast", "--lib", "--bins", "--tests", "--examples"];

/// The same without programs, whose tests are in `--tests`.
const ASAN_KINDS: &[&str] = &["--no-fail-fast", "--lib", "--tests"];

/// Leaves the Python extension out: its test programs would have to link Python's library. Its own lanes test it as
/// a wheel.
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
    Step::cargo(context, &["clippy", "--workspace", "--all-targets"])
        .args(&["--", "-D", "warnings"])
        .env("CARGO_TARGET_DIR", folder(context, "clippy"))
        .run(context)
}

fn clippy_windows(context: &Context) -> Result<Tally, Stop> {
    component("clippy", "cargo-clippy")?;
    rust_target(wine::TARGET)?;
    Step::cargo(context, &["clippy", "--workspace", "--all-targets"])
        .args(&["--target", wine::TARGET, "--", "-D", "warnings"])
        .env("CARGO_TARGET_DIR", folder(context, "clippy"))
        .run(context)
}

fn docs(context: &Context) -> Result<Tally, Stop> {
    // The command has no API to document, and its pages would overwrite the library's: both are named `tidewaiter`.
    Step::cargo(
        context,
        &[
            "doc",
            "-p",
            "tidewaiter",
            "-p",
            "tidewaiter-process",
            "-p",
            "tidewaiter-hyper",
            "--no-deps",
        ],
    )
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

/// The beginnings of the names of tests that choose their port themselves.
const ON_PORTS_OF_THEIR_OWN: &[&str] = &["on_", "reactor_on_", "programs", "sim"];

/// Runs the tests with `TIDEWAITER_PORT` set, by which the layers above the port choose it. Leaves out those that choose
/// their port themselves: the lane `tests` runs them.
fn on_port(context: &Context, port: &str) -> Result<Tally, Stop> {
    let folder = context.root.join("crates/tidewaiter/tests");
    let unreadable = |error| Stop::Failed(format!("{}: {error}", folder.display()));
    let mut tests = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".rs"))
            && !ON_PORTS_OF_THEIR_OWN
                .iter()
                .any(|own| name.starts_with(own))
        {
            tests.extend(["--test".to_owned(), name.to_owned()]);
        }
    }
    let tests: Vec<_> = tests.iter().map(String::as_str).collect();
    Step::cargo(
        context,
        &["test", "-p", "tidewaiter", "-p", "tidewaiter-cli"],
    )
    .args(&[
        "--no-fail-fast",
        "--lib",
        "--bins",
        "--examples",
        "--test",
        "serve",
    ])
    .args(&tests)
    .env("TIDEWAITER_PORT", port)
    .run(context)
    .and_then(Tally::at_least_one)
}

/// Ensures that the daemons are installed.
pub(crate) fn daemons_ready(context: &Context) -> Result<(), Stop> {
    if !cfg!(target_os = "linux") {
        return Err(Stop::Foreign("the tests know Linux's daemons".to_owned()));
    }
    tools(context, DAEMONS)
}

fn daemons(context: &Context) -> Result<Tally, Stop> {
    daemons_ready(context)?;
    Step::cargo(
        context,
        &["test", "-p", "tidewaiter-cli", "--test", "serve"],
    )
    .args(&["--", "daemons::"])
    .run(context)
    .and_then(Tally::at_least_one)
}

fn doctests(context: &Context) -> Result<Tally, Stop> {
    Step::cargo(context, &["test", "--workspace", "--doc", "--no-fail-fast"])
        .args(WITHOUT_PYTHON)
        .run(context)
}

/// Builds the tests of lanes that come later, for these to find them built. Installs nothing.
fn builds(context: &Context) -> Result<Tally, Stop> {
    // First those with a target folder of their own, because the lane `tests` needs the other one meanwhile.
    asan_cargo(context, &["--no-run"])?
        .args(ASAN_KINDS)
        .run(context)?;
    match Wine::found(context) {
        Some(wine) => windows_tests(&wine, context)
            .args(&["--no-run"])
            .run(context),
        None => Ok(Tally::default()),
    }
}

fn windows(context: &Context) -> Result<Tally, Stop> {
    let wine = Wine::ready(context)?;
    wine::tell_lacking();
    let outcome = windows_tests(&wine, context).run(context);
    wine.stop(context);
    outcome.and_then(Tally::at_least_one)
}

fn windows_tests(wine: &Wine, context: &Context) -> Step {
    wine.cargo(context, &["test", "--workspace", "--exclude", "xtask"])
        .args(WITHOUT_PYTHON)
        .args(TEST_KINDS)
}

fn loom(context: &Context) -> Result<Tally, Stop> {
    // Optimize, because loom runs every interleaving, but skip slow steps, because the program runs only once.
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

/// Tests of the library, built for AddressSanitizer.
fn asan_cargo(context: &Context, arguments: &[&str]) -> Result<Step, Stop> {
    if !context.host.ends_with("-linux-gnu") {
        return Err(Stop::Foreign(format!("not set up for {}", context.host)));
    }
    let test = ["test", "-p", "tidewaiter", "--target", &context.host];
    let step = Step::cargo(context, &test)
        .args(arguments)
        // Stable compilers have the sanitizer, but accept its flag only with this variable.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("CARGO_TARGET_DIR", folder(context, "asan"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    Ok(step)
}

fn asan(context: &Context) -> Result<Tally, Stop> {
    let cargo = |leaks: u8, arguments: &[&str]| {
        let step = asan_cargo(context, arguments)?;
        Ok(step.env("ASAN_OPTIONS", format!("detect_leaks={leaks}")))
    };
    // Leak detection needs ptrace, which containers may forbid. Without it, even listing the tests fails.
    let leaks = u8::from(cargo(1, &["--lib", "--", "--list"])?.succeeds());
    println!(
        "leak detection is {}",
        if leaks == 1 {
            "on"
        } else {
            "not possible here"
        }
    );
    let mut step = cargo(leaks, ASAN_KINDS)?.args(&["--", "--skip", SMALL]);
    if leaks == 1 {
        for test in LEAKY {
            step = step.args(&["--skip", test]);
        }
    }
    step.run(context).and_then(Tally::at_least_one)
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
        .env("RUSTFLAGS", "-D warnings")
        .env("CARGO_TARGET_DIR", folder(context, "cross"))
        .run(context)?;
    }
    absent.map_or(Ok(Tally::default()), Err)
}

/// Leaves out peers that need libraries of the system, which benchmarks alone install.
fn peers(context: &Context) -> Result<Tally, Stop> {
    if !cfg!(target_os = "linux") {
        return Err(Stop::Foreign("the peers are Linux's".to_owned()));
    }
    Step::cargo(context, &["check", "--workspace", "--manifest-path"])
        .path(&context.root.join("bench/peers/Cargo.toml"))
        .args(&["--exclude", "bench-libuv", "--exclude", "bench-asio"])
        .env("CARGO_TARGET_DIR", folder(context, "peers"))
        .env("RUSTFLAGS", "-D warnings")
        .run(context)
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
